"""What a model is measured by."""

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError


def bits(nats: float) -> float:
    """Nats as bits: nats / ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """The perplexity exp(H) of a mean cross-entropy of H nats a token.

    A model with perplexity k is as unsure, on average, as a throw of a fair die of k sides.
    """
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


# --- outputs against references ----------------------------------------------------
#
# An output may have several references: those that equal it, come nearest to it, or
# share most with it count, as each measure is defined.


def exact_match(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of outputs that equal one of their references."""
    right = [output in known for output, known in zip(outputs, references, strict=True)]
    return sum(right) / len(right)


def token_error_rate(
    outputs: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> float:
    """Insertions, deletions and substitutions per reference token.

        sum of the edit distance to the nearest reference / sum of that reference's length

    Of words it is the word error rate of speech recognition, of phonemes the phoneme error
    rate.  Of references at one distance the first counts.  Needs rapidfuzz.
    Source: Levenshtein (1966), "Binary codes capable of correcting deletions, insertions,
    and reversals".
    """
    distance = _imported("rapidfuzz.distance").Levenshtein.distance
    edits = tokens = 0
    for output, known in zip(outputs, references, strict=True):
        distances = [distance(output, reference) for reference in known]
        nearest = distances.index(min(distances))
        edits += distances[nearest]
        tokens += len(known[nearest])
    return edits / tokens


def bleu(
    outputs: Sequence[str], references: Sequence[Sequence[str]], tokenised: bool = False
) -> float:
    """BLEU of a corpus, 0 to 100, as sacrebleu computes it.

    ``tokenised``: words and marks stand between spaces already.
    Source: Papineni et al. (2002); Post (2018), "A call for clarity in reporting BLEU scores".
    """
    metric = _imported("sacrebleu").BLEU(
        tokenize="none" if tokenised else "13a",
        force=tokenised,  # no warning that the text looks tokenised
    )
    return metric.corpus_score(list(outputs), _columns(references)).score


def chrf(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF2 of a corpus, 0 to 100, as sacrebleu computes it.  Source: Popovic (2015)."""
    return _imported("sacrebleu").CHRF().corpus_score(list(outputs), _columns(references)).score


def rouge(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, each the mean F over outputs, 0 to 1.

    The best reference of each output counts.
    Source: Lin (2004), "ROUGE: a package for automatic evaluation of summaries"; as the
    package rouge-score computes it, without stemming.
    """
    kinds = ("rouge1", "rouge2", "rougeL")
    scorer = _imported("rouge_score.rouge_scorer").RougeScorer(list(kinds))
    totals = dict.fromkeys(kinds, 0.0)
    for output, known in zip(outputs, references, strict=True):
        best = scorer.score_multi(list(known), output)
        for kind in kinds:
            totals[kind] += best[kind].fmeasure
    return {kind: total / len(outputs) for kind, total in totals.items()}


def _columns(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """First references, second ones, and so on, None where an output has no more."""
    most = max(len(known) for known in references)
    return [[known[k] if k < len(known) else None for known in references] for k in range(most)]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0].replace("_", "-")
        raise InputError(
            f"this metric needs the package {package} (pip install minillm[metrics])"
        ) from None


# --- classes --------------------------------------------------------------------------


def confusion_matrix(
    predicted: NDArray[np.integer], actual: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """How often what (row) was taken for what (column), (classes, classes)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (actual, predicted), 1)
    return matrix


def accuracy(matrix: NDArray[np.integer]) -> float:
    """The share that was taken for what it is, of a confusion matrix."""
    return float(np.trace(matrix) / matrix.sum())


def macro_f1(matrix: NDArray[np.integer]) -> float:
    """The mean over classes of F1 = 2 right / (taken for it + is it), of a confusion matrix.

    A class that neither occurs nor was predicted has no F1, and is left out.
    """
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    right = np.diagonal(matrix)
    return float(np.mean(2 * right[total > 0] / total[total > 0]))
