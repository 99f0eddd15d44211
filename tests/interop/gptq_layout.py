# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The GPTQ storage layout in numpy, from its description: packing, unpacking, dequantizing.

A layer P of shape [out, in] is stored as P.qweight I32 [in * bits / 32, out] (codes along the
rows), P.qzeros I32 [groups, out * bits / 32] (zero points along the columns), P.scales F16
[groups, out] and P.g_idx I32 [in]. A run of 32 codes is one little-endian stream of bits * 32
bits. Version 1 stores a zero point minus one.
"""
import numpy as np


def pack(values, bits):
    """Codes [n, m] to words [n * bits / 32, m]: 32 codes after each other make `bits` words."""
    n, m = values.shape
    assert n % 32 == 0
    # Bit i of the stream of a run is bit i % bits of code i // bits.
    stream = (values.reshape(n // 32, 32, 1, m).astype(np.uint64) >> np.arange(bits, dtype=np.uint64)[:, None]) & 1
    stream = stream.reshape(n // 32, bits, 32, m)
    words = (stream << np.arange(32, dtype=np.uint64)[:, None]).sum(axis=2)
    return words.reshape(n * bits // 32, m).astype(np.uint32).view(np.int32)


def unpack(words, bits, n):
    """The first n rows of codes."""
    m = words.shape[1]
    w = np.ascontiguousarray(words).view(np.uint32).astype(np.uint64)
    stream = (w[:, None, :] >> np.arange(32, dtype=np.uint64)[:, None]) & 1
    codes = stream.reshape(-1, bits, m)
    codes = (codes << np.arange(bits, dtype=np.uint64)[:, None]).sum(axis=1)
    return codes[:n].astype(np.int64)


def encode(codes, zeros, scales, g_idx, bits, v1):
    """Parts of a layer from codes [out, in], zeros [groups, out], scales [groups, out]."""
    field = zeros - 1 if v1 else zeros
    assert field.min() >= 0 and field.max() < 2**bits
    return {"qweight": pack(np.ascontiguousarray(codes.T), bits),
            "qzeros": np.ascontiguousarray(pack(np.ascontiguousarray(field.T), bits).T),
            "scales": scales.astype(np.float16), "g_idx": g_idx.astype(np.int32)}


def decode(parts, bits, v1):
    """Codes [out, in], zeros [groups, out], scales [groups, out], g_idx [in]."""
    g_idx = parts["g_idx"]
    codes = unpack(parts["qweight"], bits, len(g_idx)).T
    zeros = unpack(np.ascontiguousarray(parts["qzeros"].T), bits, parts["scales"].shape[1]).T + (1 if v1 else 0)
    return codes, zeros, parts["scales"], g_idx


def dequantize(parts, bits, v1):
    """w = s (q - z) in f32, one rounding: [out, in]."""
    codes, zeros, scales, g_idx = decode(parts, bits, v1)
    difference = (codes - zeros[g_idx].T).astype(np.float32)
    return (scales.astype(np.float32)[g_idx].T * difference).astype(np.float32)


def layers_of(tensors):
    """Names of the quantized layers of a checkpoint."""
    return sorted(name[: -len(".qweight")] for name in tensors if name.endswith(".qweight"))


def parts_of(tensors, layer):
    return {part: tensors[f"{layer}.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx")}
