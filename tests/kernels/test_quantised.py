"""The kernel of quantised products: it equals its original, and others change none of its bits."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantised_cases import BLOCKS, FORMATS, OUTPUTS, beside, inputs, packed

from minillm import kernels_info
from minillm._kernels import _compiled
from minillm.quantised import quantise
from minillm.quantised.codes import LEVELS

from .twin_cases import WRONG, wrong_versions

ROWS = st.one_of(st.integers(0, 9), st.sampled_from([11, 12, 13, 24, 30]))
SEEDS = st.integers(0, 999)
PARTS = st.lists(st.sampled_from(list(FORMATS)), min_size=1, max_size=3)


def drawn(seed, M, B, O, formats):
    rng, I = np.random.default_rng(seed), inputs(formats, B)
    W = beside(*(packed(rng, format, I, O) for format in formats))
    return rng.normal(size=(M, I)).astype(np.float32), W.parts


def assert_near(ours, theirs, x, parts):
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    size = np.abs(x) @ np.concatenate([np.abs(part.coded().dense()) for part in parts]).T
    assert (np.abs(ours - theirs) <= 2e-6 * size + 1e-6).all()


@given(ROWS, BLOCKS, OUTPUTS, PARTS, SEEDS)
def test_the_twin_is_the_original(twin, original, M, B, O, formats, seed):
    x, parts = drawn(seed, M, B, O, formats)
    ours = twin.quantised_product(x, parts)
    assert_near(ours, original.quantised_product(x, parts), x, parts)
    for m in range(min(M, 3)):  # a batch is its rows, to the bit
        np.testing.assert_array_equal(twin.quantised_product(x[m : m + 1], parts)[0], ours[m])


@given(BLOCKS, OUTPUTS, PARTS, st.integers(0, 9), SEEDS)
def test_rows_are_those_of_the_original(twin, original, B, O, formats, n, seed):
    _, parts = drawn(seed, 0, B, O, formats)
    outputs = np.random.default_rng(seed).integers(0, O * len(formats), n)
    ours, theirs = (kernels.quantised_rows(parts, outputs) for kernels in (twin, original))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("M", [1, 300])
def test_threads_change_no_bit(twin, same_bits, M):
    same_bits(twin.quantised_product, *drawn(0, M, 3, 170, list(FORMATS)))


def test_avx512_without_the_instruction():
    """A CPU without it runs the same kernels, which then multiply pairs: to the same bits."""
    pytest.importorskip("minillm._kernels._cpu", reason="the kernels are not built")
    if not _compiled("_cpu").has_vnni():
        pytest.skip("this CPU has no AVX512-VNNI")
    if "avx2" not in kernels_info()["available"]:  # `make test` builds the best kernels alone
        pytest.skip("the kernels for AVX2 are not built")
    program = """if True:
        import sys
        sys.path.insert(0, "tests")
        import minillm._kernels as kernels
        kernels._compiled("_cpu").has_vnni = lambda: False
        import numpy as np
        from tests.kernels import test_quantised as tests
        for M in (1, 7, 30):
            x, parts = tests.drawn(M, M, 3, 70, list(tests.FORMATS))
            twins = map(kernels.select_kernels, ("avx512", "avx2"))
            ours, theirs = (twin.quantised_product(x, parts) for twin in twins)
            np.testing.assert_array_equal(ours, theirs)
        """
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("format", "inputs", "right"),
    # codes of another number of bits are another format
    [("q4_1", 64, [(2, 2, 8, 16, 4)]), ("q5_k", 256, [(2, 8, 4, 16, 4)]), ("iq4_nl", 32, [])],
)
def test_arrays_that_do_not_fit_are_refused(twin, format, inputs, right):
    (part,) = packed(np.random.default_rng(0), format, inputs, 20).parts
    x = np.ones((2, inputs), np.float32)
    twin.quantised_product(x, (part,))
    changes = [{"outputs": 33}, {"outputs": 16}]
    changes += [{"zero": 256}, {"zero": None}] if format == "q4_1" else []
    changes += [{"levels": LEVELS}] if format == "q5_k" else []  # which has 5 bits
    for name in ("codes", "scale", "offset", "d", "e", "levels"):
        array = getattr(part, name)
        changes += [{name: wrong} for wrong in wrong_versions(array)]
        changes += [{name: None}] if name in ("d", "e") and array is not None else []
    wrongs = [(x, (replace(part, **change),)) for change in changes]
    for other in (x[:, :-32].copy(), x.astype(float), np.tile(x, 2), np.asfortranarray(x)):
        wrongs.append((other, (part,)))
    more = quantise(np.ones((2 * inputs, 20), np.float32), "Q4_1").parts
    taken = []
    for rows, parts in (*wrongs, (x, ()), (x, (part, *more))):
        try:
            twin.quantised_product(rows, parts)
        except WRONG:
            continue
        taken.append(parts[0].codes.shape)
    assert taken == right
