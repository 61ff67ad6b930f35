"""Tokenizers in the metadata of GGUF files, as llama.cpp stores them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError, short
from minillm.text import BytePairs, Vocabulary
from minillm.text.byte_tokens import ByteTokens
from minillm.text.tokenizer_files import assemble, spell, unspell

_PREFIX = "tokenizer.ggml."
_NORMAL, _CONTROL, _DEFINED = 1, 3, 4  # types of tokens; all but normal ones are special


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
    read = {"gpt2": _byte_pairs}.get(entries.text(name, "none"))
    if read is None:
        raise entries.wrong(name, "'gpt2', byte pairs")
    tokens = _texts(entries, f"{_PREFIX}tokens")
    types = entries.values.get(f"{_PREFIX}token_type", np.full(len(tokens), _NORMAL))
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
        {tokens[at]: at for at in np.flatnonzero(types != _NORMAL).tolist()},
        pattern=words.pattern,
        whole=words.whole,
        nfc=words.nfc,
        shown=[tokens[at] for at in np.flatnonzero(types == _DEFINED).tolist()],
        **_frame(entries, tokens, words.add_bos, False),
    )


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


def _with_prefix(**values: Any) -> dict[str, Any]:
    return {_PREFIX + name: value for name, value in values.items()}


def _type_of(tokenizer: ByteTokens, number: int) -> int:
    """The type of a token: normal, special, or special and shown."""
    if number in tokenizer.hidden:
        return _CONTROL
    return _DEFINED if number in tokenizer.special.ids.values() else _NORMAL


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
    """The name of the words of byte pairs; of those that cut alike, the best for the options."""
    fitting = [words for words in _WORDS if words.pattern == tokenizer.pattern]
    options = (tokenizer.whole, tokenizer.nfc)
    best = min(fitting, key=lambda words: (words.whole, words.nfc) != options)
    return best.names[0]
