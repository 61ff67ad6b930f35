"""A stack of blocks: its forward and its backward, once for all models that have one.

    x = embed(ids, positions)
    x = block(layer, x, positions, attend)      L times
    y = norm(x)                                 if the model has a norm after its blocks
    logits = predict(y)

The page of a model has three functions, each with its backward under it:

    embed(ids, positions, rng)                  -> x (B, T, D); its backward returns gradients
    block(layer, x, positions, attend, rng)     -> x (B, T, D); dx, gradients.  The weights of layer
                                                   l have the prefix ``blocks.l``
    predict(y)                                  y (..., D) -> logits (..., V); dy, gradients

``mask(layer)`` says who sees whom in a layer (:mod:`minillm.ops.mask`), and ``below`` lists the
prefixes of the weights that ``embed`` uses.  The functions are called in turn, and their backwards
in reverse, by :func:`hidden` and :func:`forward`, which the models have as methods.
Whoever uses a model in another way than its page hands over something else, and knows no model by
name:

- other positions, and another attention for each layer, ``attend(layer)``: several texts in one row
  (:mod:`minillm.training.packed`), or a text that goes on from a cache
  (:mod:`minillm.decoding.causal`);
- another form of the same block (:func:`with_block`): one that is computed again for its backward,
  one that keeps nothing, one that notes what its attention sees.

Legend: B batch, T time, D width, V vocabulary, L layers.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers.gradients import is_trained, merge_gradients
from minillm.layers.heads import CAUSAL, Attend, attend_by
from minillm.layers.norms import EPS, norm_if_any
from minillm.layers.types import Backward, Ids, Op, Params, Rng

AttendIn = Callable[[int], Attend]  # the attention of each layer


def stacked(
    params: Params,
    embedded: tuple[NDArray, Backward],
    blocks: Mapping[str, Op],
    below: Sequence[str],
    norm: str = "norm",
    eps: float = EPS,
) -> tuple[NDArray, Backward]:
    """Embedded tokens through each block in turn, and the norm with this prefix, if there is one.

    ``embedded`` is x (B, T, D) and its backward -> y (B, T, D).  ``blocks`` maps the prefix of a
    block's weights to the block; ``below`` lists the prefixes of the weights below all blocks.
    ``backward(dy)`` -> gradients.  It goes as far down as a weight is trained.  If the blocks share
    another input, which their backwards return after dx, its gradient is the sum of theirs, under
    the name ``shared``.
    """
    x, embed_backward = embedded
    backwards = {}
    for prefix, block in blocks.items():
        x, backwards[prefix] = block(x)
    y, norm_backward = norm_if_any(params, norm, x, eps)

    def backward(dy):
        dx, of_norm = norm_backward(dy)
        parts, further = [of_norm], [*below, *backwards]
        for prefix in reversed(backwards):
            if not is_trained(params, *further):
                return merge_gradients(*parts)
            dx, *shared, gradients = backwards[prefix](dx)
            parts += [gradients, *({"shared": d} for d in shared)]
            further.remove(prefix)
        if is_trained(params, *below):
            parts.append(embed_backward(dx))
        return merge_gradients(*parts)

    return y, backward


def hidden(
    model: Any,
    ids: Ids,
    rng: Rng = None,
    positions: Ids | None = None,
    attend: AttendIn | None = None,
    **more: Any,
) -> tuple[NDArray, Backward]:
    """The vector of each token after all blocks: ids (B, T) -> y (B, T, D).

    Positions (B, T); None: from 0 on.  ``attend(layer)``; None: by the mask of the model's layer.
    ``more`` are other arguments of the model's ``embed``.  With rng there is dropout.
    ``backward(dy)`` -> gradients keyed as ``params``.

    Raises ValueError for rows longer than the context.
    """
    c, blocks = model.config, {}
    if positions is None:
        checks.fits_context(ids.shape[1], c.context)
        positions = np.empty(ids.shape, np.int64)
        positions[:] = np.arange(ids.shape[1])
    for layer in range(c.layers):
        own = attend(layer) if attend else attend_by(model.mask(layer))
        block = partial(model.block, layer, positions=positions, attend=own, rng=rng)
        blocks[f"blocks.{layer}"] = block
    embedded = model.embed(ids, positions, rng, **more)  # (B, T, D)
    return stacked(model.params, embedded, blocks, model.below, eps=c.eps)


def forward(model: Any, ids: Ids, rng: Rng = None) -> tuple[NDArray, Backward]:
    """The logits of the token after each id: ids (B, T) -> logits (B, T, V).

    With rng there is dropout.  ``backward(dlogits)`` -> gradients keyed as ``params``.
    """
    y, hidden_backward = model.hidden(ids, rng)
    logits, predict_backward = model.predict(y)

    def backward(dlogits):
        dy, of_output = predict_backward(dlogits)
        return merge_gradients(hidden_backward(dy), of_output)  # E may have two uses

    return logits, backward


def mask(model: Any, layer: int) -> ops.Mask:
    """Whom a token sees in a layer of a model without windows: those before it."""
    return CAUSAL


def read(model: Any, x: NDArray, positions: Ids, attend: AttendIn) -> NDArray:
    """The blocks and the norm without a backward: embedded tokens x (B, T, D) -> y (B, T, D)."""
    for layer in range(model.config.layers):
        x, _ = model.block(layer, x, positions, attend(layer))
    return norm_if_any(model.params, "norm", x, model.config.eps)[0]


def with_block(model: Any, block: Callable[..., tuple[NDArray, Any]]) -> Any:
    """The model with another form of its block, on the same weights."""
    changed = copy(model)
    changed.block = block
    return changed


def forgetful(model: Any) -> Any:
    """The model for evaluation: its blocks keep nothing for a backward."""
    return with_block(model, lambda *inputs, **more: (model.block(*inputs, **more)[0], None))
