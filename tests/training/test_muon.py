"""Muon: orthogonal steps, of the size of Adam's, for hidden matrices alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.training import AdamW, Muon
from minillm.training.muon import orthogonal


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_singular_values_become_about_one(I, O, scale, seed):
    """And the directions stay: those of a random matrix with singular values from 0.05 to 1."""
    rng, k = np.random.default_rng(seed), min(I, O)
    U, V = (np.linalg.qr(rng.standard_normal((n, k)))[0] for n in (I, O))
    s = rng.uniform(0.05, 1, k)
    result = orthogonal(scale * (U * s) @ V.T)
    inner = U.T @ result @ V
    np.testing.assert_allclose(result, U @ inner @ V.T, atol=1e-12)  # nothing beside them
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-12)
    assert np.all((np.diag(inner) > 0.65) & (np.diag(inner) < 1.22))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_size_of_a_gradient_does_not_matter(dtype):
    """Powers of 2 change no bit, and the squares of the smallest numbers are 0, or infinite."""
    u = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    least, most = np.finfo(dtype).minexp + 9, np.finfo(dtype).maxexp - 9
    expected = orthogonal(u)
    for exponent in (least, least // 2, -3, 3, most):
        np.testing.assert_array_equal(orthogonal(np.ldexp(u, exponent)), expected)
    step = orthogonal((1e-40 * u).astype(np.float32))  # subnormal numbers have fewer digits
    np.testing.assert_allclose(step, expected, atol=1e-3)


def test_zeros_give_no_step():
    np.testing.assert_array_equal(orthogonal(np.zeros((3, 5), np.float32)), 0)


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (32, 32)])
def test_a_step_is_as_large_as_adams(shape):
    params = {"W": np.zeros(shape)}
    Muon(params).step({"W": np.random.default_rng(0).standard_normal(shape)}, 0.01)
    assert np.sqrt((params["W"] ** 2).mean()) == pytest.approx(0.2 * 0.01, rel=0.15)


def test_embeddings_output_and_gains_are_left_to_adamw():
    config = LlamaConfig(9, 6, 1, 2, width=8, tied=False)
    one, other = (Llama(config, np.random.default_rng(0), dtype=np.float64) for _ in range(2))
    ids = np.random.default_rng(1).integers(0, 9, (2, 6))
    options = {"beta2": 0.9, "weight_decay": 0.1}
    optimisers = Muon(one.params, **options), AdamW(other.params, **options)
    for model, optimiser in zip((one, other), optimisers, strict=True):
        optimiser.step(model.loss((ids, ids))[1](), 0.01)
    alike = {n for n, p in one.params.items() if np.array_equal(p, other.params[n])}
    hidden = {n for n in one.params if ".W_" in n}
    assert alike == one.params.keys() - hidden
    assert optimisers[0].v.keys() == hidden
    assert len(hidden) == 4
    assert not set(optimisers[0].state()[0]) & {f"m.{n}" for n in hidden}  # half the memory


def test_columns_of_a_mamba_are_left_to_adamw():
    params = Mamba(MambaConfig(9, 1, 8, tied=False), np.random.default_rng(0)).params
    hidden = {f"layers.0.{name}.W" for name in ("input", "selection", "step", "output")}
    assert Muon(params).v.keys() == hidden


def test_torch():
    """Theirs computes in bfloat16, whose numbers have 8 bits."""
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    rng = np.random.default_rng(0)
    params = {"W": rng.standard_normal((20, 30)).astype(np.float32)}
    twin = torch.tensor(params["W"], requires_grad=True)
    theirs = torch.optim.Muon(
        [twin], lr=0.05, weight_decay=0.2, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    ours, start = Muon(params, momentum=0.9, weight_decay=0.2), params["W"].copy()
    for _ in range(3):
        g = rng.standard_normal((20, 30)).astype(np.float32)
        twin.grad = torch.tensor(g)
        theirs.step()
        ours.step({"W": g}, 0.05)
    moved = params["W"] - start
    error = np.abs(twin.detach().numpy() - params["W"]).max() / np.abs(moved).max()
    assert error < 0.02


@pytest.mark.parametrize("momentum", [-0.1, 1.0, np.nan])
def test_a_momentum_that_is_none(momentum):
    with pytest.raises(ValueError, match="momentum: expected at least 0 and below 1, found"):
        Muon({"W": np.ones((2, 2))}, momentum=momentum)
