# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The files of the source tree and the outline of C files, for the check_*.py scripts."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def files():
    """Paths of all files of the project, relative to ROOT: git's list, or what is there."""
    try:
        listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others",
                                  "--exclude-standard"], check=True, capture_output=True)
        names = [Path(n) for n in listing.stdout.decode().split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = [p.relative_to(ROOT) for p in walk(ROOT)]
    return sorted(n for n in names if (ROOT / n).is_file() and not (ROOT / n).is_symlink())


def walk(directory):
    for path in sorted(directory.iterdir()):
        if path.name.startswith((".git", ".venv", "build")) or path.name == "__pycache__":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)
        elif path.is_file():
            yield path


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def without_comments(source):
    """C source with comments, strings and characters blanked; lines keep their numbers."""
    def blank(match):
        token = match.group(0)
        if token.startswith(("/*", "//")):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[-1]
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, source, flags=re.S)


def functions(source):
    """(name, is_static, first line, lines) of the function definitions of clang-formatted C: the
    header begins in column 0, the braces of the body stand alone in column 0."""
    lines = without_comments(source).split("\n")
    start = None
    for i, line in enumerate(lines):
        if start is None and re.match(r"[A-Za-z_].*", line) and not line.startswith("#"):
            start = i
        if line.startswith("{") and start is not None:
            header = " ".join(lines[start:i])
            end = next(j for j in range(i, len(lines)) if lines[j].startswith("}"))
            name = re.match(r"[^(]*?(\w+)\s*\(", header)
            if name and "=" not in header.split("(")[0]:
                words = header.split("(")[0].split()
                static = "static" in words or "ALWAYS" in words  # of kernels: static, always inline
                yield name.group(1), static, start + 1, end - start + 1
            start = None
        elif line.endswith((";", "}")) or line.strip() == "":
            start = None


def finish(problems, what):
    """Prints the problems and exits: 0 without any."""
    for problem in problems:
        print(problem)
    print(f"{what}: {len(problems)} problem{'s' * (len(problems) != 1)}")
    sys.exit(1 if problems else 0)
