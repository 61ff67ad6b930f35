"""Forward and backward against vectors that PyTorch computed (make_frozen_vectors.py)."""

from pathlib import Path

import numpy as np
import pytest

from minillm import ops, use_kernels

VECTORS = np.load(Path(__file__).with_name("frozen_vectors.npz"))
OPS = sorted({key.split("/")[0] for key in VECTORS.files})


def group(op, role):
    return [VECTORS[key] for key in VECTORS.files if key.startswith(f"{op}/{role}/")]


@pytest.mark.parametrize("op", OPS)
def test_against_frozen_vectors(op, kernels):
    with use_kernels(kernels):
        outputs, backward = getattr(ops, op)(*group(op, "argument"))
        gradients = backward(*group(op, "upstream"))
    for ours, role in [(outputs, "output"), (gradients, "gradient")]:
        ours = ours if isinstance(ours, tuple) else (ours,)
        for a, b in zip(ours, group(op, role), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
