"""Milestones: whole models on a reader's own functions, right, wrong, slow, empty and missing."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from minillm.cli import exercises as command
from minillm.cli import main
from minillm.exercises import desk, exercises, milestone_run
from minillm.exercises.answering import run_file
from minillm.exercises.milestones import MILESTONES

from .answers import ANSWERS

RIGHT = {answer.exercise: answer for answer in ANSWERS}
LOOP = """y = np.zeros((len(x), len(b)))
    for r in range(len(x)):
        for o in range(len(b)):
            y[r, o] = b[o] + sum(x[r, i] * W[i, o] for i in range(len(W)))
"""


@pytest.fixture
def walk(tmp_path, monkeypatch, capsys):
    """Run a milestone for three steps on right answers, some with another text or none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(milestone_run, "SIZES", ((2, 9, 8), (2, 10, 16)))
    monkeypatch.setattr(milestone_run, "MOST", 3)
    monkeypatch.setattr(milestone_run, "ENOUGH", 0)
    monkeypatch.setattr(milestone_run, "WRITTEN", 5)
    monkeypatch.setattr(  # in this process, which is faster
        milestone_run, "reports_of_file", lambda e, path: run_file(e.chapter, e.name, str(path))
    )

    def run(name, *, without=(), **edits):
        for piece in {*MILESTONES[name].pieces} - {*without}:
            exercise = exercises()[piece]
            path = desk.write(exercise, Path("exercises"))
            source = RIGHT[piece].filled(exercise.source)
            if edit := edits.get(exercise.function):
                assert edit[0] in source
                source = source.replace(*edit)
            path.write_text(path.read_text().replace(exercise.source, source))
        status = main(["exercise", name])
        return status, capsys.readouterr().out

    return run


def solved(name):
    path = Path("exercises/progress.json")
    return path.exists() and json.loads(path.read_text())[name]["solved"]


@pytest.mark.parametrize("name", MILESTONES)
def test_right_pieces_have_our_losses_and_count(walk, capsys, name):
    status, out = walk(name)
    assert status == 0
    assert "The gradient of the whole model is right" in out
    assert out.count("  yours\n") == len(MILESTONES[name].pieces)
    losses = re.findall(r"step +\d  loss (\S+)  ours (\S+)", out)
    assert [yours for yours, _ in losses] == [ours for _, ours in losses]
    assert len({yours for yours, _ in losses}) == 3
    assert "smaller" not in out
    assert re.search(r"It writes:\n\n[^\0]{5}\n\n\d+ of \d+ pieces are yours: passed\.\n$", out)
    assert solved(name)
    assert main(["exercise"]) == 0
    listed = capsys.readouterr().out
    assert f"[x] {name} " in listed
    assert listed.endswith(f"1 of {len(exercises()) + len(MILESTONES)} solved\n")


@pytest.mark.parametrize(
    ("edits", "messages"),
    [
        (
            {"lstm_cell": ("dc_prev = dc * f", "dc_prev = dc * i")},
            [
                "lstm_cell.py, line 31: the gradient dc_prev is wrong at 4 of 4 coordinates",
                "The whole model: the gradient with respect to E is wrong along",
            ],
        ),
        ({"linear": ("dy @ W.T", "dy @ W")},
         ["linear.py, line 19, dx = dy @ W: ValueError", "the shapes are dy (4, 2), W (3, 2)"]),
        ({"linear": ("sum(axis=0)", "sum(axis=0, keepdims=True)")},
         ["linear.py, line 21: the gradient db has shape (1, 2), expected (2,)"]),
        ({"adam": ("    return m", "    m = 2 * m\n    return m")},
         ["adam.py, line 19: m is wrong at"]),
        ({"schedule": ("    return eta", "    return [eta][k - 2 if steps == 3 else 0]")},
         ["schedule.py, line 23, return [eta][k - 2 if steps == 3 else 0]: IndexError"]),
    ],
)  # fmt: skip
def test_a_wrong_piece_is_named_with_its_line(walk, edits, messages):
    status, out = walk("your-lstm", **edits)
    assert status == 1
    for message in messages:
        assert message in out
    assert "It writes" not in out
    assert not solved("your-lstm")


def test_a_slow_piece_gets_a_smaller_model(walk, monkeypatch):
    monkeypatch.setattr(milestone_run, "ENOUGH", 10**9)  # as where steps take long
    status, out = walk("your-lstm", linear=("y = x @ W + b\n", LOOP))
    assert status == 0
    assert re.search(r"^linear is [\d,.]+ times slower than ours\.$", out, re.M)
    assert "the model is smaller: its width is 8 instead of 16" in out
    assert "steps on 2 texts of 9 characters" in out


def test_ours_replace_empty_and_missing_pieces(walk):
    cell = RIGHT["lstm-cell"].right[0]
    status, out = walk("your-lstm", without=["adam", "linear"], lstm_cell=(cell, "..."))
    assert status == 0
    assert re.search(r"adam +ours: \S*adam.py does not exist\n", out)
    assert re.search(r"lstm-cell +ours: the hole of \S*lstm_cell.py is not filled\n", out)
    assert out.endswith("4 of 7 pieces are yours: it counts when all are.\n")
    assert not solved("your-lstm")


def test_without_pieces_there_is_nothing_to_run(walk):
    pieces = MILESTONES["your-gpt"].pieces
    status, out = walk("your-gpt", without=pieces)
    assert status == 1
    assert out.count("does not exist") == len(pieces)
    assert out.endswith("No piece is yours, so there is nothing to run yet.\n")


def test_after_ctrl_c_it_prints_what_it_has_reached(walk, monkeypatch):
    monkeypatch.setattr(command, "first_interrupt_noted", lambda: nullcontext([2]))
    status, out = walk("your-ngram")
    assert status == 130
    assert "step     1  loss" in out
    assert "step     2  loss" not in out
    assert "It writes" in out
    assert not solved("your-ngram")
