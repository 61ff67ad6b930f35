"""The line that is wrong: which one is named, and which one never is."""

import numpy as np
import pytest

from benchmarks.bugs import CASES, right_op
from benchmarks.bugs import arguments as arguments_of
from minillm import kernels_info, ops
from minillm.testing import GradientError, as_op, check_gradients, check_projections, repairs
from minillm.testing.lines import locate
from minillm.testing.point import Point

RNG = np.random.default_rng(0)
X, W, Q, K = (RNG.standard_normal(shape) for shape in ((3, 4), (4, 4), (2, 3, 4), (2, 5, 4)))


def refused(op, *args, **options):
    with pytest.raises(GradientError) as caught:
        check_gradients(op, *args, rng=np.random.default_rng(1), **options)
    return str(caught.value).splitlines()


# --- what is named --------------------------------------------------------------------------------


def scaled(q, k):
    scale = q.shape[-1] ** -0.5
    scores = q @ k.swapaxes(1, 2) * scale
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        dscores = y * (dy - (y * dy).sum(axis=-1, keepdims=True))
        dq = dscores @ k  # the scale is missing
        dk = dscores.swapaxes(1, 2) @ q * scale
        return dq, dk

    return y, backward


def scanned(x, w):
    h, hs = np.zeros(x.shape[1]), []
    for x_t in x:
        h = w * h + x_t
        hs.append(h)

    def backward(dy):
        dx, dw, dh = np.zeros_like(x), np.zeros_like(w), np.zeros(x.shape[1])
        for t in reversed(range(len(x))):
            dh = dh + dy[t]
            dx[t] = dh
            if t > 0:
                dw += dh * hs[t - 1]
            dh = dh * w * w  # one w too many
        return dx, dw

    return np.stack(hs), backward


class Affine:
    def __init__(self, W):
        self.W = W

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W)
        return self.h

    def backward(self, dy):
        dh = dy * (1 - self.h)  # no square
        self.dW = self.x.T @ dh
        return dh @ self.W.T


def forward(x, W):
    h = x @ W
    return np.maximum(h, 0), (x, W, h)


def backward(dy, cache):
    x, W, h = cache
    dh = dy * (h < 0)  # the other half
    return dh @ W.T, x.T @ dh


# Two lambdas of one line: only their columns tell them apart.
square = (lambda x: x**2), (lambda dy, x: x * dy)


def tied(x, E):
    h = np.tanh(x @ E)

    def backward(dy):
        dh, dE = dy @ E, dy.T @ h
        return (dh * (1 - h**2)) @ E.T, dE  # the other use of E is forgotten

    return h @ E.T, backward


def buffered(x, W):
    def backward(dy):
        dx = dy @ W.T
        dW = (x.T @ dy).astype(np.float32)  # rounded
        return dx, dW

    return x @ W, backward


def changing(x, W):
    def backward(dy):
        dx = dy @ W.T
        dy *= 2  # the caller's
        return dx, x.T @ dy / 2

    return x @ W, backward


def missing(x, W):
    y, z = x @ W, x * 2

    def backward(dy, dz):
        dy = np.zeros_like(y) if dy is None else dy
        half = dz * 2  # None is not taken
        return dy @ W.T + half, x.T @ dy

    return (y, z), backward


def ones(x, W):
    y, z = x @ W, x * 2

    def backward(dy, dz):
        dy = np.zeros_like(y) if dy is None else dy
        if dz is None:
            extra = np.ones_like(x)  # for zeros
            return extra + dy @ W.T, x.T @ dy
        return dz * 2 + dy @ W.T, x.T @ dy

    return (y, z), backward


NAMED = {
    "a factor": (scaled, (Q, K), "dq = dscores @ k", "measured dq", "dscores @ k * scale"),
    "a loop": (scanned, (X, W[0]), "dh = dh * w * w", "measured dh", "dh * w"),
    "a class": (Affine, (X, W), "dh = dy * (1 - self.h)", "measured dh", "1 - self.h ** 2"),
    "a pair": ((forward, backward), (X, W), "dh = dy * (h < 0)", "measured dh", "h > 0"),
    "lambdas": (square, (X,), "square = (lambda x", "measured value", "x * dy * 2"),
    "a lost term": (tied, (X, W), "return (dh * (1 - h**2)) @ E.T, dE", "measured value", ""),
    "a branch": (ones, (X, W), "extra = np.ones_like(x)", "where it shows first", ""),
    "float32": (buffered, (X, W), "dW = (x.T @ dy).astype", "with dW in float64", ""),
    "a change": (changing, (X, W), "dy *= 2", "where it shows first", ""),
    "None": (missing, (X, W), "half = dz * 2", "where it shows first", ""),
}


@pytest.mark.parametrize(("op", "args", "line", "evidence", "fix"), NAMED.values(), ids=NAMED)
def test_the_line_is_named_with_its_evidence(op, args, line, evidence, fix):
    text = refused(as_op(op), *args)[-1]
    assert f"`{line}" in text
    assert evidence in text
    assert fix in text
    number = int(text.split("line ")[1].split(",")[0])
    with open(__file__, encoding="utf-8") as file:
        assert line in file.readlines()[number - 1]


def test_two_lines_that_cannot_be_told_apart_are_both_named():
    def op(x):
        def backward(dy):
            slope = 3 * x**2 / 7
            return dy * slope * 1.5

        return x**3, backward

    *_, first, one, other = refused(op, X)
    assert first == "one of these lines is wrong, and the gradients cannot tell which:"
    assert all(line in one + other for line in ("slope = 3 * x**2 / 7", "return dy * slope * 1.5"))


def test_the_line_of_a_model():
    params = {"W": W.copy(), "V": W.T.copy()}

    def loss():
        h = np.tanh(X @ params["W"])
        y = h @ params["V"]

        def of_params():
            dy = 2 * y
            dh = dy @ params["V"].T
            return {"W": X.T @ (dh * (1 - h)), "V": h.T @ dy}

        return (y**2).sum(), of_params

    with pytest.raises(GradientError, match=r"return \{\"W\": X.T @ \(dh \* \(1 - h\)\)"):
        check_projections(loss, params, rng=np.random.default_rng(0))


def test_a_line_between_ops_whose_kernels_trust_their_arguments():
    x, h0, W_x, b = (RNG.standard_normal(shape) for shape in ((2, 3, 4), (2, 4), (4, 8), (8,)))

    chosen = []

    def op(x, h0, W_x, b):
        (hs, _), gru_backward = ops.min_gru(x, h0, W_x, b)
        y, softmax_backward = ops.softmax(hs)

        chosen.append(kernels_info()["kernels"])

        def backward(dy):
            dhs = 2 * softmax_backward(dy)  # twice too much
            return gru_backward(dhs)

        return y, backward

    text = refused(op, x, h0, W_x, b, locate=True)[-1]
    assert chosen[-1] == "numpy"
    assert "`dhs = 2 * softmax_backward(dy)" in text
    assert "measured dhs" in text


# --- what is not ----------------------------------------------------------------------------------


def test_none_is_named_where_none_explains_it():
    def op(x, W):
        def backward(dy):
            for k in range(1):  # a second step is missing
                dx = dy[k] @ W.T
            return np.stack([dx] * len(x)), x.T @ dy * np.e

        return x @ W, backward

    assert refused(op, X, W)[-1].startswith("no line is named: ")
    text = refused(eval("lambda x: (x**2, lambda dy: x * dy)"), X)[-1]
    assert text == "no line is named: <lambda>: expected its source, found none"


def test_it_is_looked_for_when_the_text_is_asked_for_and_not_at_all_on_request():
    calls = []

    def counted(x):
        calls.append(1)
        return x**2, lambda dy: x * dy

    with pytest.raises(GradientError) as caught:
        check_gradients(counted, X, rng=np.random.default_rng(1))
    before = len(calls)
    assert "line" in str(caught.value)
    assert before < len(calls)
    assert not any("line" in line for line in refused(counted, X, locate=False))


def test_a_slow_op_is_searched_on_request_alone(monkeypatch):
    monkeypatch.setattr(repairs, "SECONDS", 0)
    assert "it takes long; locate=True" in refused(scaled, Q, K)[-1]
    assert "dq = dscores @ k" in refused(scaled, Q, K, locate=True)[-1]


@pytest.mark.parametrize("name", sorted(CASES)[::3])
def test_a_right_op_is_never_accused(name):
    """The search is forced: a check that passes never asks for it."""
    for seed in range(2):
        op, args = right_op(name), arguments_of(name, seed)
        point = Point(op, args, np.random.default_rng(seed), kinks="between")
        gradients = point.gradients(point.upstream)
        compared = point.compare(gradients if isinstance(gradients, tuple) else (gradients,))
        assert locate(point, compared, "values").suspects == []
