# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the small models and the bundled one in transformers and compares with what was recorded.

    record_models.py SOURCE_ROOT [--record]
"""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
import safetensors
import torch
import transformers

import small_models
from in_transformers import logits_of, open_float, perplexity
from support import Checks

SEED = 20260


def record(logits, tokens):
    """Enough to tell a wrong model: all logits of three positions, and the loss over the whole text."""
    wide = logits.astype(np.float64)
    logp = wide - wide.max(-1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
    loss = -logp[np.arange(len(tokens) - 1), tokens[1:]].mean()
    positions = [0, len(tokens) // 2, len(tokens) - 1]
    return {"positions": positions, "max_abs_logit": float(np.abs(wide).max()), "mean_loss": float(loss),
            "logits": [[float(f"{v:.8g}") for v in logits[p]] for p in positions]}


def small():
    models = {}
    for name, config in small_models.all_configs().items():
        tokens = small_models.tokens(config, SEED)
        with tempfile.TemporaryDirectory() as folder:
            small_models.write_model(folder, config, small_models.weights(config, SEED))
            models[name] = record(logits_of(open_float(folder), tokens), tokens)
    return models


def bundled(root):
    folder = root / "examples/models/docs-5m"
    text = (root / "tests/golden/interop/text.txt").read_text(encoding="utf-8")
    ids = transformers.AutoTokenizer.from_pretrained(folder).encode(text, add_special_tokens=False)
    model = open_float(folder)
    return {"ids": ids[:200], "ids_count": len(ids), **record(logits_of(model, ids[:200]), np.array(ids[:200])),
            "eval": [perplexity(model, ids, ctx) for ctx in (64, 256)]}


def compare(check, now, then):
    """The same versions give the same logits but for the order of sums on another processor."""
    for name in now:
        a, b = now[name], then.get(name)
        if not check.that(b is not None, f"{name} is not recorded: run again with --record"):
            continue
        worst = np.abs(np.array(a["logits"]) - np.array(b["logits"])).max() / b["max_abs_logit"]
        check.that(worst <= 1e-5, f"{name}: {worst:.1e} from what is recorded")
        check.that(abs(a["mean_loss"] - b["mean_loss"]) <= 1e-5, f"{name}: loss {a['mean_loss']}")


def main(root, option=""):
    root = pathlib.Path(root)
    path = root / "tests/golden/interop/models.json"
    versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                "numpy": np.__version__, "safetensors": safetensors.__version__}
    now = {"versions": versions, "seed": SEED, "models": small(), "bundled": bundled(root)}
    if option == "--record":
        path.write_text(json.dumps(now, separators=(",", ":")) + "\n", encoding="utf-8")
    then = json.loads(path.read_text(encoding="utf-8"))
    print(versions, "recorded with", then["versions"])
    check = Checks()
    compare(check, now["models"], then["models"])
    compare(check, {"bundled": now["bundled"]}, then)
    for a, b in zip(now["bundled"]["eval"], then["bundled"]["eval"], strict=True):
        print(a)
        check.that(abs(a["perplexity"] / b["perplexity"] - 1) <= 1e-5, f"perplexity {a} and {b}")
    check.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
