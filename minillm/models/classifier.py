"""Many to one: a text classifier.

    hs = recurrence(E[ids])                      one to L layers, in one direction or both;
         or convolutions, where the cell is "cnn"
    y = pool of hs over time                     one vector, however long the text
    P(label | text) = softmax([y; bag] W + b)

``pooling`` is one of

- "last": the last state; of the layer that reads backwards, the one at the first step.
- "mean", "max": over all steps, of each feature by itself.
- "attention": a weighted mean.  The weights compare each step's output with one learned
  vector u: weights = softmax over t of u . tanh(h_t W + b).

With ``ngrams``, a bag of hashed n-grams stands beside it: a word that was seen once, or an ending,
counts at once, without a filter that has to learn it.  A row of ids is then the text's words, and
behind them the buckets of its n-grams, numbered from V on (see :mod:`minillm.text.ngrams`):

    bag = sum over n-grams of words of N[g] / sqrt(their number), and the same of characters

In training, ``word_dropout`` leaves out each word, and each n-gram, with that probability.

With ``mixup`` alpha above 0, training reads mixtures of two texts i and j of a batch:

    a ~ Beta(alpha, alpha)        x = a E[ids_i] + (1 - a) E[ids_j]
    loss = a loss(x, label_i) + (1 - a) loss(x, label_j)

so that between two texts the output goes evenly from one label to the other.  One a is drawn for
a batch, and each text's partner by a permutation of the batch, as in the authors' program.

Source: Zhang, Cisse, Dauphin and Lopez-Paz (2018), "mixup: beyond empirical risk minimization",
section 2.  Yang, Yang, Dyer, He, Smola and Hovy (2016), "Hierarchical attention networks for
document classification", section 2.2, for the attention (of words).  Kim (2014) for the
convolutions: see :mod:`minillm.layers.convolution`.  Joulin, Grave, Bojanowski and Mikolov
(2016), "Bag of tricks for efficient text classification", for the bag, with a root in place of
their mean.  Iyyer, Manjunatha, Boyd-Graber and Daume (2015), "Deep unordered composition rivals
syntactic methods for text classification", section 2.2, for the word dropout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import convolution, dense, recurrent
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh, Shape, normal, uniform
from minillm.layers.gradients import merge_gradients
from minillm.models import base, sizes
from minillm.models.base import Gradients

POOLINGS = ("last", "mean", "max", "attention")
CELLS = (*recurrent.CELLS, "cnn")
SMALL = 0.1  # deviation of the first vectors of n-grams, and of the words of a cnn
BAG = 32  # width of an n-gram's vector

Batch = tuple[NDArray, NDArray, NDArray]
Mixture = tuple[NDArray, float]  # the partner of each text (B,), and the text's own share


@dataclass(frozen=True)
class ClassifierConfig:
    """The sizes of a text classifier: everything but its weights."""

    vocabulary: int  # V
    classes: int
    embedding: int = 128  # D
    hidden: int = 128  # H, of each direction
    layers: int = 1  # L
    cell: str = "gru"
    bidirectional: bool = True
    pooling: str = "max"
    dropout: float = 0.3
    mixup: float = 0.0  # alpha; 0: texts are not mixed
    ngrams: int = 0  # buckets; 0: there is no bag
    word_dropout: float = 0.0
    members: int = 1  # of an ensemble: see minillm.models.ensemble
    label_smoothing: float = 0.0  # in training

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "classes", "embedding", "hidden", "layers")
        sizes.check_at_least(self, 1, "members")
        sizes.check_one_of(self, "cell", CELLS)
        sizes.check_one_of(self, "pooling", POOLINGS)
        sizes.check_below_one(self, "dropout", "word_dropout", "label_smoothing")
        sizes.check_at_least(self, 0, "mixup", "ngrams")
        if self.ngrams % 2:
            raise ValueError(f"ngrams must be even, found {self.ngrams}")
        if self.cell == "cnn" and self.pooling == "last":
            raise ValueError("pooling: a cnn has no last state: expected mean, max or attention")

    @property
    def width(self) -> int:
        """M, of a layer's output."""
        if self.cell == "cnn":
            return len(convolution.WIDTHS) * self.hidden
        return 2 * self.hidden if self.bidirectional else self.hidden


class Classifier(base.Model[ClassifierConfig]):
    """Embedding, L recurrent or convolutional layers, a pool, a bag beside it, an output layer.

    ``params``: ``embedding.E``; ``layers.0.W_x`` and so on (bidirectional:
    ``layers.0.forward.W_x``, ``layers.0.reverse.W_x``; of a cnn ``layers.0.1.W``, for each width);
    ``ngrams.N``; of attention pooling ``attention.W``,
    ``attention.b`` and ``attention.u``; ``output.W`` and ``output.b``.
    """

    @staticmethod
    def new_parameters(config: ClassifierConfig) -> dict[str, Fresh]:
        """Fresh parameters; large vectors would make the outputs of a cnn's filters large."""
        c = config
        V, D, H, M = c.vocabulary, c.embedding, c.hidden, c.width
        params = {"embedding.E": Fresh((V, D), small if c.cell == "cnn" else normal())}
        for layer in range(c.layers):
            name, I = f"layers.{layer}", M if layer > 0 else D
            if c.cell == "cnn":
                params |= convolution.new_layer(name, I, H)
            else:
                params |= recurrent.new_layer(name, c.cell, I, H, c.bidirectional)
        if c.ngrams:
            params["ngrams.N"] = Fresh((c.ngrams, BAG), normal(SMALL))
        if c.pooling == "attention":
            params |= dense.new_layer("attention", M, M)
            params["attention.u"] = Fresh((M,), uniform(M**-0.5))
        width = M + BAG if c.ngrams else M
        return params | dense.new_layer("output", width, c.classes)

    def forward(
        self,
        ids: NDArray,
        lengths: NDArray,
        rng: np.random.Generator | None = None,
        mixture: Mixture | None = None,
    ) -> tuple[NDArray, Callable]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        With a mixture (partners (B,), a), those of mixed texts.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        words, word_lengths, grams = self._split(ids, lengths)
        (hs, last), steps, read_backward = self._read(
            words, word_lengths, rng, mixture
        )  # (B, T, M)
        pooled, pool_backward = self._pool(hs, last, steps)  # (B, M)
        bag, bag_backward = self._bag(grams, rng, mixture)  # (B, BAG)
        y = np.concatenate([pooled, bag], axis=1) if c.ngrams else pooled
        y, dropout_backward = dropout(y, c.dropout, rng)
        logits, output_backward = dense.layer(p, "output", y)

        def backward(dlogits):
            dy, output_gradients = output_backward(dlogits)
            dpooled, dbag = np.split(dropout_backward(dy), [c.width], axis=1)
            dhs, dlast, pool_gradients = pool_backward(dpooled)
            of_read, of_bag = read_backward(dhs, dlast), bag_backward(dbag)
            return merge_gradients(of_read, of_bag, pool_gradients, output_gradients)

        return logits, backward

    def loss(
        self,
        batch: Batch,
        rng: np.random.Generator | None = None,
        class_weights: NDArray | None = None,
    ) -> tuple[np.floating, Callable[..., Gradients]]:
        """The mean cross-entropy of (ids (B, T), lengths (B,), labels (B,)), in nats per text.

        With rng, there is dropout, label smoothing, and the mixtures of ``mixup``.
        """
        if rng is not None and self.config.mixup > 0:
            return self._mixed_loss(batch, rng, class_weights)
        ids, lengths, labels = batch
        logits, logits_backward = self.forward(ids, lengths, rng)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = base.label_loss(logits, labels, smoothing, class_weights)

        def backward(trained=None):
            return logits_backward(loss_backward())

        return loss, backward

    def _mixed_loss(
        self, batch: Batch, rng: np.random.Generator, class_weights: NDArray | None
    ) -> tuple[np.floating, Callable[..., Gradients]]:
        """The loss of mixtures: that of both labels, in the shares of their texts."""
        ids, lengths, labels = batch
        a = rng.beta(self.config.mixup, self.config.mixup)
        partners = rng.permutation(len(ids))
        logits, logits_backward = self.forward(ids, lengths, rng, (partners, a))
        smoothing = self.config.label_smoothing
        own_loss, own_backward = base.label_loss(logits, labels, smoothing, class_weights)
        other_loss, other_backward = base.label_loss(
            logits, labels[partners], smoothing, class_weights
        )
        loss = a * own_loss + (1 - a) * other_loss

        def backward(trained=None):
            return logits_backward(own_backward(a) + other_backward(1 - a))

        return loss, backward

    def _split(
        self, ids: NDArray, lengths: NDArray
    ) -> tuple[NDArray, NDArray, tuple[NDArray, NDArray]]:
        """Words (B, T), their lengths (B,), and n-grams (B, G) with the weight of each."""
        V, ngrams = self.config.vocabulary, self.config.ngrams
        if not ngrams:
            return ids, lengths, (ids, lengths)
        real = np.arange(ids.shape[1]) < lengths[:, None]
        of_words = real & (ids < V)
        word_lengths = of_words.sum(axis=1)
        T = max(1, word_lengths.max())
        first = word_lengths.min()  # where the n-grams of the shortest text begin
        grams, real = ids[:, first:] - V, (real & ~of_words)[:, first:]
        weights = np.zeros(grams.shape, self.dtype)
        for group in (real & (grams < ngrams // 2), real & (grams >= ngrams // 2)):
            count = np.maximum(1, group.sum(axis=1, keepdims=True))
            weights += group / np.sqrt(count).astype(self.dtype)
        return (
            np.where(of_words, ids, 0)[:, :T],
            word_lengths,
            (np.where(real, grams, 0), weights),
        )

    def _read(
        self,
        words: NDArray,
        lengths: NDArray,
        rng: np.random.Generator | None,
        mixture: Mixture | None,
    ) -> tuple[tuple[NDArray, NDArray], NDArray, Callable]:
        """words (B, T), lengths (B,) -> hs (B, T, M) and the last state (B, M); the lengths of hs.

        ``backward(dhs, dlast)`` -> gradients.
        """
        c, p = self.config, self.params
        dropped = rng is not None and c.word_dropout > 0
        if c.cell != "cnn" and mixture is None and not dropped:  # which may need no embeddings
            zero = recurrent.zero_state(p, "layers", c.cell, c.layers, len(words))
            options = c.cell, c.layers, lengths, c.dropout, rng
            (hs, state), over_ids_backward = recurrent.stack_over_ids(
                p, "layers", "embedding.E", words, zero, *options
            )
            top = f"layers.{c.layers - 1}.h"
            return (
                (hs, state[top]),
                lengths,
                lambda dhs, dlast: over_ids_backward(dhs, {top: dlast})[1],
            )

        x, embedding_backward = ops.embedding(words, p["embedding.E"])  # (B, T, D)
        kept = self._kept(words.shape, rng)[..., None]
        x, mix_backward = mix(kept * x, mixture, lengths)
        steps = lengths if mixture is None else np.maximum(lengths, lengths[mixture[0]])
        outputs, layers_backward = self._layers(x, steps, rng)

        def backward(dhs, dlast):
            dx, gradients = layers_backward(dhs, dlast)
            gradients["embedding.E"] = embedding_backward(kept * mix_backward(dx))
            return gradients

        return outputs, steps, backward

    def _layers(
        self, x: NDArray, lengths: NDArray, rng: np.random.Generator | None
    ) -> tuple[tuple[NDArray, NDArray], Callable]:
        """x (B, T, D) -> hs (B, T, M) and, of a recurrence, the last state (B, M).

        ``backward(dhs, dlast)`` -> dx, gradients.
        """
        c, p = self.config, self.params
        options = c.layers, lengths, c.dropout, rng
        if c.cell == "cnn":
            hs, stack_backward = convolution.stack(p, "layers", x, *options)
            return (hs, hs[:, -1]), lambda dhs, dlast: stack_backward(dhs)
        x, dropout_backward = dropout(x, c.dropout, rng)
        zero = recurrent.zero_state(p, "layers", c.cell, c.layers, len(x))
        top = f"layers.{c.layers - 1}.h"
        (hs, state), recurrence_backward = recurrent.stack(p, "layers", x, zero, c.cell, *options)

        def backward(dhs, dlast):
            dx, _dzero, gradients = recurrence_backward(dhs, {top: dlast})
            return dropout_backward(dx), gradients

        return (hs, state[top]), backward

    def _bag(
        self,
        grams: tuple[NDArray, NDArray],
        rng: np.random.Generator | None,
        mixture: Mixture | None,
    ) -> tuple[NDArray, Callable]:
        """n-grams (B, G) and their weights -> the bag (B, BAG).  ``backward(dy)`` -> gradients."""
        c, (ids, weights) = self.config, grams
        if not c.ngrams:
            return np.zeros((len(ids), 0), self.dtype), lambda dy: {}
        vectors, embedding_backward = ops.embedding(ids, self.params["ngrams.N"])  # (B, G, BAG)
        share = 1 - c.word_dropout if rng is not None else 1.0
        weights = (self._kept(ids.shape, rng) * weights)[:, None] / self.dtype.type(
            share
        )  # (B, 1, G)
        y, mix_backward = mix(weights @ vectors, mixture)  # (B, 1, BAG)

        def backward(dy):
            dvectors = weights.swapaxes(1, 2) * mix_backward(dy[:, None])
            return {"ngrams.N": embedding_backward(dvectors)}

        return y[:, 0], backward

    def _kept(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> NDArray:
        """1 where a word or an n-gram is kept, 0 where word dropout leaves it out."""
        rate = self.config.word_dropout
        if rng is None or rate == 0:
            return np.ones(shape, self.dtype)
        return (rng.random(shape) >= rate).astype(self.dtype)

    def _pool(self, hs: NDArray, last: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """hs (B, T, M), last (B, M) -> y (B, M).

        ``backward(dy)`` -> dhs, dlast, gradients; one of the first two is None: zero.
        """
        pooling = self.config.pooling
        if pooling == "last":
            return last, lambda dy: (None, dy, {})
        if pooling == "attention":
            return self._attention_pool(hs, lengths)
        y, op_backward = (ops.mean_pool if pooling == "mean" else ops.max_pool)(hs, lengths)
        return y, lambda dy: (op_backward(dy), None, {})

    def _attention_pool(self, hs: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """The mean of hs with the weights softmax over t of u . tanh(h_t W + b)."""
        p = self.params
        keys, keys_backward = dense.layer(p, "attention", hs, ops.tanh)  # (B, T, M)
        query = np.tile(p["attention.u"], (len(hs), 1, 1))  # (B, 1, M): the same for all
        (context, _), attention_backward = ops.multiplicative_attention(
            query, keys, hs, lengths=lengths
        )  # (B, 1, M)

        def backward(dy):
            dquery, dkeys, dvalues = attention_backward(dy[:, None])
            dhs, gradients = keys_backward(dkeys)
            gradients["attention.u"] = dquery.sum(axis=(0, 1))
            return dhs + dvalues, None, gradients

        return context[:, 0], backward


def small(shape: Shape, rng: np.random.Generator, dtype: type) -> NDArray:
    """The first vectors of the words of a cnn: nothing bounds what a filter of large ones gives."""
    return normal()(shape, rng, dtype) * dtype(SMALL)


def mix(
    x: NDArray, mixture: Mixture | None, lengths: NDArray | None = None
) -> tuple[NDArray, Callable]:
    """``ops.mixup``, or x as it is where there is no mixture."""
    if mixture is None:
        return x, lambda dx: dx
    return ops.mixup(x, *mixture, lengths)
