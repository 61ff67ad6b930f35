"""Lines of text that are answered in chunks."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.cli import lines
from minillm.cli.lines import chunks, separately
from minillm.errors import InputError


@given(st.lists(st.booleans(), max_size=40))
def test_a_text_that_cannot_be_read_is_reported_and_all_others_are_answered(good):
    """The whole list is tried first, so that texts are answered together where it is possible."""
    texts, calls = [str(number) for number in range(len(good))], []

    def answer(some, places):
        calls.append(len(some))
        for text, place in zip(some, places, strict=True):
            if not good[int(text)]:
                raise InputError(f"{place}: expected a good text")
        return [f"answer {text}" for text in some]

    found = separately(answer)(texts, [f"line {text}" for text in texts])
    assert [str(one) for one in found] == [
        f"answer {k}" if good[k] else f"line {k}: expected a good text" for k in range(len(good))
    ]
    bad = [one for one in found if isinstance(one, InputError)]
    assert len(bad) == good.count(False)
    assert calls[0] == len(good)
    assert len(calls) <= 1 + 12 * len(bad)


def test_an_error_of_the_model_is_raised_not_reported_for_each_text():
    def answer(some, places):
        raise InputError("the model's logits are NaN")

    with pytest.raises(InputError, match="logits are NaN"):
        separately(answer)([*"abc"], ["line"] * 3)


@pytest.mark.parametrize("before", [0, 1, 5])
def test_lines_before_one_that_cannot_be_read_come_first(monkeypatch, before):
    monkeypatch.setattr(lines, "CHUNK", 3)
    data = io.BytesIO(b"a\n" * before + b"\xff\n" + b"b\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    read = []

    def read_all():
        for texts, places in chunks():
            assert len(texts) == len(places) <= 3
            read.extend(texts)

    with pytest.raises(InputError, match=f"line {before + 1}: expected UTF-8"):
        read_all()
    assert read == ["a"] * before
