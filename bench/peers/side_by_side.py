#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""This project's products beside those of others, in turn, in one run; prints the ratios.

usage: side_by_side.py --out bench/results/MACHINE.json [--qbench build/bench/qbench]
         [--onnxruntime PYTHON] [--openvino PYTHON] [--ggml BINARY] [--ggml-avx2 BINARY] ...

PYTHON is an interpreter that has the package (pip install numpy onnx onnxruntime; pip install numpy
openvino), BINARY is bench_ggml.c built with a ggml (doc/benchmarks.md). Those that are not given
are left out. Each table is one kind of product in one class of accuracy (8-bit activations, or
activations as they are); each round runs every contender of it once, in an order that changes. A
ratio is the best contender's time by ours, by the median of the rounds; the range is that of the
rounds.
"""
import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Table: our ops with their mode, and the contenders: (program, work), with what it is.
TABLES = {
    "w4a8": ([("w4a8", "a8"), ("w4a8", "a8-group")],
             [("onnxruntime", "w4a8"), ("openvino", "w4a8"), ("openvino", "w4a8g32"),
              ("ggml", "q4_0"), ("ggml", "q4_K")]),
    "w4a16": ([("w4a16", "f32"), ("w4a16", "a16")],
              [("onnxruntime", "w4a16"), ("openvino", "w4a16")]),
    "w8a8": ([("w8a8", "a8")],
             [("onnxruntime", "w8a8"), ("onnxruntime", "integer"), ("onnxruntime", "dynamic"),
              ("openvino", "w8a8"), ("ggml", "q8_0")]),
    "ternary": ([("ternary", "a8")], [("ggml", "tq2_0")]),
    "f32": ([("f32", "f32"), ("w4a16", "a16")],
            [("openblas", "openblas-sgemm"), ("onnxruntime", "f32"), ("openvino", "f32"),
             ("ggml", "f32")]),
    "f16": ([("f16", "f32")], [("ggml", "f16")]),
    "w4a8-avx2": ([("w4a8", "a8"), ("w4a8", "a8-group")],
                  [("ggml-avx2", "q4_0"), ("ggml-avx2", "q4_K")]),
}


def lines(command):
    """Rows that a program printed, one JSON object a line or an array; [] when it failed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  failed: {' '.join(map(str, command))}: {done.stderr.strip()[-300:]}",
              file=sys.stderr)
    text = done.stdout.strip()
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Runner:
    def __init__(self, arguments):
        self.arguments = arguments
        self.commands = {}

    def shape(self):
        a = self.arguments
        return ["--n", a.n, "--k", a.k, "--m", a.m, "--seconds", a.seconds]

    def ours(self, table, ops, threads, extra):
        a = self.arguments
        command = [a.qbench, "--json", f"--op={','.join(dict.fromkeys(ops))}",
                   f"--shape={a.n}x{a.k}", f"--m={a.m}", f"--threads={threads}",
                   f"--seconds={a.seconds}", "--original=none", *extra]
        isa = "avx2" if table.endswith("avx2") else a.isa
        return lines(self.note(command + ([f"--isa={isa}"] if isa else [])))

    def theirs(self, program, works, threads):
        a = self.arguments
        if program in ("onnxruntime", "openvino"):
            command = [getattr(a, program), HERE / f"bench_{program}.py", "--work", ",".join(works),
                       "--threads", threads, *self.shape()]
        else:
            command = [a.ggml if program == "ggml" else a.ggml_avx2, ",".join(works), a.n, a.k, a.m,
                       threads, "both", a.seconds, a.cold_mib]
        return lines(self.note(command))

    def note(self, command):
        self.commands[" ".join(map(str, command))] = True
        return command

    def present(self, program):
        return program == "openblas" or getattr(self.arguments, program.replace("-", "_"))


def contender_rows(runner, table, threads, order):
    """One round: rows with `who` and `work`, of all contenders that are there."""
    ops, peers = TABLES[table]
    peers = [p for p in peers if runner.present(p[0])]
    programs = ["quantlib"] + list(dict.fromkeys(p for p, _ in peers if p != "openblas"))
    rows = []
    for program in programs[order % len(programs):] + programs[:order % len(programs)]:
        print(f"  {table}, {threads} thread(s), round {order + 1}: {program}", file=sys.stderr)
        if program == "quantlib":
            modes = ",".join(dict.fromkeys(mode.partition("-")[0] for _, mode in ops))
            names = [op for op, _ in ops] + [w for p, w in peers if p == "openblas"]
            for row in runner.ours(table, names, threads, [f"--compute={modes}"]):
                blas = row["op"].startswith("openblas")
                if blas or (row["op"], row["compute"]) in ops:
                    work = row["op"] if blas or row["op"] == row["compute"] else \
                        f"{row['op']} {row['compute']}"
                    rows.append(dict(row, who="openblas" if blas else "quantlib", work=work))
        else:
            works = [w for p, w in peers if p == program]
            for row in runner.theirs(program, works, threads):
                rows.append(dict(row, who=program, work=row.get("work", row.get("weights"))))
    return [row for row in rows if row["seconds"] is not None]


def gather(runner, table, threads, cells):
    """Adds all rounds of a table to cells: (who, work, m, cold, threads) -> rows."""
    for order in range(runner.arguments.rounds):
        for row in contender_rows(runner, table, threads, order):
            key = (table, row["who"], row["work"], row["m"], row["cold"], threads)
            cells.setdefault(key, []).append(row)


def gather_others(runner, threads, cells):
    """What has no contender here: the work around the products, for the table of floors."""
    print(f"  others, {threads} thread(s)", file=sys.stderr)
    for row in runner.ours("others", ["dequantize", "quantize", "hessian", "gptq"], threads, []):
        if row["seconds"] is not None:
            work = f"{row['op']} {row['act_dtype']}" if row["op"] == "dequantize" else row["op"]
            key = ("others", "quantlib", work, row["m"], row["cold"], threads)
            cells.setdefault(key, []).append(row)


def merged(key, rows):
    """One row of the result: medians over the rounds, and every round's seconds."""
    table, who, work, m, cold, threads = key
    seconds = [row["seconds"] for row in rows]
    middle = statistics.median(seconds)
    first = rows[0]
    result = {"table": table, "who": who, "work": work, "m": m, "cold": cold, "threads": threads,
              "n": first["n"], "k": first["k"], "seconds": middle, "rounds": seconds,
              "weight_bytes": first["weight_bytes"],
              "weight_gb_per_s": (first["weight_bytes"] or 0) / middle * 1e-9,
              "gops": first.get("operations", 2 * m * first["n"] * first["k"]) / middle * 1e-9}
    for name in ("version", "isa", "kernel", "weights", "compute", "roofline", "repacked"):
        if name in first:
            result[name] = first[name]
    if "limits" in first:
        best = {n: max((r["limits"][n] or 0) for r in rows) for n in first["limits"]}
        result["limits"] = best
        result["roofline_fraction"] = statistics.median(r["roofline_fraction"] for r in rows)
    return result


def compared(rows):
    """For each of our rows: the best contender and the ratio to it."""
    found = []
    for ours in (r for r in rows if r["who"] == "quantlib"):
        peers = [r for r in rows if r["who"] != "quantlib" and all(
            r[k] == ours[k] for k in ("table", "m", "cold", "threads"))]
        if not peers:
            continue
        best = min(peers, key=lambda r: r["seconds"])
        ratios = [p / o for p, o in zip(best["rounds"], ours["rounds"])]
        found.append({**{k: ours[k] for k in ("table", "work", "m", "cold", "threads", "seconds",
                                              "weight_gb_per_s", "gops")},
                      "share": ours.get("roofline_fraction"), "limit": ours.get("roofline"),
                      "best": f"{best['who']} {best['work']}", "best_seconds": best["seconds"],
                      "best_gb_per_s": best["weight_gb_per_s"], "best_gops": best["gops"],
                      "ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)})
    return found


def machine():
    facts = {"system": platform.platform(), "processor": platform.machine()}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "cpu family", "model", "flags"):
            facts.setdefault(name.strip(), value.strip())
    facts["processors"] = subprocess.run(["nproc"], capture_output=True, text=True).stdout.strip()
    facts["load"] = Path("/proc/loadavg").read_text().split()[:3]
    return facts


def commit():
    done = subprocess.run(["git", "-C", str(HERE), "describe", "--always", "--dirty"],
                          capture_output=True, text=True)
    return done.stdout.strip()


def save(runner, cells, started):
    rows = [merged(k, v) for k, v in cells.items()]
    versions = {r["who"]: r["version"] for r in rows if "version" in r}
    result = {"date": started, "commit": commit(), "machine": machine(), "versions": versions,
              "rounds": runner.arguments.rounds, "n": runner.arguments.n, "k": runner.arguments.k,
              "commands": list(runner.commands),
              "rows": rows, "compared": compared(rows)}
    path = Path(runner.arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def show(result):
    print(f"{'table':<10} {'ours':<13} {'thr':>3} {'m':>4} {'data':<4} {'GB/s':>6} {'GOP/s':>7} "
          f"{'share':>5} {'best peer':<22} {'GB/s':>6} {'GOP/s':>7} {'ratio':>6}  range")
    for row in result["compared"]:
        print(f"{row['table']:<10} {row['work']:<13} {row['threads']:>3} {row['m']:>4} "
              f"{'cold' if row['cold'] else 'hot':<4} {row['weight_gb_per_s']:>6.2f} "
              f"{row['gops']:>7.1f} {100 * row['share']:>4.0f}% {row['best']:<22} "
              f"{row['best_gb_per_s']:>6.2f} {row['best_gops']:>7.1f} {row['ratio']:>6.2f}  "
              f"{row['low']:.2f} to {row['high']:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--qbench", default="build/bench/qbench")
    for name in ("onnxruntime", "openvino", "ggml", "ggml-avx2"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--tables", default=",".join([*TABLES, "others"]),
                        help=f"of {', '.join(TABLES)}, others")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--m", default="1,4,16,64,512")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--isa", default="", help="of ours; w4a8-avx2 takes avx2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each row of a round")
    parser.add_argument("--cold-mib", type=int, default=128, help="ggml's; others ask the system")
    runner = Runner(parser.parse_args())
    cells, started = {}, datetime.datetime.now().isoformat(timespec="seconds")
    tables = runner.arguments.tables.split(",")
    for table in tables:
        if table not in list(TABLES) + ["others"]:
            parser.error(f"no table '{table}'")
    for table in tables:
        if table == "others":
            for threads in map(int, runner.arguments.threads.split(",")):
                gather_others(runner, threads, cells)
            continue
        if not any(runner.present(p) for p, _ in TABLES[table][1]):
            continue
        for threads in map(int, runner.arguments.threads.split(",")):
            gather(runner, table, threads, cells)
            save(runner, cells, started)
    show(save(runner, cells, started))


if __name__ == "__main__":
    main()
