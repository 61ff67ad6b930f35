"""Marks for tests of models that need not run on both twins each time.

That the twins compute the same, ``tests/kernels`` proves, and the gradients of each op on either.
"""

import pytest

# What a model learns: on the originals it would learn the same, slowly.
usual_kernels = pytest.mark.parametrize("kernels", ["usual"], indirect=True)

# Gradients of what ops are composed to: on the originals under `make test-deep` only.
originals_deep = pytest.mark.parametrize(
    "kernels", ["usual", pytest.param("numpy", marks=pytest.mark.deep)], indirect=True
)
