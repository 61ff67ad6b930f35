"""Entries of files that other programs wrote: what is refused, and by which message."""

import numpy as np
import pytest

from minillm.data.entries import Entries
from minillm.errors import InputError

VALUES = {"text": "a", "size": 3, "zero": 0, "flag": True, "number": 2, "huge": 10**90}
ENTRIES = Entries("config.json", VALUES | {"array": np.ones(2)})


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
        (lambda: ENTRIES.size("zero"), "zero: expected a whole number from 1 up, found 0"),
        (lambda: ENTRIES.size("flag"), "flag: expected a whole number from 1 up, found True"),
        (lambda: ENTRIES.flag("zero", True), "zero: expected true or false, found 0"),
        (lambda: ENTRIES.number("flag", 1.0), "flag: expected a number, found True"),
        (lambda: ENTRIES.number("huge", 1.0), "huge: expected a number, found 1000"),
        (lambda: ENTRIES.check("size", (1, 2)), "size: expected 1 or 2, found 3"),
        (lambda: ENTRIES.check("array", (1,)), "array: expected 1, found array"),
        (lambda: ENTRIES.check_all({"zero": (0,), "size": (1,)}), "size: expected 1, found 3"),
    ],
)
def test_others_are_refused_by_name(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(f"config.json: {message}")
