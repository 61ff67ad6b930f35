"""The units of text, of which a vocabulary consists: one registry.

A new unit is a vocabulary in a page of its own, and a line in each table below.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from minillm.errors import short
from minillm.text import bpe, wordpiece
from minillm.text.bpe import BytePairs
from minillm.text.characters import Characters
from minillm.text.vocabulary import Vocabulary
from minillm.text.wordpiece import WordPieces
from minillm.text.words import Words, blocks, split_words

SIZE = 8000  # default number of byte pairs, and of pieces of words


@dataclass(frozen=True)
class _Limits:
    minimum_count: int
    maximum_size: int | None
    held_out: Iterable[str]
    always: Iterable[str]

    @property
    def size(self) -> int:
        return SIZE if self.maximum_size is None else self.maximum_size


def _learn_words(texts: Iterable[str], limits: _Limits, pretokenised: bool) -> Words:
    counts: Counter[str] = Counter()
    for text in texts:
        for block in blocks(text):
            counts.update(split_words(block, pretokenised))
    return Words.from_counts(
        counts, limits.minimum_count, limits.maximum_size, pretokenised, limits.always
    )


UNITS: dict[str, Callable[[Iterable[str], _Limits], Vocabulary]] = {
    "character": lambda texts, limits: Characters.from_texts(chain(texts, limits.held_out)),
    "word": lambda texts, limits: _learn_words(texts, limits, pretokenised=False),
    "token": lambda texts, limits: _learn_words(texts, limits, pretokenised=True),
    "bpe": lambda texts, limits: bpe.train(texts, limits.size),
    "wordpiece": lambda texts, limits: wordpiece.train(texts, limits.size),
}

_FROM_DICT: dict[str, Callable[[Mapping[str, Any]], Vocabulary]] = {
    vocabulary.unit: vocabulary.from_dict
    for vocabulary in (Characters, Words, BytePairs, WordPieces)
}


def build_vocabulary(
    texts: Iterable[str],
    unit: str,
    minimum_count: int = 1,
    maximum_size: int | None = None,
    *,
    held_out: Iterable[str] = (),
    always: Iterable[str] = (),
) -> Vocabulary:
    """The vocabulary of texts, each of which is read once.

    unit is one of UNITS.  A "token" is a word that white space separates; "bpe" are byte pairs,
    "wordpiece" pieces of words in lower case, and ``maximum_size`` is their number, ``SIZE`` by
    default.  Words seen less than ``minimum_count`` times, and those beyond the ``maximum_size``
    most frequent, become the unknown word; the words of ``always`` have an id in any case.
    Characters have no unknown one: all of them count, those of the ``held_out`` texts too.
    """
    if unit not in UNITS:
        raise ValueError(f"unit: expected one of {', '.join(UNITS)}, found {short(unit)}")
    return UNITS[unit](texts, _Limits(minimum_count, maximum_size, held_out, always))


def vocabulary_from_dict(values: object) -> Vocabulary:
    """The vocabulary that ``to_dict`` described; ValueError if it is damaged."""
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    unit = values.get("unit")
    if not isinstance(unit, str) or unit not in _FROM_DICT:
        raise ValueError(f'expected "unit": one of {", ".join(_FROM_DICT)}, found {short(unit)}')
    return _FROM_DICT[unit](values)
