"""Lines of standard input or files, in chunks."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from minillm.cli.process import say
from minillm.data.lines import read_lines
from minillm.errors import InputError, short
from minillm.unicode import check_encodable

Answer = TypeVar("Answer")

CHUNK = 1024  # lines, so that lines of similar length can be batched


def chunks(
    files: Sequence[str] = (), or_texts: bool = False
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Lines of files, or of standard input, and their places; one at a time from a terminal.

    The output for a chunk is flushed before the next one is read.  or_texts: an argument may be a
    text itself.  An InputError of reading comes after the chunk with the lines before it.
    """
    files = files or ["-"]
    lines = chain.from_iterable(
        lines_of_text(file) if or_texts and is_text(file) else read_lines(file) for file in files
    )
    typed = "-" in files and sys.stdin is not None and sys.stdin.isatty()
    failure = None
    while failure is None:
        chunk: list[tuple[str, str]] = []
        try:
            chunk.extend(islice(lines, 1 if typed else CHUNK))
        except InputError as error:
            failure = error
        if chunk:
            texts, places = zip(*chunk, strict=True)
            yield texts, places
            sys.stdout.flush()
        elif failure is None:
            return
    raise failure


def answered(
    function: Callable[[Sequence[str], Sequence[str]], Sequence[Answer]],
    files: Sequence[str] = (),
    or_texts: bool = False,
) -> Iterator[tuple[str, str, Answer | None]]:
    """Each line of :func:`chunks`, its place, and its answer, as :func:`answers` has it."""
    for texts, places in chunks(files, or_texts):
        yield from zip(texts, places, answers(function, texts, places), strict=True)


def answers(
    function: Callable[[Sequence[str], Sequence[str]], Sequence[Answer]],
    texts: Sequence[str],
    places: Sequence[str],
) -> list[Answer | None]:
    """The answers of a function to texts; None for a text that cannot be read, which is reported.

    ``function(texts, places)`` raises InputError, with the place, if it cannot read one of them.
    """
    try:
        return list(function(texts, places))
    except InputError as error:
        if len(texts) == 1 and str(error).startswith(places[0]):
            say(str(error))
            return [None]
        if len(texts) <= 1:
            raise  # the reason is not the text
    half = len(texts) // 2
    return [
        *answers(function, texts[:half], places[:half]),
        *answers(function, texts[half:], places[half:]),
    ]


def lines_of_text(text: str) -> Iterator[tuple[str, str]]:
    """Each line of a text, and the beginning of the text as its place."""
    check_encodable(text, short(text))
    for line in text.splitlines() or [text]:
        yield line, short(text)


def is_text(argument: str) -> bool:
    """Whether an argument is a text rather than a file: there is no such file, nor does it look so.

    A name of a file has a suffix or a slash, and no spaces.

    >>> [is_text(argument) for argument in ("a fine film", "fine", "fine.txt", "the/film", "-")]
    [True, True, False, False, False]
    """
    named = argument == "-" or re.fullmatch(r"\S*(/|\\|\.\w)\S*", argument)
    return not named and not os.path.exists(argument)
