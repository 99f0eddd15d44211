# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""doc/howto/add-an-isa.md as it stands: its row and its folder make a level, in a copy of the tree
in which nothing else changes, except that other levels are left out to save time. Needs meson,
ninja and CC."""
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = ["-Dquantizers=false", "-Dprograms=false", "-Dio=false", "-Dwerror=true"]


def run(*command, good=True, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if good and result.returncode != 0:
        raise AssertionError(f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


class AddIsa(unittest.TestCase):
    def block(self, after):
        match = re.search(re.escape(after) + r".*?```\w+\n(.*?)```", self.document, re.S)
        self.assertIsNotNone(match, after)
        return match[1]

    def build(self):
        run("ninja", "-C", self.tree / "build", "-j2", "tests/kernels/kcheck",
            "tests/kernels/test_isa")

    def kcheck(self, *arguments, good=True):
        return run(self.tree / "build/tests/kernels/kcheck", *arguments, good=good)

    def test_the_document(self):
        if platform.machine() != "x86_64":
            self.skipTest("the example is for x86")
        self.document = (ROOT / "doc/howto/add-an-isa.md").read_text()
        with tempfile.TemporaryDirectory() as directory:
            self.tree = Path(directory) / "tree"
            shutil.copytree(ROOT, self.tree, symlinks=True, ignore=shutil.ignore_patterns(
                ".git", "build*", ".venv*", "shared"))
            for folder in (self.tree / "kernels").iterdir():
                if folder.is_dir() and folder.name != "scalar":
                    shutil.rmtree(folder)
            table = self.tree / "kernels/qlk_isas.def"
            above = "/* AVX, FMA, F16C; AVX2"
            self.assertIn(above, table.read_text())
            table.write_text(table.read_text().replace(above, self.block("## The row") + above))
            (self.tree / "kernels/sse4").mkdir()
            for name in ("meson.build", "fill_sse4.c", "a8_sse4.c"):
                (self.tree / "kernels/sse4" / name).write_text(self.block(f"kernels/sse4/{name}"))
            run(*shlex.split(os.environ.get("MESON", "meson")), "setup", "-Dbuildtype=debug",
                *OPTIONS, self.tree / "build", self.tree)
            self.build()
            self.assertIn("a8.range", self.kcheck("--list", "--isa=sse4").stdout)
            self.assertIn("1 kernels", self.kcheck("--isa=sse4", "--require=sse4").stdout)
            run(self.tree / "build/tests/kernels/test_isa")
            # and it is its kernel that runs
            source = self.tree / "kernels/sse4/a8_sse4.c"
            source.write_text(source.read_text().replace("; i < n; i++", "; i + 1 < n; i++"))
            self.build()
            self.assertIn("range", self.kcheck("--isa=sse4", good=False).stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
