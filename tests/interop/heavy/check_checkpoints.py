# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of `ql quantize` in transformers: as float weights, and loaded by gptqmodel.

    check_checkpoints.py QL QL_INTEROP SOURCE_ROOT
"""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import gptqmodel
import numpy as np
import optimum.version
import tokenizers
import torch
import transformers

import checkpoints
import gptq_layout
import small_models
from in_transformers import open_float, perplexity
from support import Checks, dequantize, load, run

CTX = 128
SMALL = 640  # tokens for gptqmodel


def eval_of(ql, folder, text, tokens):
    return json.loads(run(ql, "eval", folder, "--text", text, "--ctx", CTX, "--max-tokens", tokens, "--json"))


def as_float(folder, work):
    """The checkpoint with f32 weights that numpy dequantized, for any program that reads floats."""
    config, _ = checkpoints.quant_config(folder)
    config.pop("quantization_config")
    config["torch_dtype"] = "float32"
    tensors = {k: np.ascontiguousarray(v.astype(np.float32)) for k, v in checkpoints.float_tensors(folder).items()}
    return small_models.write_model(work / "float", config, tensors)


def open_gptq(folder):
    _, quant = checkpoints.quant_config(folder)
    # The kernel in plain torch; the others are compiled on first use, for minutes.
    loading = transformers.GPTQConfig(bits=quant["bits"], backend="torch")
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu", quantization_config=loading).eval()


def check_gptqmodel(check, interop, name, folder, ids, expected, work):
    """Its weights are ours bit for bit in f16, the type that it dequantizes to."""
    model = open_gptq(folder)
    theirs = {layer: model.get_submodule(layer).dequantize_weight().numpy().T
              for layer in gptq_layout.layers_of(load(folder))}
    ours = dequantize(interop, folder, {layer: w.shape for layer, w in theirs.items()}, "F16", work)
    for layer, w in theirs.items():
        check.that(w.dtype == np.float16 and checkpoints.equal_bits(ours[layer], w), f"{name}: gptqmodel: {layer}")
    found = perplexity(model, ids, CTX)["perplexity"]
    check.that(abs(found / expected - 1) <= 2e-3, f"{name}: gptqmodel: perplexity {found} and {expected}")
    return found


def main(ql, interop, root):
    check = Checks()
    root = pathlib.Path(root)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"gptqmodel {gptqmodel.__version__}, optimum {optimum.version.__version__}")
    source, text = root / "examples/models/docs-5m", root / "tests/golden/interop/text.txt"
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    said, found = eval_of(ql, source, text, 10**6), perplexity(open_float(source), ids, CTX)
    check.that(said["tokens"] == found["tokens"], "original: tokens")
    check.that(abs(said["perplexity"] / found["perplexity"] - 1) <= 1e-4, f"original: perplexity {said} and {found}")
    print(f"original: ql {said['perplexity']:.4f}, transformers {found['perplexity']:.4f}")
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for name in checkpoints.RECIPES:
            folder = checkpoints.quantize(ql, source, work / name, name, text)
            said = eval_of(ql, folder, text, SMALL)["perplexity"]
            found = perplexity(open_float(as_float(folder, work)), ids[:SMALL], CTX)["perplexity"]
            check.that(abs(said / found - 1) <= 1e-4, f"{name}: perplexity {said} and {found}")
            theirs = check_gptqmodel(check, interop, name, folder, ids[:SMALL], said, work)
            print(f"{name}: ql {said:.4f}, transformers with our weights {found:.4f}, gptqmodel {theirs:.4f}", flush=True)
    check.end()


if __name__ == "__main__":
    main(*sys.argv[1:4])
