"""A mixture of language models, whose weights are learned from the text as it is read.

    p(w | context) = sum over k of w_k p_k(w | context)        w_k >= 0, sum of w_k = 1

A network generalises, an n-gram model has memorised its training text, and a cache has counted the
text that is being read (:mod:`minillm.models.ngram_cache`).  Each is the best one for some tokens.
A mixture costs little where the other models are wrong: -log p is at most -log p_k - log w_k.

The weights.  The log-likelihood of T tokens is L(w) = sum over t of log(sum over k of w_k p_tk),
where p_tk is the probability that model k gave to token t.  With the present weights v, the share
of model k in the prediction of token t is its *responsibility*,

    r_tk = v_k p_tk / (sum over j of v_j p_tj)

By Jensen's inequality, the logarithm of a mean is at least the mean of the logarithms, so

    L(w) = sum over t of log(sum over k of r_tk (w_k p_tk / r_tk))
        >= sum over t and k of r_tk log(w_k p_tk / r_tk) = Q(w)

and both are equal at w = v.  So weights with a larger Q than Q(v) have a larger L, too.  Q is
largest under the constraint sum of w_k = 1 where dQ/dw_k = (sum over t of r_tk) / w_k is the same
for all k:

    w_k = (sum over t of r_tk) / T        the mean responsibility

This step of *expectation maximisation* never lowers L.

Reading.  The weights for a token may depend only on the tokens before it.  So the text is read in
blocks.  A block is scored with the weights so far; then its responsibilities are added to the sums
of the M step.  Each token is visited once, with the weights that scored it.  The first block is one
token, the later ones are longer.  The sums are scaled down to ``MEMORY`` tokens, so that old tokens
are forgotten.

Classes.  Which model to trust depends on the context: where the cache has seen a long one, it is
almost always right.  So each *class* of contexts has weights of its own, as in PPM and PAQ.  The
class of a token is computed from the tokens before it.  Each class starts with ``START`` imagined
tokens, which have the weights of all classes together.

Legend: K models, T tokens of a text, C classes.

Sources: Jelinek and Mercer (1980), "Interpolated estimation of Markov source parameters from sparse
data"; Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM
algorithm"; Neal and Hinton (1998), "A view of the EM algorithm that justifies incremental, sparse,
and other variants"; Cleary and Witten (1984), "Data compression using adaptive coding and partial
string matching", for PPM; Mahoney (2005), "Adaptive weighing of context models for lossless data
compression", for PAQ.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK = 64  # tokens that are scored with the same weights, at most
MEMORY = 200  # tokens of a class that its weights are learned from
START = 5  # tokens that a class starts with
LENGTHS = (0, 4, 8, 12, 20)  # the shortest contexts of the classes


def class_of(lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    """The class of each length of a context, from 0 to len(LENGTHS) - 1."""
    return np.searchsorted(LENGTHS, lengths, side="right") - 1


class Mixed(NamedTuple):
    """The probability of each token of a text (T,), and the weights that it was mixed with."""

    p: Floats
    weights: Floats  # (K, T)


class Mixture:
    """The weights of K models in C classes of contexts, as they are learned from a text."""

    def __init__(self, models: int, classes: int = 1):
        self.sums = np.zeros((classes, models))  # of responsibilities

    @property
    def weights(self) -> Floats:
        """The weights in each class: (C, K), each row sums to 1."""
        together = self.sums.sum(axis=0) + 1 / self.sums.shape[1]
        sums = self.sums + START * together / together.sum()
        return sums / sums.sum(axis=1, keepdims=True)

    def read(self, p: Floats, classes: NDArray[np.integer] | int = 0) -> Mixed:
        """Mix the probabilities of the tokens of a text, and learn from them: p (K, T).

        classes (T,) are known before the tokens.  Each block is mixed with weights from the blocks
        before it.
        """
        K, T = p.shape
        C = len(self.sums)
        classes = np.broadcast_to(classes, T)
        mixed = Mixed(np.empty(T), np.empty((K, T)))
        start = 0
        while start < T:
            block = slice(start, start + min(BLOCK, 1 + start))
            weights = self.weights[classes[block]].T  # (K, BLOCK)
            joint = weights * p[:, block]
            total = joint.sum(axis=0)
            mixed.p[block], mixed.weights[:, block] = total, weights
            # E step: r_tk = w_k p_tk / total.  M step: add them up.
            responsibilities = np.divide(joint, total, out=weights.copy(), where=total > 0)
            for k in range(K):
                self.sums[:, k] += np.bincount(classes[block], responsibilities[k], C)
            tokens = self.sums.sum(axis=1, keepdims=True)
            self.sums *= MEMORY / np.maximum(tokens, MEMORY)
            start = block.stop
        return mixed
