"""Files of tokenizers: Hugging Face's, GPT-2's, BERT's, SentencePiece's, and ours.

    tokenizer.json              Hugging Face's
    tokenizer.model             SentencePiece's: byte pairs or a unigram model
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocab.txt                   BERT's: a piece a line
    tokenizer_config.json       next to the others: which tokens open and close a text, tokens that
                                are added, and whether BERT's pieces are in lower case
    vocabulary.json             of one of our runs

All but the last are read as :class:`minillm.text.published.PublishedTokenizer`.

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
from minillm.errors import InputError, short
from minillm.text.bpe import BYTES
from minillm.text.byte_pairs import BytePairs
from minillm.text.published import PublishedTokenizer, spell
from minillm.text.tokenizer_json import (
    CONTROL,
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
from minillm.text.word_pieces import WordPieces

_FORMAT_VERSION = 1  # of a run's files
_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MPNET = ("<pad>", "[UNK]", "<s>", "</s>", "<mask>")  # MPNet's names of the same roles
_NORMALIZER = {  # names of tokenizer_config.json, and of tokenizer.json
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def load_tokenizer(path: str | Path) -> Vocabulary:
    """The tokenizer in a file, or in a folder that has one of the files listed above.

    >>> ids = load_tokenizer("gpt2/").encode("text")  # int32 (T,)  # doctest: +SKIP

    InputError, one line with the file, if a file is missing or damaged, or describes a tokenizer
    that the package tokenizers does not have.
    """
    path = Path(path)
    names = (
        *("vocabulary.json", "tokenizer.json", "vocab.json", "vocab.txt"),
        *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    )
    if path.is_dir():
        files = [path / name for name in names if (path / name).exists()]
        if not files:
            raise InputError(f"{path}: expected one of {', '.join(names)}, found none of them")
        path = files[0]
    if path.name == "merges.txt":
        path = path.with_name("vocab.json")
    config = _read_config(path.with_name("tokenizer_config.json"))
    if path.suffix == ".model":
        return _read_model(path, config)
    if path.suffix == ".txt":
        return _read_pieces(path, config)
    file = Entries(path, read_json(path))
    with in_file(path):
        if isinstance(file.values.get("unit"), str):
            if file.values.get("format_version") != _FORMAT_VERSION:
                raise file.wrong("format_version", str(_FORMAT_VERSION))
            return vocabulary_from_dict(file.values)
    if "model" not in file.values:
        return _read_byte_pairs(file, config)
    if _class_of(config) == "BertTokenizer" and isinstance(file.values.get("normalizer"), dict):
        named = {theirs: ours for theirs, ours in _NORMALIZER.items() if theirs in config.values}
        changed = {ours: config.values[theirs] for theirs, ours in named.items()}
        file.values["normalizer"].update(changed)
    return _published(path, file.values, config)


def _published(path: Path, values: Mapping[str, Any], config: Entries) -> PublishedTokenizer:
    ends = token_texts(config.path, config.values, "bos", "eos")
    with in_file(path):
        return PublishedTokenizer(values, ends.get("bos"), ends.get("eos"))


def _read_config(path: Path) -> Entries:
    """The entries of tokenizer_config.json; none without a file.

    InputError for one that makes other ids than the tokenizer's own files do.
    """
    config = Entries(path, read_json(path) if path.exists() else {})
    refused = {"split_special_tokens": (False, None)}
    if _class_of(config) in (None, "GPT2Tokenizer", "RobertaTokenizer"):  # others ignore it
        refused["add_prefix_space"] = (False, None)
    config.check_all(refused)
    return config


def _class_of(config: Entries) -> Any:
    name = config.values.get("tokenizer_class")
    return name.removesuffix("Fast") if isinstance(name, str) else name


def token_texts(path: str | Path, values: Mapping[str, Any], *names: str) -> dict[str, str]:
    """The texts of tokens, such as ``bos``, that a tokenizer_config.json names."""
    texts = {}
    for name in names:
        token = values.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            texts[name] = Entries(path, {f"{name}_token": token}).text(f"{name}_token")
    return texts


def _added_in(config: Entries) -> list[dict[str, Any]]:
    """The tokens that tokenizer_config.json adds, in the order of their ids."""
    decoder = config.values.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(
        number.isdecimal() and isinstance(token, dict) for number, token in decoder.items()
    ):
        raise config.wrong("added_tokens_decoder", "an object of ids and tokens")
    ids = sorted(map(int, decoder))
    tokens = ({**decoder[str(number)], "id": number} for number in ids)
    return [{n: v for n, v in token.items() if n != "__type"} for token in tokens]


def _with_added(added: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Added tokens; what a configuration says of one counts."""
    return [*({token["id"]: token for token in (*added, *more)}).values()]


# --- GPT-2's and BERT's ---------------------------------------------------------------------------


def _read_byte_pairs(file: Entries, config: Entries) -> PublishedTokenizer:
    """Byte pairs in vocab.json and merges.txt; what merges do not make is special."""
    path, ids = Path(file.path), file.values
    merges = []
    for number, (line, place) in enumerate(read_lines(path.with_name("merges.txt"), regular=True)):
        if line and not (number == 0 and line.startswith("#version")):
            merges.append(line.split(" "))
            if len(merges[-1]) != 2:
                raise InputError(f"{place}: expected two tokens, found {short(line)}")
    made = {*map(spell, BYTES), *map("".join, merges)}
    special = {
        text: number
        for text, number in ids.items()
        if text not in made and text[:1] + text[-1:] in ("<>", "[]")
    }
    added = _with_added(added_tokens(special), _added_in(config))
    return _published(path, byte_pairs(ids, merges, added), config)


def _read_pieces(path: Path, config: Entries) -> PublishedTokenizer:
    """BERT's pieces of words in vocab.txt; without a configuration, they are in lower case."""
    ids: dict[str, int] = {}
    for number, (line, place) in enumerate(read_lines(path, regular=True)):
        if not line or ids.setdefault(line, number) != number:
            expected = f"expected each token once, found {short(line)} again" if line else ""
            raise InputError(f"{place}: {expected or 'expected a token, found nothing'}")
    with in_file(config.path):
        options = {
            "lower_case": flag(config.values, "do_lower_case", True),
            "strip_accents": flag(config.values, "strip_accents", None),
            "split_ideographs": flag(config.values, "tokenize_chinese_chars", True),
        }
    named = token_texts(config.path, config.values, "cls").get("cls")
    mpnet = _class_of(config) == "MPNetTokenizer" or named == "<s>" or "[CLS]" not in ids
    special = {text: ids[text] for text in (_MPNET if mpnet else _BERT) if text in ids}
    added = _with_added(added_tokens(special), _added_in(config))
    ends = ("<s>", "</s>") if mpnet else ("[CLS]", "[SEP]")
    frame = template(ids, *ends) if {*ends} <= ids.keys() else None
    return _published(path, word_pieces(ids, added, template=frame, **options), config)


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


def _read_model(path: Path, config: Entries) -> PublishedTokenizer:
    """The tokenizer in a tokenizer.model."""
    with in_file(path):
        parts: dict[int, list[bytes]] = {_TOKENS: [], _TRAINING: [b""], _NORMALISER: [b""]}
        for number, value in fields(path.read_bytes()):
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
        ends = [
            texts[at] if at < len(texts) else None
            for at in (training.get(_BOS, 1), training.get(_EOS, 2))
        ]
    more = [token for token in _added_in(config) if token["id"] >= len(texts)]
    if [token["id"] for token in more] != list(range(len(texts), len(texts) + len(more))):
        raise config.wrong("added_tokens_decoder", f"ids from {len(texts):,} on without gaps")
    scores = [float(row[_SCORE]) for row in rows]
    types = [row[_TYPE] for row in rows]
    xlm = _class_of(config) in (None, "XLMRobertaTokenizer")
    if xlm := xlm and path.name == "sentencepiece.bpe.model":
        # XLM-R's ids are those of fairseq, which has four special tokens, and <mask> as the last.
        texts = ["<s>", "<pad>", "</s>", "<unk>", *texts[3:], "<mask>"]
        scores, types = [0.0] * 4 + scores[3:] + [0.0], [CONTROL] * 4 + types[3:] + [CONTROL]
        ends, more = ["<s>", "</s>"], []
    adds = (
        config.flag("add_bos_token", kind == _PAIRS or xlm),
        config.flag("add_eos_token", kind == _UNIGRAM),
    )
    ids = {text: number for number, text in enumerate(texts)}
    frame = template(ids, *(end if add else None for end, add in zip(ends, adds, strict=True)))
    with in_file(path):
        values = sentence_pieces(
            texts,
            scores,
            types,
            unigram=kind == _UNIGRAM,
            table=normaliser.get(_TABLE, b""),
            squeeze=bool(normaliser.get(_SQUEEZES, 1)),
            prefix=bool(normaliser.get(_ADDS_SPACE, 1)),
            template=frame,
        )
        values["added_tokens"] += more
        named = token_texts(config.path, config.values, "bos", "eos")
        return PublishedTokenizer(values, named.get("bos", ends[0]), named.get("eos", ends[1]))


# --- writing -------------------------------------------------------------------------------------


def tokenizer_files(tokenizer: Vocabulary) -> dict[str, bytes]:
    """The contents of the files that other programs read, by name.

    They are tokenizer.json, and of our pieces of words tokenizer_config.json with their names.
    """
    if isinstance(tokenizer, PublishedTokenizer):
        values = tokenizer.values
    else:
        assert isinstance(tokenizer, BytePairs | WordPieces)
        values = of_ours(tokenizer)
    files = {"tokenizer.json": values}
    if isinstance(tokenizer, WordPieces):
        roles = ("pad", "unk", "cls", "sep", "mask")
        files["tokenizer_config.json"] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{f"{role}_token": text for role, text in zip(roles, _BERT, strict=True)},
        }
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in files.items()
    }
