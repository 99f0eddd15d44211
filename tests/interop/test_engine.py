# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Logits of the engine, of reference_model.py and of transformers (recorded) on small models.

    test_engine.py QL_INTEROP SOURCE_ROOT
"""
import json
import pathlib
import sys
import tempfile

import numpy as np

import reference_model
import small_models
from support import Checks, logits

BOUND = 1e-4  # times the largest logit


def close(check, ours, theirs, largest, text):
    worst = float(np.abs(ours.astype(np.float64) - theirs).max()) / largest
    check.that(worst <= BOUND, f"{text}: {worst:.2e} of the largest logit")
    return worst


def small(check, program, golden, work):
    for name, config in small_models.all_configs().items():
        recorded = golden["models"][name]
        tensors = small_models.weights(config, golden["seed"])
        tokens = small_models.tokens(config, golden["seed"])
        expected = reference_model.Model(config, tensors).forward(tokens)
        largest = np.abs(expected).max()
        at, rows = recorded["positions"], np.array(recorded["logits"])
        worst = [close(check, expected[at], rows, recorded["max_abs_logit"], f"{name}: numpy and transformers")]
        for form, keys in (("old", config), ("new", small_models.modern(config))):
            folder = small_models.write_model(work / f"{name}-{form}", keys, tensors)
            for chunk in (0, 1, 7):
                if form == "new" and chunk != 0:
                    continue
                ours = logits(program, folder, tokens, work, config["vocab_size"], chunk)
                text = f"{name}, {form} keys, {chunk or 'all'} tokens a call"
                worst.append(close(check, ours, expected, largest, f"{text}: numpy"))
                worst.append(close(check, ours[at], rows, recorded["max_abs_logit"], f"{text}: transformers"))
        print(f"{name}: {max(worst):.1e}")


def bundled(check, program, golden, root, work):
    folder = root / "examples/models/docs-5m"
    recorded = golden["bundled"]
    ids = recorded["ids"]
    model = reference_model.Model.open(folder)
    expected = model.forward(ids)
    ours = logits(program, folder, ids, work, expected.shape[1])
    at, rows = recorded["positions"], np.array(recorded["logits"])
    a = close(check, ours, expected, np.abs(expected).max(), "bundled: numpy")
    b = close(check, ours[at], rows, recorded["max_abs_logit"], "bundled: transformers")
    print(f"bundled: {a:.1e} {b:.1e}")


def main(program, root):
    check = Checks()
    root = pathlib.Path(root)
    golden = json.loads((root / "tests/golden/interop/models.json").read_text(encoding="utf-8"))
    print("recorded with", golden["versions"])
    with tempfile.TemporaryDirectory() as work:
        small(check, program, golden, pathlib.Path(work))
        bundled(check, program, golden, root, pathlib.Path(work))
    check.end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
