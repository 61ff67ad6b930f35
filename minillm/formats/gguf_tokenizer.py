"""Tokenizers in the metadata of GGUF files, as llama.cpp stores them.

The entries say the same as a tokenizer.json, so they become one, and are made of one
(:mod:`minillm.text.tokenizer_json`).  Only the words of byte pairs are not in a file: it has a name
for them, which stands for expressions in the program.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError, short
from minillm.text import BytePairs, PublishedTokenizer, Vocabulary
from minillm.text.bpe import PATTERN
from minillm.text.published import BYTE_TEXT, SPACE
from minillm.text.tokenizer_json import (
    BY_REGEX,
    BYTE,
    CONTROL,
    DEFINED,
    NORMAL,
    UNKNOWN_TYPE,
    UNUSED,
    added_tokens,
    byte_pairs,
    of_ours,
    sentence_pieces,
    split,
    template,
)

_PREFIX = "tokenizer.ggml."
_TAKING = "phi-3"  # in the name of a model whose special tokens take white space, except for these
_TAKING_NONE = ("<unk>", "<s>", "<|endoftext|>")
_PADDING = "[PAD{}]"  # of a row without a token: llama.cpp wants as many tokens as rows
_OF_PADDING = -1e3  # its score

# Endings in either case; letters, with any sign before them; others with the ends of their line.
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class _Words:
    """The words of byte pairs, by the names that files have for them.

    Of several expressions, each cuts the parts that are left by the ones before it.  The other
    fields are what the files do not state.  The ids equal llama.cpp's, except with ``nfc``: there
    they equal the ids of the model's own tokenizer, which has read the training texts.  It first
    composes characters, such as e and an accent, and llama.cpp does not.
    """

    names: tuple[str, ...]
    expressions: tuple[str, ...]
    whole: bool = False
    nfc: bool = False
    add_bos: bool = False


_LLAMA = (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}",)
_QWEN = (rf"{_ENDINGS}|{_LETTERS}|\p{{N}}|{_SIGNS}|{_SPACES}",)
_WORDS = [  # of several for the same words, the first that fits is written, by its first name
    _Words(("gpt-2", "phi-2", "olmo"), (PATTERN,)),
    _Words(("smollm", "starcoder", "refact", "command-r"), (r"\p{N}", PATTERN)),
    _Words(("llama-bpe", "llama3", "llama-v3", "falcon3"), _LLAMA, whole=True, add_bos=True),
    _Words(("smaug-bpe", "dbrx"), _LLAMA),
    _Words(("qwen2", "megrez"), _QWEN, nfc=True),
    _Words(("deepseek-r1-qwen", "stablelm2"), _QWEN),
]


def _pre_tokenizer(expressions: tuple[str, ...]) -> dict[str, Any]:
    """The pre-tokenizer that cuts words by these expressions."""
    if expressions == (PATTERN,):
        return BY_REGEX
    steps = [*map(split, expressions), {**BY_REGEX, "use_regex": False}]
    return {"type": "Sequence", "pretokenizers": steps}


def _expressions(step: Any) -> tuple[str, ...]:
    """The inverse of :func:`_pre_tokenizer`, for other forms of the same steps, too."""
    match step:
        case {"type": "Sequence", "pretokenizers": steps}:
            return tuple(expression for step in steps for expression in _expressions(step))
        case {"type": "Digits", "individual_digits": True}:
            return (r"\p{N}",)
        case {"type": "Split", "pattern": {"Regex": expression}}:
            return (expression.replace("\r", r"\r").replace("\n", r"\n"),)
        case {"type": "ByteLevel", "use_regex": True}:
            return (PATTERN,)
    return ()


# --- reading -------------------------------------------------------------------------------------


def tokenizer_of(entries: Entries) -> PublishedTokenizer:
    """The tokenizer; InputError for one of another kind."""
    kind = entries.text(f"{_PREFIX}model", "none")
    if kind not in ("gpt2", "llama"):
        raise entries.wrong(f"{_PREFIX}model", "'gpt2', byte pairs, or 'llama', SentencePiece's")
    every = _texts(entries, "tokens")
    size = len(every)
    while size and every[size - 1] == _PADDING.format(size - 1):
        size -= 1
    tokens = every[:size]
    types = _numbers(entries, "token_type", every, np.full(len(every), NORMAL))[:size].tolist()
    ends = {name: _token(entries, f"{name}_token_id", tokens) for name in ("bos", "eos")}
    name = entries.text(f"{_PREFIX}pre", "none") if kind == "gpt2" else ""
    words = next((words for words in _WORDS if name in words.names), None)
    if kind == "gpt2" and words is None:
        known = [name for words in _WORDS for name in words.names]
        raise entries.wrong(f"{_PREFIX}pre", " or ".join(map(repr, known)))
    default = {"bos": words.add_bos if words else True, "eos": False}
    adds = {n: end is not None and entries.flag(f"{_PREFIX}add_{n}_token", default[n])
            for n, end in ends.items()}  # fmt: skip
    ids = {token: at for at, token in enumerate(tokens)}
    frame = template(ids, *(ends[name] if adds[name] else None for name in ends))
    with in_file(f"{entries.path}: tokenizer.ggml"):
        if words:
            added = {token: at for token, at in ids.items() if types[at] != NORMAL}
            shown = [token for token, at in added.items() if types[at] == DEFINED]
            values = byte_pairs(
                ids,
                [merge.split(" ") for merge in _texts(entries, "merges")],
                added_tokens(added, shown),
                words=_pre_tokenizer(words.expressions),
                whole=words.whole,
                nfc=words.nfc,
                template=frame,
            )
        else:
            taking = _TAKING in entries.text("general.name", "").lower().replace("phi3", "phi-3")
            values = sentence_pieces(
                tokens,
                _numbers(entries, "scores", every)[:size].tolist(),
                [CONTROL if t in ends.values() else k for t, k in zip(tokens, types, strict=True)],
                prefix=entries.flag(f"{_PREFIX}add_space_prefix", True),
                unknown=_token(entries, "unknown_token_id", tokens) or "<unk>",
                flags={t: {"rstrip": True} for t in tokens if taking and t not in _TAKING_NONE},
                template=frame,
            )
        return PublishedTokenizer(values, ends["bos"], ends["eos"])


def _token(entries: Entries, name: str, tokens: list[str]) -> str | None:
    """The text of the token whose id an entry is; InputError for an id that no token has."""
    at = entries.values.get(_PREFIX + name)
    if at is not None and (type(at) is not int or not 0 <= at < len(tokens)):
        raise entries.wrong(_PREFIX + name, f"0 to {len(tokens) - 1}")
    return None if at is None else tokens[at]


def _texts(entries: Entries, name: str) -> list[str]:
    if not isinstance(texts := entries.values.get(_PREFIX + name), list):
        raise entries.wrong(_PREFIX + name, "a list of texts")
    return texts


def _numbers(
    entries: Entries, name: str, tokens: list[str], default: NDArray | None = None
) -> NDArray:
    numbers = entries.values.get(_PREFIX + name, default)
    if not isinstance(numbers, np.ndarray) or len(numbers) != len(tokens):
        raise entries.wrong(_PREFIX + name, f"{len(tokens):,} numbers")
    return numbers


# --- writing -------------------------------------------------------------------------------------


def metadata_of(tokenizer: Vocabulary, rows: int) -> dict[str, Any]:
    """The metadata that describe a tokenizer of byte pairs; other units are left out.

    rows: of the model's table, which may have more of them than there are tokens.
    A file has the words that are nearest to the tokenizer's, and no other steps.
    """
    if isinstance(tokenizer, BytePairs):
        tokenizer = PublishedTokenizer(of_ours(tokenizer))
    values = tokenizer.values if isinstance(tokenizer, PublishedTokenizer) else {}
    if not isinstance(tokenizer, PublishedTokenizer) or values["model"]["type"] != "BPE":
        return {f"{_PREFIX}model": "none"}
    shown, padding = set(tokenizer.shown), list(map(_PADDING.format, range(len(tokenizer), rows)))
    types = np.array([NORMAL] * len(tokenizer) + [UNUSED] * len(padding), np.int32)
    for text, at in tokenizer.special.ids.items():
        types[at] = DEFINED if text in shown else CONTROL
    metadata: dict[str, Any] = {"tokens": tokenizer.texts, "token_type": types}
    for name in ("bos", "eos"):
        metadata[f"add_{name}_token"] = getattr(tokenizer, f"add_{name}")
        if (at := getattr(tokenizer, name)) is not None:
            metadata[f"{name}_token_id"] = at
    if tokenizer.spelling == "bytes":
        merges = list(map(" ".join, values["model"]["merges"]))
        metadata |= {"model": "gpt2", "merges": merges, "pre": _name_of_words(values)}
    else:
        metadata |= _of_pieces(tokenizer, values, types)
    metadata["tokens"] = metadata["tokens"] + padding
    if "scores" in metadata:
        scores = metadata["scores"] + [_OF_PADDING] * len(padding)
        metadata["scores"] = np.array(scores, np.float32)
    taking = {token["content"] for token in values["added_tokens"] if token["rstrip"]}
    phi3 = taking and taking == {*tokenizer.special.ids} - {*_TAKING_NONE}
    named = {"general.name": "Phi-3"} if phi3 else {}
    return named | {_PREFIX + name: value for name, value in metadata.items()}


def _of_pieces(
    tokenizer: PublishedTokenizer, values: dict[str, Any], types: NDArray
) -> dict[str, Any]:
    """The metadata of SentencePiece's byte pairs; a score is minus the rank of a token's merge."""
    model, texts, shown = values["model"], list(tokenizer.texts), set(tokenizer.shown)
    for at, text in enumerate(texts):
        if text in shown:
            texts[at] = text.replace(SPACE, " ")
        elif types[at] == NORMAL and model.get("byte_fallback") and BYTE_TEXT.fullmatch(text):
            types[at] = BYTE
    ranks = {"".join(pair): rank for rank, pair in reversed([*enumerate(model["merges"])])}
    scores = [-float(ranks.get(text, len(model["merges"]))) for text in tokenizer.texts]
    metadata: dict[str, Any] = {"model": "llama", "pre": "default", "tokens": texts}
    metadata |= {"add_space_prefix": tokenizer.opens, "scores": scores}
    if tokenizer.unknown is not None:
        types[tokenizer.unknown] = UNKNOWN_TYPE
        metadata["unknown_token_id"] = tokenizer.unknown
    return metadata


def _name_of_words(values: dict[str, Any]) -> str:
    """The name of the words of byte pairs; of those that cut alike, the best for the options."""
    expressions, nfc = _expressions(values["pre_tokenizer"]), values["normalizer"] is not None
    fitting = [words for words in _WORDS if words.expressions == expressions]
    if not fitting:
        raise InputError(f"expected words that llama.cpp has, found {short(expressions)}")
    whole = bool(values["model"].get("ignore_merges"))
    return min(fitting, key=lambda one: (one.whole != whole) + (one.nfc != nfc)).names[0]
