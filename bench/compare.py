#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Interleaved A/B of two benchmark commands: two builds, two instruction sets, two settings.

usage: compare.py [--rounds 7] [--json] A B [OPTION...]

A and B are commands, each in one word, that take qbench's options: "build/bench/qbench --isa=avx2",
or with `ql bench` "build/cli/ql bench". OPTION goes to both. They run in turn, A B B A A B ..., so
that what the machine does besides falls on both. Prints for each row the medians and the speed of B
relative to A (above 1: B is faster): the median of the rounds' ratios, and an interval that holds
their true median with nine chances in ten or more (from the ranks; it assumes no distribution).

    compare.py old/bench/qbench new/bench/qbench --op=w4a8 --shape=4096x4096 --m=1,512 --threads=1
"""
import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys

KEY = ["op", "weights", "act_dtype", "compute", "m", "n", "k", "threads", "cold"]


def run(command, options):
    words = shlex.split(command) + ["--json"] + options
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: {done.stderr.strip()}")
    return {tuple(row[k] for k in KEY): row for row in json.loads(done.stdout)}


def interval(values, chance=0.9):
    """The narrowest pair of order statistics around the median that covers it with that chance, or
    the extremes."""
    ordered, n = sorted(values), len(values)
    for skip in range((n - 1) // 2, 0, -1):
        outside = 2 * sum(math.comb(n, i) for i in range(skip)) / 2 ** n
        if 1 - outside >= chance:
            return ordered[skip - 1], ordered[n - skip]
    return ordered[0], ordered[-1]


def rounds(arguments):
    """Seconds of A and B for each row, a list with one entry a round."""
    seconds = {}
    for i in range(arguments.rounds):
        order = [(0, arguments.a), (1, arguments.b)]
        for side, command in order if i % 2 == 0 else reversed(order):
            for key, row in run(command, arguments.options).items():
                if row["seconds"] is not None:
                    seconds.setdefault(key, ([], []))[side].append(row["seconds"])
    return {k: v for k, v in seconds.items() if len(v[0]) == len(v[1]) == arguments.rounds}


def summarize(key, a, b):
    ratios = [x / y for x, y in zip(a, b)]
    low, high = interval(ratios)
    return dict(zip(KEY, key), a_seconds=statistics.median(a), b_seconds=statistics.median(b),
                speed=statistics.median(ratios), low=low, high=high, rounds=len(ratios))


def describe(row):
    return (f"{row['op']:<14} {row['weights']:<13} {row['compute']:<4}"
            f"{row['n']:>7} x {row['k']:<6} m={row['m']:<5} {row['threads']} thr "
            f"{'cold' if row['cold'] else 'hot ':<5}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("a")
    parser.add_argument("b")
    arguments, arguments.options = parser.parse_known_args()
    rows = [summarize(key, *pair) for key, pair in rounds(arguments).items()]
    if not rows:
        sys.exit("no row was measured by both")
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        sure = "" if row["low"] <= 1 <= row["high"] else "  differs"
        print(f"{describe(row)} {row['a_seconds'] * 1e6:>11.1f} us {row['b_seconds'] * 1e6:>11.1f} us"
              f"  {row['speed']:.3f} ({row['low']:.3f} to {row['high']:.3f}){sure}")


if __name__ == "__main__":
    main()
