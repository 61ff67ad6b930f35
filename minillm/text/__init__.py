"""Text to ids and back: characters, words with an unknown word, byte pairs, pieces of words."""

from collections import Counter
from collections.abc import Iterable

from minillm.errors import short
from minillm.text import bpe, wordpiece
from minillm.text.bpe import BytePairs
from minillm.text.characters import Characters
from minillm.text.tokenizer_files import load_tokenizer, tokenizer_files
from minillm.text.vocabulary import (
    Vocabulary,
    banned_ids,
    check_texts,
    opening_id,
    unit_name,
)
from minillm.text.wordpiece import WordPieces
from minillm.text.words import Words, WordsSeen, pieces, split_off_punctuation, split_words

__all__ = [
    "BytePairs",
    "Characters",
    "Vocabulary",
    "WordPieces",
    "Words",
    "WordsSeen",
    "banned_ids",
    "build_vocabulary",
    "check_texts",
    "load_tokenizer",
    "opening_id",
    "split_off_punctuation",
    "tokenizer_files",
    "unit_name",
    "vocabulary_from_dict",
]

SIZE = 8000  # tokens of byte pairs, and pieces of words
UNITS = ("character", "word", "bpe", "wordpiece")


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

    unit is "character", "word", "token": a word that white space separates; "bpe": byte pairs, or
    "wordpiece": pieces of words in lower case, of both of which ``maximum_size`` is the number of
    tokens, ``SIZE`` if it is None.  Of words,
    those seen less than ``minimum_count`` times, and those beyond the ``maximum_size`` most
    frequent, become the unknown word; but the words of ``always`` have an id in any case.
    Characters have no unknown one: there all count, those of the ``held_out`` texts too.
    """
    if unit == "character":
        characters: set[str] = set()
        for part in (texts, held_out):
            for text in part:
                characters.update(text)
        return Characters(sorted(characters))
    if unit in ("bpe", "wordpiece"):
        train = bpe.train if unit == "bpe" else wordpiece.train
        return train(texts, SIZE if maximum_size is None else maximum_size)
    if unit not in ("word", "token"):
        raise ValueError(
            f"unit: expected character, word, token, bpe or wordpiece, found {short(unit)}"
        )
    pretokenised = unit == "token"
    counts: Counter[str] = Counter()
    for text in texts:
        for piece in pieces(text):
            counts.update(split_words(piece, pretokenised))
    return Words.from_counts(counts, minimum_count, maximum_size, pretokenised, always)


def vocabulary_from_dict(values: object) -> Vocabulary:
    """The vocabulary that ``to_dict`` described; ValueError says what is wrong with it."""
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    unit, pretokenised = values.get("unit"), values.get("pretokenised", False)
    if unit == "bpe":
        return BytePairs.from_dict(values)
    if unit == "wordpiece":
        return WordPieces.from_dict(values)
    tokens = check_texts(values.get("tokens"), "tokens")
    if not isinstance(pretokenised, bool):
        raise ValueError(f'"pretokenised": expected true or false, found {short(pretokenised)}')
    if unit == "character":
        return Characters(tokens)
    if unit == "word":
        return Words(tokens, pretokenised)
    raise ValueError(f'expected "unit": one of {", ".join(UNITS)}, found {short(unit)}')
