"""A run's model in a mixture with n-grams, as it reads a text: `eval --mix`.

The parts are the network; the n-gram model of its training text, as `eval` compares it; and a
cache, the n-grams of the text that has been read so far.  If the training text cannot be opened
again, only the network and the cache are mixed.

No token is predicted by anything that was learned from it: the order of the n-gram model is chosen
on the training text, and the weights start equal, or from the held-out text if another one is read.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.data.windows import Ids
from minillm.errors import InputError
from minillm.models import ngram_cache
from minillm.models.mixture import LENGTHS, Mixed, Mixture, class_of
from minillm.models.ngram import NGram
from minillm.runs.kind import Results
from minillm.runs.kinds._best_ngram import COUNTED, ngram_of
from minillm.runs.kinds._text_data import figures_of, held_out_ids, training_ids
from minillm.runs.run import Run

ORDER = 20  # of the cache
STARTED_ON = 50_000  # tokens of the held-out text, to learn weights from

Losses = NDArray[np.float64]


def counted(run: Run) -> NGram | None:
    """The counts of a run's training text; None if it cannot be opened again."""
    try:
        return ngram_of(training_ids(run)[:COUNTED], run.tokenizer)
    except InputError:
        return None


class MixtureReader:
    """The mixture of a run: it reads one text after another, and keeps the weights."""

    def __init__(self, run: Run):
        self.run, self.counted = run, counted(run)
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
