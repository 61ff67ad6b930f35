"""n-gram models from text: words become ids, block by block; the ids are counted in memory."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minillm.data.corpora import TextStream, sentence_starts
from minillm.errors import InputError
from minillm.models.ngram import Ids, NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.text import Vocabulary, build_vocabulary
from minillm.training.task import machine_memory

BYTES_PER_TOKEN = 256  # of counting and smoothing, at order 5
MOST_TOKENS = 2**31 - 1  # n-grams are numbered with 32 bits


def train_ngram(
    text: TextStream,
    stop: int,
    settings: Any,
    vocabulary: Vocabulary | None = None,
) -> tuple[NGram, Vocabulary, int]:
    """Count and smooth the text up to character ``stop``: the model, vocabulary and tokens counted.

    Without a ``vocabulary``, one is made from the text.  InputError for a text without tokens, or
    with more than fit into memory.

    settings has split_into, order, smoothing, k, prune; minimum_count and vocabulary (its largest
    size, or None), for words.
    """
    if vocabulary is None:
        vocabulary = build_vocabulary(
            text.blocks(stop=stop),
            settings.split_into,
            settings.minimum_count,
            settings.vocabulary,
            held_out=text.blocks(stop),
            always=["\n"],  # the end of a sentence
        )
    config = NGramConfig(
        vocabulary=len(vocabulary),
        order=settings.order,
        smoothing=settings.smoothing,
        k=settings.k,
        prune=tuple(settings.prune),
        line_end=vocabulary.sentence_end,
        unknown=vocabulary.unknown,
    )
    pieces = token_ids(text.blocks(stop=stop), vocabulary, config)
    ids = np.concatenate([np.zeros(0, np.int32), *pieces])
    tokens = int(np.count_nonzero(ids != config.start))
    name = ", ".join(text.files)
    if tokens == 0:
        raise InputError(f"{name}: expected text, found no token to count")
    check_memory(tokens, name)
    return estimate(count_ngrams(ids, config.order, config.start), config), vocabulary, tokens


def check_memory(tokens: int, name: str) -> None:
    """InputError if the n-grams of a text need more memory than the machine has."""
    most = MOST_TOKENS
    if memory := machine_memory():
        most = min(most, memory // BYTES_PER_TOKEN)
    if tokens > most:
        raise InputError(
            f"{name}: expected at most {most:,} tokens, whose n-grams fit into the memory of this "
            f"machine, found {tokens:,}; lmplz of KenLM counts on the disk, and its ARPA file can "
            "be imported"
        )


def token_ids(
    blocks: Iterable[str], vocabulary: Vocabulary, config: NGramConfig, name: str = "text"
) -> Iterator[Ids]:
    """The ids of a text block by block, with the start of each sentence inserted.

    There is no BOS, because a block begins anywhere.
    """
    pieces = (vocabulary.encode_each([block], [name])[0] for block in blocks)
    return sentence_starts(pieces, config.start, config.line_end)


def score_text(
    model: NGram, vocabulary: Vocabulary, blocks: Iterable[str], name: str = "text"
) -> Score:
    """Score a text, block by block."""
    score = model.score(token_ids(blocks, vocabulary, model.config, name))
    if score.tokens + score.unknown == 0:
        raise InputError(f"{name}: expected text, found no token to score")
    return score
