"""The passages of a text that occur in a run's training text, for a look at the text."""

from dataclasses import replace

import numpy as np

from minillm.errors import InputError
from minillm.look.inside import Inside, Source
from minillm.models.suffix_array import UnboundedNGram
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
    for found in UnboundedNGram(training).passages(ids, MOST):
        at, end = found.position, found.position + found.end - found.start
        ranges = (max(0, at - around), at), (at, end), (end, end + around)
        before, passage, after = (
            vocabulary.decode(training[slice(*part)].tolist()) for part in ranges
        )
        if end - at >= least:
            sources.append(Source(before, passage, after, at, found.count))
    return replace(inside, sources=sources)
