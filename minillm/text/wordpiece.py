"""WordPiece: words in the pieces that a vocabulary holds, the longest first.

A text is first cut into words, much like those of a dictionary:

>>> basic_tokens("Élodie's 2 cafés!")
['elodie', "'", 's', '2', 'cafes', '!']

Then each word is cut into pieces: the longest piece of the vocabulary that it begins with, then
the longest one that the rest begins with, and so on.  A piece that continues a word begins with ##:

>>> pieces = WordPieces([*SPECIALS, "un", "##a", "##aff", "##able", "aff", "sea"])
>>> pieces.split("Unaffable sea ?")
['un', '##aff', '##able', 'sea', '?']

Unlike with byte pairs, no merges are replayed: only the vocabulary is needed.  If no piece fits at
some place, the whole word becomes the unknown token, [UNK].

**The words** are those of BERT's basic tokenizer.  Control characters, and those for private use,
are removed; all other white space separates; each CJK ideograph and each punctuation mark is a word
of its own.  A vocabulary in lower case has no accents, either: a character is decomposed (Unicode's
NFD) and loses its nonspacing marks, so é becomes e.  Marks and punctuation are those of Unicode 8.0
(:mod:`minillm.unicode`).

**Training** begins with the characters, and repeatedly joins two neighbours to one piece, as for
byte pairs.  But the next pair is not the most frequent one.  It is the pair that raises the
likelihood of the text the most.  If each piece occurs with the probability count / N, whatever its
neighbours, then a place where a and b are neighbours has the probability

    p(a) p(b) = count(a) count(b) / N^2    as two pieces, and
    p(ab)     = count(ab) / N              as one,

and all count(ab) places together gain this log-likelihood:

    gain(ab) = count(ab) log(N count(ab) / (count(a) count(b)))

By hand, on five words with their counts, N = 113 characters:

    ##u ##g    20 log(113 x 20 / (36 x 20)) = 22.9
    p ##u      17 log(113 x 17 / (17 x 36)) = 19.4
    ##u ##n    16 log(113 x 16 / (36 x 16)) = 18.3
    h ##u      15 log(113 x 15 / (15 x 36)) = 17.2
    ##g ##s     5 log(113 x 5  / (20 x 5))  =  8.7

>>> words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
>>> learn_pieces(words, 3)
['##ug', '##un', 'hug']

Widely used trainers only approximate this.  Some take the most frequent pair, as for byte pairs,
and so merge pairs that are frequent only because their characters are.  Others take the largest
fraction count(ab) / (count(a) count(b)), which is the gain of a single place: above, ##g ##s would
come first.  Then rare pairs come before all others, unless a minimum count is tuned.  The gain
needs no such bound.  (benchmarks/wordpiece.md compares the three.)

Sources: Schuster and Nakajima (2012), "Japanese and Korean voice search", section 3; Devlin et al.
(2018), "BERT", and its tokenizer.  The paper takes the pair that increases the likelihood the most,
and leaves open how that is computed: here the counts of a and b are those before the merge.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.text.bpe import join
from minillm.text.vocabulary import SpecialTokens, Vocabulary, check_encodable, check_texts, flag
from minillm.text.words import blocks
from minillm.unicode import category

PAD, UNKNOWN, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PREFIX = "##"  # of a piece that is not the first of its word
LONGEST = 100  # characters of a word; a longer one is unknown
LEAST = 2  # occurrences of a pair that may become one piece
RAREST = 1e-6  # a character with a smaller share of a text has no piece
LEAST_SIZE = len(SPECIALS) + 2
REMEMBERED = 1 << 16  # words whose pieces are remembered


# --- words ---------------------------------------------------------------------------------------

# A text may be cut at Unicode's white space, without the control characters, which are removed.
_WHITE = "\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITE_SPACE, _RUN = re.compile(f"[{_WHITE}]"), re.compile(f"[^{_WHITE}]+")
_CONTROL_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85]")  # white space for Python, not for BERT
_WORD = re.compile(r"\S+")

_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def is_ideograph(character: str) -> bool:
    """Whether it is a CJK ideograph, by Unicode's blocks; kana and hangul are not."""
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def is_punctuation(character: str) -> bool:
    """Whether it is punctuation in Unicode, or an ASCII symbol: $ and ` are, € is not."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return category(character).startswith("P")


class CharacterTable(dict[int, str]):
    """The replacement of each character, for ``str.translate``; filled as characters occur.

    Letters remain, in lower case and without accents if the options say so.  A character that is a
    word of its own gets a space on both sides.
    """

    def __init__(self, lower_case: bool, strip_accents: bool, split_ideographs: bool):
        super().__init__()
        self._options = lower_case, strip_accents, split_ideographs

    def __missing__(self, code: int) -> str:
        self[code] = replacement = self._of(chr(code))
        return replacement

    def _of(self, character: str) -> str:
        lower_case, strip_accents, split_ideographs = self._options
        kind = category(character)
        if kind.startswith("Z") or character in "\t\n\r":
            return " "
        if kind in ("Cc", "Cf", "Co") or character == "\ufffd":
            return ""
        alone = split_ideographs and is_ideograph(character)
        if strip_accents and kind != "Cn":
            parts = unicodedata.normalize("NFD", character)
            character = "".join(part for part in parts if category(part) != "Mn")
        if lower_case:  # each by itself: a sigma at the end of a word is like any other
            character = "".join(part.lower() for part in character)
        return "".join(f" {c} " if alone or is_punctuation(c) else c for c in character)


def basic_tokens(text: str, table: CharacterTable | None = None) -> list[str]:
    """The words of a text, as in BERT's basic tokenizer; without a table, in lower case.

    >>> basic_tokens("naïve 東京 $5", CharacterTable(False, False, True))
    ['naïve', '東', '京', '$', '5']
    """
    return text.translate(CharacterTable(True, True, True) if table is None else table).split()


def _runs(text: str) -> list[str]:
    """The parts of a text between white space."""
    return _RUN.findall(text) if _CONTROL_SPACE.search(text) else text.split()


# --- training ------------------------------------------------------------------------------------


def spell(word: str) -> list[str]:
    """A word as pieces of one character.

    >>> spell("sea")
    ['s', '##e', '##a']
    """
    return [word[:1], *(PREFIX + character for character in word[1:])]


def glue(left: str, right: str) -> str:
    """The piece that two neighbours make."""
    return left + right.removeprefix(PREFIX)


def gain(pair: Any, left: Any, right: Any, total: Any) -> Any:
    """The gain of the log-likelihood of a text, in nats, if a pair becomes one piece.

    Counts of occurrences: of the pair, of its left and its right piece, and of all pieces in
    total.  Numbers, or arrays (P,).
    """
    return pair * np.log(pair * total / (left * right))


def learn_pieces(words: Mapping[str, int], number: int) -> list[str]:
    """Learn the first ``number`` pieces from words with their counts, beside their characters.

    There are fewer if no pair that occurs ``LEAST`` times gains anything.  Pairs of equal gain are
    ordered by their left pieces, then by their right ones.  A pair whose piece exists already is
    not merged.

    Each merge updates only a few words: an index lists the words of each pair.  Unlike the count of
    a pair, its gain may rise when other pairs are merged.  So all gains are computed again, as
    arrays.
    """
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
        for pair in pairwise(self._texts[at]):
            row = self._row(pair)
            self.count[row] += weight
            self._where[row].add(at)

    def best(self) -> int | None:
        """The row of the pair that gains the most; None if none gains anything."""
        rows = np.flatnonzero(self.count >= LEAST)
        left, right = self.left[rows], self.right[rows]
        gains = gain(self.count[rows], self.pieces[left], self.pieces[right], self.pieces.sum())
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


# --- encoding ------------------------------------------------------------------------------------


def _bytes(ids: list[int]) -> bytes:
    """Ids as bytes, because bytes are joined faster than lists."""
    return np.array(ids, np.int32).tobytes()


class _Memory(dict[str, Any]):
    """The recent results of a function of a short text."""

    def __init__(self, function: Any):
        super().__init__()
        self._function = function

    def __missing__(self, text: str) -> Any:
        result = self._function(text)
        if len(text) <= LONGEST:  # a text without white space may be one long run
            if len(self) >= REMEMBERED:
                self.clear()
            self[text] = result
        return result


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

    unit = "wordpiece"
    unknown: int

    def __init__(
        self,
        tokens: Sequence[str],
        lower_case: bool = True,
        strip_accents: bool | None = None,
        split_ideographs: bool = True,
        specials: Sequence[str] = SPECIALS,
    ):
        """``tokens`` by id; [UNK] is among them.

        strip_accents: None means the value of lower_case, as in most of BERT's files.
        specials: tokens that are written only as their exact text; those not in ``tokens`` are
        ignored.  ValueError for tokens that are no vocabulary.
        """
        self.tokens = check_texts(list(tokens), "tokens")
        self.lower_case, self.split_ideographs = lower_case, split_ideographs
        self.strip_accents = lower_case if strip_accents is None else strip_accents
        self._ids = {token: id for id, token in enumerate(self.tokens)}
        if UNKNOWN not in self._ids:
            raise ValueError(f"tokens: expected {UNKNOWN} among them")
        if len(self._ids) < len(self.tokens):
            twice = next(token for id, token in enumerate(self.tokens) if self._ids[token] != id)
            raise ValueError(f"tokens: expected distinct ones, found {short(twice)} twice")
        if "" in self._ids:
            raise ValueError("tokens: expected texts that are not empty")
        self.specials = [token for token in dict.fromkeys(specials) if token in self._ids]
        self._special = SpecialTokens({token: self._ids[token] for token in self.specials})
        self._pieces = {t: id for t, id in self._ids.items() if t not in self._special.ids}
        self._longest = max(map(len, self._pieces), default=0)
        self.table = CharacterTable(lower_case, self.strip_accents, split_ideographs)
        self._encoded, self._spans = _Memory(self._encode_run), _Memory(self._spans_of_run)
        self.unknown = self._ids[UNKNOWN]
        self.pad = self.padding = self._ids.get(PAD)
        self.cls = self.bos = self._ids.get(CLS)
        self.sep = self.eos = self._ids.get(SEP)
        self.mask = self._ids.get(MASK)

    def cut(self, text: str, name: str = "text") -> list[str]:
        """The text, cut before and after each special token."""
        check_encodable(text, name)
        return self._special.cut(text)

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the pieces of ``text``, (T,); a word that they do not make is [UNK].

        InputError, with ``name``, line and column, for a lone surrogate.
        """
        runs: list[bytes] = []
        for part in self.cut(text, name):
            if part in self._special.ids:
                runs.append(_bytes([self._special.ids[part]]))
            else:
                for block in blocks(part, _WHITE_SPACE):
                    runs += map(self._encoded.__getitem__, _runs(block))
        return np.frombuffer(b"".join(runs), np.int32).copy()

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
                    spans.append(self._spans[run[0]])
                    starts.append(start + run.start())
            start += len(part)
        rows = np.concatenate(spans)
        offsets = rows[:, 1:] + np.repeat(starts, list(map(len, spans)))[:, None]
        return rows[:, 0].astype(np.int32), offsets

    def _encode_run(self, run: str) -> bytes:
        return _bytes([id for word in basic_tokens(run, self.table) for id, _ in self._match(word)])

    def _spans_of_run(self, run: str) -> NDArray[np.int64]:
        """The id of each piece of a run, and its beginning and end in the run, (T, 3)."""
        changed = [self.table[ord(character)] for character in run]
        origin = [at for at, characters in enumerate(changed) for _ in characters]
        spans = []
        for word in _WORD.finditer("".join(changed)):
            start = word.start()
            for id, length in self._match(word[0]):
                spans.append((id, origin[start], origin[start + length - 1] + 1))
                start += length
        return np.array(spans, np.int64).reshape(-1, 3)

    def _match(self, word: str) -> list[tuple[int, int]]:
        """The ids of a word's pieces, and the number of characters that each of them takes."""
        whole = self._pieces.get(word)
        if whole is not None and len(word) <= LONGEST:
            return [(whole, len(word))]
        matches, start, prefix = [], 0, ""
        while start < len(word) <= LONGEST:
            for end in range(min(len(word), start + self._longest), start, -1):
                id = self._pieces.get(prefix + word[start:end])
                if id is not None:
                    break
            else:
                break
            matches.append((id, end - start))
            start, prefix = end, PREFIX
        return matches if start == len(word) else [(self.unknown, len(word))]

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, but InputError, with ``name``, for a word that becomes [UNK]."""
        ids = self.encode(text, name)
        if self.unknown in ids:
            for id, (start, end) in zip(*self.encode_with_offsets(text, name), strict=True):
                if id == self.unknown and text[start:end] != UNKNOWN:
                    raise InputError(
                        f"{name}: the word {short(text[start:end])} cannot be made of the "
                        f"{len(self):,} pieces that the model knows"
                    )
        return ids

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a piece at a time, with single spaces.

        Each unknown token is replaced by the next of ``unknown_words``, if there is one.
        """
        names = iter(unknown_words)
        before = ""
        for id in ids:
            token = self.token(id)
            if id == self.unknown:
                token = next(names, UNKNOWN)
            if before and token.startswith(PREFIX) and id != self.unknown:
                yield token.removeprefix(PREFIX)
            elif not before or token in _CLOSING:
                yield token
            else:
                yield " " + token
            before = token

    def split(self, text: str) -> list[str]:
        """The pieces of ``text``; a word that they do not make stays whole."""
        ids, offsets = self.encode_with_offsets(text)
        return [
            text[start:end] if id == self.unknown else self.token(id)
            for id, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True)
        ]

    def to_dict(self) -> dict:
        """The JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return {"unit": self.unit, "tokens": self.tokens, "specials": self.specials, **options}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WordPieces":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        tokens, specials = (check_texts(values.get(name), name) for name in ("tokens", "specials"))
        return cls(tokens, specials=specials, **{name: flag(values, name) for name in _OPTIONS})


_OPTIONS = ("lower_case", "strip_accents", "split_ideographs")
_CLOSING = frozenset(".,?!")  # written without a space before them
