"""Tokenizers in the metadata of GGUF files, as llama.cpp stores them."""

from typing import Any

import numpy as np

from minillm.data.entries import Entries
from minillm.errors import InputError, short
from minillm.text import BytePairs, Vocabulary
from minillm.text.bpe import PATTERNS
from minillm.text.tokenizer_files import assemble, spell, unspell

_PATTERNS = {"llama3": "llama-bpe", "llama-v3": "llama-bpe"}  # other names of those in PATTERNS
_NORMAL, _CONTROL = 1, 3  # types of tokens; the others are special, too


# --- reading -------------------------------------------------------------------------------------


def tokenizer_of(entries: Entries) -> BytePairs:
    """The tokenizer; InputError for another kind than byte pairs, or for other words."""
    if entries.values.get("tokenizer.ggml.model") != "gpt2":
        raise entries.wrong("tokenizer.ggml.model", "'gpt2', byte pairs")
    pattern = entries.text("tokenizer.ggml.pre")
    pattern = _PATTERNS.get(pattern, pattern)
    if pattern not in PATTERNS:
        raise entries.wrong("tokenizer.ggml.pre", " or ".join(map(repr, PATTERNS)))
    tokens, merges = (_texts(entries, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    types = entries.values.get("tokenizer.ggml.token_type", np.full(len(tokens), _NORMAL))
    if not isinstance(types, np.ndarray) or len(types) != len(tokens):
        raise entries.wrong("tokenizer.ggml.token_type", f"{len(tokens):,} numbers")
    ids = {token: at for at, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        raise InputError(
            f"{entries.path}: tokenizer.ggml.tokens: expected {len(tokens):,} distinct texts, "
            f"found {len(ids):,}"
        )
    added = {tokens[at]: at for at in np.flatnonzero(types != _NORMAL).tolist()}
    ends = {}
    for name in ("bos", "eos"):
        at = entries.values.get(f"tokenizer.ggml.{name}_token_id")
        if at is not None:
            if type(at) is not int or not 0 <= at < len(tokens):
                raise entries.wrong(f"tokenizer.ggml.{name}_token_id", f"0 to {len(tokens) - 1}")
            ends[name] = tokens[at]
    is_llama_3 = pattern == "llama-bpe"
    add_bos = entries.flag("tokenizer.ggml.add_bos_token", is_llama_3)
    options = {"pattern": pattern, "whole": is_llama_3, "add_bos": add_bos and "bos" in ends}
    try:
        pairs = [_pair(merge) for merge in merges]
        return assemble(ids, pairs, added, **options, **ends)
    except ValueError as error:
        raise InputError(f"{entries.path}: tokenizer.ggml: {error}") from None


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
        return {"tokenizer.ggml.model": "none"}
    special = {tokenizer.id_of(text.encode()): text for text in tokenizer.specials}
    tokens = [special.get(at) or spell(token) for at, token in enumerate(tokenizer.tokens)]
    types = [_CONTROL if at in special else _NORMAL for at in range(len(tokens))]
    ends = {"bos": tokenizer.bos, "eos": tokenizer.eos}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": tokenizer.pattern,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(types, np.int32),
        "tokenizer.ggml.merges": [f"{spell(a)} {spell(b)}" for a, b in tokenizer.merges],
        "tokenizer.ggml.add_bos_token": tokenizer.add_bos,
        **{f"tokenizer.ggml.{name}_token_id": at for name, at in ends.items() if at is not None},
    }
