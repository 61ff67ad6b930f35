"""n-gram models larger than memory: the estimation of `models/ngram.py` in streams.

`models/ngram.py` numbers the n-grams of each length in sorted order and keeps their
context, word, suffix and count in arrays.  Here the same arrays are *columns* on
disk, read and written from front to back, a block at a time.  Only the disk limits
their length.  The result is the same, bit for bit.

Counting.  A chunk of the text is as large as memory allows.  Its n-grams are sorted
and counted into a *run*: ascending keys with a count and a suffix each.  The runs are
merged into the columns of the length.  Each chunk then gets the numbers of its n-grams,
because these are the contexts of the n-grams that are one word longer.

Smoothing.  To smooth an n-gram a b c w takes its count and three more things.

1. *Sums over its context*.  The n-grams of a context are neighbours.  If a block ends
   where a context ends, it can be smoothed separately.
2. *Counts of counts*, for the discounts.  They are summed over all blocks in advance.
3. *Its suffix* b c w: p(w | b c) is read there, and the adjusted count of b c w is the
   number of n-grams with this suffix.  Suffixes are in no order: `data/tables.py`
   gathers the p, and tallies the suffixes.

Source: Heafield, Pouzyrevsky, Clark and Koehn (2013), "Scalable modified Kneser-Ney
language model estimation", which streams in the same steps.  It sorts the n-grams again
for each step, by their last or by their first words.  Here the numbers of context and
suffix, known from counting, lead from one order to the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minillm.data.streams import OnDisk, regroup
from minillm.data.tables import ExternalMemory, gather, tally
from minillm.errors import InputError
from minillm.models.ngram import (
    ADJUSTED,
    Floats,
    Ids,
    Length,
    NGram,
    NGramConfig,
    Score,
    checked_ids,
    count_keys,
    count_longer,
    counts_of_counts,
    find_children,
    interpolate,
    log10_of,
    place_of,
    shifted,
    split_keys,
)

MOST = 2**31 - 1  # n-grams of one length, which have numbers of 32 bits


class Run(NamedTuple):
    """The n-grams of a chunk."""

    keys: OnDisk  # ascending
    counts: OnDisk
    suffixes: OnDisk


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, in columns with the names of `Counts`.

    The n-grams from ``opening`` on begin with the start of a sentence, which is the last of the
    words.
    """

    opening: int
    context: OnDisk
    word: OnDisk
    suffix: OnDisk
    count: OnDisk


# --- counting ----------------------------------------------------------------


def count_in_streams(
    streams: ExternalMemory, chunks: Sequence[OnDisk], order: int, start: int
) -> list[Level]:
    """Count the n-grams of a text in chunks, like `count_ngrams`."""
    V, keep = start + 1, streams.spill.keep
    count = np.zeros(V, np.int64)
    for chunk in chunks:
        ids = checked_ids("count_in_streams", "chunks", chunk[:], start)
        count += np.bincount(ids, minlength=V)
    words = np.arange(V, dtype=np.int32)
    zeros = keep(np.zeros_like(words))
    levels = [Level(start, zeros, keep(words), zeros, keep(count))]
    ending = chunks
    for n in range(2, order + 1):
        runs, places = _sorted_runs(streams, chunks, ending, V, f"{n}-grams")
        level, numbers = _merged(streams, runs, levels[-1], V, f"{n}-grams")
        levels.append(level)
        del runs
        ending = [
            keep(place_of(place[:], number[:]))
            for place, number in zip(places, numbers, strict=True)
        ]
        del places, numbers
    return levels


def _sorted_runs(
    streams: ExternalMemory, chunks: Sequence[OnDisk], ending: Sequence[OnDisk], V: int, what: str
) -> tuple[list[Run], list[OnDisk]]:
    """The run of each chunk, and the places of its n-grams."""
    keep = streams.spill.keep
    runs, places, last = [], [], -1
    for k, (chunk, ends_here) in enumerate(zip(chunks, ending, strict=True), start=1):
        streams.progress(f"{what}: sorting chunk {k:,} of {len(chunks):,}")
        ends = ends_here[:]
        keys, place, count, suffix = count_longer(chunk[:], shifted(last, ends), ends, V)
        last = int(ends[-1])
        del ends
        places.append(keep(place))
        del place
        runs.append(Run(keep(keys), keep(count.astype(np.int32)), keep(suffix)))
    return runs, places


def _merged(
    streams: ExternalMemory, runs: list[Run], below: Level, V: int, what: str
) -> tuple[Level, list[OnDisk]]:
    """Merge the runs: return the level, and for each run the numbers of its keys.

    A block of each run is read at a time.  The keys of a run ascend.  So all keys up to the
    smallest of the blocks' last keys have been read, and are counted.
    """
    new, opening = streams.spill.new, 0
    context, word, suffix = new(np.int32), new(np.int32), new(np.int32)
    count = new(np.int64)
    numbers = [new(np.int32) for _ in runs]
    position = np.zeros(len(runs), np.int64)
    lengths = np.array([len(run.keys) for run in runs], np.int64)
    block = max(1, streams.block // len(runs))
    while (position < lengths).any():
        parts = [run.keys[at : at + block] for at, run in zip(position, runs, strict=True)]
        more = position + block < lengths
        if more.any():
            bound = min(keys[-1] for keys, rest in zip(parts, more, strict=True) if rest)
            parts = [keys[: np.searchsorted(keys, bound, "right")] for keys in parts]
        sizes = [len(keys) for keys in parts]
        spans = list(map(slice, position, position + sizes))
        distinct, place, _ = count_keys(np.concatenate(parts))
        counts = np.concatenate([run.counts[span] for run, span in zip(runs, spans, strict=True)])
        suffixes = np.concatenate(
            [run.suffixes[span] for run, span in zip(runs, spans, strict=True)]
        )
        total = len(context)
        if total + len(distinct) > MOST:
            raise InputError(f"expected at most {MOST:,} {what}, found more", "order")
        for number, part in zip(numbers, np.split(place, np.cumsum(sizes)[:-1]), strict=True):
            number.extend(part + total)
        position += sizes
        contexts, words = split_keys(distinct, V)
        opening += int(np.count_nonzero(contexts < below.opening))
        context.extend(contexts)
        word.extend(words)
        count.extend(np.bincount(place, counts, len(distinct)))
        suffixes_of = np.empty(len(distinct), np.int32)
        suffixes_of[place] = suffixes
        suffix.extend(suffixes_of)
        streams.progress(f"{what}: {len(context):,} merged")
    return Level(opening, context, word, suffix, count), numbers


# --- smoothing ---------------------------------------------------------------


def estimate_in_streams(
    streams: ExternalMemory, levels: list[Level], config: NGramConfig
) -> tuple[NGramConfig, dict[str, OnDisk]]:
    """Estimate a model, like `estimate`: return its config, with the sizes, and its params.

    ``levels`` is emptied step by step, to free the disk.
    """
    keep = streams.spill.keep
    params: dict[str, OnDisk] = {}
    sizes: list[int] = []
    p, contexts_kept = keep(np.array([1 / config.vocabulary])), keep(np.ones(1, bool))
    for n in range(1, config.order + 1):
        p, contexts_kept, columns = _smoothed(streams, levels, config, n, p, contexts_kept)
        sizes.append(len(columns[f"word.{n}"]))
        params |= columns
        del levels[0]
    return replace(config, sizes=tuple(sizes)), params


def _counts_to_smooth(
    streams: ExternalMemory, levels: list[Level], config: NGramConfig, n: int
) -> OnDisk:
    """The counts of levels[0] to smooth: the original or, for Kneser-Ney, adjusted ones."""
    level, counts = levels[0], levels[0].count
    if config.smoothing in ADJUSTED and len(levels) > 1:
        before = tally(streams, levels[1].suffix, len(level.count))
        counts, block = streams.spill.new(np.int64), streams.block
        for at in range(0, len(before), block):
            count, seen = before[at : at + block], level.count[at : at + block]
            opening = np.arange(at, at + len(count)) >= level.opening
            counts.extend(np.where(opening, seen, count))
    if n == 1:  # the words, which fit into memory
        return streams.spill.keep(counts[:] * (level.word[:] != config.start))  # never predicted
    return counts


def _smoothed(
    streams: ExternalMemory,
    levels: list[Level],
    config: NGramConfig,
    n: int,
    p_below: OnDisk,
    contexts_kept: OnDisk,
) -> tuple[OnDisk, OnDisk, dict[str, OnDisk]]:
    """Smooth levels[0], the n-grams of length n: their p, kept and params.

    p_below and contexts_kept belong to the n-grams one word shorter.
    """
    level, new = levels[0], streams.spill.new
    count = _counts_to_smooth(streams, levels, config, n)
    n_r = sum(map(counts_of_counts, count.blocks(streams.block)), np.zeros(5, np.int64))
    length = Length(n, config, n_r)
    below = gather(streams, p_below, level.suffix)

    first, word, log_p = streams.spill.keep(np.zeros(1, np.int32)), new(np.int32), new(np.float32)
    backoff, p_out, kept_out = new(np.float32), new(np.float64), new(bool)
    children_before = 0
    for ngrams, contexts in whole_contexts(level.context, len(contexts_kept), streams.block):
        context = level.context[ngrams] - np.int32(contexts.start)
        C = contexts.stop - contexts.start
        p, leftover, kept = interpolate(
            length, count[ngrams], level.count[ngrams], context, C, below[ngrams]
        )
        counted = contexts_kept[contexts]
        backoff.extend(log10_of(leftover[counted]))
        children = np.cumsum(np.bincount(context[kept], minlength=C)[counted]) + children_before
        first.extend(children)
        children_before += int(np.count_nonzero(kept))
        word.extend(level.word[ngrams][kept])
        log_p.extend(log10_of(p[kept]))
        p_out.extend(p)
        kept_out.extend(kept)
        streams.progress(f"{n}-grams: {len(p_out):,} of {len(level.word):,} smoothed")
    columns = {f"first.{n}": first, f"word.{n}": word, f"log_p.{n}": log_p}
    if n > 1:
        columns[f"backoff.{n - 1}"] = backoff
    return p_out, kept_out, columns


def whole_contexts(context: OnDisk, C: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Cut n-grams, sorted by their contexts, into blocks of whole contexts.

    The contexts are 0..C - 1; some may have no n-grams.  Yields the n-grams of a block, and its
    contexts, as slices.  A block has at most ``block`` contexts and, unless it has a single
    context, at most ``block`` n-grams.
    """
    at = c = 0
    size = block
    while c < C:
        part = context[at : at + size]
        end = min(c + block, C)
        if at + len(part) < len(context):
            end = min(end, int(part[-1]))  # its n-grams may continue after this block
        if end == c:  # a context with more words than a block
            size *= 2
            continue
        if size > block:
            end = c + 1
        cut = at + int(np.searchsorted(part, end))
        yield slice(at, cut), slice(c, end)
        at, c, size = cut, end, block


# --- the model ---------------------------------------------------------------


class NGramOnDisk(NGram):
    """A model with its params in columns on disk, to score large texts.

    For each chunk of the text, the columns are read once from front to back, a block at a time.
    """

    def __init__(self, config: NGramConfig, params: dict[str, OnDisk], streams: ExternalMemory):
        self.config, self.streams = config, streams
        self.params = params  # type: ignore[assignment]

    def score(self, chunks: Iterable[Ids]) -> Score:
        """The score of a text: see `NGram.score`."""
        return super().score(regroup(chunks, self.streams.chunk))

    def _look_up(self, n: int, context: Ids, ids: Ids, log_p: Floats) -> Ids:
        params = self.params
        number = np.full(len(ids), -1, np.int32)
        for contexts, first in self._families(n):
            here = np.flatnonzero((context >= contexts.start) & (context < contexts.stop))
            contexts_here, last = context[here] - np.int32(contexts.start), ids[here]
            ngrams = slice(int(first[0]), int(first[-1]))
            words = params[f"word.{n}"][ngrams]
            child = find_children(first - first[0], words, contexts_here, last)
            log_p[here] += params[f"backoff.{n - 1}"][contexts][contexts_here]
            seen = here[child >= 0]
            child = child[child >= 0]
            log_p[seen] = params[f"log_p.{n}"][ngrams][child]
            number[seen] = child + first[0]
            self.streams.progress(f"measuring: {n}-grams, {ngrams.stop:,} read")
        return number

    def _families(self, n: int) -> Iterator[tuple[slice, Ids]]:
        """Contexts and ``first``, which says where their n-grams are, a block at a time."""
        column, block, at = self.params[f"first.{n}"], 4 * self.streams.block, 0
        while at < len(column) - 1:
            first = column[at : at + block + 1]
            many = int(np.searchsorted(first, first[0] + block, "right")) - 1
            first = first[: max(1, many) + 1]
            yield slice(at, at + len(first) - 1), first
            at += len(first) - 1
