"""Measures of models: probabilities, outputs, answers, summaries, classes, pairs and vectors."""

import importlib
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise, zip_longest
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import InputError, missing_extra
from minillm.models.vectors import Vectors
from minillm.text.words import split_words

# --- probabilities -------------------------------------------------------------------


def frequency_loss(training: NDArray, held_out: NDArray) -> float:
    """The cross-entropy in nats of predicting held-out ids by their training frequencies.

    Ids (N,) and (M,).  One is added to each count, so that no id is impossible.
    """
    counts = np.bincount(training, minlength=int(held_out.max()) + 1) + 1
    return float(np.log(counts.sum()) - np.log(counts[held_out]).mean())


def bits(nats: float) -> float:
    """Convert nats to bits: nats / ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """The perplexity exp(H) of a mean cross-entropy of H nats per token.

    A model of perplexity k is, on average, as uncertain as if it chose among k equally probable
    tokens.
    """
    with np.errstate(over="ignore"):
        return float(np.exp(nats))


# --- outputs against references ------------------------------------------------------
#
# An output may have several references.  Each measure defines which of them counts.

Texts = Sequence[str]
References = Sequence[Sequence[str]]


def has_packages() -> bool:
    """Whether the packages of BLEU, chrF and ROUGE are installed (the extra "metrics")."""
    return all(map(find_spec, ("sacrebleu", "rouge_score")))


def measure_texts(
    outputs: Texts,
    references: References,
    split: Callable[[str], Sequence[str]] = list,
    tokenised: bool = False,
) -> dict[str, float]:
    """All measures of outputs (N texts) against references (for each output, some texts).

    ``split`` splits a text into tokens; ``tokenised`` says whether words and punctuation marks are
    already separated by spaces.  Without :func:`has_packages`, there are only the first two.
    """
    results = {
        "exact_match": exact_match(outputs, references),
        "token_error_rate": token_error_rate(outputs, references, split),
    }
    if not has_packages():
        return results
    overlap = {"bleu": bleu(outputs, references, tokenised), "chrf": chrf(outputs, references)}
    return results | overlap | rouge(outputs, references)


def exact_match(outputs: Texts, references: References) -> float:
    """The proportion of outputs that equal one of their references."""
    equal = [output in texts for output, texts in zip(outputs, references, strict=True)]
    return sum(equal) / len(equal)


def token_error_rate(
    outputs: Texts, references: References, split: Callable[[str], Sequence[str]] = list
) -> float:
    """The insertions, deletions and substitutions per reference token.

        sum of the edit distances to the nearest references / sum of the lengths of these references

    Tokens are characters, unless ``split`` splits the texts in another way.  For words this is the
    word error rate of speech recognition, for phonemes the phoneme error rate.  The first of
    equally near references counts.
    """
    edits = tokens = 0
    for output, known in zip(outputs, references, strict=True):
        expected = [split(reference) for reference in known]
        distances = [edit_distance(split(output), reference) for reference in expected]
        nearest = distances.index(min(distances))
        edits += distances[nearest]
        tokens += len(expected[nearest])
    return edits / tokens


def bleu(outputs: Texts, references: References, tokenised: bool = False) -> float:
    """The BLEU of a corpus, 0 to 100.  Needs sacrebleu.

    Source: Papineni et al. (2002); Post (2018), "A call for clarity in reporting BLEU scores".
    """
    tokenizer = "none" if tokenised else "13a"
    metric = _imported("sacrebleu").BLEU(tokenize=tokenizer, force=tokenised)  # force: no warning
    return metric.corpus_score(list(outputs), [*zip_longest(*references)]).score


def chrf(outputs: Texts, references: References) -> float:
    """The chrF2 of a corpus, 0 to 100.  Needs sacrebleu.  Source: Popovic (2015)."""
    return (
        _imported("sacrebleu").CHRF().corpus_score(list(outputs), [*zip_longest(*references)]).score
    )


def rouge(outputs: Texts, references: References) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L: the mean F1 over outputs, 0 to 1.  Needs rouge-score.

    See :func:`rouge_scores`.  Published tables show a hundred times these figures.
    """
    score = rouge_scores()
    scores = [score(output, known) for output, known in zip(outputs, references, strict=True)]
    return {kind: sum(one[kind] for one in scores) / len(scores) for kind in scores[0]}


def rouge_scores() -> Callable[[str, Sequence[str]], dict[str, float]]:
    """A function that scores an output against its references.

    ROUGE-1 and ROUGE-2 are the F1 of the words and of the pairs of words that both texts have,
    ROUGE-L of their longest common subsequence.  For each of them the best reference counts.  As in
    published figures, suffixes are stripped (Porter's stemmer), and words consist of the letters a
    to z and digits, in lower case.

    Sources: Lin (2004), "ROUGE: a package for automatic evaluation of summaries", section 2.1 for
    several references; Porter (1980), "An algorithm for suffix stripping".
    """
    tokenizers = _imported("rouge_score.tokenizers")
    # Stemming takes most of the time, and an extract's sentences are scored again and again.
    tokenize = lru_cache(maxsize=4096)(tokenizers.DefaultTokenizer(use_stemmer=True).tokenize)
    scorer = _imported("rouge_score.rouge_scorer").RougeScorer(
        ["rouge1", "rouge2", "rougeL"], tokenizer=SimpleNamespace(tokenize=tokenize)
    )

    def score(output: str, known: Sequence[str]) -> dict[str, float]:
        best = scorer.score_multi(list(known), output)
        return {kind: float(of_kind.fmeasure) for kind, of_kind in best.items()}

    return score


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions that turn one sequence into other.

        d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (one[i] != other[j]))

    The middle term is resolved for a whole row: d[i, j] - j is the least so far from the left.

    >>> edit_distance("kitten", "sitting")
    3

    Sources: Levenshtein (1966), "Binary codes capable of correcting deletions, insertions, and
    reversals"; Wagner and Fischer (1974), "The string-to-string correction problem".
    """
    number: dict[str, int] = {}
    ids = np.array([number.setdefault(token, len(number)) for token in other], np.int64)
    places = np.arange(len(other) + 1)
    row = places  # d[0]: insertions only
    for i, token in enumerate(one, start=1):
        without_insertion = row + 1
        without_insertion[0] = i
        substituted = row[:-1] + (ids != number.get(token, -1))
        np.minimum(without_insertion[1:], substituted, out=without_insertion[1:])
        row = np.minimum.accumulate(without_insertion - places) + places
    return int(row[-1])


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise missing_extra("this measure", "metrics") from None


# --- answers to questions ------------------------------------------------------------
#
# These are defined by SQuAD's evaluation.  A question may have several references.  Without any, it
# has no answer, and its reference is empty.
#
# Sources: Rajpurkar, Zhang, Lopyrev and Liang (2016), "SQuAD", section 6.1; Rajpurkar, Jia and
# Liang (2018), "Know what you don't know", for questions without an answer.

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised_answer(text: str) -> list[str]:
    """The words of an answer in lower case, without ASCII punctuation, without articles.

    >>> normalised_answer("The  well-known U.S. (a state)")
    ['wellknown', 'us', 'state']
    """
    text = text.lower().translate(_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def answer_exact(answer: str, references: Sequence[str]) -> float:
    """1 if the answer has the words of one of its references, in the same order, otherwise 0."""
    return float(normalised_answer(answer) in _references(references))


def answer_f1(answer: str, references: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words, for the best of the references.

    A word counts as often as it occurs in both.  An empty answer scores 1 if the reference is
    empty, otherwise 0.

    >>> answer_f1("the cat sat", ["a black cat", "dog"])
    0.5
    """
    words = normalised_answer(answer)
    return max(_f1(words, known) for known in _references(references))


def _references(references: Sequence[str]) -> list[list[str]]:
    """The words of the references that have any; otherwise one empty reference."""
    return [words for words in map(normalised_answer, references) if words] or [[]]


def _f1(words: list[str], known: list[str]) -> float:
    if not words or not known:
        return float(words == known)
    common = (Counter(words) & Counter(known)).total()
    # precision = common / words, recall = common / known: 2 p r / (p + r)
    return 2 * common / (len(words) + len(known))


def measure_answers(
    answers: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Exact match and F1 in percent; F1 also of the questions with and without an answer."""
    pairs = list(zip(answers, references, strict=True))
    f1 = 100 * np.array([answer_f1(*pair) for pair in pairs])
    exact = 100 * np.array([answer_exact(*pair) for pair in pairs])
    answered = np.array([bool(known) for known in references])
    results = {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
    if not answered.all() and answered.any():
        results["f1_answered"] = float(f1[answered].mean())
        results["f1_unanswered"] = float(f1[~answered].mean())
    return results


# --- summaries against their sources --------------------------------------------------
#
# They need no reference.  An extract has no new word and copies long fragments; a model that
# invents has new numbers and new names; a model that has learned little writes the same summary for
# every source, or repeats itself.  Words are compared in lower case, without punctuation marks.
#
# Density is the mean length of the copied fragment that a word belongs to; a new word counts 0:
#
#     density of an output = sum over its fragments f of |f|^2 / number of its words
#
# Source: Grusky, Naaman and Artzi (2018), "Newsroom: a dataset of 1.3 million summaries with
# diverse extractive strategies", section 4.1.  Their coverage is 1 - new_words, because a fragment
# may have one word.


def measure_summaries(outputs: Texts, sources: Texts) -> dict[str, float]:
    """The measures of outputs (N texts) against their sources (N texts), by name.

    - ``words``: the mean number of words of an output; ``density``: its mean.
    - ``new_words``, ``new_bigrams``: the shares of words, and of pairs of neighbouring words, that
      the source lacks.
    - ``new_names``: the share of capitalised words that the source lacks, even in lower case;
      without the first word of an output.  Capitals are a cheap sign of names.
    - ``new_numbers``: the share of words with a digit that the source lacks.
    - ``repeated_trigrams``: the share of outputs in which three words in a row occur twice.
    - ``distinct_outputs``: the number of different outputs, divided by the number of sources.

    Shares are over all outputs together, 0 to 1; a share of nothing is 0.

    >>> measured = measure_summaries(["Oil is up today"], ["Gas is up, oil is cheap"])
    >>> measured["density"], measured["new_words"], measured["new_bigrams"]
    (1.25, 0.25, 0.3333333333333333)
    >>> measure_summaries(["12 of 3.5 in Q4", "at 7"], ["3.5 in q4", "7"])["new_numbers"]
    0.25
    """
    new: dict[str, list[bool]] = {"words": [], "bigrams": [], "names": [], "numbers": []}
    densities, repeated = [], []
    for output, source in zip(outputs, sources, strict=True):
        words, read = _words(output.lower()), _words(source.lower())
        known, pairs = {*read}, {*pairwise(read)}
        names = [word.lower() for word in _words(output)[1:] if word[0].isupper()]
        new["words"] += [word not in known for word in words]
        new["bigrams"] += [pair not in pairs for pair in pairwise(words)]
        new["names"] += [name not in known for name in names]
        new["numbers"] += [word not in known for word in words if any(map(str.isdigit, word))]
        trigrams = [*zip(words, words[1:], words[2:], strict=False)]
        repeated.append(len({*trigrams}) < len(trigrams))
        densities.append(sum(n**2 for n in fragments(words, read)) / max(len(words), 1))
    return {
        "words": len(new["words"]) / len(outputs),
        "density": sum(densities) / len(outputs),
        "repeated_trigrams": sum(repeated) / len(outputs),
        "distinct_outputs": len({*outputs}) / len({*sources}),
        **{f"new_{name}": sum(flags) / max(len(flags), 1) for name, flags in new.items()},
    }


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


# --- classes -------------------------------------------------------------------------


def confusion_matrix(
    predicted: NDArray[np.integer], actual: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Count the items of class i (row) that were predicted as class j (column)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (actual, predicted), 1)
    return matrix


def measure_classes(matrix: NDArray[np.integer]) -> dict[str, float]:
    """All measures of a confusion matrix; accuracy is the proportion of correct predictions."""
    return {"accuracy": float(np.trace(matrix) / matrix.sum()), "macro_f1": macro_f1(matrix)}


def macro_f1(matrix: NDArray[np.integer]) -> float:
    """The mean of F1 over the classes that occur or are predicted.

    F1 = 2 correct / (predicted as the class + actually of the class)
    """
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    correct = np.diagonal(matrix)
    return float(np.mean(2 * correct[total > 0] / total[total > 0]))


# --- minimal pairs -------------------------------------------------------------------


def interval_of_share(share: float, n: int) -> tuple[float, float]:
    """The 95% interval of a probability of which a share of n trials was observed.

    It contains each p for which the share is at most z = 1.96 standard deviations off, that is
    |share - p| <= z sqrt(p (1 - p) / n).  The bounds solve this quadratic equation:

        (share + z^2 / 2n  +-  z sqrt(share (1 - share) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    >>> [round(bound, 3) for bound in interval_of_share(1.0, 12)]
    [0.757, 1.0]

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    z = 1.96
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def measure_minimal_pairs(good: ArrayLike, bad: ArrayLike) -> dict[str, float]:
    """The share of N pairs in which the good sentence scores higher, with its 95% interval.

    Scores (N,).  A tie counts one half, as much as guessing is worth, and ties are counted.

    >>> measure_minimal_pairs([-3.0, -5.0, -4.0], [-4.0, -5.0, -3.0])["accuracy"]
    0.5
    """
    good, bad = np.asarray(good), np.asarray(bad)
    ties, n = int((good == bad).sum()), len(good)
    accuracy = (int((good > bad).sum()) + ties / 2) / n
    low, high = interval_of_share(accuracy, n)
    return {"pairs": n, "accuracy": accuracy, "low": low, "high": high, "ties": ties}


# --- vectors of words and of texts ---------------------------------------------------


def cosines(vector: NDArray, vectors: NDArray) -> NDArray:
    """The cosines (N,) of the angles between a vector (D,) and others (N, D); 0 for zeros.

    >>> cosines(np.array([2.0, 0.0]), np.array([[1.0, 1.0], [0.0, 0.0]])).round(3).tolist()
    [0.707, 0.0]
    """
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    return (vectors @ vector) / np.where(lengths > 0, lengths, 1)


def similarity_correlation(
    vectors: Vectors, pairs: Sequence[tuple[str, str, float]]
) -> tuple[float, int]:
    """The rank correlation of cosines and human scores, and the number of pairs used.

    Pairs with an unknown word do not count.  InputError if fewer than two remain.
    """
    known = [pair for pair in pairs if pair[0] in vectors.ids and pair[1] in vectors.ids]
    if len(known) < 2:
        raise InputError(
            f"expected 2 pairs or more that the model knows, found {len(known)} of {len(pairs)}"
        )
    cosines = [vectors.similarity(a, b) for a, b, _ in known]
    return rank_correlation(cosines, [score for _, _, score in known]), len(known)


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation (1904) of x and y, both (N,); equal values share their mean rank.

    InputError if all values of x or of y are equal, because then it is not defined.
    """
    ranks = []
    for values in (x, y):
        _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[group])
        if len(counts) == 1:
            raise InputError("expected values that can be ranked, found all equal")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def analogy_accuracy(
    vectors: Vectors, sections: Mapping[str, Sequence[tuple[str, str, str, str]]]
) -> dict[str, tuple[int, int, int]]:
    """Count the analogies of each section: solved, of known words, and all.

    "a is to b as c is to d" is solved if d is the word nearest to b - a + c, except a, b and c.
    """
    results = {}
    directions = vectors.directions
    for name, analogies in sections.items():
        known = [[vectors.ids[w] for w in q] for q in analogies if all(w in vectors.ids for w in q)]
        solved = 0
        for begin in range(0, len(known), 256):
            a, b, c, d = np.array(known[begin : begin + 256]).T
            scores = (directions[b] - directions[a] + directions[c]) @ directions.T
            rows = np.arange(len(d))
            for word in (a, b, c):
                scores[rows, word] = -np.inf
            solved += int(np.sum(scores.argmax(axis=1) == d))
        results[name] = (solved, len(known), len(analogies))
    return results
