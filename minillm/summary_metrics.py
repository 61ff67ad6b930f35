"""Measures of summaries against their sources: what is new in them, what is copied, what repeats.

They need no reference.  An extract has no new word and copies long fragments; a model that invents
has new numbers and new names; a model that has learned little writes the same summary for every
source, or repeats itself.  Words are compared in lower case, without punctuation marks.

**Density** is the mean length of the copied fragment that a word belongs to; a new word counts 0:

    density of an output = sum over its fragments f of |f|^2 / number of its words

If an output is a part of its source, its density is its number of words.

Source: Grusky, Naaman and Artzi (2018), "Newsroom: a dataset of 1.3 million summaries with diverse
extractive strategies", section 4.1.  Their coverage is 1 - new_words, because a fragment may have
one word.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from minillm.text.words import UNKNOWN, split_words


def measure_summaries(outputs: Sequence[str], sources: Sequence[str]) -> dict[str, float]:
    """The measures of outputs (N texts) against their sources (N texts), by name.

    - ``words``: the mean number of words of an output.
    - ``new_words``, ``new_bigrams``: the shares of words, and of pairs of neighbouring words, that
      the source lacks.
    - ``density``: the mean over outputs.
    - ``new_names``: the share of capitalised words that the source lacks, even in lower case;
      without the first word of an output.  Capitals are a cheap sign of names.
    - ``new_numbers``: the share of words with a digit that the source lacks.
    - ``repeated_trigrams``: the share of outputs in which three words in a row occur twice.
    - ``distinct_outputs``: the number of different outputs, divided by the number of sources.
    - ``unknown_outputs``: the share of outputs with the unknown word.

    Shares are over all outputs together, 0 to 1; a share of nothing is 0.

    >>> measured = measure_summaries(["Oil is up today"], ["Gas is up, oil is cheap"])
    >>> measured["density"], measured["new_words"], measured["new_bigrams"]
    (1.25, 0.25, 0.3333333333333333)
    >>> measure_summaries(["12 of 3.5 in Q4", "at 7"], ["3.5 in q4", "7"])["new_numbers"]
    0.25
    """
    written, read = ([_words(text.lower()) for text in texts] for texts in (outputs, sources))
    pairs = list(zip(written, read, strict=True))
    known = [{*words} for words in read]
    words = [(word, has) for found, has in zip(written, known, strict=True) for word in found]
    names = [
        (word.lower(), has)
        for output, has in zip(outputs, known, strict=True)
        for word in _words(output)[1:]
        if word[0].isupper()
    ]
    bigrams = [
        (pair, has)
        for found, source in pairs
        for has in [{*_ngrams(source, 2)}]
        for pair in _ngrams(found, 2)
    ]
    numbers = [(word, has) for word, has in words if any(map(str.isdigit, word))]
    trigrams = [_ngrams(found, 3) for found in written]
    densities = [
        sum(length**2 for length in fragments(found, source)) / max(len(found), 1)
        for found, source in pairs
    ]
    new: dict[str, list[Any]] = {
        "words": words,
        "bigrams": bigrams,
        "names": names,
        "numbers": numbers,
    }
    return {
        "words": len(words) / len(outputs),
        "density": sum(densities) / len(outputs),
        "repeated_trigrams": _share(len({*found}) < len(found) for found in trigrams),
        "distinct_outputs": len({*outputs}) / len({*sources}),
        "unknown_outputs": _share(UNKNOWN in output for output in outputs),
    } | {f"new_{name}": _share(one not in has for one, has in of) for name, of in new.items()}


def fragments(output: Sequence[str], source: Sequence[str]) -> list[int]:
    """The lengths of the fragments of the source that an output consists of.

    The output is read from left to right.  At each word, the longest fragment that begins there is
    taken, and reading goes on behind it; a word that is not in the source belongs to none.

    >>> fragments("oil is up today".split(), "gas is up oil is cheap".split())
    [2, 1]
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(source):
        places.setdefault(word, []).append(place)
    lengths, begin = [], 0
    while begin < len(output):
        longest = 0
        for place in places.get(output[begin], ()):
            end = 0
            for one, other in zip(output[begin:], source[place:], strict=False):
                if one != other:
                    break
                end += 1
            longest = max(longest, end)
        lengths.append(longest)
        begin += max(longest, 1)
    return [length for length in lengths if length]


def _words(text: str) -> list[str]:
    """The words of a text, as they are spelled."""
    return [word for word in split_words(text) if any(map(str.isalnum, word))]


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))


def _share(flags: Iterable[bool]) -> float:
    """The share of true ones; 0 if there are none at all."""
    values = list(flags)
    return sum(values) / max(len(values), 1)
