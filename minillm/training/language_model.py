"""The tasks of language models: windows of a text, with the state before them or without.

A recurrent model (:class:`LanguageModelTask`) reads on from where its last window ended.  A causal
Transformer (:class:`WindowTask`) reads each window from nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import overlapping_windows, windows_once
from minillm.data.windows import Ids, RandomWindows, Windows
from minillm.errors import InputError
from minillm.layers.stack import forgetful
from minillm.layers.types import Backward, State
from minillm.training.checkpoints import copy_arrays
from minillm.training.parallel import all_rows, own_generator, own_rows
from minillm.training.task import Task

LOGITS_AT_ONCE = 1 << 25  # the most numbers in a batch of validation

_COSTS = {"E": 0, "A_log": 50}  # multiply-adds for a number of these arrays, where others take 1


class WindowTask(Task):
    """A model, and the windows that it is trained on, which it reads from nothing.

    Validation reads the held-out text, or ``validation_tokens`` of it, always the same: ten
    stretches spread evenly over it, because one part of a text may be easier than the whole.
    """

    def __init__(
        self,
        model: Any,
        windows: RandomWindows | Windows,
        validation_ids: Ids,
        batch: int,
        validation_tokens: int | None = None,
    ):
        if len(validation_ids) < 2:
            raise InputError(
                f"the validation text: expected 2 tokens or more, found {len(validation_ids)}"
            )
        if validation_tokens is not None:
            validation_ids = stretches(validation_ids, validation_tokens + 1)
        super().__init__(windows)
        self.model, self.batch = model, batch
        self.validation_ids = validation_ids[:]
        self.own_rows, self.counts = own_rows(batch)

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of the next windows in nats per token, its backward, and the tokens."""
        inputs, targets = (ids[self.own_rows] for ids in self.batches.next())
        loss, backward = self.loss_of(inputs, targets, own_generator(rng))
        return loss, backward, self.counts * targets.size

    def loss_of(
        self, inputs: Ids, targets: Ids, rng: np.random.Generator
    ) -> tuple[np.floating, Backward]:
        """The loss of windows (B, T), and its backward."""
        return self.model.loss((inputs, targets), rng)

    def step_cost(self) -> tuple[float, float]:
        """The least bytes that a step keeps, and about its multiply-adds.

        A block of a Transformer keeps some 16 D floats per token (:mod:`minillm.training.packed`);
        half of them are counted, to be on the safe side.  Other layers keep at least 2 D.

        A weight takes one multiply-add per token in the forward pass and two in the backward pass.
        So do the 2 D numbers of each pair of tokens in attention, D for the score and D for the
        value; a causal mask leaves half of the pairs.  A table's row is only read, unless the table
        is also the output; a state of a scan, with its exponential, takes the time of some 50.
        """
        config, T = self.model.config, self.batches.window
        tokens, blocks = len(range(self.batch)[self.own_rows]) * T, hasattr(config, "heads")
        D = getattr(config, "width", 0) or getattr(config, "hidden", 0)
        DL = D * getattr(config, "layers", 1)
        params = self.model.params
        tied = "embedding.E" in params and "output.W" not in params
        weights = params["embedding.E"].size if tied else 0
        for name, p in params.items():
            weights += (p.ndim > 1) * p.size * _COSTS.get(name.rpartition(".")[2], 1)
        return 4.0 * tokens * (8 if blocks else 2) * DL, 3.0 * tokens * (weights + blocks * T * DL)

    def validation_loss(self) -> float:
        """The mean loss over the held-out text, in nats per token."""
        losses = token_losses(self.model, self.validation_ids, self.batch, self.batches.window)
        return float(losses.mean())


class LanguageModelTask(WindowTask):
    """Truncated backpropagation through time over B parallel streams of a text.

    The state at the end of each window is the initial state of the next; no gradient flows
    between them.  Source: Mikolov et al. (2010); Williams and Peng (1990).
    """

    def __init__(
        self,
        model: Any,
        training_ids: Ids,
        validation_ids: Ids,
        batch: int,
        window: int,
    ):
        super().__init__(model, Windows(training_ids, batch, window), validation_ids, batch)
        self.carried_state = self._own(model.zero_state(batch))  # of this rank's rows

    def loss_of(
        self, inputs: Ids, targets: Ids, rng: np.random.Generator
    ) -> tuple[np.floating, Backward]:
        """The loss of windows (B, T) after the carried state, and its backward."""
        (loss, self.carried_state), backward = self.model.window_loss(
            inputs, targets, self.carried_state, rng
        )
        return loss, backward

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The carried state, and the position in the text."""
        return all_rows(self.carried_state, self.batch), super().state()[1]

    def restore(self, arrays: Mapping[str, np.ndarray], values: dict) -> None:
        """Restore a result of :meth:`state`."""
        super().restore(arrays, values)
        state = self.model.zero_state(self.batch)
        copy_arrays(arrays, state, "the carried state")
        V = self.model.config.vocabulary
        for name, array in state.items():
            if array.dtype.kind == "i" and array.size and not (0 <= array.min() <= array.max() < V):
                raise ValueError(
                    f"{name}: expected ids from 0 to {V - 1}, found {array.min()} to {array.max()}"
                )
        self.carried_state = self._own(state)

    def _own(self, state: State) -> State:
        return {name: np.ascontiguousarray(rows[self.own_rows]) for name, rows in state.items()}


def stretches(ids: Ids, tokens: int, count: int = 10) -> np.ndarray:
    """``tokens`` tokens of a text: ``count`` joined stretches, spread evenly over it.

    >>> stretches(np.arange(100), 6, count=3).tolist()
    [0, 1, 49, 50, 98, 99]
    """
    length = -(-tokens // count)
    if len(ids) <= tokens or length < 2:
        return np.asarray(ids[:tokens])
    starts = np.linspace(0, len(ids) - length, count).astype(int)
    return np.concatenate([ids[start : start + length] for start in starts])[:tokens]


def token_losses(
    model: Any, ids: Ids, batch: int, window: int | None = None
) -> NDArray[np.float64]:
    """The loss of each token of a text after the first, in nats, in the order of the text.

    A recurrent model reads ``batch`` stretches of it side by side, ``window`` tokens at a time.

    A Transformer reads at most ``batch`` windows at a time, which overlap by half.  After the first
    window, each token is therefore predicted from half a context or more.  No block keeps more than
    its input, because nothing is differentiated.
    """
    if not hasattr(model, "zero_state"):
        losses = [
            -ops.log_likelihood(logits, targets)[0]
            for logits, targets in _logits_in_context(model, ids, batch)
        ]
        return np.concatenate(losses).astype(np.float64)
    assert window is not None
    losses, state = [], None
    for inputs, targets in windows_once(ids[:], batch, window):
        if state is None:
            state = model.zero_state(len(inputs))
        (logits, state), _ = model.forward(inputs, state)
        losses.append(-ops.log_likelihood(logits, targets)[0])
    streams = np.concatenate(losses, axis=1)  # each reads on where the one before it ends
    return streams.ravel().astype(np.float64)


def _logits_in_context(
    model: Any, ids: Ids, batch: int
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.integer]]]:
    """Yield logits (n, V) and their targets (n,), in the order of the text."""
    hidden = forgetful(model).hidden
    context, vocabulary = model.config.context, model.config.vocabulary
    rows = max(1, min(batch, LOGITS_AT_ONCE // (context * vocabulary)))
    at_once = max(1, LOGITS_AT_ONCE // vocabulary)
    for inputs, targets, mask in overlapping_windows(ids, rows, context):
        y, expected = hidden(inputs)[0][mask], targets[mask]
        for first in range(0, len(y), at_once):
            logits, _ = model.predict(y[first : first + at_once])
            yield logits, expected[first : first + at_once]
