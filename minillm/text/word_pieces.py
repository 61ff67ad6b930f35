"""Pieces of words as a vocabulary: learned from large texts, encoded with offsets, and its JSON.

Training has the results of :mod:`minillm.text.wordpiece` with less work.  Each merge updates only a
few words: an index lists the words of each pair.  Unlike the count of a pair, its gain may rise
when other pairs are merged.  So all gains are computed again, as arrays.

>>> from minillm.text import wordpiece
>>> words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
>>> learn_pieces(words, 5) == wordpiece.learn_pieces(words, 5)
True
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.text.bpe import join
from minillm.text.vocabulary import SpecialTokens, Vocabulary, check_texts
from minillm.text.wordpiece import (
    LEAST,
    LONGEST,
    PREFIX,
    UNKNOWN,
    CharacterTable,
    basic_tokens,
    gain,
    glue,
    neighbours,
    spell,
    split_word,
)
from minillm.text.words import blocks
from minillm.unicode import check_encodable

PAD, CLS, SEP, MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"
SPECIALS = (PAD, UNKNOWN, CLS, SEP, MASK)
_REMEMBERED = 1 << 16  # runs without white space
CLOSING = frozenset(".,?!")  # written without a space before them
RAREST = 1e-6  # a character with a smaller share of a text has no piece
LEAST_SIZE = len(SPECIALS) + 2

# A text may be cut at Unicode's white space, without the control characters, which are removed.
_WHITE = "\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITE_SPACE, _RUN = re.compile(f"[{_WHITE}]"), re.compile(f"[^{_WHITE}]+")
_WORD = re.compile(r"\S+")


# --- training ------------------------------------------------------------------------------------


def alphabet(words: Mapping[str, int], most: int) -> list[str]:
    """The characters of words as pieces, in their order: at most ``most``, the most frequent.

    A character has two pieces: one for the beginning of a word and one for the rest.  Characters
    rarer than ``RAREST`` have none: a large text has thousands of them, and each would need an id.

    >>> alphabet({"ab": 3, "!": 2, "c": 1}, 5)
    ['!', '##a', '##b', 'a', 'b']
    """
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    least = RAREST * counts.total()
    within = {character for word in words if len(word) > 1 for character in word}
    pieces: list[str] = []
    for character in sorted(counts, key=lambda character: (-counts[character], character)):
        if counts[character] < least or len(pieces) >= most:
            break
        pieces += [character, PREFIX + character] if character in within else [character]
    return sorted(pieces[:most])


def count_words(texts: Iterable[str], tokenizer: "WordPieces") -> Counter[str]:
    """The count of each word in texts, without special tokens and words that are too long."""
    words: Counter[str] = Counter()
    for text in texts:
        for part in tokenizer.cut(text):
            if part not in tokenizer.specials:
                for block in blocks(part, _WHITE_SPACE):
                    every = basic_tokens(block, tokenizer.table)
                    words.update(word for word in every if len(word) <= LONGEST)
    return words


def train(texts: Iterable[str], size: int, lower_case: bool = True) -> "WordPieces":
    """Learn a tokenizer of ``size`` tokens from texts, which are read once.

    Its tokens are the special ones, the characters, and the pieces in the order of learning.  There
    are fewer if no other pair gains anything.  ValueError for a size below ``LEAST_SIZE``,
    InputError for a lone surrogate.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"size: expected at least {LEAST_SIZE}, found {size}")
    words = count_words(texts, WordPieces(SPECIALS, lower_case))
    room = size - len(SPECIALS)
    characters = alphabet(words, room)
    covered = {word: words[word] for word in sorted(words) if set(spell(word)) <= set(characters)}
    learned = learn_pieces(covered, room - len(characters))
    return WordPieces([*SPECIALS, *characters, *learned], lower_case)


def learn_pieces(words: Mapping[str, int], number: int) -> list[str]:
    """See :func:`minillm.text.wordpiece.learn_pieces`."""
    table = PairTable(words)
    learned: list[str] = []
    while len(learned) < number:
        row = table.best()
        if row is None:
            break
        if (piece := table.merge(row)) is not None:
            learned.append(piece)
    return learned


class PairTable:
    """The pieces of words, as numbers, and the words that contain each pair of them.

    left, right, count (P,): of each pair, in the order of first occurrence.  pieces (N,): the
    count of each piece in the words.
    """

    def __init__(self, words: Mapping[str, int]):
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._texts = [[self._number(piece) for piece in spell(word)] for word in words]
        self._weights = list(words.values())
        self._rows: dict[tuple[int, int], int] = {}
        self._where: list[set[int]] = []  # the words that contain a pair, or once did
        self.left, self.right = np.zeros(1024, np.int32), np.zeros(1024, np.int32)
        self.count, self.pieces = np.zeros(1024), np.zeros(len(self.names))
        for at, text in enumerate(self._texts):
            for piece in text:
                self.pieces[piece] += self._weights[at]
            self._add(at, self._weights[at])

    def _number(self, piece: str) -> int:
        if piece not in self._numbers:
            self._numbers[piece] = len(self.names)
            self.names.append(piece)
        return self._numbers[piece]

    def _row(self, pair: tuple[int, int]) -> int:
        """The row of a pair; a new one gets the next."""
        row = self._rows.setdefault(pair, len(self._rows))
        if row == len(self._where):
            self._where.append(set())
            if row == len(self.count):
                self.left, self.right = np.tile(self.left, 2), np.tile(self.right, 2)
                self.count = np.append(self.count, np.zeros(row))
            self.left[row], self.right[row] = pair
        return row

    def _add(self, at: int, weight: int) -> None:
        """Add a weight, which may be negative, to the counts of the pairs of a word."""
        for pair in neighbours(self._texts[at]):
            row = self._row(pair)
            self.count[row] += weight
            self._where[row].add(at)

    def best(self) -> int | None:
        """The row of the pair that gains the most; None if none gains anything."""
        rows = np.flatnonzero(self.count >= LEAST)
        left, right = self.left[rows], self.right[rows]
        left_count, right_count, total = self.pieces[left], self.pieces[right], self.pieces.sum()
        gains = gain(self.count[rows], left_count, right_count, total, left == right)
        if not len(rows) or gains.max() <= 0:
            return None
        names, ties = self.names, rows[gains == gains.max()].tolist()
        return min(ties, key=lambda row: (names[self.left[row]], names[self.right[row]]))

    def merge(self, row: int) -> str | None:
        """Make one piece of a pair wherever it occurs; None if the piece exists already."""
        pair = int(self.left[row]), int(self.right[row])
        piece = glue(self.names[pair[0]], self.names[pair[1]])
        if piece in self._numbers:
            self.count[row] = -np.inf
            return None
        new = self._number(piece)
        self.pieces = np.append(self.pieces, 0)
        for at in self._where[row].copy():
            self._add(at, -self._weights[at])
            self._texts[at] = join(self._texts[at], pair, new)
            self._add(at, self._weights[at])
            made = self._texts[at].count(new) * self._weights[at]
            for number, more in ((pair[0], -made), (pair[1], -made), (new, made)):
                self.pieces[number] += more
        return piece


# --- encoding ------------------------------------------------------------------------------------


class WordPieces(Vocabulary):
    """A vocabulary of pieces of words, and of special tokens.

    >>> tokenizer = WordPieces([*SPECIALS, "sea", "##shell", "##s", "é"])
    >>> tokenizer.encode("Seashells [MASK]")
    array([5, 6, 7, 4], dtype=int32)
    >>> ids, offsets = tokenizer.encode_with_offsets(" Séas [MASK]")
    >>> ids.tolist(), offsets.tolist()
    ([5, 7, 4], [[1, 4], [4, 5], [6, 12]])

    ``tokens`` are strings, by id.  The text of a special token, in exactly that case, always
    becomes that token.  [CLS] opens texts and [SEP] closes them for a model that expects them:
    ``encode`` adds neither.  White space is not kept, so there is no token for a line's end.
    """

    unit, stored = "wordpiece", {"tokens": list, "lower_case": bool}
    unknown: int

    def __init__(self, tokens: Sequence[str], lower_case: bool = True):
        """``tokens`` by id; [UNK] is among them.  In lower case, there are no accents, either.

        ValueError for tokens that are no vocabulary.
        """
        self.tokens, self.lower_case = check_texts(list(tokens), "tokens"), lower_case
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        if UNKNOWN not in self._ids:
            raise ValueError(f"tokens: expected {UNKNOWN} among them, found {short(self.tokens)}")
        if len(self._ids) < len(self.tokens) or "" in self._ids:
            raise ValueError(
                f"tokens: expected distinct texts that are not empty, found {short(self.tokens)}"
            )
        special = {token: self._ids[token] for token in SPECIALS if token in self._ids}
        self.specials, self._special = list(special), SpecialTokens(special)
        self._pieces = self._ids.keys() - special.keys()
        self.table = CharacterTable(lower_case)
        self._remembered = lru_cache(_REMEMBERED)(self._spans_of_run)
        self.unknown = self._ids[UNKNOWN]
        self.padding, self.mask = special.get(PAD), special.get(MASK)
        self.bos, self.eos = special.get(CLS), special.get(SEP)

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens."""
        return list(self._special.ids.values())

    def cut(self, text: str, name: str = "text") -> list[str]:
        """The text, cut before and after each special token."""
        check_encodable(text, name)
        return self._special.cut(text)

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the pieces of ``text``, (T,); a word that they do not make is [UNK].

        InputError, with ``name``, line and column, for a lone surrogate.
        """
        check_encodable(text, name)
        parts = [self.encode_with_offsets(block)[0] for block in blocks(text, _WHITE_SPACE)]
        return np.concatenate([np.zeros(0, np.int32), *parts])

    def encode_with_offsets(
        self, text: str, name: str = "text"
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of the pieces of ``text``, (T,), and their places in it, (T, 2).

        ``text[a:b]``, for the offsets a and b of a piece, is the piece in its original case and
        with its accents.  Pieces of one decomposed character have the same offsets.
        """
        spans, starts, start = [np.zeros((0, 3), np.int64)], [0], 0
        for part in self.cut(text, name):
            if part in self._special.ids:
                spans.append(np.array([[self._special.ids[part], 0, len(part)]]))
                starts.append(start)
            else:
                for run in _RUN.finditer(part):
                    # A text without white space may be one long run.
                    find = self._remembered if len(run[0]) <= LONGEST else self._spans_of_run
                    spans.append(find(run[0]))
                    starts.append(start + run.start())
            start += len(part)
        rows = np.concatenate(spans)
        offsets = rows[:, 1:] + np.repeat(starts, list(map(len, spans)))[:, None]
        return rows[:, 0].astype(np.int32), offsets

    def _spans_of_run(self, run: str) -> NDArray[np.int64]:
        """The id of each piece of a run, and its beginning and end in the run, (T, 3)."""
        changed = [self.table[ord(character)] for character in run]
        origin = [at for at, characters in enumerate(changed) for _ in characters]
        spans = []
        for word in _WORD.finditer("".join(changed)):
            start = word.start()
            for piece in split_word(word[0], self._pieces):
                known = piece in self._pieces
                end = start + len(piece.removeprefix(PREFIX)) if known else word.end()
                spans.append((self._ids[piece], origin[start], origin[end - 1] + 1))
                start = end
        return np.array(spans, np.int64).reshape(-1, 3)

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, but InputError, with ``name``, for a word that becomes [UNK]."""
        ids = self.encode(text, name)
        check_known(self, ids, text, name)
        return ids

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a piece at a time, with single spaces.

        Each unknown token is replaced by the next of ``unknown_words``, if there is one.
        """
        names = iter(unknown_words)
        before = ""
        for number in ids:
            token = self.token(number)
            if number == self.unknown:
                token = next(names, UNKNOWN)
            if before and token.startswith(PREFIX) and number != self.unknown:
                yield token.removeprefix(PREFIX)
            elif not before or token in CLOSING:
                yield token
            else:
                yield " " + token
            before = token

    def split(self, text: str) -> list[str]:
        """The pieces of ``text``; a word that they do not make stays whole."""
        ids, offsets = self.encode_with_offsets(text)
        return [
            text[start:end] if number == self.unknown else self.token(number)
            for number, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True)
        ]


def check_known(tokenizer: Any, ids: NDArray[np.int32], text: str, name: str) -> None:
    """InputError, with ``name``, if a word of ``text`` is among its ids as [UNK]."""
    if tokenizer.unknown in ids:
        for number, (start, end) in zip(*tokenizer.encode_with_offsets(text, name), strict=True):
            if number == tokenizer.unknown and text[start:end] != UNKNOWN:
                raise InputError(
                    f"the word {short(text[start:end])} cannot be made of the "
                    f"{len(tokenizer):,} pieces that the model knows",
                    name,
                )
