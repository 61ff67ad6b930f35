"""Measures of summaries against their sources: what is new in them, what is copied, what repeats.

They need no reference.  An extract has no new word and copies long fragments; a model that invents
has new numbers and new names; a model that has learned little writes the same summary for every
source, or repeats itself.

A function decorated with ``@summary_metric`` is measured by every evaluation of summaries.  Words
are compared in lower case, without punctuation marks.  Shares are over all outputs together, 0 to
1; a share of nothing is 0.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from minillm.text.words import UNKNOWN, split_words

Texts = Sequence[str]
SummaryMetric = Callable[[Texts, Texts], float]

SUMMARY_METRICS: dict[str, SummaryMetric] = {}


def summary_metric(metric: SummaryMetric) -> SummaryMetric:
    """Register a measure of outputs (N texts) against their sources (N texts)."""
    SUMMARY_METRICS[metric.__name__] = metric
    return metric


def measure_summaries(outputs: Texts, sources: Texts) -> dict[str, float]:
    """All registered measures of outputs against their sources."""
    return {name: metric(outputs, sources) for name, metric in SUMMARY_METRICS.items()}


@summary_metric
def words(outputs: Texts, sources: Texts) -> float:
    """The mean number of words of an output.

    >>> words(["Gas is up.", "No"], ["", ""])
    2.0
    """
    return sum(len(_words(output)) for output in outputs) / len(outputs)


@summary_metric
def new_words(outputs: Texts, sources: Texts) -> float:
    """The share of words that are not in the source.

    1 - new_words is the coverage of Grusky, Naaman and Artzi (2018): the share of words in
    fragments of the source, because a fragment may have one word.

    >>> new_words(["Gas prices up"], ["The price of gas is up."])
    0.3333333333333333
    """
    return _share(
        word not in known
        for output, source in zip(outputs, sources, strict=True)
        for known in [{*_words(source)}]
        for word in _words(output)
    )


@summary_metric
def new_bigrams(outputs: Texts, sources: Texts) -> float:
    """The share of pairs of neighbouring words that are not neighbours in the source.

    >>> new_bigrams(["gas is cheap"], ["Now gas is up, and oil is cheap"])
    0.0
    >>> new_bigrams(["oil is up now"], ["Now gas is up, and oil is cheap"])
    0.3333333333333333
    """
    return _share(
        bigram not in known
        for output, source in zip(outputs, sources, strict=True)
        for known in [{*_ngrams(_words(source), 2)}]
        for bigram in _ngrams(_words(output), 2)
    )


@summary_metric
def density(outputs: Texts, sources: Texts) -> float:
    """The mean length of the copied fragment that a word belongs to.

        density of an output = sum over its fragments f of |f|^2 / number of its words

    See :func:`fragments`; a new word counts 0.  If an output is a part of its source, its density
    is its number of words.  The mean over outputs is returned.

    >>> density(["oil is up today"], ["Gas is up, oil is cheap"])
    1.25

    Source: Grusky, Naaman and Artzi (2018), "Newsroom: a dataset of 1.3 million summaries with
    diverse extractive strategies", section 4.1.
    """
    total = 0.0
    for output, source in zip(outputs, sources, strict=True):
        written = _words(output)
        lengths = fragments(written, _words(source))
        total += sum(length**2 for length in lengths) / max(len(written), 1)
    return total / len(outputs)


@summary_metric
def new_names(outputs: Texts, sources: Texts) -> float:
    """The share of capitalised words that are not in the source, even in lower case.

    The first word of an output is not counted.  Capitals are a cheap sign of names.

    >>> new_names(["Call Ada and Bob"], ["ask ada to call me"])
    0.5
    """
    return _share(
        word.lower() not in known
        for output, source in zip(outputs, sources, strict=True)
        for known in [{*_words(source)}]
        for word in _spelled(output)[1:]
        if word[0].isupper()
    )


@summary_metric
def new_numbers(outputs: Texts, sources: Texts) -> float:
    """The share of numbers, which are words with a digit, that are not in the source.

    >>> new_numbers(["12 of 3.5 in Q4", "gas at 7"], ["3.5 in q4, and 11 more", "7"])
    0.25
    """
    return _share(
        word not in known
        for output, source in zip(outputs, sources, strict=True)
        for known in [{*_words(source)}]
        for word in _words(output)
        if any(character.isdigit() for character in word)
    )


@summary_metric
def repeated_trigrams(outputs: Texts, sources: Texts) -> float:
    """The share of outputs in which three words in a row occur twice.

    >>> repeated_trigrams(["it is up and it is up", "it is, it is"], ["", ""])
    0.5
    """
    trigrams = [list(_ngrams(_words(output), 3)) for output in outputs]
    return _share(len({*found}) < len(found) for found in trigrams)


@summary_metric
def distinct_outputs(outputs: Texts, sources: Texts) -> float:
    """The number of different outputs, divided by the number of different sources.

    >>> distinct_outputs(["A.", "A.", "A.", "B."], ["a", "b", "c", "d"])
    0.5
    """
    return len({*outputs}) / len({*sources})


@summary_metric
def unknown_outputs(outputs: Texts, sources: Texts) -> float:
    """The share of outputs with the unknown word.

    >>> unknown_outputs(["<unk> is up", "Gas is up"], ["", ""])
    0.5
    """
    return _share(UNKNOWN in output for output in outputs)


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
    lengths = []
    begin = 0
    while begin < len(output):
        longest = 0
        for place in places.get(output[begin], ()):
            pairs = zip(output[begin:], source[place : place + len(output)], strict=False)
            longest = max(longest, _equal_at_the_start(pairs))
        lengths.append(longest)
        begin += max(longest, 1)
    return [length for length in lengths if length]


def _equal_at_the_start(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _spelled(text: str) -> list[str]:
    """The words of a text, as they are spelled."""
    return [word for word in split_words(text) if any(map(str.isalnum, word))]


def _words(text: str) -> list[str]:
    return _spelled(text.lower())


def _ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[k:] for k in range(n)), strict=False)


def _share(flags: Iterable[bool]) -> float:
    """The share of true ones; 0 if there are none at all."""
    values = list(flags)
    return sum(values) / max(len(values), 1)
