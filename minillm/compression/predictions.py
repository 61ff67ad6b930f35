"""Predictions as integers: the same ones for the encoder and the decoder, to the last bit.

A range coder needs the decoder's frequencies to be those of the encoder.  If one of them differs by
one, everything after it is lost.  So three things are fixed.

**The frequencies.**  They are computed from the logits with operations of float64 whose results
IEEE 754 prescribes: additions, products, quotients, floors.  The exponential is a polynomial,
because every library's ``exp`` rounds in its own way.  Sums are sums of integers below 2^53, so
their order does not matter.

**The logits.**  ``kernels`` names the kernels that compute the same bits.  The steps of a recurrent
model and of a quantised one have the same bits on AVX2 and AVX-512, with any number of threads.
Other floats are added in an order that belongs to one instruction set.  n-grams need no kernels.

**The way of reading.**  The decoder reads a token at a time.  Where a whole pass has the bits of
its steps, the encoder reads ``ahead`` at the speed of a prompt; otherwise it takes the same steps.
When the context of a Transformer is full, its second half is read again from position 0, and
reading continues from there.

With ``adapt``, a copy of the network learns each window of the text when it is known.  With
``mix``, the network is mixed with n-grams of the text so far, and of the training text.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import kernels_info
from minillm.compression.range_coder import MOST
from minillm.decoding import CausalReader, Reader
from minillm.errors import InputError
from minillm.layers.types import Ids
from minillm.models.base import WindowModel
from minillm.models.language_model import LanguageModel
from minillm.models.mixture import LENGTHS, Mixture, class_of
from minillm.models.neural_ngram import NeuralNGram
from minillm.models.ngram import NGram
from minillm.models.ngram_cache import NGramCache
from minillm.runs.kinds.ngram import ORDER, MixtureReader
from minillm.runs.run import Run
from minillm.text import opening_id
from minillm.training.dynamic_evaluation import WINDOW, copied, learn

Floats = NDArray[np.float64]

SHARED = "avx512", "avx2"  # kernels with the same bits
NUMBERS = 1 << 22  # logits that are computed at once
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
LN_10 = 2.302585092994046
FACTORIALS = (1.0, 1.0, 2.0, 6.0, 24.0, 120.0, 720.0, 5040.0, 40320.0, 362880.0, 3628800.0)


def exponential(x: NDArray) -> Floats:
    """exp(x) of x <= 0, to 13 digits, with operations that IEEE 754 fixes.

    x = n log 2 + r with |r| <= log(2) / 2, so exp(x) = 2^n exp(r).
    """
    x = np.maximum(x.astype(np.float64), -60.0)
    n = np.floor(x * LOG2_E + 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = np.zeros_like(r)
    for factorial in reversed(FACTORIALS):
        y = y * r + 1 / factorial
    return np.ldexp(y, n.astype(np.int32))


def frequencies(p: Floats) -> NDArray[np.int64]:
    """Probabilities, up to a factor, as integers: p (..., V) -> at least 1 each, whose sum is MOST.

    What the rounding leaves goes to the most probable symbol.
    """
    V = p.shape[-1]
    whole = np.floor(p * (2.0**34 / p.max(axis=-1, keepdims=True)))
    share = np.floor(whole * ((MOST - V) / whole.sum(axis=-1, keepdims=True)))
    result = share.astype(np.int64) + 1
    most = result.argmax(axis=-1)[..., None]
    left = MOST - result.sum(axis=-1, keepdims=True)
    np.put_along_axis(result, most, np.take_along_axis(result, most, -1) + left, -1)
    return result


class Predictions:
    """What a run predicts of a text of T tokens: ``after`` the first ids, and those that follow."""

    def __init__(self, run: Run, T: int, adapt: bool = False, mix: bool = False) -> None:
        tokenizer, self.model = run.tokenizer, run.model
        self.first = tokenizer.opened(np.zeros(0, np.int32))
        if not len(self.first):
            self.first = np.array([opening_id(tokenizer, bool(run.data.get("documents")))])
        self.learning = self.mixing = None
        self.text, self.known, self.end = np.zeros(1 + T, np.int32), 0, -1
        if adapt:
            self.model = copied(run.model)
            is_window = isinstance(self.model, WindowModel)
            window = WINDOW if is_window else self.model.config.context
            self.overlap = 0 if is_window else window // 2
            self.learning, self.end, self.new = learn(self.model, self.text), window, window
            self.new = window - self.overlap
        if mix:
            self.mixing = Mixing(run)
        self.reader = Reader(self.model)
        self.state = self.reader.zero_state(1)
        self.kernels, self.ahead = self._exactness(run)

    def _exactness(self, run: Run) -> tuple[tuple[str, ...], int]:
        """The kernels that compute the same bits, and the tokens that the encoder reads at once."""
        own, weights = kernels_info()["kernels"], self.model.params
        if isinstance(self.model, NGram):
            return (), 1
        reads_once = isinstance(self.model, LanguageModel | NeuralNGram)
        ahead = reads_once and not getattr(self.model.config, "tied", False)
        if isinstance(self.reader, CausalReader):
            arrays = (weight for weight in weights.values() if isinstance(weight, np.ndarray))
            reads_once = ahead = all(array.ndim == 1 for array in arrays)
        if self.learning or own == "numpy" or not reads_once:
            return (own,), 1
        at_once = 1 if self.mixing or not ahead else NUMBERS // self.model.config.vocabulary
        return SHARED if own in SHARED else (own,), max(1, min(at_once, 256))

    def after(self, ids: Ids) -> NDArray[np.int64]:
        """Read ids (T,): -> the frequencies of the token after each, (T, V).

        InputError for logits that are no numbers.
        """
        if self.learning:
            [number] = ids
            self.text[self.known] = number
            if self.known == self.end:
                next(self.learning)
                self.end += self.new
                if self.overlap:  # the keys and values of the weights before
                    self.state = self.reader.zero_state(1)
                    ids = self.text[self.known - self.overlap : self.known + 1]
            self.known += 1
            logits, self.state = self.reader.read(ids[None].astype(np.int64), self.state)
        else:
            logits = self._read(ids)
        if not np.isfinite(logits.max(axis=-1)).all():
            raise InputError("the model predicts what is no number: it is damaged, or has diverged")
        p = exponential(logits - logits.max(axis=-1, keepdims=True))
        return frequencies(p if self.mixing is None else self.mixing.mix(p[0], int(ids[-1]))[None])

    def _read(self, ids: Ids) -> NDArray:
        """The logits after each id (T,): (T, V)."""
        ids = ids[None].astype(np.int64)
        if ids.shape[1] == 1:
            logits, self.state = self.reader.read(ids, self.state)
            return logits
        if not isinstance(self.reader, CausalReader):
            (logits, self.state), _ = self.model.forward(ids, self.state)
            return logits[0]
        rows, C = [], self.model.config.context
        while ids.shape[1]:
            room = C - int(self.state.lengths[0])
            if not room:  # the window slides
                again = self.state.ids[:, C - C // 2 :]
                _, self.state = self.reader.read(again, self.reader.zero_state(1))
                room = C - C // 2
            logits, self.state = self.reader.read_all(ids[:, :room], self.state)
            rows.append(logits[0])
            ids = ids[:, room:]
        return np.concatenate(rows)


class Mixing:
    """The mixture of a network with n-grams: :mod:`minillm.models.mixture`, a token at a time."""

    def __init__(self, run: Run) -> None:
        self.counted = MixtureReader(run).counted
        self.start = len(run.tokenizer)
        self.cache = NGramCache(ORDER, run.model.config.vocabulary)
        self.mixture = Mixture(2 + (self.counted is not None), len(LENGTHS))
        self.p: Floats | None = None  # of the last token (K, V), and its class
        self.of = np.zeros(1, np.intp)

    def mix(self, network: Floats, token: int) -> Floats:
        """p (V,) of the next token: the network's, up to a factor, after this token was read."""
        if self.p is not None:
            self.mixture.read(self.p[:, [token]], self.of)
        self.cache.add(token)
        whole = np.floor(network * 2.0**34)  # whose sum is exact
        cached, length = self.cache.distribution()
        p = [whole / whole.sum(), cached]
        if self.counted is not None:
            log10_p = self.counted.distribution([self.start, *self.cache.text])
            of_text = np.zeros_like(cached)
            of_text[: len(log10_p)] = exponential(log10_p * LN_10)
            p.append(of_text)
        self.p, self.of = np.stack(p), class_of(np.array([length]))
        return (self.mixture.weights[self.of].T * self.p).sum(axis=0)
