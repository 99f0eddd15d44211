# SPDX-FileCopyrightText: 2026 The quantlib authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every style that the engine reads, trained here on the project's own texts."""
import itertools
import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import trainers

META = "\u2581"

# Patterns as the model families use them.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def train(tokenizer, corpus, byte_level, size=700, special=("<unk>", "<s>", "</s>"), tokens=()):
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(tokens), special_tokens=list(special) + list(tokens), show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet() if byte_level else [])
    tokenizer.train_from_iterator(corpus, trainer)


def edited(tokenizer, **keys):
    """The same with other keys in "model"; byte tokens that were added are left in the vocabulary only."""
    data = json.loads(tokenizer.to_str())
    data["model"].update(keys)
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(data))


def byte_level(corpus, pieces, normalizer=None, prefix=False, regex=False, added=(), **model):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    last = pre.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    tokenizer.pre_tokenizer = pre.Sequence([*pieces, last]) if pieces else last
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, corpus, True)
    tokenizer = edited(tokenizer, **model)
    tokenizer.add_tokens(list(added))
    return tokenizer


def sentencepiece(corpus, normalizer, pre_tokenizer, decoder, bytes_from=0, unk="<unk>", added=(),
                  fuse=True, fallback=True):
    tokenizer = Tokenizer(models.BPE(unk_token=unk, fuse_unk=fuse))
    tokenizer.pre_tokenizer = pre.Metaspace()  # for training, whatever comes later
    byte_tokens = [f"<0x{b:02X}>" for b in range(bytes_from, 256)] if fallback else []
    train(tokenizer, corpus, False, tokens=byte_tokens)
    tokenizer = edited(tokenizer, byte_fallback=fallback)
    data = json.loads(tokenizer.to_str())
    data["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(data))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.add_tokens(list(added))
    return tokenizer


def llama2_decoder():
    return decoders.Sequence([decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse(),
                              decoders.Strip(" ", 1, 0)])


def llama2_normalizer():
    return normalizers.Sequence([normalizers.Prepend(META), normalizers.Replace(" ", META)])


ADDED = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_start|>x", normalized=False),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=False),
    AddedToken("<both>", lstrip=True, rstrip=True, normalized=True),
    AddedToken("word", single_word=True, normalized=False),
    AddedToken("wort", single_word=True, normalized=True),
    AddedToken("caf\u00e9 au", normalized=True),
    AddedToken("   ", normalized=False),
    AddedToken("\u3042\u3044", normalized=False),
]


def byte_level_styles(corpus):
    split = lambda regex: [pre.Split(Regex(regex), "isolated")]
    yield "gpt2", byte_level(corpus, [], regex=True)
    yield "gpt2 with prefix", byte_level(corpus, [], prefix=True, regex=True, added=ADDED)
    yield "gpt2 with added tokens", byte_level(corpus, [], regex=True, added=ADDED)
    yield "llama3", byte_level(corpus, split(LLAMA3), ignore_merges=True, added=ADDED[:2])
    yield "qwen2", byte_level(corpus, split(QWEN2), normalizers.NFC(), added=ADDED)
    yield "tekken", byte_level(corpus, split(TEKKEN))
    yield "deepseek", byte_level(corpus, [pre.Split(Regex(r"\p{N}{1,3}"), "isolated"),
                                          pre.Split(Regex("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), "isolated"),
                                          *split(DEEPSEEK)])
    yield "smollm", byte_level(corpus, [pre.Digits(individual_digits=True)], regex=True)
    yield "digits together", byte_level(corpus, [pre.Digits(individual_digits=False)], regex=True)
    for form in (normalizers.NFD, normalizers.NFKC, normalizers.NFKD):
        yield form.__name__, byte_level(corpus, [], form(), regex=True, added=ADDED)
    lines = r"^[ \t]+|\S+$|\A[a-z]"
    yield "lines", byte_level(corpus, split(lines))


def split_styles(corpus):
    """Every behaviour of Split, by a text and by a pattern that can match nothing."""
    behaviors = ["removed", "isolated", "contiguous", "merged_with_previous", "merged_with_next"]
    patterns = {"text": "e", "regex": Regex(r"[aeiou\s]"), "empty": Regex(r"t*")}
    for behavior, (name, pattern), invert in itertools.product(behaviors, patterns.items(), (False, True)):
        yield f"split {behavior} {name} {invert}", byte_level(corpus, [pre.Split(pattern, behavior, invert)])


def sentencepiece_styles(corpus):
    yield "llama2", sentencepiece(corpus, llama2_normalizer(), None, llama2_decoder())
    yield "llama2 with added tokens", sentencepiece(corpus, llama2_normalizer(), None, llama2_decoder(), added=ADDED)
    yield "gemma", sentencepiece(corpus, normalizers.Replace(" ", META), None, llama2_decoder())
    for scheme, split in itertools.product(("always", "first", "never"), (True, False)):
        meta = pre.Metaspace(prepend_scheme=scheme, split=split)
        yield f"metaspace {scheme} {split}", sentencepiece(
            corpus, None, meta, decoders.Metaspace(prepend_scheme=scheme, split=split), added=ADDED)
    for fuse in (True, False):
        yield f"unknown, fused {fuse}", sentencepiece(corpus, None, pre.Metaspace(), decoders.Metaspace(),
                                                      fuse=fuse, fallback=False)
        yield f"half of the bytes, fused {fuse}", sentencepiece(
            corpus, None, pre.Metaspace(), llama2_decoder(), bytes_from=0xa0, fuse=fuse)
    yield "nothing for unknown characters", sentencepiece(corpus, llama2_normalizer(), None,
                                                          llama2_decoder(), unk=None, fallback=False)
    spaces = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "),
                                   normalizers.Replace(" ", META)])
    # Not both ends at once: the reference panics where the two cuts meet.
    for start, stop in ((2, 0), (0, 1)):
        strip = decoders.Sequence([decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Strip(" ", start, stop)])
        yield f"replaced by a pattern, stripped {start} {stop}", sentencepiece(corpus, spaces, None, strip)


def with_merges_as_text(tokenizer):
    data = json.loads(tokenizer.to_str())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(data))


def without_decoder(tokenizer):
    data = json.loads(tokenizer.to_str())
    data["decoder"] = None
    return Tokenizer.from_str(json.dumps(data))


def all_styles(corpus):
    yield from byte_level_styles(corpus)
    yield from split_styles(corpus)
    yield from sentencepiece_styles(corpus)
    yield "no decoder", without_decoder(byte_level(corpus, [], regex=True, added=ADDED))
