# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""safetensors files: what one writes the other reads, with the same bytes.

    test_safetensors.py QL_INTEROP
"""
import json
import pathlib
import struct
import sys
import tempfile

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from support import Checks, load, load_file, run


def sample(rng):
    """Tensors of every type that numpy and the reader share, awkward shapes among them."""
    tensors = {"model.a.weight": rng.standard_normal((3, 5)).astype(np.float32)}
    types = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int16, np.uint16,
             np.int32, np.uint32, np.int64, np.uint64, np.bool_, np.complex64,
             ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
    for number, dtype in enumerate(types):
        for shape in ((), (1,), (7,), (3, 1, 5), (0, 4), (2, 33)):
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            raw = rng.integers(0, 2 if dtype is np.bool_ else 256, size, dtype=np.uint8)
            tensors[f"t{number:02d}.{'x'.join(map(str, shape)) or 'scalar'}"] = raw.view(dtype).reshape(shape)
    tensors["caf\u00e9.\u4e2d"] = np.arange(4, dtype=np.float32)
    return tensors


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_ours_reads_theirs(check, program, folder, tensors):
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    listed = json.loads(run(program, "list", folder, folder / "bytes"))
    data, at = (folder / "bytes").read_bytes(), 0
    check.that([t["name"] for t in listed] == sorted(tensors, key=lambda n: n.encode()), "names and their order")
    raw = dict(deserialize((folder / "model.safetensors").read_bytes()))
    for entry in listed:
        name, bytes_ = entry["name"], data[at:at + entry["bytes"]]
        at += entry["bytes"]
        check.that(bytes_ == tensors[name].tobytes(), f"bytes of {name}")
        check.that(entry["dtype"] == raw[name]["dtype"], f"type of {name}")
        check.that(tuple(entry["shape"]) == tensors[name].shape, f"shape of {name}")
    check.that(at == len(data), "nothing after the last tensor")


def check_theirs_reads_ours(check, program, source, target, shard, tensors):
    run(program, "copy", source, target, shard)
    read = load(target)
    check.that(set(read) == set(tensors), f"names, shards of {shard}")
    for name, value in tensors.items():
        check.that(same(read[name], value), f"{name}, shards of {shard}")
    index = target / "model.safetensors.index.json"
    check.that(index.exists() == (shard != 0), f"an index with shards of {shard}")
    if index.exists():
        total = json.loads(index.read_text(encoding="utf-8"))["metadata"]["total_size"]
        check.that(total == sum(v.nbytes for v in tensors.values()), "total_size")


def header_of(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return data[8:8 + size], data[8 + size:]


def damaged(tensors_file):
    """Files that the reader from PyPI refuses, with what is wrong with them."""
    header, data = header_of(tensors_file)
    good = json.loads(header)
    good.pop("__metadata__", None)
    names = [n for n, e in sorted(good.items(), key=lambda i: i[1]["data_offsets"]) if e["data_offsets"][0] < e["data_offsets"][1]]

    def build(edit, tail=data):
        entries = json.loads(json.dumps(good))
        edit(entries)
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + tail

    def offsets(name, begin, end):
        def edit(entries):
            was = entries[name]["data_offsets"]
            entries[name]["data_offsets"] = [was[0] + begin, was[1] + end]
        return edit

    middle = names[len(names) // 2]
    text = json.dumps(good).encode()
    yield "empty", b""
    yield "short", b"\x08\0\0\0"
    yield "header beyond the file", struct.pack("<Q", 10**6) + text
    yield "header of 2^63 bytes", struct.pack("<Q", 2**63) + text + data
    yield "not JSON", struct.pack("<Q", 4) + b"{{{{" + data
    yield "cut data", build(lambda e: None, data[:-1])
    yield "more data", build(lambda e: None, data + b"\0")
    yield "overlap", build(offsets(middle, -1, -1))
    yield "hole", build(lambda e: e.pop(middle))
    yield "end before begin", build(offsets(middle, 0, -10**6))
    yield "shape", build(lambda e: e[middle]["shape"].append(2))
    yield "huge shape", build(lambda e: e[middle].update(shape=[2**62, 2**62]))
    yield "type", build(lambda e: e[middle].update(dtype="F12"))
    yield "negative", build(lambda e: e[middle].update(shape=[-1]))
    yield "metadata of numbers", build(lambda e: e.update(__metadata__={"a": 1}))


def main(program):
    check = Checks()
    rng = np.random.default_rng(7)
    tensors = sample(rng)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        theirs = work / "theirs"
        theirs.mkdir()
        check_ours_reads_theirs(check, program, theirs, tensors)
        for shard in (0, 700):
            check_theirs_reads_ours(check, program, theirs, work / f"ours-{shard}", shard, tensors)
        ours, reference = header_of(work / "ours-0/model.safetensors"), header_of(theirs / "model.safetensors")
        check.that(ours[1] == reference[1], "data in the order of the reference writer")
        check.that(ours[0] == reference[0], "the header of the reference writer, byte for byte")
        for name, data in damaged(theirs / "model.safetensors"):
            path = work / "damaged.safetensors"
            path.write_bytes(data)
            try:
                load_file(str(path))
                check.that(False, f"the package accepts: {name}")
            except (SafetensorError, ValueError, OverflowError):
                pass
            message = run(program, "refuses", path)
            check.that(str(path) in message, f"the file is named: {name}: {message}")
    check.end()


if __name__ == "__main__":
    main(sys.argv[1])
