# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""GPTQ checkpoints packed by gptq_layout.py are read by the library as the same weights, bit for bit.

    test_gptq_layout.py QL_INTEROP
"""
import itertools
import json
import pathlib
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

import gptq_layout
import small_models
from support import DTYPES, Checks, dequantize

# Worked out by hand in the description of the layout: codes, bits, words.
VECTORS = [([0, 1, 2, 3, 4, 5, 6, 7] * 4, 4, [0x76543210] * 4),
           ([0x11, 0x22, 0x33, 0x44] * 8, 8, [0x44332211] * 8),
           ([0, 1, 2, 3] * 8, 2, [0xE4E4E4E4] * 2),
           ([i % 8 for i in range(32)], 3, [0x88FAC688, 0xC688FAC6, 0xFAC688FA])]


def random_layer(rng, rows, cols, bits, group, sym, v1, order):
    groups = -(-cols // group)
    codes = rng.integers(0, 2**bits, (rows, cols))
    if sym:
        zeros = np.full((groups, rows), 2**(bits - 1))
    else:
        zeros = rng.integers(1 if v1 else 0, 2**bits + (1 if v1 else 0), (groups, rows))
    # Scales from subnormal to large, both signs of exponent.
    scales = (rng.uniform(0.5, 1, (groups, rows)) * 2.0 ** rng.integers(-20, 10, (groups, rows))).astype(np.float16)
    g_idx = np.arange(cols) // group
    if order:
        g_idx = rng.permutation(g_idx)
    return codes, zeros, scales, g_idx


def write_checkpoint(folder, config, tensors, bits, group, sym, order, v1):
    """A Llama whose q_proj is quantized in the way to be tested."""
    quant = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": order,
             "checkpoint_format": "gptq" if v1 else "gptq_v2", "pack_dtype": "int32"}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quant}), encoding="utf-8")
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


def main(program):
    check = Checks()
    np.seterr(over="ignore")  # scales of 2^9 times 255 do not fit F16: Inf is right
    for codes, bits, words in VECTORS:
        packed = gptq_layout.pack(np.array(codes).reshape(-1, 1), bits).view(np.uint32)[:, 0].tolist()
        check.that(packed == words, f"hand-made vector of {bits} bits: {packed}")
    rng = np.random.default_rng(11)
    config = {**small_models.BASE, **small_models.FAMILIES["llama"], "hidden_size": 96, "intermediate_size": 160,
              "num_attention_heads": 4, "num_key_value_heads": 2}
    layer, (rows, cols) = "model.layers.0.self_attn.q_proj", (96, 96)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        cases = itertools.product((2, 3, 4, 8), (32, 40, -1), (True, False), (True, False), (False, True))
        for number, (bits, group, sym, v1, order) in enumerate(cases):
            name = f"{bits} bits, group {group}, sym {sym}, v1 {v1}, act order {order}"
            codes, zeros, scales, g_idx = random_layer(rng, rows, cols, bits, cols if group < 0 else group, sym, v1, order)
            parts = gptq_layout.encode(codes, zeros, scales, g_idx, bits, v1)
            folder = work / str(number)
            write_checkpoint(folder, config, {f"{layer}.{k}": v for k, v in parts.items()}, bits, group, sym, order, v1)
            # Straight from the definition, without the layout in between.
            exact = scales.astype(np.float64)[g_idx].T * (codes - zeros[g_idx].T)
            check.that(np.array_equal(gptq_layout.dequantize(parts, bits, v1), exact.astype(np.float32)), f"{name}: numpy")
            for dtype, numpy_type in DTYPES.items():
                ours = dequantize(program, folder, {layer: (rows, cols)}, dtype, work)[layer]
                # One rounding: from the product, which f64 holds exactly.
                expected = exact.astype(np.float32).astype(numpy_type) if dtype == "F32" else exact.astype(numpy_type)
                check.that(ours.tobytes() == expected.tobytes(), f"{name}: {dtype}")
    check.end()


if __name__ == "__main__":
    main(sys.argv[1])
