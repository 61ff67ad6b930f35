"""Label smoothing, against its definition."""

import numpy as np
import pytest

from minillm import ops, use_kernels


def test_label_smoothing_is_the_cross_entropy_of_the_smoothed_truth(kernels):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    log_p = np.log(ops.softmax(logits)[0])
    truth = 0.9 * np.eye(5)[targets] + 0.1 / 5
    expected = -(truth * log_p).sum(axis=-1).mean()
    with use_kernels(kernels):
        loss, _ = ops.cross_entropy(logits, targets, label_smoothing=0.1)
    assert loss == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_nonsense_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\)"):
        ops.cross_entropy(np.zeros((1, 2)), np.array([0]), label_smoothing=smoothing)
