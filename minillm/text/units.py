"""The registry of the units of text: characters, words, byte pairs, pieces of words.

A new unit is a page with its vocabulary, and an entry in UNITS.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain

from minillm.errors import short
from minillm.text import byte_pairs, word_pieces
from minillm.text.byte_pairs import END_OF_TEXT, BytePairs
from minillm.text.characters import Characters
from minillm.text.open_words import OpenWords
from minillm.text.published import PUBLISHED, PublishedTokenizer
from minillm.text.vocabulary import Vocabulary
from minillm.text.word_pieces import WordPieces
from minillm.text.words import Words, blocks, split_words

SIZE = 8000  # default number of byte pairs, and of pieces of words


@dataclass(frozen=True)
class Limits:
    """The limits of a vocabulary that is learned: see :func:`build_vocabulary`."""

    minimum_count: int
    maximum_size: int | None
    held_out: Iterable[str]
    always: Iterable[str]

    @property
    def size(self) -> int:
        """The number of byte pairs or pieces of words."""
        return SIZE if self.maximum_size is None else self.maximum_size


@dataclass(frozen=True)
class Unit:
    """A unit of text: the class of its vocabularies, and the function that learns one."""

    vocabulary: type[Vocabulary]
    learn: Callable[[Iterable[str], Limits], Vocabulary]


def _learn_words(texts: Iterable[str], limits: Limits, pretokenised: bool) -> Words:
    counts: Counter[str] = Counter()
    for text in texts:
        for block in blocks(text):
            counts.update(split_words(block, pretokenised))
    return Words.from_counts(
        counts, limits.minimum_count, limits.maximum_size, pretokenised, limits.always
    )


def _learn_byte_pairs(texts: Iterable[str], limits: Limits) -> BytePairs:
    return byte_pairs.train(texts, limits.size, (END_OF_TEXT, *limits.always))


UNITS = {
    "character": Unit(
        Characters, lambda texts, limits: Characters.from_texts(chain(texts, limits.held_out))
    ),
    "word": Unit(Words, partial(_learn_words, pretokenised=False)),
    "token": Unit(Words, partial(_learn_words, pretokenised=True)),
    "bpe": Unit(BytePairs, _learn_byte_pairs),
    "wordpiece": Unit(WordPieces, lambda texts, limits: word_pieces.train(texts, limits.size)),
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
    """Learn a vocabulary from texts, which are read once.

    unit is one of UNITS.  "token": words separated by white space.  "bpe": byte pairs.
    "wordpiece": pieces of words in lower case.  The number of byte pairs or pieces is
    ``maximum_size``, by default ``SIZE``.  Words seen less than ``minimum_count`` times, and those
    beyond the ``maximum_size`` most frequent, become the unknown word.  The words of ``always``
    have an id in any case; among byte pairs, they are special tokens.  There is no unknown
    character: the ``held_out`` texts' characters have ids, too.
    """
    if unit not in UNITS:
        raise ValueError(f"unit: expected one of {', '.join(UNITS)}, found {short(unit)}")
    return UNITS[unit].learn(texts, Limits(minimum_count, maximum_size, held_out, always))


def vocabulary_from_dict(values: object) -> Vocabulary:
    """The vocabulary that ``to_dict`` described; ValueError if it is damaged."""
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    # Open words serve models that copy, and published tokenizers are not learned here, so neither
    # is a unit that every model could have.
    vocabularies = {unit.vocabulary.unit: unit.vocabulary for unit in UNITS.values()}
    vocabularies |= {OpenWords.unit: OpenWords, PUBLISHED: PublishedTokenizer}
    unit = values.get("unit")
    if not isinstance(unit, str) or unit not in vocabularies:
        raise ValueError(f'expected "unit": one of {", ".join(vocabularies)}, found {short(unit)}')
    return vocabularies[unit].from_dict(values)
