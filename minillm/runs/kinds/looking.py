"""The shared parts of a look inside a run: the text that is looked at."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import Reader
from minillm.errors import InputError, short
from minillm.look.trace import MOST, Trace
from minillm.models.sizes import sizes_in_words
from minillm.runs.run import Run
from minillm.text import Vocabulary, unit_name


def text_ids(vocabulary: Vocabulary, text: str, most: int = MOST) -> tuple[NDArray, NDArray, list]:
    """The ids of a text that are not shown, the ids that are, and notes.

    At most ``most`` are shown, the last ones.  InputError for a text without a token.
    """
    ids = vocabulary.encode(text, "TEXT")
    if not len(ids):
        raise InputError(f"TEXT: expected one token or more, found none in {short(text)}")
    notes, cut, unit = [], max(0, len(ids) - most), unit_name(vocabulary)
    if cut:
        notes.append(f"the last {most} of {len(ids):,} {unit}s are shown")
    unknown = 0 if vocabulary.unknown is None else int((ids == vocabulary.unknown).sum())
    if unknown:
        notes.append(f"{unknown} {unit}{'s are' if unknown > 1 else ' is'} unknown to the model")
    return ids[:cut], ids[cut:], notes


def trace_of(run: Run, vocabulary: Vocabulary, shown: NDArray, **parts: Any) -> Trace:
    """The measurements of a run, with names for the page."""

    def label(number: int) -> str:
        return vocabulary.show(number) if number < len(vocabulary) else f"[PAD{number}]"

    names = {
        "model": f"{run.kind.name}: {sizes_in_words(run.model.config)}",
        "name": run.path.name,
        "unit": unit_name(vocabulary),
        "tokens": [vocabulary.show(int(token)) for token in shown],
        "label": label,
    }
    return Trace(**{**names, "ids": np.asarray(shown, np.int64), **parts})


def inside_by(
    read: Callable[..., Mapping[str, Any]], run: Run, text: str, other: Any = None, **names: str
) -> Trace:
    """A look at a model that reads on from a state: the run's own, or another one.

    ``read(model, ids, state)`` measures: see :mod:`minillm.look.measurements`.
    """
    before, ids, notes = text_ids(run.tokenizer, text)
    model = run.model if other is None else other
    reader = Reader(model)
    state = reader.zero_state(1)
    if len(before):
        state = reader.read(before[None], state)[1]
    return trace_of(run, run.tokenizer, ids, notes=notes, **names, **read(model, ids, state))
