# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the small models and the bundled one in transformers and records what it says.

    record_models.py SOURCE_ROOT OUTPUT.json
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

SEED = 20260


def logits_of(folder, tokens):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        return model(torch.tensor(tokens, dtype=torch.long)[None], use_cache=False).logits[0].numpy()


def record(logits, tokens):
    """Enough to tell a wrong model: all logits of three positions, and the loss over the whole text."""
    wide = logits.astype(np.float64)
    logp = wide - wide.max(-1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
    loss = -logp[np.arange(len(tokens) - 1), tokens[1:]].mean()
    positions = [0, len(tokens) // 2, len(tokens) - 1]
    return {"positions": positions, "max_abs_logit": float(np.abs(wide).max()), "mean_loss": float(loss),
            "logits": [[float(f"{v:.8g}") for v in logits[p]] for p in positions]}


def perplexity(folder, ids, ctx):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    loss, count = 0.0, 0
    for start in range(0, len(ids) - ctx + 1, ctx):
        window = torch.tensor(ids[start:start + ctx], dtype=torch.long)
        with torch.no_grad():
            logp = torch.log_softmax(model(window[None], use_cache=False).logits[0].double(), dim=-1)
        loss -= float(logp[:-1].gather(1, window[1:, None]).sum())
        count += ctx - 1
    return {"perplexity": float(np.exp(loss / count)), "tokens": count, "ctx": ctx}


def bundled(root):
    folder = root / "examples/models/docs-5m"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = (root / "tests/golden/interop/text.txt").read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False)
    out = record(logits_of(folder, ids[:200]), np.array(ids[:200]))
    return {"ids": ids[:200], "ids_count": len(ids), **out,
            "eval": [perplexity(folder, ids, ctx) for ctx in (64, 256)]}


def main(root, output):
    root = pathlib.Path(root)
    torch.set_num_threads(2)
    models = {}
    for name, config in small_models.all_configs().items():
        tensors = small_models.weights(config, SEED)
        tokens = small_models.tokens(config, SEED)
        with tempfile.TemporaryDirectory() as folder:
            small_models.write_model(folder, config, tensors)
            models[name] = record(logits_of(folder, tokens), tokens)
        print(name, models[name]["mean_loss"], models[name]["max_abs_logit"], flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__,
                "numpy": np.__version__, "safetensors": safetensors.__version__}
    result = {"versions": versions, "seed": SEED, "models": models, "bundled": bundled(root)}
    pathlib.Path(output).write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")
    print({k: v for k, v in result["bundled"].items() if k == "eval"})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
