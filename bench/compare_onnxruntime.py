#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""4-bit products of ONNX Runtime (MatMulNBits) beside those of bench_gemm, in turn, in one run.

usage: compare_onnxruntime.py BUILD [--n 4096] [--k 4096] [--rounds 5]

Needs numpy, onnx and onnxruntime from PyPI. Float activations on both sides (accuracy level 0),
groups of 128, symmetric, one thread, the same weights again and again (hot). Prints the median of
the rounds in GFLOP/s (2 m n k) and the ratio of the medians.
"""
import argparse
import re
import statistics
import subprocess
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

ROWS = [1, 4, 16, 64, 512]


def session(n, k, m):
    rng = numpy.random.default_rng(1)
    blocks = k // 128
    codes = rng.integers(0, 256, (n, blocks, 64), dtype=numpy.uint8)
    scales = rng.random((n * blocks,), dtype=numpy.float32)
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft",
                            K=k, N=n, bits=4, block_size=128, accuracy_level=0)
    graph = helper.make_graph(
        [node], "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
        [onnx.numpy_helper.from_array(codes, "codes"),
         onnx.numpy_helper.from_array(scales, "scales")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                    helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def peer_gflops(n, k, m, seconds=0.5):
    run = session(n, k, m)
    x = numpy.random.default_rng(2).standard_normal((m, k)).astype(numpy.float32)
    for _ in range(3):
        run.run(None, {"x": x})
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run.run(None, {"x": x})
        times.append(time.perf_counter() - start)
    return 2e-9 * m * n * k / statistics.median(times)


def our_gflops(build, n, k):
    """Hot figures of bench_gemm by number of rows."""
    text = subprocess.run([f"{build}/bench/bench_gemm", "--type=w4g128", "--seconds=0.3"],
                          check=True, capture_output=True, text=True).stdout
    pattern = rf"w4g128 +{n} x {k} +m=(\d+) +hot .*? us +([0-9.]+) GFLOP/s"
    return {int(m): float(g) for m, g in re.findall(pattern, text)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="build folder with bench/bench_gemm")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    n, k = arguments.n, arguments.k
    ours, peer = {m: [] for m in ROWS}, {m: [] for m in ROWS}
    for _ in range(arguments.rounds):
        for m, figure in our_gflops(arguments.build, n, k).items():
            ours[m].append(figure)
        for m in ROWS:
            peer[m].append(peer_gflops(n, k, m))
    print(f"{n} x {k}, 4 bits, groups of 128, float activations, one thread, hot, "
          f"onnxruntime {onnxruntime.__version__}")
    print(f"{'m':>5} {'quantlib':>10} {'onnxruntime':>12} {'ratio':>6}   GFLOP/s, medians")
    for m in ROWS:
        a, b = statistics.median(ours[m]), statistics.median(peer[m])
        print(f"{m:>5} {a:>10.1f} {b:>12.1f} {a / b:>6.2f}")


if __name__ == "__main__":
    main()
