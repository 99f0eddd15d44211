#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Times products of OpenVINO's CPU plugin.

Needs numpy and openvino from PyPI: pip install numpy openvino

w4a8    u4 weights, zero point 8, f16 scales per 128, dynamic quantization of the activations per 128
w4a8g32 the same with activations quantized per 32
w4a16   the same weights, activations as they are
w4bf16  the same weights, its bf16 hint
w8a8    u8 weights, zero point 128, f16 scales per 128, dynamic quantization per 128
w8a16   the same weights, activations as they are
f32     weights in f32
"""
import numpy
import openvino
from openvino import opset13 as ops

import peer

GROUP = 128
# Work: bits of the weights (32: floating point), group of the activations (0: none), precision.
WORKS = {"w4a8": (4, 128, "f32"), "w4a8g32": (4, 32, "f32"), "w4a16": (4, 0, "f32"),
         "w4bf16": (4, 0, "bf16"), "w8a8": (8, 128, "f32"), "w8a16": (8, 0, "f32"),
         "f32": (32, 0, "f32")}


def constant(array, shape, kind):
    """A constant of its own memory: shared, it would outlive the array."""
    return openvino.op.Constant(openvino.Tensor(array, openvino.Shape(shape), kind), False)


def weights(rng, bits, n, k):
    """f32 node [n, k], decompressed in the graph from codes, zero point and scales."""
    if bits == 32:
        return ops.constant((rng.standard_normal((n, k), dtype=numpy.float32)
                             * peer.scale_of(k, 1.0)).astype(numpy.float32))
    codes = rng.integers(0, 256, n * k * bits // 8, dtype=numpy.uint8)
    kind = openvino.Type.u4 if bits == 4 else openvino.Type.u8
    zero = numpy.array([0x08 if bits == 4 else 0x80], dtype=numpy.uint8)
    deviation = ((1 << bits) - 1) / 12 ** 0.5
    scales = numpy.full((n, k // GROUP, 1), peer.scale_of(k, deviation), dtype=numpy.float16)
    q = ops.convert(constant(codes, [n, k // GROUP, GROUP], kind), "f16")
    z = ops.convert(constant(zero, [1, 1, 1], kind), "f16")
    scaled = ops.multiply(ops.subtract(q, z), ops.constant(scales))
    flat = ops.reshape(scaled, ops.constant(numpy.array([n, k], dtype=numpy.int64)), False)
    return ops.convert(flat, "f32")


def compiled(options, work, m, count):
    rng = numpy.random.default_rng(1)
    bits, group, precision = WORKS[work]
    x = ops.parameter([m, options.k], numpy.float32)
    node = x
    for n, k in peer.shapes(options.n, options.k, count):
        node = ops.matmul(node, weights(rng, bits, n, k), False, True)
    model = openvino.Model([ops.result(node)], [x], "products")
    core = openvino.Core()
    return core.compile_model(model, "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads, "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision, "DYNAMIC_QUANTIZATION_GROUP_SIZE": group})


def weight_bytes(work, n, k):
    bits = WORKS[work][0]
    return n * k * bits // 8 + (2 * (n * k // GROUP) if bits < 32 else 0)


def run(options, work, m, cold):
    bytes_each = weight_bytes(work, options.n, options.k)
    count = peer.copies(options, bytes_each, cold)
    request = compiled(options, work, m, count).create_infer_request()
    x = numpy.random.default_rng(2).standard_normal((m, options.k)).astype(numpy.float32)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    times = peer.measure(options, lambda: (request.start_async(), request.wait()))
    peer.emit(options, times, count, bytes_each, m, cold, peer="openvino", work=work,
              version=openvino.__version__.split("-")[0])


def main():
    options = peer.arguments(__doc__.splitlines()[0], list(WORKS))
    for work in options.work:
        for cold in options.states:
            for m in options.m:
                run(options, work, m, cold)


if __name__ == "__main__":
    main()
