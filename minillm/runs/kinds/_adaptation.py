"""Adapting a language model to another domain, and measuring how much it forgets.

After training on general text and then, with ``--init``, on the text of a domain, a model predicts
the domain better and the general text worse.

- The report has the perplexity on the held-out parts of both texts, before and after.
- ``--replay SHARE`` mixes the text of the run of ``--init`` into the training text.
  Pieces of the two texts alternate.

Sources: McCloskey and Cohen (1989), "Catastrophic interference in connectionist networks"; Robins
(1995), "Catastrophic forgetting, rehearsal and pseudorehearsal", for the remedy.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data import Shards
from minillm.data.windows import Ids
from minillm.errors import InputError
from minillm.metrics import perplexity
from minillm.runs.kind import FINE_TUNING_RATE_FACTOR, Job
from minillm.runs.kinds._text_data import evaluation_ids, training_ids
from minillm.runs.load import load
from minillm.training.language_model import stretches

PIECE = 4096  # tokens of the domain between two pieces of general text
MEASURED = 50_000  # the most tokens of each held-out part


def with_rate(settings: Any, job: Job, rate: float) -> Any:
    """The settings with a learning rate, by default ``rate``, or less with ``--init``."""
    if settings.learning_rate is not None:
        return settings
    gently = job.data.get("init") and not settings.lora_rank
    return replace(settings, learning_rate=(FINE_TUNING_RATE_FACTOR if gently else 1) * rate)


def with_replay(training: Ids, job: Job) -> Ids:
    """The training text; with ``--replay``, mixed with the text of the run of ``--init``.

    InputError if the old text cannot be read again, or the new one does not fit in memory.
    """
    share = getattr(job.settings, "replay", 0.0)
    if not share or job.initial is None:
        return training
    if isinstance(training, Shards):
        raise InputError("replay: expected FILEs of text to adapt to, found shards")
    return in_turns(training[:], training_ids(job.initial), share)


def in_turns(new: NDArray, old: Ids, share: float) -> NDArray:
    """All of ``new`` in pieces, each followed by a piece of ``old``, a share of the result.

    The pieces of ``old`` are spread evenly over it.  They overlap if it is too short.

    >>> in_turns(np.arange(6), np.arange(10, 20), 0.25).tolist()
    [0, 1, 2, 3, 4, 5, 10, 11]
    """
    count = max(1, round(len(new) / PIECE))
    length = min(len(old), round(share / (1 - share) * len(new) / count))
    starts = np.linspace(0, len(old) - length, count).astype(int).tolist()
    pieces = []
    for piece, start in zip(np.array_split(new, count), starts, strict=True):
        pieces += [piece, np.asarray(old[start : start + length], new.dtype)]
    return np.concatenate(pieces)


def gained_and_forgotten(job: Job) -> Iterator[str]:
    """Yield a line for each of the two texts: the perplexity before and after."""
    before, after = load(job.data["init"]), load(job.folder.path)
    kind: Any = after.kind
    for word, owner in (("gained", after), ("forgotten", before)):
        try:
            name, ids = evaluation_ids(owner)
        except InputError as error:
            yield f"{word}: not measured: {error}"
            continue
        some = stretches(ids, MEASURED)
        was, now = (perplexity(kind.nats_on(run, some)[0]) for run in (before, after))
        if word == "forgotten" and now < was:
            word = "not forgotten"
        yield f"{word}: perplexity on {name}: {was:.4g} before, {now:.4g} after"
