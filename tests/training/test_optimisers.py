"""Optimisers: one entry each, by its equation, in PyTorch, saved, and what they refuse."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from minillm import use_kernels
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.training import (
    OPTIMISERS,
    SGD,
    Adam,
    AdamW,
    Muon,
    clip_global_norm,
    new_optimiser,
    optimisers,
)
from minillm.training.muon import orthogonal

SHAPES = {"W": (7, 5), "b": (5,), "wide": (4, 6), "big": (300, 120)}  # of more than one block


def parameters(dtype=np.float64, seed=0):
    """Parts of one buffer, as a file that is read at once has them; the last is empty."""
    rng, parts = np.random.default_rng(seed), {}
    buffer = rng.standard_normal(sum(map(math.prod, SHAPES.values()))).astype(dtype)
    for name, shape in SHAPES.items():
        parts[name], buffer = buffer[: math.prod(shape)].reshape(shape), buffer[math.prod(shape) :]
    return parts | {"empty": buffer}


def textbook_sgd(p, gs, rates, momentum):
    v = 0
    for g, rate in zip(gs, rates, strict=True):
        v = momentum * v + g
        p = p - rate * v
    return p


def textbook_adam(p, gs, rates, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    m = v = 0
    for t, (g, rate) in enumerate(zip(gs, rates, strict=True), start=1):
        p = p - rate * decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


def textbook_muon(p, gs, rates, momentum=0.9, decay=0.2):
    """By a decomposition: the polynomial acts on the singular values."""
    if p.ndim < 2:
        return textbook_adam(p, gs, rates, beta2=0.95)
    v = 0
    for g, rate in zip(gs, rates, strict=True):
        v = momentum * v + (1 - momentum) * g
        U, s, Vt = np.linalg.svd(momentum * v + (1 - momentum) * g, full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(5):
            s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
        p = p - rate * decay * p - rate * 0.2 * np.sqrt(max(p.shape)) * (U * s) @ Vt
    return p


CASES = {
    "muon": (lambda p: Muon(p, 0.9, 0.95, weight_decay=0.2), textbook_muon),
    "sgd": (lambda p: SGD(p, 0.8), lambda p, g, r: textbook_sgd(p, g, r, 0.8)),
    "adam": (lambda p: Adam(p, 0.8, 0.95), lambda p, g, r: textbook_adam(p, g, r, 0.8, 0.95)),
    "adamw": (
        lambda p: AdamW(p, eps=1e-3, weight_decay=0.3),
        lambda p, g, r: textbook_adam(p, g, r, eps=1e-3, decay=0.3 if p.ndim > 1 else 0.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_textbook(case, kernels):
    make, textbook = CASES[case]
    params = parameters()
    start = {name: p.copy() for name, p in params.items()}
    optimiser = make(params)
    steps = [parameters(seed=s) for s in range(1, 6)]
    rates = [0.1, 0.05, 0.2, 0.1, 0.01]
    for grads, rate in zip(steps, rates, strict=True):
        params["W"] = params["W"].copy()  # another of its kind
        grads["W"] = np.asfortranarray(grads["W"])  # of gradients, any layout will do
        kept = {name: g.copy() for name, g in grads.items()}
        with use_kernels(kernels):
            optimiser.step(grads, rate)
        assert all(np.array_equal(kept[name], g) for name, g in grads.items())
    for name, p in params.items():
        expected = textbook(start[name], [grads[name] for grads in steps], rates)
        np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", [case for case in CASES if case != "muon"])
def test_torch(case):
    torch = pytest.importorskip("torch")
    params = parameters(np.float32)
    twins = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    matrices = [twin for twin in twins.values() if twin.ndim > 1]
    vectors = [twin for twin in twins.values() if twin.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    theirs = {
        "sgd": lambda: torch.optim.SGD(twins.values(), lr=1, momentum=0.8),
        "adam": lambda: torch.optim.Adam(twins.values(), betas=(0.8, 0.95)),
        "adamw": lambda: torch.optim.AdamW(groups, eps=1e-3),
    }[case]()
    ours = CASES[case][0](params)
    for s, rate in enumerate([0.1, 0.05, 0.2], start=1):
        grads = parameters(np.float32, s)
        for group in theirs.param_groups:
            group["lr"] = rate
        for name, twin in twins.items():
            twin.grad = torch.tensor(grads[name])
        theirs.step()
        ours.step(grads, rate)
    for name, p in params.items():
        assert p.dtype == np.float32
        np.testing.assert_allclose(p, twins[name].detach().numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_restored_optimiser_goes_on_with_the_same_bits(case):
    make = CASES[case][0]
    one, other = parameters(), parameters()
    first = make(one)
    for s in (1, 2):
        first.step(parameters(seed=s), 0.1)
    arrays, values = first.state()
    arrays = {name: array.copy() for name, array in arrays.items()}
    for name, p in one.items():
        other[name][...] = p
    second = make(other)
    second.restore(arrays, values)
    first.step(parameters(seed=3), 0.1)
    second.step(parameters(seed=3), 0.1)
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", CASES)
def test_a_state_that_does_not_fit_is_refused_before_any_of_it_is_restored(case):
    optimiser = CASES[case][0](parameters())
    optimiser.step(parameters(seed=1), 0.1)
    arrays, values = optimiser.state()
    before = {name: array.copy() for name, array in arrays.items()}
    given = {name: array + 1 for name, array in arrays.items()}
    with pytest.raises(ValueError, match=r"v\['W'\]: expected shape \(7, 5\), found \(5,\)"):
        optimiser.restore(given | {"v.W": np.ones(5)}, values)
    with pytest.raises(TypeError, match=r"v\['big'\]: expected float64, found float32"):
        optimiser.restore(given | {"v.big": given["v.big"].astype(np.float32)}, values)
    if values:
        with pytest.raises(ValueError, match="t: expected a number of steps, found -1"):
            optimiser.restore(given, {"t": -1})
    assert all(np.array_equal(before[name], a) for name, a in optimiser.state()[0].items())


def replaced(optimiser, where, replace):
    """Replace a weight or a moment of an optimiser, or make the gradients of a step other ones."""
    grads = parameters(seed=1)
    array, name = where
    arrays = grads if array == "grads" else getattr(optimiser, array)
    arrays[name] = replace(arrays[name])
    return grads


NO_PLAIN_ARRAY = [
    (lambda a: a.tolist(), "list"),
    (lambda a: None, "NoneType"),
    (lambda a: a.view(np.matrix), "matrix"),
    (lambda a: np.ma.masked_array(a, a > 0), "MaskedArray"),
    (lambda a: a.astype(">f8"), ">f8"),
    (lambda a: a.astype(complex), "complex128"),
    (lambda a: a.astype(int), "int64"),
    (lambda a: a.astype(np.float16), "float16"),
    (lambda a: a.astype(object), "object"),
]
NO_SUCH_ARRAY = [
    (lambda a: a[:2].copy(), ValueError, r"expected shape \(7, 5\), found \(2, 5\)"),
    (lambda a: np.zeros((9, 7, 5)), ValueError, r"expected shape \(7, 5\), found"),
    (lambda a: a.astype(np.float32), TypeError, "expected float64, found float32"),
]
NOT_IN_PLACE = [
    (lambda a: a.T.copy().T, ValueError, "expected a C-contiguous array that can be changed"),
    (lambda a: np.frombuffer(bytes(a.nbytes)).reshape(a.shape), ValueError, "can be changed"),
    (lambda a: np.broadcast_to(a[:1], a.shape), ValueError, "can be changed"),
]


@pytest.mark.parametrize(
    ("case", "moment"), [("sgd", "v"), ("adam", "m"), ("adamw", "v"), ("muon", "v")]
)
@pytest.mark.parametrize("array", ["params", "grads", "moment"])
def test_an_array_that_does_not_fit_is_refused(case, moment, kernels, array, tmp_path):
    """Before anything is changed.

    A kernel would write beyond it, or into the bytes of an object that never changes; a weight
    would be trained as a copy.
    """
    array = moment if array == "moment" else array
    np.zeros((7, 5)).tofile(tmp_path / "map")
    read_only = np.memmap(tmp_path / "map", float, "r", shape=(7, 5))
    rows = NO_SUCH_ARRAY + [
        (replace, TypeError, f"expected a NumPy array of float32 or float64, found {found}")
        for replace, found in NO_PLAIN_ARRAY
    ]
    if array != "grads":  # of gradients, any layout will do
        rows = [*rows, *NOT_IN_PLACE, (lambda a: read_only, ValueError, "can be changed")]
    for replace, error, message in rows:
        params = parameters()
        optimiser = CASES[case][0](params)
        grads = replaced(optimiser, (array, "W"), replace)
        before = {name: np.array(p) for name, p in params.items()}
        with use_kernels(kernels), pytest.raises(error, match=rf"^{array}\['W'\]: .*{message}"):
            optimiser.step(grads, 0.1)
        assert all(np.array_equal(before[name], params[name]) for name in params)


@pytest.mark.parametrize("case", CASES)
def test_names_that_do_not_fit_are_refused(case):
    make, W = CASES[case][0], np.ones((7, 5))
    for view in (W, W[:], W.reshape(-1)):
        message = r"params\['tied'\] and params\['W'\]: expected two arrays, found one: a tied w"
        with pytest.raises(ValueError, match=message):
            make({"tied": W, "b": np.ones(5), "W": view})
    params = parameters()
    optimiser = make(params)
    with pytest.raises(ValueError, match=r"grads: .*'b'"):
        optimiser.step({name: g for name, g in parameters().items() if name != "b"}, 0.1)
    params["new"] = np.zeros(2)
    with pytest.raises(ValueError, match=r"params: expected .*\['new'\]"):
        optimiser.step(parameters(seed=1) | {"new": np.zeros(2)}, 0.1)
    del params["new"], params["b"]
    with pytest.raises(ValueError, match=r"params: expected .*\['b'\]"):
        optimiser.step(parameters(seed=1), 0.1)
    with pytest.raises(TypeError, match=r"params\['W'\]: expected .*, found list"):
        make(parameters() | {"W": parameters()["W"].tolist()})


def test_a_gradient_under_two_names_is_scaled_once(kernels):
    g = np.full(2, 2.0)
    with use_kernels(kernels):
        assert clip_global_norm({"a": g, "b": g}, 1.0) == pytest.approx(4)
    np.testing.assert_allclose(g, 0.5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda p: SGD(p, 1.0), "momentum"),
        (lambda p: Adam(p, beta1=1.0), "beta1"),
        (lambda p: Adam(p, beta2=-0.1), "beta2"),
        (lambda p: Adam(p, eps=0), "eps"),
        (lambda p: AdamW(p, weight_decay=-1), "weight_decay"),
        (lambda p: Adam(p, eps=np.inf), "eps"),
        (lambda p: AdamW(p, weight_decay=np.nan), "weight_decay"),
        *((lambda p, m=m: Muon(p, momentum=m), "momentum") for m in (-0.1, 1.0, np.nan)),
    ],
)
def test_settings_out_of_range_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        make(parameters())


@pytest.mark.parametrize("case", CASES)
def test_a_learning_rate_that_would_damage_the_weights_is_refused(case):
    params = parameters()
    optimiser = CASES[case][0](params)
    for rate in (np.nan, np.inf, -0.1, None, "0.1", [0.1], 1j):
        with pytest.raises(ValueError, match="learning_rate: expected a finite number from 0, fou"):
            optimiser.step(parameters(seed=1), rate)
    assert all(np.array_equal(p, params[name]) for name, p in parameters().items())


def test_clipping_that_fails_has_scaled_nothing(kernels):
    grads = parameters()
    grads["big"].flags.writeable = False
    with use_kernels(kernels):
        for maximum in (1e-3, 1e6):
            with pytest.raises(ValueError, match=r"grads\['big'\]: expected .* can be changed"):
                clip_global_norm(grads, maximum)
        for maximum in (np.nan, 0, -1.0):
            with pytest.raises(ValueError, match="maximum: expected above 0, found"):
                clip_global_norm(parameters(), maximum)
        assert clip_global_norm(grads, None) > 1
    assert all(np.array_equal(g, grads[name]) for name, g in parameters().items())


@pytest.mark.parametrize("maximum", [None, 1.0, 1e6])
def test_clipping_scales_all_by_one_factor(kernels, maximum):
    grads = parameters(np.float32)
    grads["W"] = np.asfortranarray(grads["W"])
    before = {name: g.copy() for name, g in grads.items()}
    norm = np.sqrt(sum((g.astype(float) ** 2).sum() for g in grads.values()))
    with use_kernels(kernels):
        assert clip_global_norm(grads, maximum) == pytest.approx(norm, rel=1e-6)
    scale = 1 if maximum is None else min(1, maximum / norm)
    for name, g in grads.items():
        np.testing.assert_allclose(g, before[name] * np.float32(scale), rtol=1e-6)


def test_a_gradient_that_overflows_has_an_infinite_norm_and_stays(kernels):
    grads = {"W": np.full(3, 1e30, np.float32)}
    with use_kernels(kernels):
        assert clip_global_norm(grads, 1.0) == np.inf
        assert grads["W"][0] == np.float32(1e30)
        assert np.isnan(clip_global_norm({"W": np.array([np.nan])}, 1.0))


def test_an_optimiser_is_made_by_its_name_with_the_settings_that_it_names():
    settings = SimpleNamespace(momentum=0.5, beta2=0.99, weight_decay=0.1, steps=3)
    params = parameters()
    assert list(OPTIMISERS) == ["sgd", "adam", "adamw", "muon"]
    assert new_optimiser("sgd", params, settings).momentum == 0.5
    adamw = new_optimiser("adamw", params, settings)
    assert (adamw.beta1, adamw.beta2, adamw.weight_decay) == (0.9, 0.99, 0.1)


def test_an_optimiser_is_declared_in_one_place(monkeypatch, run_bigram, bigram):
    """A toy, signSGD (Bernstein et al. 2018), is found by its name, and trains."""
    monkeypatch.setattr(optimisers, "OPTIMISERS", dict(OPTIMISERS))

    @optimisers.optimiser
    class SignSGD:
        def __init__(self, params, weight_decay=0.0):
            self.params, self.weight_decay = params, weight_decay

        def step(self, grads, learning_rate):
            for name, p in self.params.items():
                p -= learning_rate * (np.sign(grads[name]) + self.weight_decay * p)

        def state(self):
            return {}, {}

        def restore(self, arrays, values):
            pass

    task = bigram()
    before = task.validation_loss()
    made = new_optimiser("signsgd", task.params, SimpleNamespace(weight_decay=0.01))
    assert made.weight_decay == 0.01
    summary, *_ = run_bigram("run", task=task, optimiser=made, steps=60)
    assert summary.best_loss < before - 0.2


# --- Muon: orthogonal steps for hidden matrices ---------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_size_of_a_gradient_does_not_matter(dtype):
    """Powers of 2 change no bit, and the squares of the smallest numbers are 0, or infinite.

    Zeros give no step.
    """
    u = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    least, most = np.finfo(dtype).minexp + 9, np.finfo(dtype).maxexp - 9
    expected = orthogonal(u)
    for exponent in (least, least // 2, -3, 3, most):
        np.testing.assert_array_equal(orthogonal(np.ldexp(u, exponent)), expected)
    step = orthogonal((1e-40 * u).astype(np.float32))  # subnormal numbers have fewer digits
    np.testing.assert_allclose(step, expected, atol=1e-3)
    np.testing.assert_array_equal(orthogonal(np.zeros((3, 5), dtype)), 0)


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


def test_the_muon_of_torch():
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
