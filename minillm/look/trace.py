"""A trace of a model as it reads one text, as plain arrays.

Legend: T tokens of the text, S tokens of the source of a translator, V vocabulary, L layers, N
heads, H hidden width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import next_probabilities

MOST = 128  # tokens that are looked at


@dataclass(frozen=True)
class AttentionWeights:
    """The attention weights of all heads of all layers, from one sequence to another."""

    name: str
    queries: str  # "text", "source", or "inputs": BOS and the text without its last token
    keys: str
    weights: NDArray  # (L, N, queries, keys): each row sums to 1
    causal: bool = False  # no token looks at those after it


@dataclass(frozen=True)
class Trace:
    """A trace of a model as it reads one text.

    Token t of the text is predicted from a row of logits: by a language model from the tokens
    before it, by a translator also from the source, by a BERT from all others while it is hidden.
    The row after the last token, T, is the prediction of what comes next.
    """

    model: str  # its kind and sizes, in words
    name: str  # of the run
    unit: str  # the name of a token
    tokens: list[str]  # (T,) as labels
    ids: NDArray  # (T,); -1: nothing is known to be right there
    logits: NDArray  # (T + 1, V) float64; NaN where there is no prediction
    label: Callable[[int], str]  # of an id of the vocabulary
    source: list[str] = field(default_factory=list)  # (S,) labels; not of a translator: none
    hidden: bool = False  # each token is predicted while it is hidden
    # (T, T) the norm of the gradient of the loss of token t (row) by each token's input vector
    gradient: NDArray | None = None
    # What log P of token t (row) owes to each token, by ablation (T, T), and to each head, by
    # gradient times activation (T, L, N).
    by_token: NDArray | None = None
    by_head: NDArray | None = None
    attention: list[AttentionWeights] = field(default_factory=list)
    # Of each recurrent layer the gates and states, by name such as "f", "c" and "h", which is the
    # output and comes last: (T, H) each.
    activity: list[dict[str, NDArray]] = field(default_factory=list)
    contexts: NDArray | None = None  # (T + 1,) tokens of the longest context an n-gram model knew
    notes: list[str] = field(default_factory=list)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The distributions that predict each token, and the one after the last: (T + 1, V)."""
        rows = ~np.isnan(self.logits).any(axis=1)
        probabilities = np.full(self.logits.shape, np.nan)
        if rows.any():
            probabilities[rows] = next_probabilities(self.logits[rows])
        return probabilities

    @property
    def losses(self) -> NDArray[np.float64]:
        """-log p of each token in nats, (T,); NaN where there is no prediction."""
        at = np.arange(len(self.ids))
        p = self.probabilities[at, self.ids]
        return np.where(self.ids >= 0, -np.log(np.maximum(p, 1e-300)), np.nan)
