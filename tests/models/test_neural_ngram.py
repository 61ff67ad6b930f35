"""The neural n-gram: its equation, and how far it sees.

What it has in common with other language models is in test_every_model.py and test_reading.py.
"""

import numpy as np
import pytest
from model_table import neural
from usual import originals_deep

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def test_the_equation_of_the_paper():
    rng = np.random.default_rng(2)
    model, ids = neural(3).new(), rng.integers(0, 6, (2, 5))
    p = model.params
    (logits, _), _ = model.forward(ids, model.zero_state(2))
    x = np.concatenate([p["embedding.E"][ids[:, 1:3]][:, 0], p["embedding.E"][ids[:, 2]]], axis=1)
    h = np.tanh(x @ p["hidden.W"] + p["hidden.b"])
    expected = h @ p["output.W"] + p["output.b"]
    np.testing.assert_allclose(logits[:, 2], expected, rtol=1e-12)
