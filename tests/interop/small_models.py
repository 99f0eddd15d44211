# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Small decoder models with random weights: a configuration and a seed make the same bits anywhere.

The heavy suite runs them in transformers and records logits; the light one compares the engine and
reference_model.py with these. Sizes are odd on purpose: heads that do not fill the hidden size,
contexts longer than what the rope types were made for, windows shorter than the text.
"""
import hashlib
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

TOKENS = 80  # longer than every window and original context below

BASE = {"vocab_size": 120, "hidden_size": 48, "intermediate_size": 88, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "tie_word_embeddings": False, "torch_dtype": "float32",
        "bos_token_id": 0, "eos_token_id": 1, "initializer_range": 0.02, "use_cache": True}

FAMILIES = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False},
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 24, "head_dim": 16},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True,
              "use_sliding_window": False, "sliding_window": None},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 20, "attention_bias": False,
              "use_sliding_window": False, "sliding_window": None, "rms_norm_eps": 1e-6},
}

ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 32},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
}

# What one member of a family has and the others have not.
VARIANTS = {
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    "llama-one-head": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "mistral-no-window": ("mistral", {"sliding_window": None, "head_dim": None}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
    "qwen3-biases": ("qwen3", {"attention_bias": True, "use_sliding_window": True, "sliding_window": 16,
                               "max_window_layers": 2}),
    "llama-yarn-options": ("llama", {"rope_scaling": {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "beta_fast": 8.0,
        "beta_slow": 2.0, "attention_factor": 1.2, "truncate": False}}),
    "qwen2-yarn-mscale": ("qwen2", {"rope_scaling": {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "mscale": 1.0,
        "mscale_all_dim": 0.5}}),
}


def all_configs():
    configs = {}
    for family, keys in FAMILIES.items():
        for rope, scaling in ROPES.items():
            config = {**BASE, **keys, "rope_theta": 1000.0 if rope == "linear" else 10000.0}
            config["rope_scaling"] = None if rope == "default" else dict(scaling)
            configs[f"{family}-{rope}"] = config
    for name, (family, keys) in VARIANTS.items():
        configs[name] = {**BASE, **FAMILIES[family], "rope_theta": 10000.0, "rope_scaling": None, **keys}
    return configs


def modern(config):
    """The same with the keys that transformers 5 writes."""
    config = dict(config)
    scaling = config.pop("rope_scaling") or {"rope_type": "default"}
    config["rope_parameters"] = {**scaling, "rope_theta": config.pop("rope_theta")}
    config["dtype"] = config.pop("torch_dtype")
    return config


def splitmix64(x):
    """The finalizer of SplitMix64 on an array of uint64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def uniform(name, seed, count):
    """`count` numbers in [-1, 1) with 23 bits, from nothing but a name and a seed."""
    key = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")
    bits = splitmix64(np.arange(count, dtype=np.uint64) + np.uint64(key))
    return ((bits >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0).astype(np.float32)


def shapes(config):
    h, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or h // heads
    kind = config["model_type"]
    biased = config.get("attention_bias", False)
    out = {"model.embed_tokens.weight": (v, h), "model.norm.weight": (h,)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (v, h)
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out[p + "input_layernorm.weight"] = out[p + "post_attention_layernorm.weight"] = (h,)
        for name, rows, cols in (("q", heads * dim, h), ("k", kv * dim, h), ("v", kv * dim, h), ("o", h, heads * dim)):
            out[f"{p}self_attn.{name}_proj.weight"] = (rows, cols)
            if biased or (kind == "qwen2" and name != "o"):
                out[f"{p}self_attn.{name}_proj.bias"] = (rows,)
        if kind == "qwen3":
            out[p + "self_attn.q_norm.weight"] = out[p + "self_attn.k_norm.weight"] = (dim,)
        for name, rows, cols in (("gate", f, h), ("up", f, h), ("down", h, f)):
            out[f"{p}mlp.{name}_proj.weight"] = (rows, cols)
            if config.get("mlp_bias", False):
                out[f"{p}mlp.{name}_proj.bias"] = (rows,)
    return out


def weights(config, seed):
    """f32 weights large enough that attention picks positions and every part shows in the logits."""
    out = {}
    for name, shape in shapes(config).items():
        values = uniform(name, seed, int(np.prod(shape))).reshape(shape)
        if "norm" in name:
            out[name] = (np.float32(1.0) + np.float32(0.3) * values).astype(np.float32)
        elif name.endswith("bias"):
            out[name] = np.float32(0.5) * values
        elif name == "model.embed_tokens.weight":
            out[name] = values
        else:
            reach = 3.0 if "q_proj" in name or "k_proj" in name else 1.7
            out[name] = (values * np.float32(reach / np.sqrt(shape[1]))).astype(np.float32)
    return out


def tokens(config, seed, count=TOKENS):
    raw = splitmix64(np.arange(count, dtype=np.uint64) + np.uint64(seed * 1000003))
    return (raw % np.uint64(config["vocab_size"])).astype(np.int32)


def write_model(folder, config, tensors):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder
