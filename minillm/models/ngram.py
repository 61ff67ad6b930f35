"""n-gram language models: they predict the next word from the n - 1 words before it.

Counting.  An n-gram is a context (the n-gram without its last word) and a
word.  `count_ngrams` numbers the n-grams of each length in sorted order.  One
integer then identifies context and word together, for any n:

    key = number of the context * V + word

Counting is then sorting integers.

Smoothing.  Most n-grams of a new text have not been seen.  Every method here
gives the seen ones a share of the probability, and leaves the rest to the
context without its first word:

    p(w | a b c) = share(a b c w) + leftover(a b c) p(w | b c)

and so on down to the uniform distribution.  The methods differ only in the
shares.  Each is one function from the counts of one length to share and
leftover, entered into ``SMOOTHINGS`` under its name.

Scoring.  A model keeps p of every n-gram seen, and the leftover of every
context as its *backoff*.  A word that was not seen after a b c has no share
there: p(w | a b c) = backoff(a b c) p(w | b c).  A context that was never seen
leaves everything to the shorter one.  An ARPA file holds the same numbers as
log10.

Legend: V words that can be predicted, M n-grams of one length, C contexts
(n-grams one word shorter), T tokens of a text.

Sources: Chen and Goodman (1999), "An empirical study of smoothing techniques
for language modeling", which states and compares all the methods here.  Sorted
arrays with a context's number in the key: Pauls and Klein (2011), "Faster and
smaller n-gram language models".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.models import sizes

Ids = NDArray[np.int32]
Floats = NDArray[np.floating]

IMPOSSIBLE = -99.0  # log10 of zero, as ARPA files write it


# --- counting ----------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """The n-grams of one length, sorted by their context's number, then by their word."""

    context: Ids  # (M,) the number of the n-gram without its last word
    word: Ids  # (M,) its last word
    suffix: Ids  # (M,) the number of the n-gram without its first word
    count: NDArray[np.int64]  # (M,) how often it occurs in the text
    opening: NDArray[np.bool_]  # (M,) whether it begins with the start of a sentence


def count_ngrams(text: Ids, order: int, start: int) -> list[Counts]:
    """Count the n-grams of length 1 to order of a text (T,); the list begins with length 1.

    The ids are in 0..start; ValueError for any other.  start, the largest, opens a
    sentence: it occurs only as the first word of an n-gram.

    The n-gram that ends at a position of the text consists of a context, which ends at
    the position before, and the word at the position.  Its suffix ends there, too.
    """
    text = checked_ids("count_ngrams", "text", text, start)
    V = start + 1
    word, zeros = np.arange(V, dtype=np.int32), np.zeros(V, np.int32)
    count = np.bincount(text, minlength=V)
    levels = [Counts(zeros, word, zeros, count, word == start)]
    ending = text  # for each position, the number of the n-gram that ends there, or -1
    for _ in range(2, order + 1):
        before = shifted(ending)
        exists = (before >= 0) & (text != start)
        keys, number, count = count_keys(before[exists].astype(np.int64) * V + text[exists])
        context, word = (part.astype(np.int32) for part in np.divmod(keys, V))
        suffix = np.empty(len(keys), np.int32)
        suffix[number] = ending[exists]
        opening = levels[-1].opening[context]
        levels.append(Counts(context, word, suffix, count, opening))
        ending = np.full(len(text), -1, np.int32)
        ending[exists] = number
    return levels


def checked_ids(caller: str, name: str, ids: NDArray[np.integer], start: int) -> Ids:
    """Integers (T,) as int32.  ValueError unless they are in 0..start."""
    return checks.ids(caller, name, ids, start + 1, (np.size(ids),)).astype(np.int32)


def shifted(ending: Ids) -> Ids:
    """The number of the n-gram that ends before each position; -1 at the first."""
    return np.append(np.int32(-1), ending)[:-1]


@twinned
def count_keys(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Count equal keys: keys (T,), none negative -> distinct, places, counts.

    distinct (M,) has each key once, in ascending order; counts (M,) says how often each
    occurs; places (T,) has the index of each of the T keys in distinct.
    """
    distinct, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return distinct, places.astype(np.int32), counts


@twinned
def find_children(first: Ids, words: Ids, contexts: Ids, last: Ids) -> Ids:
    """Look n-grams up: contexts (T,), last words (T,) -> numbers (T,), or -1.

    The n-grams of context c have the numbers first[c] to first[c + 1] - 1, in the order
    of their last words, words (M,).  Context -1 has none.
    """
    exists = contexts >= 0
    low = np.where(exists, first[contexts], 0)
    end = np.where(exists, first[contexts + 1], 0)
    high = end
    while True:  # binary search, in all contexts at once
        searching = low < high
        if not searching.any():
            break
        middle = (low + high) // 2
        below = searching.copy()
        below[searching] = words[middle[searching]] < last[searching]
        low = np.where(below, middle + 1, low)
        high = np.where(searching & ~below, middle, high)
    hit = low < end
    hit[hit] = words[low[hit]] == last[hit]
    return np.where(hit, low, -1).astype(np.int32)


# --- smoothing ---------------------------------------------------------------


class Length(NamedTuple):
    """Statistics of all n-grams of one length, for the smoothing."""

    n: int
    config: "NGramConfig"
    counts_of_counts: NDArray[np.int64]  # (5,) numbers of n-grams with a count of 0, 1, 2, 3, 4


# count (M,) and context (M,), in 0..C-1, of the n-grams of one length -> share (M,),
# leftover (C,).  A context without following words has the leftover 1: the shorter
# context gets all of the probability.
Shares = Callable[[Floats, Ids, int, Length], tuple[Floats, Floats]]


def kneser_ney(count: Floats, context: Ids, C: int, length: Length) -> tuple[Floats, Floats]:
    """Modified Kneser-Ney: three discounts, and `adjusted_counts` (Chen and Goodman 1999)."""
    return discounted(count, context, C, kneser_ney_discounts(length.counts_of_counts))


def absolute(count: Floats, context: Ids, C: int, length: Length) -> tuple[Floats, Floats]:
    """Absolute discounting: one discount for all counts (Ney, Essen and Kneser 1994)."""
    return discounted(count, context, C, absolute_discounts(length.counts_of_counts))


def witten_bell(count: Floats, context: Ids, C: int, length: Length) -> tuple[Floats, Floats]:
    """Estimate the probability of a new word from past new words (Witten and Bell 1991, method C).

        share = c(a w) / (c(a) + t(a))        leftover = t(a) / (c(a) + t(a))

    where t(a) is the number of different words seen after a: each of them was new once.
    """
    total, types = np.bincount(context, count, C), np.bincount(context, count > 0, C)
    leftover = np.divide(types, total + types, out=np.ones(C), where=total > 0)
    return count / (total + types)[context], leftover


def add_k(count: Floats, context: Ids, C: int, length: Length) -> tuple[Floats, Floats]:
    """Count every word k times more than it was seen (Lidstone 1920; Laplace: k = 1).

        p(w | a) = (c(a w) + k) / (c(a) + k V)

    The share is c(a w) / (c(a) + k V).  The leftover, k V / (c(a) + k V), is divided
    evenly among all words: the shorter contexts are uniform.
    """
    if length.n < length.config.order:
        return np.zeros(len(count)), np.ones(C)
    k, V = length.config.k, length.config.vocabulary
    total = np.bincount(context, count, C) + k * V
    return count / total[context], k * V / total


def maximum_likelihood(
    count: Floats, context: Ids, C: int, length: Length
) -> tuple[Floats, Floats]:
    """Relative frequencies, without smoothing: share = c(a w) / c(a), leftover = 0."""
    total = np.bincount(context, count, C)
    return count / total[context], np.where(total > 0, 0.0, 1.0)


SMOOTHINGS: dict[str, Shares] = {
    "kneser-ney": kneser_ney,
    "absolute": absolute,
    "witten-bell": witten_bell,
    "add-k": add_k,
    "mle": maximum_likelihood,
}
ADJUSTED = ("kneser-ney",)  # smoothings whose shorter n-grams have `adjusted_counts`


def discounted(count: Floats, context: Ids, C: int, D: Floats) -> tuple[Floats, Floats]:
    """Subtract D[1] from counts of 1, D[2] from counts of 2, D[3] from larger ones.

        share = max(c(a w) - D, 0) / c(a)        leftover = sum over w of min(D, c(a w)) / c(a)

    D is indexed by the count.
    """
    total = np.bincount(context, count, C)
    taken = np.minimum(D[np.minimum(count, 3).astype(int)], count)
    leftover = np.divide(np.bincount(context, taken, C), total, out=np.ones(C), where=total > 0)
    return (count - taken) / total[context], leftover


def counts_of_counts(count: NDArray) -> NDArray[np.int64]:
    """The numbers of n-grams with a count of 0, 1, 2, 3, 4: (5,)."""
    return np.array([np.count_nonzero(count == r) for r in range(5)])


def absolute_discounts(n: NDArray[np.int64]) -> Floats:
    """One discount D for all counts; D[0] is 0.

        D = n1 / (n1 + 2 n2)

    where n1 n-grams were seen once, and n2 twice.
    """
    D = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    return np.array([0, D, D, D])


def kneser_ney_discounts(n: NDArray[np.int64]) -> Floats:
    """The discounts of counts of 1, of 2 and of more; D[0] is 0.

        Y = n1 / (n1 + 2 n2)        D_r = r - (r + 1) Y n_{r+1} / n_r        r = 1, 2, 3

    where n_r n-grams have a count of r.  If there are too few counts for these estimates, or
    if an estimate is not above 0, the discounts are 0.5, 1 and 1.5.  The estimates maximise the
    likelihood of n-grams that are left out one by one, approximately (chapter 2 of the book).
    Source: Chen and Goodman (1999), section 3.
    """
    D = [0, 0.5, 1, 1.5]
    if all(n[1:]):
        Y = n[1] / (n[1] + 2 * n[2])
        estimated = [r - (r + 1) * Y * n[r + 1] / n[r] for r in (1, 2, 3)]
        if min(estimated) > 0:
            D[1:] = estimated
    return np.array(D)


def adjusted_counts(level: Counts, longer: Counts | None) -> NDArray[np.int64]:
    """The number of different words seen before each n-gram (Kneser and Ney 1995).

    "Francisco" is frequent, but follows only "San".  Shorter n-grams matter after a new
    context, and there "Francisco" is unlikely.  The longest n-grams keep their counts.  So
    do n-grams that begin with the start of a sentence, because no word precedes it.
    """
    if longer is None:
        return level.count
    before = np.bincount(longer.suffix, minlength=len(level.word))
    return np.where(level.opening, level.count, before)


# --- the model ---------------------------------------------------------------


@dataclass(frozen=True)
class NGramConfig:
    """The sizes of an n-gram model, and its smoothing.

    vocabulary: the ids 0..vocabulary-1 are predicted; id ``vocabulary`` opens a sentence.
    k: for add-k.  prune: the largest count that is left out, for 2-grams, 3-grams and so on;
    the last one is for all longer n-grams.  line_end: the id that ends a sentence, if lines are
    sentences.  sizes: the number of n-grams of each length.
    """

    vocabulary: int
    order: int = 5
    smoothing: str = "kneser-ney"
    k: float = 0.1
    prune: tuple[int, ...] = (0,)
    line_end: int | None = None
    unknown: int | None = None
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "order")
        for name in ("line_end", "unknown"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.vocabulary:
                raise sizes.wrong(self, name, f"an id in 0..{self.vocabulary - 1}")
        sizes.check_one_of(self, "smoothing", tuple(SMOOTHINGS))
        sizes.check_above_zero(self, "k")
        if sorted(self.prune) != list(self.prune):  # else an n-gram might lose its context
            raise sizes.wrong(self, "prune", "counts that do not fall")

    @property
    def start(self) -> int:
        """The id that opens a sentence."""
        return self.vocabulary

    def prune_threshold(self, n: int) -> int:
        """The largest count of an n-gram of length n that is left out; a word never is."""
        thresholds = (-1, *(self.prune or (0,)))
        return thresholds[min(n, len(thresholds)) - 1]


class Score(NamedTuple):
    """The log10 probability of a text and its number of tokens; unknown tokens are separate."""

    log10: float
    tokens: int
    unknown_log10: float
    unknown: int


class NGram:
    """An n-gram model in sorted arrays.

    params has for each length n: ``word.n`` (M,), the last words; ``log_p.n`` (M,), log10
    p(word | context); ``backoff.n`` (M,), log10 of the leftover of each n-gram as a context
    (not for the longest); ``first.n`` (C + 1,): the n-grams of context c have the numbers
    first[c] to first[c + 1] - 1, in the order of their last words.  A length may have no
    n-grams at all.

    Raises ValueError, with the array's name, for params that do not pass `check_params`.
    """

    def __init__(self, config: NGramConfig, params: dict[str, NDArray]):
        self.config, self.params = config, params
        check_params(config, params)

    def probabilities(self, ids: NDArray[np.integer]) -> Floats:
        """log10 p of each token given the tokens before it: ids (T,) -> (T,) float64.

        The starts of sentences in ids are given, not predicted: log10 p is 0 there.
        """
        ids = checked_ids("probabilities", "ids", ids, self.config.start)
        log_p = self.params["log_p.1"][ids].astype(np.float64)
        number = ids
        for n in range(2, self.config.order + 1):
            # The context is the n-gram one shorter that ends at the token before.
            context = shifted(number)
            number = find_children(
                self.params[f"first.{n}"], self.params[f"word.{n}"], context, ids
            )
            known, seen = context >= 0, number >= 0
            log_p[known] += self.params[f"backoff.{n - 1}"][context[known]]
            log_p[seen] = self.params[f"log_p.{n}"][number[seen]]
        log_p[log_p <= IMPOSSIBLE] = -np.inf
        log_p[ids == self.config.start] = 0
        return log_p

    def score(self, chunks: Iterable[Ids]) -> Score:
        """The score of a text, which may be cut into chunks anywhere."""
        log10, unknown_log10, tokens, unknown = 0.0, 0.0, 0, 0
        before = np.zeros(0, np.int32)
        for chunk in chunks:
            chunk = checked_ids("score", "chunks", chunk, self.config.start)
            ids = np.concatenate([before, chunk])
            log_p = self.probabilities(ids)[len(before) :]
            is_unknown = chunk == (-1 if self.config.unknown is None else self.config.unknown)
            log10 += float(log_p[~is_unknown].sum())
            unknown_log10 += float(log_p[is_unknown].sum())
            unknown += int(is_unknown.sum())
            tokens += int((chunk != self.config.start).sum()) - int(is_unknown.sum())
            before = ids[max(0, len(ids) - self.config.order + 1) :]
        return Score(log10, tokens, unknown_log10, unknown)

    def distribution(self, context: Sequence[int]) -> Floats:
        """log10 p of every word after the context: (V,) float64."""
        params = self.params
        ids = np.array(context) if len(context) else np.zeros(0, np.int32)
        context = checked_ids("distribution", "context", ids, self.config.start).tolist()
        log_p = params["log_p.1"].astype(np.float64)
        context = context[max(0, len(context) - self.config.order + 1) :]
        # From the shortest context to the longest: (c), (b c), (a b c).
        for length in range(1, len(context) + 1):
            number = self._number(context[len(context) - length :])
            if number < 0:
                break  # a longer one was not seen, either
            n = length + 1
            log_p += params[f"backoff.{length}"][number]
            children = slice(*params[f"first.{n}"][number : number + 2])
            log_p[params[f"word.{n}"][children]] = params[f"log_p.{n}"][children]
        log_p[log_p <= IMPOSSIBLE] = -np.inf
        return log_p[: self.config.vocabulary]

    def longest_context(self, context: Sequence[int]) -> int:
        """The number of last ids of the context in the longest context that was seen."""
        most = min(len(context), self.config.order - 1)
        lengths = range(1, most + 1)
        return sum(self._number(context[len(context) - length :]) >= 0 for length in lengths)

    def _number(self, ngram: Sequence[int]) -> int:
        """The number of an n-gram among the n-grams of its length, or -1."""
        number = ngram[0]
        for n, word in enumerate(ngram[1:], start=2):
            first, last = self.params[f"first.{n}"][number : number + 2]
            words = self.params[f"word.{n}"][first:last]
            number = int(first + np.searchsorted(words, word))
            if number == last or words[number - first] != word:
                return -1
        return number

    # --- writing: the interface of language models --------------------------------

    def zero_state(self, B: int) -> dict[str, Ids]:
        """The state before a text begins, for B texts: the start of a sentence.

        A state has ``context`` (B, order - 1): the last ids, padded in front with -1.
        """
        return {"context": self._context_after(np.full((B, 1), self.config.start, np.int32))}

    def read(
        self, ids: NDArray[np.integer], state: dict[str, Ids]
    ) -> tuple[Floats, dict[str, Ids]]:
        """The logits of the next token, and the state after the last id.

        ids (B, T) -> logits (B, V), state.  The logit of an impossible word is very small,
        but finite.
        """
        shape = (len(state["context"]), *np.shape(ids)[-1:])
        ids = checks.ids("read", "ids", ids, self.config.start + 1, shape)
        context = self._context_after(np.concatenate([state["context"], ids], axis=1))
        log_p = np.stack([self.distribution(row[row >= 0].tolist()) for row in context])
        return np.maximum(log_p, IMPOSSIBLE) * np.log(10), {"context": context}

    def _context_after(self, text: NDArray[np.integer]) -> Ids:
        """The last order - 1 ids of each text (B, T) within its last sentence."""
        context = np.full((len(text), self.config.order - 1), -1, np.int32)
        for row, ids in zip(context, text, strict=True):
            if self.config.line_end is not None and self.config.line_end in ids:
                last = np.flatnonzero(ids == self.config.line_end)[-1]
                ids = np.concatenate([[self.config.start], ids[last + 1 :]])
            seen = ids[max(0, len(ids) - len(row)) :]
            row[len(row) - len(seen) :] = seen
        return context


def check_params(config: NGramConfig, params: dict[str, NDArray]) -> None:
    """Raise ValueError, with the array's name, unless params are as `NGram` describes.

    Compiled look-ups index with these arrays without checks.  So arrays from a file are
    checked once, before the first look-up.
    """
    ids, contexts = config.start + 1, 1
    for n in range(1, config.order + 1):
        M = len(params[f"word.{n}"])
        expected: dict[str, tuple] = {
            f"first.{n}": ((contexts + 1,), np.int32),
            f"word.{n}": ((M,), np.int32),
            f"log_p.{n}": ((M,), np.float32),
        }
        if n < config.order:
            expected[f"backoff.{n}"] = ((M,), np.float32)
        for name, (shape, dtype) in expected.items():
            array = params[name]
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name}: expected {np.dtype(dtype)} {shape}, found {array.dtype} {array.shape}"
                )
        first, word = params[f"first.{n}"], params[f"word.{n}"]
        if first[0] != 0 or first[-1] != M or (first[1:] < first[:-1]).any():
            raise ValueError(f"first.{n}: expected offsets that ascend from 0 to {M}")
        if M and not 0 <= word.min() <= word.max() < ids:
            raise ValueError(f"word.{n}: expected ids from 0 to {ids - 1}")
        ascends = word[1:] > word[:-1]
        ascends[first[(first > 0) & (first < M)] - 1] = True  # another context
        if not ascends.all() or (n == 1 and ids != M):
            raise ValueError(f"word.{n}: expected the words of each context, ascending")
        contexts = M


# --- estimation --------------------------------------------------------------


def estimate(levels: list[Counts], config: NGramConfig) -> NGram:
    """Estimate a model, with config.smoothing, from the counts of every length.

        p(w | a b c) = share(a b c w) + leftover(a b c) p(w | b c)

    ``levels`` is emptied step by step, to free its memory.
    """
    params: dict[str, NDArray] = {}
    sizes: list[int] = []
    p = np.array([1 / config.vocabulary])  # the uniform distribution
    contexts_kept = np.ones(1, bool)
    for n in range(1, config.order + 1):
        level = levels.pop(0)
        context, count, C = level.context, level.count, len(contexts_kept)
        if config.smoothing in ADJUSTED:
            count = adjusted_counts(level, levels[0] if levels else None)
        if n == 1:
            count = count * (level.word != config.start)  # never predicted
        length = Length(n, config, counts_of_counts(count))
        share, leftover = SMOOTHINGS[config.smoothing](count.astype(float), context, C, length)
        # The share of a pruned n-gram goes to the shorter context.
        kept = level.count > config.prune_threshold(n)
        leftover += np.bincount(context[~kept], share[~kept], C)
        p = share + leftover[context] * p[level.suffix]
        if n == 1:
            p[config.start] = 0
        else:
            params[f"backoff.{n - 1}"] = log10_of(leftover[contexts_kept])
        children = np.bincount(context[kept], minlength=C)[contexts_kept]
        params[f"first.{n}"] = np.append(0, np.cumsum(children)).astype(np.int32)
        params[f"word.{n}"] = level.word[kept]
        params[f"log_p.{n}"] = log10_of(p[kept])
        sizes.append(len(params[f"word.{n}"]))
        contexts_kept = kept
    return NGram(replace(config, sizes=tuple(sizes)), params)


def log10_of(p: Floats) -> NDArray[np.float32]:
    """log10 p as in an ARPA file: never above 0, and ``IMPOSSIBLE`` for p = 0."""
    logs = np.full(len(p), IMPOSSIBLE, np.float32)
    np.log10(p, out=logs, where=p > 0, casting="same_kind")
    return np.minimum(logs, 0, out=logs)  # a sum of shares may be rounded to just above 1
