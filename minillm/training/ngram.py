"""n-gram models from text: counting and scoring, block by block."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minillm.data.streams import Spill, TextStream, regroup, sentence_starts
from minillm.data.tables import ExternalMemory
from minillm.errors import InputError
from minillm.models.ngram import NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.text import Vocabulary, Words, WordsSeen, build_vocabulary, unit_name
from minillm.training.ngram_streams import NGramOnDisk, count_in_streams, estimate_in_streams

REPORT_SECONDS = 4.0
LEAST_MEMORY = 1 << 24  # bytes, the minimum for the streams
READING = 24 << 20  # bytes for a block of text and its words
BYTES_PER_WORD = 200  # of the vocabulary
BYTES_PER_TOKEN = 256  # of estimation without streams


class TrainedNGram(NamedTuple):
    """A model, its vocabulary, and the number of tokens that were counted.

    The model is an `NGram` if the text was small, else an `NGramOnDisk`.
    """

    model: NGram
    vocabulary: Vocabulary
    tokens: int


def train_ngram(
    text: TextStream,
    held_out: int,
    settings: Any,
    spill: Spill,
    report: Callable[[str], None] = lambda line: None,
    vocabulary: Vocabulary | None = None,
) -> TrainedNGram:
    """Count and smooth all of the text but its last ``held_out`` characters.

    ``spill`` holds the counts and models that do not fit into memory.  ``report`` gets a line on
    the progress every few seconds.  Without a ``vocabulary``, one is made from the text.

    settings has split_into, order, smoothing, k, prune; minimum_count and vocabulary (its largest
    size, or None), for words; memory, the bytes that may be used.
    """
    progress, stop = Throttled(report), text.characters - held_out
    vocabulary, ids = _ids(text, stop, settings, spill, progress, vocabulary)
    report(f"{len(vocabulary):,} {unit_name(vocabulary)}s in the vocabulary")
    config = NGramConfig(
        vocabulary=len(vocabulary),
        order=settings.order,
        smoothing=settings.smoothing,
        k=settings.k,
        prune=tuple(settings.prune),
        line_end=vocabulary.sentence_end,
        unknown=vocabulary.unknown,
    )
    memory = max(LEAST_MEMORY, settings.memory - READING - BYTES_PER_WORD * len(vocabulary))
    streams = ExternalMemory(spill, memory, progress)
    chunks, tokens = [], 0
    for chunk in regroup(sentence_starts(ids, config.start, config.line_end), streams.chunk):
        tokens += int(np.count_nonzero(chunk != config.start))
        chunks.append(spill.keep(chunk))
        progress(f"{tokens:,} tokens read")
    if tokens == 0:
        raise InputError(f"{', '.join(text.files)}: expected text, found no token to count")
    report(f"counting the n-grams of {tokens:,} tokens")
    if tokens * BYTES_PER_TOKEN <= memory:
        whole = np.concatenate([chunk[:] for chunk in chunks])
        counts = count_ngrams(whole, config.order, config.start)
        return TrainedNGram(estimate(counts, config), vocabulary, tokens)
    levels = count_in_streams(streams, chunks, config.order, config.start)
    del chunks
    report(f"smoothing: {config.smoothing}")
    config, params = estimate_in_streams(streams, levels, config)
    return TrainedNGram(NGramOnDisk(config, params, streams), vocabulary, tokens)


class Throttled:
    """A report that passes on at most one line every few seconds."""

    def __init__(self, report: Callable[[str], None]):
        self.report, self.last = report, time.monotonic()

    def __call__(self, line: str) -> None:
        if time.monotonic() - self.last > REPORT_SECONDS:
            self.report(line)
            self.last = time.monotonic()


def _ids(
    text: TextStream,
    stop: int,
    settings: Any,
    spill: Spill,
    progress: Callable[[str], None],
    vocabulary: Vocabulary | None,
) -> tuple[Vocabulary, Iterator[np.ndarray]]:
    """The vocabulary, and the ids of the text up to ``stop``, piece by piece."""
    if vocabulary is None and settings.split_into in ("word", "token"):
        return _words(text.blocks(stop=stop), settings, spill, progress)
    if vocabulary is None:
        vocabulary = build_vocabulary(
            text.blocks(stop=stop),
            settings.split_into,
            settings.minimum_count,
            settings.vocabulary,
            held_out=text.blocks(stop),
            always=["\n"],  # the end of a sentence
        )
    return vocabulary, token_blocks(text.blocks(stop=stop), vocabulary)


def _words(
    blocks: Iterable[str], settings: Any, spill: Spill, progress: Callable[[str], None]
) -> tuple[Words, Iterator[np.ndarray]]:
    """The words of the text, and their ids, piece by piece; the text is split once."""
    pretokenised = settings.split_into == "token"
    seen, numbers = WordsSeen(pretokenised), spill.new(np.int32)
    for block in blocks:
        numbers.extend(seen.encode(block))
        progress(f"{len(numbers):,} words read")
    count = np.zeros(len(seen.numbers), np.int64)
    for piece in numbers.blocks(1 << 18):
        count += np.bincount(piece, minlength=len(count))
    vocabulary = Words.from_counts(
        Counter(dict(zip(seen.numbers, count.tolist(), strict=True))),
        settings.minimum_count,
        settings.vocabulary,
        pretokenised,
        always=["\n"],
    )
    ids = seen.ids(vocabulary)
    return vocabulary, (ids[piece] for piece in numbers.blocks(1 << 18))


def token_ids(
    blocks: Iterable[str], vocabulary: Vocabulary, config: NGramConfig, name: str = "text"
) -> Iterator[np.ndarray]:
    """The ids of a text block by block, with the start of each sentence inserted."""
    ids = token_blocks(blocks, vocabulary, name)
    return sentence_starts(ids, config.start, config.line_end)


def token_blocks(
    blocks: Iterable[str], vocabulary: Vocabulary, name: str = "text"
) -> Iterator[np.ndarray]:
    """The ids of a text block by block, without BOS, because a block begins anywhere."""
    return (vocabulary.encode_each([block], [name])[0] for block in blocks)


def score_text(
    model: NGram, vocabulary: Vocabulary, blocks: Iterable[str], name: str = "text"
) -> Score:
    """Score a text, block by block."""
    score = model.score(token_ids(blocks, vocabulary, model.config, name))
    if score.tokens + score.unknown == 0:
        raise InputError(f"{name}: expected text, found no token to score")
    return score
