"""Embeddings: the request for the vectors of texts, and the answer.

All vectors have the length 1, as OpenAI's have, so their products are cosines.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from minillm.errors import InputError
from minillm.serving.requests import converted, fields_of, texts_or_ids
from minillm.text import Vocabulary

MOST = 2048  # texts of a request
AT_ONCE = 32  # texts
TINY = 1e-12  # shorter vectors are not normalised


class Embedder(NamedTuple):
    """A tokenizer, and the vectors (n, D) of the ids (T,) of n texts; T is at least ``least``."""

    tokenizer: Vocabulary
    vectors: Callable[[Sequence[NDArray[np.int32]]], NDArray]
    least: int = 0


class EmbeddingFields(Struct):
    """The fields of a request."""

    input: Any  # see texts_or_ids
    encoding_format: Annotated[str, Meta(pattern="^(float|base64)$")] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None


def answered(body: bytes, name: str, embedder: Embedder) -> dict[str, Any]:
    """The answer to the body of a request."""
    given: EmbeddingFields = converted(fields_of(body, name), EmbeddingFields)
    texts = texts_or_ids("input", given.input, len(embedder.tokenizer), MOST)
    tokens = 0
    vectors: list[NDArray] = []
    for start in range(0, len(texts), AT_ONCE):
        ids = [_ids(embedder, texts, at) for at in range(len(texts))[start : start + AT_ONCE]]
        tokens += sum(map(len, ids))
        found = embedder.vectors(ids)
        if given.dimensions is not None and given.dimensions > found.shape[1]:
            message = f"expected at most {found.shape[1]}, found {given.dimensions}"
            raise InputError(message, "dimensions")
        found = found[:, : given.dimensions]
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        vectors += [*(found / np.maximum(lengths, TINY)).astype("<f4")]
    written = [
        base64.b64encode(vector.tobytes()).decode()
        if given.encoding_format == "base64"
        else vector.tolist()
        for vector in vectors
    ]
    data = [
        {"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(written)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _ids(embedder: Embedder, texts: Sequence[str | list[int]], at: int) -> NDArray[np.int32]:
    """The ids of a text, or those that were given."""
    name, text = "input" if len(texts) == 1 else f"input[{at}]", texts[at]
    if not isinstance(text, str):
        return np.array(text, np.int32)
    ids = embedder.tokenizer.encode(text, name)
    if len(ids) < embedder.least:
        raise InputError(f"expected a text of a token or more, found {text[:20]!r}", name)
    return ids
