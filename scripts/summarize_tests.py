#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Adds up what test.sh ran: one meson test log per stage and notes on the stages themselves.

Names every failure and every skip with its reason, single cases and levels of kernels within a test
too, ends with "N passed, N failed, N skipped" and exits with 1 when anything failed or nothing ran.
With --must-run (what continuous integration asks) a skip is a failure, unless its reason is one
that a machine may have.
"""
import json
import pathlib
import re
import sys

OK = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def skip_reason(entry):
    """The last line of a test's output that says SKIP, as every test here prints before exit 77."""
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    lines = [line.strip() for line in text.splitlines() if "SKIP" in line]
    return lines[-1] if lines else "no reason given"


# Python's unittest: "test_x (...) ... skipped 'why'"; kcheck: a level that did not run.
CASE = re.compile(r"^(?:(\w+) \(.*|.*)\.\.\. skipped ['\"](.*)['\"]$", re.M)
LEVEL = re.compile(r"^(\w+) +built, but not run: (.*)$", re.M)

# What may be missing where the tests run: packages from PyPI, the right to mount, processors newer
# than the basic level of vectors. Symbols are looked at in the other builds.
MAY_SKIP = (
    re.compile(r"interoperation tests|torch and transformers"),
    re.compile(r"cannot mount a tmpfs"),
    re.compile(r"a sanitizer adds symbols"),
    re.compile(r"kernels of (?!scalar|avx2\b|neon\b)\w+: this machine lacks it"),
)


def inner_skips(entry):
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    for found in CASE.finditer(text):
        yield found.group(2) if found.group(1) is None else f"{found.group(1)}: {found.group(2)}"
    for found in LEVEL.finditer(text):
        yield f"kernels of {found.group(1)}: {found.group(2)}"


def read_stage(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        yield f"{path.stem}: {entry['name']}", entry


def main(folder, must_run=False):
    passed, failed, skipped = [], [], []
    for path in sorted(folder.glob("*.json")):
        for name, entry in read_stage(path):
            skipped += [(name, reason) for reason in inner_skips(entry)]
            if entry["result"] in OK:
                passed.append(name)
            elif entry["result"] in SKIPPED:
                skipped.append((name, skip_reason(entry)))
            else:
                failed.append(f"{name} ({entry['result']})")
    notes = folder / "notes.tsv"
    for line in notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []:
        stage, verdict, text = line.split("\t")
        target = passed if verdict == "ok" else failed
        if verdict == "skip":
            skipped.append((stage, text))
        else:
            target.append(f"{stage}: {text}")
    if must_run:
        missed = [s for s in skipped if not any(may.search(s[1]) for may in MAY_SKIP)]
        failed += [f"{name} (skipped: {reason})" for name, reason in missed]
        skipped = [s for s in skipped if s not in missed]
    for name, reason in skipped:
        print(f"skipped: {name}: {reason}")
    for name in failed:
        print(f"FAILED: {name}")
    tail = f", {len(skipped)} skipped" if skipped else ""
    print(f"{len(passed)} passed, {len(failed)} failed{tail}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), "--must-run" in sys.argv[2:]))
