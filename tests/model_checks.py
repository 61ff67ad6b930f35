"""Checks for the tests of layers and models: gradients, fitting one batch."""

from itertools import pairwise

import numpy as np

from minillm.data.masking import MaskedBatch
from minillm.testing import check_gradients, check_projections
from minillm.training import Adam


def check_model(model, batch, **options):
    """The gradient of every parameter, with dropout and the like.

    The options are those of the model's loss.
    """
    rng = np.random.default_rng(1)
    for name, parameter in model.params.items():
        if parameter.ndim == 1:  # biases that are zero hide mistakes
            model.params[name] = 0.5 * rng.standard_normal(parameter.shape)

    def loss():
        return model.loss(batch, np.random.default_rng(2), **options)

    assert loss()[1]().keys() == model.params.keys()
    check_projections(loss, model.params, rng=rng, miss=1e-3)


def check_layer(layer, params, x, rng):
    """Every coordinate of a layer's gradients.

    ``layer(params, x)`` -> y, backward, whose ``backward(dy)`` -> dx, gradients.
    """

    def op(x, *arrays):
        y, layer_backward = layer(dict(zip(params, arrays, strict=True)), x)

        def backward(dy):
            dx, gradients = layer_backward(dy)
            assert gradients.keys() == params.keys()
            return dx, *(gradients[name] for name in params)

        return y, backward

    check_gradients(op, x, *params.values(), rng=rng)


def fit(model, batch, steps, learning_rate=0.01):
    """The loss of one batch after some steps on it."""
    optimiser = Adam(model.params)
    for _ in range(steps):
        _, backward = model.loss(batch)
        optimiser.step(backward(), learning_rate)
    return float(model.loss(batch)[0])


def logits_of(model, ids):
    """The logits of language models, with a state or without."""
    if not hasattr(model, "zero_state"):
        return model.forward(ids)
    (logits, _), backward = model.forward(ids, model.zero_state(len(ids)))
    return logits, backward


# --- rows and padding -----------------------------------------------------------------------------


def padded_columns(batch):
    """-> the numbers of the columns (B, T) whose lengths are the column after them."""
    return [
        k
        for k, (ids, lengths) in enumerate(pairwise(batch))
        if ids.dtype.kind == "i" and (ids.ndim, lengths.ndim) == (2, 1)
    ]


def row_of(batch, b):
    """A row of a batch as a batch of its own, without its padding."""
    if isinstance(batch, MaskedBatch):
        part, n = batch.part(slice(b, b + 1)), batch.lengths[b]
        cut = {name: getattr(part, name)[:, :n] for name in ("ids", "segments", "places")}
        return part._replace(**cut)
    row = [column[b : b + 1] for column in batch]
    for k in padded_columns(batch):
        row[k] = row[k][:, : batch[k + 1][b]]
    return tuple(row)


def wider(batch):
    """A batch with more padding, and other ids in all of it."""
    if isinstance(batch, MaskedBatch):
        beyond = np.arange(batch.ids.shape[1]) >= batch.lengths[:, None]
        other = {"ids": np.where(beyond, 5, batch.ids), "segments": batch.segments | beyond}
        return batch._replace(**other)
    columns = list(batch)
    for k in padded_columns(batch):
        ids = np.pad(batch[k], ((0, 0), (0, 2)))
        columns[k] = np.where(np.arange(ids.shape[1]) >= batch[k + 1][:, None], 1, ids)
    return tuple(columns)


def weight_of(model, row):
    """The number of targets of a row, over which a loss is a mean."""
    if isinstance(row, MaskedBatch):
        return len(row.targets)
    return row[3][0] if hasattr(model.config, "eos") else 1


def check_rows(model, batch):
    """A batch equals its rows, and padding changes nothing.

    The loss and each gradient of a batch are the means of those of its rows, alone and cut.
    """
    loss, backward = model.loss(batch)
    gradients = backward()
    rows = [row_of(batch, b) for b in range(len(batch[0]))]
    weights = np.array([weight_of(model, row) for row in rows], float)
    weights /= weights.sum()
    losses, backwards = zip(*(model.loss(row) for row in rows), strict=True)
    np.testing.assert_allclose(weights @ np.array(losses), loss, rtol=1e-12)
    of_rows = [of_row() for of_row in backwards]
    mean = {n: sum(w * g[n] for w, g in zip(weights, of_rows, strict=True)) for n in gradients}
    same_gradients(gradients, mean)
    padded, padded_backward = model.loss(wider(batch))
    np.testing.assert_allclose(padded, loss, rtol=1e-12)
    same_gradients(padded_backward(), gradients)


def same_gradients(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)


def loss_in_context(model, ids):
    """The mean loss of the ids (T,) but the first, each predicted by a pass of its own.

    A text longer than the context C is read in windows that overlap by C / 2.
    """
    C, losses = model.config.context, []
    for t in range(1, len(ids)):
        begin = 0 if t <= C else -(-(t - C) // (C - C // 2)) * (C - C // 2)
        logits = model.forward(ids[None, begin:t])[0][0, -1].astype(np.float64)
        losses.append(np.log(np.exp(logits).sum()) - logits[ids[t]])
    return np.mean(losses)
