#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles every public header alone, twice included, in each language standard that it promises.

usage: check_headers.py c|c++ SOURCE COMPILER...    Exit 77: there is no such compiler.
Also (c): the umbrella holds every header but threads.h, and the build installs all of them.
"""
import re
import subprocess
import sys
from pathlib import Path

STANDARDS = {"c": ["c99", "c11", "c17"], "c++": ["c++98", "c++11", "c++20"]}
WARNINGS = {"c": ["-Wstrict-prototypes"], "c++": ["-Wold-style-cast"]}
COMMON = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Wshadow", "-Wconversion", "-Werror",
          "-fsyntax-only"]


def compiles(language, compiler, include, standard, header):
    source = f"#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n"
    if language == "c++":
        source = source.replace("(void)", "()")
    command = compiler + [f"-std={standard}", *COMMON, *WARNINGS[language], "-x", language,
                          f"-I{include}", "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(f"{header} as {standard}:\n{result.stderr}")
    return result.returncode == 0


def check_lists(source, headers):
    umbrella = (source / "include/quantlib/quantlib.h").read_text()
    installed = (source / "include/meson.build").read_text()
    missing = [h for h in headers if h not in ("quantlib/threads.h", "quantlib/quantlib.h")
               and not re.search(rf"^#include <{re.escape(h)}>", umbrella, re.M)]
    missing += [h for h in headers if f"'{h}'" not in installed]
    for header in missing:
        print(f"{header} is missing in quantlib.h or include/meson.build")
    return not missing


def main():
    language, source, compiler = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if not compiler:
        print(f"SKIPPED: no compiler for {language}")
        return 77
    include = source / "include"
    headers = sorted(str(p.relative_to(include)) for p in include.rglob("*.h"))
    good = len(headers) > 10
    for header in headers:
        for standard in STANDARDS[language]:
            good = compiles(language, compiler, include, standard, header) and good
    if language == "c":
        good = check_lists(source, headers) and good
    print(f"{len(headers)} headers, {', '.join(STANDARDS[language])}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
