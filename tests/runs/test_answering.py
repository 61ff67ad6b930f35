"""Answers that match a pattern."""

import re

import pytest

from minillm.runs.kinds import language


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
    assert language.last_match(re.compile(pattern), text) == found
