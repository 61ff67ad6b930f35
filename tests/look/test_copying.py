"""A look inside a model that copies: where each word comes from.

What all kinds of runs have in common is in tests/runs/test_look.py.
"""

import json
import re
from copy import copy

import numpy as np
import pytest
from browser import document, needs_chromium

from minillm.look import Page, Trace
from minillm.look.measurements import read_pointer_generator
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig

V, S, T, D = 4, 5, 3, 4
SOURCE, TARGET = (
    np.array([1, V + 1, 3, 1, V + 2]),
    np.array([V + 2, 1, V]),
)  # more places than words


@pytest.fixture(scope="module")
def model():
    config = PointerGeneratorConfig(V, embedding=D, hidden=4, layers=2)
    made = PointerGenerator(config, np.random.default_rng(0), dtype=np.float64)
    made.params["attention.W"] *= 4
    return made


def page_of(model):
    logits, by_source, by_target, attention = read_pointer_generator(model, SOURCE, TARGET)
    words = [*"abcd", "(end)", "new", "other"]
    return Page(
        Trace(
            model="pointer-generator",
            name="a run",
            unit="token",
            tokens=[words[token] for token in TARGET],
            ids=TARGET,
            logits=np.concatenate([logits, np.full_like(logits[:1], np.nan)]),
            label=lambda token: words[token],
            source=[words[token] for token in SOURCE],
            gradient=by_target,
            source_gradient=by_source,
            attention=attention,
        )
    )


def mixture(model, moved=None, step=0.0):
    """P of all words at each step, the gates, and the probability that the target was copied.

    With ``moved``, a place and a column, the step is added to the row of E of this place alone.
    """
    source = SOURCE[None]
    if moved is None:
        table, read = model.params["embedding.E"], model.known
        inputs = np.array([[V, *TARGET[:-1]]])
    else:
        at, k = moved
        rows = model.known(np.concatenate([SOURCE, [V], TARGET[:-1]]))
        table = model.params["embedding.E"][rows]
        table[at, k] += step
        source, inputs = np.arange(S)[None], S + np.arange(T)[None]
        read = np.asarray
    own = copy(model)
    own.params, own.known = model.params | {"embedding.E": table}, read
    own.words = lambda source: 99
    memory, _ = own.encode(source, np.array([S]))
    (a, weights), _ = own.decode(inputs, memory)
    (logits, gates), _ = model.output(a)
    g, p = 1 / (1 + np.exp(-gates[0])), np.exp(logits[0])
    p /= p.sum(axis=-1, keepdims=True)
    P = np.zeros((T, V + 3))
    P[:, : V + 1] = g[:, None] * p
    for t in range(T):
        for j in range(S):
            P[t, SOURCE[j]] += (1 - g[t]) * weights[0, t, j]
    written = np.where(TARGET <= V, g * p[np.arange(T), np.minimum(TARGET, V)], 0)
    return P, g, 1 - written / P[np.arange(T), TARGET]


def test_predictions_gates_and_copies_are_those_of_the_mixture(model):
    trace = page_of(model).trace
    P, g, copied = mixture(model)
    np.testing.assert_allclose(trace.probabilities[:T], P, atol=1e-14)
    loss, _ = model.loss((SOURCE[None], np.array([S]), TARGET[None], np.array([T])))
    assert trace.losses.mean() == pytest.approx(loss)
    (attention,) = trace.attention
    np.testing.assert_allclose(attention.weights.sum(axis=-1), 1)
    np.testing.assert_allclose(attention.copying.gates, g)
    np.testing.assert_allclose(attention.copying.copied, copied, atol=1e-12)
    assert attention.copying.copied[0] == pytest.approx(1)  # the vocabulary lacks it
    assert attention.copying.copied[2] == pytest.approx(0)  # EOS is in no source


def test_gradients_are_those_of_the_loss(model):
    trace, h = page_of(model).trace, 1e-5
    for at in range(S + T):
        slopes = []
        for k in range(D):
            up, down = (mixture(model, (at, k), step)[0] for step in (h, -h))
            slope = np.log(down) - np.log(up)
            slopes.append(slope[np.arange(T), TARGET] / (2 * h))
        expected = np.linalg.norm(slopes, axis=0)
        if at < S:
            np.testing.assert_allclose(trace.source_gradient[:, at], expected, atol=1e-8)
        elif at > S:  # BOS is not shown
            np.testing.assert_allclose(trace.gradient[:, at - S - 1], expected, atol=1e-8)


@pytest.mark.deep
@needs_chromium
def test_a_browser_says_where_a_word_comes_from(model, tmp_path):
    page = page_of(model)
    page.save(tmp_path / "page.html")
    (found,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', page.html)
    gate, copied = (json.loads(found)["attention"][0]["copying"][n][0] for n in ("gates", "copied"))
    shown = document(tmp_path / "page.html", tmp_path / "profile")
    words = re.sub(r"<[^>]*>", "", shown)
    assert f"The gate is {gate:.3g}: the probability of a word from the vocabulary" in words
    assert re.search(rf" was copied with probability {100 * copied:.0f}%", words)
    assert "before" in shown  # the coverage of each source token
