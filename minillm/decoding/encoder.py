"""Reading texts with a BERT or a later encoder, block by block: nothing is kept for a backward."""

from numpy.typing import NDArray

from minillm.layers.heads import to_all
from minillm.layers.types import Ids
from minillm.models.bert import BERT, bert_block
from minillm.models.encoders import Encoder


def read_texts(
    model: BERT | Encoder, ids: Ids, lengths: Ids | None = None, segments: Ids | None = None
) -> NDArray:
    """The vector of each token, (B, T, D), as from the model's method ``hidden``."""
    attend = to_all(lengths)
    if isinstance(model, Encoder):
        attend, _ = model.attention(ids.shape[1], lengths)
    x, _ = model.embed(ids, segments)
    for layer in range(model.config.layers):
        x, _ = bert_block(model.params, f"blocks.{layer}", x, model.config, attend)
    return x
