"""The registry of the units of text: characters, words, byte pairs, pieces of words."""

from collections import Counter
from collections.abc import Iterable
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

# The classes of the vocabularies that are learned here.
UNITS: dict[str, type[Vocabulary]] = {
    "character": Characters,
    "word": Words,
    "token": Words,
    "bpe": BytePairs,
    "wordpiece": WordPieces,
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
    beyond the ``maximum_size`` most frequent, become the unknown word; the words of ``always``
    have an id in any case.  There is no unknown character: the ``held_out`` texts' characters have
    ids, too.
    """
    if unit not in UNITS:
        raise ValueError(f"unit: expected one of {', '.join(UNITS)}, found {short(unit)}")
    size = SIZE if maximum_size is None else maximum_size
    if unit == "character":
        return Characters.from_texts(chain(texts, held_out))
    if unit == "bpe":
        return byte_pairs.train(texts, size, (END_OF_TEXT,))
    if unit == "wordpiece":
        return word_pieces.train(texts, size)
    counts: Counter[str] = Counter()
    for text in texts:
        for block in blocks(text):
            counts.update(split_words(block, pretokenised=unit == "token"))
    return Words.from_counts(counts, minimum_count, maximum_size, unit == "token", always)


def vocabulary_from_dict(values: object) -> Vocabulary:
    """The vocabulary that ``to_dict`` described; ValueError if it is damaged."""
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    # Open words serve models that copy, and published tokenizers are not learned here, so neither
    # is a unit that every model could have.
    vocabularies = {vocabulary.unit: vocabulary for vocabulary in UNITS.values()}
    vocabularies |= {OpenWords.unit: OpenWords, PUBLISHED: PublishedTokenizer}
    unit = values.get("unit")
    if not isinstance(unit, str) or unit not in vocabularies:
        raise ValueError(f'expected "unit": one of {", ".join(vocabularies)}, found {short(unit)}')
    return vocabularies[unit].from_dict(values)
