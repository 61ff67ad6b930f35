"""Tables of vectors: gradients at the input, and at the output."""

import numpy as np
import pytest
from model_checks import check_layer

from minillm.layers import embedding

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


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_an_output_by_a_table(bias):
    rng = np.random.default_rng(0)
    params = {"E": rng.standard_normal((5, 3))} | ({"b": rng.standard_normal(5)} if bias else {})

    def layer(params, y):
        return embedding.output(params, "E", y, "b" if bias else None)

    y = rng.standard_normal((2, 4, 3))
    expected = y @ params["E"].T + params.get("b", 0)
    np.testing.assert_allclose(layer(params, y)[0], expected, rtol=1e-12)
    check_layer(layer, params, y, rng)
