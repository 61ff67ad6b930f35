"""Class n-grams: words are sorted into classes, and n-grams of classes predict the next word.

    p(w_t | w_1 .. w_{t-1}) = p(c_t | c_{t-n+1} .. c_{t-1}) p(w_t | c_t)        c_t = class of w_t

With C classes there are C^n n-grams in place of V^n, and what was seen after one word of a class
holds after all others.

The classes.  Let n_cd count how often a word of class d follows one of class c, and n_c. and n_.d
be the sums of a row and of a column.  With maximum likelihood, a bigram model of classes gives its
text of N pairs the log-probability

    sum over cd of n_cd log(n_cd / n_c.) + sum over w of n_w log(n_w / n_.c(w))
        = N I + sum over w of n_w log(n_w / N)
    N I = sum over cd of n_cd log(n_cd N / (n_c. n_.d))

The last sum has no classes in it: the best classes have the largest *mutual information* I
between neighbours.  Every merge of two classes loses some.  Brown's algorithm is greedy: the C most
frequent words begin as a class each; then the next word becomes a class of its own, and the two of
the C + 1 classes that lose least are merged, until all words have a class.

The loss.  With h(n) = n log n, N I = sum of h(n_cd) - sum of h(n_c.) - sum of h(n_.d) + h(N).  A
merge of i and j replaces two rows by their sum, two columns by theirs, and four entries by one.

Source: Brown, Della Pietra, de Souza, Lai and Mercer (1992), "Class-based n-gram models of natural
language".
"""

import numpy as np
from numpy.typing import NDArray

from minillm.layers.types import Ids
from minillm.models.ngram import NGramConfig, count_ngrams, estimate


def h(n: NDArray) -> NDArray:
    """n log n, and 0 for 0."""
    return n * np.log(np.maximum(n, 1))


def pair_counts(ids: Ids, size: int) -> NDArray:
    """Count how often id b follows id a in a text: (T,) -> (size, size)."""
    pairs = np.bincount(ids[:-1].astype(np.int64) * size + ids[1:], minlength=size * size)
    return pairs.reshape(size, size).astype(float)


def mutual_information(n: NDArray) -> float:
    """I of neighbours, in nats, from the counts of their classes n (C, C)."""
    N = n.sum()
    return (h(n).sum() - h(n.sum(axis=0)).sum() - h(n.sum(axis=1)).sum() + h(N)) / N


def losses(n: NDArray) -> NDArray:
    """The loss of N I where classes i and j are merged: n (C, C) -> (C, C), infinite on i = j."""
    both = _rows_added(n) + _rows_added(n.T)
    d = np.diag(n)
    both += h(d[:, None] + d + n + n.T) - h(d)[:, None] - h(d) - h(n) - h(n.T)
    for total in (n.sum(axis=0), n.sum(axis=1)):
        both += h(total)[:, None] + h(total) - h(total[:, None] + total)
    np.fill_diagonal(both, -np.inf)
    return -both


def _rows_added(n: NDArray) -> NDArray:
    """The change of sum of h(n) where row j is added to row i, without the columns i and j."""
    alone, own = h(n), h(np.diag(n)[:, None] + n.T)  # own[i, j]: column i of the sum of both rows
    apart = alone.sum(axis=1)[:, None] - np.diag(alone)[:, None] - alone  # of row i
    return h(n[:, None] + n).sum(axis=2) - own - own.T - apart - apart.T


def brown_classes(ids: Ids, vocabulary: int, classes: int) -> Ids:
    """The class of each word, (V,), from a text (T,) in which small ids are frequent words."""
    n, class_of = pair_counts(ids, vocabulary), np.arange(vocabulary)
    names = list(range(classes))  # a class has the id of its first word
    for word in range(classes, vocabulary):
        names.append(word)
        loss = losses(n[np.ix_(names, names)])
        i, j = sorted(divmod(int(loss.argmin()), len(names)))
        first, second = names[i], names.pop(j)
        n[first] += n[second]
        n[:, first] += n[:, second]
        class_of[class_of == second] = first
    return np.unique(class_of, return_inverse=True)[1].astype(np.int32)


class ClassNGram:
    """An n-gram model of classes, by Kneser-Ney, and the share of each word in its class.

    Trained on a text (T,), in which each word of the vocabulary occurs.
    """

    def __init__(self, ids: Ids, class_of: Ids, order: int) -> None:
        self.class_of, C = class_of, int(class_of.max()) + 1
        counts = count_ngrams(np.append(C, class_of[ids]), order, start=C)
        self.of_classes = estimate(counts, NGramConfig(vocabulary=C, order=order))
        n = np.bincount(ids, minlength=len(class_of))
        self.log_share = np.log(n / np.bincount(class_of, n)[class_of])  # log p(w | class of w)

    def probabilities(self, ids: Ids) -> NDArray:
        """log p of each token of a text given the tokens before it: (T,) -> (T,)."""
        log_p = self.of_classes.probabilities(self.class_of[ids]) * np.log(10)
        return log_p + self.log_share[ids]
