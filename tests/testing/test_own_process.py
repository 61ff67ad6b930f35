"""A reader's code in a process of its own: what its messages hold, and how it may end."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from few import few

from minillm.errors import InputError
from minillm.testing import own_process
from minillm.testing.own_process import NoAnswerError, messages

VALUES = [
    None,
    True,
    3,
    -(2**70),
    0.1,
    float("inf"),
    "text \ud800",
    b"\x00\xff",
    ...,
    (1, [2, (3,)]),
    {(b"h", b"u"): 10, "nested": {"key": (1,)}},
]
ARRAYS = [
    np.arange(6.0).reshape(2, 3).T,
    np.zeros((0, 2), np.float32),
    np.array([True, False]),
    np.array(2 + 3j),
    np.float32(0.5),
]


def send():
    """Send the values of this page, and some that have no form of their own."""
    print("what the code prints")
    yield from VALUES
    yield from ARRAYS
    yield print, {1, 2}, 10**20000


def strange(case):
    """Do what a reader's code should not do."""
    yield 1
    if case == "raises":
        raise KeyError("k")
    if case == "input error":
        raise InputError("x: expected y")
    if case == "exit":
        sys.exit(3)
    if case == "os._exit":
        os._exit(4)
    if case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "garbage":
        own_process._channel.write(b"{\n")
    if case == "streams":
        sys.stdout.close()
        sys.stderr = None
        yield 2
    if case == "lively":
        own_process._BEAT = -1
        for _ in range(3):
            own_process.alive()
        yield 2
    if case == "sleeps":
        time.sleep(1000)


def test_what_arrives_is_what_was_sent(capfd):
    """Values and arrays; of another type, the repr."""
    received = list(messages(send))
    assert received[: len(VALUES)] == VALUES
    out, err = capfd.readouterr()
    assert (out, err) == ("", "what the code prints\n")
    arrays = received[len(VALUES) : -1]
    for sent, found in zip(ARRAYS, arrays, strict=True):
        np.testing.assert_array_equal(found, sent)
        assert found.dtype == sent.dtype
    arrays[0][0, 0] = 1  # not read-only
    assert [*map(repr, received[-1])] == ["<built-in function print>", "{1, 2}", "<int>"]


@pytest.mark.parametrize("case", ["streams", "lively"])
def test_streams_and_signs_of_life_are_no_messages(case):
    assert list(messages(strange, case)) == [1, 2]


@pytest.mark.parametrize(
    ("case", "error", "text"),
    few(
        [
            ("raises", NoAnswerError, "the code raised KeyError: 'k'"),
            ("input error", InputError, "x: expected y"),
            ("exit", NoAnswerError, "the code raised SystemExit: 3"),
            ("os._exit", NoAnswerError, r"the code ended its process \(exit status 4\)"),
            ("killed", NoAnswerError, r"the code ended its process \(signal SIGKILL\)"),
            ("garbage", NoAnswerError, r"the code ended its process \(exit status 0\)"),
        ],
        kept=2,
    ),
)
def test_the_way_in_which_the_code_ends_is_told(case, error, text):
    received = []
    with pytest.raises(error, match=text):
        received.extend(messages(strange, case))


@pytest.mark.deep
def test_code_that_is_silent_for_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(own_process, "SECONDS", 2.0)
    with pytest.raises(NoAnswerError, match="no answer after 2 seconds: an endless loop"):
        list(messages(strange, "sleeps"))
