"""Vectors of texts from a model that predicts the next token: the mean of its states.

    v = (1 / T) sum_t y_t

y_t (D,) is the vector from which the model predicts the token after position t.  It depends on the
tokens up to t only.  Texts of similar meaning have similar means, although an encoder that was
trained for this purpose separates meanings better.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import Sequences
from minillm.data.sequences import batches_in_order
from minillm.decoding.causal import CausalReader
from minillm.layers.types import Ids

TOKENS = 1024  # that are read at once
PADDING = 40  # tokens that take as long as starting a batch


def mean_states(reader: CausalReader, texts: Sequence[Ids]) -> NDArray:
    """The vectors (n, D) of texts, the ids (T,) of each: at least one.

    Only the beginning of a text is read if it is longer than the context.
    """
    read = Sequences(text[: reader.config.context] for text in texts)
    vectors = np.zeros((len(texts), reader.config.width), reader.model.dtype)
    order = np.argsort(-read.lengths, kind="stable")
    for chosen in batches_in_order(order, read.lengths, tokens=TOKENS, padding=PADDING):
        ids, lengths = read.padded(chosen)
        cache = reader.zero_state(len(chosen)).extended(ids, ids.shape[1])
        vectors[chosen] = ops.mean_pool(reader.hidden(ids, cache), lengths)[0]
    return vectors
