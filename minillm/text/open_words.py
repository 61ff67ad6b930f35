"""Words in lower case, and a vocabulary that each source extends: for models that copy.

    V tokens        the words of the vocabulary; 0 is the unknown word
    V               kept free, for the EOS of a model
    V + 1 + k       the k-th word of a source that the vocabulary lacks

A model of words cannot write a name that it has never seen.  A model that copies can, if the words
of its source have ids.  These ids are new for each source.

"Meeting" and "meeting" are one word, so that each is seen more often and either can be copied.  A
text is written with the source's own spelling, and with its own spaces where neighbouring words
are copied.  Other words are spelled as they were most often in training.

Source: See, Liu and Manning (2017), "Get to the point: summarization with pointer-generator
networks", section 2.2, for the extended vocabulary.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.text.vocabulary import Vocabulary, check_texts
from minillm.text.words import UNKNOWN, Words, word_spans


def _spans(text: str) -> list[tuple[int, int]]:
    """The start and the end of each word; line ends are white space."""
    return [(start, end) for start, end in word_spans(text) if text[start:end] != "\n"]


def _split(text: str) -> list[str]:
    return [text[start:end] for start, end in _spans(text)]


class OpenWords(Vocabulary):
    """An id for each frequent word in lower case, and for each other word of a source.

    >>> vocabulary = OpenWords.from_texts(["Call me", "call Ada"], maximum_size=2)
    >>> vocabulary.tokens, vocabulary.forms
    (['<unk>', 'call'], ['<unk>', 'Call'])
    >>> vocabulary.encode("Please call Eve: please!").tolist()
    [3, 1, 4, 5, 3, 6]
    >>> vocabulary.encode_target("Call Eve now", "Please call Eve: please!").tolist()
    [1, 4, 0]
    >>> vocabulary.write([1, 4, 5], "Please call Eve: please!")
    'call Eve:'
    """

    unit, stored = "open word", {"tokens": list, "forms": list}
    unknown: int | None = 0

    def __init__(self, tokens: Sequence[str], forms: Sequence[str]):
        """``forms`` are the spellings of the tokens, which are in lower case."""
        self._words = Words(tokens)  # it checks them, and writes words with spaces between
        self.tokens = self._words.tokens
        self.forms = check_texts(list(forms), "forms")
        if len(self.forms) != len(self.tokens):
            raise ValueError(
                f"forms: expected one for each of {len(self.tokens)} tokens, "
                f"found {len(self.forms)}"
            )
        self._ids = {token: number for number, token in enumerate(self.tokens)}

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], minimum_count: int = 1, maximum_size: int | None = None
    ) -> "OpenWords":
        """The words seen at least ``minimum_count`` times, in any spelling, most frequent first.

        At most ``maximum_size`` of them, the unknown word included.
        """
        spellings = Counter(word for text in texts for word in _split(text))
        counts: Counter[str] = Counter()
        forms: dict[str, str] = {}
        for spelling, count in sorted(spellings.items(), key=lambda item: (-item[1], item[0])):
            word = spelling.lower()
            counts[word] += count
            forms.setdefault(word, spelling)  # the most frequent spelling comes first
        tokens = Words.from_counts(counts, minimum_count, maximum_size).tokens
        return cls(tokens, [forms.get(token, token) for token in tokens])

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the words of a source, (T,); the words that it adds come after V."""
        words = [word.lower() for word in _split(text)]
        new = self._new_words(words)
        ids = [self._ids[word] if word in self._ids else new[word] for word in words]
        return np.array(ids, np.int32)

    def encode_target(
        self, text: str, source: str, most: int | None = None, name: str = "text"
    ) -> NDArray[np.int32]:
        """The ids of the words of a target (T,), given its source, cut to ``most`` words."""
        new = self._new_words([word.lower() for word in _split(source)[:most]])
        words = (word.lower() for word in _split(text))
        return np.array([self._ids.get(word, new.get(word, 0)) for word in words], np.int32)

    def _new_words(self, words: Iterable[str]) -> dict[str, int]:
        """The ids of the words that the vocabulary lacks, in the order of the source."""
        lacking = dict.fromkeys(word for word in words if word not in self._ids)
        return {word: len(self) + 1 + k for k, word in enumerate(lacking)}

    def write(self, ids: Iterable[int], source: str, weights: NDArray | None = None) -> str:
        """The text of an output.

        Where the source has the word, the source's spelling is written: of the position after the
        word before, or of the one with the largest attention weight, weights (T, S).
        """
        words, source_ids = _spans(source), self.encode(source)
        positions = defaultdict(list)
        for j, number in enumerate(source_ids.tolist()):
            positions[number].append(j)
        pieces: list[str] = []
        before = -2  # the position of the word before
        for t, number in enumerate(ids):
            candidates = positions.get(number, [])
            if weights is not None:
                candidates = [j for j in candidates if j < weights.shape[1]]
            if before + 1 in candidates:
                start, (_, end) = words[before][1], words[before + 1]
                pieces[-1] += " ".join(source[start:end].split("\n"))
                before += 1
                continue
            if not candidates:
                pieces.append(self.forms[number] if number < len(self) else UNKNOWN)
                before = -2
                continue
            before = candidates[0]
            if weights is not None:
                before = max(candidates, key=lambda j: weights[t, j])
            pieces.append(source[slice(*words[before])])
        return self._words.decode([0] * len(pieces), pieces)

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids``, a word at a time, with spaces as in written English."""
        names = iter(unknown_words)
        forms = [self.forms[n] if 0 < n < len(self) else next(names, UNKNOWN) for n in ids]
        return self._words.stream([0] * len(forms), forms)

    def split(self, text: str) -> list[str]:
        """The words of ``text`` in their original form, known or not, without line ends."""
        return _split(text)

    def show(self, number: int) -> str:
        """A token as a label of a plot; a word that a source has added is ``<unk>``."""
        return super().show(number if number < len(self) else 0)
