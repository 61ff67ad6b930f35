"""word2vec: a vector for each word, from the words around it.

Two models, and two ways to predict a word without a softmax over the vocabulary.

Skip-gram: each word predicts every word in its window; h is its vector.
CBOW: all words in the window together predict the word; h is the mean of their
vectors.

A prediction has an input h and a few output rows U, each with a label, 1 for yes
and 0 for no.  The model says yes to row u with probability sigma(u . h).  Each
prediction is thus a handful of logistic regressions:

    loss = - sum over the rows of log sigma(u . h) if label else log sigma(-u . h)

Negative sampling: the rows belong to the target, with label 1, and to `negative`
random words, with label 0.  Hierarchical softmax: the rows belong to the inner
nodes on the target's path in the Huffman tree; the label says which way the path
turns.

Every prediction is one step of gradient descent, taken before the next prediction.
The loop over a text is therefore serial.  In the Cython twin, several threads work on
the same weights without locks ("Hogwild!"): two of them seldom touch the same row at
the same time.  They would touch the outputs of frequent words and the top of the tree, so
each thread has copies of these, and adds its changes to the shared rows at intervals.

Legend: V words, the most frequent first, D width of a vector.

Sources: Mikolov, Chen, Corrado and Dean (2013), "Efficient estimation of word
representations in vector space"; Mikolov, Sutskever, Chen, Corrado and Dean
(2013), "Distributed representations of words and phrases and their
compositionality"; the defaults are taken from their program.  Recht, Re, Wright and
Niu (2011), "Hogwild!: a lock-free approach to parallelizing stochastic gradient
descent".
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.models import sizes
from minillm.ops.activations import logistic

Floats = NDArray[np.floating]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Word2VecConfig:
    """The sizes of a word2vec model, and its algorithm.

    algorithm: "skip-gram" or "cbow".  negative: the number of negative samples; 0 for
    hierarchical softmax.  subsample: words that are a larger fraction of the text are
    sometimes left out (0: never).  power: negative samples are drawn in proportion to
    count^power.
    """

    vocabulary: int
    dimension: int = 100
    algorithm: str = "skip-gram"
    window: int = 5
    negative: int = 5
    subsample: float = 1e-3
    power: float = 0.75

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 2, "vocabulary")
        sizes.check_one_of(self, "algorithm", ("skip-gram", "cbow"))
        sizes.check_at_least(self, 1, "dimension", "window")
        sizes.check_at_least(self, 0, "negative", "subsample")
        if not -10 <= self.power <= 10:
            raise sizes.wrong(self, "power", "-10 to 10")


class Word2Vec:
    """A word2vec model.

    counts (V,) says how often each word occurs in the text.  Raises TypeError or ValueError
    where they do not fit.
    """

    def __init__(
        self,
        config: Word2VecConfig,
        counts: NDArray[np.int64],
        rng: np.random.Generator | None = None,
        dtype: type = np.float32,
    ):
        V, D = config.vocabulary, config.dimension
        counts = checks.ids("word2vec", "counts", counts, 2**63, (V,))
        if counts.min() < 1:
            raise ValueError(f"word2vec: counts: expected 1 or more, found {counts.min()}")
        self.config = config
        rows = V if config.negative else V - 1
        # Each row begins at a multiple of 64 bytes, so that a vector register never crosses
        # a cache line.  The padding stays zero.
        self._W_in, self._W_out = _aligned(V, D, dtype), _aligned(rows, D, dtype)
        if rng is not None:
            # Twice as wide as in the authors' program: small texts are learned faster.
            self.params["vectors"][:] = rng.uniform(-1 / D, 1 / D, (V, D))
        self._keep = keep_table(counts, config.subsample)
        self._share, self._alias = alias_table((counts / counts.max()) ** config.power)
        self._paths = huffman_paths(counts if config.negative == 0 else counts[:0])

    @property
    def params(self) -> Mapping[str, Floats]:
        """The weights by name: they can be changed, not replaced.

        ``vectors`` (V, D), one for each word; ``outputs``, a row for each word (V, D) or, for
        hierarchical softmax, for each inner node of the tree (V - 1, D).

        >>> model.params["vectors"][:] = new  # doctest: +SKIP
        """
        D = self.config.dimension
        return MappingProxyType({"vectors": self._W_in[:, :D], "outputs": self._W_out[:, :D]})

    def learn(
        self,
        words: Ids,
        starts: NDArray[np.int64],
        rates: NDArray[np.float64],
        seed: int = 0,
        sentence: int = 0,
        threads: int = 1,
    ) -> tuple[float, int]:
        """Take a step of gradient descent for each prediction in the sentences.

        words (N,) are the joined sentences; sentence s is words[starts[s]:starts[s + 1]]
        and has the learning rate rates[s].  Sentences are numbered from ``sentence``: with
        the same seed and numbers, and one thread, every run gives the same bits.  A rate of
        0 only measures the loss.

        -> the sum of the losses in nats, and the number of predictions.
        Raises TypeError or ValueError where words or starts do not fit.
        """
        config, op = self.config, "word2vec"
        ids = checks.ids(op, "words", words, config.vocabulary, (np.size(words),))
        starts = checks.ids(op, "starts", starts, len(ids) + 1, (len(rates) + 1,))
        if starts[0] != 0 or starts[-1] != len(ids) or (starts[1:] < starts[:-1]).any():
            raise ValueError(f"{op}: starts: expected to ascend from 0 to {len(ids)}")
        rates = np.ascontiguousarray(rates, np.float64)
        if rates.ndim != 1:
            raise ValueError(f"{op}: rates: expected shape ({len(rates)},), found {rates.shape}")
        if not ((rates >= 0) & (rates < np.inf)).all():
            raise ValueError(f"{op}: rates: expected finite numbers from 0, found others")
        path_starts, path_nodes, path_labels = self._paths
        return _train_sentences(
            words=ids.astype(np.int32),
            starts=starts,
            rates=rates,
            W_in=self._W_in,
            W_out=self._W_out,
            keep=self._keep,
            window=config.window,
            skip_gram=config.algorithm == "skip-gram",
            negative=config.negative,
            share=self._share,
            alias=self._alias,
            path_starts=path_starts,
            path_nodes=path_nodes,
            path_labels=path_labels,
            seed=seed,
            sentence=sentence,
            threads=threads,
        )


def _aligned(rows: int, D: int, dtype: type) -> Floats:
    """Zeros (rows, D or a little more), in rows of whole cache lines."""
    line = 64 // np.dtype(dtype).itemsize
    width = -(-D // line) * line
    buffer: NDArray = np.zeros(rows * width + line, dtype)
    skip = -(buffer.ctypes.data // buffer.itemsize) % line
    return buffer[skip : skip + rows * width].reshape(rows, width)


# --- learning ------------------------------------------------------------------


@twinned
def _train_sentences(
    words: Ids,
    starts: NDArray[np.int64],
    rates: NDArray[np.float64],
    W_in: Floats,
    W_out: Floats,
    keep: NDArray[np.uint64],
    window: int,
    skip_gram: bool,
    negative: int,
    share: NDArray[np.uint64],
    alias: Ids,
    path_starts: Ids,
    path_nodes: Ids,
    path_labels: NDArray[np.uint8],
    seed: int,
    sentence: int,
    threads: int,
) -> tuple[float, int]:
    """Learn from sentences; change W_in (V, D) and W_out in place.

    words (N,) are the joined sentences; sentence s is words[starts[s]:starts[s + 1]],
    has the learning rate rates[s], and is number ``sentence`` + s of the text.
    keep (V,): word w stays in a sentence with probability keep[w] / 2**32.
    negative: the number of negative samples; share and alias (V,) are the table of
    Walker (1977) from which they are drawn.  0: hierarchical softmax; the path of w is
    path_nodes and path_labels [path_starts[w] : path_starts[w + 1]].
    threads is for the Cython twin, and not used here.

    -> the sum of all losses in nats, and the number of predictions.
    """
    total, predictions = 0.0, 0
    for s, rate in enumerate(rates.tolist()):
        random = _Random(seed, sentence + s)
        kept = [
            word
            for word in words[starts[s] : starts[s + 1]].tolist()
            if random.next() >> 32 < int(keep[word])
        ]
        for inputs, target in _predictions(kept, window, skip_gram, random):
            if negative == 0:
                path = slice(path_starts[target], path_starts[target + 1])
                rows, labels = path_nodes[path], path_labels[path]
            else:
                rows = np.array([target, *_negatives(target, negative, share, alias, random)])
                labels = np.arange(len(rows)) == 0
            h = W_in[inputs].sum(axis=0) / W_in.dtype.type(len(inputs))
            loss, backward = _logistic_loss(h, W_out[rows], labels.astype(h.dtype))
            dh, dU = backward()
            # A row that is drawn twice, or a word that occurs twice in the window, takes two steps.
            np.subtract.at(W_out, rows, W_out.dtype.type(rate) * dU)
            # The gradient of each vector of a mean is dh / len(inputs).  Here each takes the whole
            # dh, as in the authors' program: the mean then moves by dh.
            np.subtract.at(W_in, inputs, W_in.dtype.type(rate) * dh)
            total += float(loss)
            predictions += 1
    return total, predictions


def _logistic_loss(h: Floats, U: Floats, labels: Floats) -> tuple[np.floating, Callable]:
    """The loss of one prediction: h (D,), U (M, D), labels (M,) of 0 and 1 -> a scalar.

    ``backward()`` -> dh, dU.  With the score s = u . h,

        loss = sum of log(1 + exp(-s)) if label else log(1 + exp(s))
        dloss/ds = sigma(s) - label
    """
    scores = U @ h
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores)).sum()

    def backward():
        dscores = logistic(scores) - labels
        # scores = U h
        dh = dscores @ U
        dU = np.outer(dscores, h)
        return dh, dU

    return loss, backward


def _predictions(
    words: list[int], window: int, skip_gram: bool, random: "_Random"
) -> Iterator[tuple[list[int], int]]:
    """Yield the predictions in a sentence: the input words, whose vectors make h, and the target.

    Each position draws the size of its window, from 1 to ``window``: near words count more often.
    """
    for t, word in enumerate(words):
        reach = 1 + random.below(window)[0]
        around = words[max(0, t - reach) : t] + words[t + 1 : t + 1 + reach]
        if skip_gram:
            for context in around:
                yield [word], context
        elif around:
            yield around, word


def _negatives(
    target: int, count: int, share: NDArray[np.uint64], alias: Ids, random: "_Random"
) -> Iterator[int]:
    """Draw words by `alias_table`, and yield the words that are not the target."""
    for _ in range(count):
        slot, rest = random.below(len(share))
        word = slot if rest < share[slot] else int(alias[slot])
        if word != target:
            yield word


class _Random:
    """The random numbers of one sentence: splitmix64 (Steele, Lea and Flood 2014).

    They depend on the seed and the sentence's number alone, not on the thread or the order
    of the sentences.
    """

    _MASK = (1 << 64) - 1

    def __init__(self, seed: int, sentence: int):
        self.state = seed
        self.state = (self.next() + sentence) & self._MASK

    def next(self) -> int:
        """64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & self._MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self._MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self._MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> tuple[int, int]:
        """A number in 0..n-1 from the upper 32 bits, and the lower 32."""
        bits = self.next()
        return ((bits >> 32) * n) >> 32, bits & 0xFFFFFFFF


# --- the tables ----------------------------------------------------------------


def keep_table(counts: NDArray[np.int64], subsample: float) -> NDArray[np.uint64]:
    """The probability, times 2**32, that a word stays in its sentence: (V,).

    It is min(1, (sqrt(f / subsample) + 1) subsample / f), where f is the word's fraction of the
    text, as in the authors' program (their paper has sqrt(subsample / f)).
    """
    chance = np.ones(len(counts))
    if subsample > 0:
        f = counts / counts.sum()
        chance = np.minimum(1, (np.sqrt(f / subsample) + 1) * subsample / f)
    return (chance * 2**32).astype(np.uint64)


def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.uint64], Ids]:
    """A table to draw words by their weights in constant time: share (V,), alias (V,).

    There are V slots of equal size.  The part share[i] / 2**32 of slot i belongs to word i,
    the rest to word alias[i].  To draw a word, draw a slot, then a point in it.
    Source: Walker (1977); filled in one pass as by Vose (1991).
    """
    V = len(weights)
    size = weights * (V / weights.sum())  # in slots
    alias = np.arange(V, dtype=np.int32)
    small = [i for i in range(V) if size[i] < 1]
    large = [i for i in range(V) if size[i] >= 1]
    while small and large:
        i, j = small.pop(), large[-1]
        alias[i] = j  # fills the rest of slot i
        size[j] -= 1 - size[i]
        if size[j] < 1:
            small.append(large.pop())
    size[small + large] = 1  # as they would be without rounding
    return (size * 2**32).astype(np.uint64), alias


def huffman_paths(counts: NDArray[np.int64]) -> tuple[Ids, Ids, NDArray[np.uint8]]:
    """Each word's path from the root of the Huffman tree: starts (V + 1,), nodes, labels.

    The path of word w is nodes[starts[w] : starts[w + 1]], inner nodes numbered from
    0.  Each has a label: 1 if the path continues to its second child, 0 if to its
    first.  Frequent words have short paths (Huffman 1952).
    """
    V = len(counts)
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    parent, label = np.zeros(2 * V, np.int64), np.zeros(2 * V, np.uint8)
    for node in range(V, 2 * V - 1):
        (first, i), (second, j) = heapq.heappop(heap), heapq.heappop(heap)
        parent[i], parent[j], label[j] = node, node, 1
        heapq.heappush(heap, (first + second, node))
    starts, nodes, labels = [0], [], []
    for word in range(V):
        node, path = word, []
        while node != 2 * V - 2:  # the root
            path.append((int(parent[node]) - V, label[node]))
            node = int(parent[node])
        nodes += [inner for inner, _ in reversed(path)]
        labels += [turn for _, turn in reversed(path)]
        starts.append(len(nodes))
    return np.array(starts, np.int32), np.array(nodes, np.int32), np.array(labels, np.uint8)
