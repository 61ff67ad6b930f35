"""Every picture is a PNG, whatever it has to show."""

import io
import sys

import numpy as np
import pytest

from minillm.errors import InputError
from minillm.plots import attention_map, loss_curve, loss_curves, word_map

RECORDS = [
    {"step": 10, "loss": 3.0, "seconds": 1.0},
    {"step": 20, "validation_loss": 2.5},
    {"step": 20, "loss": 2.6, "seconds": 2.0},
    {"step": 40, "validation_loss": 2.25},
]


def shape(png):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    return imread(io.BytesIO(png)).shape[:2]


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS[1:2], RECORDS])
def test_losses_whatever_the_run_has_come_to(records):
    pytest.importorskip("matplotlib")
    assert shape(loss_curve(records, "character")) > (300, 300)
    assert shape(loss_curves({"a": records, "b": RECORDS})) > (300, 300)


def test_attention_grows_with_its_tokens():
    pytest.importorskip("matplotlib")
    weights = np.full((2, 3), 1 / 3)
    small = shape(attention_map(weights, ["a", "$", "$x^$"], [r"\n", "␣"]))
    wide = shape(attention_map(np.full((2, 9), 1 / 9), ["words"] * 9, ["b", "c"], "a title"))
    assert wide[1] > small[1]


def test_words_may_look_like_mathematics():
    pytest.importorskip("matplotlib")
    assert shape(word_map(["a", "$x^$", r"\frac"], np.eye(3)[:, :2])) > (300, 300)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: loss_curve(RECORDS),
        lambda: loss_curves({"a": RECORDS}),
        lambda: attention_map(np.ones((1, 1)), ["a"], ["b"]),
        lambda: word_map(["a"], np.zeros((1, 2))),
    ],
)
def test_a_missing_library_is_named(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"^a picture needs the package matplotlib$"):
        draw()
