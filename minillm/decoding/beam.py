"""From an encoder-decoder's logits to whole outputs: beam search, in batches.

The model decodes K hypotheses of each of B sources at a time.  The hypotheses of a source share its
memory.  The state is a dictionary of arrays: see :func:`minillm.decoding.decoder.select`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.decoding.decoder import TargetDecoder, select
from minillm.decoding.rules import forbidden
from minillm.decoding.sampling import require_finite
from minillm.errors import short
from minillm.layers.types import State
from minillm.ops.softmax import log_softmax


@dataclass(frozen=True)
class Hypothesis:
    """One output: its ids without BOS and EOS, and its probability under the model."""

    ids: list[int]
    log_probability: float  # in nats, of all ids and of the EOS after them
    score: float  # for the ranking of hypotheses
    weights: NDArray | None  # (T, S) the attention for each id, and for EOS if it ended
    ended: bool  # by EOS, not by the limit


def beam_search(
    model: Any,
    source: NDArray,
    lengths: NDArray[np.integer],
    beam: int = 5,
    limit: int = 100,
    length_exponent: float = 1.0,
    keep_weights: bool = False,
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

    With beam 1 this is the greedy choice.

    For ``rules`` see :func:`minillm.decoding.rules.forbidden`.  InputError for logits that are NaN.

    Source: Graves (2012), "Sequence transduction with recurrent neural networks",
    algorithm 1, in the form of Sutskever et al. (2014), section 3.2; Jean et al. (2015), "On
    using very large target vocabulary for neural machine translation", for the length
    normalisation (exponent 1).
    """
    checks.count("beam_search", "beam", beam)
    checks.count("beam_search", "limit", limit)
    if not 0 <= length_exponent <= 10:
        raise ValueError(f"length_exponent: expected 0 to 10, found {short(length_exponent)}")
    B = len(source)
    finished: list[list[Hypothesis]] = [[] for _ in range(B)]
    decoder = TargetDecoder(model)
    eos = decoder.config.eos
    state = decoder.start(source, lengths)
    sources = np.arange(B)  # the source of each row of the arrays below
    ids, totals = np.full((B, 1), decoder.config.bos), np.zeros((B, 1))  # (B, K)
    past: State = {"written": np.zeros((B, 1, 0), np.int64)}  # (B, K, t)

    for length in range(1, limit + 1):
        logits, weights, state = decoder.step(ids, state)
        of_length = length**length_exponent
        if keep_weights and weights is not None:
            of_ids = [past["weights"]] if length > 1 else []
            past["weights"] = np.concatenate([*of_ids, weights[:, :, None]], axis=2)  # (B, K, t, S)
        mask = forbidden(logits, past["written"], eos, **rules)
        ids, parents, totals = _extend(totals, logits, mask, 2 * beam)  # (B, M)
        ended = (ids == eos) & np.isfinite(totals)
        for row, k in zip(*np.nonzero(ended[:, :beam]), strict=True):
            whole = _hypothesis(past, (row, parents[row, k]), totals[row, k], of_length, ended=True)
            finished[sources[row]].append(whole)

        # Of 2 beam extensions at most beam can end, so at least beam are left to continue.
        totals = np.where(ended, -np.inf, totals)
        order = np.argsort(np.isneginf(totals), axis=1, kind="stable")[:, :beam]
        ids, parents, totals = (
            np.take_along_axis(a, order, axis=1) for a in (ids, parents, totals)
        )
        best = totals.max(axis=1) / of_length
        of_rows = [finished[source] for source in sources]
        bars = [max(h.score for h in one) if len(one) >= beam else -np.inf for one in of_rows]
        rows = np.flatnonzero((best > bars) | (length == limit))
        sources, ids, parents, totals = sources[rows], ids[rows], parents[rows], totals[rows]
        state, past = (select(entries, rows, parents) for entries in (state, past))
        past["written"] = np.concatenate([past["written"], ids[..., None]], axis=2)
        if len(rows) == 0:
            break
    for row, k in zip(*np.nonzero(np.isfinite(totals)), strict=True):  # the limit cuts these off
        cut = _hypothesis(past, (row, k), totals[row, k], of_length, ended=False)
        finished[sources[row]].append(cut)
    return [sorted(of_one, key=lambda h: -h.score)[:beam] for of_one in finished]


def _hypothesis(
    past: State, at: tuple[int, int], total: float, of_length: float, ended: bool
) -> Hypothesis:
    """The output of a row and a hypothesis of it, with its sum of log p."""
    ids, total = past["written"][at].tolist(), float(total)
    weights = past["weights"][at].copy() if "weights" in past else None
    return Hypothesis(ids, total, total / of_length, weights, ended)


def _extend(
    totals: NDArray, logits: NDArray, mask: NDArray | None, count: int
) -> tuple[NDArray, NDArray, NDArray]:
    """The ``count`` most probable one-token extensions of each row's hypotheses, best first.

    The sums of log p (B, K), logits (B, K, V), a mask of forbidden tokens or None -> the last ids
    of the extensions (B, M), the hypotheses that they continue, and their sums, minus infinity for
    those that are absent.
    """
    B, K, V = logits.shape
    ranked = count  # so many that ``count`` of them are allowed
    if mask is not None:
        ranked += int(np.count_nonzero(mask, axis=-1).max())
    ids, log_p = _most_probable(np.ascontiguousarray(logits).reshape(B * K, V), ranked)
    if not np.isfinite(log_p[:, 0]).all():
        require_finite(logits.max(axis=-1))  # NaN if one is
    if mask is not None:
        log_p[np.take_along_axis(mask.reshape(B * K, V), ids, axis=1)] = -np.inf
    # The most probable extensions are among the most probable ones of each hypothesis.
    candidates = totals.repeat(log_p.shape[1], axis=1) + log_p.reshape(B, -1)
    chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :count]  # (B, count)
    rows = np.arange(B)[:, None]
    return ids.reshape(B, -1)[rows, chosen], chosen // log_p.shape[1], candidates[rows, chosen]


@twinned
def _most_probable(logits: NDArray, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ``count`` most probable ids of each row of logits (N, V), and their log p.

    -> ids, log_p (N, count), or (N, V) if V is less.  The most probable come first; among equal
    ones, lower ids.
    """
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    with np.errstate(invalid="ignore"):  # NaN where the largest logit is not finite
        log_p = log_softmax(logits.astype(np.float64))
    return ids, np.take_along_axis(log_p, ids, axis=1)
