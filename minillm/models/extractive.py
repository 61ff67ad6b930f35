"""Extractive summaries: sentences of the text itself, chosen without training.

Each function returns sentences in the order of the text.

**Lead**: the first sentences, a strong baseline for texts that begin with their topic, such as news
and letters.

**TextRank**: the sentences that have the most words in common with the others.  Sentences are the
vertices of a graph, and an edge weighs the words that two sentences share.  Long sentences share
some words by chance, so their lengths divide it:

    S_ij = |words of i and of j| / (log N_i + log N_j),  S_ii = 0

where N_i is the number of words of i.

A random reader follows an edge with a probability in proportion to its weight, or, with the
probability 1 - d, starts again anywhere.  The score of a vertex is the time that the reader spends
there:

    x_i = (1 - d) + d sum over j of x_j S_ji / sum over k of S_jk

This is PageRank.  The right side is a contraction with the factor d, so iterating it from any
scores converges to its only solution.  A vertex without edges has the smallest score, 1 - d.  If
each vertex has an edge, the mean of the scores is 1.

**Oracle**: the sentences that are most similar to summaries that people wrote.  It knows these
summaries: no other sentence of the text scores better than the oracle's.

Sources: Mihalcea and Tarau (2004), "TextRank: bringing order into texts", equation 2 and section
4.1; Brin and Page (1998), "The anatomy of a large-scale hypertextual web search engine"; Nallapati,
Zhai and Zhou (2017), "SummaRuNNer", section 3, for the greedy oracle.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.text.sentences import sentences

DAMPING = 0.85  # d
TOLERANCE = 1e-6  # of a score
PART = 1000  # sentences of a graph at most: its matrix has 8 MB

_WORD = re.compile(r"[^\W_]+")


def lead(text: str, count: int = 1) -> list[str]:
    """The first sentences of a text.

    >>> lead("Dr. Hill wrote. She asks for help. Call her.", 2)
    ['Dr. Hill wrote.', 'She asks for help.']
    """
    _check(count)
    return sentences(text)[:count]


def textrank(text: str, count: int = 1) -> list[str]:
    """The sentences with the largest scores of TextRank.

    Of equal scores, the first counts.  Words are what white space and punctuation marks separate.
    A text of more than ``PART`` sentences is ranked in parts of equal size.  Each part has a graph
    of its own, so time and memory grow with the length of the text rather than with its square.
    The scores of parts are comparable because their mean is 1.

    >>> textrank("Hello. The cat sat on a mat. A dog saw the cat. The dog sat.")
    ['A dog saw the cat.']
    """
    _check(count)
    found = sentences(text)
    if not found:
        return []
    parts = np.array_split(np.arange(len(found)), -(-len(found) // PART))
    scores = [rank(common_words([found[i] for i in part])) for part in parts]
    best = np.argsort(-np.concatenate(scores), kind="stable")[:count]
    return [found[i] for i in sorted(best)]


def common_words(sentences: Sequence[str]) -> NDArray[np.float64]:
    """S (n, n): the different words that two sentences share, by their lengths; 0 on the diagonal.

    Words are compared in lower case.  Two sentences of one word have no logarithm to divide by, and
    no edge.
    """
    words = [_WORD.findall(sentence.lower()) for sentence in sentences]
    ids = {word: number for number, word in enumerate(sorted({w for s in words for w in s}))}
    X = np.zeros((len(words), len(ids)), np.float32)  # whether a sentence has a word
    for row, sentence in zip(X, words, strict=True):
        row[[ids[word] for word in sentence]] = 1
    logarithms = np.log([max(len(sentence), 1) for sentence in words])
    lengths = logarithms[:, None] + logarithms
    S = (X @ X.T) / np.where(lengths > 0, lengths, np.inf)
    np.fill_diagonal(S, 0)
    return S


def rank(S: NDArray, damping: float = DAMPING) -> NDArray[np.float64]:
    """x (n,): the score of each vertex of a graph with weights S (n, n), of which none is negative.

    >>> rank(np.array([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]])).round(2).tolist()
    [1.46, 0.77, 0.77]
    """
    totals = S.sum(axis=1, keepdims=True)
    steps = S / np.where(totals > 0, totals, 1)  # the probability of a step from row to column
    x, change = np.ones(len(S)), np.inf
    while change > TOLERANCE:
        before, x = x, (1 - damping) + damping * (x @ steps)
        change = np.abs(x - before).max()
    return x


def oracle(
    text: str,
    references: Sequence[str],
    score: Callable[[str, Sequence[str]], float],
    count: int = 1,
) -> list[str]:
    """The sentences that together score best against the references, chosen greedily.

    ``score(summary, references)``, for example a ROUGE.  A sentence is added as long as the score
    grows, up to ``count`` sentences.

    >>> def common(summary, references):
    ...     return len({*summary.lower().split()} & {*references[0].lower().split()})
    >>> oracle("We met. It rains in Rome. They left.", ["rain in rome", "it rains"], common)
    ['It rains in Rome.']
    """
    _check(count)
    found = sentences(text)
    chosen: list[int] = []
    best = -np.inf
    for _ in range(min(count, len(found))):
        candidates = [sorted([*chosen, i]) for i in range(len(found)) if i not in chosen]
        scores = [score(" ".join(found[i] for i in c), references) for c in candidates]
        if max(scores) <= best:
            break
        best = max(scores)
        chosen = candidates[scores.index(best)]
    return [found[i] for i in chosen]


def _check(count: int) -> None:
    if count < 1:
        raise ValueError(f"count: expected 1 or more, found {count}")
