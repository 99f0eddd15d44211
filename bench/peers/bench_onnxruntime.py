#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Times products of ONNX Runtime's CPU provider.

Needs numpy, onnx and onnxruntime from PyPI: pip install numpy onnx onnxruntime

w4a8     MatMulNBits, 4 bits symmetric, blocks of 128, accuracy level 4 (8-bit activations)
w4a16    the same, accuracy level 0 (activations as they are)
w8a8     MatMulNBits, 8 bits, blocks of 128, accuracy level 4
integer  MatMulInteger: codes in, 32-bit sums out, no scales
dynamic  DynamicQuantizeMatMul: f32 in and out, 8-bit codes, one scale of the weights
f32      MatMul
"""
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

import peer

WORKS = ["w4a8", "w4a16", "w8a8", "integer", "dynamic", "f32"]
BLOCK = 128


def nbits(rng, bits, level, i, n, k):
    codes = rng.integers(0, 256, (n, k // BLOCK, BLOCK * bits // 8), dtype=numpy.uint8)
    deviation = ((1 << bits) - 1) / 12 ** 0.5
    scales = numpy.full(n * k // BLOCK, peer.scale_of(k, deviation), dtype=numpy.float32)
    node = helper.make_node("MatMulNBits", [f"x{i}", f"codes{i}", f"scales{i}"], [f"x{i + 1}"],
                            domain="com.microsoft", K=k, N=n, bits=bits, block_size=BLOCK,
                            accuracy_level=level)
    return [node], {f"codes{i}": codes, f"scales{i}": scales}


def dense(rng, i, n, k):
    weights = rng.standard_normal((k, n), dtype=numpy.float32) * peer.scale_of(k, 1.0)
    return [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"])], {
        f"w{i}": weights.astype(numpy.float32)}


def dynamic(rng, i, n, k):
    codes = rng.integers(-127, 128, (k, n)).astype(numpy.int8)
    scale = numpy.array(peer.scale_of(k, 73.3), dtype=numpy.float32)
    node = helper.make_node("DynamicQuantizeMatMul",
                            [f"x{i}", f"w{i}", f"s{i}", f"z{i}"], [f"x{i + 1}"],
                            domain="com.microsoft")
    return [node], {f"w{i}": codes, f"s{i}": scale, f"z{i}": numpy.array(0, dtype=numpy.int8)}


def integer(rng, i, n, k):
    """Each product from the same input: its 32-bit sums are no input for the next."""
    node = helper.make_node("MatMulInteger", ["x0", f"w{i}"], [f"y{i}"])
    return [node], {f"w{i}": rng.integers(-127, 128, (k, n)).astype(numpy.int8)}


MAKERS = {
    "w4a8": lambda *a: nbits(a[0], 4, 4, *a[1:]), "w4a16": lambda *a: nbits(a[0], 4, 0, *a[1:]),
    "w8a8": lambda *a: nbits(a[0], 8, 4, *a[1:]),
    "integer": integer, "dynamic": dynamic, "f32": dense,
}


def weight_bytes(work, n, k):
    if work.startswith("w4"):
        return n * k // 2 + 4 * (n * k // BLOCK)
    if work.startswith("w8"):
        return n * k + 4 * (n * k // BLOCK)
    return n * k * (4 if work == "f32" else 1)


def session(options, work, count):
    rng = numpy.random.default_rng(1)
    chain = work != "integer"
    nodes, weights = [], {}
    shapes = peer.shapes(options.n, options.k, count) if chain else [(options.n, options.k)] * count
    for i, (n, k) in enumerate(shapes):
        more, tensors = MAKERS[work](rng, i, n, k)
        nodes += more
        weights.update(tensors)
    kind = TensorProto.FLOAT if chain else TensorProto.UINT8
    outputs = [(f"x{count}", shapes[-1][0])] if chain else [(f"y{i}", n) for i, (n, _) in
                                                           enumerate(shapes)]
    graph = helper.make_graph(
        nodes, "products", [helper.make_tensor_value_info("x0", kind, ["m", options.k])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT if chain else TensorProto.INT32,
                                       ["m", n]) for name, n in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                    helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings,
                                        providers=["CPUExecutionProvider"])


def inputs(work, m, k):
    rng = numpy.random.default_rng(2)
    if work == "integer":
        return rng.integers(0, 256, (m, k), dtype=numpy.uint8)
    return rng.standard_normal((m, k)).astype(numpy.float32)


def run(options, work, cold):
    bytes_each = weight_bytes(work, options.n, options.k)
    count = peer.copies(options, bytes_each, cold)
    made = session(options, work, count)
    for m in options.m:
        binding = made.io_binding()
        binding.bind_cpu_input("x0", inputs(work, m, options.k))
        for output in made.get_outputs():
            binding.bind_output(output.name, "cpu")
        times = peer.measure(options, lambda: made.run_with_iobinding(binding))
        peer.emit(options, times, count, bytes_each, m, cold, peer="onnxruntime", work=work,
                  version=onnxruntime.__version__)


def main():
    options = peer.arguments(__doc__.splitlines()[0], WORKS)
    for work in options.work:
        for cold in options.states:
            run(options, work, cold)


if __name__ == "__main__":
    main()
