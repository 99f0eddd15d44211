#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checks the name schemes: public ql_ and QL_, internal qli_, kernels qlk_, engine qle_, file names
of kernels, and that nothing defines a macro of the finance library QuantLib."""
import re

import tree

ISAS = re.findall(r"^QLK_ISA\((\w+)", tree.text("kernels/qlk_isas.def"), re.M)
# Macros of the finance library of the same name: a program may include both.
TAKEN = {"QL_VERSION", "QL_REQUIRE", "QL_ASSERT", "QL_FAIL", "QL_ENSURE", "QL_HEX_VERSION",
         "QL_LIB_VERSION", "QL_EPSILON", "QL_MIN_INTEGER", "QL_MAX_INTEGER", "QL_MIN_REAL",
         "QL_MAX_REAL"}
# Directory: what names with external linkage begin with.
PREFIX = {"lib": ("qli_", "ql_"), "kernels": ("qlk_",), "engine": ("qle_",)}


def check_public(name, source, problems):
    for line, macro in re.findall(r"^(#define\s+(\w+))", source, re.M):
        if not macro.startswith(("QL_", "QUANTLIB_")):
            problems.append(f"{name}: public macro {macro}")
    for function in re.findall(r"^QL_API\b[^;(]*?(\w+)\(", source, re.M):
        if not re.fullmatch(r"ql_[a-z0-9_]+", function):
            problems.append(f"{name}: public function {function}")
    for alias in re.findall(r"^(?:typedef\b.*?|})\s*(\w+);", source, re.M):
        if not re.fullmatch(r"ql_[a-z0-9_]+", alias):
            problems.append(f"{name}: public type {alias}")
    for constant in re.findall(r"^  ([A-Za-z]\w*) = -?\d+,?", source, re.M):
        if not re.fullmatch(r"QL_[A-Z0-9_]+", constant):
            problems.append(f"{name}: public constant {constant}")


def check_kernel_file(name, seen, problems):
    isa = name.parts[1] if len(name.parts) > 2 else None
    if name.suffix == ".c" and (isa not in ISAS or not name.stem.endswith("_" + isa)):
        problems.append(f"{name}: not kernels/<isa>/<family>_<isa>.c")
    if isa is None and not name.name.startswith("qlk_") and name.suffix != ".build":
        problems.append(f"{name}: shared files of the kernels begin with qlk_")
    if name.suffix in (".c", ".h") and name.name in seen:
        problems.append(f"{name}: {seen[name.name]} has the same name")
    seen[name.name] = name


def check_functions(name, source, problems):
    prefixes = PREFIX[name.parts[0]]
    for function, static, line, _ in tree.functions(source):
        reserved = ("ql_", "qli_", "qlk_", "qle_")
        if not static and not function.startswith(prefixes):
            problems.append(f"{name}:{line}: {function} is visible but does not begin with "
                            + " or ".join(prefixes))
        elif static and name.suffix == ".c" and function.startswith(reserved) \
                and name.parts[0] != "kernels":
            problems.append(f"{name}:{line}: {function} is static but has a prefix")


def main():
    problems, seen, checked = [], {}, 0
    for name in tree.files():
        if name.suffix not in (".c", ".h", ".def", ".build"):
            continue
        source = tree.text(name)
        for macro in re.findall(r"^\s*#\s*define\s+(\w+)", source, re.M):
            if macro in TAKEN:
                problems.append(f"{name}: {macro} is a macro of the finance library QuantLib")
        if name.parts[0] == "include" and name.suffix == ".h":
            check_public(name, tree.without_comments(source), problems)
        if name.parts[0] == "kernels":
            check_kernel_file(name, seen, problems)
        if name.parts[0] in PREFIX and name.suffix in (".c", ".h") \
                and name.parts[:2] != ("lib", "threads"):
            checked += 1
            check_functions(name, source, problems)
    if checked < 50:
        problems.append(f"only {checked} files were found")
    tree.finish(problems, f"check_names: {checked} files")


if __name__ == "__main__":
    main()
