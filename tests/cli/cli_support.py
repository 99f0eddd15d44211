# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the program share: running it, and making models that are broken in one way."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

QL = os.environ.get("QL", "build/cli/ql")
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/models/docs-5m"
LICENSE = ROOT / "LICENSE"

OK, FAILED, USAGE, MALFORMED, IO, NUMERIC, CANCELLED = 0, 1, 2, 4, 5, 6, 130

# Short settings: two hundred milliseconds instead of seconds.
QUICK = ["--calib", str(LICENSE), "--calib-tokens", "1024", "--seq-len", "128"]


class Result:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout.decode("utf-8", "replace")
        self.err = process.stderr.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.out)


def ql(*args, env=None, **options):
    """Runs the program; without a colour or an ISA of the caller's."""
    clean = {k: v for k, v in os.environ.items() if k != "QL_ISA"}
    clean.update(env or {})
    command = [QL] + [str(a) for a in args]
    return Result(subprocess.run(command, capture_output=True, env=clean, timeout=300, **options))


def runnable_isas():
    return [i["name"] for i in ql("version", "--json").json["isa"] if i["runnable"]]


class CliTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ql-test-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def expect(self, code, *args, **options):
        result = ql(*args, **options)
        self.assertEqual(result.code, code, f"ql {args}\n{result.out}\n{result.err}")
        return result

    def fails(self, code, *args, says=(), **options):
        """Fails with that code, says those words, prints no result and leaves nothing behind."""
        before = sorted(os.listdir(self.dir))
        result = self.expect(code, *args, **options)
        for word in says:
            self.assertIn(word, result.err)
        self.assertEqual(sorted(os.listdir(self.dir)), before)
        return result

    def quantize(self, name, *args, model=MODEL):
        out = self.dir / name
        result = self.expect(OK, "quantize", model, "-o", out, "--json", *args)
        return out, result.json

    def copy_model(self, name="model"):
        """A copy of the bundled model to break."""
        copy = self.dir / name
        shutil.copytree(MODEL, copy)
        for path in [copy, *copy.iterdir()]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return copy


class Safetensors:
    """A safetensors file in memory: read from the specification, nothing else."""

    def __init__(self, path):
        data = pathlib.Path(path).read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        self.header = json.loads(data[8 : 8 + size])
        self.metadata = self.header.pop("__metadata__", None)
        self.body = bytearray(data[8 + size :])

    def bytes(self, name):
        begin, end = self.header[name]["data_offsets"]
        return bytes(self.body[begin:end])

    def save(self, path):
        header = dict(self.header)
        if self.metadata is not None:
            header["__metadata__"] = self.metadata
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + bytes(self.body))

    def drop(self, name):
        """Removes a tensor and closes the gap."""
        begin, end = self.header.pop(name)["data_offsets"]
        del self.body[begin:end]
        for info in self.header.values():
            if info["data_offsets"][0] >= end:
                info["data_offsets"] = [o - (end - begin) for o in info["data_offsets"]]


def main():
    unittest.main(verbosity=2, argv=[sys.argv[0]] + sys.argv[1:])
