"""Encoders after BERT: what DistilBERT, RoBERTa, XLM-R, MPNet and ELECTRA change in it.

All of them are BERT's blocks (:mod:`minillm.models.bert`) with other embeddings around them, or
another attention inside.  Each change stands here once, with its reason; a family is a row of
``FAMILIES``, which says what it changes.

**No segments** (DistilBERT, MPNet).  The next-sentence task does not help (Liu et al. 2019), and
without it no vector needs to say which part of a text a token belongs to:

    x_t = norm(E[id_t] + P[t])

RoBERTa kept a table of one row, which is added to every token.  XLM-R is the same model, trained on
a hundred languages.

**Positions after the padding** (RoBERTa, XLM-R, MPNet).  The library in which they were trained
counts positions from p, the id of the padding token.  Padding tokens have the position p:

    position_t = p + the number of tokens up to t that are no padding

So the first token has position p + 1, and the first p + 1 rows of P are not read.  The table has
C + p + 1 rows.

**A relative bias** (MPNet).  Each head learns how far it looks: the score of a query at t and a key
at s gets a number that depends on the head and on the distance s - t alone,

    score_ts = q_t k_s / sqrt(w) + R[bucket(s - t), head]

The table R has one row for each of 32 buckets: 16 for keys before the query and itself, 16 for
those after it.  In each half, the distances 0 to 7 have a bucket each.  Farther ones share
buckets, whose widths grow with the distance, because a word more or less matters little far away.
The 8 buckets from 8 to M = 128 are equally wide in log n, so the distance n is in number

    8 + floor(8 log(n / 8) / log(M / 8)),  at most 15

All blocks share R.  So its gradient is a sum over blocks, rows and all pairs of positions in a
bucket (:mod:`minillm.ops.biased_attention`):

    dR[c, head] = sum of dscore_ts over all blocks, rows, and t, s with bucket(s - t) = c

**Narrow embeddings** (ELECTRA).  A vector of a token needs fewer features than a vector of a token
in its context, and the table is the largest array of a small model.  So the embeddings have the
width E < D, and one matrix maps their norm to the width of the blocks:

    x = norm(E[id_t] + P[t] + S[segment_t]) W + b        dW = sum over rows of norm(...)^T dx

ELECTRA is trained to tell which tokens of a text another model has replaced.  Its output for this
task has one use and is not part of an encoder, so ELECTRA has no head for masked words.

**Only the number of layers** (DistilBERT).  Half of BERT's layers, trained to predict what BERT
predicts.

The head for masked words is BERT's, h = norm(gelu(x W + b)) and logits h E^T + c.

Legend: B batch, T time, C context, M masked places or the largest distance, V vocabulary, D width,
N heads, w width of a head, L layers.

Sources: Liu et al. (2019), "RoBERTa: a robustly optimized BERT pretraining approach", section 4;
Conneau et al. (2020), "Unsupervised cross-lingual representation learning at scale"; Sanh, Debut,
Chaumond and Wolf (2019), "DistilBERT, a distilled version of BERT", section 3; Clark, Luong, Le and
Manning (2020), "ELECTRA: pre-training text encoders as discriminators rather than generators",
section 3; Song, Tan, Qin, Lu and Liu (2020), "MPNet: masked and permuted pre-training for language
understanding", section 3, and its code for the bias; the buckets, Raffel et al. (2020), "Exploring
the limits of transfer learning with a unified text-to-text Transformer", section 2.1.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, stack
from minillm.layers.fresh import ParamSpec, at_depth, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.norms import new_norm
from minillm.layers.types import Backward, Ids, Params, Rng
from minillm.models import sizes
from minillm.models.bert import BERT, BERTConfig

BUCKETS, FARTHEST = 32, 128  # of distances; M: all larger ones share a bucket


@dataclass(frozen=True)
class Changes:
    """The changes of a family to BERT."""

    segments: bool = True  # vectors of a text's parts
    after_padding: bool = False  # positions begin after the padding's id
    relative: bool = False  # a bias of the distance, shared by all blocks
    narrow: bool = False  # the embeddings may be narrower than the blocks
    masked_words: bool = True  # there may be a head for masked words


FAMILIES = {
    "distilbert": Changes(segments=False),
    "roberta": Changes(after_padding=True),
    "xlm-roberta": Changes(after_padding=True),  # of a hundred languages
    "mpnet": Changes(segments=False, after_padding=True, relative=True),
    "electra": Changes(narrow=True, masked_words=False),
}


@dataclass(frozen=True)
class EncoderConfig(BERTConfig):
    """The sizes of an encoder: a BERT's, its family, and the numbers that its changes need."""

    family: str = "roberta"
    padding: int = 0  # the id of the padding token, p
    embedding: int | None = None  # width of the embeddings; None: D

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes.check_one_of(self, "family", tuple(FAMILIES))
        sizes.check_at_least(self, 0, "padding")
        sizes.check_at_least(self, 1, "embedding")
        able = {"embedding": self.changes.narrow, "masked_words": self.changes.masked_words}
        for name, may in able.items():
            if getattr(self, name) and not may:
                raise sizes.wrong(self, name, f"none in family {self.family}")

    @property
    def changes(self) -> Changes:
        """The family's changes."""
        return FAMILIES[self.family]

    @property
    def unread(self) -> int:
        """The number of rows of the table of positions that no token reads."""
        return self.padding + 1 if self.changes.after_padding else 0


def buckets_of(T: int, buckets: int = BUCKETS) -> NDArray[np.int64]:
    """The bucket of each query's distance to each key, (T, T).

    >>> buckets_of(4, 8)
    array([[0, 5, 6, 6],
           [1, 0, 5, 6],
           [2, 1, 0, 5],
           [2, 2, 1, 0]])
    """
    distance = np.arange(T) - np.arange(T)[:, None]  # s - t
    half, n = buckets // 2, np.abs(distance)
    single = half // 2  # distances with a bucket each
    share = np.log(np.maximum(n, 1).astype(np.float32) / single) / np.float32(
        np.log(FARTHEST / single)
    )  # from 0 at the first shared bucket to 1 at the farthest distance
    shared = np.minimum(single + (share * (half - single)).astype(np.int64), half - 1)
    return np.where(n < single, n, shared) + half * (distance > 0)


def relative_bias(params: Params, T: int) -> tuple[NDArray, Backward]:
    """The bias of each head: R[bucket(s - t)], (N, T, T).  ``backward(dbias)`` -> gradients."""
    bias, table_backward = embedding.layer(params, {"relative.E": buckets_of(T)})

    def backward(dbias):
        return table_backward(np.ascontiguousarray(dbias.transpose(1, 2, 0)))

    return bias.transpose(2, 0, 1), backward


class Encoder(BERT):
    """Embeddings, L blocks, and heads on them.

    ``params``: as a BERT's, without ``segments.E`` where a family has no segments;
    ``positions.E`` (C + p + 1, D) where positions follow the padding's; ``relative.E``
    (32, N), R of a relative bias; of narrow embeddings tables of width E, and ``project.W``
    (E, D) and ``project.b`` (D,).  The heads and the loss are a BERT's, too.
    """

    config: EncoderConfig
    below = ("embedding", "positions", "segments", "project", "relative")

    @staticmethod
    def new_parameters(config: EncoderConfig) -> dict[str, ParamSpec]:  # type: ignore[override]
        """Declare a BERT's parameters, as the family changes them."""
        c = config
        D, E = c.width, c.embedding or c.width
        params = BERT.new_parameters(replace(c, context=c.context + c.unread))
        if E != D:
            for name in ("embedding.E", "positions.E", "segments.E"):
                rows, _ = params[name].shape
                params[name] = params[name]._replace(shape=(rows, E))
            params |= new_norm("embedding.norm", E)
            params |= dense.new_matrix("project", "", E, D, normal(E**-0.5))
        if not c.changes.segments:
            del params["segments.E"]
        if c.changes.relative:
            params["relative.E"] = ParamSpec((BUCKETS, c.heads), normal(0.02), "table")
        below = {name: fresh for name, fresh in params.items() if name.startswith(Encoder.below)}
        return params | at_depth(0, below)

    # --- the equations ----------------------------------------------------------

    def hidden(
        self, ids: Ids, lengths: Ids | None = None, segments: Ids | None = None, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """The vector of each token: ids (B, T) -> x (B, T, D), as from a BERT.

        Segments are read where the family has several.
        """
        if not self.config.changes.relative:
            return super().hidden(ids, lengths, segments, rng)
        bias, bias_backward = relative_bias(self.params, ids.shape[1])
        attend = partial(ops.biased_attention, bias=bias, lengths=lengths)
        x, stack_backward = stack.hidden(self, ids, rng, None, lambda layer: attend)

        def backward(dx):
            gradients = stack_backward(dx)
            dbias = gradients.pop("shared", None)  # the sum over all blocks
            return gradients if dbias is None else gradients | bias_backward(dbias)

        return x, backward

    def embed(
        self, ids: Ids, positions: Ids, rng: Rng = None, segments: Ids | None = None
    ) -> tuple[NDArray, Backward]:
        """norm(E[id] + P[position] + S[segment]), and W + b: ids (B, T) -> x (B, T, D).

        ``backward(dx)`` -> gradients.
        """
        if self.config.segments == 1:
            segments = None
        positions = self.rows_of_P(ids, positions)
        x, tables_backward = super().embed(ids, positions, rng, segments)  # (B, T, E)
        if "project.W" not in self.params:
            return x, tables_backward
        x, project_backward = dense.layer(self.params, "project", x)  # (B, T, D)

        def backward(dx):
            dx, of_project = project_backward(dx)
            return merge_gradients(of_project, tables_backward(dx))

        return x, backward

    def rows_of_P(self, ids: Ids, positions: Ids) -> Ids:
        """The row of P of each token: ids, positions (B, T) -> (B, T)."""
        if not self.config.changes.after_padding:
            return positions
        real = ids != self.config.padding
        return np.where(real, np.cumsum(real, axis=1), 0) + self.config.padding
