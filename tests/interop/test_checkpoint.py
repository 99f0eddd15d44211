# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of `ql quantize` and figures of `ql eval` against numpy, on the bundled model.

    test_checkpoint.py QL QL_INTEROP SOURCE_ROOT
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import tokenizers

import checkpoints
import gptq_layout
from reference_model import Model, evaluate
from support import Checks, dequantize, load, run

CTX, TOKENS = 64, 384


class Remembers:
    """A model that computes each window once."""

    def __init__(self, model):
        self.model, self.known = model, {}

    def forward(self, tokens):
        key = tuple(tokens)
        if key not in self.known:
            self.known[key] = self.model.forward(tokens)
        return self.known[key]


def check_layout(check, interop, source, folder, name, work):
    """The files say what they must, and hold the weights that the library computes with."""
    original, stored = load(source), load(folder)
    config, quant = checkpoints.quant_config(folder)
    legacy = json.loads((folder / "quantize_config.json").read_text(encoding="utf-8"))
    layers = gptq_layout.layers_of(stored)
    expected = sorted(n[:-len(".weight")] for n in original if n.endswith("_proj.weight"))
    check.that(layers == expected, f"{name}: the quantized layers")
    for key, kind in (("bits", int), ("group_size", int), ("sym", bool), ("desc_act", bool)):
        check.that(type(quant.get(key)) is kind and legacy.get(key) == quant[key], f"{name}: {key}")
    check.that(quant["quant_method"] == "gptq", f"{name}: quant_method")
    kept = [n for n in original if n.rsplit(".", 1)[0] not in layers]
    check.that(all(checkpoints.equal_bits(original[n], stored[n]) for n in kept), f"{name}: other tensors are kept")
    check.that({k: v for k, v in config.items() if k != "quantization_config"} ==
               json.loads((source / "config.json").read_text(encoding="utf-8")), f"{name}: config.json is kept")
    for small in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        check.that((folder / small).read_bytes() == (source / small).read_bytes(), f"{name}: {small}")
    shapes = {layer: original[layer + ".weight"].shape for layer in layers}
    ours = dequantize(interop, folder, shapes, "F32", work)
    for layer, (rows, cols) in shapes.items():
        parts = gptq_layout.parts_of(stored, layer)
        group = cols if quant["group_size"] < 0 else quant["group_size"]
        natural = np.arange(cols) // group
        codes, zeros, scales, g_idx = gptq_layout.decode(parts, quant["bits"], checkpoints.is_v1(quant))
        check.that(codes.shape == (rows, cols) and scales.dtype == np.float16, f"{name}: {layer}: shapes")
        check.that(quant["desc_act"] or np.array_equal(g_idx, natural), f"{name}: {layer}: natural groups")
        check.that(np.array_equal(np.bincount(g_idx), np.bincount(natural)), f"{name}: {layer}: sizes of groups")
        check.that(not quant["sym"] or bool((zeros == 2**(quant["bits"] - 1)).all()), f"{name}: {layer}: zero points")
        theirs = gptq_layout.dequantize(parts, quant["bits"], checkpoints.is_v1(quant))
        check.that(checkpoints.equal_bits(ours[layer], theirs), f"{name}: {layer}: weights bit for bit")


def near(check, got, expected, bound, text):
    check.that(abs(got - expected) <= bound * abs(expected), f"{text}: {got} and {expected}")


def check_eval(check, ql, source, folder, name, ids, text, reference):
    said = json.loads(run(ql, "eval", folder, "--text", text, "--ctx", CTX, "--max-tokens", TOKENS,
                          "--ref", source, "--json"))
    found = evaluate(checkpoints.float_model(folder), ids, CTX, reference)
    check.that(said["tokens"] == found["tokens"], f"{name}: tokens {said['tokens']} and {found['tokens']}")
    near(check, said["perplexity"], found["perplexity"], 1e-4, f"{name}: perplexity")
    near(check, said["kl_divergence"], found["kl_divergence"], 1e-3, f"{name}: KL divergence")
    check.that(abs(said["top1_agreement"] - found["top1_agreement"]) * found["tokens"] <= 1.01, f"{name}: top 1")
    for key, value in checkpoints.sizes(folder).items():
        near(check, said[key], value, 1e-9, f"{name}: {key}")
    print(f"{name}: perplexity {said['perplexity']:.4f} and {found['perplexity']:.4f}, "
          f"KL {said['kl_divergence']:.6f} and {found['kl_divergence']:.6f}")


def check_original(check, ql, source, ids, text, reference):
    said = json.loads(run(ql, "eval", source, "--text", text, "--ctx", CTX, "--max-tokens", TOKENS, "--json"))
    found = evaluate(reference, ids, CTX)
    near(check, said["perplexity"], found["perplexity"], 1e-4, "original: perplexity")
    check.that(said["tokens"] == found["tokens"], "original: tokens")
    # A context that does not divide the text, windows that overlap and windows with gaps.
    said = json.loads(run(ql, "eval", source, "--text", text, "--ctx", 50, "--max-tokens", 333, "--json"))
    found = evaluate(reference, ids[:333], 50)
    near(check, said["perplexity"], found["perplexity"], 1e-4, "original, context 50: perplexity")
    check.that(said["tokens"] == found["tokens"] == 6 * 49, "original, context 50: tokens")
    for stride, count in ((20, 8), (70, 3)):
        said = json.loads(run(ql, "eval", source, "--text", text, "--ctx", 50, "--stride", stride,
                              "--max-tokens", 200, "--json"))
        found = evaluate(reference, ids[:200], 50, stride=stride)
        near(check, said["perplexity"], found["perplexity"], 1e-4, f"original, stride {stride}: perplexity")
        check.that(said["tokens"] == found["tokens"] == count * 49, f"original, stride {stride}: tokens")


def check_recorded(check, ql, source, text, golden):
    """What transformers said of the bundled model, with the whole text and two contexts."""
    for then in golden["bundled"]["eval"]:
        said = json.loads(run(ql, "eval", source, "--text", text, "--ctx", then["ctx"], "--json"))
        near(check, said["perplexity"], then["perplexity"], 1e-4, f"transformers, context {then['ctx']}: perplexity")
        check.that(said["tokens"] == then["tokens"], f"transformers, context {then['ctx']}: tokens")
        print(f"context {then['ctx']}: {said['perplexity']:.5f}, in transformers {then['perplexity']:.5f}")


def main(ql, interop, root):
    check = Checks()
    root = pathlib.Path(root)
    golden = json.loads((root / "tests/golden/interop/models.json").read_text(encoding="utf-8"))
    source, text = root / "examples/models/docs-5m", root / "tests/golden/interop/text.txt"
    tokenizer = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids[:TOKENS]
    reference = Remembers(Model.open(source))
    check_original(check, ql, source, ids, text, reference)
    check_recorded(check, ql, source, text, golden)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for name in checkpoints.LIGHT:
            folder = checkpoints.quantize(ql, source, work / name, name, text)
            check_layout(check, interop, source, folder, name, work)
            check_eval(check, ql, source, folder, name, ids, text, reference)
    check.end()


if __name__ == "__main__":
    main(*sys.argv[1:4])
