"""Files of SentencePiece's tokenizers: tokenizer.model, and tokenizer.json with the same tokens.

A tokenizer.model is a message of Protocol Buffers: a sequence of fields, each with its number and
its type in one whole number, and then its value.  Whole numbers have 7 bits in each byte, the least
first, and the eighth bit says that another byte follows.  A text, or a message in a message, has
its length before it.

In a tokenizer.json, the steps that change a text are spread over a normalizer and a pre-tokenizer.
Those that SentencePiece's tokenizers have are read, and others are refused.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.entries import Entries, in_file
from minillm.errors import short
from minillm.text.sentence_pieces import SPACE, SentencePieces
from minillm.text.tokenizer_json import (
    added_of,
    added_tokens,
    frame_of,
    frame_template,
    ids_of,
    merges_of,
    steps_of,
    tokenizer_json,
    with_added,
)

# --- tokenizer.model ------------------------------------------------------------------------------

NORMAL, UNKNOWN, CONTROL, DEFINED, UNUSED, BYTE = range(1, 7)  # types of tokens
_UNIGRAM, _PAIRS = 1, 2  # types of models

# Fields by their numbers: of the file, of a token, of the training and of the normaliser.
_TOKENS, _TRAINING, _NORMALISER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL, _SUFFIX, _BYTES = 3, 24, 35
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
        length = {1: 8, 2: 0, 5: 4}.get(kind, len(data))
        length = whole() if kind == 2 else length
        value, at = data[at : at + length], at + length
        if at > len(data):
            raise ValueError("expected a message of Protocol Buffers, but it is damaged")
        yield key >> 3, np.frombuffer(value, "<f4")[0] if kind == 5 else value


def read_model(path: Path, config: Entries) -> SentencePieces:
    """The tokenizer in a tokenizer.model; tokenizer_config.json may add tokens, and BOS and EOS."""
    with in_file(path):
        parts: dict[int, list[bytes]] = {_TOKENS: [], _TRAINING: [b""], _NORMALISER: [b""]}
        for number, value in fields(path.read_bytes()):
            if number in parts and isinstance(value, bytes):
                parts[number].append(value)
        training, normaliser = (
            dict(fields(parts[_TRAINING][-1])),
            dict(fields(parts[_NORMALISER][-1])),
        )
        rows = [{_TEXT: b"", _SCORE: 0.0, _TYPE: NORMAL, **dict(fields(t))} for t in parts[_TOKENS]]
        kinds = [row[_TYPE] for row in rows]
        kind = training.get(_MODEL, _UNIGRAM)
        if kind not in (_UNIGRAM, _PAIRS) or not rows:
            raise ValueError(f"expected a unigram model or byte pairs, found type {kind}")
        if training.get(_SUFFIX) or not normaliser.get(_ESCAPES, 1):
            raise ValueError('expected "▁" in place of the space before a word, found others')
        texts = [row[_TEXT].decode() for row in rows]
        ends = {
            name: texts[training.get(number, default)]
            for name, number, default in (("bos", _BOS, 1), ("eos", _EOS, 2))
            if training.get(number, default) < len(texts)
        }
        more, options = _added_in(config, len(texts))
        return assembled(
            texts + list(more),
            [float(row[_SCORE]) for row in rows] + [0.0] * len(more),
            kinds + [DEFINED if text in options["shown"] else CONTROL for text in more],
            unigram=kind == _UNIGRAM,
            charsmap=b64encode(normaliser.get(_TABLE, b"")).decode(),
            squeeze=bool(normaliser.get(_SQUEEZES, 1)),
            prefix="each" if normaliser.get(_ADDS_SPACE, 1) else "none",
            add_bos=config.flag("add_bos_token", kind == _PAIRS) and "bos" in ends,
            add_eos=config.flag("add_eos_token", kind == _UNIGRAM) and "eos" in ends,
            lstrip=options["lstrip"],
            rstrip=options["rstrip"],
            **ends,
        )


def _added_in(config: Entries, count: int) -> tuple[dict[str, int], dict[str, list[str]]]:
    """The tokens that tokenizer_config.json adds to a model's tokens, in their order."""
    decoder = config.values.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(number.isdecimal() for number in decoder):
        raise config.wrong("added_tokens_decoder", "an object with ids")
    entries = [
        {**token, "id": int(number)} if isinstance(token, dict) else token
        for number, token in sorted(decoder.items(), key=lambda entry: int(entry[0]))
    ]
    added = added_of(entries)
    more = {text: number for text, number in added.ids.items() if number >= count}
    if list(more.values()) != list(range(count, count + len(more))):
        raise config.wrong("added_tokens_decoder", f"ids from {count:,} on without gaps")
    return more, added.options


def assembled(
    texts: list[str], scores: list[float], types: list[int], **options: Any
) -> SentencePieces:
    """Make a tokenizer of tokens with scores, and with the types of a tokenizer.model.

    ValueError if these do not fit together.
    """
    if UNUSED in types:
        raise ValueError("expected tokens that are used, found unused ones")
    of_type = {
        kind: [text for text, of in zip(texts, types, strict=True) if of == kind]
        for kind in (UNKNOWN, CONTROL, DEFINED)
    }
    options.setdefault("unknown", of_type[UNKNOWN][0] if of_type[UNKNOWN] else "<unk>")
    return SentencePieces(
        texts,
        scores,
        specials=[text for texts in of_type.values() for text in texts],
        byte_fallback=BYTE in types,
        shown=of_type[DEFINED],
        **options,
    )


# --- tokenizer.json -------------------------------------------------------------------------------


def is_sentencepiece(values: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json has such a tokenizer: a unigram model, or "▁" for spaces."""
    model = values["model"]
    if model.get("type") == "Unigram":
        return True
    steps = [
        *steps_of(values.get("normalizer"), "normalizers"),
        *steps_of(values.get("pre_tokenizer"), "pretokenizers"),
        *steps_of(values.get("decoder"), "decoders"),
    ]
    found = [step.get(n) for step in steps if isinstance(step, dict) for n in _WITH_SPACE]
    return model.get("type") in ("BPE", None) and (SPACE in found or _OF_SPACE in found)


_WITH_SPACE, _OF_SPACE = ("content", "prepend", "replacement", "pattern"), {"String": SPACE}
_MODEL_ENTRIES = {
    "dropout": (None, 0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (None, False),
}
_DECODERS = ("Replace", "ByteFallback", "Fuse", "Strip", "Metaspace")
_TO_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_FROM_SPACE = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
_SQUEEZE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
_STRIP = {"type": "Replace", "pattern": {"Regex": r"\A +| +\z"}, "content": ""}
_METASPACE = {"type": "Metaspace", "replacement": SPACE}


def read_json_pieces(file: Entries, ends: Mapping[str, str]) -> SentencePieces:
    """The tokenizer in a tokenizer.json; ``ends`` are the texts of bos and eos.

    ValueError for another kind of tokenizer, or steps that are not known.
    """
    model = Entries(file.path, file.values["model"])
    unigram = model.values.get("type") == "Unigram"
    added = added_of(file.values.get("added_tokens", []))
    if unigram:
        rows: Any = model.values.get("vocab")
        if not isinstance(rows, list) or not all(_is_scored(row) for row in rows):
            raise ValueError(
                f"expected model.vocab: a list of texts with scores, found {short(rows)}"
            )
        ids = {row[0]: number for number, row in enumerate(rows)}
        if len(ids) < len(rows):
            raise ValueError("expected model.vocab: distinct texts, found one twice")
        at = model.values.get("unk_id")
        unknown = rows[at][0] if type(at) is int and 0 <= at < len(rows) else None
    else:
        model.check_all(_MODEL_ENTRIES)
        ids = ids_of(model.values.get("vocab"), "model.vocab: an id to each token")
        unknown = model.values.get("unk_token")
    ids = with_added(ids, added.ids)
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"expected as ids each number from 0 to {len(ids) - 1} once, found others")
    texts = sorted(ids, key=ids.__getitem__)
    fallback = model.flag("byte_fallback", False)
    complete = fallback and all(f"<0x{value:02X}>" in ids for value in range(256))
    if not (unigram or complete or model.flag("fuse_unk", False)):
        raise ValueError("model.fuse_unk: expected true, found false")
    if unigram:
        scores = [float(row[1]) for row in rows] + [0.0] * (len(ids) - len(rows))
        found: dict[str, Any] = {"scores": scores}
    else:
        found = {"merges": _numbers_of(merges_of(model.values), ids)}
    options = dict(ends) | frame_of(file) | _steps(file) | added.options
    if isinstance(unknown, str):
        options["unknown"] = unknown
    return SentencePieces(
        texts,
        specials=list(added.ids),
        unigram=unigram,
        byte_fallback=fallback,
        **found,
        **options,
    )


def _is_scored(row: object) -> bool:
    return isinstance(row, list) and [*map(type, row)] in ([str, float], [str, int])


def _numbers_of(merges: list[Any], ids: Mapping[str, int]) -> NDArray[np.int32]:
    """The merges as ids (M, 2); there are half a million of them in Gemma's file."""
    if not {*map(type, merges)} <= {list} or not {*map(len, merges)} <= {2}:
        raise ValueError("expected model.merges: pairs of texts, found others")
    try:
        numbers = np.fromiter(map(ids.__getitem__, chain.from_iterable(merges)), np.int32)
    except (KeyError, TypeError) as error:
        raise ValueError(f"model.merges: expected tokens, found {error}") from None
    return numbers.reshape(-1, 2)


def _steps(file: Entries) -> dict[str, Any]:
    """The options that say how a text is normalised and cut; InputError for other steps."""
    options: dict[str, Any] = {"prefix": "none"}
    squeezes = 0
    for step in steps_of(file.values.get("normalizer"), "normalizers"):
        match step:
            case {"type": "Prepend", "prepend": "▁"}:
                options["prefix"] = "each"
            case {"type": "Precompiled", "precompiled_charsmap": str(table)} if not squeezes:
                options["charsmap"] = table
            case {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁" | " "}:
                squeezes += 1
            case {"type": "Strip", "strip_right": True}:
                squeezes += 1
            case _ if step == _STRIP:
                squeezes += 1
            case _ if step != _TO_SPACE:
                raise file.wrong("normalizer", "steps of SentencePiece")
    for step in steps_of(file.values.get("pre_tokenizer"), "pretokenizers"):
        match step:
            case {"type": "Metaspace", "replacement": "▁"}:
                options |= _metaspace(step)
            case {"type": "WhitespaceSplit"}:
                squeezes += 2
            case {"type": "Split", "pattern": {"String": " "}}:
                pass  # there is no space any more
            case _:
                raise file.wrong("pre_tokenizer", "Metaspace")
    for step in steps_of(file.values.get("decoder"), "decoders"):
        if not isinstance(step, dict) or step.get("type") not in _DECODERS:
            raise file.wrong("decoder", " or ".join(_DECODERS))
    if squeezes == 1:
        raise file.wrong("normalizer", "one that removes spaces at the ends and within a text")
    return options | {"squeeze": squeezes > 0}


def _metaspace(step: Mapping[str, Any]) -> dict[str, Any]:
    adds = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
    prefix = {"always": "missing", "first": "first", "never": "none"}.get(adds)
    if prefix is None:
        raise ValueError(f"prepend_scheme: expected always, first or never, found {short(adds)}")
    return {"prefix": prefix, "separate": step.get("split", True) is not False}


# --- writing --------------------------------------------------------------------------------------


def files_of_pieces(tokenizer: SentencePieces) -> dict[str, bytes]:
    """The tokenizer.json of a tokenizer."""
    ids = {text: number for number, text in enumerate(tokenizer.texts)}
    unknown = None if tokenizer.unknown is None else tokenizer.texts[tokenizer.unknown]
    if tokenizer.unigram:
        assert tokenizer.scores is not None
        rows = [list(row) for row in zip(tokenizer.texts, tokenizer.scores, strict=True)]
        model: dict[str, Any] = {"type": "Unigram", "unk_id": tokenizer.unknown, "vocab": rows}
    else:
        texts = tokenizer.texts
        merges = [[texts[a], texts[b]] for a, b in merges_in(tokenizer).tolist()]
        model = {"type": "BPE", "dropout": None, "unk_token": unknown, "fuse_unk": True}
        model |= {"continuing_subword_prefix": None, "end_of_word_suffix": None}
        model |= {"ignore_merges": False, "vocab": ids, "merges": merges}
    steps: list[dict[str, Any]] = []
    if tokenizer.charsmap:
        steps.append({"type": "Precompiled", "precompiled_charsmap": tokenizer.charsmap})
    if tokenizer.squeeze:
        steps += [_STRIP, _SQUEEZE]
    if tokenizer.prefix == "each":
        steps.append({"type": "Prepend", "prepend": SPACE})
    by_step = tokenizer.prefix in ("each", "none") and not tokenizer.separate
    scheme = {"each": "never", "missing": "always", "first": "first", "none": "never"}
    metaspace = {**_METASPACE, "prepend_scheme": scheme[tokenizer.prefix]}
    ends = (
        []
        if tokenizer.prefix == "none"
        else [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    )
    content = tokenizer_json(
        added_tokens(tokenizer),
        normalizer=_sequence("normalizers", [*steps, *([_TO_SPACE] if by_step else [])]),
        pre_tokenizer=None if by_step else {**metaspace, "split": tokenizer.separate},
        post_processor=frame_template(tokenizer),
        decoder=_sequence(
            "decoders", [_FROM_SPACE, {"type": "ByteFallback"}, {"type": "Fuse"}, *ends]
        ),
        model=model | {"byte_fallback": tokenizer.byte_fallback},
    )
    return {"tokenizer.json": content}


def _sequence(name: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"type": "Sequence", name: steps} if steps else None


def merges_in(tokenizer: SentencePieces) -> NDArray[np.int32]:
    """The merges of a tokenizer (M, 2), the best first: all pairs of tokens that make a token."""
    if tokenizer.merges is not None:
        return tokenizer.merges
    pairs, scores = all_pairs(tokenizer), tokenizer.scores
    assert scores is not None
    pairs.sort(key=lambda pair: (-scores[pair[2]], pair[0], pair[1]))
    return np.array([pair[:2] for pair in pairs], np.int32).reshape(-1, 2)


def all_pairs(tokenizer: SentencePieces) -> list[tuple[int, int, int]]:
    """The ids of all pairs of tokens that make a token, and of what they make."""
    pieces = tokenizer.pieces
    return [
        (pieces[text[:at]], pieces[text[at:]], number)
        for text, number in pieces.items()
        for at in range(1, len(text))
        if text[:at] in pieces and text[at:] in pieces
    ]


def scores_in(tokenizer: SentencePieces) -> tuple[list[float], bool]:
    """The scores of a tokenizer by id, and whether they say the same as its merges.

    A token's score is the negative rank of the first merge that makes it.
    """
    if tokenizer.scores is not None:
        return tokenizer.scores, True
    assert tokenizer.merges is not None
    texts, pieces = tokenizer.texts, tokenizer.pieces
    made = [pieces.get(texts[a] + texts[b], -1) for a, b in tokenizer.merges.tolist()]
    runs = [number for number, _ in groupby(made)]
    ranks = {number: rank for rank, number in reversed(list(enumerate(runs)))}
    scores = [-float(ranks.get(number, len(runs))) for number in range(len(texts))]
    pairs = {pair[:2] for pair in all_pairs(tokenizer)}
    given = set(map(tuple, tokenizer.merges.tolist()))
    return scores, len(ranks) == len(runs) and pairs <= given
