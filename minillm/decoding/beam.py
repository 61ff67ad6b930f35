"""From an encoder-decoder's logits to whole outputs: beam search and sampling, in batches.

The model decodes K hypotheses of each of B sources at a time.  The hypotheses of a source share its
memory.  The state is a dictionary of arrays: see :func:`minillm.decoding.decoder.select`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.decoding.decoder import Decoder, select
from minillm.decoding.rules import Rules, require_whole
from minillm.decoding.sampling import next_probabilities, require_finite, sample
from minillm.errors import short
from minillm.layers.types import State
from minillm.ops.softmax import log_softmax

WIDEST = 1000  # hypotheses of a source: every step sorts all of their extensions


@dataclass(frozen=True)
class Hypothesis:
    """One output: its ids without BOS and EOS, and its probability under the model."""

    ids: list[int]
    log_probability: float  # in nats, of all ids and of the EOS after them
    score: float  # for the ranking of hypotheses, less the penalty for coverage
    weights: NDArray | None  # (T, S) the attention for each id, and for EOS if it ended
    ended: bool  # by EOS, not by the limit


class _Step(NamedTuple):
    """The last tokens of the K hypotheses of each of B sources, most probable first."""

    ids: NDArray[np.integer]  # (B, K)
    parents: NDArray[np.integer]  # (B, K) the hypotheses of the step before that they continue
    totals: NDArray[np.float64]  # (B, K) log P less the penalty; minus infinity if absent
    penalties: NDArray[np.float64]  # (B, K) for coverage
    weights: NDArray | None  # (B, K, S) the attention for each id

    def at(self, index: Any) -> "_Step":
        """Select with an index: field[index] of every field."""
        return _Step(
            self.ids[index],
            self.parents[index],
            self.totals[index],
            self.penalties[index],
            None if self.weights is None else self.weights[index],
        )

    def penalised(self, penalties: NDArray) -> "_Step":
        """Subtract a further penalty (B, K) from each hypothesis."""
        return self._replace(totals=self.totals - penalties, penalties=self.penalties + penalties)


# --- beam search ---------------------------------------------------------------------


def beam_search(
    model: Any,
    source: NDArray,
    lengths: NDArray[np.integer],
    beam: int = 5,
    limit: int = 100,
    length_exponent: float = 1.0,
    keep_weights: bool = False,
    coverage: float = 0.0,
    extend: Callable[..., _Step] | None = None,
    **rules: Any,
) -> list[list[Hypothesis]]:
    """The best outputs for each source (B, S), best first, at most ``beam`` of each.

    At every step, each hypothesis is extended by every token.  Extensions that end with EOS are
    finished if they are among the ``beam`` most probable.  Of all others, the ``beam`` most
    probable are kept for the next step.  Finished outputs are ranked by

        score = log P(output | source) / T^length_exponent

    where T includes EOS.  Without the division, short outputs would win, because every further
    token lowers the probability.  A source is done when ``beam`` hypotheses are finished and no
    unfinished one has a higher score now than the best of them, or after ``limit`` tokens.
    (Stopping as soon as ``beam`` are finished would be too early: every step also finishes
    improbable hypotheses, even if the model is sure that the output continues.)

    With beam 1 this is the greedy choice.  The widest beam is 1000.

    For ``rules`` see :class:`minillm.decoding.rules.Rules`.  With ``coverage`` c, log P loses a
    penalty for attention w to tokens of the source that had attention before, so that hypotheses
    are ranked by the loss of a model that was trained with it:

        c sum over t and j of min(w_tj, c_tj)      c_tj = sum over s < t of w_sj

    ``extend`` chooses the extensions otherwise, as :func:`sample_outputs` does.

    ValueError with ``coverage`` if the model has no attention weights.  InputError if its logits
    are NaN.

    Source: Graves (2012), "Sequence transduction with recurrent neural networks",
    algorithm 1, in the form of Sutskever et al. (2014), section 3.2; Jean et al. (2015), "On
    using very large target vocabulary for neural machine translation", for the length
    normalisation (exponent 1); See, Liu and Manning (2017), "Get to the point: summarization with
    pointer-generator networks", equation 12, for the coverage.
    """
    require_whole("beam", beam, most=WIDEST)
    require_whole("limit", limit)
    if not 0 <= length_exponent <= 10:
        raise ValueError(f"length_exponent: expected 0 to 10, found {short(length_exponent)}")
    if not 0 <= coverage < math.inf:
        raise ValueError(f"coverage: expected a number from 0 up, found {short(coverage)}")
    extend = extend or partial(_extend, count=2 * beam)
    B = len(source)
    finished: list[list[Hypothesis]] = [[] for _ in range(B)]
    sources = np.arange(B)  # which source each row of the arrays below is
    decoder = Decoder(model)
    of_outputs = Rules(decoder.config.eos, **rules)
    state = decoder.start(source, lengths)
    past: State = {"written": np.zeros((B, 1, 0), np.int64), "coverage": np.zeros((B, 1, 1))}
    zero = np.zeros((B, 1))
    last = _Step(np.full((B, 1), decoder.config.bos), zero.astype(np.int64), zero, zero, None)
    history: list[_Step] = []

    for _ in range(limit):
        if history:
            rows = _unfinished(history, [finished[k] for k in sources], beam, length_exponent)
            if len(rows) == 0:
                break
            if len(rows) < len(sources):
                sources, history = sources[rows], [step.at(rows) for step in history]
            last = history[-1]
            state, past = (select(entries, rows, last.parents) for entries in (state, past))
            past["written"] = np.concatenate([past["written"], last.ids[..., None]], axis=2)
        logits, weights, state = decoder.step(last.ids, state)
        if coverage:
            if weights is None:
                raise ValueError("coverage: expected a model with attention weights, found none")
            penalties = coverage * np.minimum(weights, past["coverage"]).sum(axis=-1)
            last = last.penalised(penalties)
            past["coverage"] = past["coverage"] + weights  # (B, K, S)
        forbidden = of_outputs.forbidden(logits, past["written"])
        kept = weights if keep_weights else None
        extensions = extend(last, logits, kept, forbidden)
        ended = (extensions.ids == decoder.config.eos) & np.isfinite(extensions.totals)
        for row, k in zip(*np.nonzero(ended[:, :beam]), strict=True):
            hypothesis = _hypothesis([*history, extensions], row, k, length_exponent, ended=True)
            finished[sources[row]].append(hypothesis)
        history.append(_best(extensions, ~ended, beam))
    else:  # the limit cuts off unfinished hypotheses
        for row, k in zip(*np.nonzero(np.isfinite(history[-1].totals)), strict=True):
            hypothesis = _hypothesis(history, row, k, length_exponent, ended=False)
            finished[sources[row]].append(hypothesis)
    return [sorted(of_one, key=lambda h: -h.score)[:beam] for of_one in finished]


def sample_outputs(
    model: Any,
    source: NDArray,
    lengths: NDArray[np.integer],
    rng: np.random.Generator,
    limit: int = 100,
    temperature: float = 1.0,
    **rules: Any,
) -> list[Hypothesis]:
    """One output for each source (B, S), drawn token by token from the model's probabilities.

    It is a search with a beam of 1, whose only extension is drawn.  For the temperature see
    :func:`~minillm.decoding.sampling.next_probabilities`; the log probability is measured at
    temperature 1.  For ``rules`` see :class:`minillm.decoding.rules.Rules`.  InputError if the
    model's logits are NaN.
    """
    draw = drawing(temperature, rng)
    drawn = beam_search(model, source, lengths, 1, limit, extend=draw, **rules)
    return [hypothesis for (hypothesis,) in drawn]


def _unfinished(
    history: Sequence[_Step], finished: Sequence[Sequence[Hypothesis]], beam: int, exponent: float
) -> NDArray[np.intp]:
    """A mask of the rows with unfinished outputs that may still beat the best finished one."""
    bars = [max(h.score for h in of_row) if len(of_row) >= beam else -np.inf for of_row in finished]
    return np.flatnonzero(history[-1].totals.max(axis=1) / len(history) ** exponent > bars)


def _extend(
    last: _Step,
    logits: NDArray,
    weights: NDArray | None,
    forbidden: NDArray[np.bool_] | None,
    count: int,
) -> _Step:
    """The ``count`` most probable one-token extensions of each row's hypotheses."""
    B, K, V = logits.shape
    ranked = count  # so many that ``count`` of them are allowed
    if forbidden is not None:
        ranked += int(np.count_nonzero(forbidden, axis=-1).max())
    ids, log_p = _most_probable(np.ascontiguousarray(logits).reshape(B * K, V), ranked)
    if not np.isfinite(log_p[:, 0]).all():
        require_finite(logits.max(axis=-1))  # NaN if one is
    if forbidden is not None:
        log_p[np.take_along_axis(forbidden.reshape(B * K, V), ids, axis=1)] = -np.inf
    # The most probable extensions are among the most probable ones of each hypothesis.
    candidates = last.totals.repeat(log_p.shape[1], axis=1) + log_p.reshape(B, -1)
    chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :count]  # (B, count)
    rows, parents = np.arange(B)[:, None], chosen // log_p.shape[1]
    if weights is not None:
        weights = weights[rows, parents]  # (B, count, S)
    return _Step(
        ids.reshape(B, -1)[rows, chosen],
        parents,
        candidates[rows, chosen],
        last.penalties[rows, parents],
        weights,
    )


def drawing(temperature: float, rng: np.random.Generator) -> Callable[..., _Step]:
    """The function that draws one extension of each row's only hypothesis."""

    def draw(
        last: _Step, logits: NDArray, weights: NDArray | None, forbidden: NDArray[np.bool_] | None
    ) -> _Step:
        allowed = logits if forbidden is None else np.where(forbidden, -np.inf, logits)
        ids = sample(next_probabilities(allowed, temperature), rng)  # (B, 1)
        log_p = np.take_along_axis(_log_probabilities(logits), ids[..., None], axis=-1)[..., 0]
        return _Step(ids, np.zeros_like(ids), last.totals + log_p, last.penalties, weights)

    return draw


def _best(extensions: _Step, allowed: NDArray[np.bool_], beam: int) -> _Step:
    """The ``beam`` most probable extensions of each row among the allowed ones.

    Of 2 beam extensions at most beam can end, so at least beam are left to continue.
    """
    totals = np.where(allowed, extensions.totals, -np.inf)
    order = np.argsort(np.isneginf(totals), axis=1, kind="stable")[:, :beam]
    rows = np.arange(len(order))[:, None]
    return extensions._replace(totals=totals).at((rows, order))


def _hypothesis(
    history: Sequence[_Step], row: int, k: int, exponent: float, ended: bool
) -> Hypothesis:
    """Trace hypothesis k of a row back from the last step to the first."""
    total, penalty = (float(a[row, k]) for a in (history[-1].totals, history[-1].penalties))
    ids, weights = [], []
    for step in reversed(history):
        ids.append(int(step.ids[row, k]))
        if step.weights is not None:
            weights.append(step.weights[row, k])
        k = step.parents[row, k]
    return Hypothesis(
        ids[:0:-1] if ended else ids[::-1],  # EOS is the first of them
        total + penalty,
        total / len(history) ** exponent,
        np.array(weights[::-1]) if weights else None,
        ended,
    )


@twinned
def _most_probable(logits: NDArray, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ``count`` most probable ids of each row of logits (N, V), and their log p.

    -> ids, log_p (N, count), or (N, V) if V is less.  The most probable come first; among equal
    ones, lower ids.
    """
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return ids, np.take_along_axis(_log_probabilities(logits), ids, axis=1)


def _log_probabilities(logits: NDArray) -> NDArray[np.float64]:
    """Log p (..., V) in float64; NaN where the largest logit is not finite."""
    with np.errstate(invalid="ignore"):
        return log_softmax(logits.astype(np.float64))
