"""Scores: the log-probability of each token of a text, and the tokens that were more probable.

    log p_i = x_i - log sum_j exp(x_j)

These are the model's own probabilities, from the logits x (V,) as they are, so a text has the same
scores whichever way it was drawn: temperature, top-k and the other rules, penalties, biases, masks
and banned ids act after them.

The tokens of an answer are scored while it is written, and the tokens of a prompt while it is read:
a pass over a prompt predicts each of its tokens.  The choice among given endings, for example,
takes nothing else: the ending with the highest log-probability wins.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.sampling import rank
from minillm.ops.softmax import log_softmax


class Score(NamedTuple):
    """A token and its log-probability, None for the first of a text, which follows no other.

    ``top`` has the most probable tokens of its place with their log-probabilities, in order.
    """

    token: int
    log_p: float | None
    top: list[tuple[int, float]]


def score(logits: NDArray, token: int, top: int) -> Score:
    """The score of a token with these logits (V,), and the ``top`` most probable tokens."""
    log_p = log_softmax(np.asarray(logits, np.float64))
    best = rank(log_p, top)[:top].tolist() if top else []
    return Score(token, float(log_p[token]), [(one, float(log_p[one])) for one in best])
