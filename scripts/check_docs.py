#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checks what is said about the public interface. usage: check_docs.py [comments] [calls] [paths]

comments: each declaration of a public header has a comment that says since when it exists;
calls: each public function is called in a test or an example;
paths: documents name no file that is not there (doc/design speaks of plans, too).
Without arguments: all three.
"""
import re
import sys

import tree

# A comment speaks for the declarations that follow it without an empty line.
COMMENT = re.compile(r"/\*\*.*?\*/", re.S)


def declarations(source):
    """(line, name) of each QL_API function and each struct or opaque type."""
    for match in re.finditer(r"^QL_API\b[^;(]*?(\w+)\(", source, re.M):
        yield match.start(), match.group(1)
    for match in re.finditer(r"^typedef struct (\w+)", source, re.M):
        yield match.start(), match.group(1)


def comment_before(source, position):
    """The documentation comment of the block of lines that holds position, or None."""
    block = source.rfind("\n\n", 0, position)
    found = [m for m in COMMENT.finditer(source, max(block, 0), position)]
    return found[-1].group(0) if found else None


def check_header(name, problems):
    source = tree.text(name)
    functions = []
    for position, item in declarations(source):
        line = source.count("\n", 0, position) + 1
        comment = comment_before(source, position)
        if comment is None:
            problems.append(f"{name}:{line}: {item} has no comment")
        elif not re.search(r"@since \d+\.\d+", comment):
            problems.append(f"{name}:{line}: the comment of {item} has no @since")
        if item.startswith("ql_") and source.startswith("QL_API", position):
            functions.append(item)
    return functions


def check_used(functions, names, problems):
    used = set()
    for name in names:
        if name.parts[0] in ("tests", "examples") and name.suffix in (".c", ".h", ".py"):
            used.update(re.findall(r"\bql_\w+(?=\()", tree.text(name)))
    for function in functions:
        if function not in used:
            problems.append(f"{function} is called in no test and no example")


def check_paths(name, names, problems):
    """Paths in backquotes that look like files of the tree exist."""
    known = {str(n) for n in names} | {str(p) for n in names for p in n.parents}
    tops = {n.parts[0] for n in names if len(n.parts) > 1}
    for path in re.findall(r"`([\w./-]+/[\w./-]+)`", tree.text(name)):
        clean = path.rstrip("/")
        if clean.split("/")[0] in tops and clean not in known:
            problems.append(f"{name}: `{path}` does not exist")


def main():
    problems, functions = [], []
    wanted = sys.argv[1:] or ["comments", "calls", "paths"]
    names = tree.files()
    for name in names:
        if name.parts[0] == "include" and name.suffix == ".h":
            functions += check_header(name, problems if "comments" in wanted else [])
        if "paths" in wanted and name.suffix == ".md" and name.parts[0] in ("doc", "README.md") \
                and name.parts[:2] != ("doc", "design"):
            check_paths(name, names, problems)
    if "calls" in wanted:
        check_used(functions, names, problems)
    if len(functions) < 50:
        problems.append(f"only {len(functions)} public functions were found")
    tree.finish(problems, f"check_docs {' '.join(wanted)}: {len(functions)} functions")


if __name__ == "__main__":
    main()
