#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checks what a reader should never have to: licence headers, sizes of files and functions, lines,
and words that mark unfinished work."""
import re
import statistics
import sys

import tree

FILE_LINES = 800
TINY_LINES = 8  # so short a list of sources needs no licence header
FUNCTION_LINES = 60  # in lib/; straight-line kernels may be longer
LINE_WIDTH = 100  # of C
LICENSED = {".c", ".h", ".def", ".py", ".sh", ".build", ".map", ".cmake", ".in", ".ini"}
# Spelled apart, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK",
                                           "st" + "ubs?", "place" + "holders?"]) + r")\b",
                        re.IGNORECASE)
IDENTIFIER = "SPDX-License-Identifier: Apache-2.0"


def check_header(name, lines, problems):
    if name.suffix not in LICENSED and name.name not in ("meson_options.txt", "CMakeLists.txt"):
        return
    if len(lines) < TINY_LINES:
        return
    head = "\n".join(lines[:4])
    if "SPDX-FileCopyrightText:" not in head or IDENTIFIER not in head:
        problems.append(f"{name}: no SPDX header in its first lines")


def check_lines(name, lines, problems):
    if len(lines) > FILE_LINES:
        problems.append(f"{name}: {len(lines)} lines, more than {FILE_LINES}")
    code = name.suffix in (".c", ".h", ".def", ".py", ".sh")
    for i, line in enumerate(lines, 1):
        if code and "\t" in line and name.suffix != ".sh":
            problems.append(f"{name}:{i}: a tab")
        if line != line.rstrip():
            problems.append(f"{name}:{i}: white space at the end")
        if name.suffix in (".c", ".h") and len(line) > LINE_WIDTH:
            problems.append(f"{name}:{i}: {len(line)} columns, more than {LINE_WIDTH}")
        if code and UNFINISHED.search(line):
            problems.append(f"{name}:{i}: {UNFINISHED.search(line).group(0)}")
        if re.match(r"\s*#\s*if\s+0\b", line):
            problems.append(f"{name}:{i}: disabled code")


def check_functions(name, source, problems):
    sizes = []
    for function, _, line, length in tree.functions(source):
        sizes.append(length)
        if length > FUNCTION_LINES:
            problems.append(f"{name}:{line}: {function} has {length} lines, "
                            f"more than {FUNCTION_LINES}")
    return sizes


def main():
    problems, sizes = [], []
    for name in tree.files():
        if name.parts[:2] == ("examples", "models") or name.suffix in (".txt", ".json", ".jsonl"):
            continue
        try:
            source = tree.text(name)
        except UnicodeDecodeError:
            continue
        lines = source.split("\n")
        check_header(name, lines, problems)
        check_lines(name, lines[:-1] if lines[-1] == "" else lines, problems)
        if name.parts[0] == "lib" and name.suffix in (".c", ".h"):
            sizes += check_functions(name, source, problems)
    if len(sizes) < 100:
        problems.append(f"only {len(sizes)} functions were found in lib/")
    else:
        print(f"functions in lib/: {len(sizes)}, median {statistics.median(sizes)} lines, "
              f"nine of ten below {sorted(sizes)[len(sizes) * 9 // 10]}")
    tree.finish(problems, "check_style")


if __name__ == "__main__":
    sys.exit(main())
