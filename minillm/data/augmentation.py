"""Augmentation: more texts to train on, made of those that there are.

A label belongs to a whole text, and most texts keep theirs when a few words change.  So where
labels are few, changed copies of the labelled texts are trained on as well.

Four methods change the words of a text, as "easy data augmentation" (EDA) has them:

    synonyms     some words become others of similar meaning
    insertion    words similar to some of the text's are put in anywhere
    swap         pairs of words change places
    deletion     some words are left out

Two methods ask a model:

    fill               some words are left out, and a language model fills the gaps
    back_translation   the text is translated to another language and back

>>> rng = np.random.default_rng(0)
>>> deletion("it was a fine day".split(), 0.4, rng)
['it', 'was', 'fine']

Words are what white space separates.  What has no letter and no digit, such as a question mark
that stands alone, is no word here, and stays.  ``share`` is the share of the words that change: of
n words, max(1, share n), rounded, but never all of them in a deletion.  All randomness comes from
``rng``.  What the methods need of other rooms is handed to them as a function: similar words
(:data:`Neighbours`), the word for a gap (:data:`Predict`), a translation (:data:`Translate`).

A fixed number of copies is made before the training, not new ones in each epoch, because

- the vocabulary has to hold the new words, and so they must be known before the model is made;
- a model that fills gaps or translates is slow: it is asked once, not once an epoch;
- what is trained on can be looked at, and a resumed training has nothing to remember.

What it costs is variety: after some epochs the copies have been seen, too.  So the fewer the
texts, the more copies (:func:`usual_copies`).

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
Gap = tuple[str, str]  # the text before a word that is left out, and the text after it
Predict = Callable[[Sequence[Gap], Generator], list[str]]  # a word for each gap; "": none fits
Translate = Callable[[Sequence[str], Generator], list[str]]  # a text for each text; "": none
Method = Callable[[Sequence[str], Generator], list[str]]  # a changed text for each text

_MARKS = re.compile(r"\A\W+")


# --- words ---------------------------------------------------------------------------------


def synonyms(
    words: Sequence[str], share: float, rng: Generator, neighbours: Neighbours
) -> list[str]:
    """Some of the words become one of their neighbours each, drawn at random.

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
    """A neighbour of one of the words, both drawn at random, is put before any word; repeatedly.

    A text none of whose words has a neighbour stays as it is.
    """
    changed, places = list(words), places_of_words(words)
    able = [place for place in places if similar_words(words[place], neighbours)]
    for _ in range(how_many(share, len(places)) if able else 0):
        new = draw(similar_words(words[draw(able, rng)], neighbours), rng)
        changed.insert(draw(places_of_words(changed), rng), new)
    return changed


def swap(words: Sequence[str], share: float, rng: Generator) -> list[str]:
    """Two words drawn at random change places; repeatedly, once for each word of the share."""
    changed, places = list(words), places_of_words(words)
    for _ in range(how_many(share, len(places)) if len(places) > 1 else 0):
        a, b = rng.choice(places, 2, replace=False)
        changed[a], changed[b] = changed[b], changed[a]
    return changed


def deletion(words: Sequence[str], share: float, rng: Generator) -> list[str]:
    """Some words are left out; one of them stays at least."""
    places = places_of_words(words)
    count = min(how_many(share, len(places)), len(places) - 1)
    gone = set(rng.permutation(places)[: max(0, count)].tolist())
    return [word for place, word in enumerate(words) if place not in gone]


# --- texts, with the help of a model ---------------------------------------------------------


def fill(texts: Sequence[str], share: float, rng: Generator, predict: Predict) -> list[str]:
    """Some words of each text are left out, and others predicted from what stands around them.

    Each gap is filled by itself, while all other words stand as they were.  All gaps of all texts
    are predicted together.  Where no word is found, the old one stays.

    Sources: Kobayashi (2018), "Contextual augmentation: data augmentation by words with
    paradigmatic relations"; Wu, Lv, Zang, Han and Hu (2019), "Conditional BERT contextual
    augmentation", for BERT.
    """
    rows = [text.split() for text in texts]
    gaps, at = [], []
    for row, words in enumerate(rows):
        places = places_of_words(words)
        for place in sorted(rng.permutation(places)[: how_many(share, len(places))].tolist()):
            before, _, after = core_of(words[place])
            gaps.append(
                (
                    " ".join([*words[:place], before]).rstrip(),
                    " ".join([after, *words[place + 1 :]]).lstrip(),
                )
            )
            at.append((row, place))
    for (row, place), new in zip(at, predict(gaps, rng), strict=True):
        if new:
            rows[row][place] = like(rows[row][place], new)
    return [" ".join(words) for words in rows]


def back_translation(
    texts: Sequence[str], rng: Generator, there: Translate, back: Translate
) -> list[str]:
    """Each text is translated by ``there``, and the result by ``back``.

    Where either finds nothing, the text stays as it is.

    Source: Sennrich, Haddow and Birch (2016), "Improving neural machine translation models with
    monolingual data"; Edunov, Ott, Auli and Grangier (2018), "Understanding back-translation at
    scale", for sampling, where the best output would be the same in every copy.
    """
    again = back(there(texts, rng), rng)
    return [new or text for new, text in zip(again, texts, strict=True)]


# --- copies ----------------------------------------------------------------------------------


def each(change: Callable[..., list[str]], share: float, *arguments: Neighbours) -> Method:
    """The method that changes the words of each text by itself."""

    def method(texts: Sequence[str], rng: Generator) -> list[str]:
        return [" ".join(change(text.split(), share, rng, *arguments)) for text in texts]

    return method


def augment(
    labelled: Sequence[Labelled], methods: Sequence[Method], copies: int, rng: Generator
) -> Iterator[Labelled]:
    """(label, changed text): the first copy of each text, then the second of each, and so on.

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
    """How many copies of so many texts Wei and Zou recommend (section 3.4)."""
    return 16 if texts <= 500 else 8 if texts <= 2000 else 4


def new_words(labelled: Sequence[Labelled], copies: Sequence[Labelled]) -> Iterator[str]:
    """For each text, the words that its copies have and it has not, once each, as one text.

    For counting words: in the copies themselves, a word that stands in one text would look as
    frequent as one that stands in many.
    """
    for number, (_, text) in enumerate(labelled):
        own = set(text.split())
        others = (word for _, copy in copies[number :: len(labelled)] for word in copy.split())
        yield " ".join(dict.fromkeys(word for word in others if word not in own))


# --- the parts of words ----------------------------------------------------------------------


def how_many(share: float, words: int) -> int:
    """How many of so many words change: one at least, if there is one."""
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and at most 1, found {share}")
    return min(words, max(1, round(share * words)))


def places_of_words(words: Sequence[str]) -> list[int]:
    """Where there are words, not mere punctuation marks."""
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
    """Another word with the marks and the capital letter of this one."""
    before, core, after = core_of(word)
    return before + (new[:1].upper() + new[1:] if core[:1].isupper() else new) + after


def similar_words(word: str, neighbours: Neighbours) -> Sequence[str]:
    """The neighbours of a word without its marks; if there are none, of its lower-case form."""
    _, core, _ = core_of(word)
    return neighbours(core) or neighbours(core.lower())


def draw(items: Sequence[Item], rng: Generator) -> Item:
    """One of the items, all with the same probability."""
    return items[int(rng.integers(len(items)))]
