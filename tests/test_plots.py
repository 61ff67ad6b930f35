"""Every picture is a PNG, whatever it has to show."""

import io

import numpy as np
import pytest

from minillm import plots
from minillm.plots import attention_map, loss_curve, loss_curves, word_map

RECORDS = [
    {"step": 10, "loss": 3.0, "seconds": 1.0},
    {"step": 20, "validation_loss": 2.5, "seconds": 2.0},
    {"step": 20, "loss": 2.6, "seconds": 2.0},
    {"step": 40, "validation_loss": 2.25, "seconds": 4.0},
]


DRAWN = plots._png


@pytest.fixture(autouse=True)
def contents(monkeypatch):
    """Pictures have contents: the tests of commands replace them in the same process."""
    monkeypatch.setattr(plots, "_png", DRAWN)


def shape(png):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    return imread(io.BytesIO(png)).shape[:2]


def test_losses_whatever_the_run_has_come_to(drawn):
    assert shape(loss_curve(RECORDS, "character")) > (300, 300)
    for records in ([], RECORDS[:1], RECORDS[1:2]):
        assert drawn(loss_curve, records, "character").axes
        assert drawn(loss_curves, {"a": records, "b": RECORDS}).axes


def test_the_best_n_gram_is_a_line_across(drawn):
    figure = drawn(loss_curve, [*RECORDS, {"step": 40, "ngram_loss": 2.1, "ngram_order": 7}])
    assert "best n-gram (2.100)" in legend(figure)
    assert any(set(line.get_ydata()) == {2.1} for line in figure.axes[0].lines)
    assert not any("n-gram" in name for name in legend(drawn(loss_curve, RECORDS)))


def test_tokens_and_words_may_look_like_mathematics():
    assert shape(attention_map(np.full((2, 3), 1 / 3), ["a", "$", "$x^$"], [r"\n", "␣"])) > (9, 9)
    assert shape(word_map(["a", "$x^$", r"\frac"], np.eye(3)[:, :2])) > (300, 300)


@pytest.fixture
def drawn(monkeypatch):
    """Calls a function of plots and returns its figure, drawn."""
    pytest.importorskip("matplotlib")

    def draw(function, *arguments):
        figures = []
        monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or b"")
        function(*arguments)
        figures[0].draw_without_rendering()
        return figures[0]

    return draw


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@pytest.mark.deep
def test_no_word_of_a_map_covers_another(drawn):
    from matplotlib.text import Text

    rng = np.random.default_rng(0)
    axes = drawn(word_map, ["a", "b", "c"], np.array([[0, 0], [0, 1.0], [1, 0]])).axes[0]
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c"}  # there is room
    assert axes.get_xlabel() == " "
    words = [f"word{k}" * (1 + k % 3) for k in range(200)]
    coordinates = np.concatenate([0.01 * rng.standard_normal((120, 2)), rng.random((80, 2))])
    axes = drawn(word_map, words, coordinates).axes[0]
    labels = [text for text in axes.texts if text.get_text()]
    assert 80 < len(labels) < 200  # nearly all of the 80 that stand apart
    assert axes.get_xlabel() == f"{200 - len(labels)} of 200 points have no room for their word"
    frame, boxes = axes.get_window_extent(), []
    for label in labels:
        boxes.append(Text.get_window_extent(label))
    for k, box in enumerate(boxes):
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert not any(box.overlaps(other) for other in boxes[:k])


@pytest.mark.deep
@pytest.mark.parametrize(("T", "S"), [(1, 2), (2, 60), (100, 100)])
def test_attention_has_a_scale_and_fits_its_page(T, S, drawn):
    source = (["a", "internationalisation", "of"] * S)[:S]
    target = (["internationalisation", "b"] * T)[:T]
    figure = drawn(attention_map, np.full((T, S), 1 / S), source, target)
    axes, bar = figure.axes
    assert bar.get_ylabel() == "attention weight"
    width, height = figure.get_size_inches()
    assert 1.5 < height < 24
    assert 2.5 < width < 24
    cell = axes.get_window_extent()
    assert cell.width / S == pytest.approx(cell.height / T)  # the cells are squares
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels(), bar.yaxis.label]:
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def test_a_picture_of_attention_says_what_it_shows_in_readable_tokens(drawn):
    source = ["d&apos;", "&quot;x", "&amp;lt;", "&"]
    figure = drawn(attention_map, np.eye(1, 4), source, ["&#91;"], "layer 0, head 0 of it all")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["d'", '"x', "&lt;", "&"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["["]
    assert axes.get_xlabel() == "layer 0, head 0 of it all"
    below = axes.xaxis.label.get_window_extent()
    assert below.y1 < axes.get_window_extent().y0
    assert below.y0 >= 0
    assert below.x1 <= figure.bbox.x1


def test_one_measurement_is_a_mark(drawn):
    records = [
        {"step": 10, "loss": 3.0, "seconds": 1.0},
        {"step": 12, "validation_loss": 2.5, "seconds": 1.2},
    ]
    for line in drawn(loss_curve, records).axes[0].lines:
        assert line.get_marker() == "o"
    lines = drawn(loss_curves, {"a": records[1:], "b": records[:1]}).axes[0].lines
    assert [line.get_marker() for line in lines] == ["o", "o"]


def test_the_legend_says_what_the_losses_hold(drawn):
    for extra, training, validation in (
        ("", "training", "best 2.250"),
        ("dropout", "training (with dropout)", "without it; best 2.250"),
        ("a and b", "training (with a and b)", "without them; best 2.250"),
    ):
        names = legend(drawn(loss_curve, RECORDS, "token", extra))
        assert names == [training, f"validation ({validation})"]


def test_a_run_without_validation_is_compared_by_its_training_loss(drawn):
    figure = drawn(loss_curves, {"a": RECORDS, "vectors": [RECORDS[0]]})
    assert legend(figure) == ["a (best 2.250)", "vectors, training (3.000)"]
