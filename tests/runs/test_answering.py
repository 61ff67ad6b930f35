"""Measures of chat models: multiple choice, and answers that match a pattern."""

import json

import chatting
import numpy as np
import pytest

from minillm.data.choices import Choice, read_choices
from minillm.errors import InputError
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.softmax import log_softmax
from minillm.runs.kinds import _answering as answering

BEGINNING, ENDINGS = "the cat sat on the ", [" mat", " log", " dog and the cat"]


class FakeRun:
    """A run of random weights."""

    def __init__(self, context=64):
        config = LlamaConfig(len(chatting.TOKENIZER), context, 1, heads=2, width=8)
        self.model = Llama(config, np.random.default_rng(0), dtype=np.float64)
        for array in self.model.params.values():
            array *= 4
        self.tokenizer = chatting.TOKENIZER


def expected(run, beginning, ending):
    """The sum of the log-probabilities of the tokens after the common ones, one text at a time."""
    ids, before = (run.tokenizer.encode(text) for text in (beginning + ending, beginning))
    common = 0
    while common < len(before) and before[common] == ids[common]:
        common += 1
    log_p = log_softmax(run.model.forward(ids[None, :-1])[0][0])[range(len(ids) - 1), ids[1:]]
    return log_p[common - 1 :].sum()


@pytest.mark.parametrize("beginning", ["the cat sat on the ", "the cat sat on the", "the"])
def test_the_log_probability_of_an_ending(beginning):
    run = FakeRun()
    found = answering.ending_log_likelihoods(run, Choice(beginning, ENDINGS, 0))
    for ending, log_p in zip(ENDINGS, found, strict=True):
        np.testing.assert_allclose(log_p, expected(run, beginning, ending), rtol=1e-9)


def test_accuracy_and_its_standard_error(monkeypatch):
    values = iter([[-1.0, -2.0], [-3.0, -2.0], [-9.0, -2.0], [-4.0, -3.0]])
    monkeypatch.setattr(
        answering, "ending_log_likelihoods", lambda run, choice: np.array(next(values))
    )
    choices = [Choice("x", [" aaaaaaaa", " b"], right) for right in (0, 0, 0, 1)]
    results = answering.on_choices(FakeRun(), choices)
    assert results["accuracy"] == 0.5
    assert results["accuracy_per_byte"] == 0.75  # -4 / 9 is above -3 / 2
    assert results["accuracy_per_byte_error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert results["guessing"] == 0.5


def test_a_text_longer_than_the_context_keeps_its_end():
    run = FakeRun(context=8)
    choice = Choice("the cat sat on the mat and the dog sat on the log " * 3, ENDINGS, 0)
    assert np.isfinite(answering.ending_log_likelihoods(run, choice)).all()


def test_both_forms(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [
        {"ctx": "a", "endings": ["b ", "c"], "label": "1"},
        {"question": "Q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert list(read_choices(path)) == [
        Choice("a", [" b", " c"], 1),
        Choice("Question: Q\nAnswer:", [" x", " y"], 1),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"ctx": "a", "endings": ["b"], "label": 0}, "two endings or more"),
        ({"ctx": "a", "endings": ["b", "c"], "label": 2}, "expected one of ['0', '1'] as label"),
        ({"ctx": "a", "endings": ["b", ""], "label": 0}, "endings: expected texts"),
        ({"ctx": 1, "endings": ["b", "c"], "label": 0}, 'expected an object with "ctx"'),
        (
            {"question": "a", "choices": {"text": ["b"]}, "answerKey": 0},
            "choices: expected an object",
        ),
    ],
)
def test_bad_questions(row, message, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match="line 1") as error:
        list(read_choices(path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("[0-9]+", "12 and 345.", "345"),
        (r"answer is (\w+)", "the answer is no, the answer is yes", "yes"),
        ("x", "none", None),
        ("(?s).+", " a\nb ", "a\nb"),
    ],
)
def test_the_last_match(pattern, text, found):
    import re

    assert answering._last(re.compile(pattern), text) == found
