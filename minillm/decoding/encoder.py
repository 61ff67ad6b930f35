"""Reading texts with a BERT, block by block: nothing is kept for a backward."""

from numpy.typing import NDArray

from minillm.layers.heads import to_all
from minillm.layers.types import Ids
from minillm.models.bert import BERT, bert_block


def read_texts(
    model: BERT, ids: Ids, lengths: Ids | None = None, segments: Ids | None = None
) -> NDArray:
    """The vector of each token, (B, T, D), as from :meth:`minillm.models.bert.BERT.hidden`."""
    attend = to_all(lengths)
    x, _ = model.embed(ids, segments)
    for layer in range(model.config.layers):
        x, _ = bert_block(model.params, f"blocks.{layer}", x, model.config.heads, attend)
    return x
