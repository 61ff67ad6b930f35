"""word2vec's training loop: the NumPy original.

A prediction has an input h, and for its target word a few output rows U with a
label each: 1 for yes, 0 for no.  The model says yes to row u with probability
sigma(u . h), so that each prediction is a handful of logistic regressions:

    loss = - sum over the rows of log sigma(u . h) if label else log sigma(-u . h)

Negative sampling: the target's own row with label 1, and `negative` rows of
words drawn at random with label 0.  Hierarchical softmax: the rows of the inner
nodes on the target's path in the Huffman tree, each with its turn as the label.

Skip-gram: each word predicts every word in its window; h is its vector.
CBOW: all words in the window together predict the word; h is their vectors'
sum or mean.

Every prediction is one step of gradient descent, taken at once: the next one
sees its effect.  So the loop over a text is inherently serial.  The Cython twin
lets threads step over the same weights without locks (Recht et al. 2011): two
of them seldom touch one row at one time.

Sources: Mikolov, Chen, Corrado and Dean (2013), "Efficient estimation of word
representations in vector space"; Mikolov, Sutskever, Chen, Corrado and Dean
(2013), "Distributed representations of words and phrases and their
compositionality"; Recht, Re, Wright and Niu (2011), "Hogwild!".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ids = NDArray[np.int32]

_MASK = (1 << 64) - 1


class _Random:
    """Random numbers that each sentence has to itself: splitmix64 (Steele, Lea and Flood 2014).

    They depend on the seed and the sentence's number alone, not on the thread
    or the order in which sentences come.
    """

    def __init__(self, seed: int, sentence: int):
        self.state = seed
        self.state = (self.next() + sentence) & _MASK

    def next(self) -> int:
        """64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> tuple[int, int]:
        """A number in 0..n-1 from the upper 32 bits, and the lower 32."""
        bits = self.next()
        return ((bits >> 32) * n) >> 32, bits & 0xFFFFFFFF


def _logistic_loss(h: Floats, U: Floats, labels: Floats) -> tuple[np.floating, Callable]:
    """The loss of one prediction: h (D,), U (M, D), labels (M,) of 0 and 1 -> a scalar.

    ``backward()`` -> dh, dU.  With the score s = u . h, and t = s if label else -s,

        loss = sum of log(1 + exp(-t))        dloss/ds = sigma(s) - label
    """
    scores = U @ h
    loss = np.logaddexp(0, np.where(labels == 1, -scores, scores)).sum()

    def backward():
        dscores = 0.5 * np.tanh(0.5 * scores) + 0.5 - labels  # sigma, without overflow
        dh = dscores @ U
        dU = np.outer(dscores, h)
        return dh, dU

    return loss, backward


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
    keep (V,): word w stays in a sentence with the chance keep[w] / 2**32.
    negative: how many negative samples, with share and alias (V,), the table of
    Walker (1977); 0 for hierarchical softmax: the path of w is path_nodes and
    path_labels [path_starts[w] : path_starts[w + 1]].
    threads is for the Cython twin: here it changes nothing.

    -> the sum of all losses in nats, and the number of predictions.
    """
    total, predictions = 0.0, 0

    def outputs(target: int, random: _Random) -> tuple[list[int], list[int]]:
        """The rows of W_out that tell a target, and their labels."""
        if negative == 0:
            path = slice(path_starts[target], path_starts[target + 1])
            return path_nodes[path].tolist(), path_labels[path].tolist()
        rows, labels = [target], [1]
        for _ in range(negative):
            place, rest = random.below(len(share))
            word = place if rest < share[place] else int(alias[place])
            if word != target:
                rows.append(word)
                labels.append(0)
        return rows, labels

    def predict(h: Floats, target: int, rate: float, random: _Random) -> Floats:
        """Step once: change W_out, and return what is to be added to h."""
        nonlocal total, predictions
        rows, labels = outputs(target, random)
        loss, backward = _logistic_loss(h, W_out[rows], np.array(labels, h.dtype))
        dh, dU = backward()
        step = h.dtype.type(rate)
        np.subtract.at(W_out, rows, step * dU)  # a word may be drawn twice
        total += float(loss)
        predictions += 1
        return -step * dh

    for s, rate in enumerate(rates.tolist()):
        random = _Random(seed, sentence + s)
        kept = [
            word
            for word in words[starts[s] : starts[s + 1]].tolist()
            if random.next() >> 32 < int(keep[word])
        ]
        for t, word in enumerate(kept):
            reach = 1 + random.below(window)[0]
            around = kept[max(0, t - reach) : t] + kept[t + 1 : t + 1 + reach]
            if skip_gram:
                for context in around:
                    W_in[word] += predict(W_in[word].copy(), context, rate, random)
            elif around:
                h = W_in[around].sum(axis=0)
                if mean:
                    h /= len(around)
                # Of a mean, the gradient by each vector is its share of this; all take the whole
                # step, as in the authors' program, so that their mean moves by it.
                np.add.at(W_in, around, predict(h, word, rate, random))
    return total, predictions
