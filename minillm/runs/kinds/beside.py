"""The best n-gram model of the same text, to compare with a network.

Counting takes a second.  So a network is worth its training only if it predicts better than the
counts of its own training text.  The n-grams of that text are counted in the tokens of the network,
and smoothed by the default method.  Each order is measured on the text that the network is measured
on, and the best one is reported.

Like the network, the n-grams read on over the ends of lines.  (`minillm train ngram` begins each
line of words anew.)
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data.corpora import sentence_starts
from minillm.data.windows import Ids
from minillm.errors import InputError
from minillm.look.measurements import read_counted
from minillm.look.trace import Trace
from minillm.models import ngram_cache
from minillm.models.mixture import LENGTHS, Mixed, Mixture, class_of
from minillm.models.ngram import NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.runs.kind import Results
from minillm.runs.kinds.looking import inside_by
from minillm.runs.kinds.texts import figures_of, held_out_ids, training_ids
from minillm.runs.run import Run
from minillm.text import Vocabulary
from minillm.training.language_model import stretches

COUNTED = 2_000_000  # tokens of the training text at most: some seconds, and 300 MB
COMPARED = 200_000  # tokens that orders are compared on
BLOCK = 1 << 20  # tokens that are scored at a time
CHARACTERS, TOKENS = 10, 5  # the highest order of characters, and of longer tokens


class BestNGram(NamedTuple):
    """The best order of ``orders``, its loss in nats per token, and the tokens counted, of all."""

    order: int
    orders: int
    nats: float
    counted: int
    tokens: int

    def describe(self, unit: str) -> str:
        """A line about it."""
        what = "the training text"
        if self.counted < self.tokens:
            what = f"the first {self.counted:,} of {self.tokens:,} training {unit}s"
        return (
            f"best n-gram of {what}: {self.nats:.4f} nats per {unit} "
            f"(order {self.order}, of 1 to {self.orders})"
        )


def best_ngram(training: Ids, held_out: Ids, tokenizer: Vocabulary) -> tuple[NGram, BestNGram]:
    """Count the n-grams of a text, and return the model that predicts the held-out text best.

    Time and memory are bounded: the first ``COUNTED`` tokens are counted, and orders are compared
    on ``COMPARED`` tokens spread over the held-out text.  The loss is measured on the whole.
    """
    V, orders = len(tokenizer), CHARACTERS if tokenizer.unit == "character" else TOKENS
    text = np.asarray(training[:COUNTED])
    levels = count_ngrams(np.concatenate(list(_blocks(text, V))), orders, V)
    some = stretches(held_out, COMPARED)
    best, loss = None, math.inf
    for order in range(1, orders + 1):
        model = estimate(levels[:order], NGramConfig(vocabulary=V, order=order))
        nats = _nats(model, some)
        if best is None or nats < loss:
            best, loss = model, nats
    assert best is not None
    if len(some) < len(held_out):
        loss = _nats(best, held_out)
    return best, BestNGram(best.config.order, orders, loss, len(text), len(training))


def ngram_of(training: Ids, tokenizer: Vocabulary) -> NGram:
    """The n-grams of a text; the order is the best one for its last tenth, after the rest."""
    V, text = len(tokenizer), np.asarray(training[:COUNTED])
    held_out = max(1, len(text) // 10)
    order = best_ngram(text[:-held_out], text[-held_out:], tokenizer)[1].order
    levels = count_ngrams(np.concatenate(list(_blocks(text, V))), order, V)
    return estimate(levels, NGramConfig(vocabulary=V, order=order))


def results_beside(run: Run, held_out: Ids) -> Results:
    """The figures of the best n-gram of a run's training text, or why there are none."""
    try:
        training = training_ids(run)
    except InputError as error:
        return {"best_ngram": f"not measured: {error}"}
    _, best = best_ngram(training, held_out, run.tokenizer)
    results: Results = {"best_ngram_nats_per_token": best.nats, "best_ngram_order": best.order}
    if best.counted < best.tokens:
        results["best_ngram_counted"] = f"{best.counted:,} of {best.tokens:,} training tokens"
    return results


def trace_beside(run: Run, text: str) -> Trace | None:
    """The predictions of the best n-gram of a run's training text, for a look at a text.

    None if the training text cannot be read again.
    """
    try:
        training, held_out = training_ids(run), held_out_ids(run)
    except InputError:
        return None
    model, best = best_ngram(training, held_out, run.tokenizer)
    names = {"model": f"n-grams of order {best.order}", "name": "the best n-gram of its text"}
    return inside_by(read_counted, run, text, model, **names)


def _nats(model: NGram, ids: Ids) -> float:
    score: Score = model.score(_blocks(ids, model.config.start))
    return -score.log10 * math.log(10) / score.tokens


def _blocks(ids: Ids, start: int) -> Iterator[np.ndarray]:
    """Yield a text block by block, with the start in front of it."""
    blocks = (ids[at : at + BLOCK] for at in range(0, len(ids), BLOCK))
    return sentence_starts(blocks, start, None)


ORDER = 20  # of the cache
STARTED_ON = 50_000  # tokens of the held-out text, to learn weights from

Losses = NDArray[np.float64]


class MixtureReader:
    """The mixture of a run: it reads one text after another, and keeps the weights."""

    def __init__(self, run: Run):
        self.run = run
        self.counted: NGram | None = None
        with suppress(InputError):  # the text may be gone
            self.counted = ngram_of(training_ids(run)[:COUNTED], run.tokenizer)
        self.names = ["network", "cache", *["ngram"] * (self.counted is not None)]
        self.mixture = Mixture(len(self.names), len(LENGTHS))

    def start(self, losses_on: Callable[[Ids], Losses]) -> None:
        """Learn weights from the held-out text; if it cannot be opened again, they stay equal."""
        try:
            ids = held_out_ids(self.run)[:STARTED_ON]
        except InputError:
            return
        self.read(ids, losses_on(ids))

    def read(self, ids: Ids, losses: Losses) -> Mixed:
        """Mix the predictions of the tokens after the first: losses (T,) are the network's."""
        V, tokens = len(self.run.tokenizer), slice(1, 1 + len(losses))
        ids = np.asarray(ids[: tokens.stop], np.int32)
        cached, context = ngram_cache.read(ids, ORDER, V)
        p = [np.exp(-losses), cached[tokens]]
        if self.counted is not None:
            log10_p = self.counted.probabilities(np.append(np.int32(V), ids))[1:]
            p.append(10 ** log10_p[tokens])
        return self.mixture.read(np.stack(p), class_of(context)[tokens])

    def results(self, ids: Ids, losses: Losses) -> Results:
        """The figures of the mixture on a text, and the mean of each weight."""
        mixed = self.read(ids, losses)
        nats, tokens = -float(np.log(mixed.p).mean()), len(losses)
        results = figures_of("mixture", self.run.tokenizer, ids, nats, tokens)
        for name, weights in zip(self.names, mixed.weights, strict=True):
            results[f"mixture_weight_of_{name}"] = float(weights.mean())
        return results
