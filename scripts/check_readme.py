#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The C example in README.md is examples/embed.c, which the tests compile and run.

usage: check_readme.py [ROOT]
"""
import pathlib
import re
import sys


def main(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    example = (root / "examples/embed.c").read_text(encoding="utf-8")
    body = example.split("*/\n", 1)[1]
    blocks = re.findall(r"```c\n(.*?)```", readme, re.S)
    if blocks != [body]:
        print("README.md: its C block differs from examples/embed.c below the licence lines")
        return 1
    left = re.findall(r"@[A-Z]+@", readme)
    if left:
        print("README.md: not filled in:", *left)
        return 1
    return 0


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent
    sys.exit(main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default))
