"""Tokenizers in the metadata of GGUF files, as llama.cpp stores them.

The entries say the same as a tokenizer.json, so they become one, and are made of one
(:mod:`minillm.text.tokenizer_json`).  Only the words of byte pairs are not in a file: it has a name
for them, which stands for expressions in the program.
"""

import warnings
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError, InputWarning, short
from minillm.text import BytePairs, PublishedTokenizer, Vocabulary
from minillm.text.bpe import PATTERN
from minillm.text.published import SPACE, is_byte, steps_of
from minillm.text.tokenizer_json import (
    BY_REGEX,
    BYTE,
    CONTROL,
    DEFINED,
    NORMAL,
    UNKNOWN_TYPE,
    added_tokens,
    byte_pairs,
    of_ours,
    sentence_pieces,
    template,
)

_PREFIX = "tokenizer.ggml."
_NAME, _TAKING = "general.name", "Phi-3"  # of a model whose special tokens take white space
_TAKING_NONE = ("<unk>", "<s>", "<|endoftext|>")  # although they are special there

# Endings in either case; letters, with any sign before them; others with the ends of their line.
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Capitals before small letters, one of them at least; marks and letters without case are both.
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SMALL_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}*{_SMALL}+"
_LARGE_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}+{_SMALL}*"
_ASCII_SIGNS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""


@dataclass(frozen=True)
class _Words:
    """The words of byte pairs, by the names that files have for them.

    Of several expressions, each cuts the parts that are left by the ones before it: what it matches
    is a part, and so is the text between two matches.  The other fields are what the files do not
    state.  llama.cpp composes no characters, but the tokenizer of Qwen, which has read the training
    texts, does.
    """

    names: tuple[str, ...]
    expressions: tuple[str, ...]
    whole: bool = False
    nfc: bool = False
    add_bos: bool = False


_LLAMA = (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}",)
_QWEN = (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}|{_SIGNS}|{_SPACES}",)
_WORDS = [  # of several for the same words, the first that fits is written, by its first name
    _Words(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat",
            "a.x-4.0", "mellum", "exaone4"), (PATTERN,)),
    _Words(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
           (r"\p{N}", PATTERN)),
    _Words(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
            "lfm2"), _LLAMA, whole=True, add_bos=True),
    _Words(("smaug-bpe", "dbrx", "glm4", "chatglm-bpe"), _LLAMA),
    _Words(("qwen2", "megrez"), _QWEN, nfc=True),
    _Words(("deepseek-r1-qwen", "stablelm2", "hunyuan", "solar-open", "grok-2", "kormo"), _QWEN),
    _Words(("qwen35",), (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",), nfc=True),
    # A word ends before a capital that follows a small letter.
    _Words(("tekken",), (
        rf"{_SMALL_WORD}|{_LARGE_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",),
        whole=True, add_bos=True),
    _Words(("gpt-4o", "llama4", "kanana2"), (
        rf"{_SMALL_WORD}{_ENDINGS}?|{_LARGE_WORD}{_ENDINGS}?|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",)),
    _Words(("deepseek-coder",), (
        r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        r"\p{N}")),
    _Words(("deepseek-v3", "hunyuan-dense"), (
        r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}")),
    _Words(("falcon",), (r"[\p{P}\$\+<=>\^~\|`]+", PATTERN, "[0-9][0-9][0-9]")),
    _Words(("default",), (r"[\p{P}\$\+<=>\^~\|]+", PATTERN, r"\p{N}+", "[0-9][0-9][0-9]")),
]  # fmt: skip


def _pre_tokenizer(expressions: tuple[str, ...]) -> dict[str, Any]:
    """The pre-tokenizer that cuts words by these expressions."""
    if expressions == (PATTERN,):
        return BY_REGEX
    splits = [
        {"type": "Split", "pattern": {"Regex": e}, "behavior": "Isolated", "invert": False}
        for e in expressions
    ]
    steps = [*splits, {**BY_REGEX, "use_regex": False}]
    return {"type": "Sequence", "pretokenizers": steps}


def _expressions(pre_tokenizer: Any) -> tuple[str, ...]:
    """The inverse of :func:`_pre_tokenizer`, for other forms of the same steps, too."""
    found = []
    for step in steps_of(pre_tokenizer):
        match step:
            case {"type": "Digits", "individual_digits": True}:
                found.append(r"\p{N}")
            case {"type": "Split", "pattern": {"Regex": expression}}:
                found.append(expression.replace("\r", r"\r").replace("\n", r"\n"))
            case {"type": "ByteLevel"} if step.get("use_regex") is not False:
                found.append(PATTERN)
    return tuple(found)


# --- reading -------------------------------------------------------------------------------------


def tokenizer_of(entries: Entries) -> PublishedTokenizer:
    """The tokenizer; InputError for one of another kind."""
    name = f"{_PREFIX}model"
    read = {"gpt2": _byte_pairs, "llama": _pieces, "t5": _pieces}.get(entries.text(name, "none"))
    if read is None:
        raise entries.wrong(name, "'gpt2', byte pairs, or 'llama' or 't5', SentencePiece")
    tokens = _texts(entries, f"{_PREFIX}tokens")
    types = entries.values.get(f"{_PREFIX}token_type", np.full(len(tokens), NORMAL))
    if not isinstance(types, np.ndarray) or len(types) != len(tokens):
        raise entries.wrong(f"{_PREFIX}token_type", f"{len(tokens):,} numbers")
    if (distinct := len(set(tokens))) < len(tokens):
        raise InputError(
            f"{entries.path}: {_PREFIX}tokens: expected {len(tokens):,} distinct texts, "
            f"found {distinct:,}"
        )
    with in_file(f"{entries.path}: tokenizer.ggml"):
        return read(entries, tokens, types)


def _byte_pairs(entries: Entries, tokens: list[str], types: NDArray) -> PublishedTokenizer:
    name = entries.text(f"{_PREFIX}pre", "default")
    words = next((words for words in _WORDS if name in words.names), None)
    if words is None:
        known = [name for words in _WORDS for name in words.names]
        raise entries.wrong(f"{_PREFIX}pre", " or ".join(map(repr, known)))
    merges = [merge.split(" ") for merge in _texts(entries, f"{_PREFIX}merges")]
    if wrong := [merge for merge in merges if len(merge) != 2]:
        raise ValueError(f"expected merges of two tokens, found {short(' '.join(wrong[0]))}")
    ids = {token: at for at, token in enumerate(tokens)}
    added = added_tokens({tokens[at]: at for at in np.flatnonzero(types != NORMAL).tolist()})
    for token in added:
        token["special"] = bool(types[token["id"]] != DEFINED)
    ends, frame = _ends(entries, tokens, words.add_bos, False)
    values = byte_pairs(
        ids,
        merges,
        added,
        words=_pre_tokenizer(words.expressions),
        whole=words.whole,
        nfc=words.nfc,
        template=frame,
    )
    return PublishedTokenizer(values, ends.get("bos"), ends.get("eos"))


def _pieces(entries: Entries, tokens: list[str], types: NDArray) -> PublishedTokenizer:
    """SentencePiece's tokens: byte pairs by score, or a unigram model ("t5").

    llama.cpp lets the special tokens of Phi-3 take the white space after them, by the model's name.
    """
    unigram = entries.values[f"{_PREFIX}model"] == "t5"
    scores = entries.values.get(f"{_PREFIX}scores")
    if not isinstance(scores, np.ndarray) or len(scores) != len(tokens):
        raise entries.wrong(f"{_PREFIX}scores", f"{len(tokens):,} numbers")
    table = entries.values.get(f"{_PREFIX}precompiled_charsmap", np.zeros(0, np.uint8))
    if not isinstance(table, np.ndarray):
        raise entries.wrong(f"{_PREFIX}precompiled_charsmap", "bytes")
    ends, frame = _ends(entries, tokens, not unigram, unigram)
    unknown = entries.values.get(f"{_PREFIX}unknown_token_id")
    named = unknown if type(unknown) is int and 0 <= unknown < len(tokens) else None
    kinds = [
        CONTROL if token in ends.values() else kind
        for token, kind in zip(tokens, types.tolist(), strict=True)
    ]
    special = [t for t, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, DEFINED)]
    taking = _TAKING.lower() in entries.text(_NAME, "").lower().replace("phi3", "phi-3")
    values = sentence_pieces(
        tokens,
        scores.tolist(),
        kinds,
        unigram=unigram,
        table=table.astype(np.uint8).tobytes() if unigram else b"",
        squeeze=unigram and entries.flag(f"{_PREFIX}remove_extra_whitespaces", False),
        prefix=entries.flag(f"{_PREFIX}add_space_prefix", not unigram),
        flags={t: {"rstrip": True} for t in special if taking and t not in _TAKING_NONE},
        template=frame,
        **({} if named is None else {"unknown": tokens[named]}),
    )
    return PublishedTokenizer(values, ends.get("bos"), ends.get("eos"))


def _ends(
    entries: Entries, tokens: list[str], add_bos: bool, add_eos: bool
) -> tuple[dict[str, str], dict[str, Any] | None]:
    """The texts of BOS and EOS, and the post-processor that adds them to a text.

    add_bos, add_eos: whether it does so by default.  InputError for an id that no token has.
    """
    ends: dict[str, str] = {}
    added: list[str | None] = []
    for name, adds in (("bos", add_bos), ("eos", add_eos)):
        at = entries.values.get(f"{_PREFIX}{name}_token_id")
        if at is not None:
            if type(at) is not int or not 0 <= at < len(tokens):
                raise entries.wrong(f"{_PREFIX}{name}_token_id", f"0 to {len(tokens) - 1}")
            ends[name] = tokens[at]
            adds = entries.flag(f"{_PREFIX}add_{name}_token", adds)
        added.append(ends.get(name) if adds else None)
    return ends, template({token: at for at, token in enumerate(tokens)}, *added)


def _texts(entries: Entries, name: str) -> list[str]:
    texts = entries.values.get(name)
    if not isinstance(texts, list):
        raise entries.wrong(name, "a list of texts")
    return texts


def other_tokens_of(entries: Entries) -> dict[str, str]:
    """The texts of ``pad`` and ``unk`` for chat templates, if the file has them."""
    tokens = _texts(entries, "tokenizer.ggml.tokens")
    ids = {
        name: entries.values.get(f"tokenizer.ggml.{long}_token_id")
        for name, long in (("pad", "padding"), ("unk", "unknown"))
    }
    return {
        name: tokens[at] for name, at in ids.items() if type(at) is int and 0 <= at < len(tokens)
    }


# --- writing -------------------------------------------------------------------------------------


def metadata_of(tokenizer: Vocabulary) -> dict[str, Any]:
    """The metadata that describe a tokenizer.

    A warning if the file cannot say exactly how a text is cut.
    """
    if isinstance(tokenizer, BytePairs):
        tokenizer = PublishedTokenizer(of_ours(tokenizer))
    if not isinstance(tokenizer, PublishedTokenizer) or tokenizer.unit == "wordpiece":
        return {f"{_PREFIX}model": "none"}
    values, shown = tokenizer.values, set(tokenizer.shown)
    model, taking = values["model"], [t for t in values["added_tokens"] if t["rstrip"]]
    types = np.full(len(tokenizer), NORMAL, np.int32)
    for text, at in tokenizer.special.ids.items():
        types[at] = DEFINED if text in shown else CONTROL
    metadata = {"tokens": tokenizer.texts, "token_type": types}
    for name in ("bos", "eos"):
        metadata[f"add_{name}_token"] = getattr(tokenizer, f"add_{name}")
        if (at := getattr(tokenizer, name)) is not None:
            metadata[f"{name}_token_id"] = at
    if tokenizer.spelling == "bytes":
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        metadata |= {"model": "gpt2", "merges": merges, "pre": _name_of_words(values)}
    else:
        metadata |= _of_pieces(tokenizer, values, types)
    phi3 = {t["content"] for t in taking} == {*tokenizer.special.ids} - {*_TAKING_NONE}
    named = {_NAME: _TAKING} if taking and phi3 else {}
    _warn_of({"tokens that take white space": taking and not phi3})
    return named | {_PREFIX + name: value for name, value in metadata.items()}


def _of_pieces(
    tokenizer: PublishedTokenizer, values: dict[str, Any], types: NDArray
) -> dict[str, Any]:
    """The metadata of SentencePiece's tokens; a token's score is minus the rank of its merge."""
    model, texts, shown = values["model"], list(tokenizer.texts), set(tokenizer.shown)
    normalizer, words = steps_of(values["normalizer"]), steps_of(values["pre_tokenizer"])
    for at, text in enumerate(texts):
        if text in shown:
            texts[at] = text.replace(SPACE, " ")
        elif types[at] == NORMAL and model.get("byte_fallback") and is_byte(text):
            types[at] = BYTE
    tables = [step["precompiled_charsmap"] for step in normalizer if "precompiled_charsmap" in step]
    squeezes = any(step.get("pattern") == {"Regex": " {2,}"} for step in normalizer)
    squeezes = squeezes or any(step.get("type") == "WhitespaceSplit" for step in words)
    metadata: dict[str, Any] = {"model": "llama", "pre": "default", "tokens": texts}
    metadata["add_space_prefix"] = tokenizer.opens
    if tokenizer.unknown is not None:
        types[tokenizer.unknown] = UNKNOWN_TYPE
        metadata["unknown_token_id"] = tokenizer.unknown
    if unigram := model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        scores += [0.0] * (len(texts) - len(scores))
        metadata |= {"model": "t5", "remove_extra_whitespaces": squeezes}
        if tables:
            metadata["precompiled_charsmap"] = np.frombuffer(b64decode(tables[0]), np.uint8)
    else:
        merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        ranks = {"".join(pair): rank for rank, pair in reversed([*enumerate(merges)])}
        scores = [-float(ranks.get(text, len(merges))) for text in tokenizer.texts]
    _warn_of(
        {
            "texts that begin with a space": any(
                step.get("prepend_scheme") in ("always", "first") for step in words
            ),
            "its normalisation": not unigram and bool(tables or squeezes),
        }
    )
    return metadata | {"scores": np.array(scores, np.float32)}


def _warn_of(reasons: dict[str, Any]) -> None:
    """Warn of what a file cannot say."""
    if any(reasons.values()):
        found = ", ".join(reason for reason, holds in reasons.items() if holds)
        warnings.warn(
            f"this file has no entries for {found}: a few texts will have other tokens",
            InputWarning,
            stacklevel=2,
        )


def _name_of_words(values: dict[str, Any]) -> str:
    """The name of the words of byte pairs; of those that cut alike, the best for the options."""
    expressions, nfc = _expressions(values["pre_tokenizer"]), values["normalizer"] is not None
    fitting = [words for words in _WORDS if words.expressions == expressions]
    if not fitting:
        raise InputError(f"expected words that llama.cpp has, found those of {short(expressions)}")
    whole = bool(values["model"].get("ignore_merges"))
    best = min(fitting, key=lambda words: (words.whole != whole) + (words.nfc != nfc))
    _warn_of(
        {
            "tokens that merges do not make": whole and not best.whole,
            "composed characters": nfc != best.nfc,
        }
    )
    return best.names[0]
