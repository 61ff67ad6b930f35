"""Masking some tokens of a text, for a model that learns to predict them.

15% of the tokens of each row are predicted.  If all of them became [MASK], the model would learn
only about texts that contain [MASK], unlike real texts.  So of these

    80% become [MASK],
    10% become a random token, so that the model does not trust every token that it reads,
    10% do not change, so that it does not distrust every token, either.

Special tokens are neither masked nor drawn.

Sources: Devlin, Chang, Lee and Toutanova (2018), "BERT: pre-training of deep bidirectional
transformers for language understanding", section 3.1 and appendix A.1; the code published with it
for the number of places in a row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHOSEN = 0.15  # share of the tokens that are predicted
HIDDEN, REPLACED = 0.8, 0.1  # shares of these that become [MASK], or a random token


class MaskedBatch(NamedTuple):
    """Texts with tokens to predict: B rows of T tokens, M places.

    ids (B, T): the tokens that the model reads; lengths (B,) of the rows; segments (B, T): the
    part of the text that a token belongs to, 0 or 1; places (B, T): True at the tokens to predict;
    targets (M,): the original tokens there, row by row.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    segments: NDArray[np.int64]
    places: NDArray[np.bool_]
    targets: NDArray[np.int64]

    def part(self, rows: slice) -> "MaskedBatch":
        """Select rows."""
        ids, lengths, segments, places, targets = self
        taken = np.zeros(len(ids), bool)
        taken[rows] = True
        kept = targets[taken[np.nonzero(places)[0]]]
        return MaskedBatch(ids[rows], lengths[rows], segments[rows], places[rows], kept)


class Texts(NamedTuple):
    """Texts before masking: see :class:`MaskedBatch`."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    segments: NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """The tokens that may be masked.

    mask: the id of [MASK]; ordinary (V,): True for the ids that are not special.
    """

    mask: int
    ordinary: NDArray[np.bool_]

    def hide(self, texts: Texts, rng: np.random.Generator) -> MaskedBatch:
        """Texts with some of their tokens masked.

        >>> texts = Texts(np.array([[0, 5, 6, 7, 5, 0]]), np.array([6]), np.zeros((1, 6), int))
        >>> masking = Masking(1, ordinary=np.arange(8) >= 5)
        >>> batch = masking.hide(texts, np.random.default_rng(1))
        >>> batch.ids.tolist(), batch.places.astype(int).tolist(), batch.targets.tolist()
        ([[0, 5, 1, 7, 5, 0]], [[0, 0, 1, 0, 0, 0]], [6])
        """
        ids, lengths, segments = texts
        may = self.ordinary[ids] & (np.arange(ids.shape[1]) < lengths[:, None])  # (B, T)
        places = choose_tokens(may, rng)
        dice = rng.random(ids.shape)
        drawn = rng.choice(np.flatnonzero(self.ordinary), ids.shape)
        read = np.where(places & (dice < HIDDEN + REPLACED), drawn, ids)
        read = np.where(places & (dice < HIDDEN), self.mask, read)
        return MaskedBatch(read, lengths, segments, places, ids[places])


def how_many(may: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of places to choose in each row (B,): 15% of the possible ones, at least one."""
    among = may.sum(axis=1)
    return np.minimum(among, np.maximum(1, np.rint(CHOSEN * among).astype(np.int64)))


def choose_tokens(may: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Some of the True places of each row, all equally likely; (B, T)."""
    lots = np.where(may, rng.random(may.shape), np.inf)
    ranks = lots.argsort(axis=1).argsort(axis=1)
    return ranks < how_many(may)[:, None]
