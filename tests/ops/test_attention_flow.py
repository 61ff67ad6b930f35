"""Attention flow apart from its gradient: values by hand, padding, and empty questions."""

import numpy as np
from hypothesis import given

from minillm import ops
from minillm.ops.gradient_cases import CASES
from minillm.testing import strategies


def test_values_by_hand():
    """Word by word, by the equations in the docstring."""
    rng = np.random.default_rng(0)
    h, u = rng.standard_normal((1, 3, 2)), rng.standard_normal((1, 2, 2))
    w_h, w_u, w_hu = rng.standard_normal((3, 2))
    s = [[w_h @ x + w_u @ y + (x * w_hu) @ y for y in u[0]] for x in h[0]]
    b = np.exp([max(row) for row in s])
    c = (b / b.sum()) @ h[0]
    g, _ = ops.attention_flow(h, u, w_h, w_u, w_hu)
    for t in range(3):
        a = np.exp(s[t]) / np.exp(s[t]).sum()
        v = a @ u[0]
        expected = np.concatenate([h[0, t], v, h[0, t] * v, h[0, t] * c])
        np.testing.assert_allclose(g[0, t], expected, rtol=1e-12)


@given(rng=strategies.generators())
def test_a_batch_equals_its_rows(rng):
    op, (h, u, *weights, lengths, question_lengths) = CASES["attention_flow"](rng)
    together, _ = op(h, u, *weights, lengths, question_lengths)
    for b, (T, J) in enumerate(zip(lengths, question_lengths, strict=True)):
        assert (together[b, T:] == 0).all()
        if T and J:
            alone, _ = op(h[b : b + 1, :T], u[b : b + 1, :J], *weights)
            np.testing.assert_allclose(together[b, :T], alone[0], rtol=1e-9, atol=1e-12)


def test_without_a_question_only_the_text_is_left():
    h, u = np.ones((1, 2, 3)), np.ones((1, 1, 3))
    g, backward = ops.attention_flow(h, u, *np.ones((3, 3)), None, np.array([0]))
    np.testing.assert_array_equal(g[..., :3], h)
    np.testing.assert_array_equal(g[..., 3:], 0)
    dh, *others = backward(np.ones_like(g))
    np.testing.assert_array_equal(dh, 1)
    assert not any(other.any() for other in others)
