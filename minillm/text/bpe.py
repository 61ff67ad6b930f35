r"""Byte-pair encoding: tokens between bytes and words, which are learned from a text.

Begin with the bytes of each word.  Find the pair of neighbours that stands most often in the
text, and make it one token; then again, as often as one likes.  Frequent words end up whole,
rare ones in pieces, and no text is unknown: in the worst case it is its bytes.

By hand, on four words, with a dot between two tokens and ␣ for the space:

    s.h.e   ␣.s.e.l.l.s   ␣.s.e.a   ␣.s.h.e.l.l.s
    s.h.e   ␣s.e.l.l.s    ␣s.e.a    ␣s.h.e.l.l.s      "␣ s" stands three times
    s.h.e   ␣se.l.l.s     ␣se.a     ␣s.h.e.l.l.s      "␣s e", "h e", "e l", "l l" and "l s" twice
    s.he    ␣se.l.l.s     ␣se.a     ␣s.he.l.l.s       "h e", "l l" and "l s" twice
    s.he    ␣se.ll.s      ␣se.a     ␣s.he.ll.s
    s.he    ␣se.lls       ␣se.a     ␣s.he.lls         no pair stands twice any more

>>> words = {b"she": 1, b" sells": 1, b" sea": 1, b" shells": 1}
>>> merges = learn_merges(words, 5)
>>> merges
[(b' ', b's'), (b' s', b'e'), (b'h', b'e'), (b'l', b'l'), (b'll', b's')]

To encode a word, replay the merges in the order in which they were learned, which is their rank:

>>> BytePairs(merges).split(" seashells")
['␣se', 'a', 's', 'he', 'lls']

What a word is says GPT-2's pattern: a run of letters, of digits or of anything else, with the
space before it; no merge crosses it, so that "dog." and "dog!" do not become tokens.

Sources: Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
units"; on bytes, and with the pattern: Radford et al. (2019), "Language models are unsupervised
multitask learners" (GPT-2).  Two things are pinned down here that they leave open.  Of equally
frequent pairs, the one is merged that comes first in the order of its left token's bytes, then
of its right one's.  And a pair whose bytes are a token already is left alone ("a bc" where
"ab c" was merged), so that each merge makes one new token.
"""

import codecs
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.errors import short
from minillm.text.vocabulary import check_texts, surrogate, visible

Pair = tuple[bytes, bytes]

END_OF_TEXT = "<|endoftext|>"
LONGEST = 1024  # bytes of a token

BYTES = [bytes([value]) for value in range(256)]


# --- words ---------------------------------------------------------------------------------------

# GPT-2's: an English ending; letters, digits or others, each with a space before them; white space,
# of which the last one is left to the word after it.
PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)


@cache
def _pattern() -> Any:
    import regex  # not re, which has no \p{L}; imported late, for it takes its time

    return regex.compile(PATTERN)


@twinned
def word_ends(text: str) -> NDArray[np.int64]:
    """Where the words of a text end, (W,), counted in bytes of UTF-8; they leave nothing out.

    >>> word_ends("Don't  say été!")
    array([ 3,  5,  6, 10, 16, 17])
    """
    lengths = [len(word.encode()) for word in _pattern().findall(text)]
    return np.cumsum(lengths, dtype=np.int64)


def split_words(text: str) -> list[bytes]:
    """The words of a text, each as its bytes.

    >>> split_words("Don't  say été!")[:4]
    [b'Don', b"'t", b' ', b' say']
    """
    data, ends = text.encode(), word_ends(text)
    return [data[start:end] for start, end in pairwise([0, *ends.tolist()])]


# --- training ------------------------------------------------------------------------------------


def learn_merges_naively(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """The definition of :func:`learn_merges`, which counts all pairs again for each merge."""
    pieces = {word: [bytes([value]) for value in word] for word in words}
    tokens, merges = set(BYTES), list[Pair]()
    while len(merges) < number:
        counts: Counter[Pair] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                counts[pair] += words[word]
        allowed = [pair for pair in counts if counts[pair] >= 2 and _may_merge(pair, tokens)]
        if not allowed:
            break
        best = min(allowed, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        tokens.add(best[0] + best[1])
        pieces = {word: join(parts, best) for word, parts in pieces.items()}
    return merges


def join(parts: Sequence[bytes], pair: Pair) -> list[bytes]:
    """The tokens of a word after one merge, made from left to right.

    >>> join([b"a", b"a", b"a", b"b"], (b"a", b"a"))
    [b'aa', b'a', b'b']
    """
    joined: list[bytes] = []
    at = 0
    while at < len(parts):
        width = 2 if tuple(parts[at : at + 2]) == pair else 1
        joined.append(b"".join(parts[at : at + width]))
        at += width
    return joined


def _may_merge(pair: Pair, tokens: set[bytes]) -> bool:
    token = pair[0] + pair[1]
    return len(token) <= LONGEST and token not in tokens


@twinned
def learn_merges(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """The first ``number`` merges of words with their counts; fewer, if no pair stands twice.

    As :func:`learn_merges_naively`, but a merge changes a few words only: an index says where a
    pair stands, and the counts are corrected there.  A heap has the most frequent pair on top.
    Counts there may be out of date, but only too large: what comes up is looked at again.
    """
    pieces = [[BYTES[value] for value in word] for word in words]
    weights = list(words.values())
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = {}  # the words in which a pair stands, or once stood

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
        if -negative != counts[best]:
            heapq.heappush(heap, (-counts[best], best))
        elif counts[best] < 2:
            break
        elif _may_merge(best, tokens):
            token, new = best[0] + best[1], set()
            for at in where.pop(best):
                count(at, -1)
                pieces[at] = join(pieces[at], best)
                count(at, +1)
                new |= {pair for pair in pairwise(pieces[at]) if token in pair}
            for pair in new:
                heapq.heappush(heap, (-counts[pair], pair))
            merges.append(best)
            tokens.add(token)
    return merges


def train(texts: Iterable[str], size: int, specials: Sequence[str] = (END_OF_TEXT,)) -> "BytePairs":
    """The tokenizer of ``size`` tokens that texts teach, each of which is read once.

    256 bytes, then what is merged, then the specials, whose text is not learned from.  Fewer
    tokens, if no pair of the texts stands twice any more.  ValueError for a size below that of
    bytes and specials, InputError for a lone surrogate.
    """
    least = len(BYTES) + len(specials)
    if size < least:
        raise ValueError(f"size: expected at least {least}, found {size}")
    words: Counter[bytes] = Counter()
    empty = BytePairs([], specials)
    for text in texts:
        try:
            for part in empty.parts(text):
                if part not in specials:
                    words.update(split_words(part))
        except UnicodeEncodeError:
            raise surrogate(text, "text") from None
    return BytePairs(learn_merges(words, size - least), specials)


# --- encoding ------------------------------------------------------------------------------------


class MergeTable:
    """Merges as numbers: those of the tokens left and right, and of what they become.

    ``ranks`` maps a pair to its rank and to what it becomes.  For the twin the same in arrays,
    sorted: the pairs whose left token is n are those from first[n] to first[n + 1]; right (M,)
    and rank (M,) belong to them, result (M,) to the ranks.
    """

    def __init__(self, merges: Sequence[tuple[int, int, int]], tokens: int):
        self.ranks = {(a, b): (rank, c) for rank, (a, b, c) in enumerate(merges)}
        left, right, self.result = np.array(merges, np.int32).reshape(-1, 3).T.copy()
        order = np.lexsort((right, left))
        self.right, self.rank = right[order], order.astype(np.int32)
        self.first = np.searchsorted(left[order], np.arange(tokens + 1)).astype(np.int32)


def merge_naively(word: bytes, table: MergeTable) -> list[int]:
    """The definition of :func:`merge`: of the pairs that stand there, the lowest rank is next."""
    numbers = list(word)
    while True:
        pairs = enumerate(pairwise(numbers))
        found = [(*table.ranks[pair], at) for at, pair in pairs if pair in table.ranks]
        if not found:
            return numbers
        _, result, at = min(found, key=lambda entry: (entry[0], entry[2]))
        numbers[at : at + 2] = [result]


def merge(word: bytes, table: MergeTable) -> list[int]:
    """The numbers of a word's tokens.

    As :func:`merge_naively`, in n log n steps: a heap of the places where a pair can be merged,
    and of each place those before and after it.  What a merge has changed meanwhile is skipped.
    """
    numbers: list[int | None] = list(word)
    before, after = list(range(-1, len(word) - 1)), list(range(1, len(word) + 1))
    heap: list[tuple[int, int]] = []

    def pair_at(at: int) -> tuple[int, int] | None:
        """The rank of the pair that begins at a place, and what it becomes."""
        if at < 0 or after[at] >= len(word):
            return None
        return table.ranks.get((numbers[at], numbers[after[at]]))  # type: ignore[arg-type]

    def push(at: int) -> None:
        if (found := pair_at(at)) is not None:
            heapq.heappush(heap, (found[0], at))

    for at in range(len(word)):
        push(at)
    while heap:
        rank, at = heapq.heappop(heap)
        found = pair_at(at)
        if numbers[at] is None or found is None or found[0] != rank:
            continue
        gone = after[at]
        numbers[at], numbers[gone] = found[1], None
        after[at] = after[gone]
        if after[at] < len(word):
            before[after[at]] = at
        push(before[at])
        push(at)
    return [number for number in numbers if number is not None]


@twinned
def encode_words(data: bytes, ends: NDArray[np.int64], table: MergeTable) -> NDArray[np.int32]:
    """The numbers of the tokens of words, (T,): word w is data[ends[w - 1] : ends[w]].

    Most words are frequent ones: each is merged once.
    """
    known: dict[bytes, list[int]] = {}
    numbers: list[int] = []
    for start, end in pairwise([0, *ends.tolist()]):
        word = data[start:end]
        if word not in known:
            known[word] = merge(word, table)
        numbers += known[word]
    return np.array(numbers, np.int32)


class BytePairs:
    """A vocabulary of bytes, of what was merged, and of special tokens.

    >>> tokenizer = train(["she sells sea shells"], 262)
    >>> ids = tokenizer.encode("she shells<|endoftext|>")
    >>> ids
    array([115, 258, 256, 258, 260, 261], dtype=int32)
    >>> tokenizer.decode(ids)
    'she shells<|endoftext|>'

    ``tokens`` are bytes, by id.  The text of a special token stands for it wherever it is met.
    ``<|endoftext|>``, if it is among them, opens and closes texts.
    """

    unit = "bpe"
    pretokenised = False
    unknown: int | None = None
    padding: int | None = None
    sentence_end: int | None = None  # a text is one sequence, across its lines

    def __init__(
        self,
        merges: Sequence[Pair],
        specials: Sequence[str] = (END_OF_TEXT,),
        ids: Sequence[int] | None = None,
    ):
        """``merges`` in the order of their ranks.

        ids: those of the 256 bytes, of what is merged and of the specials, in this order;
        None: 0, 1, 2 and so on.  A merge may make a token that another one made before.
        ValueError says what does not fit together.
        """
        self.merges, self.specials = list(merges), list(specials)
        numbers = {token: number for number, token in enumerate(BYTES)}
        self._table = MergeTable(_numbered(self.merges, numbers), len(numbers))
        for special in self.specials:
            if not special or special.encode() in numbers:
                raise ValueError(f"specials: expected distinct new tokens, found {short(special)}")
            numbers[special.encode()] = len(numbers)
        self._numbers = numbers
        self._lengths = np.array(list(map(len, numbers)))
        self._ids = None if ids is None else np.array(_checked_ids(ids, len(numbers)), np.int32)
        self.tokens = list(numbers)
        if self._ids is not None:
            self.tokens = [self.tokens[number] for number in np.argsort(self._ids)]
        self._special_ids = {text: self.id_of(text.encode()) for text in self.specials}
        longest_first = sorted(self.specials, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self.bos = self.eos = self._special_ids.get(END_OF_TEXT)
        self.line_end: int | None = self.id_of(b"\n")

    def __len__(self) -> int:
        return len(self.tokens)

    def id_of(self, token: bytes) -> int:
        """The id of a token; KeyError if there is no such token."""
        number = self._numbers[token]
        return number if self._ids is None else int(self._ids[number])

    def parts(self, text: str) -> list[str]:
        """The text cut before and after each special token."""
        if not any(special in text for special in self.specials):
            return [text]
        return [part for part in self._special.split(text) if part]

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,).

        InputError, with ``name``, line and column, at a lone surrogate, which UTF-8 has not.
        """
        try:
            found = [self._encode_part(part) for part in self.parts(text)]
        except UnicodeEncodeError:
            raise surrogate(text, name) from None
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.int32), *found])

    def _encode_part(self, part: str) -> NDArray[np.int32]:
        if part in self._special_ids:
            return np.array([self._special_ids[part]], np.int32)
        numbers = encode_words(part.encode(), word_ends(part), self._table)
        return numbers if self._ids is None else self._ids[numbers]

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of many short texts, as :meth:`encode`: a word of several is merged once.

        names: those of the texts, for errors.
        """
        special = [any(token in text for token in self.specials) for text in texts]
        try:
            data = [b"" if has else text.encode() for text, has in zip(texts, special, strict=True)]
        except UnicodeEncodeError:
            return [self.encode(text, name) for text, name in zip(texts, names, strict=True)]
        starts = np.cumsum([0, *map(len, data)])
        ends = [
            word_ends(text) + start
            for text, has, start in zip(texts, special, starts[:-1], strict=True)
            if not has
        ]
        joined = np.concatenate([np.zeros(0, np.int64), *ends])
        numbers = encode_words(b"".join(data), joined, self._table)
        ids = numbers if self._ids is None else self._ids[numbers]
        reached = np.cumsum(self._lengths[numbers])  # bytes: no token reaches across a text's end
        found = np.split(ids, np.searchsorted(reached, starts[1:-1], side="right"))
        return [
            self.encode(text, name) if has else own
            for text, name, has, own in zip(texts, names, special, found, strict=False)
        ]

    encode_known = encode

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return b"".join([self.tokens[id] for id in ids]).decode("utf-8", "replace")

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids`` in pieces; a character is held back until all its bytes are there."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            if piece := decoder.decode(self.tokens[id]):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def split(self, text: str) -> list[str]:
        """The tokens of ``text``, as ``show`` writes them: they may be parts of characters."""
        return [self.show(id) for id in self.encode(text)]

    def show(self, id: int) -> str:
        """A token as a label of a plot; bytes of a part of a character as ``\\xe2``."""
        return visible(self.tokens[id].decode("utf-8", "backslashreplace"))

    def to_dict(self) -> dict:
        """Its JSON form: the merges as numbers of tokens, the 256 bytes first."""
        merges = [[self._numbers[a], self._numbers[b]] for a, b in self.merges]
        values = {"unit": self.unit, "merges": merges, "specials": self.specials}
        return values if self._ids is None else {**values, "ids": self._ids.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BytePairs":
        """The tokenizer that ``to_dict`` described; ValueError says what is wrong with it."""
        merges, specials = values.get("merges"), check_texts(values.get("specials"), "specials")
        if not isinstance(merges, list) or not all(map(_is_pair, merges)):
            raise ValueError('expected "merges": a list of pairs of numbers')
        tokens, pairs = dict.fromkeys(BYTES), []
        spelled = list(tokens)
        for rank, (a, b) in enumerate(merges):
            if not (0 <= a < len(spelled) and 0 <= b < len(spelled)):
                raise ValueError(
                    f"merge {rank + 1}: expected two of the {len(spelled)} tokens before it, "
                    f"found {short(a)} and {short(b)}"
                )
            pairs.append((spelled[a], spelled[b]))
            token = _merged(rank, *pairs[-1])
            if token not in tokens:
                tokens[token] = None
                spelled.append(token)
        return cls(pairs, specials, values.get("ids"))


def _is_pair(merge: object) -> bool:
    return isinstance(merge, list) and [type(number) for number in merge] == [int, int]


def _merged(rank: int, left: bytes, right: bytes) -> bytes:
    if len(left) + len(right) > LONGEST:
        raise ValueError(f"merge {rank + 1}: expected a token of at most {LONGEST} bytes")
    return left + right


def _numbered(merges: Sequence[Pair], numbers: dict[bytes, int]) -> list[tuple[int, int, int]]:
    """The merges as numbers of tokens; what they make is added to ``numbers``."""
    found = {}
    for rank, pair in enumerate(merges):
        for token in pair:
            if token not in numbers:
                raise ValueError(f"merge {rank + 1}: no merge before it makes {short(token)}")
        if pair in found:
            raise ValueError(
                f"merge {rank + 1}: {short(pair[0])} and {short(pair[1])} are merged already"
            )
        token = _merged(rank, *pair)
        found[pair] = numbers[pair[0]], numbers[pair[1]], numbers.setdefault(token, len(numbers))
    return list(found.values())


def _checked_ids(ids: object, count: int) -> list[int]:
    if not isinstance(ids, list) or any(type(id) is not int for id in ids):
        raise ValueError('expected "ids": a list of numbers')
    if sorted(ids) != list(range(count)):
        raise ValueError(f'expected "ids": each number from 0 to {count - 1} once')
    return ids
