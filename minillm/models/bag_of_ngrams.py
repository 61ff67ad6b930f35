"""The bag of n-grams: a linear text classifier.

    x_g = 1 / sqrt(n of g's group)               for each different n-gram g of the text
    logits = sum over g of x_g W[g] + b
    P(label | text) = softmax(logits)

The groups are the words, the pairs and the triples of words, and the n-grams of characters within
words (see :mod:`minillm.text.ngrams`).  The vector x of each group has the length 1, however many
n-grams it has.  So a few triples count next to hundreds of n-grams of characters, and a short text
counts as much as a long one.  There is no hidden layer: a word that occurs in a few texts of one
label counts for this label at once.

**The first weights** are a tenth of those that naive Bayes would have, which needs no training:

    W[g, c] = 0.1 log(P(g | c) / P(g | another label)),  P(g | c) = (n(g, c) + 1) / (n(c) + n)

where n(g, c) texts of label c have g, n(c) is their sum, and n the number of n-grams that occur.
Gradient descent begins with frequent n-grams, and stops before it has come to the rare ones: these
keep what their counts say.

Legend: B batch, G n-grams of a text, V buckets, C classes.

Source: Joulin, Grave, Bojanowski and Mikolov (2016), "Bag of tricks for efficient text
classification", without their hidden layer, which averages all n-grams equally; Wang and Manning
(2012), "Baselines and bigrams: simple, good sentiment and topic classification", for counting each
n-gram once, and for naive Bayes (section 2.2); its share of a tenth is ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers.fresh import ParamSpec
from minillm.layers.types import Backward, Rng
from minillm.models import base, sizes
from minillm.ops.padding import length_mask
from minillm.text.ngrams import GROUPS

FIRST = 0.1  # of the weights of naive Bayes, to begin with


@dataclass(frozen=True)
class BagConfig:
    """The sizes of a bag of n-grams."""

    classes: int  # C
    buckets: int = 1 << 18  # V, of the hashed n-grams

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "classes")
        sizes.check_at_least(self, GROUPS, "buckets")
        if self.buckets % GROUPS:
            raise sizes.wrong(self, "buckets", f"a multiple of {GROUPS}")


class Bag(base.LabelModel[BagConfig]):
    """A row of weights for each n-gram.  ``params``: ``ngrams.W`` (V, C) and ``ngrams.b`` (C,)."""

    @staticmethod
    def new_parameters(config: BagConfig) -> dict[str, ParamSpec]:
        """Declare zeros, so an n-gram that was never seen in training has no influence."""
        c = config
        return {"ngrams.W": ParamSpec((c.buckets, c.classes)), "ngrams.b": ParamSpec((c.classes,))}

    def forward(self, ids: NDArray, lengths: NDArray, rng: Rng = None) -> tuple[NDArray, Backward]:
        """ids (B, G), lengths (B,) -> logits (B, C).  There is no dropout, and nothing to draw.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        x = self.weights(ids, lengths)  # (B, G)
        rows, embedding_backward = ops.embedding(ids, self.params["ngrams.W"])  # (B, G, C)
        logits = np.einsum("bg,bgc->bc", x, rows) + self.params["ngrams.b"]

        def backward(dlogits):
            # logits = sum over g of x_g W[g] + b:
            dW = embedding_backward(x[:, :, None] * dlogits[:, None, :])
            return {"ngrams.W": dW, "ngrams.b": dlogits.sum(axis=0)}

        return logits, backward

    def begin_with_counts(self, ids: NDArray, lengths: NDArray, classes: NDArray) -> None:
        """Set W to its first weights (the top of this page).

        ids (sum of lengths,): the n-grams of all training texts, end to end; lengths (N,) and
        classes (N,): of each text.
        """
        W, V = self.params["ngrams.W"], self.config.buckets
        total, of_id = np.bincount(ids, minlength=V), np.repeat(classes, lengths)
        n = np.count_nonzero(total)
        for c in range(self.config.classes):
            count = np.bincount(ids[of_id == c], minlength=V)
            here, elsewhere = ((part + 1) / (part.sum() + n) for part in (count, total - count))
            W[:, c] = FIRST * np.log(here / elsewhere) * (total > 0)

    def weights(self, ids: NDArray, lengths: NDArray) -> NDArray:
        """x (B, G): 1 / sqrt(n of the group), and 0 where there is no n-gram."""
        real = length_mask(checks.sequence_lengths("bag", lengths, *ids.shape), ids.shape[1])
        groups = ids // (self.config.buckets // GROUPS)
        x = np.zeros(ids.shape, self.dtype)
        for group in range(GROUPS):
            members = real & (groups == group)
            n = members.sum(axis=1, keepdims=True)
            x += members / np.sqrt(np.maximum(n, 1)).astype(self.dtype)
        return x
