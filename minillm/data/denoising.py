"""Corrupting texts, for an encoder-decoder that learns to restore them.

    text       The dog barked loudly at night. The cat slept. It rained.
    shuffled   It rained. The dog barked loudly at night. The cat slept.
    infilled   It rained. The<mask> at night. The<mask> cat slept.

The encoder reads the last line, and the decoder writes the first.  No labels are needed, so any
text will do.  The task teaches skills that summaries and translations need: reading from both
sides, copying, ordering, and writing whole sentences.

**Infilling.**  m = round(0.3 T) of the T tokens are hidden, in n spans.  The length l of a span has
the Poisson distribution with the mean 3.  Lengths are drawn until their sum reaches m, and the last
one is cut to fit.  Each span becomes a single mask token, whatever its length, so the model has to
find out how many tokens are missing.  A share e^-3 = 5% of the spans has the length 0 and hides
nothing: a mask is inserted.  The source therefore has T - m + n tokens, and

    the sum of the uncut lengths is m + r, so 3 E[n] = m + E[r]          (Wald's equation)
    for a long text, P(r = k) = P(l > k) / 3                              (renewal theory)
    E[r] = sum of k P(l > k) / 3 = E[l (l - 1)] / (2 * 3) = 3**2 / 6 = 1.5
    E[n] = m / 3 + 1 / 2, so a source has about 0.8 T + 1 / 2 tokens

The T - m tokens that remain leave T - m + 1 places between them and at the ends.  The n spans take
n different places, all choices equally likely.  So a mask may be the first or the last token, but
two masks are never neighbours: a second mask would add no information.  A short text may have too
few places, and then has fewer spans.

**Shuffling.**  The sentences of a text are put in a random order before tokens are hidden, all
orders equally likely.  A span may therefore reach across the end of a sentence.

**The target** is the whole text, as in BART.  T5 hides 15% of the tokens, in spans with a mean of
3, and does not shuffle.  Its decoder writes only the hidden spans, each after the mask that stands
for it: 0.15 T + 0.05 T tokens, a fifth of BART's.  A step of T5 takes half as long on a CPU, but it
learns from a fifth of the target tokens, and its decoder practises neither copying nor beginning
and ending a text.  Fine-tuning on summaries needs all three.

Passages of whole sentences are corrupted, and again in each epoch, by a generator that is seeded by
the seed, the epoch and the batch.  A resumed training therefore continues with the same bits.

Sources: Lewis, Liu, Goyal, Ghazvininejad, Mohamed, Levy, Stoyanov and Zettlemoyer (2020), "BART:
denoising sequence-to-sequence pre-training for natural language generation, translation, and
comprehension", section 2.2 (the paper does not say how it places spans: that two masks are never
neighbours is our choice); Raffel, Shazeer, Roberts, Lee, Narang, Matena, Zhou, Li and Liu
(2020), "Exploring the limits of transfer learning with a unified text-to-text transformer", section
3.1.4; for the distribution of r, Feller (1971), "An introduction to probability theory and its
applications", volume 2, chapter XI.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.data.sequences import Minibatches, Sequences

HIDDEN = 0.3  # share of the tokens of a text
MEAN = 3  # tokens of a span
CORRUPTING = 1  # separates its random numbers from the order of the rows

Ids = NDArray[np.integer]
Encode = Callable[[Sequence[str]], Sequence[Ids]]  # the ids of each of several texts


# --- corruption ----------------------------------------------------------------------------------


def infill(ids: Ids, mask: int, rng: np.random.Generator) -> Ids:
    """The text with each of its hidden spans replaced by one mask: ids (T,) -> (T - m + n,).

    >>> infill(np.arange(1, 11), mask=0, rng=np.random.default_rng(3))
    array([ 1,  2,  0,  4,  0,  7,  8,  9, 10])
    """
    T = len(ids)
    m = round(HIDDEN * T)
    lengths = np.array(span_lengths(m, rng)[: T - m + 1], int)  # (n,)
    kept = T - lengths.sum()
    places = np.sort(rng.choice(kept + 1, len(lengths), replace=False))  # kept tokens before a span
    starts = places + np.cumsum(lengths) - lengths
    borders = np.stack([starts, starts + lengths], axis=1).ravel()
    hidden = np.arange(len(borders) + 1) % 2 == 1  # tokens are kept, hidden, kept, ..., kept
    hidden = np.repeat(hidden, np.diff(borders, prepend=0, append=T))  # (T,)
    return np.insert(ids[~hidden], places, mask)


def span_lengths(total: int, rng: np.random.Generator) -> list[int]:
    """Lengths of spans with this sum: Poisson, until the sum is reached; the last one is cut."""
    lengths: list[int] = []
    while (left := total - sum(lengths)) > 0:
        lengths.append(min(int(rng.poisson(MEAN)), left))
    return lengths


def corrupted(sentences: Sequence[str], encode: Encode, mask: int, rng: np.random.Generator) -> Ids:
    """The ids of a text with its sentences shuffled and some of its tokens hidden."""
    shuffled = [sentences[number] for number in rng.permutation(len(sentences))]
    return infill(encode([" ".join(shuffled)])[0], mask, rng)


# --- batches -------------------------------------------------------------------------------------


def passages(sentences: Sequence[str], encode: Encode, most: int) -> list[list[str]]:
    """Consecutive sentences in groups of at most ``most`` tokens.

    A longer sentence is cut between words.  A word that is longer than a passage is left out.

    >>> def letters(texts):
    ...     return [np.arange(len(text.replace(" ", ""))) for text in texts]
    >>> passages(["ab c", "d", "ef gh i", "j"], letters, most=4)
    [['ab c', 'd'], ['ef gh'], ['i', 'j']]
    """
    parts = []
    for sentence, ids in zip(sentences, encode(sentences), strict=True):
        if len(ids) <= most:
            parts.append(sentence)
        else:
            parts += [" ".join(words) for words in _grouped(sentence.split(), encode, most)]
    return _grouped(parts, encode, most)


def _grouped(texts: Sequence[str], encode: Encode, most: int) -> list[list[str]]:
    """Consecutive texts in groups of at most ``most`` tokens, without those that are longer."""
    groups, room = list[list[str]](), 0
    after_others = encode([f" {text}" for text in texts])
    for text, alone, after in zip(texts, encode(texts), after_others, strict=True):
        if len(alone) > most:
            continue
        if len(after) <= room:
            groups[-1].append(text)
            room -= len(after)
        else:
            groups.append([text])
            room = most - len(alone)
    return groups


class DenoisingBatches(Minibatches):
    """An endless series of batches of corrupted passages and their originals.

    A batch is source (B, S), source lengths (B,), target (B, T), target lengths (B,).  A target
    ends with EOS.  The order of the passages, the epochs and the state are the same as in
    :class:`minillm.data.sequences.Minibatches`.
    """

    def __init__(
        self,
        passages: Sequence[Sequence[str]],
        encode: Encode,
        mask: int,
        eos: int,
        batch: int,
        seed: int,
    ):
        self.passages, self.encode, self.mask = passages, encode, mask
        texts = encode([" ".join(sentences) for sentences in passages])
        self.targets = Sequences([*ids, eos] for ids in texts)
        super().__init__((self.targets, np.arange(len(passages))), batch, seed)

    def next(self) -> tuple[NDArray, ...]:
        """The next batch; its corruption depends on the seed, the epoch and the position in it."""
        batch = super().next()
        seeds = (self.seed, self.epoch, self.position, CORRUPTING)
        return self._corrupted(batch, np.random.default_rng(seeds))

    def once(self) -> Iterator[tuple[NDArray, ...]]:
        """Every passage once, for evaluation, with the same corruption each time."""
        rng = np.random.default_rng((self.seed, 0, 0, CORRUPTING))  # next has no position 0
        for batch in super().once():
            yield self._corrupted(batch, rng)

    def _corrupted(
        self, batch: tuple[NDArray, ...], rng: np.random.Generator
    ) -> tuple[NDArray, ...]:
        target, lengths, numbers = batch
        texts = [self.passages[number] for number in numbers]
        sources = Sequences(corrupted(text, self.encode, self.mask, rng) for text in texts)
        return *sources.padded(np.arange(len(texts))), target, lengths
