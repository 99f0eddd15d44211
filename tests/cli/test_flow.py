# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""From the bundled model to a quantized one, evaluated, run and looked at."""

import json
import math
import os
import re
import shutil
import struct
import subprocess

from cli_support import (CliTest, FAILED, LICENSE, MODEL, OK, QL, QUICK, Safetensors, USAGE,
                         main, ql, runnable_isas)

EVAL = ["--text", LICENSE, "--ctx", "128", "--max-tokens", "1024"]


def bf16(data):
    return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]


def f16(data):
    return struct.unpack(f"<{len(data) // 2}e", data)


def dequantize(file, layer, bits, group, offset):
    """Weights [out][in] of a GPTQ layer as doc/formats says; offset: what is added to a stored zero."""
    rows_packed, out = file.header[f"{layer}.qweight"]["shape"]
    words = struct.unpack(f"<{rows_packed * out}I", file.bytes(f"{layer}.qweight"))
    zeros = file.bytes(f"{layer}.qzeros")
    zeros = struct.unpack(f"<{len(zeros) // 4}I", zeros)
    scales = f16(file.bytes(f"{layer}.scales"))
    per, mask = 32 // bits, (1 << bits) - 1
    weights = [[0.0] * (rows_packed * per) for _ in range(out)]
    for i in range(rows_packed * per):
        g = i // group
        for o in range(out):
            code = words[i // per * out + o] >> bits * (i % per) & mask
            zero = (zeros[g * (out // per) + o // per] >> bits * (o % per) & mask) + offset
            weights[o][i] = scales[g * out + o] * (code - zero)
    return weights


class Flow(CliTest):
    def test_rtn_error_is_what_the_stored_codes_say(self):
        """The reported error and every stored part, by arithmetic written here from the format."""
        layer = "model.layers.2.self_attn.k_proj"
        original = bf16(Safetensors(MODEL / "model.safetensors").bytes(f"{layer}.weight"))
        for asym, bits, offset in [(0, 4, 1), (1, 4, 0), (1, 2, 0), (0, 8, 1)]:
            out, report = self.quantize(f"q{asym}{bits}", "--method", "rtn", "--bits", bits,
                                        "--asym" if asym else "--sym")
            got = [w for row in dequantize(Safetensors(out / "model.safetensors"), layer, bits, 128,
                                           offset) for w in row]
            error = math.sqrt(sum((a - b) ** 2 for a, b in zip(original, got)) /
                              sum(a * a for a in original))
            told = next(l for l in report["layers"] if l["name"] == layer)
            self.assertAlmostEqual(told["error"], error, delta=1e-6 * error)
            self.assertLess(error, {2: 0.7, 4: 0.15, 8: 0.01}[bits])

    def test_gptq_report(self):
        out, report = self.quantize("q", *QUICK)
        self.assertEqual((report["method"], report["bits"], report["group_size"], report["sym"],
                          report["format"], report["settings"]["order"],
                          report["settings"]["damp"], report["seed"]),
                         ("gptq", 4, 128, True, "gptq", "group-aware", 0.01, 0))
        self.assertEqual(len(report["layers"]), 42)
        for layer in report["layers"]:
            self.assertEqual(layer["outcome"], "done")
            self.assertGreater(layer["loss"], 0)
            self.assertLess(layer["loss_check"], 1e-3)
            self.assertTrue(0 < layer["error"] < 0.4, layer)
            # What GPTQ is for: outputs suffer less than weights.
            self.assertLess(layer["output_error"], layer["error"])
        self.assertEqual(report["calibration"]["sequences"], 8)
        # codes, a scale of 16 bits and a zero point of 4 for each 128 weights
        self.assertAlmostEqual(report["bits_per_weight"], 4 + 20 / 128, places=12)
        files = sum(len(Safetensors(f).body) for f in out.glob("*.safetensors"))
        self.assertEqual(report["model_bytes"], files)
        self.assertGreater(report["peak_memory_bytes"], 1e6)

    def test_plain_output(self):
        result = self.expect(OK, "quantize", MODEL, "-o", self.dir / "q", "--method", "rtn", "--skip",
                             "v_proj")
        self.assertEqual(len(re.findall(r"(?m)^model\.layers\.\d\.\S+ +4 +128 ", result.out)), 36)
        self.assertEqual(result.out.count("left as it is"), 6)
        self.assertRegex(result.out, r"4\.156 bits per weight")
        self.assertNotIn("\033", result.out + result.err)

    def test_progress_on_a_terminal(self):
        """A bar that only grows, and no trace of it at the end of a line of the table."""
        if shutil.which("script") is None:
            self.skipTest("no script(1) here")
        command = f"{QL} quantize {MODEL} -o {self.dir}/q {' '.join(QUICK)} --calib-tokens 4096"
        for env in ({}, {"NO_COLOR": "1"}):
            out = subprocess.run(["script", "-qec", command + " --overwrite", "/dev/null"],
                                 capture_output=True, env={**os.environ, **env, "TERM": "xterm"})
            self.assertEqual(out.returncode, 0)
            text = out.stdout.decode()
            shown = [int(p) for p in re.findall(r"quantizing \[[#.]{24}\] +(\d+) %", text)]
            self.assertGreater(len(shown), 1)
            self.assertEqual(shown, sorted(shown))
            lines = [l.split("\r\033[K")[-1] for l in text.split("\r\n")]
            self.assertEqual(sum(l.startswith("model.layers.") for l in lines), 42)
            self.assertFalse(any("%" in l for l in lines))

    def test_config_keeps_everything_and_adds(self):
        out, _ = self.quantize("q", "--method", "rtn", "--asym", "--bits", "3", "-g", "-1")
        text, original = ((d / "config.json").read_text() for d in (out, MODEL))
        self.assertTrue(text.startswith(original.rstrip().rstrip("}").rstrip()))
        config = json.loads(text)
        quantization = config.pop("quantization_config")
        self.assertEqual(config, json.loads(original))
        self.assertEqual(quantization, json.loads((out / "quantize_config.json").read_text()))
        want = {"quant_method": "gptq", "bits": 3, "group_size": -1, "desc_act": False, "sym": False,
                "checkpoint_format": "gptq_v2", "pack_dtype": "int32", "lm_head": False}
        self.assertLessEqual(want.items(), quantization.items())
        self.assertEqual(quantization["meta"]["method"], "rtn")
        self.assertTrue(quantization["meta"]["quantizer"][0].startswith("quantlib:"))

    def test_small_files_are_carried_over(self):
        model = self.copy_model()
        for name in ["chat_template.jinja", "special_tokens_map.json", "tokenizer.model", "merges.txt"]:
            (model / name).write_bytes(name.encode())
        for name in ["pytorch_model.bin", "model.safetensors.index.json.bak", ".hidden.json",
                     "pytorch_model.bin.index.json"]:
            (model / name).write_text("{}")
        out, _ = self.quantize("q", "--method", "rtn", model=model)
        self.assertEqual(sorted(os.listdir(out)), sorted([
            "chat_template.jinja", "config.json", "generation_config.json", "merges.txt",
            "model.safetensors", "quantize_config.json", "special_tokens_map.json", "tokenizer.json",
            "tokenizer.model", "tokenizer_config.json"]))
        for name in ["tokenizer.json", "generation_config.json", "tokenizer.model"]:
            self.assertEqual((out / name).read_bytes(), (model / name).read_bytes())

    def test_untouched_tensors_are_the_same_bytes(self):
        out, _ = self.quantize("q", "--method", "rtn", "--skip", r"layers\.[05]\.")
        before, after = (Safetensors(d / "model.safetensors") for d in (MODEL, out))
        same = [n for n in after.header if n in before.header]
        self.assertEqual(len(same), 1 + 13 + 14)  # embedding, norms, the linears of two blocks
        for name in same:
            self.assertEqual(before.bytes(name), after.bytes(name), name)
            self.assertEqual(before.header[name]["dtype"], after.header[name]["dtype"])

    def test_rules_for_layers(self):
        out, report = self.quantize("q", *QUICK, "--bits", "3", "--layer", "down_proj:bits=8,group=-1",
                                    "--layer", "proj:bits=4", "--skip", r"layers\.1\.mlp", "--layer",
                                    "k_proj:bits=2")
        for layer in report["layers"]:
            if ".1.mlp" in layer["name"]:
                self.assertTrue(layer["skipped"])
            elif "down_proj" in layer["name"]:
                self.assertEqual((layer["bits"], layer["group_size"]), (8, -1))
            else:
                self.assertEqual((layer["bits"], layer["group_size"]), (4, 128))
        rules = json.loads((out / "quantize_config.json").read_text())["dynamic"]
        self.assertEqual(len(rules), 42)
        key = next(k for k in rules if k.startswith("-:"))
        self.assertTrue(re.match(key[2:], "model.layers.1.mlp.gate_proj"))
        # Our own reader takes the rules: the model runs and is nearly the original.
        result = self.expect(OK, "eval", out, *EVAL, "--ref", MODEL, "--json").json
        self.assertLess(result["kl_divergence"], 0.05)
        kinds = {l["name"]: l["kind"] for l in ql("inspect", out, "--json").json["layers"]}
        self.assertEqual(kinds["model.layers.1.mlp.up_proj.weight"], "BF16")
        self.assertEqual(kinds["model.layers.0.mlp.up_proj"], "gptq")

    def test_generated_calibration_follows_the_seed(self):
        options = ["--calib-tokens", "256", "--seq-len", "64", "--skip", r"layers\.[1-5]"]
        weights = []
        for i, seed in enumerate([1, 1, 2]):
            out, report = self.quantize(f"q{i}", *options, "--seed", seed)
            self.assertEqual(report["calibration"], {"source": "generated", "sequences": 4,
                                                     "seq_len": 64})
            weights.append((out / "model.safetensors").read_bytes())
        self.assertEqual(weights[0], weights[1])
        self.assertNotEqual(weights[0], weights[2])

    def test_jsonl_is_the_same_as_its_text(self):
        text = LICENSE.read_text()
        options = ["--calib-tokens", "512", "--seq-len", "64", "--bits", "3", "--skip",
                   r"layers\.[1-5]"]
        line = json.dumps({"id": 1, "text": text})
        (self.dir / "c.jsonl").write_text(f"\n{line}\n\n")
        weights = []
        for calib in (self.dir / "c.jsonl", LICENSE):
            out, report = self.quantize(calib.stem, "--calib", calib, *options)
            self.assertEqual(report["calibration"]["sequences"], 8)
            weights.append((out / "model.safetensors").read_bytes())
        self.assertEqual(weights[0], weights[1])
        # Documents are put one after the other.
        half = len(text) // 2
        (self.dir / "two.jsonl").write_text("".join(json.dumps({"text": t}) + "\n"
                                                    for t in (text[:half], text[half:])))
        out, report = self.quantize("two", "--calib", self.dir / "two.jsonl", *options)
        self.assertEqual(report["calibration"]["sequences"], 8)

    def test_short_text_is_used_with_a_warning(self):
        (self.dir / "t.txt").write_text(LICENSE.read_text()[:3000])
        result = self.expect(OK, "quantize", MODEL, "-o", self.dir / "q", "--json", "--calib",
                             self.dir / "t.txt", "--seq-len", "64")
        self.assertIn("warning", result.err)
        self.assertLess(result.json["calibration"]["sequences"], 128)
        quiet = self.expect(OK, "quantize", MODEL, "-o", self.dir / "q2", "--json", "--quiet",
                            "--calib", self.dir / "t.txt", "--seq-len", "64")
        self.assertEqual(quiet.err, "")

    def test_overwrite(self):
        out, _ = self.quantize("q", "--method", "rtn")
        before = (out / "model.safetensors").read_bytes()
        result = self.fails(FAILED, "quantize", MODEL, "-o", out, "--method", "rtn", "--bits", "3",
                            says=[str(out), "--overwrite"])
        self.assertEqual((out / "model.safetensors").read_bytes(), before)
        self.quantize("q", "--method", "rtn", "--bits", "3", "--overwrite")
        self.assertEqual(json.loads((out / "quantize_config.json").read_text())["bits"], 3)
        self.assertEqual(os.listdir(self.dir), ["q"])


class Variants(CliTest):
    def test_orders_widths_and_formats_run(self):
        for name, options, limit in [
            ("act", ["--act-order", "act"], 0.03), ("none", ["--act-order", "none"], 0.03),
            ("static", ["--act-order", "static", "--asym"], 0.03),
            ("asym-v1", ["--asym", "--format", "gptq"], 0.03),
            ("sym-v2", ["--format", "gptq_v2", "-g", "32"], 0.03),
            ("three", ["--bits", "3", "--asym"], 0.15),
            ("mse", ["--bits", "3", "--mse", "2.4", "--skip", "mlp"], 0.1),
            ("two", ["--bits", "2", "--asym", "-g", "64"], 0.8), ("eight", ["--bits", "8"], 0.001),
            ("row", ["-g", "-1", "--asym"], 0.3)]:
            with self.subTest(name):
                out, _ = self.quantize(name, *QUICK, "--skip", r"layers\.[1-5]", *options)
                result = self.expect(OK, "eval", out, *EVAL, "--ref", MODEL, "--json").json
                self.assertTrue(0 <= result["kl_divergence"] < limit, (name, result))


class Eval(CliTest):
    def test_windows(self):
        for ctx, stride, tokens in [(128, 128, 1024), (100, 30, 400), (64, 64, 500), (32, 1, 60),
                                    (32, 50, 200)]:
            got = self.expect(OK, "eval", MODEL, "--text", LICENSE, "--ctx", ctx, "--stride", stride,
                              "--max-tokens", tokens, "--json").json
            windows = (tokens - ctx) // stride + 1
            self.assertEqual(got["windows"], windows)
            self.assertEqual(got["tokens"], windows * (ctx - 1))
            self.assertGreater(got["perplexity"], 1)

    def test_a_model_agrees_with_itself(self):
        got = self.expect(OK, "eval", MODEL, *EVAL, "--ref", MODEL, "--json").json
        self.assertEqual((got["kl_divergence"], got["top1_agreement"]), (0, 1))

    def test_sizes(self):
        file = Safetensors(MODEL / "model.safetensors")
        got = self.expect(OK, "eval", MODEL, *EVAL, "--json").json
        self.assertEqual(got["model_bytes"], len(file.body))
        self.assertEqual(got["weights"], len(file.body) // 2)
        self.assertEqual((got["bits_per_weight"], got["model_bits_per_weight"]), (16, 16))
        out, report = self.quantize("q", *QUICK, "--act-order", "act", "--bits", "3",
                                    "--layer", "o_proj:group=64", "--skip", "v_proj")
        got = self.expect(OK, "eval", out, *EVAL, "--json").json
        for key in ["model_bytes", "bits_per_weight", "model_bits_per_weight"]:
            self.assertAlmostEqual(got[key], report[key], places=9)
        # gate, up, down, q, k at group 128 and o at group 64; a scale of 16 bits, a zero of 3
        many, few = 3 * 768 * 256 + 256 * 256 + 128 * 256, 256 * 256
        self.assertAlmostEqual(got["bits_per_weight"],
                               3 + 19 * (many / 128 + few / 64) / (many + few), places=9)

    def test_keys_and_pipes(self):
        keys = {"perplexity", "tokens", "bits_per_weight", "model_bits_per_weight", "model_bytes",
                "tokens_per_second", "isa"}
        text = LICENSE.read_bytes()
        from_file = self.expect(OK, "eval", MODEL, *EVAL, "--json").json
        from_pipe = self.expect(OK, "eval", MODEL, "--text", "-", *EVAL[2:], "--json", input=text).json
        self.assertLessEqual(keys, from_file.keys())
        self.assertNotIn("kl_divergence", from_file)
        self.assertEqual(from_file["perplexity"], from_pipe["perplexity"])
        self.assertGreater(from_file["tokens_per_second"], 1)
        self.assertIn(from_file["isa"], runnable_isas())

    def test_plain_output(self):
        text = self.expect(OK, "eval", MODEL, *EVAL, "--ref", MODEL).out
        for word in ["perplexity", "KL divergence", "top-1 agreement", "bits per weight", "tokens/s"]:
            self.assertIn(word, text)


class Run(CliTest):
    def test_greedy_text_streams_and_repeats(self):
        args = ["run", MODEL, "-p", "The kernel", "-n", "12"]
        plain, again = self.expect(OK, *args).out, self.expect(OK, *args).out
        self.assertTrue(plain.startswith("The kernel"))
        self.assertEqual(plain, again)
        got = self.expect(OK, *args, "--json").json
        self.assertEqual("The kernel" + got["text"] + "\n", plain)
        self.assertEqual(got["tokens"], 12)
        self.assertGreater(got["decode_tokens_per_second"], 0)
        self.assertGreater(got["time_to_first_token"], 0)

    def test_any_bytes_come_out_the_same_in_both_forms(self):
        """Tokens drawn at random hold parts of characters and NUL bytes."""
        for seed in (6, 10):
            args = ["run", MODEL, "-p", "The", "-n", "150", "--temp", "50", "--seed", seed]
            plain, got = self.expect(OK, *args).out, self.expect(OK, *args, "--json").json
            self.assertEqual("The" + got["text"] + "\n", plain)

    def test_sampling_follows_the_seed(self):
        texts = [self.expect(OK, "run", MODEL, "-p", "The", "-n", "16", "--temp", "1.5", "--seed",
                             seed).out for seed in (1, 1, 2)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_quantized_model_runs(self):
        out, _ = self.quantize("q", "--method", "rtn")
        self.assertTrue(self.expect(OK, "run", out, "-p", "Files", "-n", "4").out.startswith("Files"))

    def test_compute_modes(self):
        """16-bit activations do not change what a model says; 8-bit ones hardly."""
        out, _ = self.quantize("q", "--method", "rtn")
        run = ["run", out, "-p", "The kernel", "-n", "48", "--json"]
        exact = self.expect(OK, *run).json
        plain = self.expect(OK, *run, "--compute", "f32").json
        self.assertEqual((exact["compute"], exact["head_bits"]), ("a16", None))
        self.assertEqual((plain["compute"], plain["text"]), ("f32", exact["text"]))
        self.assertEqual(self.expect(OK, "eval", out, *EVAL, "--json").json["compute"], "f32")
        evaluate = ["eval", out, *EVAL, "--ref", out, "--json", "--compute"]
        kl = {}
        for mode in ("f32", "a16", "a8"):
            got = self.expect(OK, *evaluate, mode).json
            self.assertEqual(got["compute"], mode)
            kl[mode] = got["kl_divergence"]
        self.assertEqual(kl["f32"], 0)
        self.assertLess(0, abs(kl["a16"]))
        self.assertLess(abs(kl["a16"]), 1e-6)
        self.assertLess(1e-5, kl["a8"])
        self.assertLess(kl["a8"], 5e-3)
        self.fails(USAGE, "run", out, "-p", "x", "--compute", "a4", says=["--compute", "f32|a16|a8"])

    def test_head_bits(self):
        got = self.expect(OK, "eval", MODEL, *EVAL, "--ref", MODEL, "--head-bits", "8", "--json").json
        self.assertEqual(got["head_bits"], 8)
        self.assertLess(0, got["kl_divergence"])
        self.assertLess(got["kl_divergence"], 1e-3)
        self.fails(USAGE, "run", MODEL, "-p", "x", "--head-bits", "3", says=["--head-bits"])


class Inspect(CliTest):
    def test_tensors_and_outliers(self):
        got = self.expect(OK, "inspect", MODEL, "--json").json
        file = Safetensors(MODEL / "model.safetensors")
        self.assertEqual({t["name"]: (t["dtype"], t["shape"]) for t in got["tensors"]},
                         {n: (i["dtype"], i["shape"]) for n, i in file.header.items()})
        name = "model.layers.3.self_attn.k_proj.weight"
        w = bf16(file.bytes(name))
        mean = sum(w) / len(w)
        m2 = sum((x - mean) ** 2 for x in w) / len(w)
        m4 = sum((x - mean) ** 4 for x in w) / len(w)
        rms = math.sqrt(sum(x * x for x in w) / len(w))
        layer = next(l for l in got["layers"] if l["name"] == name)
        self.assertEqual(layer["absmax"], max(map(abs, w)))
        self.assertAlmostEqual(layer["rms"], rms, delta=1e-9)
        self.assertAlmostEqual(layer["absmax_over_rms"], max(map(abs, w)) / rms, places=6)
        self.assertAlmostEqual(layer["kurtosis"], m4 / m2**2, places=6)
        beyond = sum(abs(x - mean) > 6 * math.sqrt(m2) for x in w) / len(w)
        self.assertGreater(beyond, 0)
        self.assertAlmostEqual(layer["beyond_6_sigma"], beyond, places=12)

    def test_single_file(self):
        got = self.expect(OK, "inspect", MODEL / "model.safetensors", "--no-statistics", "--json").json
        self.assertIsNone(got["config"])
        self.assertEqual(got["tensor_count"], 56)
        self.assertNotIn("kurtosis", got["layers"][0])

    def test_quantized(self):
        out, _ = self.quantize("q", "--method", "rtn", "--asym")
        self.assertIn("format gptq_v2", self.expect(OK, "inspect", out).out)
        layer = next(l for l in self.expect(OK, "inspect", out, "--json").json["layers"]
                     if l["name"] == "model.layers.0.mlp.up_proj")
        self.assertEqual((layer["bits"], layer["group_size"], layer["shape"]), (4, 128, [768, 256]))
        self.assertAlmostEqual(layer["bits_per_weight"], 4 + 20 / 128)


class Determinism(CliTest):
    def weights(self, name, *args):
        out, _ = self.quantize(name, *QUICK, "--skip", r"layers\.[2-5]", *args)
        return {f.name: f.read_bytes() for f in out.iterdir()}

    def test_same_bytes_for_any_number_of_threads(self):
        first = self.weights("t1", "--threads", "1", "--bits", "3", "--asym")
        for threads in (2, 3):
            self.assertEqual(self.weights(f"t{threads}", "--threads", threads, "--bits", "3", "--asym"),
                             first)

    def test_generated_calibration_too(self):
        options = ["--calib-tokens", "128", "--seq-len", "32", "--skip", r"layers\.[1-5]"]
        files = []
        for threads in (1, 3):
            out, _ = self.quantize(f"g{threads}", *options, "--threads", threads)
            files.append({f.name: f.read_bytes() for f in out.iterdir()})
        self.assertEqual(files[0], files[1])

    def test_reproducible_is_the_same_on_every_isa(self):
        isas = runnable_isas()
        self.assertIn("scalar", isas)
        first = self.weights("scalar", "--reproducible", "--isa", "scalar")
        for isa in isas:
            self.assertEqual(self.weights(f"r-{isa}", "--reproducible", "--isa", isa), first, isa)


if __name__ == "__main__":
    main()
