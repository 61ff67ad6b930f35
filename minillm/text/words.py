"""Words: a vocabulary of the frequent ones, and one unknown word for all others."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from minillm.errors import InputError

UNKNOWN = "<unk>"

# A word may hold apostrophes, hyphens and dots inside (don't, built-in, 3.14); any other mark and
# a line's end are words of their own.  <unk> stays whole, so that decoded text can be read again.
_WORD = re.compile(r"\n|<unk>|\w+(?:['\u2019.-]\w+)*|[^\w\s]")
_TOKEN = re.compile(r"\n|[^\s]+")

_CLOSING = set(".,;:!?)]}%'\u2019\u201d")
_OPENING = set("([{$\u201c\u2018")


def split_words(text: str, pretokenised: bool = False) -> list[str]:
    """The words of ``text``, with the marks and the line ends as words.

    Where the text is ``pretokenised``, it is split at white space alone.

    >>> split_words("Don't panic (yet).")
    ["Don't", 'panic', '(', 'yet', ')', '.']
    """
    return (_TOKEN if pretokenised else _WORD).findall(text)


class Words:
    """An id for each frequent word; id 0 is the unknown word, ``<unk>``.

    >>> vocabulary = Words.from_text("to be or not to be", minimum_count=2)
    >>> vocabulary.tokens
    ['<unk>', 'be', 'to']
    >>> vocabulary.decode(vocabulary.encode("to sleep"))
    'to <unk>'
    """

    unit = "word"
    unknown = 0

    def __init__(self, tokens: Sequence[str], pretokenised: bool = False):
        self.tokens = list(tokens)
        self.pretokenised = pretokenised
        self._ids = {token: id for id, token in enumerate(self.tokens)}
        if not self.tokens or self.tokens[self.unknown] != UNKNOWN:
            raise ValueError(f"tokens: expected {UNKNOWN!r} first")
        if len(self._ids) != len(self.tokens):
            raise ValueError("tokens: expected distinct words")

    @classmethod
    def from_text(
        cls,
        text: str,
        minimum_count: int = 1,
        maximum_size: int | None = None,
        pretokenised: bool = False,
    ) -> "Words":
        """The words seen at least ``minimum_count`` times, the most frequent first.

        At most ``maximum_size`` of them, the unknown word included.  Words of one count stand in
        alphabetical order, so that one text always gives one vocabulary.
        """
        counts = Counter(split_words(text, pretokenised))
        return cls.from_counts(counts, minimum_count, maximum_size, pretokenised)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        minimum_count: int = 1,
        maximum_size: int | None = None,
        pretokenised: bool = False,
    ) -> "Words":
        """As :meth:`from_text`, from how often each word was seen in texts that are not kept."""
        frequent = [
            word for word, count in counts.items() if count >= minimum_count and word != UNKNOWN
        ]
        frequent.sort(key=lambda word: (-counts[word], word))
        if maximum_size is not None:
            frequent = frequent[: maximum_size - 1]
        return cls([UNKNOWN, *frequent], pretokenised)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str, name: str = "text") -> np.ndarray:
        """The ids of the words of ``text``, int32 (T,); those it lacks become the unknown word."""
        words = split_words(text, self.pretokenised)
        lookup = self._ids.get
        return np.fromiter((lookup(word, self.unknown) for word in words), np.int32, len(words))

    def encode_known(self, text: str, name: str = "text") -> np.ndarray:
        """As :meth:`encode`, but InputError, with ``name``, at a word that it lacks."""
        for word in split_words(text, self.pretokenised):
            if word not in self._ids:
                raise InputError(
                    f"{name}: the word {word!r} is not among the {len(self)} that the model knows"
                )
        return self.encode(text, name)

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``, with spaces where written English has them.

        Each unknown word is the next of ``unknown_words``, while there are any.

        >>> Words(["<unk>", "is", "here"]).decode([0, 1, 2], ["Ada"])
        'Ada is here'
        """
        return "".join(self.stream(ids, unknown_words))

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a piece for each id, as they come."""
        names = iter(unknown_words)
        attached = True  # to what stands before it: no space goes between
        for id in ids:
            word = self.tokens[id] if id != self.unknown else next(names, UNKNOWN)
            if self.pretokenised:
                attached = attached or word == "\n"
            else:
                attached = attached or word == "\n" or word in _CLOSING
            yield word if attached else " " + word
            attached = word == "\n" or (word in _OPENING and not self.pretokenised)

    def to_dict(self) -> dict:
        """What JSON keeps of it; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        return {"unit": self.unit, "tokens": self.tokens, "pretokenised": self.pretokenised}
