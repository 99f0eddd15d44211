#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Adds up what test.sh ran: one meson test log per stage and notes on the stages themselves.

Names every failure and every skip with its reason, ends with "N passed, N failed, N skipped" and
exits with 1 when anything failed or nothing ran.
"""
import json
import pathlib
import sys

OK = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def skip_reason(entry):
    """The last line of a test's output that says SKIP, as every test here prints before exit 77."""
    text = (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    lines = [line.strip() for line in text.splitlines() if "SKIP" in line]
    return lines[-1] if lines else "no reason given"


def read_stage(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        yield f"{path.stem}: {entry['name']}", entry


def main(folder):
    passed, failed, skipped = [], [], []
    for path in sorted(folder.glob("*.json")):
        for name, entry in read_stage(path):
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
    for name, reason in skipped:
        print(f"skipped: {name}: {reason}")
    for name in failed:
        print(f"FAILED: {name}")
    tail = f", {len(skipped)} skipped" if skipped else ""
    print(f"{len(passed)} passed, {len(failed)} failed{tail}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
