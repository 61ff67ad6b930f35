r"""Byte-pair encoding: tokens between bytes and words, learned from a text.

Begin with the bytes of each word.  Find the pair of neighbours that occurs most often in the
text, and make it one token.  Repeat this any number of times.  Frequent words end up whole, rare
ones in pieces.  No text is unknown: in the worst case it is split into bytes.

By hand, on four words, with a dot between two tokens and ␣ for the space:

    s.h.e   ␣.s.e.l.l.s   ␣.s.e.a   ␣.s.h.e.l.l.s
    s.h.e   ␣s.e.l.l.s    ␣s.e.a    ␣s.h.e.l.l.s      "␣ s" occurs three times
    s.h.e   ␣se.l.l.s     ␣se.a     ␣s.h.e.l.l.s      "␣s e", "h e", "e l", "l l" and "l s" twice
    s.he    ␣se.l.l.s     ␣se.a     ␣s.he.l.l.s       "h e", "l l" and "l s" twice
    s.he    ␣se.ll.s      ␣se.a     ␣s.he.ll.s
    s.he    ␣se.lls       ␣se.a     ␣s.he.lls         no pair occurs twice any more

>>> words = {b"she": 1, b" sells": 1, b" sea": 1, b" shells": 1}
>>> merges = learn_merges(words, 5)
>>> merges
[(b' ', b's'), (b' s', b'e'), (b'h', b'e'), (b'l', b'l'), (b'll', b's')]

To encode a word, replay the merges in the order of learning, which is their rank:

>>> BytePairs(merges).split(" seashells")
['␣se', 'a', 's', 'he', 'lls']

GPT-2's pattern defines a word: a run of letters, of digits or of anything else, with the space
before it.  No merge crosses words, so "dog." and "dog!" do not become tokens.  Later models cut
numbers: SmolLM into single digits, Llama 3 into groups of three.

Sources: Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
units"; on bytes, and with the pattern: Radford et al. (2019), "Language models are unsupervised
multitask learners" (GPT-2); the patterns of Allal et al. (2025), "SmolLM2", and of Dubey et al.
(2024), "The Llama 3 herd of models".  Sennrich and Radford leave two details open.  Here, equally
frequent pairs are ordered by the bytes of their left tokens, then of their right ones.  And a pair
is not merged if its bytes are a token already ("a bc" after "ab c"), so each merge makes one new
token.
"""

import codecs
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.errors import short
from minillm.text.vocabulary import (
    SpecialTokens,
    Vocabulary,
    check_encodable,
    check_texts,
    visible,
)
from minillm.unicode import without_late_letters

Pair = tuple[bytes, bytes]

END_OF_TEXT = "<|endoftext|>"
LONGEST = 1024  # bytes of a token

BYTES = [bytes([value]) for value in range(256)]

_NONE = np.zeros(0, np.int32)


# --- words ---------------------------------------------------------------------------------------

# GPT-2's: an English ending; letters, digits or others, each with a space before them; white space,
# except its last character, which belongs to the word after it.
PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)
PATTERNS = {  # by the names that GGUF files have for them
    "gpt-2": PATTERN,
    # A digit is a word, and has nothing before it: all of the white space is a word.
    "smollm": (
        r"'s|'t|'re|'ve|'m|'ll|'d"
        r"| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?=\p{N})|\s+(?!\S)|\s+"
    ),
    # Up to three digits; any sign may stand before letters; others with the ends of their line.
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


@cache
def _pattern(name: str) -> Any:
    import regex  # not re, which has no \p{L}; saves 10 ms if the twin splits words

    return regex.compile(PATTERNS[name])


@twinned
def word_ends(text: str) -> NDArray[np.int64]:
    """The ends of the words of a text, (W,), counted in bytes of UTF-8; the words cover the text.

    >>> word_ends("Don't  say été!")
    array([ 3,  5,  6, 10, 16, 17])
    """
    return _ends_by(text, "gpt-2")


def _ends_by(text: str, pattern: str) -> NDArray[np.int64]:
    """The ends of the words that a pattern defines."""
    words = _pattern(pattern).findall(without_late_letters(text))
    lengths = [len(word.encode()) for word in words]
    return np.cumsum(lengths, dtype=np.int64)


def split_words(text: str) -> list[bytes]:
    """The words of a text, each as its bytes.

    >>> split_words("Don't  say été!")[:4]
    [b'Don', b"'t", b' ', b' say']

    InputError for a lone surrogate.
    """
    check_encodable(text, "text")
    data, ends = text.encode(), word_ends(text)
    return [data[start:end] for start, end in pairwise([0, *ends.tolist()])]


# --- training ------------------------------------------------------------------------------------


def join(parts: Sequence[Any], pair: tuple[Any, Any], new: Any) -> list[Any]:
    """The parts of a word after one merge: ``new`` replaces each ``pair``, from left to right.

    >>> join([b"a", b"a", b"a", b"b"], (b"a", b"a"), b"aa")
    [b'aa', b'a', b'b']
    """
    joined: list[Any] = []
    at = 0
    while at < len(parts):
        is_pair = tuple(parts[at : at + 2]) == pair
        joined.append(new if is_pair else parts[at])
        at += 1 + is_pair
    return joined


@twinned
def learn_merges(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """The first ``number`` merges of words with their counts; fewer if no pair occurs twice.

    A merge changes only a few words: an index lists the words of each pair, and the counts are
    corrected there.  A heap has the most frequent pair on top.  A count in it may be out of date,
    but only too large: it is compared with the current one when it comes up.
    """
    pieces = [[BYTES[value] for value in word] for word in words]
    weights = list(words.values())
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = {}  # the words that contain a pair, or once did

    def count(at: int, sign: int) -> None:
        for pair in pairwise(pieces[at]):
            counts[pair] += sign * weights[at]
            where.setdefault(pair, set()).add(at)

    for at in range(len(pieces)):
        count(at, +1)
    heap = [(-counts[pair], pair) for pair in counts]
    heapq.heapify(heap)
    tokens, merges = set(BYTES), list[Pair]()
    while heap and len(merges) < number:
        negative, best = heapq.heappop(heap)
        token = best[0] + best[1]
        if -negative != counts[best]:
            heapq.heappush(heap, (-counts[best], best))
        elif counts[best] < 2:
            break
        elif len(token) <= LONGEST and token not in tokens:
            new = set()
            for at in where.pop(best):
                count(at, -1)
                pieces[at] = join(pieces[at], best, token)
                count(at, +1)
                new |= {pair for pair in pairwise(pieces[at]) if token in pair}
            for pair in new:
                heapq.heappush(heap, (-counts[pair], pair))
            merges.append(best)
            tokens.add(token)
    return merges


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


# --- encoding ------------------------------------------------------------------------------------


class MergeTable:
    """Merges as numbers of tokens: the 256 bytes, then the tokens that are made.

    ``tokens`` are bytes, by number.  pairs (M, 2) and result (M,) are in the order of ranks.

    ``ranks`` maps a pair to its rank and its result.  The twin uses sorted arrays: the pairs with
    left token n are first[n] to first[n + 1]; right (M,) and rank (M,) are in this order.

    ``whole`` has words that are a token but that merges do not make whole, and their numbers.
    """

    def __init__(self, tokens: list[bytes], pairs: Iterable[Sequence[int]], results: Sequence[int]):
        """ValueError if two of the pairs are the same."""
        self.tokens, self.whole = tokens, dict[bytes, list[int]]()
        self.pairs = np.fromiter(chain.from_iterable(pairs), np.int32).reshape(-1, 2)
        self.result = np.array(results, np.int32)
        keys = self.pairs[:, 0].astype(np.int64) * len(tokens) + self.pairs[:, 1]
        order = np.argsort(keys, kind="stable")
        self.right, self.rank = self.pairs[order, 1], order.astype(np.int32)
        firsts = np.arange(len(tokens) + 1, dtype=np.int64) * len(tokens)
        self.first = np.searchsorted(keys[order], firsts).astype(np.int32)
        again = order[1:][np.diff(keys[order]) == 0]
        if len(again):
            rank = int(again.min())
            a, b = (short(tokens[number]) for number in self.pairs[rank])
            raise ValueError(f"merge {rank + 1}: {a} and {b} are merged already")

    @cached_property
    def ranks(self) -> dict[tuple[int, int], tuple[int, int]]:
        """The rank and the result of each pair; the twin does not need them."""
        merges = zip(self.pairs.tolist(), self.result.tolist(), strict=True)
        return {(a, b): (rank, c) for rank, ((a, b), c) in enumerate(merges)}


def merge(word: bytes, table: MergeTable) -> list[int]:
    """The numbers of a word's tokens: the pair of the lowest rank is always merged next.

    It takes n log n steps.  A heap has the places where a pair can be merged, and each place knows
    its neighbours.  Heap entries that a merge has made invalid are skipped.
    """
    numbers: list[int | None] = list(word)
    before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))
    heap: list[tuple[int, int]] = []

    def pair_at(at: int) -> tuple[int, int] | None:
        """The rank and the result of the pair that begins at a place."""
        if at < 0 or after[at] >= len(word):
            return None
        return table.ranks.get((numbers[at], numbers[after[at]]))  # type: ignore[arg-type]

    def push(at: int) -> None:
        if (pair := pair_at(at)) is not None:
            heapq.heappush(heap, (pair[0], at))

    for at in range(len(word)):
        push(at)
    while heap:
        rank, at = heapq.heappop(heap)
        pair = pair_at(at)
        if numbers[at] is None or pair is None or pair[0] != rank:
            continue
        gone = after[at]
        numbers[at], numbers[gone] = pair[1], None
        after[at] = after[gone]
        if after[at] < len(word):
            before[after[at]] = at
        push(before[at])
        push(at)
    return [number for number in numbers if number is not None]


@twinned
def _encode_words(data: bytes, ends: NDArray[np.int64], table: MergeTable) -> NDArray[np.int32]:
    """The numbers of the tokens of words, (T,): word w is data[ends[w - 1] : ends[w]].

    Each different word is merged once.
    """
    merged = dict(table.whole)
    numbers: list[int] = []
    for start, end in pairwise([0, *ends.tolist()]):
        word = data[start:end]
        if word not in merged:
            merged[word] = merge(word, table)
        numbers += merged[word]
    return np.array(numbers, np.int32)


class BytePairs(Vocabulary):
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
    ):
        """``merges`` in the order of their ranks.

        ids: of the 256 bytes, the merged pairs and the specials, in this order; None: 0, 1, 2 and
        so on.  A byte whose id is -1 is not in the vocabulary, and is left out of what is encoded.
        Two merges may make the same token.  pattern: one of PATTERNS, which defines words.
        whole: a word that is a token is not merged, even if merges would not make it (Llama 3).
        bos, eos: the specials that open and close texts, if they are among them.
        add_bos: ``encode`` puts BOS before a text, as Llama 3 has learned it.

        ValueError if these do not fit together.
        """
        if pattern not in PATTERNS:
            raise ValueError(f"pattern: expected {' or '.join(PATTERNS)}, found {short(pattern)}")
        self.specials = check_texts(list(specials), "specials")
        self.pattern, self.whole = pattern, whole
        self._table = merges if isinstance(merges, MergeTable) else _numbered(merges)
        if whole:
            self._table.whole = self._not_merged(self._table.tokens)
        numbers = {token: number for number, token in enumerate(self._table.tokens)}
        for special in self.specials:
            if not special or special.encode() in numbers:
                raise ValueError(f"specials: expected distinct new tokens, found {short(special)}")
            numbers[special.encode()] = len(numbers)
        self._numbers = numbers
        self._lengths = np.fromiter(map(len, numbers), np.int64)
        self._ids = np.arange(len(numbers), dtype=np.int32)
        if ids is not None:
            self._ids = np.array(_checked_ids(ids, len(numbers)), np.int32)
        self._missing = bytes(np.flatnonzero(self._ids < 0).tolist())
        tokens, in_order = list(numbers), np.argsort(self._ids)[len(self._missing) :]
        self.tokens = [tokens[number] for number in in_order.tolist()]
        self._special = SpecialTokens({text: self.id_of(text.encode()) for text in self.specials})
        self.bos, self.eos = self._special.ids.get(bos), self._special.ids.get(eos)
        if add_bos and self.bos is None:
            raise ValueError(f"add_bos: expected {short(bos)} among the specials, found none")
        self.add_bos = add_bos
        self.line_end = None if self._ids[ord("\n")] < 0 else self.id_of(b"\n")

    @property
    def merges(self) -> list[Pair]:
        """The merges in the order of their ranks."""
        tokens = self._table.tokens
        return [(tokens[left], tokens[right]) for left, right in self._table.pairs.tolist()]

    def _not_merged(self, tokens: list[bytes]) -> dict[bytes, list[int]]:
        """The tokens that merges do not make, if they are words, and their numbers."""
        ends = np.cumsum(list(map(len, tokens)))
        numbers = _encode_words(b"".join(tokens), ends, self._table)
        reached = np.cumsum(np.array(list(map(len, tokens)))[numbers])
        counts = np.diff(np.searchsorted(reached, ends, side="right"), prepend=0)
        return {tokens[number]: [number] for number in np.flatnonzero(counts > 1).tolist()}

    def id_of(self, token: bytes) -> int:
        """The id of a token; KeyError if there is no such token."""
        id = int(self._ids[self._numbers[token]])
        if id < 0:
            raise KeyError(token)
        return id

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,).

        InputError, with ``name``, line and column, for a lone surrogate, which UTF-8 cannot hold.
        """
        return self.opened(self.encode_known(text, name))

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, without BOS."""
        return self.encode_each([text], [name])[0]

    def encode_ordinary(self, text: str) -> NDArray[np.int32]:
        """Like :meth:`encode_known`, but the text of a special token is split like any other."""
        check_encodable(text, "text")
        return self._encode([text])[0]

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts, without BOS; a word in several is merged once."""
        special, cut = self._special.ids, [self._special.cut(text) for text in texts]
        ordinary = [part for parts in cut for part in parts if part not in special]
        try:
            encoded = iter(self._encode(ordinary))
        except UnicodeEncodeError:
            for text, name in zip(texts, names, strict=True):
                check_encodable(text, name)
            raise
        ids = []
        for parts in cut:
            pieces = [
                np.array([special[part]], np.int32) if part in special else next(encoded)
                for part in parts
            ]
            ids.append(pieces[0] if len(pieces) == 1 else np.concatenate([_NONE, *pieces]))
        return ids

    def _encode(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts without special tokens."""
        encode = _encode_words.__wrapped__ if self._table.whole else _encode_words  # type: ignore[attr-defined]
        if len(texts) == 1:  # there are no places to find
            return [self._ids[encode(*self._words(texts[0]), self._table)]]
        data, ends = zip(*map(self._words, texts), strict=True) if texts else ((), ())
        starts = np.cumsum([0, *map(len, data)])
        shifted = [each + start for each, start in zip(ends, starts, strict=False)]
        joined = np.concatenate([np.zeros(0, np.int64), *shifted])
        numbers = encode(b"".join(data), joined, self._table)
        ids, reached = self._ids[numbers], np.cumsum(self._lengths[numbers])  # in bytes
        cuts = np.searchsorted(
            reached, starts, side="right"
        )  # no token reaches across a text's end
        return [ids[start:end] for start, end in pairwise(cuts.tolist())]

    def _words(self, text: str) -> tuple[bytes, NDArray[np.int64]]:
        """The bytes of a text that the vocabulary has, and the ends of its words."""
        data = text.encode()
        ends = word_ends(text) if self.pattern == "gpt-2" else _ends_by(text, self.pattern)
        if self._missing:
            lost = np.flatnonzero(self._ids[np.frombuffer(data, np.uint8)] < 0)
            ends = ends - np.searchsorted(lost, ends)
            ends = ends[np.diff(ends, prepend=0) > 0]  # no word is empty
        return data.translate(None, self._missing), ends

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return b"".join([self.token(id) for id in ids]).decode("utf-8", "replace")

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids`` in pieces; a character is held back until it is complete."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            if piece := decoder.decode(self.token(id)):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def split(self, text: str) -> list[str]:
        """The tokens of ``text``, as ``show`` writes them: they may be parts of characters."""
        return [self.show(id) for id in self.encode(text)]

    def show(self, id: int) -> str:
        """A token as a label of a plot; bytes of a part of a character as ``\\xe2``."""
        return visible(self.token(id).decode("utf-8", "backslashreplace"))

    def to_dict(self) -> dict:
        """The JSON form: the merges as numbers of tokens, the 256 bytes first.

        Where a merge takes a token that a later one makes, the numbers of all results stand in
        "results".
        """
        pairs, results = self._table.pairs, self._table.result
        values: dict[str, Any] = {"unit": self.unit, "merges": pairs.tolist()}
        values["specials"] = self.specials
        before = np.maximum.accumulate(np.concatenate([[len(BYTES) - 1], results]))[:-1]
        if (pairs.max(axis=1) > before).any():
            values["results"] = results.tolist()
        if (self._ids != np.arange(len(self._ids))).any():
            values["ids"] = self._ids.tolist()
        options: dict[str, Any] = {
            name: getattr(self, name) for name in ("pattern", "whole", "add_bos")
        }
        for name, id in (("bos", self.bos), ("eos", self.eos)):
            if id is not None:
                options[name] = self.tokens[id].decode()
        defaults = _options()
        return values | {name: value for name, value in options.items() if value != defaults[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BytePairs":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        merges: Any = values.get("merges")
        specials = check_texts(values.get("specials"), "specials")
        if not _are_pairs(merges):
            raise ValueError('expected "merges": a list of pairs of numbers')
        results = values.get("results")
        table = _in_order(merges) if results is None else _numbered(_pairs(merges, results))
        defaults = _options()
        options = {name: values[name] for name in defaults if name in values}
        for name, value in options.items():
            if type(value) is not type(defaults[name]):
                kind = "true or false" if type(defaults[name]) is bool else "a text"
                raise ValueError(f'expected "{name}": {kind}, found {short(value)}')
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
        raise ValueError('expected "results": a number for each merge')
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
            raise ValueError(f"merge {waiting[0] + 1}: expected tokens that merges make")
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
        raise ValueError(f"merge {rank + 1}: expected a token of at most {LONGEST} bytes")
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
        raise ValueError('expected "ids": a list of numbers')
    missing = ids[: len(BYTES)].count(-1)
    if len(ids) != count or sorted(ids)[missing:] != list(range(count - missing)):
        raise ValueError(f'expected "ids": each number from 0 to {count - 1 - missing} once')
    return ids
