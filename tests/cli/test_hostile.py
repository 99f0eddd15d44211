# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Broken models and texts, a full disk, signals: a clear message, the right exit code, nothing left."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time

from cli_support import (CANCELLED, CliTest, FAILED, IO, LICENSE, MALFORMED, MODEL, NUMERIC, OK, QL, QUICK,
                         Safetensors, USAGE, main)


class Models(CliTest):
    def refused(self, code, model, says, *options):
        """Every command that reads a model refuses it with the same message."""
        for command in (["quantize", model, "-o", self.dir / "out", *QUICK, *options],
                        ["eval", model, "--text", LICENSE, "--ctx", "64"],
                        ["run", model, "-p", "x", "-n", "1"]):
            self.fails(code, *command, says=says)

    def edit_config(self, model, **changes):
        config = json.loads((model / "config.json").read_text())
        config.update(changes)
        (model / "config.json").write_text(json.dumps(config))

    def edit_tensors(self, model, edit):
        file = Safetensors(model / "model.safetensors")
        edit(file)
        file.save(model / "model.safetensors")

    def test_nothing_there(self):
        self.refused(IO, self.dir / "nowhere", ["nowhere"])
        (self.dir / "empty").mkdir()
        self.refused(IO, self.dir / "empty", ["config.json"])

    def test_a_file_is_missing(self):
        for name in ["model.safetensors", "tokenizer.json"]:
            model = self.copy_model(f"no-{name}")
            (model / name).unlink()
            self.refused(IO, model, [name.split(".")[0]])

    def test_truncated(self):
        model = self.copy_model()
        path = model / "model.safetensors"
        data = path.read_bytes()
        for size in (0, 7, 100, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:size])
            self.refused(MALFORMED, model, ["model.safetensors"])

    def test_nan_and_infinity(self):
        names = ["model.layers.2.mlp.up_proj.weight", "model.embed_tokens.weight",
                 "model.layers.5.input_layernorm.weight"]
        for i, (name, value) in enumerate(zip(names, [0x7FC0, 0xFF80, 0x7F80])):
            model = self.copy_model(f"model{i}")

            def edit(file, name=name, value=value):
                begin = file.header[name]["data_offsets"][0] + 2 * 77
                file.body[begin : begin + 2] = value.to_bytes(2, "little")

            self.edit_tensors(model, edit)
            self.refused(NUMERIC, model, [name, "77"])
            self.refused(NUMERIC, model, [name], "--method", "rtn")

    def test_missing_tensor(self):
        name = "model.layers.4.self_attn.o_proj.weight"
        model = self.copy_model()
        self.edit_tensors(model, lambda file: file.drop(name))
        self.refused(MALFORMED, model, [name, str(model)])

    def test_wrong_shape(self):
        name = "model.layers.0.mlp.down_proj.weight"
        model = self.copy_model()

        def transpose(file):
            file.header[name]["shape"].reverse()

        self.edit_tensors(model, transpose)
        self.refused(MALFORMED, model, [name, "768", "256"])

    def test_lying_config(self):
        for key, value in [("hidden_size", 512), ("intermediate_size", 770), ("num_hidden_layers", 7),
                           ("vocab_size", 2049), ("num_key_value_heads", 8)]:
            model = self.copy_model(f"{key}")
            self.edit_config(model, **{key: value})
            self.refused(MALFORMED, model, ["model.", str(model)])
        for key, value in [("hidden_size", -1), ("num_attention_heads", 0), ("hidden_size", "256"),
                           ("num_key_value_heads", 3), ("rms_norm_eps", [])]:
            model = self.copy_model(f"{key}-bad")
            self.edit_config(model, **{key: value})
            self.refused(MALFORMED, model, [key, "config.json"])
            subprocess.run(["rm", "-r", model], check=True)

    def test_config_is_not_json(self):
        model = self.copy_model()
        for text in ["", "{", "[]", '{"a": 1} trailing', "\0\1"]:
            (model / "config.json").write_text(text)
            self.refused(MALFORMED, model, ["config.json"])

    def test_null_in_the_place_of_the_quantization(self):
        model = self.copy_model()
        self.edit_config(model, quantization_config=None)
        out, _ = self.quantize("q", "--method", "rtn", model=model)
        pairs = json.loads((out / "config.json").read_text(), object_pairs_hook=list)
        self.assertEqual([k for k, _ in pairs].count("quantization_config"), 1)
        self.expect(OK, "eval", out, "--text", LICENSE, "--ctx", "64", "--max-tokens", "64")

    def test_tokenizer_of_another_model(self):
        model = self.copy_model()
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["x"] = 2100
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        (self.dir / "x.txt").write_text("x" + " a few words" * 50)
        says = ["2100", "2048", "tokenizer.json"]
        self.fails(MALFORMED, "quantize", model, "-o", self.dir / "q", "--calib", self.dir / "x.txt",
                   "--seq-len", "64", says=says)
        self.fails(MALFORMED, "eval", model, "--text", self.dir / "x.txt", "--ctx", "64", says=says)
        self.fails(MALFORMED, "run", model, "-p", "x", says=says)

    def test_broken_layers_of_a_quantized_model(self):
        """Every message names file and layer, not only a part of some layer."""
        layer = "model.layers.3.mlp.up_proj"
        good, _ = self.quantize("good", "--method", "rtn", "--asym")
        edits = {"g_idx": (b"\x09\0\0\0", "g_idx[0] is 9"), "scales": (b"\0\x7e", "NaN")}
        for part, (value, says) in edits.items():
            file = Safetensors(good / "model.safetensors")
            begin = file.header[f"{layer}.{part}"]["data_offsets"][0]
            file.body[begin : begin + len(value)] = value
            broken = self.dir / part
            shutil.copytree(good, broken)
            file.save(broken / "model.safetensors")
            code = MALFORMED if part == "g_idx" else NUMERIC
            for command in (["inspect"], ["run", "-p", "x"]):
                self.fails(code, *command, broken, says=[says, f"{layer}: ", "model.safetensors"])
        self.edit_config(good, quantization_config={
            "quant_method": "gptq", "bits": 4, "group_size": 128, "sym": False,
            "checkpoint_format": "gptq_v2", "dynamic": {"-:.*up_proj": {}}})
        for command in (["inspect"], ["run", "-p", "x"]):
            self.fails(MALFORMED, *command, good, says=["up_proj", "configuration"])
        self.edit_config(good, quantization_config={
            "quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True,
            "checkpoint_format": "gptq_v2"})
        self.fails(MALFORMED, "run", good, "-p", "x", says=["symmetric", "hint: "])

    def test_weights_beyond_the_type_of_scales(self):
        name = "model.layers.1.mlp.gate_proj"
        model = self.copy_model()

        def grow(file):
            begin = file.header[f"{name}.weight"]["data_offsets"][0]
            file.body[begin : begin + 2] = b"\x7f\x7f"  # 3.4e38

        self.edit_tensors(model, grow)
        out = ["-o", self.dir / "q", "--method", "rtn"]
        self.fails(NUMERIC, "quantize", model, *out, says=[name, "F16", f"--skip '{name}$'"])
        self.expect(OK, "quantize", model, *out, "--skip", f"{name}$")

    def test_inputs_that_are_zero(self):
        """A norm without gain: there are tokens enough, but they say nothing."""
        model = self.copy_model()

        def silence(file):
            begin, end = file.header["model.layers.4.post_attention_layernorm.weight"]["data_offsets"]
            file.body[begin:end] = bytes(end - begin)

        self.edit_tensors(model, silence)
        result = self.expect(OK, "quantize", model, "-o", self.dir / "q", "--json", *QUICK)
        self.assertIn("layers.4.mlp.gate_proj: its inputs are zero", result.err)
        outcomes = {l["name"]: l["outcome"] for l in result.json["layers"]}
        self.assertEqual(outcomes["model.layers.4.mlp.gate_proj"], "starved")
        self.assertEqual(outcomes["model.layers.4.self_attn.o_proj"], "done")

    def test_already_quantized(self):
        out, _ = self.quantize("q", "--method", "rtn")
        self.fails(FAILED, "quantize", out, "-o", self.dir / "qq", says=["quantized already"])

    def test_sizes_that_the_format_cannot_hold(self):
        """764 rows or columns are not a whole number of words of eight 4-bit codes."""
        model = self.copy_model()
        shapes = {"down_proj": [256, 764], "gate_proj": [764, 256], "up_proj": [764, 256]}

        def shrink(file):
            for name in sorted(file.header):
                linear = name.split(".")[-2]
                if linear in shapes:
                    file.drop(name)
                    rows, cols = shapes[linear]
                    begin = len(file.body)
                    file.body += b"\x01\x3c" * (rows * cols)
                    file.header[name] = {"dtype": "BF16", "shape": [rows, cols],
                                         "data_offsets": [begin, len(file.body)]}

        self.edit_tensors(model, shrink)
        self.edit_config(model, intermediate_size=764)
        self.fails(FAILED, "quantize", model, "-o", self.dir / "q", "--method", "rtn",
                   says=["mlp.", "764"])
        self.quantize("q", "--method", "rtn", "--skip", "mlp", model=model)


class Texts(CliTest):
    def calib(self, name, data, code, says):
        path = self.dir / name
        path.write_bytes(data)
        self.fails(code, "quantize", MODEL, "-o", self.dir / "q", "--calib", path, says=says + [name])
        if not name.endswith(".jsonl"):
            self.fails(code, "eval", MODEL, "--text", path, says=says)

    def test_not_utf8(self):
        for bad in [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]:
            self.calib("t.txt", b"plain text " * 100 + bad, MALFORMED, ["UTF-8", "1100"])

    def test_empty(self):
        self.calib("t.txt", b"", MALFORMED, ["empty"])

    def test_missing_and_directory(self):
        self.fails(IO, "quantize", MODEL, "-o", self.dir / "q", "--calib", self.dir / "no.txt",
                   says=["no.txt"])
        self.fails(IO, "eval", MODEL, "--text", self.dir, says=[str(self.dir)])

    def test_too_short(self):
        self.calib("t.txt", b"A few words.", USAGE, ["256"])

    def test_jsonl_defects_name_their_line(self):
        good = b'{"text": "some words"}\n'
        for bad, says in [(b"{", "line 3"), (b"[1]", "object"), (b'{"txt": "x"}', "text"),
                          (b'{"text": 5}', "text"), (b'{"text": "x"} 7', "line 3"),
                          (b'{"text": "\\ud800"}', "line 3")]:
            self.calib("c.jsonl", good + b"\n" + bad + b"\n" + good, MALFORMED, ["line 3", says])


class Outputs(CliTest):
    def test_parent_is_missing(self):
        result = self.fails(IO, "quantize", MODEL, "-o", self.dir / "a" / "b", "--method", "rtn",
                            says=[str(self.dir / "a")])
        self.assertNotIn("partial", result.err)

    def test_out_is_a_file(self):
        (self.dir / "q").write_text("precious")
        for options in ([], ["--overwrite"]):
            result = self.expect(FAILED, "quantize", MODEL, "-o", self.dir / "q", *QUICK, *options)
            self.assertIn(str(self.dir / "q"), result.err)
            self.assertNotIn("overwrite", result.err)  # which would not help
        self.assertEqual((self.dir / "q").read_text(), "precious")
        self.assertEqual(os.listdir(self.dir), ["q"])

    def test_names_that_are_not_utf8(self):
        """After all the work is done is no time to find that JSON cannot hold a name."""
        text = os.fsencode(self.dir) + b"/caf\xe9.txt"
        out = os.fsdecode(os.fsencode(self.dir) + b"/\xe9")
        with open(text, "wb") as file:
            file.write(LICENSE.read_bytes())
        options = ["--calib", os.fsdecode(text), "--calib-tokens", "512", "--seq-len", "64", "--json"]
        report = self.expect(OK, "quantize", MODEL, "-o", out, *options).json
        self.assertTrue(report["output"].endswith("/?"))
        self.assertTrue(report["calibration"]["file"].endswith("/caf?.txt"))
        with open(os.path.join(out, "quantize_config.json"), encoding="utf-8") as file:
            meta = json.load(file)["meta"]
        self.assertEqual((meta["calibration"]["file"], meta["seed"]), ("caf?.txt", 0))
        self.expect(OK, "eval", out, "--text", os.fsdecode(text), "--ctx", "64", "--json",
                    "--max-tokens", "64")
        self.expect(OK, "run", out, "-p", os.fsdecode(b"\xff"), "-n", "1", "--json")

    def test_out_is_the_model(self):
        model = self.copy_model()
        self.fails(USAGE, "quantize", model, "-o", self.dir / "." / "model" / "", "--overwrite",
                   "--method", "rtn", says=["model itself"])
        self.assertTrue((model / "model.safetensors").exists())

    def test_files_cannot_grow(self):
        """As on a full disk: writing fails at every stage in turn."""
        for limit in (100, 20_000, 1_000_000, 3_500_000):
            def set_limit(limit=limit):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            self.fails(IO, "quantize", MODEL, "-o", self.dir / "q", "--method", "rtn",
                       preexec_fn=set_limit)

    def test_full_disk(self):
        disk = self.dir / "disk"
        disk.mkdir()
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk],
                               capture_output=True)
        if mount.returncode != 0:
            self.skipTest("cannot mount a tmpfs here")
        try:
            result = self.expect(IO, "quantize", MODEL, "-o", disk / "q", "--method", "rtn")
            self.assertIn("space", result.err)
            self.assertEqual(os.listdir(disk), [])
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_standard_output_is_full(self):
        for args in (["inspect", MODEL, "--json"], ["--help"], ["run", MODEL, "-p", "x", "-n", "2"]):
            with open("/dev/full", "wb") as full:
                process = subprocess.run([QL, *map(str, args)], stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(process.returncode, IO, args)
            self.assertIn(b"standard output", process.stderr)


class Signals(CliTest):
    def interrupted(self, number, options, wait_for):
        """Starts a long job, waits for that text on stdout (or a moment), and interrupts it."""
        process = subprocess.Popen([QL, "quantize", str(MODEL), "-o", str(self.dir / "q"), *options],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if wait_for is None:
            time.sleep(0.5)
        else:
            for line in process.stdout:
                if wait_for in line:
                    break
        self.assertIsNone(process.poll(), "the job ended too soon to be interrupted")
        process.send_signal(number)
        started = time.monotonic()
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, CANCELLED, err)
        self.assertIn(b"cancelled", err.lower())
        self.assertEqual(os.listdir(self.dir), [])
        return time.monotonic() - started

    def test_while_calibrating(self):
        text = self.dir.parent / (self.dir.name + ".txt")
        text.write_text(LICENSE.read_text() * 20)
        self.addCleanup(text.unlink)
        options = ["--calib", str(text), "--calib-tokens", "60000"]
        for number in (signal.SIGINT, signal.SIGTERM):
            self.interrupted(number, options, b"model.layers.0.")

    def test_while_generating(self):
        self.interrupted(signal.SIGINT, ["--calib-tokens", "400000", "--seq-len", "256"], None)


if __name__ == "__main__":
    main()
