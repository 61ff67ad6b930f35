"""The shared parts of a look inside a run: the text that is looked at."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import Reader
from minillm.errors import InputError, short
from minillm.look.inside import MOST, Inside
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


def state_after(model: Any, ids: NDArray) -> Any:
    """The state of a language model after the beginning of a text."""
    reader = Reader(model)
    state = reader.zero_state(1)
    return reader.read(ids[None], state)[1] if len(ids) else state


def inside_of(run: Run, vocabulary: Vocabulary, shown: NDArray, **parts: Any) -> Inside:
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
    return Inside(**{**names, "ids": np.asarray(shown, np.int64), **parts})


def look_by(read: Callable[..., Mapping[str, Any]]) -> Callable[[Any, Run, str], Inside]:
    """The ``look`` of a kind whose models have a state: ``read(model, ids, state)`` measures.

    See :meth:`minillm.runs.run.Run.look`, and for ``read`` :mod:`minillm.look.measurements`.
    """

    def look(kind: Any, run: Run, text: str) -> Inside:
        before, ids, notes = text_ids(run.tokenizer, text)
        state = state_after(run.model, before)
        return inside_of(run, run.tokenizer, ids, notes=notes, **read(run.model, ids, state))

    return look
