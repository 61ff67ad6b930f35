"""word2vec: a vector for each word, from the words around it.

Two models, and two ways to predict a word without a softmax over the vocabulary.

Skip-gram: each word predicts every word in its window; h is its vector.
CBOW: all words in the window together predict the word; h is the sum or the mean
of their vectors.

A prediction has an input h, and for its target word a few output rows U with a
label each, 1 for yes and 0 for no.  The model says yes to row u with probability
sigma(u . h), so that each prediction is a handful of logistic regressions:

    loss = - sum over the rows of log sigma(u . h) if label else log sigma(-u . h)

Negative sampling: the target's own row with label 1, and `negative` rows of words
drawn at random with label 0.  Hierarchical softmax: the rows of the inner nodes on
the target's path in the Huffman tree, each with its turn as the label.

Every prediction is one step of gradient descent, taken at once: the next one sees
its effect.  So the loop over a text is inherently serial.  The Cython twin lets
several threads work on the same weights without locks ("Hogwild!"): two of them
seldom touch one row at one time.

Legend: V words, the most frequent first, D width of a vector.

Sources: Mikolov, Chen, Corrado and Dean (2013), "Efficient estimation of word
representations in vector space"; Mikolov, Sutskever, Chen, Corrado and Dean
(2013), "Distributed representations of words and phrases and their
compositionality"; the defaults are those of their program.  Recht, Re, Wright and
Niu (2011), "Hogwild!: a lock-free approach to parallelizing stochastic gradient
descent".
"""

import difflib
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.errors import InputError

Floats = NDArray[np.floating]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Word2VecConfig:
    """What a word2vec model is.

    algorithm: "skip-gram" or "cbow"; mean: cbow averages its window, else sums it.
    negative: how many negative samples, 0 for hierarchical softmax.
    subsample: of words that are a larger fraction of the text, some are left out; 0: none.
    power: negative samples are drawn in proportion to the words' counts to this power.
    """

    vocabulary: int
    dimension: int = 100
    algorithm: str = "skip-gram"
    mean: bool = True
    window: int = 5
    negative: int = 5
    subsample: float = 1e-3
    power: float = 0.75

    def __post_init__(self) -> None:
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary: expected 2 words or more, found {self.vocabulary}")
        if self.algorithm not in ("skip-gram", "cbow"):
            raise ValueError(f'algorithm: expected "skip-gram" or "cbow", found {self.algorithm!r}')
        for name, least in (("dimension", 1), ("window", 1), ("negative", 0), ("subsample", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected {least} or more, found {getattr(self, name)}")
        if not -10 <= self.power <= 10:
            raise ValueError(f"power: expected -10 to 10, found {self.power}")


class Word2Vec:
    """A word2vec model.

    params: ``vectors`` (V, D), those of the words; ``outputs``, a row for each word
    (V, D) or, for hierarchical softmax, for each inner node of the tree (V - 1, D).

    counts (V,) are the words' in the text.  Raises TypeError or ValueError where they do not
    fit.
    """

    def __init__(
        self,
        config: Word2VecConfig,
        counts: NDArray[np.int64],
        rng: np.random.Generator | None = None,
        dtype: type = np.float32,
    ):
        V, D = config.vocabulary, config.dimension
        counts = _integers("counts", counts).astype(np.int64)
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32 or float64, found {np.dtype(dtype)}")
        if counts.shape != (V,) or counts.min() < 1:
            raise ValueError(f"counts: expected {V} numbers from 1 up, found shape {counts.shape}")
        self.config = config
        rows = V if config.negative else V - 1
        # Each row begins at a multiple of 64 bytes, so that a vector register loaded
        # from it never crosses a cache line.  The padding stays zero.
        self._W_in, self._W_out = _aligned(V, D, dtype), _aligned(rows, D, dtype)
        self.params = {"vectors": self._W_in[:, :D], "outputs": self._W_out[:, :D]}
        if rng is not None:
            # Twice as wide as in the authors' program: small texts are learnt faster.
            self.params["vectors"][:] = rng.uniform(-1 / D, 1 / D, (V, D))
        self._keep = keep_table(counts, config.subsample)
        self._share, self._alias = alias_table((counts / counts.max()) ** config.power)
        self._paths = huffman_paths(counts if config.negative == 0 else counts[:0])

    def __repr__(self) -> str:
        c = self.config
        return f"<Word2Vec {c.algorithm}: {c.vocabulary:,} vectors of {c.dimension} numbers>"

    @property
    def matrices(self) -> tuple[Floats, Floats]:
        """Both matrices as they lie in memory, their rows padded: what replicas exchange."""
        return self._W_in, self._W_out

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

        words (N,): the sentences in a row; sentence s is words[starts[s]:starts[s + 1]]
        and has the learning rate rates[s].  Sentences are numbered from ``sentence``:
        with the same seed and numbers, and one thread, every run gives the same bits.
        A rate of 0 measures and changes nothing.

        -> the sum of the losses in nats, and the number of predictions.
        Raises TypeError or ValueError for what does not fit.
        """
        config = self.config
        words, starts = _integers("words", words), _integers("starts", starts)
        _whole("seed", seed, 0, 2**64 - 1)
        _whole("sentence", sentence, 0, 2**63 - 1)
        _whole("threads", threads, 1, 2**31 - 1)
        if type(rates) not in _ARRAYS or rates.dtype.kind != "f":
            raise TypeError(f"rates: expected a NumPy array of floats, found {_kind(rates)}")
        rates = np.ascontiguousarray(rates, np.float64)
        if rates.ndim != 1 or not np.isfinite(rates).all():
            raise ValueError("rates: expected one finite number for each sentence")
        ends = len(starts) == len(rates) + 1 and starts[0] == 0 and starts[-1] == len(words)
        if not ends or (starts[1:] < starts[:-1]).any():
            raise ValueError(
                "starts: expected where each sentence starts, ascending from 0, and the words' end"
            )
        if len(words) and not 0 <= words.min() <= words.max() < config.vocabulary:
            raise ValueError(f"words: expected ids in 0..{config.vocabulary - 1}")
        return train_sentences(
            np.array(words, np.int32, order="C"),
            np.array(starts, np.int64, order="C"),
            rates,
            self._W_in,
            self._W_out,
            self._keep,
            config.window,
            config.algorithm == "skip-gram",
            config.mean,
            config.negative,
            self._share,
            self._alias,
            *self._paths,
            seed,
            sentence,
            threads,
        )


def _aligned(rows: int, D: int, dtype: type) -> Floats:
    """Zeros (rows, D or a little more), in rows of whole cache lines."""
    line = 64 // np.dtype(dtype).itemsize
    width = -(-D // line) * line
    buffer: NDArray = np.zeros(rows * width + line, dtype)
    skip = -(buffer.ctypes.data // buffer.itemsize) % line
    return buffer[skip : skip + rows * width].reshape(rows, width)


_ARRAYS = (np.ndarray, np.memmap)  # not matrices or masked arrays


def _integers(name: str, array: NDArray) -> NDArray:
    if type(array) not in _ARRAYS or array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected a NumPy array of integers, found {_kind(array)}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one axis, found shape {array.shape}")
    return array


def _whole(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected a whole number, found {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {least} to {most}, found {value}")


def _kind(found: Any) -> str:
    return str(found.dtype) if type(found) in _ARRAYS else type(found).__name__


# --- learning ------------------------------------------------------------------


@twinned
def train_sentences(
    words: Ids,
    starts: NDArray[np.int64],
    rates: NDArray[np.float64],
    W_in: Floats,
    W_out: Floats,
    keep: NDArray[np.uint64],
    window: int,
    skip_gram: bool,
    mean: bool,
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

    words (N,): the sentences in a row; sentence s is words[starts[s]:starts[s + 1]],
    and has the learning rate rates[s]; it is number ``sentence`` + s of the text.
    keep (V,): word w stays in a sentence with probability keep[w] / 2**32.
    negative: how many negative samples, with share and alias (V,), the table of
    Walker (1977); 0 for hierarchical softmax: the path of w is path_nodes and
    path_labels [path_starts[w] : path_starts[w + 1]].
    threads is for the Cython twin: here it changes nothing.

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
            h = W_in[inputs].sum(axis=0)
            if mean:
                h = h / W_in.dtype.type(len(inputs))
            loss, backward = _logistic_loss(h, W_out[rows], labels.astype(h.dtype))
            dh, dU = backward()
            # A row that is drawn twice, or a word that stands twice in the window, takes two steps.
            np.subtract.at(W_out, rows, W_out.dtype.type(rate) * dU)
            # Of a mean, the gradient by each vector is dh / len(inputs).  All take the whole dh,
            # as in the authors' program, so that their mean moves by it.
            np.subtract.at(W_in, inputs, W_in.dtype.type(rate) * dh)
            total += float(loss)
            predictions += 1
    return total, predictions


def _logistic_loss(h: Floats, U: Floats, labels: Floats) -> tuple[np.floating, Callable]:
    """The loss of one prediction: h (D,), U (M, D), labels (M,) of 0 and 1 -> a scalar.

    ``backward()`` -> dh, dU.  With the score s = u . h, and t = s if label else -s,

        loss = sum of log(1 + exp(-t))        dloss/ds = sigma(s) - label
    """
    scores = U @ h
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores)).sum()

    def backward():
        dscores = 0.5 * np.tanh(0.5 * scores) + 0.5 - labels  # sigma, without overflow
        # scores = U h
        dh = dscores @ U
        dU = np.outer(dscores, h)
        return dh, dU

    return loss, backward


def _predictions(
    words: list[int], window: int, skip_gram: bool, random: "_Random"
) -> Iterator[tuple[list[int], int]]:
    """The predictions in a sentence: the words whose vectors make h, and the target.

    Each place draws its own reach, from 1 to the window: near words count more often.
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
    """So many words drawn by `alias_table`, without those that are the target itself."""
    for _ in range(count):
        slot, rest = random.below(len(share))
        word = slot if rest < share[slot] else int(alias[slot])
        if word != target:
            yield word


class _Random:
    """Random numbers that each sentence has to itself: splitmix64 (Steele, Lea and Flood 2014).

    They depend on the seed and the sentence's number alone, not on the thread
    or the order in which sentences come.
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
    """The probability, times 2**32, that a word stays in its sentence: -> (V,).

    With f the word's fraction of the text, min(1, (sqrt(f / subsample) + 1) subsample / f), as in
    the authors' program (their paper has sqrt(subsample / f)).
    """
    chance = np.ones(len(counts))
    if subsample > 0:
        f = counts / counts.sum()
        chance = np.minimum(1, (np.sqrt(f / subsample) + 1) * subsample / f)
    return (chance * 2**32).astype(np.uint64)


def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.uint64], Ids]:
    """A table to draw words by their weights in constant time: -> share (V,), alias (V,).

    There are V slots of equal size.  Of slot i the part share[i] / 2**32 belongs to
    word i, the rest to word alias[i]: draw a slot, then a point in it.
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
    """Each word's path from the root of the Huffman tree: -> starts (V + 1,), nodes, labels.

    The path of word w is nodes[starts[w] : starts[w + 1]], inner nodes numbered from
    0; the label of each says whether the path goes on to its second child (1) or its
    first (0).  Frequent words have short paths (Huffman 1952).
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


# --- similarity and analogies ---------------------------------------------------


class Vectors:
    """Words and their vectors: nearest words, analogies, and a map of them.

    Similarity is the cosine.  InputError for a word that has no vector, with similar spellings.
    """

    def __init__(self, words: Sequence[str], vectors: Floats):
        self.words = list(words)
        self.vectors = vectors
        self.ids = {word: id for id, word in enumerate(self.words)}
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.directions = vectors / np.where(length > 0, length, 1)

    def __repr__(self) -> str:
        return f"<Vectors: {len(self.words):,} words, {self.vectors.shape[1]} numbers each>"

    def id(self, word: str) -> int:
        """The row of a word's vector."""
        if word not in self.ids:
            close = difflib.get_close_matches(word, self.words, 3, 0.6)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise InputError(
                f"the word {word!r} is not among the {len(self.words):,} that the model knows{hint}"
            )
        return self.ids[word]

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors."""
        return float(self.directions[self.id(a)] @ self.directions[self.id(b)])

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The words most similar to a word, and how similar they are."""
        return self._nearest(self.directions[self.id(word)], [word], count)

    def analogy(self, a: str, b: str, c: str, count: int = 10) -> list[tuple[str, float]]:
        """What is to c as b is to a: the words nearest to b - a + c, none of the three.

        With unit vectors, these are the words most similar to b and c and least similar
        to a, all three weighted equally (Mikolov, Yih and Zweig 2013; "3CosAdd").
        """
        x, y, z = (self.directions[self.id(word)] for word in (a, b, c))
        wanted = y - x + z
        length = np.linalg.norm(wanted)
        return self._nearest(wanted / (length if length > 0 else 1), [a, b, c], count)

    def _nearest(self, direction: Floats, without: list[str], count: int):
        scores = self.directions @ direction
        scores[[self.ids[word] for word in without]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(count, len(scores) - len(set(without)))]
        return [(self.words[id], float(scores[id])) for id in best]

    def map(self, words: Sequence[str]) -> Floats:
        """Coordinates of words in the plane in which they vary most: -> (N, 2).

        The two principal components (Pearson 1901) of their directions.
        """
        directions = self.directions[[self.id(word) for word in words]]
        centred = directions - directions.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        return centred @ axes[:2].T
