#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of doc/benchmarks.md from what bench/peers/side_by_side.py recorded.

usage: tables.py RESULTS.json [--write doc/benchmarks.md]

Without --write they are printed; with it they take the place of what lies between the lines
<!-- begin results --> and <!-- end results -->.
"""
import argparse
import json
from pathlib import Path

BEGIN, END = "<!-- begin results -->", "<!-- end results -->"

# Kernel; which of our rows (table, work, m, cold; None: any); what counts (share of the limit, or
# ratio to the best contender); floor; aim.
FLOORS = [
    ("w4a8 g128, m = 1, cold: of DRAM read", "w4a8", "w4a8 a8", [1], [True], "dram_read", 0.85, 0.95),
    ("w4a8 g128, m = 1, cold: to the best peer", "w4a8", "w4a8 a8", [1], [True], "ratio", 1.0, 1.0),
    ("w4a8 g128, m = 1, hot: to the best peer", "w4a8", "w4a8 a8", [1], [False], "ratio", 1.0, 1.3),
    ("w4a8 g128, activations per group, m = 1, cold: to the best peer", "w4a8", "w4a8 a8-group", [1],
     [True], "ratio", 1.0, 1.0),
    ("w4a8 g128, activations per group, m = 1, hot: to the best peer", "w4a8", "w4a8 a8-group", [1],
     [False], "ratio", 1.0, 1.3),
    ("w4a16 g128 F32, m = 1, cold: of DRAM read", "w4a16", "w4a16 f32", [1], [True], "dram_read",
     0.70, 0.90),
    ("w4a16 g128 A16, m = 1, cold: of DRAM read", "w4a16", "w4a16 a16", [1], [True], "dram_read",
     0.70, 0.90),
    ("w4a8 g128, m = 4 to 64: to the best peer", "w4a8", "w4a8 a8", [4, 16, 64], [True, False],
     "ratio", 1.0, 1.3),
    ("w4a8 g128, activations per group, m = 4 to 64: to the best peer", "w4a8", "w4a8 a8-group",
     [4, 16, 64], [True, False], "ratio", 1.0, 1.3),
    ("w4a8 g128, m = 512: of the int8 peak", "w4a8", "w4a8 a8", [512], [True, False], "int8_dot",
     0.65, 0.85),
    ("w4a8 g128, m = 512: to the best peer", "w4a8", "w4a8 a8", [512], [True, False], "ratio", 1.0,
     1.0),
    ("w4a8 g128, activations per group, m = 512: of the int8 peak", "w4a8", "w4a8 a8-group", [512],
     [True, False], "int8_dot", 0.65, 0.85),
    ("w4a8 g128, activations per group, m = 512: to the best peer", "w4a8", "w4a8 a8-group", [512],
     [True, False], "ratio", 1.0, 1.0),
    ("w4a16 g128 F32, m = 512: of the fp32 peak", "w4a16", "w4a16 f32", [512], [True, False],
     "fp32_fma", 0.90, 0.95),
    ("w4a16 g128 A16, m = 512: to the best fp32 GEMM", "f32", "w4a16 a16", [512], [True, False],
     "ratio", 1.2, 2.0),
    ("w8a8, m = 512: of the int8 peak", "w8a8", "w8a8 a8", [512], [True, False], "int8_dot", 0.75,
     0.88),
    ("w8a8, m = 512: to the best peer", "w8a8", "w8a8 a8", [512], [True, False], "ratio", 1.0, 1.0),
    ("w8a8, m = 1, cold: of DRAM read", "w8a8", "w8a8 a8", [1], [True], "dram_read", 0.90, 0.97),
    ("w4a8 at avx2, m = 1 and 512: to ggml built for AVX2", "w4a8-avx2", "w4a8 a8", [1, 512],
     [True, False], "ratio", 1.2, 1.4),
    ("ternary, m = 1, cold: of DRAM read", "ternary", "ternary a8", [1], [True], "dram_read", 0.80,
     0.95),
    ("dequantize to f16: of memory copy", "others", "dequantize f16", [1], [True], "dram_copy", 0.70,
     0.90),
    ("dequantize to f32: of memory copy", "others", "dequantize f32", [1], [True], "dram_copy", 0.70,
     0.90),
    ("quantize (round to nearest): of memory copy", "others", "quantize", [1], [True], "dram_copy",
     0.70, 0.90),
    ("Hessian, k = 4096: of the fp32 peak", "others", "hessian", [4096], [True], "fp32_fma", 0.70,
     0.85),
    ("GPTQ 4096 x 4096: of the fp32 peak", "others", "gptq", [1], [True], "fp32_fma", 0.45, 0.70),
]


def share(row, limit):
    """What was reached of a limit, whichever binds: GB/s of weights or GOP/s by the limit."""
    if limit == row.get("roofline"):
        return row["roofline_fraction"]
    reached = row["weight_gb_per_s"] if limit.startswith("dram") else row["gops"]
    return reached / row["limits"][limit] if row["limits"].get(limit) else None


def values(result, floor):
    """The measured figures of a floor's rows, by threads."""
    _, table, work, ms, colds, what, _, _ = floor
    rows = result["compared"] if what == "ratio" else result["rows"]
    found = {}
    for row in rows:
        if row["table"] == table and row["work"] == work and row["m"] in ms and \
                row["cold"] in colds and row.get("who", "quantlib") == "quantlib":
            value = row["ratio"] if what == "ratio" else share(row, what)
            if value is not None:
                found.setdefault(row["threads"], []).append(value)
    return found


def number(value, what):
    return f"{value:.2f}" if what == "ratio" else f"{100 * value:.0f} %"


def floors(result):
    threads = sorted({row["threads"] for row in result["rows"]})
    lines = ["| kernel | floor | aim | " + " | ".join(
        f"{t} thread{'' if t == 1 else 's'}" for t in threads) + " |",
        "|---|---|---|" + "---|" * len(threads)]
    for floor in FLOORS:
        name, what, least, aim = floor[0], floor[5], floor[6], floor[7]
        found = values(result, floor)
        cells = []
        for t in threads:
            some = found.get(t, [])
            cell = " to ".join(dict.fromkeys(number(v, what) for v in (min(some), max(some)))) \
                if some else "-"
            cells.append(cell + (" (below)" if some and min(some) < least else ""))
        lines.append(f"| {name} | {number(least, what)} | {number(aim, what)} | "
                     + " | ".join(cells) + " |")
    return lines


def limits(result):
    names = ["dram_read", "dram_copy", "llc_read", "l2_read", "fp32_fma", "fp16_fma", "bf16_dot",
             "int8_dot"]
    best = {}
    for row in result["rows"]:
        if "limits" in row and row["table"] != "w4a8-avx2":
            known = best.setdefault(row["threads"], dict.fromkeys(names, 0))
            for name in names:
                known[name] = max(known[name], row["limits"].get(name) or 0)
    lines = ["| threads | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for threads, known in sorted(best.items()):
        lines.append(f"| {threads} | " + " | ".join(
            f"{known[n]:.1f}" if known[n] else "-" for n in names) + " |")
    return lines


def column_figure(row):
    if row is None:
        return "-"
    return f"{row['weight_gb_per_s']:.1f}" if row["m"] == 1 else f"{row['gops']:.0f}"


def detail(result, table):
    """All contenders of a table: GB/s of weights at m = 1, GOP/s above, cold / hot."""
    rows = [r for r in result["rows"] if r["table"] == table]
    ms = sorted({r["m"] for r in rows})
    ratios = {(r["work"], r["threads"], r["m"], r["cold"]): r for r in result["compared"]
              if r["table"] == table}
    lines = ["| threads | | " + " | ".join(f"m = {m}" for m in ms) + " |",
             "|---|---|" + "---|" * len(ms)]
    for threads in sorted({r["threads"] for r in rows}):
        for who, work in dict.fromkeys((r["who"], r["work"]) for r in rows):
            cells, beside = [], []
            for m in ms:
                pair = [next((r for r in rows if (r["who"], r["work"], r["m"], r["cold"],
                                                  r["threads"]) == (who, work, m, cold, threads)),
                             None) for cold in (True, False)]
                cells.append(" / ".join(map(column_figure, pair)))
                both = [ratios.get((work, threads, m, cold)) for cold in (True, False)]
                beside.append(" / ".join(f"{r['ratio']:.2f}" if r else "-" for r in both))
            lines.append(f"| {threads} | {who} {work} | " + " | ".join(cells) + " |")
            if who == "quantlib":
                lines.append(f"| {threads} | to the best other | " + " | ".join(beside) + " |")
    return lines


def text(result):
    machine = result["machine"]
    lines = [f"Measured {result['date']} at commit {result['commit']}: {machine.get('model name')}, "
             f"family {machine.get('cpu family')} model {machine.get('model')}, "
             f"{machine['processors']} processors; n = {result['n']}, k = {result['k']}, medians of "
             f"{result['rounds']} rounds. " + ", ".join(
                 f"{k} {v}" for k, v in sorted(result["versions"].items())) + ".", "",
             "Limits, GB/s and GOP/s:", "", *limits(result), "",
             "Floors and aims of the project beside what was measured:", "", *floors(result)]
    for table in dict.fromkeys(r["table"] for r in result["rows"]):
        if table != "others":
            lines += ["", f"{table}: GB/s of weights at m = 1, GOP/s above, cold / hot:", "",
                      *detail(result, table)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results")
    parser.add_argument("--write", help="the document to put them into")
    arguments = parser.parse_args()
    made = text(json.loads(Path(arguments.results).read_text()))
    if not arguments.write:
        print(made)
        return
    path = Path(arguments.write)
    before, found, rest = path.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        parser.error(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")


if __name__ == "__main__":
    main()
