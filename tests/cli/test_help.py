# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Help, manual page, completion, and what is refused on the command line."""

import re
import shutil
import subprocess

from cli_support import CliTest, MODEL, OK, ROOT, USAGE, main, ql

COMMANDS = ["quantize", "plan", "diff", "bench", "eval", "run", "inspect", "version", "help"]
ISSUE_OPTIONS = {
    "quantize": "output method bits group-size sym asym act-order damp mse calib calib-tokens seq-len "
    "seed format skip layer act-bits act act-sym act-asym alpha smooth-online per-tensor threads json isa reproducible quiet verbose",
    "plan": "output target-bpw target-size target-tokens-per-second candidates groups measure-kl tie from "
    "calib threads json isa reproducible",
    "eval": "text ctx stride max-tokens ref choices generate by-position limit gen-tokens stop extract details json threads isa reproducible",
    "bench": "quick op shape m compute state act group original seconds threads isa json",
    "run": "prompt tokens temp seed json threads isa reproducible",
    "diff": "text own-inputs ctx max-tokens json threads isa reproducible",
    "inspect": "text outlier-multiple ctx max-tokens json threads isa reproducible",
}


def options_of(text):
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z-]+)", text, re.M))


class Help(CliTest):
    def test_overview_names_every_command(self):
        text = self.expect(OK, "--help").out
        for name in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {name} ")
        self.assertEqual(text, self.expect(OK, "help").out)

    def test_every_command_has_help(self):
        for name in COMMANDS:
            text = self.expect(OK, name, "--help").out
            self.assertIn(f"Usage: ql {name}", text)
            self.assertEqual(text, self.expect(OK, "help", name).out)
            self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_promised_options_are_there(self):
        for name, options in ISSUE_OPTIONS.items():
            self.assertLessEqual(set(options.split()), options_of(ql(name, "--help").out))

    def test_defaults_are_printed(self):
        text = " ".join(self.expect(OK, "quantize", "--help").out.split())
        for default in ["(default: gptq)", "(default: 4)", "(default: 128, and -1 with --act-bits)", "(default: 0.01)",
                        "(default: group-aware)", "(default: 128 sequences)"]:
            self.assertIn(default, text)

    def test_version(self):
        version = ql("--version").out.split("\n")[0].split()[1]
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertEqual(ql("version", "--json").json["version"], version)

    def test_manual_page_is_current(self):
        page = self.expect(OK, "help", "--man").out
        self.assertEqual(page, (ROOT / "doc/man/ql.1").read_text())
        for name in COMMANDS:
            for option in options_of(ql(name, "--help").out):
                self.assertIn("\\-\\-" + option.replace("-", "\\-"), page)

    def test_manual_page_is_well_formed(self):
        if shutil.which("man") is None:
            self.skipTest("no man here")
        page = subprocess.run(["man", "--warnings", "-l", "-Tutf8", "-Z", ROOT / "doc/man/ql.1"],
                              capture_output=True)
        self.assertEqual((page.returncode, page.stderr), (0, b""))

    def test_completion_is_current(self):
        self.assertEqual(self.expect(OK, "help", "--bash").out,
                         (ROOT / "cli/completions/ql.bash").read_text())

    def complete(self, *words):
        script = (f". {ROOT}/cli/completions/ql.bash; compopt() {{ :; }}; "
                  f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _ql; "
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        out = subprocess.run(["bash", "-c", script], capture_output=True, check=True, cwd=self.dir)
        self.assertEqual(out.stderr, b"")
        return out.stdout.decode().split()

    def test_completion_completes(self):
        self.assertEqual(self.complete("ql", "quant"), ["quantize"])
        self.assertEqual(self.complete("ql", "quantize", "m", "--act-o"), ["--act-order"])
        self.assertEqual(self.complete("ql", "quantize", "m", "--format", "gptq_"), ["gptq_v2"])
        (self.dir / "text-file").write_text("x")
        self.assertEqual(self.complete("ql", "eval", "m", "--text", "text"), ["text-file"])


class Usage(CliTest):
    def refused(self, *args, says=()):
        result = self.fails(USAGE, *args, says=says)
        self.assertEqual(result.out, "")
        return result

    def test_nothing_given(self):
        result = self.expect(USAGE)
        self.assertIn("Commands:", result.out)

    def test_unknown(self):
        self.refused("frobnicate", says=["frobnicate", "ql --help"])
        self.refused("--frobnicate", says=["--frobnicate"])
        self.refused("help", "frobnicate", says=["frobnicate"])
        self.refused("quantize", MODEL, "--bit", "4", says=["--bit", "ql quantize --help"])
        self.refused("eval", MODEL, "-x", says=["-x"])

    def test_close_names_are_suggested(self):
        for words, close in [(["quantise"], "'quantize'"), (["evla"], "'eval'"),
                             (["help", "quant"], "'quantize'"),
                             (["eval", MODEL, "--max-token", "4"], "'--max-tokens'"),
                             (["quantize", MODEL, "--groupsize", "64"], "'--group-size'"),
                             (["quantize", MODEL, "--act_order=act"], "'--act-order'"),
                             (["inspect", MODEL, "--thread", "2"], "'--threads'")]:
            self.refused(*words, says=[f"is it {close}?"])
        for words in (["z"], ["eval", MODEL, "-z"], ["eval", MODEL, "--", MODEL],
                      ["eval", MODEL, "--" + "x" * 500]):
            self.assertNotIn("is it", self.refused(*words).err)

    def test_empty_words(self):
        self.refused("inspect", "", says=["MODEL"])
        self.refused("quantize", MODEL, "-o", "", says=["'-o'", "name"])
        self.refused("eval", MODEL, "--text", "", says=["--text"])
        self.refused("eval", MODEL, "--text", MODEL, "--ref", "", says=["--ref"])
        self.refused("quantize", MODEL, "-o", self.dir / "o", "--skip", "", says=["--skip", "REGEX"])

    def test_zero_is_not_the_default(self):
        for option in ("--ctx", "--stride", "--max-tokens", "--threads"):
            self.refused("eval", MODEL, "--text", MODEL, option, "0", says=[option, "'0'"])
        for option in ("--calib-tokens", "--seq-len"):
            self.refused("quantize", MODEL, "-o", self.dir / "o", option, "0", says=[option, "'0'"])

    def test_missing(self):
        self.refused("quantize", "-o", self.dir / "o", says=["MODEL"])
        self.refused("quantize", MODEL, says=["-o"])
        self.refused("quantize", MODEL, "-o", says=["-o", "value"])
        self.refused("eval", MODEL, says=["--text"])
        self.refused("run", MODEL, says=["-p"])
        self.refused("inspect", says=["MODEL"])

    def test_too_much(self):
        self.refused("inspect", MODEL, "more", says=["more"])
        self.refused("quantize", MODEL, "-o", self.dir / "o", "--sym=1", says=["--sym"])

    def test_bad_values_name_option_value_and_range(self):
        out = ["-o", self.dir / "o"]
        for option, value, allowed in [
            ("--bits", "9", "1 to 8"), ("--bits", "four", "1 to 8"), ("--bits", "4x", "1 to 8"),
            ("--bits", "", "1 to 8"), ("--group-size", "-2", "-1 to"), ("--group-size", "0", "-1"),
            ("--damp", "2", "0 to 1"), ("--damp", "nan", "0 to 1"), ("--set", "damp", "NAME=VALUE"),
            ("--act-order", "asc", "auto|none|act|static|group-aware"), ("--threads", "-1", "1 to 4096"),
            ("--seed", "99999999999999999999", "0 to"), ("--format", "gguf", "gptq_v2"),
            ("--layer", "down_proj", "bits="), ("--layer", "x:bits=9", "bits="),
            ("--layer", ":bits=4", "bits="), ("--layer", "x:colour=4", "bits="),
        ]:
            self.refused("quantize", MODEL, *out, option, value, says=[option, f"'{value}'", allowed])
            if value:
                self.refused("quantize", MODEL, *out, f"{option}={value}", says=[option, allowed])

    def test_methods_and_their_options(self):
        out = ["quantize", MODEL, "-o", self.dir / "o"]
        self.refused(*out, "--method", "gtpq", says=["'gtpq'", "rtn, gptq"])
        self.refused(*out, "--method", "gtpq+rtn", says=["'gtpq'", "rtn, gptq"])
        self.refused(*out, "--method", "gptq+", says=["'gptq'", "follow"])
        self.refused(*out, "--method", "+rtn", says=["''", "rtn, gptq"])
        self.refused(*out, "--set", "dmap=1", says=["'dmap'", "damp"])
        self.refused(*out, "--set", "block=0", says=["'block'", "'0'", "1 to 4096"])
        self.refused(*out, "--method", "rtn", "--act-order", "act", says=["rtn", "'order'"])

    def test_widths_that_the_format_cannot_hold(self):
        for bits in "567":
            self.refused("quantize", MODEL, "-o", self.dir / "o", "--bits", bits, says=[bits, "gptq"])
        self.refused("quantize", MODEL, "-o", self.dir / "o", "--layer", "down:bits=5", says=["5"])

    def test_isa(self):
        self.refused("inspect", MODEL, "--isa", "sse9", says=["sse9"])
        result = ql("inspect", MODEL, env={"QL_ISA": "sse9"})
        self.assertEqual(result.code, USAGE)
        self.assertIn("sse9", result.err)

    def test_patterns(self):
        out = ["-o", self.dir / "o", "--method", "rtn"]
        self.fails(USAGE, "quantize", MODEL, *out, "--skip", "(", says=["(", "pattern"])
        self.fails(USAGE, "quantize", MODEL, *out, "--skip", "lm_haed",
                   says=["lm_haed", "model.layers.0."])
        self.fails(USAGE, "quantize", MODEL, *out, "--layer", "nowhere:bits=3", says=["nowhere"])
        self.fails(USAGE, "quantize", MODEL, *out, "--skip", ".", says=["all 42"])

    def test_short_forms_and_end_of_options(self):
        text = self.expect(OK, "run", "-p", "The", "-n3", "--", MODEL).out
        self.assertTrue(text.startswith("The"))


if __name__ == "__main__":
    main()
