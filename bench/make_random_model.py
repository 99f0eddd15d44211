#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a Llama checkpoint of random bf16 weights, about 1 B parameters by default, to time models
of that size end to end. What it says means nothing; what it costs is that of a trained model of the
same shape. Tokenizer and names are those of the model given, the bundled one by default.

  python3 bench/make_random_model.py OUT

The vocabulary may be larger than the tokenizer's: the rows beyond it are there for their cost, and
those of the head are zero, so that no token without a text is ever the most likely one."""

import argparse
import json
import pathlib
import shutil
import struct

import numpy

BUNDLED = pathlib.Path(__file__).resolve().parents[1] / "examples/models/docs-5m"


def bf16(values):
    """To nearest, ties to even."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def tensors(a):
    """(name, shape, fan-in; 0: ones)."""
    head_dim = a.hidden // a.heads
    q, kv = a.heads * head_dim, a.kv_heads * head_dim
    yield "model.embed_tokens.weight", (a.vocab, a.hidden), 1
    for i in range(a.layers):
        layer = f"model.layers.{i}."
        for name, shape in (("self_attn.q_proj", (q, a.hidden)), ("self_attn.k_proj", (kv, a.hidden)),
                            ("self_attn.v_proj", (kv, a.hidden)), ("self_attn.o_proj", (a.hidden, q)),
                            ("mlp.gate_proj", (a.ffn, a.hidden)), ("mlp.up_proj", (a.ffn, a.hidden)),
                            ("mlp.down_proj", (a.hidden, a.ffn))):
            yield f"{layer}{name}.weight", shape, shape[1]
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}{name}.weight", (a.hidden,), 0
    yield "model.norm.weight", (a.hidden,), 0
    yield "lm_head.weight", (a.vocab, a.hidden), a.hidden


def values(name, shape, fan_in, known, random):
    if fan_in == 0:
        return numpy.ones(shape, numpy.float32)
    x = random.standard_normal(shape, numpy.float32)
    x *= numpy.float32(fan_in ** -0.5)
    if name == "lm_head.weight":
        x[known:] = 0
    return x


def write_weights(path, a, known):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors(a):
        size = 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = numpy.random.Generator(numpy.random.PCG64(a.seed))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, fan_in in tensors(a):
            bf16(values(name, shape, fan_in, known, random)).tofile(file)
    return end // 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--like", type=pathlib.Path, default=BUNDLED, metavar="MODEL",
                        help="whose tokenizer to take (default: the bundled model)")
    for name, preset in (("hidden", 2048), ("ffn", 5632), ("layers", 22), ("heads", 32),
                         ("kv-heads", 4), ("vocab", 32000), ("context", 4096), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    a = parser.parse_args()
    a.out.mkdir(parents=True)
    config = json.loads((a.like / "config.json").read_text())
    known = config["vocab_size"]
    if a.vocab < known:
        parser.error(f"--vocab: the tokenizer has {known} tokens")
    config.update(hidden_size=a.hidden, intermediate_size=a.ffn, num_hidden_layers=a.layers,
                  num_attention_heads=a.heads, num_key_value_heads=a.kv_heads,
                  head_dim=a.hidden // a.heads, vocab_size=a.vocab, torch_dtype="bfloat16",
                  max_position_embeddings=a.context, tie_word_embeddings=False)
    (a.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for path in a.like.glob("tokenizer*"):
        shutil.copy(path, a.out / path.name)
    count = write_weights(a.out / "model.safetensors", a, known)
    print(f"{a.out}: {count / 1e9:.3f} B parameters")


if __name__ == "__main__":
    main()
