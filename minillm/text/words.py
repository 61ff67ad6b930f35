"""Words: a vocabulary of the frequent ones, and one unknown word for all others."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.text.vocabulary import Vocabulary, check_texts

UNKNOWN = "<unk>"
_UNKNOWN_ID = 0

# A word may have apostrophes, hyphens and full stops inside (don't, built-in, 3.14).  Every other
# punctuation mark, and a line's end, is a separate word.  <unk> stays whole, so that decoded text
# encodes to the same ids.
_WORD = re.compile(r"\n|<unk>|\w+(?:['\u2019.-]\w+)*|[^\w\s]")
_TOKEN = re.compile(r"\n|[^\s]+")
_SPACE = re.compile(r"\s")
_BLOCK = 1 << 20  # characters that are split at a time

_CLOSING = set(".,;:!?)]}%'\u2019\u201d")
_OPENING = set("([{$\u201c\u2018")


def split_words(text: str, pretokenised: bool = False) -> list[str]:
    """The words of ``text``; punctuation marks and line ends are words too.

    A ``pretokenised`` text is split at white space alone.

    >>> split_words("Don't panic (yet).")
    ["Don't", 'panic', '(', 'yet', ')', '.']
    """
    return (_TOKEN if pretokenised else _WORD).findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """The start and the end of each word of :func:`split_words` in ``text``.

    >>> word_spans("Yes, no")
    [(0, 3), (3, 4), (5, 7)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def blocks(text: str, space: re.Pattern[str] = _SPACE) -> Iterator[str]:
    """The text in blocks of about a megabyte, cut at white space, to save memory."""
    start = 0
    while start < len(text):
        cut = space.search(text, start + _BLOCK)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


class _Ids(dict[str, int]):
    """Ids of words; every other word has the id of the unknown word."""

    def __missing__(self, word: str) -> int:
        return _UNKNOWN_ID


class Words(Vocabulary):
    """An id for each frequent word; id 0 is the unknown word, ``<unk>``.

    >>> vocabulary = Words.from_text("to be or not to be", minimum_count=2)
    >>> vocabulary.tokens
    ['<unk>', 'be', 'to']
    >>> vocabulary.decode(vocabulary.encode("to sleep"))
    'to <unk>'
    """

    unit, stored = "word", {"tokens": list, "pretokenised": bool}
    unknown: int | None = _UNKNOWN_ID

    def __init__(self, tokens: Sequence[str], pretokenised: bool = False):
        """``pretokenised``: white space separates the words, and punctuation marks too."""
        self.tokens = check_texts(list(tokens), "tokens")
        self.pretokenised = pretokenised
        self._ids = _Ids({token: number for number, token in enumerate(self.tokens)})
        if not self.tokens or self.tokens[_UNKNOWN_ID] != UNKNOWN:
            raise ValueError(f"tokens: expected {UNKNOWN!r} first, found {short(self.tokens[:1])}")
        if len(self._ids) != len(self.tokens):
            raise ValueError(
                f"tokens: expected distinct words, found {len(self._ids)} of {len(self.tokens)}"
            )
        self.line_end = self.sentence_end = self._ids.get("\n")

    @classmethod
    def from_text(
        cls,
        text: str,
        minimum_count: int = 1,
        maximum_size: int | None = None,
        pretokenised: bool = False,
    ) -> "Words":
        """The vocabulary of a text: see :meth:`from_counts`."""
        counts = Counter(split_words(text, pretokenised))
        return cls.from_counts(counts, minimum_count, maximum_size, pretokenised)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        minimum_count: int = 1,
        maximum_size: int | None = None,
        pretokenised: bool = False,
        always: Iterable[str] = (),
    ) -> "Words":
        """The words seen at least ``minimum_count`` times, the most frequent first.

        At most ``maximum_size`` of them, the unknown word included.  Equally frequent words
        are in alphabetical order: equal counts always give the same vocabulary.  The words of
        ``always`` come first, whether they were seen or not.
        """
        first = list(dict.fromkeys(always))
        frequent = [
            word
            for word, count in counts.items()
            if count >= minimum_count and word != UNKNOWN and word not in first
        ]
        frequent.sort(key=lambda word: (-counts[word], word))
        if maximum_size is not None:
            frequent = frequent[: max(0, maximum_size - 1 - len(first))]
        return cls([UNKNOWN, *first, *frequent], pretokenised)

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the words of ``text``, (T,); a word that it lacks becomes the unknown word."""
        parts = [np.zeros(0, np.int32)]
        for block in blocks(text):
            words = split_words(block, self.pretokenised)
            parts.append(np.fromiter(map(self._ids.__getitem__, words), np.int32, len(words)))
        return np.concatenate(parts)

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, but InputError, with ``name``, for a word that it lacks."""
        for word in split_words(text, self.pretokenised):
            if word not in self._ids:
                raise InputError(
                    f"the word {word!r} is not among the {len(self)} that the model knows", name
                )
        return self.encode(text, name)

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a word at a time, with spaces as in written English.

        Each unknown word is replaced by the next of ``unknown_words``, if there is one.

        >>> Words(["<unk>", "is", "here"]).decode([0, 1, 2], ["Ada"])
        'Ada is here'
        """
        names = iter(unknown_words)
        attached = True  # no space before the next word
        quoting = False  # between a straight quotation mark and the next
        for number in ids:
            word = self.token(number) if number != _UNKNOWN_ID else next(names, UNKNOWN)
            before = after = word == "\n"
            if not self.pretokenised:
                before = before or word[0] in _CLOSING or (word == '"' and quoting)
                quoting = (quoting != (word == '"')) and word != "\n"
                after = after or word[-1] in _OPENING or (word == '"' and quoting)
            yield word if attached or before else " " + word
            attached = after

    def split(self, text: str) -> list[str]:
        """The words of ``text`` in their original form, known or not."""
        return split_words(text, self.pretokenised)
