# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""ql pack: the same answers from mapped weights, and packing again wherever the file does not fit."""

import os
import shutil

from cli_support import IO, LICENSE, MODEL, OK, CliTest, main, runnable_isas

RUN = ["--prompt", "The licence", "-n", "8", "--json"]
EVAL = ["--text", LICENSE, "--max-tokens", "300", "--json"]


class Pack(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.dir / "m"
        shutil.copytree(MODEL, self.model)
        self.file = self.model / "model.qlpacked"

    def text(self, *args, **options):
        result = self.expect(OK, "run", self.model, *RUN, *args, **options)
        return result.json["text"], result.err

    def mapped(self, **options):
        return self.text("--packed", self.file, **options)

    def test_same_answers(self):
        packed = self.expect(OK, "pack", self.model, "--json").json
        self.assertEqual(packed["packed"], str(self.file))
        self.assertEqual(packed["bytes"], self.file.stat().st_size)
        self.assertEqual(self.mapped(), self.text())
        a = self.expect(OK, "eval", self.model, *EVAL, "--packed", self.file)
        b = self.expect(OK, "eval", self.model, *EVAL)
        self.assertEqual(a.json["perplexity"], b.json["perplexity"])
        self.assertEqual(a.err, b.err)

    def test_quantized(self):
        q = self.dir / "q"
        self.expect(OK, "quantize", self.model, "--method", "rtn", "--bits", "4", "-o", q)
        out = self.dir / "elsewhere"
        self.assertIn("elsewhere: ", self.expect(OK, "pack", q, "-o", out).out)
        a = self.expect(OK, "run", q, *RUN, "--packed", out)
        self.assertEqual(a.err, "")
        self.assertEqual(a.json["text"], self.expect(OK, "run", q, *RUN).json["text"])
        # It belongs to that model alone.
        self.file = out
        self.assertIn("packed from another source", self.mapped()[1])

    def refused(self, why, **options):
        text, err = self.mapped(**options)
        self.assertEqual(text, self.text(**options)[0])
        self.assertRegex(err, rf"^ql: warning: [^\n]*{why}[^\n]*: packing again\n$")

    def test_packs_again(self):
        self.refused("No such file")
        self.expect(OK, "pack", self.model)
        self.assertEqual(self.mapped()[1], "")
        isas = runnable_isas()
        if any(isa.startswith("avx512") for isa in isas):
            self.refused("packed for other kernels than those of avx2", env={"QL_ISA": "avx2"})
        bytes_of = bytearray(self.file.read_bytes())
        bytes_of[200] ^= 1
        self.file.write_bytes(bytes_of)
        self.refused("the table is damaged")
        self.file.write_bytes(bytes_of[:5000])
        self.refused("shorter or longer")
        self.file.write_bytes(b"")
        self.refused("not a file of packed weights")

    def test_changed_source(self):
        self.expect(OK, "pack", self.model)
        shard = self.model / "model.safetensors"
        os.utime(shard, ns=(0, 0))
        self.refused("the source has changed")
        self.expect(OK, "pack", self.model)
        self.assertEqual(self.mapped()[1], "")
        config = self.model / "config.json"
        config.write_text(config.read_text() + "\n")
        self.refused("the source has changed")

    def test_cannot_write(self):
        result = self.expect(IO, "pack", self.model, "-o", self.dir / "none" / "x")
        self.assertIn("none", result.err)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["m"])


if __name__ == "__main__":
    main()
