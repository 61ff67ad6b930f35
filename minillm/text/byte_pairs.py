"""Byte pairs as a vocabulary: the merges, the special tokens, and their JSON."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import short
from minillm.text.bpe import BYTES, LONGEST, PATTERNS, Pair
from minillm.text.bpe_fast import (
    MergeTable,
    encode_words,
    ends_by,
    learn_merges,
    split_words,
    word_ends,
)
from minillm.text.byte_tokens import MASK, ByteTokens, check_options
from minillm.text.vocabulary import SpecialTokens, check_texts
from minillm.unicode import check_encodable

END_OF_TEXT = "<|endoftext|>"


def train(texts: Iterable[str], size: int, specials: Sequence[str] = (END_OF_TEXT,)) -> "BytePairs":
    """Learn a tokenizer of ``size`` tokens from texts, which are read once.

    Its tokens are the 256 bytes, then the merged pairs, then the specials, which are ignored in the
    texts.  There are fewer tokens if no pair occurs twice any more.  ValueError if the size is
    below the number of bytes and specials, InputError for a lone surrogate.
    """
    least = len(BYTES) + len(specials)
    if size < least:
        raise ValueError(f"size: expected at least {least}, found {size}")
    words: Counter[bytes] = Counter()
    special = SpecialTokens(dict.fromkeys(specials, 0))
    for text in texts:
        check_encodable(text, "text")
        for part in special.cut(text):
            if part not in special.ids:
                words.update(split_words(part))
    return BytePairs(learn_merges(words, size - least), specials)


class BytePairs(ByteTokens):
    """A vocabulary of bytes, of merged pairs, and of special tokens.

    >>> tokenizer = train(["she sells sea shells"], 262)
    >>> ids = tokenizer.encode("she shells<|endoftext|>")
    >>> ids
    array([115, 258, 256, 258, 260, 261], dtype=int32)
    >>> tokenizer.decode(ids)
    'she shells<|endoftext|>'

    ``tokens`` are bytes, by id.  In ``encode``, the text of a special token becomes that token.
    """

    unit = "bpe"

    def __init__(
        self,
        merges: Sequence[Pair] | MergeTable,
        specials: Sequence[str] = (END_OF_TEXT,),
        ids: Sequence[int] | None = None,
        *,
        pattern: str = "gpt-2",
        whole: bool = False,
        bos: str = END_OF_TEXT,
        eos: str = END_OF_TEXT,
        add_bos: bool = False,
        add_eos: bool = False,
        nfc: bool = False,
        shown: Sequence[str] = (),
        lstrip: Sequence[str] = (),
        rstrip: Sequence[str] = (),
        unused: Sequence[str] = (),
    ):
        """``merges`` in the order of their ranks.

        ids: of the 256 bytes, the merged pairs and the specials, in this order; None: 0, 1, 2 and
        so on.  A byte whose id is -1 is not in the vocabulary, and is left out of what is encoded.
        Two merges may make the same token.  pattern: one of PATTERNS, which defines words.
        whole: a word that is a token is not merged, even if merges would not make it (Llama 3).
        bos, eos: the specials that open and close texts, if they are among them.
        add_bos, add_eos: ``encode`` puts BOS before a text, as Llama 3 has learned it, and EOS
        after it.
        nfc: texts are encoded in Unicode's composed form, as Qwen's are.
        shown: the specials that are part of an answer's text, such as ``<think>``.
        lstrip, rstrip: the specials that take the white space before them, or after them.
        unused: the specials that have an id, but that no text becomes.
        A special of white space may be made by merges, too (GPT-NeoX): then it has two ids.

        ValueError if these do not fit together.
        """
        if pattern not in PATTERNS:
            raise ValueError(f"pattern: expected {' or '.join(PATTERNS)}, found {short(pattern)}")
        self.specials = check_texts(list(specials), "specials")
        self.pattern, self.whole = pattern, whole
        self._table = merges if isinstance(merges, MergeTable) else _numbered(merges)
        if whole:
            self._table.whole = self._not_merged(self._table.tokens)
        tokens = list(self._table.tokens)
        self._numbers = {token: number for number, token in enumerate(tokens)}
        numbers: dict[str, int] = {}  # of the specials
        for special in self.specials:
            merged = special.encode() in self._numbers and not special.isspace()
            if not special or merged or special in numbers:
                raise ValueError(f"specials: expected distinct new tokens, found {short(special)}")
            numbers[special] = len(tokens)
            self._numbers.setdefault(special.encode(), len(tokens))
            tokens.append(special.encode())
        self._lengths = np.fromiter(map(len, tokens), np.int64)
        self._ids = np.arange(len(tokens), dtype=np.int32)
        if ids is not None:
            self._ids = np.array(_checked_ids(ids, len(tokens)), np.int32)
        self._missing = bytes(np.flatnonzero(self._ids < 0).tolist())
        in_order = np.argsort(self._ids)[len(self._missing) :]
        self.tokens = [tokens[number] for number in in_order.tolist()]
        self.unused = check_texts(list(unused), "unused")
        self.ids_of_specials = {text: int(self._ids[number]) for text, number in numbers.items()}
        known = {t: number for t, number in self.ids_of_specials.items() if t not in self.unused}
        self._set_specials(known, shown, lstrip, rstrip, bos, eos, add_bos, add_eos)
        self.mask, self.nfc = known.get(MASK), nfc
        self.line_end = None if self._ids[ord("\n")] < 0 else self.id_of(b"\n")

    @property
    def merges(self) -> list[Pair]:
        """The merges in the order of their ranks."""
        tokens = self._table.tokens
        return [(tokens[left], tokens[right]) for left, right in self._table.pairs.tolist()]

    @property
    def has_unmerged(self) -> bool:
        """Whether merges do not make each token of several bytes."""
        return bool(self._table.whole or self._not_merged(self._table.tokens))

    def _not_merged(self, tokens: list[bytes]) -> dict[bytes, list[int]]:
        """The tokens that merges do not make, if they are words, and their numbers."""
        ends = np.cumsum(list(map(len, tokens)))
        numbers = encode_words(b"".join(tokens), ends, self._table)
        reached = np.cumsum(np.array(list(map(len, tokens)))[numbers])
        counts = np.diff(np.searchsorted(reached, ends, side="right"), prepend=0)
        return {tokens[number]: [number] for number in np.flatnonzero(counts > 1).tolist()}

    def id_of(self, token: bytes) -> int:
        """The id of a token; KeyError if there is no such token."""
        number = int(self._ids[self._numbers[token]])
        if number < 0:
            raise KeyError(token)
        return number

    def _encode(self, texts: list[str], first: list[bool]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts without special tokens."""
        if len(texts) == 1:  # there are no places to find
            return [self._ids[encode_words(*self._words(texts[0]), self._table)]]
        data, ends = zip(*map(self._words, texts), strict=True) if texts else ((), ())
        starts = np.cumsum([0, *map(len, data)])
        shifted = [each + start for each, start in zip(ends, starts, strict=False)]
        joined = np.concatenate([np.zeros(0, np.int64), *shifted])
        numbers = encode_words(b"".join(data), joined, self._table)
        ids, reached = self._ids[numbers], np.cumsum(self._lengths[numbers])  # in bytes
        cuts = np.searchsorted(
            reached, starts, side="right"
        )  # no token reaches across a text's end
        return [ids[start:end] for start, end in pairwise(cuts.tolist())]

    def _words(self, text: str) -> tuple[bytes, NDArray[np.int64]]:
        """The bytes of a text that the vocabulary has, and the ends of its words."""
        if self.nfc and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        data = text.encode()
        ends = word_ends(text) if self.pattern == "gpt-2" else ends_by(text, self.pattern)
        if self._missing:
            lost = np.flatnonzero(self._ids[np.frombuffer(data, np.uint8)] < 0)
            ends = ends - np.searchsorted(lost, ends)
            ends = ends[np.diff(ends, prepend=0) > 0]  # no word is empty
        return data.translate(None, self._missing), ends

    def to_dict(self) -> dict:
        """The JSON form: the merges as numbers of tokens, the 256 bytes first.

        Where a merge takes a token that a later one makes, "results" has the numbers of all
        results.
        """
        pairs, results = self._table.pairs, self._table.result
        values: dict[str, Any] = {"unit": self.unit, "merges": pairs.tolist()}
        values["specials"] = self.specials
        before = np.maximum.accumulate(np.concatenate([[len(BYTES) - 1], results]))[:-1]
        if (pairs.max(axis=1) > before).any():
            values["results"] = results.tolist()
        if (self._ids != np.arange(len(self._ids))).any():
            values["ids"] = self._ids.tolist()
        defaults = _options()
        options = {name: getattr(self, name) for name in defaults if name not in ("bos", "eos")}
        for name, number in (("bos", self.bos), ("eos", self.eos)):
            if number is not None:
                options[name] = self.tokens[number].decode()
        return values | {
            name: value for name, value in options.items() if value and value != defaults[name]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BytePairs":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        merges: Any = values.get("merges")
        specials = check_texts(values.get("specials"), "specials")
        if not _are_pairs(merges):
            raise ValueError(
                f'expected "merges": a list of pairs of numbers, found {short(merges)}'
            )
        results = values.get("results")
        table = _in_order(merges) if results is None else _numbered(_pairs(merges, results))
        options = check_options(values, _options())
        return cls(table, specials, values.get("ids"), **options)


def _options() -> dict[str, Any]:
    """The options of BytePairs that are stored, and their defaults."""
    return dict(BytePairs.__init__.__kwdefaults__ or {})


def _in_order(merges: list[list[int]]) -> MergeTable:
    """The table of merges that take only what merges before them have made."""
    tokens, results = list(BYTES), list[int]()
    numbers = {token: number for number, token in enumerate(tokens)}
    for rank, (a, b) in enumerate(merges):
        if not (0 <= a < len(tokens) and 0 <= b < len(tokens)):
            raise ValueError(
                f"merge {rank + 1}: expected two of the {len(tokens)} tokens before it, "
                f"found {short(a)} and {short(b)}"
            )
        token = _merged(rank, tokens[a], tokens[b])
        results.append(numbers.setdefault(token, len(tokens)))
        if results[-1] == len(tokens):
            tokens.append(token)
    return MergeTable(tokens, merges, results)


def _pairs(merges: list[list[int]], results: object) -> list[Pair]:
    """The tokens of merges in any order, whose results are known by their numbers."""
    if not isinstance(results, list) or [type(n) for n in results] != [int] * len(merges):
        raise ValueError(f'expected "results": a number for each merge, found {short(results)}')
    spelled = dict(enumerate(BYTES))
    left = list(range(len(merges)))
    while left:
        waiting = []
        for rank in left:
            a, b = merges[rank]
            if a not in spelled or b not in spelled:
                waiting.append(rank)
            elif results[rank] not in spelled:
                spelled[results[rank]] = _merged(rank, spelled[a], spelled[b])
        if len(waiting) == len(left):
            raise ValueError(
                f"merge {waiting[0] + 1}: expected tokens that merges make, "
                f"found {short(merges[waiting[0]])}"
            )
        left = waiting
    return [(spelled[a], spelled[b]) for a, b in merges]


def _are_pairs(merges: Any) -> bool:
    """Whether these are pairs of whole numbers, as JSON has them."""
    return (
        isinstance(merges, list)
        and {*map(type, merges)} <= {list}
        and {*map(len, merges)} <= {2}
        and {*map(type, chain.from_iterable(merges))} <= {int}
    )


def _merged(rank: int, left: bytes, right: bytes) -> bytes:
    if len(left) + len(right) > LONGEST:
        raise ValueError(
            f"merge {rank + 1}: expected a token of at most {LONGEST} bytes, "
            f"found {len(left) + len(right)}"
        )
    return left + right


def _numbered(merges: Sequence[Pair]) -> MergeTable:
    """The table of merges that are given as bytes.

    A merge may take a token that a later one makes: Llama 3 has all pairs of each token, token
    by token.
    """
    made = [_merged(rank, *pair) for rank, pair in enumerate(merges)]
    tokens = list(dict.fromkeys([*BYTES, *made]))
    numbers = {token: number for number, token in enumerate(tokens)}
    for rank, pair in enumerate(merges):
        for token in pair:
            if token not in numbers:
                raise ValueError(f"merge {rank + 1}: no merge makes {short(token)}")
    pairs = [(numbers[left], numbers[right]) for left, right in merges]
    return MergeTable(tokens, pairs, [numbers[token] for token in made])


def _checked_ids(ids: object, count: int) -> list[int]:
    """The ids; ValueError unless each number occurs once, and only bytes have none."""
    if not isinstance(ids, list) or not {*map(type, ids)} <= {int}:
        raise ValueError(f'expected "ids": a list of numbers, found {short(ids)}')
    missing = ids[: len(BYTES)].count(-1)
    if len(ids) != count or sorted(ids)[missing:] != list(range(count - missing)):
        raise ValueError(
            f'expected "ids": each number from 0 to {count - 1 - missing} once, found {short(ids)}'
        )
    return ids
