# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""What the programs that time other projects share: options, sizes, timing, rows.

Each of them times kinds of work ("4 bits with 8-bit activations") on weights [n, k] and prints one
JSON object a line. Cold: one call goes through a chain (or a set) of copies of the weights that
together are larger than the last-level cache; hot: through so few that they stay in it. The time of
a call is divided by the products in it, so that what starting a call costs does not count.
"""
import argparse
import json
import math
import statistics
import time
from pathlib import Path


def cache_bytes():
    """Of the last-level cache, from the system; 32 MiB where it does not say."""
    best = (0, 32 << 20)
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        size = (index / "size").read_text().strip()
        unit = {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
        value = int(size.rstrip("KM")) * unit
        best = max(best, (int((index / "level").read_text()), value))
    return best[1]


def arguments(description, works):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", default=",".join(works), help=f"of {', '.join(works)}")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--m", default="1,4,16,64,512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", choices=["both", "cold", "hot"], default="both")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each row")
    parser.add_argument("--cold-mib", type=int, default=4 * cache_bytes() >> 20)
    parsed = parser.parse_args()
    parsed.m = [int(m) for m in parsed.m.split(",")]
    parsed.work = parsed.work.split(",")
    unknown = [work for work in parsed.work if work not in works]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}")
    parsed.states = {"both": [True, False], "cold": [True], "hot": [False]}[parsed.state]
    return parsed


def copies(options, weight_bytes, cold):
    """Cold: more than the cache; hot: half of it at most, and few, but at least one."""
    if cold:
        return (options.cold_mib << 20) // weight_bytes + 2
    return max(1, min(4, int(0.5 * cache_bytes() / weight_bytes)))


def shapes(n, k, count):
    """Shapes of a chain: [n, k], and where they differ [k, n] in turn: as many elements."""
    return [(n, k) if i % 2 == 0 else (k, n) for i in range(count)]


def scale_of(k, deviation):
    """Scales with which products keep the size of their inputs along a chain."""
    return 1.0 / (math.sqrt(k) * deviation)


def measure(options, call):
    """Seconds of calls after some to warm up: at least 15, and fewer where they take long."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first < 0.3:
        call()
    enough = 15 if 15 * first < 2 * options.seconds else 5 if first < 0.5 else 2
    times, end = [], time.perf_counter() + options.seconds
    while len(times) < enough or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def emit(options, times, products, weight_bytes, m, cold, **more):
    seconds = statistics.median(times) / products
    operations = 2 * m * options.n * options.k
    row = dict(more, m=m, n=options.n, k=options.k, threads=options.threads, cold=cold,
               seconds=seconds, seconds_least=min(times) / products, calls=len(times) * products,
               weight_bytes=weight_bytes, weight_gb_per_s=weight_bytes / seconds * 1e-9,
               gops=operations / seconds * 1e-9)
    print(json.dumps(row), flush=True)
