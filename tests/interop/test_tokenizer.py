# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""The engine's tokenizer against the PyPI package `tokenizers`, ids and text.

    test_tokenizer.py QLE_TOKENIZE SOURCE_ROOT [SEED]
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import tokenizers

import tokenizers_by_style as styles

# Characters that every Unicode version in play knows: those of Unicode 3.2, and old emoji.
OLD = [chr(c) for c in range(0x20, 0x30000)
       if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co")]
MARKS = [c for c in OLD if unicodedata.ucd_3_2_0.category(c) in ("Mn", "Mc", "Me")]
DIGITS = [c for c in OLD if unicodedata.ucd_3_2_0.category(c)[0] == "N"]
SPACES = [c for c in OLD if c.isspace()] + list("\t\n\r\v\f\x1c\x85\u180e\u200b\ufeff\0")
EMOJI = list("\U0001f600\U0001f602\U0001f680\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f469\ufe0f\u2764\U0001f1e9\U0001f1ea")
CJK = list("\u4e2d\u6587\u5b57\u7b26\u3042\u3044\u30a2\u30a4\ud55c\uad6d\uac01\u1100\u1161\u11a8")
FRAGMENTS = ["'s", "'S", "'ll", "'LL", "'re", "don't", "\u2019s", "'\u017f", "\r\n", "\r\n\r\n", "\n\n\n", " \n ", "   ",
             "\t\t", "   word", "word", "sword", "wort,", "words", "1234567", "3.14", "\u0663\u0664", "\u2162\u00bd\u00b2",
             "caf\u00e9 au lait", "cafe\u0301 au", "\u212b\u2126", "\ufb01\ufb03", "\u1e9b\u0323", "\u0344\u0958",
             "<|im_start|>", "<|im_start|>x", " <left>", "\n <right> \n", "  <both>\u3000", "<s>", "</s>", "<unk>",
             "<0x41>", "<0x", "\u2581", "\u2581\u2581a", "\u0120", "\u010a", "HTTPServer", "fooBar", "na\u00efve", "\u01c5\u01c8",
             "x = {'a': [1, 2]}", "https://a.b/c?d=e", "....", "!!!", "---", "a\u200db", "\u00ad"]


def random_text(rng):
    words = []
    for _ in range(rng.randint(1, 14)):
        source = rng.choice([OLD, MARKS, DIGITS, SPACES, EMOJI, CJK, FRAGMENTS, FRAGMENTS, FRAGMENTS])
        words.append("".join(rng.choice(source) for _ in range(rng.randint(1, 5))))
        if rng.random() < 0.5:
            words.append(rng.choice([" ", " ", "  ", "\n", "\u00a0"]))
        if rng.random() < 0.4:
            words.append("".join(rng.choice("abcdetrnsioABC") for _ in range(rng.randint(1, 8))))
    return "".join(words)


class Ours:
    def __init__(self, program, path):
        self.command = [program, path]

    def ask(self, requests):
        done = subprocess.run(self.command, input=b"".join(requests), capture_output=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{self.command} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout.decode().split("\n")[:-1]

    def encode(self, texts):
        requests = [b"E %d\n%s" % (len(t.encode()), t.encode()) for t in texts]
        return [[int(i) for i in line.split()] if not line.startswith("!") else line
                for line in self.ask(requests)]

    def decode(self, lists, kind, skip):
        requests = [b"%c %d %d\n%s\n" % (ord(kind), len(ids), skip, " ".join(map(str, ids)).encode())
                    for ids in lists]
        return [bytes.fromhex(line).decode() if not line.startswith("!") else line
                for line in self.ask(requests)]


def differences(name, what, inputs, ours, theirs):
    bad = [(i, o, t) for i, o, t in zip(inputs, ours, theirs, strict=True) if o != t]
    for i, o, t in bad[:3]:
        print(f"{name}: {what}: {len(bad)} of {len(inputs)} differ\n  in     {i!r}\n  ours   {o!r}\n  theirs {t!r}")
    return len(bad)


def compare(program, name, path, theirs, texts, rng):
    ours = Ours(program, path)
    expected = [e.ids for e in theirs.encode_batch(texts, add_special_tokens=False)]
    bad = differences(name, "ids", texts, ours.encode(texts), expected)
    known = sorted(theirs.get_vocab().values())
    lists = [[rng.choice(known) for _ in range(rng.randint(0, 12))] for _ in range(120)] + expected
    for skip in (False, True):
        expected_text = [theirs.decode(ids, skip_special_tokens=skip) for ids in lists]
        bad += differences(name, f"text, skip {skip}", lists, ours.decode(lists, "D", skip), expected_text)
    return bad


def stepwise(program, path, theirs, texts):
    """Shown token by token, a text is the same as when it is decoded at once."""
    lists = [theirs.encode(t, add_special_tokens=False).ids for t in texts]
    expected = [theirs.decode(ids, skip_special_tokens=False) for ids in lists]
    return differences("bundled", "token by token", lists, Ours(program, path).decode(lists, "S", False), expected)


def main(program, root, seed):
    rng = random.Random(seed)
    print(f"tokenizers {tokenizers.__version__}, seed {seed}")
    root = pathlib.Path(root)
    documents = sorted(root.glob("doc/**/*.md")) + sorted(root.glob("include/**/*.h"))
    documents = [d.read_text(encoding="utf-8") for d in documents]
    texts = [random_text(rng) for _ in range(400)] + ["", " ", "\n", "a", "a " * 3000, " " * 5000, "x" * 20000]
    bundled = root / "examples/models/docs-5m/tokenizer.json"
    theirs = tokenizers.Tokenizer.from_file(str(bundled))
    bad = compare(program, "bundled", str(bundled.parent), theirs, texts + documents, rng)
    bad += stepwise(program, str(bundled), theirs, texts[:100] + documents[:1])
    corpus = [line for d in documents[:12] for line in d.splitlines()] + [t.replace("\0", "") for t in texts[:100]]
    count = 1
    with tempfile.TemporaryDirectory() as folder:
        for name, theirs in styles.all_styles(corpus):
            path = pathlib.Path(folder) / "tokenizer.json"
            path.write_text(theirs.to_str(), encoding="utf-8")
            bad += compare(program, name, str(path), theirs, texts + documents[:2], rng)
            count += 1
        # Old files hold merges as text.
        data = json.loads(bundled.read_text(encoding="utf-8"))
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        path.write_text(json.dumps(data), encoding="utf-8")
        theirs = tokenizers.Tokenizer.from_file(str(path))
        bad += compare(program, "merges as text", str(path), theirs, texts, rng)
        count += 1
    print(f"{count} tokenizers, {len(texts)} texts each: {bad} differences")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1))
