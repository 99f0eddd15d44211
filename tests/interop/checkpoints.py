# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that `ql quantize` writes, read with nothing of ours."""
import json
import pathlib

import numpy as np

import gptq_layout
from reference_model import Model
from support import load, run

# name: what is passed to ql quantize besides the model.
RECIPES = {
    "rtn4": ["--method", "rtn", "--bits", "4"],
    "gptq4": ["--bits", "4"],
    "gptq4-asym": ["--bits", "4", "--asym"],
    "gptq4-asym-v1": ["--bits", "4", "--asym", "--format", "gptq"],
    "gptq3-act": ["--bits", "3", "--act-order", "act"],
    "gptq3-asym-act": ["--bits", "3", "--asym", "--act-order", "act", "--group-size", "64"],
    "gptq2": ["--bits", "2", "--group-size", "64", "--act-order", "none"],
    "gptq8-static": ["--bits", "8", "--act-order", "static", "--format", "gptq_v2"],
    "gptq2-row": ["--bits", "2", "--asym", "--group-size", "-1", "--act-order", "none"],
}

# Those that the light test makes.
LIGHT = ["rtn4", "gptq4", "gptq4-asym-v1", "gptq3-asym-act", "gptq2-row"]


def quantize(ql, model, out, recipe, text):
    """Little calibration: what is tested is the file, not the quality."""
    run(ql, "quantize", model, "-o", out, *RECIPES[recipe], "--calib", text, "--calib-tokens", "2048",
        "--seq-len", "128", "--threads", "2", "--json")
    return pathlib.Path(out)


def quant_config(folder):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config, config["quantization_config"]


def is_v1(quant):
    return quant.get("checkpoint_format", "gptq") == "gptq"


def float_tensors(folder):
    """The checkpoint with its layers dequantized to f32 by gptq_layout."""
    _, quant = quant_config(folder)
    stored = load(folder)
    layers = gptq_layout.layers_of(stored)
    out = {name: value for name, value in stored.items()
           if name.rsplit(".", 1)[0] not in layers or name.endswith(".bias")}
    for layer in layers:
        out[f"{layer}.weight"] = gptq_layout.dequantize(gptq_layout.parts_of(stored, layer), quant["bits"], is_v1(quant))
    return out


def float_model(folder):
    config, _ = quant_config(folder)
    return Model(config, float_tensors(folder))


def sizes(folder):
    """bits_per_weight, model_bits_per_weight and model_bytes from what lies in the files."""
    config, quant = quant_config(folder)
    stored = load(folder)
    layers = gptq_layout.layers_of(stored)
    bits = sum(8 * stored[f"{layer}.{part}"].nbytes for layer in layers for part in ("qweight", "qzeros", "scales"))
    weights = {layer: len(stored[f"{layer}.g_idx"]) * stored[f"{layer}.scales"].shape[1] for layer in layers}
    quantized = sum(weights.values())
    rest = sum(v.size for name, v in stored.items() if name.rsplit(".", 1)[0] not in layers or name.endswith(".bias"))
    total = sum(v.nbytes for v in stored.values())
    assert config and quant
    return {"bits_per_weight": bits / quantized, "model_bits_per_weight": 8 * total / (quantized + rest),
            "model_bytes": total}


def equal_bits(a, b):
    return a.shape == b.shape and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
