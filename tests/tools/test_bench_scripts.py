# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts around the benchmark: comparing two commands, comparing with others, tables."""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench/peers")]

import compare  # noqa: E402
import side_by_side  # noqa: E402
import tables  # noqa: E402

QL = os.environ.get("QL", "build/cli/ql")


class Interval(unittest.TestCase):
    def test_against_the_binomial_distribution(self):
        """The chance that the true median lies between two ranks, counted over all outcomes."""
        for n in range(3, 13):
            low, high = compare.interval(list(range(n)))
            self.assertEqual(low + high, n - 1)
            below = sum(math.comb(n, i) for i in range(low + 1)) / 2 ** n
            sure = 1 - 2 * below
            tighter = 1 - 2 * sum(math.comb(n, i) for i in range(low + 2)) / 2 ** n
            self.assertTrue(sure >= 0.9 or low == 0)
            self.assertTrue(tighter < 0.9 or low + 1 > (n - 1) // 2, n)


class Compare(unittest.TestCase):
    def test_a_command_beside_itself(self):
        options = ["--op=w8a8", "--shape=96x64", "-m", "1", "--threads=1", "--seconds=0.001",
                   "--state=hot", "--original=none", "--cold-mib=1"]
        out = subprocess.run([sys.executable, ROOT / "bench/compare.py", "--rounds", "3", "--json",
                              f"{QL} bench", f"{QL} bench", *options], capture_output=True)
        self.assertEqual(out.returncode, 0, out.stderr)
        (row,) = json.loads(out.stdout)
        self.assertEqual((row["op"], row["m"], row["rounds"]), ("w8a8", 1, 3))
        self.assertLessEqual(row["low"], row["speed"])
        self.assertLessEqual(row["speed"], row["high"])

    def test_a_command_that_fails(self):
        out = subprocess.run([sys.executable, ROOT / "bench/compare.py", f"{QL} bench --op=w9",
                              f"{QL} bench --op=w9"], capture_output=True, text=True)
        self.assertNotEqual(out.returncode, 0)
        self.assertIn("'w9'", out.stderr)


def row(who, work, seconds, **more):
    first = {"seconds": seconds, "n": 64, "k": 32, "weight_bytes": 1024, "operations": 4096}
    if who == "quantlib":
        first.update(roofline="int8_dot", roofline_fraction=0.5, isa="x", kernel="y",
                     limits={"dram_read": 10.0, "int8_dot": 100.0, "fp32_fma": None})
    first.update(more)
    return first


class SideBySide(unittest.TestCase):
    def cells(self):
        ours = ("w4a8", "quantlib", "w4a8 a8", 512, False, 1)
        return {ours: [row("quantlib", "", s) for s in (2.0, 4.0, 3.0)],
                ("w4a8", "ggml", "q4_0", 512, False, 1): [row("ggml", "", 9.0)] * 3,
                ("w4a8", "openvino", "w4a8", 512, False, 1):
                    [row("openvino", "", s, version="1") for s in (4.0, 6.0, 6.0)]}

    def test_the_best_of_the_others(self):
        rows = [side_by_side.merged(k, v) for k, v in self.cells().items()]
        self.assertEqual(rows[0]["seconds"], 3.0)
        (one,) = side_by_side.compared(rows)
        self.assertEqual(one["best"], "openvino w4a8")
        self.assertEqual((one["ratio"], one["low"], one["high"]), (2.0, 1.5, 2.0))
        self.assertAlmostEqual(one["gops"], 2 * 512 * 64 * 32 / 3.0 * 1e-9 * 4096 / (2 * 512 * 64 * 32))

    def test_tables(self):
        rows = [side_by_side.merged(k, v) for k, v in self.cells().items()]
        result = {"date": "d", "commit": "c", "n": 64, "k": 32, "rounds": 3, "versions": {"ov": "1"},
                  "machine": {"processors": "2"}, "rows": rows,
                  "compared": side_by_side.compared(rows)}
        with tempfile.TemporaryDirectory() as name:
            results, document = pathlib.Path(name, "r.json"), pathlib.Path(name, "d.md")
            results.write_text(json.dumps(result))
            document.write_text(f"before\n{tables.BEGIN}\noutdated\n{tables.END}\nafter\n")
            subprocess.run([sys.executable, ROOT / "bench/tables.py", results, "--write", document],
                           check=True)
            text = document.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
        self.assertNotIn("outdated", text)
        self.assertIn("| w4a8 g128, m = 512: to the best peer | 1.00 | 1.00 | 2.00 |", text)
        self.assertIn("| w4a8 g128, m = 512: of the int8 peak | 65 % | 85 % | 50 % (below) |", text)


class Document(unittest.TestCase):
    def test_there_is_a_place_for_the_results(self):
        text = (ROOT / "doc/benchmarks.md").read_text()
        self.assertEqual((text.count(tables.BEGIN), text.count(tables.END)), (1, 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
