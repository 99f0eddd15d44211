# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests here share: running helpers, checking, reading checkpoints."""
import json
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy as np
from safetensors import deserialize


class Checks:
    """Counts checks, prints what fails; exit code 1 when anything did or nothing was checked."""

    def __init__(self):
        self.done = self.bad = 0

    def that(self, holds, text):
        self.done += 1
        if not holds:
            self.bad += 1
            print(f"FAILED: {text}")
        return holds

    def end(self):
        print(f"{self.done} checks, {self.bad} failed")
        sys.exit(1 if self.bad or not self.done else 0)


def run(*command, text=None):
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"FAILED: {' '.join(map(str, command))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I8": np.int8, "U8": np.uint8,
         "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64,
         "BOOL": np.bool_, "C64": np.complex64, "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}
DTYPES = {name: TYPES[name] for name in ("F32", "F16", "BF16")}


def load_file(path):
    """All tensors of a file; safetensors.numpy has no 8-bit floats."""
    tensors = {}
    for name, entry in deserialize(pathlib.Path(path).read_bytes()):
        tensors[name] = np.frombuffer(entry["data"], dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def load(folder):
    """All tensors of a checkpoint directory, sharded or not, with the reader from PyPI."""
    folder = pathlib.Path(folder)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return load_file(folder / "model.safetensors")
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    tensors = {}
    for shard in sorted(set(names.values())):
        tensors |= load_file(folder / shard)
    assert set(tensors) == set(names)
    return tensors


def dequantize(program, folder, shapes, dtype, work):
    """GPTQ layers as the library reads them: name to array, from name to shape."""
    out = pathlib.Path(work) / "dequantized"
    run(program, "dequantize", folder, dtype, out, text="\n".join(shapes))
    data, at, found = np.fromfile(out, dtype=DTYPES[dtype]), 0, {}
    for layer, shape in shapes.items():
        size = int(np.prod(shape))
        found[layer] = data[at:at + size].reshape(shape)
        at += size
    assert at == len(data)
    return found


def logits(program, folder, tokens, work, vocab, chunk=0):
    out = pathlib.Path(work) / "logits.bin"
    run(program, "logits", folder, chunk, out, text=" ".join(map(str, tokens)))
    return np.fromfile(out, dtype=np.float32).reshape(len(tokens), vocab)
