#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of `ql run` and `ql eval` beside llama.cpp's llama-bench: the same float weights
in 4 bits, one program after the other in each round, medians over the rounds.

  python3 bench/peers/end_to_end.py MODEL... --ql build/cli/ql --peer DIR --work DIR

MODEL: directories of Llama checkpoints in bf16 (bench/make_random_model.py makes a large one).
--peer: the folder of llama-bench and llama-quantize. --work: where the quantized files go; what is
there already is used again. Needs numpy and gguf from PyPI.

The peer's file is Q4_0 (groups of 32, 8-bit activations in groups of 32) with its head in Q8_0; ours
4 bits in groups of --group-size by round to nearest, products in --compute, the head in 8 bits. Both
then have 8-bit activations with a8; a16 and f32 are more precise than what the peer does.
pp: a prompt, logits of its last token (`ql run`: time to the first token, the first pass of the
process; `ql eval`, all logits, is shown besides). tg: one token at a time, from a context of almost
nothing. The peer has a pass to warm up."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm"}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}


def peer_name(name):
    if name in WHOLE:
        return WHOLE[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def bf16_tensors(path):
    """(name, matrix of 16-bit words), mapped."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = numpy.memmap(path, numpy.uint8, "r", 8 + size)
    for name, info in header.items():
        if name == "__metadata__":
            continue
        if info["dtype"] != "BF16":
            sys.exit(f"{path}: {name} is {info['dtype']}, BF16 is expected")
        begin, end = info["data_offsets"]
        yield name, data[begin:end].view(numpy.uint16).reshape(info["shape"])


def to_peer_order(name, words, config):
    """The peer rotates neighbours, Hugging Face the halves of a head."""
    heads = {"q_proj.weight": config["num_attention_heads"],
             "k_proj.weight": config["num_key_value_heads"]}
    for suffix, count in heads.items():
        if name.endswith(suffix):
            halves = words.reshape(count, 2, words.shape[0] // count // 2, words.shape[1])
            return numpy.ascontiguousarray(halves.swapaxes(1, 2)).reshape(words.shape)
    return words


def write_gguf(model, out):
    import gguf
    config = json.loads((model / "config.json").read_text())
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    w = gguf.GGUFWriter(out, "llama")
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(config["rope_theta"])
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_vocab_size(config["vocab_size"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    w.add_tokenizer_model("none")  # llama-bench feeds numbers
    for name, words in bf16_tensors(model / "model.safetensors"):
        words = to_peer_order(name, words, config)
        if words.ndim == 1:
            w.add_tensor(peer_name(name), (words.astype(numpy.uint32) << 16).view(numpy.float32))
        else:
            w.add_tensor(peer_name(name), numpy.ascontiguousarray(words).view(numpy.uint8),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def output_of(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def prepare(a, model):
    """Our directory and the peer's file."""
    a.work.mkdir(parents=True, exist_ok=True)
    whole, peer = a.work / f"{model.name}-bf16.gguf", a.work / f"{model.name}-q4_0.gguf"
    ours = a.work / f"{model.name}-4bit-g{a.group_size}"
    if not peer.exists():
        if not whole.exists():
            write_gguf(model, whole)
        output_of([a.peer / "llama-quantize", "--output-tensor-type", "q8_0",
                   "--token-embedding-type", "q8_0", whole, peer, "q4_0"])
    if not ours.exists():
        output_of([a.ql, "quantize", model, "-o", ours, "--method", "rtn", "--bits", "4",
                   "--group-size", a.group_size])
    return ours, peer


def context_of(model):
    return json.loads((model / "config.json").read_text())["max_position_embeddings"]


def run_ql(a, command, model, threads, compute, *args):
    return json.loads(output_of([a.ql, command, model, "--json", "--threads", threads, "--compute",
                                 compute, "--head-bits", "8", *args]))


def make_prompt(a, model):
    """A text of at most --prompt tokens, and how many they are."""
    want = min(a.prompt, context_of(model) - 1)
    text = (ROOT / "doc/numerics.md").read_text()
    size = 7 * want // 2  # bytes: a little more than fits
    while True:
        done = subprocess.run([a.ql, "run", model, "--json", "-p", text[:size], "-n", "1"],
                              capture_output=True, text=True)
        count = json.loads(done.stdout)["prompt_tokens"] if done.returncode == 0 else want + 1
        if count <= want:
            return text[:size], count
        size = size * 15 // 16


def peer_round(a, peer, threads, count):
    rows = json.loads(output_of([a.peer / "llama-bench", "-m", peer, "-t", threads, "-p", count,
                                 "-n", a.tokens, "-r", 1, "-o", "json"]))
    return {("pp" if row["n_prompt"] else "tg"): row["avg_ts"] for row in rows}


def our_round(a, model, threads, compute, prompt):
    first = run_ql(a, "run", model, threads, compute, "-p", prompt, "-n", 1)
    decode = run_ql(a, "run", model, threads, compute, "-p", "The", "-n", a.tokens)
    window = min(a.prompt, context_of(model))
    scored = run_ql(a, "eval", model, threads, compute, "--text", ROOT / "doc/numerics.md", "--ctx",
                    window, "--max-tokens", a.windows * window)
    return {"pp": first["prompt_tokens"] / first["time_to_first_token"],
            "tg": decode["decode_tokens_per_second"], "eval": scored["tokens_per_second"]}


def medians(samples):
    return {key: statistics.median(s[key] for s in samples) for key in samples[0]}


def show(row):
    base, got = row["peer"], row["ql"]
    cells = [f"{got[key]:9.1f} ({got[key] / base[of]:.2f})"
             for key, of in (("pp", "pp"), ("tg", "tg"), ("eval", "pp"))]
    print(f"  {row['compute']:4} pp {cells[0]}  tg {cells[1]}  eval {cells[2]}", flush=True)


def compare(a, model):
    ours, peer = prepare(a, model)
    prompt, count = make_prompt(a, ours)
    rows = []
    for threads in a.threads:
        samples = {name: [] for name in ("peer", *a.compute)}
        for _ in range(a.rounds):
            samples["peer"].append(peer_round(a, peer, threads, count))
            for compute in a.compute:
                samples[compute].append(our_round(a, ours, threads, compute, prompt))
        base = medians(samples["peer"])
        print(f"{model.name}, threads {threads}, prompt of {count}: llama.cpp q4_0 pp {base['pp']:.1f}"
              f" tg {base['tg']:.1f} tokens/s; ql (ratio):")
        for compute in a.compute:
            rows.append({"model": model.name, "threads": threads, "compute": compute, "peer": base,
                         "prompt_tokens": count, "ql": medians(samples[compute]),
                         "samples": samples[compute], "peer_samples": samples["peer"]})
            show(rows[-1])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--ql", type=pathlib.Path, required=True)
    parser.add_argument("--peer", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--compute", nargs="+", default=["a8", "a16"])
    for name, preset in (("group-size", 128), ("prompt", 512), ("tokens", 128), ("rounds", 5),
                         ("windows", 4)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    parser.add_argument("--json", type=pathlib.Path, help="write all samples here")
    a = parser.parse_args()
    rows = [row for model in a.models for row in compare(a, model)]
    if a.json:
        a.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
