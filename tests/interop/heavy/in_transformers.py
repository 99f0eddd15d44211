# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Models in transformers, in f32 on the CPU."""
import numpy as np
import torch
import transformers

torch.set_num_threads(2)


def open_float(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens, dtype=torch.long)[None], use_cache=False).logits[0].float().numpy()


def perplexity(model, ids, ctx):
    """As `ql eval` defines it: windows of ctx, the rest dropped, a window's first token not scored."""
    loss, count = 0.0, 0
    for start in range(0, len(ids) - ctx + 1, ctx):
        window = np.array(ids[start:start + ctx])
        wide = logits_of(model, window).astype(np.float64)
        logp = wide - wide.max(-1, keepdims=True)
        logp -= np.log(np.exp(logp).sum(-1, keepdims=True))
        loss -= float(logp[np.arange(ctx - 1), window[1:]].sum())
        count += ctx - 1
    return {"perplexity": float(np.exp(loss / count)), "tokens": count, "ctx": ctx}
