"""Texts, or lines of standard input, which are answered in chunks."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Any

from minillm.cli.process import say
from minillm.data.files import STANDARD_INPUT
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


def chunks(texts: Sequence[str] = ()) -> Iterator[Chunk]:
    """The lines of texts, or else of standard input, and their places."""
    for text in texts:
        check_encodable(text, short(text))
        lines = text.splitlines() or [text]
        yield lines, [short(text)] * len(lines)
    if not texts:
        yield from _chunks_of_input()


def _chunks_of_input() -> Iterator[Chunk]:
    """From a terminal, one line at a time.

    An InputError of reading comes after the chunk with the lines before it.
    """
    typed = sys.stdin is not None and sys.stdin.isatty()
    lines, failure = read_lines(STANDARD_INPUT), None
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
