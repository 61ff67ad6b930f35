"""The tape: its gradients equal the models' own backward passes."""

import numpy as np
import pytest

from minillm.exercises.autograd import Tape, Value
from minillm.exercises.taped import add, gpt_loss, join_heads, lstm_loss, split_heads, transpose
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.ops.gradient_cases import CASES
from minillm.testing import check_gradients


@pytest.mark.parametrize(
    ("Model", "config", "loss_of"),
    [
        (LanguageModel, LanguageModelConfig(11, 5, 6, dropout=0.0), lstm_loss),
        (GPT, GPTConfig(11, 8, 2, 2, 8), gpt_loss),
    ],
)
def test_the_gradients_of_a_model(Model, config, loss_of):
    rng = np.random.default_rng(0)
    model = Model(config, rng, dtype=np.float64)
    batch = rng.integers(0, 11, (3, 6)), rng.integers(0, 11, (3, 6))
    loss, backward = model.loss(batch)
    expected = backward()
    values, tape = {name: Value(weight) for name, weight in model.params.items()}, Tape()
    found = loss_of(tape, values, config, *batch)
    tape.backward(found)
    assert found.array == pytest.approx(loss)
    assert not tape.steps
    for name, value in values.items():
        np.testing.assert_allclose(value.gradient, expected[name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["linear", "lstm", "cross_entropy", "additive_attention"])
def test_the_gradients_of_an_op_with_any_arguments(name):
    rng = np.random.default_rng(1)
    op, args = CASES[name](rng, B=2, T=4, I=3, H=2)
    plain, backward = op(*args)
    tape = Tape()
    values = [Value(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args]
    outputs = tape(op, *values)
    several = isinstance(outputs, tuple)
    first = outputs[0] if several else outputs
    tape.backward(first)  # the other outputs have no gradient
    dy = np.ones_like(plain[0] if several else plain)
    gradients = backward(dy, *(None,) * (len(plain) - 1)) if several else backward(dy)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    trained = [value for value in values if isinstance(value, Value)]
    for value, gradient in zip(trained, gradients, strict=True):
        np.testing.assert_array_equal(value.gradient, gradient)


def test_uses_add_up_and_what_the_loss_does_not_need_has_no_gradient():
    def polynomial(x):
        tape, value = Tape(), Value(x)
        square = tape(lambda a, b: (a * b, lambda dy: (dy * b, dy * a)), value, value)
        unused = tape(add, square, value)
        y = tape(add, square, value)

        def backward(dy):
            tape.backward(tape(lambda a: ((a * dy).sum(), lambda d: d * dy), y))
            assert unused.gradient is None
            return value.gradient

        return y.array, backward

    def once(x):  # the checker calls a backward twice, and a tape runs once
        return polynomial(x)[0], lambda dy: polynomial(x)[1](dy)

    rng = np.random.default_rng(2)
    assert check_gradients(once, rng.standard_normal((2, 3)), rng=rng) < 1e-8


def stacked_heads(x):
    parts, backward = split_heads(x, 2)
    return np.stack(parts), lambda dy: backward(*dy)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (add, [(2, 3), (2, 3)]),
        (transpose, [(2, 3)]),
        (stacked_heads, [(2, 3, 12)]),
        (join_heads, [(2, 2, 3, 4)]),
    ],
)
def test_what_the_ops_lack(op, shapes):
    rng = np.random.default_rng(3)
    check_gradients(op, *map(rng.standard_normal, shapes), rng=rng)
