"""Tables of vectors, at the input and at the output: gradients, and tables that are constant."""

import numpy as np
import pytest

from minillm.layers import embedding
from minillm.layers.gradients import PartlyTrained
from minillm.quantised import quantise

pytestmark = pytest.mark.usefixtures("both_twins")


def test_the_sum_of_tables_and_its_gradients():
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((n, 3)) for name, n in (("E", 5), ("P", 4), ("S", 2))}
    tables = {name: rng.integers(0, len(E), (2, 4)) for name, E in params.items()}
    x, backward = embedding.layer(params, tables)
    np.testing.assert_array_equal(x, sum(params[name][ids] for name, ids in tables.items()))
    dx = rng.standard_normal(x.shape)
    gradients = backward(dx)
    assert gradients.keys() == params.keys()
    for name, ids in tables.items():
        expected = np.zeros_like(params[name])
        np.add.at(expected, ids, dx)
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-12)


def test_a_table_that_is_not_trained_has_no_gradient():
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((5, 3)) for name in ("E", "P")} | {"b": rng.random(5)}
    some = PartlyTrained(params, ["P", "b"])
    tables = {name: rng.integers(0, 5, (2, 4)) for name in ("E", "P")}
    (x, backward), (same, some_backward) = (embedding.layer(p, tables) for p in (params, some))
    np.testing.assert_array_equal(same, x)
    expected, found = backward(x), some_backward(x)
    assert found.keys() == {"P"}
    np.testing.assert_array_equal(found["P"], expected["P"])

    for b in (None, "b"):
        logits, backward = embedding.output(params, "E", x, b)
        same, some_backward = embedding.output(some, "E", x, b)
        np.testing.assert_array_equal(same, logits)
        dlogits = rng.standard_normal(logits.shape)
        (dy, expected), (same, found) = backward(dlogits), some_backward(dlogits)
        np.testing.assert_array_equal(same, dy)
        assert found.keys() == ({"b"} if b else set())
        for name, gradient in found.items():
            np.testing.assert_array_equal(gradient, expected[name])
        with pytest.raises(ValueError, match="dy: expected shape"):
            some_backward(np.ones((9, 5)))


def test_a_quantised_table_is_constant():
    rng = np.random.default_rng(0)
    E, ids = (
        quantise(rng.standard_normal((32, 7)).astype(np.float32), "Q8_0").T,
        rng.integers(0, 7, 4),
    )
    x, backward = embedding.layer({"E": E}, {"E": ids})
    np.testing.assert_array_equal(x, E.dense()[ids])
    assert backward(x) == {}
    logits, backward = embedding.output({"E": E}, "E", x.astype(np.float64))  # not rounded
    np.testing.assert_allclose(logits, x @ E.dense().T, rtol=1e-5, atol=1e-5)
    dy, gradients = backward(logits)
    assert gradients == {}
    np.testing.assert_allclose(dy, logits @ E.dense(), rtol=1e-5, atol=1e-5)
