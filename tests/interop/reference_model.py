# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Llama, Mistral, Qwen2 and Qwen3 in double precision, from the formulas: an oracle for the engine.

RMSNorm: Zhang, Sennrich 2019. Rotary positions: Su et al. 2021, halves rotated against each other;
YaRN: Peng et al. 2023. Grouped queries: Ainslie et al. 2023. SwiGLU: Shazeer 2020.
"""
import json
import pathlib

import numpy as np

from support import load


def rope_of(config):
    """rope type and numbers, from the keys of transformers 5 or the older ones."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope["type"] = rope.get("rope_type", rope.get("type", "default"))
    return rope


def yarn(rope, freq, dim, context):
    original = rope.get("original_max_position_embeddings") or context
    factor, theta = rope["factor"], rope["rope_theta"]

    def turns(count):
        return dim * np.log(original / (count * 2 * np.pi)) / (2 * np.log(theta))

    low, high = turns(rope.get("beta_fast") or 32), turns(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = np.floor(low), np.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 0.001), 0, 1)
    scale = rope.get("attention_factor")
    if scale is None:
        def grow(weight):
            return 1.0 if factor <= 1 else 0.1 * weight * np.log(factor) + 1
        both = rope.get("mscale") and rope.get("mscale_all_dim")
        scale = grow(rope["mscale"]) / grow(rope["mscale_all_dim"]) if both else grow(1)
    return freq / factor * ramp + freq * (1 - ramp), scale


def llama3(rope, freq):
    old, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    length = 2 * np.pi / freq
    smooth = (old / length - low) / (high - low)
    blended = (1 - smooth) * freq / factor + smooth * freq
    return np.where(length < old / high, freq, np.where(length > old / low, freq / factor, blended))


def frequencies(config, dim):
    rope = rope_of(config)
    freq = rope["rope_theta"] ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if rope["type"] == "default":
        return freq, 1.0
    if rope["type"] == "linear":
        return freq / rope["factor"], 1.0
    if rope["type"] == "llama3":
        return llama3(rope, freq), 1.0
    if rope["type"] == "yarn":
        return yarn(rope, freq, dim, config["max_position_embeddings"])
    raise ValueError(f"rope type {rope['type']}")


def norm(x, weight, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


class Model:
    """forward() gives the logits of every position of one sequence."""

    def __init__(self, config, tensors):
        self.config = config
        self.w = {name: np.asarray(value).astype(np.float64) for name, value in tensors.items()}
        self.heads = config["num_attention_heads"]
        self.kv = config.get("num_key_value_heads") or self.heads
        self.dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.eps = config["rms_norm_eps"]

    @classmethod
    def open(cls, folder):
        folder = pathlib.Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config, load(folder))

    def window(self, layer):
        """Tokens that a query of this layer sees, None: all before it."""
        kind, size = self.config["model_type"], self.config.get("sliding_window")
        if kind == "mistral":
            return size
        if kind in ("qwen2", "qwen3") and self.config.get("use_sliding_window"):
            return size if layer >= self.config["max_window_layers"] else None
        return None

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        bias = self.w.get(name + ".bias")
        return y if bias is None else y + bias

    def attention(self, x, layer, cos, sin):
        p = f"model.layers.{layer}.self_attn."
        t = x.shape[0]
        q = self.linear(x, p + "q_proj").reshape(t, self.heads, self.dim)
        k = self.linear(x, p + "k_proj").reshape(t, self.kv, self.dim)
        v = self.linear(x, p + "v_proj").reshape(t, self.kv, self.dim)
        if p + "q_norm.weight" in self.w:
            q, k = norm(q, self.w[p + "q_norm.weight"], self.eps), norm(k, self.w[p + "k_norm.weight"], self.eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = np.repeat(k, self.heads // self.kv, axis=1), np.repeat(v, self.heads // self.kv, axis=1)
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(self.dim)
        i, j = np.arange(t)[:, None], np.arange(t)[None, :]
        hidden = j > i
        if self.window(layer) is not None:
            hidden |= i - j >= self.window(layer)
        scores = np.where(hidden, -np.inf, scores)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return self.linear(np.einsum("hij,jhd->ihd", scores, v).reshape(t, -1), p + "o_proj")

    def mlp(self, x, layer):
        p = f"model.layers.{layer}.mlp."
        gate = self.linear(x, p + "gate_proj")
        return self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, p + "up_proj"), p + "down_proj")

    def forward(self, tokens):
        x = self.w["model.embed_tokens.weight"][np.asarray(tokens)]
        freq, scale = frequencies(self.config, self.dim)
        angle = np.arange(len(tokens))[:, None, None] * freq
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        for layer in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + self.attention(norm(x, self.w[p + "input_layernorm.weight"], self.eps), layer, cos, sin)
            x = x + self.mlp(norm(x, self.w[p + "post_attention_layernorm.weight"], self.eps), layer)
        x = norm(x, self.w["model.norm.weight"], self.eps)
        head = "model.embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"
        return x @ self.w[head].T


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def windows(ids, ctx, stride):
    """Whole windows of ctx tokens; what is left at the end is dropped."""
    return [ids[start:start + ctx] for start in range(0, len(ids) - ctx + 1, stride)]


def evaluate(model, ids, ctx, reference=None, stride=None):
    """What `ql eval` reports: perplexity, and against a reference KL(ref || model) in nats and how
    often both prefer the same token. A window's first token is not scored."""
    loss, count, kl, same = 0.0, 0, 0.0, 0
    for window in windows(ids, ctx, stride or ctx):
        logp = log_softmax(model.forward(window))[:-1]
        targets = np.asarray(window[1:])
        loss -= logp[np.arange(len(targets)), targets].sum()
        count += len(targets)
        if reference is not None:
            ref = log_softmax(reference.forward(window))[:-1]
            kl += (np.exp(ref) * (ref - logp)).sum()
            same += int((ref.argmax(axis=-1) == logp.argmax(axis=-1)).sum())
    out = {"perplexity": float(np.exp(loss / count)), "tokens": count}
    if reference is not None:
        out |= {"kl_divergence": float(kl / count), "top1_agreement": same / count}
    return out
