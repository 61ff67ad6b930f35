"""Augmentation: more texts to train on, made of those that there are.

A label belongs to a whole text, and most texts keep theirs when a few words change.  So where
labels are few, changed copies of the labelled texts are trained on as well.

Four methods change the words of a text, as "easy data augmentation" (EDA) has them:

    synonyms     some words become others of similar meaning
    insertion    words similar to some of the text's are put in anywhere
    swap         pairs of words change places
    deletion     some words are left out

One method asks models:

    back_translation   the text is translated to another language and back

>>> rng = np.random.default_rng(0)
>>> deletion("it was a fine day".split(), 0.4, rng)
['it', 'was', 'fine']

White space separates words.  A piece without a letter or a digit, such as a question mark that
stands alone, is no word here, and stays.  ``share`` is the share of the words that change: of n
words, max(1, share n), rounded, but never all of them in a deletion.  All randomness comes from
``rng``.  Methods that need similar words (:data:`Neighbours`) or a translation (:data:`Translate`)
are handed a function.

A fixed number of copies is made before the training, not new ones in each epoch, because

- the vocabulary has to hold the new words, and so they must be known before the model is made;
- a model that translates is slow: it is asked once, not once an epoch;
- the copies can be looked at, and a resumed training has nothing to remember.

The price is variety: after some epochs the copies have been seen, too.  So the fewer the texts, the
more copies (:func:`usual_copies`).

Source: Wei and Zou (2019), "EDA: easy data augmentation techniques for boosting performance on
text classification tasks".  There, synonyms are those of WordNet, and a deletion leaves out each
word with a probability of ``share``, so that short texts often stay as they are.
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
    """Replace some of the words by one of their neighbours each, drawn at random.

    A word without neighbours stays, and another one takes its turn.  Capital letters at the
    beginning and punctuation marks around a word are kept.

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
    """Put a neighbour of one of the words, both drawn at random, before any word; repeatedly.

    A text none of whose words has a neighbour stays as it is.
    """
    changed, places = list(words), places_of_words(words)
    able = [place for place in places if similar_words(words[place], neighbours)]
    for _ in range(how_many(share, len(places)) if able else 0):
        new = draw(similar_words(words[draw(able, rng)], neighbours), rng)
        changed.insert(draw(places_of_words(changed), rng), new)
    return changed


def swap(words: Sequence[str], share: float, rng: Generator) -> list[str]:
    """Swap two words drawn at random; repeatedly, once for each word of the share."""
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

    Where either returns "", the text stays as it is.

    Source: Sennrich, Haddow and Birch (2016), "Improving neural machine translation models with
    monolingual data"; Edunov, Ott, Auli and Grangier (2018), "Understanding back-translation at
    scale", for sampling, where the best output would be the same in every copy.
    """
    again = back(there(texts, rng), rng)
    return [new or text for new, text in zip(again, texts, strict=True)]


# --- copies ----------------------------------------------------------------------------------


def each(change: Callable[..., list[str]], *arguments: Neighbours) -> Method:
    """Return the method that changes a tenth of the words of each text by itself."""

    def method(texts: Sequence[str], rng: Generator) -> list[str]:
        return [" ".join(change(text.split(), SHARE, rng, *arguments)) for text in texts]

    return method


def augment(
    labelled: Sequence[Labelled], methods: Sequence[Method], copies: int, rng: Generator
) -> Iterator[Labelled]:
    """Return (label, changed text): the first copy of each text, then the second, and so on.

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
    """Return how many copies of so many texts Wei and Zou recommend (section 3.4)."""
    return 16 if texts <= 500 else 8 if texts <= 2000 else 4


def new_words(labelled: Sequence[Labelled], copies: Sequence[Labelled]) -> Iterator[str]:
    """Return for each text, as one text, the words that its copies have and it has not, once each.

    A vocabulary counts these.  In the copies themselves, a word of one text would look as frequent
    as one of many.
    """
    for number, (_, text) in enumerate(labelled):
        own = set(text.split())
        others = (word for _, copy in copies[number :: len(labelled)] for word in copy.split())
        yield " ".join(dict.fromkeys(word for word in others if word not in own))


# --- the parts of words ----------------------------------------------------------------------


def how_many(share: float, words: int) -> int:
    """Return how many of so many words change: one at least, if there is one."""
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, found {share}")
    return min(words, max(1, round(share * words)))


def places_of_words(words: Sequence[str]) -> list[int]:
    """Return the places of words, not of mere punctuation marks."""
    return [place for place, word in enumerate(words) if core_of(word)[1]]


def core_of(word: str) -> tuple[str, str, str]:
    """Return the marks before a word, the word, and the marks behind it.

    >>> core_of('"don\\'t,"')
    ('"', "don't", ',"')
    """
    rest = _MARKS.sub("", word)
    core = _MARKS.sub("", rest[::-1])[::-1]
    return word[: len(word) - len(rest)], core, rest[len(core) :]


def like(word: str, new: str) -> str:
    """Return another word with the marks and the capital letter of this one."""
    before, core, after = core_of(word)
    return before + (new[:1].upper() + new[1:] if core[:1].isupper() else new) + after


def similar_words(word: str, neighbours: Neighbours) -> Sequence[str]:
    """Return the neighbours of a word without its marks, or else of its lower-case form."""
    _, core, _ = core_of(word)
    return neighbours(core) or neighbours(core.lower())


def draw(items: Sequence[Item], rng: Generator) -> Item:
    """Draw one of the items, all with the same probability."""
    return items[int(rng.integers(len(items)))]
