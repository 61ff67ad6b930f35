"""Entries of files that other programs wrote: what is refused, and by which message."""

import pickle

import numpy as np
import pytest

from minillm.data.entries import Entries
from minillm.errors import MOST_REASONS, InputError, Reasons

ENTRIES = Entries(
    "config.json",
    {
        "text": "a",
        "size": 3,
        "zero": 0,
        "flag": True,
        "number": 2,
        "huge": 10**90,
        "array": np.ones(2),
    },
)


def test_entries_of_the_right_type_are_returned():
    assert (ENTRIES.text("text"), ENTRIES.text("none", "b")) == ("a", "b")
    assert (ENTRIES.size("size"), ENTRIES.size("size", 3)) == (3, 3)
    assert (ENTRIES.flag("flag", False), ENTRIES.flag("none", False)) == (True, False)
    assert (ENTRIES.number("number", 1.0), ENTRIES.number("none", 1.5)) == (2.0, 1.5)
    ENTRIES.check_all({"size": (1, 3), "none": (None, 1)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ENTRIES.text("size"), "size: expected a text, found 3"),
        (lambda: ENTRIES.text("none"), "none: expected a text, found None"),
        (lambda: ENTRIES.size("zero"), "zero: expected a whole number from 1 up, found 0"),
        (lambda: ENTRIES.size("size", 4), "size: expected a whole number from 4 up, found 3"),
        (lambda: ENTRIES.size("flag"), "flag: expected a whole number from 1 up, found True"),
        (lambda: ENTRIES.flag("zero", True), "zero: expected true or false, found 0"),
        (lambda: ENTRIES.number("text", 1.0), "text: expected a number, found 'a'"),
        (lambda: ENTRIES.number("flag", 1.0), "flag: expected a number, found True"),
        (lambda: ENTRIES.number("huge", 1.0), "huge: expected a number, found 1000"),
        (lambda: ENTRIES.check("size", (1, 2)), "size: expected 1 or 2, found 3"),
        (lambda: ENTRIES.check("size", (1,), "one"), "size: expected one, found 3"),
        (lambda: ENTRIES.check("array", (1,)), "array: expected 1, found array"),
    ],
)
def test_others_are_refused_by_name(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(f"config.json: {message}")


def test_all_wrong_entries_are_named_at_once():
    with pytest.raises(InputError) as caught:
        ENTRIES.check_all({"size": (1,), "text": ("a",), "zero": (1,), "none": (1,)})
    assert caught.value.args == (
        "config.json: size: expected 1, found 3",
        "config.json: zero: expected 1, found 0",
    )
    nested = Entries("file", {"a": {"type": "x", "b": 3}, "c": {"d": 4}})
    nested.check_nested({"a.type": ("x",), "a.b": (3,), "c.e": (None,)})
    with pytest.raises(InputError) as caught:
        nested.check_nested({"a.type": ("y",), "a.b": (1,), "c.d": (5,), "c.e": (6,)})
    assert caught.value.args == (  # what an object of another type has is not a reason
        "file: a.type: expected 'y', found 'x'",
        "file: c.d: expected 5, found 4",
        "file: c.e: expected 6, found None",
    )


def test_reasons_of_independent_checks_are_one_error():
    reasons = Reasons()
    for number in range(MOST_REASONS + 5):
        with reasons:
            if number != 1:
                raise InputError(f"{number}: wrong")
    with reasons:
        reasons.check()  # the same ones again
    with pytest.raises(InputError) as caught:
        reasons.check()
    assert caught.value.args[:2] == ("0: wrong", "2: wrong")
    assert len(caught.value.args) == MOST_REASONS + 4
    lines = str(caught.value).split("\n")
    assert lines == [*caught.value.args[:MOST_REASONS], "and 4 more reasons"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    Reasons().check()
    with pytest.raises(KeyError), reasons:  # another error is no reason
        raise KeyError(3)
