"""Vectors of texts by a BERT, and the special tokens around a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data.batching import batches_in_order
from minillm.data.passages import framed
from minillm.decoding.encoder import read_texts
from minillm.errors import InputError
from minillm.formats.sentences import Sentences
from minillm.runs.run import Run
from minillm.text import vocabulary_from_dict

POOLINGS = ("mean", "first", "max")
TOKENS = 1024  # in a batch: few enough to stay in the processor's cache
PADDING = 40  # tokens that take as long as starting a batch
TINY = 1e-12  # shorter vectors are not normalised


def framing_vocabulary(values: dict[str, Any]) -> Any:
    """A vocabulary with the special tokens that BERT needs; ValueError for any other."""
    tokenizer = vocabulary_from_dict(values)
    if not frames(tokenizer):
        raise ValueError("expected a vocabulary with [CLS], [SEP] and [MASK], found one without")
    return tokenizer


def frames(tokenizer: Any) -> bool:
    """Whether a vocabulary has the special tokens that BERT needs."""
    return None not in [getattr(tokenizer, name, None) for name in ("cls", "sep", "mask")]


def check_frames(tokenizer: Any, source: str) -> None:
    """InputError, with ``source``, for a vocabulary without the special tokens."""
    if not frames(tokenizer):
        raise InputError(
            f"{source}: expected a vocabulary of unit wordpiece, with [CLS], [SEP] and [MASK], "
            f"found one of unit {tokenizer.unit}"
        )


def frame_of(tokenizer: Any) -> tuple[int, int]:
    """The ids of [CLS] and [SEP]."""
    return tokenizer.cls, tokenizer.sep


def embed(run: Run, texts: Sequence[str], pooling: str | None = None) -> NDArray:
    """See :meth:`minillm.runs.run.Run.embed`."""
    if pooling not in (None, *POOLINGS):
        raise InputError(f"pooling: expected one of {', '.join(POOLINGS)}; found {pooling!r}")
    model, said = run.model, Sentences.of(run.data)
    pooling = pooling or said.pooling or "mean"
    most = min(model.config.context, said.longest or model.config.context) - 2
    encode = run.tokenizer.encode
    rows = [encode(text, f"text {number}")[:most] for number, text in enumerate(texts, start=1)]
    vectors = np.zeros((len(rows), model.config.width), model.dtype)
    lengths = np.array([len(row) + 2 for row in rows], np.int64)
    order = np.argsort(-lengths, kind="stable")
    for together in batches_in_order(order, lengths, tokens=TOKENS, padding=PADDING):
        batch = framed([[rows[row]] for row in together], *frame_of(run.tokenizer))
        x = read_texts(model, batch.ids, batch.lengths, batch.segments)  # (B, T, D)
        if pooling == "first":
            vectors[together] = x[:, 0]
        else:
            pool = ops.mean_pool if pooling == "mean" else ops.max_pool
            vectors[together] = pool(x, batch.lengths)[0]
    if said.normalised:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
    return vectors[:, : said.dimension]
