"""Augmentation: additional training texts, made from existing ones.

A label belongs to a whole text, and usually still fits when a few words change.  So if there are
few labels, changed copies of the labelled texts are added to the training data
(`python -m benchmarks.augmentation`).

Four methods, those of "easy data augmentation" (EDA), change the words of a text:

    synonyms     some words become others of similar meaning
    insertion    words similar to some of the text's are put in anywhere
    swap         pairs of words change places
    deletion     some words are left out

One method uses models:

    back_translation   the text is translated to another language and back

>>> rng = np.random.default_rng(0)
>>> deletion("it was a fine day".split(), 0.4, rng)
['it', 'was', 'fine']

White space separates words.  A piece without letters or digits, such as a single question mark, is
not a word here, and is not changed.  ``share`` is the share of the words that change: max(1, share
n) of n words, rounded, but never all of them in a deletion.  All randomness comes from ``rng``.
Methods that need similar words (:data:`Neighbours`) or a translation (:data:`Translate`) take a
function as an argument.

A fixed number of copies is made before the training, not new ones in each epoch, because

- the vocabulary must have the new words before the model is made;
- a model that translates is slow: it runs once, not once per epoch;
- the copies can be inspected, and trained on by any classifier.

The price is variety: after some epochs, the model has seen the copies, too.  So small sets get more
copies (:func:`usual_copies`).

Source: Wei and Zou (2019), "EDA: easy data augmentation techniques for boosting performance on
text classification tasks".  There, synonyms come from WordNet, and a deletion drops each word with
a probability of ``share``, so short texts often do not change.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from minillm.data.labelled import Labelled

Item = TypeVar("Item")
Generator = np.random.Generator
Neighbours = Callable[[str], Sequence[str]]  # a word -> words of similar meaning, or none
Translate = Callable[[Sequence[str], Generator], list[str]]  # a text for each text; "": none
Method = Callable[[Sequence[str], Generator], list[str]]  # a changed text for each text

SHARE = 0.1  # of the words of a text: the best in most of Wei and Zou's figure 2

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


# --- texts, with the help of models ------------------------------------------------------------


def back_translation(
    texts: Sequence[str], rng: Generator, there: Translate, back: Translate
) -> list[str]:
    """Translate each text by ``there``, and the result by ``back``.

    If either returns "", the text does not change.

    Source: Sennrich, Haddow and Birch (2016), "Improving neural machine translation models with
    monolingual data"; Edunov, Ott, Auli and Grangier (2018), "Understanding back-translation at
    scale", for sampling, because the best output would be the same in every copy.
    """
    again = back(there(texts, rng), rng)
    return [new or text for new, text in zip(again, texts, strict=True)]


# --- copies ----------------------------------------------------------------------------------


def each(change: Callable[..., list[str]], *arguments: Neighbours) -> Method:
    """The method that changes a tenth of the words of each text."""

    def method(texts: Sequence[str], rng: Generator) -> list[str]:
        return [" ".join(change(text.split(), SHARE, rng, *arguments)) for text in texts]

    return method


def augment(
    labelled: Sequence[Labelled], methods: Sequence[Method], copies: int, rng: Generator
) -> Iterator[Labelled]:
    """(label, changed text): the first copy of each text, then the second, and so on.

    Each copy has one method's changes; the methods take turns.

    >>> def shout(texts, rng):
    ...     return [text.upper() for text in texts]
    >>> list(augment([("good", "fine"), ("bad", "dull")], [shout], 1, np.random.default_rng(0)))
    [('good', 'FINE'), ('bad', 'DULL')]
    """
    labels, texts = [label for label, _ in labelled], [text for _, text in labelled]
    for copy in range(copies):
        changed = methods[copy % len(methods)](texts, rng)
        yield from zip(labels, changed, strict=True)


def usual_copies(texts: int) -> int:
    """The number of copies that Wei and Zou recommend for ``texts`` texts (section 3.4)."""
    return 16 if texts <= 500 else 8 if texts <= 2000 else 4


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
    """The neighbours of a word without its marks, or else of its lower-case form."""
    _, core, _ = core_of(word)
    return neighbours(core) or neighbours(core.lower())


def draw(items: Sequence[Item], rng: Generator) -> Item:
    """Draw one of the items, all with the same probability."""
    return items[int(rng.integers(len(items)))]
