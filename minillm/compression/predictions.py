"""Predictions as integers: the same ones for the encoder and the decoder, to the last bit.

**Frequencies** are computed from logits by operations on float64 whose results IEEE 754 prescribes:
additions, products, quotients, floors.  The exponential is a polynomial, because each library's
``exp`` rounds in its own way.  Sums are of integers below 2^53, so their order does not matter.

**Logits** have the same bits on the ``kernels``, with any number of threads.  For recurrent and
quantised models, these are AVX2 and AVX-512.  Other products add up in an order that belongs to one
instruction set.  n-grams need no kernels.

**Reading.**  The decoder reads a token at a time.  Where a whole pass has the bits of its steps,
the encoder reads ``ahead`` at the speed of a prompt; otherwise it takes the same steps.  When the
context of a Transformer is full, its second half is read again from position 0.  With ``adapt``, a
copy of the network learns each window of the text when it is known.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import kernels_info
from minillm.compression.range_coder import MOST
from minillm.decoding import CausalReader, Reader
from minillm.errors import InputError
from minillm.layers.types import Ids
from minillm.models.base import WindowModel
from minillm.models.language_model import LanguageModel
from minillm.models.mixture import Mixture, class_of
from minillm.models.neural_ngram import NeuralNGram
from minillm.models.ngram import NGram
from minillm.models.ngram_cache import NGramCache
from minillm.runs.kinds.ngram import ORDER, MixtureReader
from minillm.runs.run import Run
from minillm.text import opening_id
from minillm.training.dynamic_evaluation import WINDOW, copied, learn

Floats = NDArray[np.float64]

SHARED = "avx512", "avx2"  # kernels with the same bits
LOGITS = 1 << 22  # that are computed at once
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
LN_10 = 2.302585092994046


def exponential(x: NDArray) -> Floats:
    """exp(x) of x <= 0: 2^n exp(r) where x = n log 2 + r; the polynomial has 13 digits."""
    x = np.maximum(x.astype(np.float64), -60.0)
    n = np.floor(x * LOG2_E + 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW  # from -log(2) / 2 to log(2) / 2
    y = np.ones_like(r)
    for k in range(11, 0, -1):
        y = 1.0 + r * y * (1.0 / k)
    return np.ldexp(y, n.astype(np.int32))


def frequencies(p: Floats) -> NDArray[np.int64]:
    """Probabilities (..., V), up to a factor, as integers >= 1 whose sum is ``MOST``.

    The most probable symbol gets the remainder.
    """
    whole = np.floor(p * (2.0**34 / p.max(axis=-1, keepdims=True)))
    factor = (MOST - p.shape[-1]) / whole.sum(axis=-1, keepdims=True)
    result = np.floor(whole * factor).astype(np.int64) + 1
    most = p.argmax(axis=-1)[..., None], MOST - result.sum(axis=-1, keepdims=True)
    np.put_along_axis(result, most[0], np.take_along_axis(result, most[0], -1) + most[1], -1)
    return result


class Predictions:
    """A run's predictions of T tokens, ``after`` the ``first`` ids and all that follow."""

    def __init__(self, run: Run, T: int, adapt: bool, mix: MixtureReader | None) -> None:
        self.model = model = copied(run.model) if adapt else run.model
        self.reader, c, own = Reader(model), model.config, kernels_info()["kernels"]
        self.state = self.reader.zero_state(1)
        self.mixing = Mixing(mix, c.vocabulary) if mix else None
        self.first = run.tokenizer.opened(np.zeros(0, np.int32))
        if not len(self.first):
            self.first = np.array([opening_id(run.tokenizer, bool(run.data.get("documents")))])
        floats = [weight for weight in model.params.values() if isinstance(weight, np.ndarray)]
        packed = isinstance(self.reader, CausalReader) and all(one.ndim == 1 for one in floats)
        exact = not adapt and (packed or isinstance(model, LanguageModel | NeuralNGram))
        self.kernels = SHARED if exact and own in SHARED else (own,)[: not isinstance(model, NGram)]
        self.ahead = 1  # tokens that the encoder reads at once
        if exact and own != "numpy" and not mix and (packed or not getattr(c, "tied", False)):
            self.ahead = max(1, min(256, LOGITS // c.vocabulary))
        self.learning: Iterator | None = None
        if adapt:
            self.text, self.known = np.zeros(1 + T, np.int32), 0
            reads_on = isinstance(model, WindowModel)
            self.end = WINDOW if reads_on else c.context  # of the window
            self.overlap = 0 if reads_on else c.context // 2
            self.learning, self.new = learn(model, self.text), self.end - self.overlap

    def after(self, ids: Ids) -> NDArray[np.int64]:
        """Read ids (T,): -> the frequencies of the token after each, (T, V).

        InputError for logits that are no numbers.
        """
        logits = self._read(ids if self.learning is None else self._learn(ids, self.learning))
        most = logits.max(axis=-1, keepdims=True)
        if not np.isfinite(most).all():
            raise InputError("expected finite logits of the model, found others: it has diverged")
        p = exponential(logits - most)
        return frequencies(p if self.mixing is None else self.mixing.mix(p[-1], int(ids[-1])))

    def _read(self, ids: Ids) -> NDArray:
        """The logits after each id (T,): (T, V)."""
        ids = ids[None].astype(np.int64)
        if ids.shape[1] == 1:
            logits, self.state = self.reader.read(ids, self.state)
            return logits
        if not isinstance(self.reader, CausalReader):
            (logits, self.state), _ = self.model.forward(ids, self.state)
            return logits[0]
        rows, C = list[NDArray](), self.model.config.context
        while ids.shape[1]:
            if self.state.lengths[0] == C:  # the window slides
                again = self.state.ids[:, C - C // 2 :]
                _, self.state = self.reader.read(again, self.reader.zero_state(1))
            room = C - int(self.state.lengths[0])
            logits, self.state = self.reader.read_all(ids[:, :room], self.state)
            rows.append(logits[0])
            ids = ids[:, room:]
        return np.concatenate(rows)

    def _learn(self, ids: Ids, learning: Iterator) -> Ids:
        """Learn the window that an id ends: -> the ids to read, those before it too if need be."""
        [self.text[self.known]] = ids
        if self.known == self.end:
            next(learning)
            self.end += self.new
            if self.overlap:  # the keys and values of the old weights
                self.state = self.reader.zero_state(1)
                ids = self.text[self.known - self.overlap : self.known + 1]
        self.known += 1
        return ids


class Mixing:
    """The mixture of a network with n-grams, a token at a time: :mod:`minillm.models.mixture`."""

    def __init__(self, mix: MixtureReader, V: int) -> None:
        self.counted, self.start = mix.counted, len(mix.run.tokenizer)
        self.cache, self.mixture = NGramCache(ORDER, V), Mixture(*mix.mixture.sums.shape[::-1])
        self.p: Floats | None = None  # (K, V), and its class
        self.of = class_of(np.zeros(1, np.intp))

    def mix(self, network: Floats, token: int) -> Floats:
        """p (1, V) of the next token: the network's (V,), up to a factor, after this token."""
        if self.p is not None:
            self.mixture.read(self.p[:, [token]], self.of)
        self.cache.add(token)
        whole = np.floor(network * 2.0**34)  # whose sum is exact
        cached, length = self.cache.distribution()
        p = [whole / whole.sum(), cached]
        if self.counted is not None:
            log10_p = self.counted.distribution([self.start, *self.cache.text[-ORDER:]])
            of_text = exponential(log10_p * LN_10)
            p.append(np.append(of_text, np.zeros(len(cached) - len(of_text))))
        self.p, self.of = np.stack(p), class_of(np.array([length]))
        return (self.mixture.weights[self.of].T * self.p).sum(axis=0)[None]
