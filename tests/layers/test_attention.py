"""The attention of a decoder: its scores.

Its gradients, and what padding may not change, are in models/test_every_model.py.
"""

import numpy as np
import pytest
from usual import originals_deep

from minillm.layers import attention
from minillm.layers.fresh import draw_all

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
H, LENGTHS = 3, np.array([5, 2])


def test_the_scores_are_those_that_the_docstring_says():
    rng = np.random.default_rng(2)
    hs, h_last = rng.standard_normal((2, 5, 2 * H)), rng.standard_normal((2, 2 * H))
    query = rng.standard_normal((2, 4, H))
    for kind in ("dot", "general", "additive"):
        layer = attention.KINDS[kind]
        params = draw_all(layer.new_layer("a", H, 2 * H), rng, np.float64)
        memory, _ = layer.prepare(params, "a", hs, h_last, LENGTHS, H)
        (_, weights), _ = layer.attend(params, "a", query, memory)
        if kind == "dot":
            scores = query @ (hs[..., :H] + hs[..., H:]).transpose(0, 2, 1)
        elif kind == "general":
            scores = query @ params["a.W"] @ hs.transpose(0, 2, 1)
        else:
            keys = hs @ params["a.W_k"] + params["a.b_k"]
            hidden = np.tanh((query @ params["a.W_q"])[:, :, None] + keys[:, None])
            scores = hidden @ params["a.v"]
        scores[1, :, LENGTHS[1] :] = -np.inf
        expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(weights, expected, rtol=1e-10)
