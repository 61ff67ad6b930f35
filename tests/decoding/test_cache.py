"""A cache apart from any model: what attention reads of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.decoding.cache import Cache
from minillm.testing import strategies


@pytest.mark.parametrize("window", [None, 1, 5])
@given(rng=strategies.generators(), cuts=st.sets(st.integers(1, 11)))
def test_parts_of_a_text_attend_as_the_whole_text(kernels, rng, window, cuts):
    q = rng.standard_normal((2, 4, 12, 6))
    k, v = rng.standard_normal((2, 2, 2, 12, 6))
    cache, ends = Cache.empty(2, 12, 1, 2, 6, np.float64), [*sorted(cuts), 12]
    with use_kernels(kernels):
        whole, _ = ops.scaled_dot_product_attention(q, k, v, True, window=window)
        for first, last in zip([0, *ends], ends, strict=False):
            cache = cache.extended(np.zeros((2, last - first), int), np.full(2, last - first))
            part = np.s_[:, :, first:last]
            y, _ = cache.attend(0, window)(q[part], k[part], v[part])
            np.testing.assert_allclose(y, whole[part], 1e-12, 1e-12)
