#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Breaks a copy of the tree in one place at a time and expects the check scripts to object there."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["scripts", "include", "lib", "kernels", "engine", "tests", "doc", "examples", "README.md"]

NEW = "ql_no" + "thing"  # in pieces: or it would count as called in a test

# script, file, old text (None: append), new text, a piece of the expected message
CASES = [
    ("layers", "lib/grid/grid.c", None, '#include "packed.h"\n', "lib/grid may not"),
    ("layers", "lib/io/file.c", None, '#include "no_such_header.h"\n', "no known place"),
    ("layers", "lib/runtime/kv.c", None, '#include "../algo/gptq.h"\n', "lib/runtime may not"),
    ("layers", "kernels/scalar/ops_scalar.c", None, "#include <stdlib.h>\n", "<stdlib.h>"),
    ("layers", "kernels/avx2/ops_avx2.c", None, '#include "ctx.h"\n', "kernels/avx2 may not"),
    ("layers", "include/quantlib/ops.h", None, "#include <stdio.h>\n", "<stdio.h>"),
    ("layers", "engine/util.c", None, '#include "ctx.h"\n', "engine may not"),
    ("layers", "lib/algo/error.h", None, "\n", "another header of that name"),
    ("names", "lib/runtime/kv.c", "static int piece_size", "int piece_size",
     "visible but does not begin"),
    ("names", "lib/runtime/kv.c", "static ql_status check_config", "static ql_status qli_check",
     "static but has a prefix"),
    ("names", "include/quantlib/ops.h", None, "#define QL_REQUIRE(x) x\n", "finance library"),
    ("names", "include/quantlib/ops.h", None, "#define LANES 4\n", "public macro LANES"),
    ("names", "include/quantlib/kv.h", "} ql_kv_config;", "} kv_config;", "public type kv_config"),
    ("names", "kernels/avx2/ops.c", None, "\n", "not kernels/<isa>"),
    ("names", "kernels/scalar/ops_scalar.c", "void qlk_fill_ops", "void fill_ops",
     "visible but does not begin with qlk_"),
    ("style", "lib/runtime/kv.c", "/* SPDX-FileCopyrightText", "/* Copyright", "no SPDX"),
    ("style", "lib/runtime/kv.c", None, "/* TO" + "DO */\n", "TO" + "DO"),
    ("style", "lib/runtime/kv.c", None, "int x; \n", "white space at the end"),
    ("style", "lib/runtime/kv.c", None, "int x;" + " " * 95 + "/* */\n", "more than 100"),
    ("style", "lib/runtime/kv.c", None, "\n" * 800, "lines, more than 800"),
    ("style", "lib/runtime/kv.c", None, "#if 0\n#endif\n", "disabled code"),
    ("style", "lib/runtime/kv.c", None, "static int f(void)\n{\n" + "  g();\n" * 60 + "}\n",
     "f has 63 lines"),
    ("docs", "include/quantlib/ops.h", None, f"\nQL_API void {NEW}(void);\n", "has no comment"),
    ("docs", "include/quantlib/ops.h", None, f"\n/** Nothing. */\nQL_API void {NEW}(void);\n",
     "no @since"),
    ("docs", "include/quantlib/ops.h", None,
     f"\n/** Nothing. @since 0.1 */\nQL_API void {NEW}(void);\n", "called in no test"),
    ("docs", "doc/numerics.md", None, "\nsee `lib/no/such/file.c`\n", "does not exist"),
]


def check(root, script):
    return subprocess.run([sys.executable, root / "scripts" / f"check_{script}.py"],
                          capture_output=True, text=True, check=False)


def run_case(root, case):
    script, name, old, new, message = case
    path = root / name
    before = path.read_text() if path.exists() else None
    text = before or ""
    assert old is None or old in text, f"{name} no longer holds {old!r}"
    assert before is not None or old is None
    path.write_text(text + new if old is None else text.replace(old, new, 1))
    result = check(root, script)
    if before is None:
        path.unlink()
    else:
        path.write_text(before)
    lines = [line for line in result.stdout.split("\n") if message in line]
    if result.returncode == 0 or not lines:
        print(f"check_{script}.py did not object to {name}: {message}\n{result.stdout}")
        return 1
    return 0


def main():
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, root / part,
                                ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
            elif (ROOT / part).exists():
                shutil.copy(ROOT / part, root / part)
        failures = sum(run_case(root, case) for case in CASES)
    print(f"{len(CASES)} defects planted, {failures} not found")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
