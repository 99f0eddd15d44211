#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom: the dependency law of doc/design/architecture.md.

Quoted includes find headers in the same directory or in one that the row below admits; names of
headers are unique in lib/, kernels/ and engine/, so a name tells the directory.
"""
import re
from pathlib import Path

import tree

# Directory: those whose headers it may include, beside its own and the public ones.
MAY_INCLUDE = {
    "lib/base": ["kernels"],
    "lib/grid": ["lib/base"],
    "lib/linalg": ["lib/base", "kernels"],
    "lib/stats": ["lib/base", "lib/linalg", "lib/io", "kernels"],
    "lib/algo": ["lib/base", "lib/grid", "lib/linalg", "lib/stats"],
    "lib/plan": ["lib/base"],
    "lib/io": ["lib/base"],
    "lib/format": ["lib/base", "lib/grid"],
    "lib/runtime": ["lib/base", "lib/grid", "kernels"],
    "lib/cache": ["lib/base", "lib/io", "lib/runtime", "kernels"],
    "lib/api": ["lib/base", "lib/grid", "lib/io", "lib/format", "lib/runtime", "kernels"],
    "lib/threads": [],
    **{f"kernels/{path.name}": ["kernels"] for path in (tree.ROOT / "kernels").iterdir()
       if path.is_dir()},
    "kernels": [],
    "engine": [],
    "cli": ["engine", "bench/core"],
    "examples": [],
    "bench": ["engine", "bench/core"],
    "bench/core": ["bench"],
    "bench/micro": ["bench/core", "lib/base", "lib/linalg"],
    "include/quantlib": [],
    "include/quantlib/algo": [],
}
# Headers that the build makes.
GENERATED = {"qlk_built.h": "kernels"}
# System headers of the kernels.
KERNEL_SYSTEM = {"stdbool.h", "stddef.h", "stdint.h", "string.h"}
INTRINSICS = {"immintrin.h", "arm_neon.h", "arm_sve.h"}
PUBLIC_SYSTEM = {"stddef.h", "stdint.h"}


def room(name):
    """The longest row that holds the file."""
    for directory in [str(p) for p in name.parents]:
        if directory in MAY_INCLUDE:
            return directory
    return None


def header_rooms(names, problems):
    rooms = dict(GENERATED)
    for name in names:
        if name.suffix not in (".h", ".def") or \
                name.parts[0] not in ("lib", "kernels", "engine") and name.parts[:2] != ("bench", "core"):
            continue
        if name.name in rooms:
            problems.append(f"{name}: there is another header of that name in {rooms[name.name]}")
        rooms[name.name] = str(name.parent)
    return rooms


def check_system(name, where, header, problems):
    if where.startswith("kernels"):
        isa = where.partition("/")[2]
        shared = {"immintrin.h"} if "_x86_" in name.name else {"arm_neon.h"} if "_neon_" in name.name \
            else set()
        extra = shared if isa == "" else {"math.h"} if isa == "scalar" else INTRINSICS
        if header not in KERNEL_SYSTEM | extra:
            problems.append(f"{name}: a kernel includes <{header}>")
    elif where.startswith("include"):
        if header not in PUBLIC_SYSTEM and not header.startswith("quantlib/"):
            problems.append(f"{name}: a public header includes <{header}>")


def target_of(name, header, rooms):
    """The directory of the header that this include finds."""
    beside = (tree.ROOT / name.parent / header).resolve()
    if beside.is_file():
        return str(beside.parent.relative_to(tree.ROOT))
    return rooms.get(Path(header).name)


def check_file(name, where, rooms, problems):
    for quote, header in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', tree.text(name), re.M):
        if quote == "<":
            check_system(name, where, header, problems)
            continue
        target = target_of(name, header, rooms)
        if target is None:
            problems.append(f'{name}: "{header}" is in no known place')
        elif target not in MAY_INCLUDE[where] and target != where:
            problems.append(f'{name}: includes "{header}" of {target}, which {where} may not')


def main():
    problems = []
    names = tree.files()
    rooms = header_rooms(names, problems)
    checked = 0
    for name in names:
        where = room(name)
        if where is not None and name.suffix in (".c", ".h", ".def"):
            checked += 1
            check_file(name, where, rooms, problems)
    if checked < 50:
        problems.append(f"only {checked} files were found")
    tree.finish(problems, f"check_layers: {checked} files")


if __name__ == "__main__":
    main()
