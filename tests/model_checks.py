"""Checks for the tests of layers and models: gradients, fitting one batch."""

import numpy as np
import pytest

from minillm.decoding import TargetDecoder
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

    gradients = loss()[1]()
    assert gradients.keys() == model.params.keys()
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


def batch_of(task):
    """The loss of a task's model, and the next batch."""
    taken = []
    model, loss = task.model, task.model.loss
    model.loss = lambda batch, *options: taken.append(batch) or loss(batch, *options)
    if hasattr(task, "validation_ids"):  # it is of windows
        return loss, task.batches.next()
    task.training_loss(np.random.default_rng(0))
    return loss, taken[0]


# --- classifiers of texts -------------------------------------------------------------------


def labelled_texts(rng, B=4, T=5, V=6):
    """Texts of unequal lengths, of three classes."""
    lengths = rng.integers(1, T + 1, B)
    lengths[0] = T
    return rng.integers(0, V, (B, T)), lengths, rng.integers(0, 3, B)


def check_rows(model):
    """Padding and batch mates change no logits."""
    ids, lengths, _ = labelled_texts(np.random.default_rng(4))
    logits, _ = model.forward(ids, lengths)
    for row, n in enumerate(lengths):
        alone, _ = model.forward(ids[row : row + 1, :n], lengths[row : row + 1])
        np.testing.assert_allclose(alone[0], logits[row], rtol=1e-10, atol=1e-12)


# --- models of pairs: sources and targets ---------------------------------------------------


def random_pairs(model, rng, B=3, S=5, T=4):
    """Sources and targets of unequal lengths; targets end with EOS."""
    c = model.config
    source_lengths, target_lengths = rng.integers(1, S + 1, B), rng.integers(1, T + 1, B)
    source_lengths[0], target_lengths[0] = S, T
    source = rng.integers(0, c.source_vocabulary, (B, S))
    target = rng.integers(0, c.target_vocabulary, (B, T))
    target[np.arange(B), target_lengths - 1] = c.eos
    return source, source_lengths, target, target_lengths


def pairs_to_copy(model, rng, B=3, S=5, T=4, new=3):
    """Pairs like :func:`random_pairs`, of one vocabulary and of words that it lacks.

    Every source has each of the new words, and most words of a target are in its source.
    """
    V = model.config.vocabulary
    source_lengths, target_lengths = rng.integers(new, S + 1, B), rng.integers(1, T + 1, B)
    source_lengths[0], target_lengths[0] = S, T
    source, target = rng.integers(0, V, (B, S)), rng.integers(0, V, (B, T))
    for row, length in enumerate(source_lengths):
        source[row, rng.permutation(length)[:new]] = V + 1 + np.arange(new)
        copies = rng.random(T) < 0.7
        target[row, copies] = rng.choice(source[row, :length], copies.sum())
    target[np.arange(B), target_lengths - 1] = model.config.eos
    return source, source_lengths, target, target_lengths


def check_padding(model, pairs=random_pairs):
    """More padding changes neither loss nor gradients; the loss is the mean of each pair's own.

    So a target sees no later one either: the padding stands behind it.
    """
    rng = np.random.default_rng(3)
    source, source_lengths, target, target_lengths = pairs(model, rng)
    wider = rng.integers(0, 6, (3, 9)), source_lengths, rng.integers(0, 5, (3, 7)), target_lengths
    for row in range(3):
        wider[0][row, : source_lengths[row]] = source[row, : source_lengths[row]]
        wider[2][row, : target_lengths[row]] = target[row, : target_lengths[row]]
    loss, backward = model.loss((source, source_lengths, target, target_lengths))
    other, other_backward = model.loss(wider)
    total = 0.0
    for row, (S, T) in enumerate(zip(source_lengths, target_lengths, strict=True)):
        one = slice(row, row + 1)
        alone, _ = model.loss(
            (source[one, :S], source_lengths[one], target[one, :T], target_lengths[one])
        )
        total += T * alone
    assert other == pytest.approx(loss, rel=1e-12)
    assert total / target_lengths.sum() == pytest.approx(loss, rel=1e-12)
    others = other_backward()
    for name, gradient in backward().items():
        np.testing.assert_allclose(others[name], gradient, rtol=1e-10, atol=1e-12)


def check_padded_targets(model):
    """More padding of the targets changes nothing in the training loss of a model that copies."""
    source, source_lengths, target, lengths = pairs_to_copy(model, np.random.default_rng(3))
    results = []
    for targets in (target, np.concatenate([target, source[:, :2]], axis=1)):
        batch = source, source_lengths, targets, lengths
        loss, backward = model.loss(batch, np.random.default_rng(0))  # there is no dropout
        results.append((loss, backward()))
    (loss, gradients), (other, others) = results
    assert other == pytest.approx(loss, rel=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(others[name], gradient, rtol=1e-10, atol=1e-12)


def check_ids_of_words(model, side, wrong):
    """An id that no word of the vocabulary or of a source of 4 words has is refused in one line."""
    V = model.config.vocabulary
    source, target = np.array([[1, V + 1, V + 2, 0]]), np.array([[V + 2, 3, V]])
    {"source": source, "target": target}[side][0, 1] = wrong
    message = rf"{side}: expected 0\.\.{V + 4}, found .*{wrong}"
    with pytest.raises(ValueError, match=message):
        model.loss((source, np.array([4]), target, np.array([3])))
    if side == "source":
        with pytest.raises(ValueError, match=message):
            TargetDecoder(model).start(source, np.array([4]))


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
