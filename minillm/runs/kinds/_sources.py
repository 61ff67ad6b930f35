"""The passages of a text that occur in a run's training text, for a look at the text."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minillm.data.windows import Ids
from minillm.errors import InputError
from minillm.look.inside import Inside, Source
from minillm.runs.kinds._best_ngram import COUNTED
from minillm.runs.kinds._text_data import training_ids
from minillm.runs.run import Run

MOST = 5  # passages that are shown
LEAST = {"character": 8}  # tokens of a passage, by unit; otherwise 2
AROUND = {"character": 60}  # tokens of its neighbourhood on each side; otherwise 12


def with_sources(run: Run, text: str, inside: Inside) -> Inside:
    """The look with the longest passages of the text that occur in the training text.

    If the training text cannot be opened again, a note says why.
    """
    try:
        training = training_ids(run)[:COUNTED]
    except InputError as error:
        note = f"no passages of the training text are shown: {error}"
        return replace(inside, notes=[*inside.notes, note])
    vocabulary = run.tokenizer
    around, least = AROUND.get(vocabulary.unit, 12), LEAST.get(vocabulary.unit, 2)
    ids = np.asarray(vocabulary.encode(text, "TEXT"))
    sources = []
    for found in passages(training, ids, MOST):
        at, end = found.position, found.position + found.end - found.start
        ranges = (max(0, at - around), at), (at, end), (end, end + around)
        before, passage, after = (
            vocabulary.decode(training[slice(*part)].tolist()) for part in ranges
        )
        if end - at >= least:
            sources.append(Source(before, passage, after, at, found.times))
    return replace(inside, sources=sources)


class Passage(NamedTuple):
    """A part of one text, ``ids[start:end]``, that occurs in another."""

    start: int
    end: int
    position: int  # of the first occurrence
    times: int  # that it occurs


def passages(training: Ids, ids: Ids, most: int) -> list[Passage]:
    """The longest passages of a text that occur in the training text, without overlaps.

    At most ``most``, the longest first.  A token becomes a character, for Python's own search.
    """
    known, text = ("".join(map(chr, np.asarray(part).tolist())) for part in (training, ids))
    begins, start = [0], 0  # of the longest passage that ends before each position
    for end in range(1, len(text) + 1):
        while text[start:end] not in known:
            start += 1
        begins.append(start)
    free = np.ones(len(text), bool)
    found: list[Passage] = []
    for end in sorted(range(len(text) + 1), key=lambda end: begins[end] - end):
        start = begins[end]
        if len(found) < most and start < end and free[start:end].all():
            free[start:end] = False
            at = list(occurrences(known, text[start:end]))
            found.append(Passage(start, end, at[0], len(at)))
    return found


def occurrences(text: str, pattern: str) -> Iterator[int]:
    """Yield the positions of a pattern in a text, which may overlap.

    >>> list(occurrences("banana", "ana"))
    [1, 3]
    """
    at = text.find(pattern)
    while at >= 0:
        yield at
        at = text.find(pattern, at + 1)
