"""The best n-gram model of the same text, to compare with a network.

Counting takes a second.  So a network is worth its training only if it predicts better than the
counts of its own training text.  The n-grams of that text are counted in the tokens of the network,
and smoothed by the default method.  Each order is measured on the text that the network is measured
on, and the best one is reported.

Like the network, the n-grams read on over the ends of lines.  (`minillm train ngram` begins each
line of words anew.)
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from minillm.data.streams import sentence_starts
from minillm.data.windows import Ids
from minillm.errors import InputError
from minillm.look.inside import Inside
from minillm.look.measurements import read_counted
from minillm.models.ngram import NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.runs.kind import Results
from minillm.runs.kinds._look import inside_of, state_after, text_ids
from minillm.runs.kinds._text_data import held_out_ids, training_ids
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


def best_ngram(training: Ids, held_out: Ids, tokenizer: Vocabulary) -> BestNGram:
    """The order that predicts the held-out text best, and its loss."""
    return best_model(training, held_out, tokenizer)[1]


def best_model(training: Ids, held_out: Ids, tokenizer: Vocabulary) -> tuple[NGram, BestNGram]:
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
    order = best_ngram(text[:-held_out], text[-held_out:], tokenizer).order
    levels = count_ngrams(np.concatenate(list(_blocks(text, V))), order, V)
    return estimate(levels, NGramConfig(vocabulary=V, order=order))


def results_beside(run: Run, held_out: Ids) -> Results:
    """The figures of the best n-gram of a run's training text, or why there are none."""
    if "imported" in run.data:
        return {"best_ngram": "not measured: the training text of an imported model is not here"}
    try:
        training = training_ids(run)
    except InputError as error:
        return {"best_ngram": f"not measured: {error}"}
    best = best_ngram(training, held_out, run.tokenizer)
    results: Results = {"best_ngram_nats_per_token": best.nats, "best_ngram_order": best.order}
    if best.counted < best.tokens:
        results["best_ngram_counted"] = f"{best.counted:,} of {best.tokens:,} training tokens"
    return results


def inside_beside(run: Run, text: str) -> Inside | None:
    """The predictions of the best n-gram of a run's training text, for a look at a text.

    None if the training text cannot be read again.
    """
    try:
        training, held_out = training_ids(run), held_out_ids(run)
    except InputError:
        return None
    model, best = best_model(training, held_out, run.tokenizer)
    before, ids, notes = text_ids(run.tokenizer, text)
    measured = read_counted(model, ids, state_after(model, before))
    names = {"model": f"n-grams of order {best.order}", "name": "the best n-gram of its text"}
    return inside_of(run, run.tokenizer, ids, **names, **measured, notes=notes)


def _nats(model: NGram, ids: Ids) -> float:
    score: Score = model.score(_blocks(ids, model.config.start))
    return -score.log10 * math.log(10) / score.tokens


def _blocks(ids: Ids, start: int) -> Iterator[np.ndarray]:
    """Yield a text block by block, with the start in front of it."""
    blocks = (ids[at : at + BLOCK] for at in range(0, len(ids), BLOCK))
    return sentence_starts(blocks, start, None)
