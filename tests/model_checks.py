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


def check_layer(layer, params, x, rng, state=None):
    """Every coordinate of a layer's gradients.

    ``layer(params, x)`` -> y, backward, whose ``backward(dy)`` -> dx, gradients; or, with a
    state, ``layer(params, x, state)`` -> (y, state), backward, whose ``backward(dy, dstate)``
    -> dx, dstate, gradients.  x may be ids, which have no gradient.
    """
    state, floats = state or {}, [x] if x.dtype.kind == "f" else []

    def op(*arrays):
        arrays = list(arrays)
        own_x = arrays.pop(0) if floats else x
        own_state = {name: arrays.pop(0) for name in state}
        own_params = dict(zip(params, arrays, strict=True))
        if state:
            (y, last), layer_backward = layer(own_params, own_x, own_state)
        else:
            y, layer_backward = layer(own_params, own_x)
            last = {}

        def backward(dy, *dlast):
            if state:
                given = {n: d for n, d in zip(last, dlast, strict=True) if d is not None}
                dx, dstate, gradients = layer_backward(dy, given)
            else:
                (dx, gradients), dstate = layer_backward(dy), {}
            assert dstate.keys() == state.keys()
            assert gradients.keys() == params.keys()
            assert floats or dx is None
            dx = [dx] if floats else []
            results = *dx, *(dstate[n] for n in state), *(gradients[n] for n in params)
            return results if len(results) > 1 else results[0]

        return (y, *last.values()) if state else y, backward

    check_gradients(op, *floats, *state.values(), *params.values(), rng=rng)


def check_stack(stack, params, x, rng, state):
    """The gradients of a stack of layers along random directions, as of a model.

    ``stack(params, x, state)`` -> (y, state), backward, as of :func:`check_layer`, which takes
    each coordinate: that is for the layers of which a stack consists.
    """
    given = {f"state {name}": array for name, array in state.items()} | params
    if x.dtype.kind == "f":
        given["x"] = x
    upstream = None

    def loss():
        nonlocal upstream
        (y, last), backward = stack(params, x, state)
        if upstream is None:
            upstream = [rng.standard_normal(array.shape) for array in (y, *last.values())]
        dy, *dlast = upstream

        def gradients():
            dx, dstate, own = backward(dy, dict(zip(last, dlast, strict=True)))
            assert own.keys() == params.keys()
            assert (dx is None) == ("x" not in given)
            own = own | {f"state {name}": d for name, d in dstate.items()}
            return own if dx is None else own | {"x": dx}

        outputs = y, *last.values()
        return sum(
            (d * output).sum() for d, output in zip(upstream, outputs, strict=True)
        ), gradients

    check_projections(loss, given, rng=rng, miss=1e-3)


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
