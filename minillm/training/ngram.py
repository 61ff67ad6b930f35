"""n-gram models from text: counting and scoring, block by block."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minillm.data.streams import Spill, TextStream, regroup, sentence_starts
from minillm.errors import InputError
from minillm.models.ngram import NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.text import Vocabulary, build_vocabulary, unit_name

BYTES_PER_TOKEN = 64  # that sorting the n-grams of a chunk needs
REPORT_SECONDS = 5.0


class Trained(NamedTuple):
    """A model, its vocabulary, and the number of tokens it was counted from."""

    model: NGram
    vocabulary: Vocabulary
    tokens: int


def train_ngram(
    text: TextStream,
    held_out: int,
    settings: Any,
    report: Callable[[str], None] = lambda line: None,
    vocabulary: Vocabulary | None = None,
) -> Trained:
    """Counts and smooths all of the text but its last ``held_out`` characters.

    ``report`` is called with a line on the progress every few seconds.  vocabulary: that of the
    text, by default.

    settings has split_into, order, smoothing, k, prune; minimum_count and vocabulary (its largest
    size, or None), for words; memory, the bytes that counting may use for arrays as long as the
    text.
    """
    stop = text.characters - held_out
    vocabulary = vocabulary or make_vocabulary(text, stop, settings)
    config = NGramConfig(
        vocabulary=len(vocabulary),
        order=settings.order,
        smoothing=settings.smoothing,
        k=settings.k,
        prune=tuple(settings.prune),
        line_end=vocabulary.sentence_end,
        unknown=vocabulary.unknown,
    )
    chunk = max(1 << 16, settings.memory // BYTES_PER_TOKEN)
    tokens, start, reported = 0, time.monotonic(), time.monotonic()
    report(f"{len(vocabulary):,} {unit_name(vocabulary)}s in the vocabulary")
    with Spill() as spill:
        chunks: list = []
        for ids in regroup(token_ids(text.blocks(stop=stop), vocabulary, config), chunk):
            tokens += int(np.count_nonzero(ids != config.start))
            # More than one chunk: they go to the disk.
            chunks.append(spill.keep(ids) if len(ids) == chunk else ids)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                report(f"{tokens:,} tokens read, {tokens / (reported - start):,.0f} tokens/s")
        if tokens == 0:
            raise InputError(f"{', '.join(text.files)}: expected text, found no token to count")
        keep = spill.keep if len(chunks) > 1 else np.asarray
        report(f"counting the n-grams of {tokens:,} tokens")
        counts = count_ngrams(chunks, config.order, config.start, keep)
        del chunks
    report(f"smoothing: {config.smoothing}")
    return Trained(estimate(counts, config), vocabulary, tokens)


def make_vocabulary(text: TextStream, stop: int, settings: Any) -> Vocabulary:
    """The vocabulary of the first ``stop`` characters; the rest of the text is held out."""
    return build_vocabulary(
        text.blocks(stop=stop),
        settings.split_into,
        settings.minimum_count,
        settings.vocabulary,
        held_out=text.blocks(stop),
        always=["\n"],  # the end of a sentence
    )


def token_ids(
    blocks: Iterable[str], vocabulary: Vocabulary, config: NGramConfig, name: str = "text"
) -> Iterator[np.ndarray]:
    """The ids of a text, with the start of each sentence inserted, block by block."""
    ids = (vocabulary.encode(block, name) for block in blocks)
    return sentence_starts(ids, config.start, config.line_end)


def score_text(
    model: NGram, vocabulary: Vocabulary, blocks: Iterable[str], name: str = "text"
) -> Score:
    """Scores a text, block by block."""
    score = model.score(token_ids(blocks, vocabulary, model.config, name))
    if score.tokens + score.unknown == 0:
        raise InputError(f"{name}: expected text, found no token to score")
    return score
