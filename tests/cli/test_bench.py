# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: its keys, and figures that agree with each other."""

import json
import os
import subprocess

from cli_support import CliTest, OK, USAGE, main, runnable_isas

KEYS = ("op weights act_dtype compute group_size m n k threads cold isa kernel seconds "
        "weight_gb_per_s gops roofline roofline_fraction").split()
SMALL = ["--shape", "256x384", "--seconds", "0.002", "--cold-mib", "1"]
LIMITS = ("dram_read dram_copy llc_read l2_read fp32_fma fp16_fma bf16_dot int8_dot").split()


class Bench(CliTest):
    def rows(self, *args):
        return self.expect(OK, "bench", "--json", *SMALL, *args).json

    def test_keys_and_figures(self):
        rows = self.rows("--op", "w8a8,w4a16,w4a8,hessian", "-m", "1,3", "--threads", "1")
        # f16, w4a16 and w4a8 in two modes each and w8a8, for two m, cold and hot; and one Hessian
        self.assertEqual(len(rows), 6 * 2 * 2 + 1)
        self.assertEqual({(r["op"], r["compute"]) for r in rows},
                         {("f16", "f32"), ("w4a16", "f32"), ("w4a16", "a16"), ("w4a8", "a8"),
                          ("w4a8", "a8-group"), ("w8a8", "a8"), ("hessian", "f32")})
        for row in rows:
            for key in KEYS:
                self.assertIn(key, row)
            self.assertEqual(sorted(row["limits"]), sorted(LIMITS))
            if row["status"] == "measured":
                self.check_figures(row)
            else:
                self.assertIsNone(row["seconds"])
                self.assertNotEqual(row["reason"], "")

    def check_figures(self, row):
        close = lambda a, b: self.assertLess(abs(a - b), 1e-6 * abs(b) + 1e-12, row)
        seconds = row["seconds"]
        self.assertGreater(seconds, 0)
        self.assertLessEqual(row["seconds_least"], row["seconds_quartile1"])
        self.assertLessEqual(row["seconds_quartile1"], seconds)
        self.assertLessEqual(seconds, row["seconds_quartile3"])
        self.assertGreaterEqual(row["calls"], 3)
        close(row["gops"], row["operations"] / seconds * 1e-9)
        if row["op"] == "hessian":
            close(row["operations"], row["m"] * row["k"] * (row["k"] + 1))
        else:
            close(row["operations"], 2 * row["m"] * row["n"] * row["k"])
            close(row["weight_gb_per_s"], row["weight_bytes"] / seconds * 1e-9)
            self.assertNotEqual(row["kernel"], "")
        self.check_roofline(row)

    def check_roofline(self, row):
        """The binding limit is the one that takes longest."""
        limits = row["limits"]
        core = "fp32_fma" if row["compute"] == "f32" else "int8_dot"
        times = {core: row["operations"] * (2 if row["compute"] == "a16" else 1) / limits[core]}
        memory = [name for name in LIMITS[:4] if name == row["roofline"]] or \
            [next(name for name in ("l2_read", "llc_read", "dram_read")
                  if limits[name] and not (row["cold"] and name != "dram_read"))]
        times.update({name: row["bytes"] / limits[name] for name in memory})
        self.assertEqual(row["roofline"], max(times, key=times.get), row)
        share = max(times.values()) * 1e-9 / row["seconds"]
        self.assertLess(abs(row["roofline_fraction"] - share), 1e-4 * share, row)

    def test_ratios_to_the_original(self):
        rows = self.rows("--op", "w8a8", "-m", "2", "--threads", "1", "--original", "f32")
        for cold in (True, False):
            original, ours = [r for r in rows if r["cold"] == cold]
            self.assertEqual((original["op"], ours["op"]), ("f32", "w8a8"))
            # the figures have nine digits, and a busy machine makes any ratio of times
            self.assertAlmostEqual(ours["speed_to_original"] * ours["seconds"] / original["seconds"],
                                   1, 6)
            self.assertAlmostEqual(ours["size_to_original"],
                                   ours["weight_bytes"] / original["weight_bytes"], 6)
            self.assertLess(ours["size_to_original"], 0.3)

    def test_choices(self):
        rows = self.rows("--op", "w4a16", "-m", "1", "--state", "hot", "--group", "64",
                         "--act", "f16", "--compute", "f32", "--original", "none", "--threads", "2")
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual([row[k] for k in ("op", "weights", "act_dtype", "compute", "group_size",
                                           "m", "n", "k", "threads", "cold", "status")],
                         ["w4a16", "int4g64sym", "f16", "f32", 64, 1, 256, 384, 2, False, "measured"])

    def test_levels(self):
        for isa in runnable_isas():
            rows = self.rows("--op", "w8a16", "--compute", "f32", "-m", "1", "--threads", "1",
                             "--state", "hot", "--isa", isa)
            self.assertEqual({r["isa"] for r in rows}, {isa})

    def test_table(self):
        text = self.expect(OK, "bench", *SMALL, "--op", "w8a8,dequantize", "-m", "1").out
        for word in ("Limits measured", "dram_read", "int8chsym", "dequantize", "speed"):
            self.assertIn(word, text)

    def test_the_program_alone(self):
        """qbench has the same rows, and OpenBLAS's product on the same weights."""
        qbench = os.environ.get("QBENCH")
        if not qbench:
            self.skipTest("this build has no qbench (-Dbench=false)")
        out = subprocess.run([qbench, "--json", "--shape=96x64", "--m=1,4", "--seconds=0.001",
                              "--cold-mib=1", "--threads=1", "--op=w8a8,openblas-sgemm"],
                             capture_output=True, check=True).stdout
        rows = json.loads(out)
        self.assertEqual({r["op"] for r in rows}, {"f16", "w8a8", "openblas-sgemm"})
        for row in rows:
            self.assertEqual(row["status"], "measured")
            self.check_figures(row)

    def test_refused(self):
        for args, words in [(["--op", "w9a9"], ["w9a9", "w4a16"]), (["--shape", "12"], ["'12'"]),
                            (["-m", "0"], ["'0'"]), (["--state", "warm"], ["both|cold|hot"]),
                            (["--act", "f8"], ["'f8'"]), (["--compute", "a4"], ["a4"]),
                            (["--group", "0"], ["'0'"]), (["--seconds", "-1"], ["-1"]),
                            (["--isa", "sse9"], ["sse9"])]:
            self.fails(USAGE, "bench", *args, says=words)


if __name__ == "__main__":
    main()
