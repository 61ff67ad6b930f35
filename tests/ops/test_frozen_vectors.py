"""Forward and backward against vectors that PyTorch computed (make_frozen_vectors.py)."""

from pathlib import Path

import numpy as np

from minillm import ops, use_kernels

from .cases import names_of, on_its_twins, tuple_of

VECTORS = dict(np.load(Path(__file__).with_name("frozen_vectors.npz")))  # read once
OPS = sorted({key.split("/")[0] for key in VECTORS})


def group(op, role):
    """The vectors by their numbers; one without axes is a plain number."""
    found = {}
    for key, a in VECTORS.items():
        if key.startswith(f"{op}/{role}/"):
            found[int(key.rpartition("/")[2])] = a if a.ndim else a.item()
    return found


@on_its_twins(OPS)
def test_against_frozen_vectors(name, kernels):
    op, names = getattr(ops, name), names_of(getattr(ops, name))
    with use_kernels(kernels):
        outputs, backward = op(**{names[k]: a for k, a in group(name, "argument").items()})
        gradients = backward(*group(name, "upstream").values())
    for ours, role in [(outputs, "output"), (gradients, "gradient")]:
        for a, b in zip(tuple_of(ours), group(name, role).values(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
