"""Pieces of words as a vocabulary: learned from texts, encoded with offsets, and its JSON."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.text.vocabulary import Memory, SpecialTokens, Vocabulary, check_texts, flag
from minillm.text.wordpiece import LONGEST, PREFIX, UNKNOWN, CharacterTable, basic_tokens, spell
from minillm.text.wordpiece_fast import learn_pieces
from minillm.text.words import blocks
from minillm.unicode import check_encodable

PAD, CLS, SEP, MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"
SPECIALS = (PAD, UNKNOWN, CLS, SEP, MASK)
# MPNet's names of the same roles; its unknown token is BERT's.
MPNET_PAD, MPNET_CLS, MPNET_SEP, MPNET_MASK = "<pad>", "<s>", "</s>", "<mask>"
RAREST = 1e-6  # a character with a smaller share of a text has no piece
LEAST_SIZE = len(SPECIALS) + 2

# A text may be cut at Unicode's white space, without the control characters, which are removed.
_WHITE = "\t\n\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WHITE_SPACE, _RUN = re.compile(f"[{_WHITE}]"), re.compile(f"[^{_WHITE}]+")
_CONTROL_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85]")  # white space for Python, not for BERT
_WORD = re.compile(r"\S+")


def _runs(text: str) -> list[str]:
    """The parts of a text between white space."""
    return _RUN.findall(text) if _CONTROL_SPACE.search(text) else text.split()


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


# --- encoding ------------------------------------------------------------------------------------


def _bytes(ids: list[int]) -> bytes:
    """Ids as bytes, because bytes are joined faster than lists."""
    return np.array(ids, np.int32).tobytes()


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
        normalised: Sequence[str] = (),
    ):
        """``tokens`` by id; [UNK] is among them.

        strip_accents: None means the value of lower_case, as in most of BERT's files.
        specials: tokens that are written only as their exact text; those not in ``tokens`` are
        ignored.  normalised: specials that may also be written in upper case, with accents and so
        on, as words may.  ValueError for tokens that are no vocabulary.
        """
        self.tokens = check_texts(list(tokens), "tokens")
        self.lower_case, self.split_ideographs = lower_case, split_ideographs
        self.strip_accents = lower_case if strip_accents is None else strip_accents
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        if UNKNOWN not in self._ids:
            raise ValueError(f"tokens: expected {UNKNOWN} among them, found {short(self.tokens)}")
        if len(self._ids) < len(self.tokens):
            twice = next(
                token for number, token in enumerate(self.tokens) if self._ids[token] != number
            )
            raise ValueError(f"tokens: expected distinct ones, found {short(twice)} twice")
        if "" in self._ids:
            raise ValueError("tokens: expected texts that are not empty, found an empty one")
        self.specials = [token for token in dict.fromkeys(specials) if token in self._ids]
        self._special = SpecialTokens({token: self._ids[token] for token in self.specials})
        self.normalised = [token for token in normalised if token in self._special.ids]
        self._pieces = {t: number for t, number in self._ids.items() if t not in self._special.ids}
        self._longest = max(map(len, self._pieces), default=0)
        self.table = CharacterTable(lower_case, self.strip_accents, split_ideographs)
        self._encoded, self._spans = Memory(self._encode_run), Memory(self._spans_of_run)
        changed = {token.translate(self.table): token for token in self.normalised}
        self._changed = SpecialTokens({text: self._ids[token] for text, token in changed.items()})
        self.unknown = self._ids[UNKNOWN]
        self.pad = self.padding = self._role(PAD, MPNET_PAD)
        self.cls = self.bos = self._role(CLS, MPNET_CLS)
        self.sep = self.eos = self._role(SEP, MPNET_SEP)
        self.mask = self._role(MASK, MPNET_MASK)

    def _role(self, *names: str) -> int | None:
        """The id of the first of these tokens that is special; None if none is."""
        found = (self._special.ids[name] for name in names if name in self._special.ids)
        return next(found, None)

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
        runs: list[bytes] = []
        for part in self.cut(text, name):
            if part in self._special.ids:
                runs.append(_bytes([self._special.ids[part]]))
            elif self.normalised:
                runs += self._encode_changed(part.translate(self.table))
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

    def _encode_changed(self, text: str) -> Iterator[bytes]:
        """The ids of a text in which every character has been replaced.

        A special token is there as its text is after the same replacement, in which a sign has a
        space on both sides: "< unk >" for "<unk>", but "<  unk  >" for "< unk >".
        """
        for part in self._changed.cut(text):
            if part in self._changed.ids:
                yield _bytes([self._changed.ids[part]])
            else:
                yield from map(self._encoded.__getitem__, part.split())

    def _encode_run(self, run: str) -> bytes:
        return _bytes(
            [number for word in basic_tokens(run, self.table) for number, _ in self._match(word)]
        )

    def _spans_of_run(self, run: str) -> NDArray[np.int64]:
        """The id of each piece of a run, and its beginning and end in the run, (T, 3)."""
        changed = [self.table[ord(character)] for character in run]
        origin = [at for at, characters in enumerate(changed) for _ in characters]
        spans = []
        for word in _WORD.finditer("".join(changed)):
            start = word.start()
            for number, length in self._match(word[0]):
                spans.append((number, origin[start], origin[start + length - 1] + 1))
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
                number = self._pieces.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                break
            matches.append((number, end - start))
            start, prefix = end, PREFIX
        return matches if start == len(word) else [(self.unknown, len(word))]

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, but InputError, with ``name``, for a word that becomes [UNK]."""
        ids = self.encode(text, name)
        if self.unknown in ids:
            for number, (start, end) in zip(*self.encode_with_offsets(text, name), strict=True):
                if number == self.unknown and text[start:end] != UNKNOWN:
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
        for number in ids:
            token = self.token(number)
            if number == self.unknown:
                token = next(names, UNKNOWN)
            if before and token.startswith(PREFIX) and number != self.unknown:
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
            text[start:end] if number == self.unknown else self.token(number)
            for number, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True)
        ]

    def to_dict(self) -> dict:
        """The JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        if self.normalised:
            options["normalised"] = self.normalised
        return {"unit": self.unit, "tokens": self.tokens, "specials": self.specials, **options}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WordPieces":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        tokens, specials = (check_texts(values.get(name), name) for name in ("tokens", "specials"))
        options = {name: flag(values, name) for name in _OPTIONS}
        normalised = check_texts(values.get("normalised", []), "normalised")
        return cls(tokens, specials=specials, normalised=normalised, **options)


_OPTIONS = ("lower_case", "strip_accents", "split_ideographs")
_CLOSING = frozenset(".,?!")  # written without a space before them
