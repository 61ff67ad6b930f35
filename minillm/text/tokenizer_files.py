"""Files of tokenizers: Hugging Face's, GPT-2's, BERT's, SentencePiece's, and ours.

    vocabulary.json             of one of our runs
    tokenizer.json              Hugging Face's, which says all; the next ones are for older folders
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocab.txt                   BERT's: a piece a line
    tokenizer.model             SentencePiece's: byte pairs or a unigram model
    tokenizer_config.json       next to the others: which tokens open and close a text, tokens that
                                are added, and whether BERT's pieces are in lower case

All but the first are read as :class:`minillm.text.published.PublishedTokenizer`.

A tokenizer.model is a message of Protocol Buffers: a sequence of fields, each with its number and
its type in one whole number, and then its value.  Whole numbers have 7 bits in each byte, the least
first, and the eighth bit says that another byte follows.  A text, or a message in a message, has
its length before it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json
from minillm.data.lines import read_lines
from minillm.errors import InputError
from minillm.text.byte_pairs import BytePairs
from minillm.text.published import PublishedTokenizer
from minillm.text.tokenizer_json import (
    NORMAL,
    added_tokens,
    byte_pairs,
    of_ours,
    sentence_pieces,
    template,
    word_pieces,
)
from minillm.text.units import vocabulary_from_dict
from minillm.text.vocabulary import Vocabulary, flag
from minillm.text.word_pieces import SPECIALS, WordPieces

_FORMAT_VERSION = 1  # of a run's files
_FILES = (
    *("vocabulary.json", "tokenizer.json", "vocab.json", "vocab.txt"),
    *("tokenizer.model", "spiece.model"),
)
_USUAL = ("<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>")  # GPT-2's, and RoBERTa's


def load_tokenizer(path: str | Path) -> Vocabulary:
    """The tokenizer in a file, or in a folder that has one of the files listed above.

    >>> ids = load_tokenizer("gpt2/").encode("text")  # int32 (T,)  # doctest: +SKIP

    InputError, one line with the file, if a file is missing or damaged, or describes a tokenizer
    that the package tokenizers does not have.
    """
    path = Path(path)
    if path.is_dir():
        files = [path / name for name in _FILES if (path / name).exists()]
        if not files:
            raise InputError(f"{path}: expected one of {', '.join(_FILES)}, found none of them")
        path = files[0]
    if path.name == "merges.txt":
        path = path.with_name("vocab.json")
    file = path.with_name("tokenizer_config.json")
    config = Entries(file, read_json(file) if file.exists() else {})
    ends = token_texts(file, config.values, "bos", "eos")
    if path.suffix == ".model":
        with in_file(path):
            values, named = _sentence_pieces(path.read_bytes(), config)
            ends = named | ends
    elif path.suffix == ".txt":
        values = _word_pieces(path, config)
    else:
        values = read_json(path)
        with in_file(path):
            if isinstance(values.get("unit"), str):
                if values.get("format_version") != _FORMAT_VERSION:
                    raise Entries(path, values).wrong("format_version", str(_FORMAT_VERSION))
                return vocabulary_from_dict(values)
        if "model" not in values:
            values = _byte_pairs(path, values, config)
    with in_file(path):
        return PublishedTokenizer(values, ends.get("bos"), ends.get("eos"))


def token_texts(path: str | Path, values: Mapping[str, Any], *names: str) -> dict[str, str]:
    """The texts of tokens, such as ``bos``, that a tokenizer_config.json names."""
    texts = {}
    for name in names:
        token = values.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            texts[name] = Entries(path, {f"{name}_token": token}).text(f"{name}_token")
    return texts


def _added(special: Mapping[str, int], config: Entries) -> list[dict[str, Any]]:
    """Special tokens, and those that tokenizer_config.json adds, whose flags count."""
    decoder = config.values.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(
        number.isdecimal() and isinstance(token, dict) and isinstance(token.get("content"), str)
        for number, token in decoder.items()
    ):
        raise config.wrong("added_tokens_decoder", "an object of ids and tokens")
    flags = {token["content"]: token for token in decoder.values()}
    more = {text: int(number) for text, number in zip(flags, decoder, strict=True)}
    return [
        {name: flags.get(token["content"], token).get(name, token[name]) for name in token}
        for token in added_tokens({**special, **more})
    ]


def _byte_pairs(path: Path, ids: Mapping[str, int], config: Entries) -> dict[str, Any]:
    """Byte pairs in vocab.json and merges.txt."""
    lines = (line for line, _ in read_lines(path.with_name("merges.txt"), regular=True))
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    made = {*map("".join, merges)}
    special = {text: ids[text] for text in _USUAL if text in ids and text not in made}
    return byte_pairs(ids, merges, _added(special, config))


def _word_pieces(path: Path, config: Entries) -> dict[str, Any]:
    """BERT's pieces of words in vocab.txt; without a configuration, they are in lower case."""
    ids = {line: number for number, (line, _) in enumerate(read_lines(path, regular=True))}
    with in_file(config.path):
        options = {
            "lower_case": flag(config.values, "do_lower_case", True),
            "strip_accents": flag(config.values, "strip_accents", None),
            "split_ideographs": flag(config.values, "tokenize_chinese_chars", True),
        }
    special = {text: ids[text] for text in SPECIALS if text in ids}
    frame = template(ids, "[CLS]", "[SEP]") if {"[CLS]", "[SEP]"} <= ids.keys() else None
    return word_pieces(ids, _added(special, config), template=frame, **options)


# --- SentencePiece's ------------------------------------------------------------------------------

_UNIGRAM, _PAIRS = 1, 2  # types of models

# Fields by their numbers: of the file, of a token, of the training and of the normaliser.
_TOKENS, _TRAINING, _NORMALISER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL, _SUFFIX = 3, 24
_BOS, _EOS = 41, 42
_TABLE, _ADDS_SPACE, _SQUEEZES, _ESCAPES = 2, 3, 4, 5


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The numbers and values of a message's fields: whole numbers, float32 or bytes.

    >>> list(fields(b"\\x08\\x96\\x01\\x12\\x02hi"))
    [(1, 150), (2, b'hi')]

    ValueError for a message that is damaged.
    """
    at = 0

    def whole() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("expected a message of Protocol Buffers, but it is damaged")
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = whole()
        kind = key & 7
        if kind == 0:
            yield key >> 3, whole()
            continue
        length = whole() if kind == 2 else {1: 8, 5: 4}.get(kind, len(data))
        value, at = data[at : at + length], at + length
        if at > len(data):
            raise ValueError("expected a message of Protocol Buffers, but it is damaged")
        yield key >> 3, np.frombuffer(value, "<f4")[0] if kind == 5 else value


def _sentence_pieces(data: bytes, config: Entries) -> tuple[dict[str, Any], dict[str, str]]:
    """The tokenizer in a tokenizer.model, and the texts of BOS and EOS."""
    parts: dict[int, list[bytes]] = {_TOKENS: [], _TRAINING: [b""], _NORMALISER: [b""]}
    for number, value in fields(data):
        if number in parts and isinstance(value, bytes):
            parts[number].append(value)
    training, normaliser = (dict(fields(parts[n][-1])) for n in (_TRAINING, _NORMALISER))
    rows = [{_TEXT: b"", _SCORE: 0.0, _TYPE: NORMAL, **dict(fields(t))} for t in parts[_TOKENS]]
    kind = training.get(_MODEL, _UNIGRAM)
    if kind not in (_UNIGRAM, _PAIRS) or not rows:
        raise ValueError(f"expected a unigram model or byte pairs, found type {kind}")
    if training.get(_SUFFIX) or not normaliser.get(_ESCAPES, 1):
        raise ValueError('expected "▁" in place of the space before a word, found others')
    texts = [row[_TEXT].decode() for row in rows]
    ids = {text: number for number, text in enumerate(texts)}
    at = {"bos": training.get(_BOS, 1), "eos": training.get(_EOS, 2)}
    ends = {name: texts[number] for name, number in at.items() if number < len(texts)}
    adds = {
        "bos": config.flag("add_bos_token", kind == _PAIRS),
        "eos": config.flag("add_eos_token", kind == _UNIGRAM),
    }
    values = sentence_pieces(
        texts,
        [float(row[_SCORE]) for row in rows],
        [row[_TYPE] for row in rows],
        unigram=kind == _UNIGRAM,
        table=normaliser.get(_TABLE, b""),
        squeeze=bool(normaliser.get(_SQUEEZES, 1)),
        prefix=bool(normaliser.get(_ADDS_SPACE, 1)),
        template=template(ids, *(ends.get(name) if adds[name] else None for name in adds)),
    )
    values["added_tokens"] += [t for t in _added({}, config) if t["id"] >= len(texts)]
    return values, ends


# --- writing -------------------------------------------------------------------------------------


def tokenizer_files(tokenizer: Vocabulary) -> dict[str, bytes]:
    """The contents of the files that other programs read, by name.

    They are tokenizer.json, and of our pieces of words tokenizer_config.json with their names.
    """
    if isinstance(tokenizer, PublishedTokenizer):
        values = tokenizer.values
    else:
        assert isinstance(tokenizer, BytePairs | WordPieces)
        values = {"version": "1.0", "truncation": None, "padding": None, **of_ours(tokenizer)}
    files = {"tokenizer.json": values}
    if isinstance(tokenizer, WordPieces):
        names = {f"{text.strip('[]').lower()}_token": text for text in SPECIALS}
        files["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in files.items()
    }
