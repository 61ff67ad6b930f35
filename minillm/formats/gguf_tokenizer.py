"""Tokenizers in the metadata of GGUF files, as llama.cpp stores them."""

import warnings
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError, InputWarning, short
from minillm.text import BytePairs, Vocabulary
from minillm.text.byte_tokens import ByteTokens
from minillm.text.sentence_pieces import SPACE, SentencePieces
from minillm.text.sentencepiece_files import (
    BYTE,
    CONTROL,
    DEFINED,
    NORMAL,
    UNKNOWN,
    UNUSED,
    assembled,
    scores_in,
)
from minillm.text.tokenizer_files import assemble, spell, unspell

_PREFIX = "tokenizer.ggml."
_NAME, _TAKING = "general.name", "Phi-3"  # of a model whose special tokens take white space
_TAKING_NONE = ("<unk>", "<s>", "<|endoftext|>")  # although they are special there


@dataclass(frozen=True)
class _Words:
    """The words of byte pairs, by the names that files have for them.

    pattern: one of PATTERNS.  The other fields are options of BytePairs that the files do not
    state.  llama.cpp composes no characters, but the tokenizer of Qwen, which has read the training
    texts, does.
    """

    names: tuple[str, ...]
    pattern: str
    whole: bool = False
    nfc: bool = False
    add_bos: bool = False


_WORDS = [  # of several for one pattern, the first that fits is written, by its first name
    _Words(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat",
            "a.x-4.0", "mellum", "exaone4"), "gpt-2"),
    _Words(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
           "smollm"),
    _Words(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
            "lfm2"), "llama-bpe", whole=True, add_bos=True),
    _Words(("smaug-bpe", "dbrx", "glm4", "chatglm-bpe"), "llama-bpe"),
    _Words(("qwen2", "megrez"), "qwen2", nfc=True),
    _Words(("deepseek-r1-qwen", "stablelm2", "hunyuan", "solar-open", "grok-2", "kormo"), "qwen2"),
    _Words(("qwen35",), "qwen35", nfc=True),
    _Words(("tekken",), "tekken", whole=True, add_bos=True),
    _Words(("gpt-4o", "llama4", "kanana2"), "gpt-4o"),
    _Words(("deepseek-llm",), "deepseek-llm"),
    _Words(("deepseek-coder",), "deepseek-coder"),
    _Words(("deepseek-v3", "hunyuan-dense"), "deepseek-v3"),
    _Words(("falcon",), "falcon"),
    _Words(("default",), "default"),
]  # fmt: skip


# --- reading -------------------------------------------------------------------------------------


def tokenizer_of(entries: Entries) -> ByteTokens:
    """The tokenizer; InputError for one of another kind."""
    name = f"{_PREFIX}model"
    readers = {"gpt2": _byte_pairs, "llama": _pieces, "t5": _pieces}
    read = readers.get(entries.text(name, "none"))
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


def _byte_pairs(entries: Entries, tokens: list[str], types: NDArray) -> BytePairs:
    name = entries.text(f"{_PREFIX}pre", "default")
    words = next((words for words in _WORDS if name in words.names), None)
    if words is None:
        known = [name for words in _WORDS for name in words.names]
        raise entries.wrong(f"{_PREFIX}pre", " or ".join(map(repr, known)))
    return assemble(
        {token: at for at, token in enumerate(tokens)},
        [_pair(merge) for merge in _texts(entries, f"{_PREFIX}merges")],
        {tokens[at]: at for at in np.flatnonzero(types != NORMAL).tolist()},
        pattern=words.pattern,
        whole=words.whole,
        nfc=words.nfc,
        shown=[tokens[at] for at in np.flatnonzero(types == DEFINED).tolist()],
        **_frame(entries, tokens, words.add_bos, False),
    )


def _pieces(entries: Entries, tokens: list[str], types: NDArray) -> SentencePieces:
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
    names = {
        name: tokens[at]
        for name in ("unknown", "bos", "eos")
        if type(at := entries.values.get(f"{_PREFIX}{name}_token_id")) is int
        and 0 <= at < len(tokens)
    }
    kinds = [
        CONTROL if kind == UNUSED or token in names.values() else kind
        for token, kind in zip(tokens, types.tolist(), strict=True)
    ]
    special = [t for t, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, DEFINED)]
    taking = _TAKING.lower() in entries.text(_NAME, "").lower().replace("phi3", "phi-3")
    return assembled(
        tokens,
        scores.astype(np.float64).tolist(),
        kinds,
        unigram=unigram,
        charsmap=b64encode(table.astype(np.uint8).tobytes()).decode() if unigram else "",
        squeeze=unigram and entries.flag(f"{_PREFIX}remove_extra_whitespaces", False),
        prefix="each" if entries.flag(f"{_PREFIX}add_space_prefix", not unigram) else "none",
        rstrip=_taking(special) if taking else [],
        **({"unknown": names["unknown"]} if "unknown" in names else {}),
        **_frame(entries, tokens, not unigram, unigram),
    )


def _taking(special: list[str]) -> list[str]:
    """The special tokens that take the white space after them, in llama.cpp's Phi-3."""
    return [text for text in special if text not in _TAKING_NONE]


def _frame(entries: Entries, tokens: list[str], add_bos: bool, add_eos: bool) -> dict[str, Any]:
    """The texts of BOS and EOS, and whether they are added to a text; with defaults for the latter.

    InputError for an id that no token has.
    """
    frame: dict[str, Any] = {}
    for name, adds in (("bos", add_bos), ("eos", add_eos)):
        at = entries.values.get(f"{_PREFIX}{name}_token_id")
        if at is not None:
            if type(at) is not int or not 0 <= at < len(tokens):
                raise entries.wrong(f"{_PREFIX}{name}_token_id", f"0 to {len(tokens) - 1}")
            frame[name] = tokens[at]
            frame[f"add_{name}"] = entries.flag(f"{_PREFIX}add_{name}_token", adds)
    return frame


def _texts(entries: Entries, name: str) -> list[str]:
    texts = entries.values.get(name)
    if not isinstance(texts, list):
        raise entries.wrong(name, "a list of texts")
    return texts


def _pair(merge: str) -> tuple[bytes, bytes]:
    left, space, right = merge.partition(" ")
    if not (left and right and space) or " " in right:
        raise ValueError(f"expected merges of two tokens, found {short(merge)}")
    return unspell(left), unspell(right)


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
    """The metadata that describe a tokenizer."""
    if isinstance(tokenizer, SentencePieces):
        return _of_pieces(tokenizer)
    if not isinstance(tokenizer, BytePairs):
        return {f"{_PREFIX}model": "none"}
    special = {at: text for text, at in tokenizer.special.ids.items()}
    tokens = [special.get(at) or spell(token) for at, token in enumerate(tokenizer.tokens)]
    return _with_prefix(
        model="gpt2",
        pre=_name_of_words(tokenizer),
        tokens=tokens,
        token_type=np.array([_type_of(tokenizer, at) for at in range(len(tokens))], np.int32),
        merges=[f"{spell(a)} {spell(b)}" for a, b in tokenizer.merges],
        **_frame_of(tokenizer),
    )


def _of_pieces(tokenizer: SentencePieces) -> dict[str, Any]:
    """The metadata of SentencePiece's tokens.

    A warning if the file cannot say exactly how a text is cut.
    """
    scores, same = scores_in(tokenizer)
    reasons = {
        "merges in another order than by score": not same,
        "texts that begin with a space": tokenizer.prefix in ("missing", "first"),
        "words that begin with each space": tokenizer.separate and not tokenizer.unigram,
        "its normalisation": bool(tokenizer.charsmap or tokenizer.squeeze)
        and not tokenizer.unigram,
        "tokens that take white space": bool(tokenizer.lstrip or tokenizer.rstrip)
        and not _is_phi3(tokenizer),
    }
    _warn_of(reasons)
    tokens, shown = list(tokenizer.texts), set(tokenizer.shown)
    types = [_type_of(tokenizer, at) for at in range(len(tokens))]
    for at, text in enumerate(tokens):
        if text in shown:
            tokens[at] = text.replace(SPACE, " ")
        elif at == tokenizer.unknown:
            types[at] = UNKNOWN
        elif types[at] == NORMAL and at not in tokenizer.pieces.values():
            types[at] = BYTE
    values: dict[str, Any] = {"model": "llama", "pre": "default", "tokens": tokens}
    if tokenizer.unigram:
        table = np.frombuffer(b64decode(tokenizer.charsmap), np.uint8)
        values |= {"model": "t5", "remove_extra_whitespaces": tokenizer.squeeze}
        values |= {"precompiled_charsmap": table} if len(table) else {}
    if tokenizer.unknown is not None:
        values["unknown_token_id"] = tokenizer.unknown
    name = {_NAME: _TAKING} if _is_phi3(tokenizer) else {}
    return name | _with_prefix(
        **values,
        scores=np.array(scores, np.float32),
        token_type=np.array(types, np.int32),
        add_space_prefix=tokenizer.prefix != "none",
        **_frame_of(tokenizer),
    )


def _warn_of(reasons: dict[str, bool]) -> None:
    """Warn of what a file cannot say."""
    if any(reasons.values()):
        found = ", ".join(reason for reason, holds in reasons.items() if holds)
        warnings.warn(
            f"this file has no entries for {found}: a few texts will have other tokens",
            InputWarning,
            stacklevel=2,
        )


def _is_phi3(tokenizer: SentencePieces) -> bool:
    """Whether white space is taken by the same tokens as in Phi-3, which llama.cpp looks for."""
    taking = set(tokenizer.rstrip)
    fits = bool(taking) and not tokenizer.lstrip and taking == set(_taking(tokenizer.specials))
    return fits and {*_TAKING_NONE, "</s>"} <= set(tokenizer.texts)


def _with_prefix(**values: Any) -> dict[str, Any]:
    return {_PREFIX + name: value for name, value in values.items()}


def _type_of(tokenizer: ByteTokens, number: int) -> int:
    """The type of a token: normal, special, or special and shown."""
    if number in tokenizer.hidden:
        return CONTROL
    return DEFINED if number in tokenizer.special.ids.values() else NORMAL


def _frame_of(tokenizer: ByteTokens) -> dict[str, Any]:
    frame: dict[str, Any] = {}
    for name, number, adds in (
        ("bos", tokenizer.bos, tokenizer.add_bos),
        ("eos", tokenizer.eos, tokenizer.add_eos),
    ):
        frame[f"add_{name}_token"] = adds
        if number is not None:
            frame[f"{name}_token_id"] = number
    return frame


def _name_of_words(tokenizer: BytePairs) -> str:
    """The name of the words of byte pairs; of those that cut alike, the best for the options.

    A warning if no name has these options.
    """
    fitting = [words for words in _WORDS if words.pattern == tokenizer.pattern]

    def unlike(words: _Words) -> int:
        """The number of options that these words have otherwise."""
        return (words.whole != tokenizer.whole) + (words.nfc != tokenizer.nfc)

    best = min(fitting, key=unlike)
    _warn_of(
        {
            "tokens that merges do not make": best.whole != tokenizer.whole
            and tokenizer.has_unmerged,
            "composed characters": best.nfc != tokenizer.nfc,
            "tokens that take white space": bool(tokenizer.lstrip or tokenizer.rstrip),
        }
    )
    return best.names[0]
