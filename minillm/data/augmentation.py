"""Augmentation: additional training texts, made from existing ones by changing a few words.

A label belongs to a whole text, and usually still fits when a few words change.  So if there are
few labels, changed copies of the labelled texts are added to the training data
(`python -m benchmarks.augmentation`).  The four methods of "easy data augmentation" (EDA):

    synonyms     some words become others of similar meaning
    insertion    words similar to some of the text's are put in anywhere
    swap         pairs of words change places
    deletion     some words are left out

>>> rng = np.random.default_rng(0)
>>> deletion("it was a fine day".split(), 0.4, rng)
['it', 'was', 'fine']

White space separates words.  A piece without letters or digits, such as a single question mark, is
not a word here, and is not changed.  ``share`` is the share of the words that change: max(1, share
n) of n words, rounded, but never all of them in a deletion.  All randomness comes from ``rng``.
Methods that need similar words take a function as an argument (:data:`Neighbours`).

Source: Wei and Zou (2019), "EDA: easy data augmentation techniques for boosting performance on
text classification tasks".  There, synonyms come from WordNet, and a deletion drops each word with
a probability of ``share``, so short texts often do not change.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Generator = np.random.Generator
Neighbours = Callable[[str], Sequence[str]]  # a word -> words of similar meaning, or none

_MARKS = re.compile(r"\A\W+")


# --- words ---------------------------------------------------------------------------------


def synonyms(
    words: Sequence[str], share: float, rng: Generator, neighbours: Neighbours
) -> list[str]:
    """Replace some of the words, each by a random one of its neighbours.

    If a word has no neighbours, another word is replaced instead.  An initial capital letter and
    punctuation marks around a word are kept.

    >>> similar = {"film": ["movie"], "day": ["week"]}
    >>> neighbours = lambda word: similar.get(word, [])
    >>> synonyms(["Film,", "my", "dear"], 0.3, np.random.default_rng(0), neighbours)
    ['Movie,', 'my', 'dear']
    """
    changed, places = list(words), places_of_words(words)
    able = [place for place in places if similar_words(words[place], neighbours)]
    for place in rng.permutation(able)[: how_many(share, len(places))]:
        changed[place] = like(words[place], draw(similar_words(words[place], neighbours), rng))
    return changed


def insertion(
    words: Sequence[str], share: float, rng: Generator, neighbours: Neighbours
) -> list[str]:
    """Repeatedly insert a random neighbour of a random word at a random place.

    A text does not change if none of its words has a neighbour.
    """
    changed, places = list(words), places_of_words(words)
    able = [place for place in places if similar_words(words[place], neighbours)]
    for _ in range(how_many(share, len(places)) if able else 0):
        new = draw(similar_words(words[draw(able, rng)], neighbours), rng)
        changed.insert(draw(places_of_words(changed), rng), new)
    return changed


def swap(words: Sequence[str], share: float, rng: Generator) -> list[str]:
    """Swap two random words, once for each word of the share."""
    changed, places = list(words), places_of_words(words)
    for _ in range(how_many(share, len(places)) if len(places) > 1 else 0):
        a, b = rng.choice(places, 2, replace=False)
        changed[a], changed[b] = changed[b], changed[a]
    return changed


def deletion(words: Sequence[str], share: float, rng: Generator) -> list[str]:
    """Leave out some words, but not all of them."""
    places = places_of_words(words)
    count = min(how_many(share, len(places)), len(places) - 1)
    gone = set(rng.permutation(places)[: max(0, count)].tolist())
    return [word for place, word in enumerate(words) if place not in gone]


# --- the parts of words ----------------------------------------------------------------------


def how_many(share: float, words: int) -> int:
    """The number of words to change, at least one if there are words."""
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, found {share}")
    return min(words, max(1, round(share * words)))


def places_of_words(words: Sequence[str]) -> list[int]:
    """The places of words, not of mere punctuation marks."""
    return [place for place, word in enumerate(words) if core_of(word)[1]]


def core_of(word: str) -> tuple[str, str, str]:
    """The marks before a word, the word, and the marks behind it.

    >>> core_of('"don\\'t,"')
    ('"', "don't", ',"')
    """
    rest = _MARKS.sub("", word)
    core = _MARKS.sub("", rest[::-1])[::-1]
    return word[: len(word) - len(rest)], core, rest[len(core) :]


def like(word: str, new: str) -> str:
    """``new`` with the punctuation marks and the capital letter of ``word``."""
    before, core, after = core_of(word)
    return before + (new[:1].upper() + new[1:] if core[:1].isupper() else new) + after


def similar_words(word: str, neighbours: Neighbours) -> Sequence[str]:
    """The neighbours of a word without its marks; otherwise, of its lower-case form."""
    _, core, _ = core_of(word)
    return neighbours(core) or neighbours(core.lower())


def draw(items: Sequence[Item], rng: Generator) -> Item:
    """Draw one of the items, all with the same probability."""
    return items[int(rng.integers(len(items)))]
