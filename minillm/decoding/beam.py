"""From an encoder-decoder's logits to whole outputs: beam search and sampling, in batches.

The model decodes K hypotheses of each of B sources at a time.  The hypotheses of a source share its
memory.  The state is a dictionary of arrays: see :func:`minillm.decoding.decoder.select`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.decoding.decoder import Decoder, select
from minillm.decoding.sampling import next_probabilities, require_finite, sample
from minillm.errors import short
from minillm.ops.softmax import log_softmax

WIDEST = 1000  # hypotheses of a source: every step sorts all of their extensions


@dataclass(frozen=True)
class Hypothesis:
    """One output: its ids without BOS and EOS, and its probability under the model."""

    ids: list[int]
    log_probability: float  # in nats, of all ids and of the EOS after them
    score: float  # for the ranking of hypotheses
    weights: NDArray | None  # (T, S) the attention for each id, and for EOS if it ended
    ended: bool  # by EOS, not by the limit


class _Step(NamedTuple):
    """The last tokens of the K hypotheses of each of B sources, most probable first."""

    ids: NDArray[np.integer]  # (B, K)
    parents: NDArray[np.integer]  # (B, K) the hypotheses of the step before that they continue
    totals: NDArray[np.float64]  # (B, K) log P of each hypothesis; minus infinity if absent
    weights: NDArray | None  # (B, K, S) the attention for each id

    def at(self, index: Any) -> "_Step":
        """Select with an index: field[index] of every field."""
        weights = None if self.weights is None else self.weights[index]
        return _Step(self.ids[index], self.parents[index], self.totals[index], weights)


# --- beam search ---------------------------------------------------------------------


def beam_search(
    model: Any,
    source: NDArray,
    lengths: NDArray[np.integer],
    beam: int = 5,
    limit: int = 100,
    length_exponent: float = 1.0,
    keep_weights: bool = False,
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

    With beam 1 this is the greedy choice.  The widest beam is 1000.  InputError if the model's
    logits are NaN.

    Source: Graves (2012), "Sequence transduction with recurrent neural networks",
    algorithm 1, in the form of Sutskever et al. (2014), section 3.2; Bahdanau et al. (2015),
    section 5, for the length normalisation (exponent 1).
    """
    _require_whole("beam", beam, WIDEST)
    _require_whole("limit", limit)
    if not 0 <= length_exponent <= 10:
        raise ValueError(f"length_exponent: expected 0 to 10, found {short(length_exponent)}")
    finished: list[list[Hypothesis]] = [[] for _ in range(len(source))]
    sources = np.arange(len(source))  # which source each row of the arrays below is
    decoder = Decoder(model)
    state = decoder.start(source, lengths)
    ids, totals = np.full((len(source), 1), decoder.config.bos), np.zeros((len(source), 1))
    history: list[_Step] = []

    for _ in range(limit):
        if history:
            rows = _unfinished(history, [finished[k] for k in sources], beam, length_exponent)
            if len(rows) == 0:
                break
            if len(rows) < len(sources):
                sources, history = sources[rows], [step.at(rows) for step in history]
            ids, totals = history[-1].ids, history[-1].totals
            state = select(state, rows, history[-1].parents)
        logits, weights, state = decoder.step(ids, state)
        extensions = _extend(totals, logits, weights if keep_weights else None, 2 * beam)
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


def _unfinished(
    history: Sequence[_Step], finished: Sequence[Sequence[Hypothesis]], beam: int, exponent: float
) -> NDArray[np.intp]:
    """A mask of the rows with unfinished outputs that may still beat the best finished one."""
    bars = [max(h.score for h in of_row) if len(of_row) >= beam else -np.inf for of_row in finished]
    return np.flatnonzero(history[-1].totals.max(axis=1) / len(history) ** exponent > bars)


def _extend(totals: NDArray, logits: NDArray, weights: NDArray | None, count: int) -> _Step:
    """The ``count`` most probable one-token extensions of each row's hypotheses."""
    B, K, V = logits.shape
    ids, log_p = _most_probable(np.ascontiguousarray(logits).reshape(B * K, V), count)
    if not np.isfinite(log_p[:, 0]).all():
        require_finite(logits.max(axis=-1))  # NaN if one is
    # The most probable extensions are among the most probable ones of each hypothesis.
    candidates = totals.repeat(log_p.shape[1], axis=1) + log_p.reshape(B, -1)
    chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :count]  # (B, count)
    rows, parents = np.arange(B)[:, None], chosen // log_p.shape[1]
    if weights is not None:
        weights = weights[rows, parents]  # (B, count, S)
    return _Step(ids.reshape(B, -1)[rows, chosen], parents, candidates[rows, chosen], weights)


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
    total = float(history[-1].totals[row, k])
    ids, weights = [], []
    for step in reversed(history):
        ids.append(int(step.ids[row, k]))
        if step.weights is not None:
            weights.append(step.weights[row, k])
        k = step.parents[row, k]
    return Hypothesis(
        ids[:0:-1] if ended else ids[::-1],  # EOS is the first of them
        total,
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


# --- sampling ------------------------------------------------------------------------


def sample_outputs(
    model: Any,
    source: NDArray,
    lengths: NDArray[np.integer],
    rng: np.random.Generator,
    limit: int = 100,
    temperature: float = 1.0,
) -> list[Hypothesis]:
    """One output for each source (B, S), drawn token by token from the model's probabilities.

    For the temperature see :func:`~minillm.decoding.sampling.next_probabilities`; the log
    probability is measured at temperature 1.  InputError if the model's logits are NaN.
    """
    _require_whole("limit", limit)
    B = len(source)
    decoder = Decoder(model)
    state = decoder.start(source, lengths)
    ids = np.full((B, 1), decoder.config.bos)
    written: list[NDArray[np.int64]] = []  # (B,) each
    log_probability, ended, T = np.zeros(B), np.zeros(B, bool), np.zeros(B, np.int64)
    for _ in range(limit):
        logits, _, state = decoder.step(ids, state)
        drawn = sample(next_probabilities(logits[:, 0], temperature), rng)  # (B,)
        log_p = _log_probabilities(logits)[np.arange(B), 0, drawn]
        log_probability += np.where(ended, 0, log_p)
        T += ~ended
        ended |= drawn == decoder.config.eos
        written.append(drawn)
        ids = drawn[:, None]
        if ended.all():
            break
    outputs = np.stack(written, axis=1)
    return [
        Hypothesis(
            outputs[b, : T[b] - ended[b]].tolist(),
            float(log_probability[b]),
            float(log_probability[b] / T[b]),
            None,
            bool(ended[b]),
        )
        for b in range(B)
    ]


def _require_whole(name: str, value: int, most: float = math.inf) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= value <= most:
        upper = "up" if most == math.inf else f"to {most}"
        raise ValueError(f"{name}: expected a whole number from 1 {upper}, found {short(value)}")
