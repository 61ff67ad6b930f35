"""Lines of standard input or files, which are answered in chunks."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, islice
from typing import Any

from minillm.cli.process import say
from minillm.data.lines import read_lines
from minillm.errors import InputError, short
from minillm.unicode import check_encodable

CHUNK = 1024  # lines, so that lines of similar length can be batched

Chunk = tuple[Sequence[str], Sequence[str]]  # texts and their places

# Of texts and their places: an answer to each, or an InputError.
Answers = Callable[[Sequence[str], Sequence[str]], Iterable[Any]]


def print_answers(
    answers: Answers,
    show: Callable[[int, str, Any], Iterable[str]],
    chunks: Iterable[Chunk],
    noun: str = "lines",
    blank: bool = False,
) -> int:
    """Print the lines of ``show(number, text, answer)`` for each text: -> the exit status.

    A text that cannot be read is reported, and its answer is shown as None.  The status is then 2.
    A blank text has no answer either, unless it counts as a text: ``blank``.
    """
    number, status, empty = 0, 0, []
    for texts, places in chunks:
        filled = [blank or bool(text.strip()) for text in texts]
        found = iter(answers([*compress(texts, filled)], [*compress(places, filled)]))
        for text, place, has_answer in zip(texts, places, filled, strict=True):
            number += 1
            answer = next(found) if has_answer else None
            if isinstance(answer, InputError):
                say(str(answer))
                answer, status = None, 2
            elif not text.strip() and answer is None:
                empty.append(place)
            for line in show(number, text, answer):
                print(line, flush=True)
        next(found, None)  # a generator may have a note at its end
    if empty:
        say(f"{len(empty):,} of {number:,} {noun} are empty, first {empty[0]}")
    return status


def chunks(files: Sequence[str] = (), or_texts: bool = False) -> Iterator[Chunk]:
    """Lines of files, or of standard input, and their places; one at a time from a terminal.

    or_texts: an argument may be a text itself.  An InputError of reading comes after the chunk with
    the lines before it.
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
        elif failure is None:
            return
    raise failure


def separately(function: Answers) -> Answers:
    """A function that answers each text which ``function`` can read.

    ``function`` raises InputError, with the place, if it cannot read one of several texts.
    """

    def answers(texts: Sequence[str], places: Sequence[str]) -> list[Any]:
        try:
            return list(function(texts, places))
        except InputError as error:
            if len(texts) == 1 and str(error).startswith(places[0]):
                return [error]
            if len(texts) <= 1:
                raise  # the reason is not the text
        half = len(texts) // 2
        return answers(texts[:half], places[:half]) + answers(texts[half:], places[half:])

    return answers


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
