"""Adapting a language model to another domain: what it gains there, and what it forgets.

A model that was trained on general text and then on that of a domain, with ``--init``, predicts
the domain better, and the general text worse: nothing keeps what is not trained any more.  Two
things are done about it here.

- The report: the perplexity on the held-out parts of both texts, before and after.
- ``--replay SHARE``: so much of what is trained on is general text, from the run of ``--init``.  In
  turns, a piece of the domain's text is followed by a piece of the general one.

Sources: McCloskey and Cohen (1989), "Catastrophic interference in connectionist networks"; Robins
(1995), "Catastrophic forgetting, rehearsal and pseudorehearsal", for the remedy.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kind import Evaluation
from minillm.runs.shards import evaluation_text_or_shards, open_text_or_shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from minillm.data.windows import Ids
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run

PIECE = 4096  # tokens of the domain between two pieces of general text
MEASURED = 50_000  # tokens of each held-out part, at most


def with_replay(training: "Ids", settings: Any, data: Mapping[str, Any]) -> "Ids":
    """The text to train on, mixed with that of the run of ``--init`` as ``--replay`` says.

    InputError if that text cannot be read again, or the new one does not fit in memory.
    """
    from minillm.data import Shards
    from minillm.runs.initial import initial_run
    from minillm.runs.text import check_kept

    share, general = getattr(settings, "replay", 0.0), initial_run(data)
    if not share or general is None:
        return training
    if isinstance(training, Shards):
        raise InputError("--replay: expected FILEs of text to adapt to, found shards")
    check_kept(general)
    _, old, _ = open_text_or_shards(general.settings, dict(general.data))
    return in_turns(training[:], old, share)


def in_turns(new: "NDArray", old: "Ids", share: float) -> "NDArray":
    """Pieces of ``new``, all of it, each followed by one of ``old``: ``share`` of the whole is old.

    They are spread evenly over ``old``, and overlap if that is too short; none is longer than it.

    >>> import numpy as np
    >>> in_turns(np.arange(6), np.arange(10, 20), 0.25).tolist()
    [0, 1, 2, 3, 4, 5, 10, 11]
    """
    import numpy as np

    count = max(1, round(len(new) / PIECE))
    length = min(len(old), round(share / (1 - share) * len(new) / count))
    starts = np.linspace(0, len(old) - length, count).astype(int).tolist()
    pieces = []
    for piece, start in zip(np.array_split(new, count), starts, strict=True):
        pieces += [piece, np.asarray(old[start : start + length], new.dtype)]
    return np.concatenate(pieces)


def gained_and_forgotten(folder: "RunFolder", init: str) -> Iterator[str]:
    """A line for each of the two texts: the perplexity before and after."""
    from minillm.runs.run import load

    before, after = load(init), load(folder.path)
    for word, owner in (("gained", after), ("forgotten", before)):
        try:
            name, ids = evaluation_text_or_shards(owner, Evaluation())
        except InputError as error:
            yield f"{word}: not measured: {error}"
            continue
        was, now = (perplexity_on(run, ids) for run in (before, after))
        if word == "forgotten" and now < was:
            word = "not forgotten"
        yield f"{word}: perplexity on {name}: {was:.4g} before, {now:.4g} after"


def perplexity_on(run: "Run", ids: "Ids") -> float:
    """The perplexity of a run's model on tokens that are spread over a text."""
    from minillm.metrics import perplexity
    from minillm.training.context import stretches

    kind: Any = run.kind
    return perplexity(kind.nats_on(run, stretches(ids, MEASURED))[0])
