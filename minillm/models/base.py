"""What all models share: their parameters, the checks of their sizes, and their losses."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import feed_forward

Config = TypeVar("Config")
State = dict[str, NDArray]
Gradients = dict[str, NDArray]


class Model(Generic[Config]):
    """A configuration, and parameters by name.

    A model defines ``new_parameters`` and a loss: ``model.loss(batch, rng)`` returns the
    loss and its backward, which returns gradients keyed as ``params``.
    """

    def __init__(
        self,
        config: Config,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError(
                    f"{type(self).__name__} needs rng, to draw fresh parameters, or params"
                )
            params = self.new_parameters(rng, dtype)
        self.params = params

    def new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        """Fresh parameters, drawn from rng."""
        raise NotImplementedError

    # Fine-tuning trains a part of a model: see minillm/training/fine_tuning.py.
    frozen: int = 0  # of the lowest layers, which need no backward; the embeddings are the first

    # Of a classifier: how often the loss of each class counts, (classes,); None: once.
    class_weights: NDArray | None = None

    def label_loss(
        self, logits: NDArray, labels: NDArray, smoothing: float = 0.0
    ) -> tuple[np.floating, Callable]:
        """The mean cross-entropy of the labels (B,) with the class weights, smoothed in training.

        logits (B, classes) -> loss in nats; ``backward(dloss=1.0)`` -> dlogits.
        """
        if self.class_weights is None:
            return ops.cross_entropy(logits, labels, None, smoothing)
        loss, backward = ops.cross_entropy(logits, labels, None, smoothing, self.class_weights)
        return loss, lambda dloss=1.0: backward(dloss)[0]

    def keep(self, gradients: Gradients) -> Gradients:
        """What a backward keeps of a layer's gradients as soon as it has them: here, all."""
        return gradients

    @property
    def dtype(self) -> np.dtype:
        """That of the parameters."""
        return next(iter(self.params.values())).dtype

    def __repr__(self) -> str:
        count = sum(p.size for p in self.params.values())
        return f"<{type(self).__name__} {sizes_of(self.config)}: {count:,} parameters>"


class NextTokenModel(Model[Config]):
    """A language model: it predicts each token of a text from those before it.

    A model of this kind defines

    - ``zero_state(B)``: the state before a text begins, for B texts;
    - ``forward(ids, state, rng)``: ids (B, T) -> (logits (B, T, V), state), backward;
    - ``read(ids, state)``: ids (B, T) -> logits (B, V) of what follows the last id, state.

    A text can be cut anywhere: what is read goes on from the state that is given.
    """

    def zero_state(self, B: int) -> State:
        """The state before a text begins, for B texts at a time."""
        raise NotImplementedError

    def forward(
        self, ids: NDArray[np.integer], state: State, rng: np.random.Generator | None = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """Logits of what follows each id, and the state after the last: see the class."""
        raise NotImplementedError

    def read(self, ids: NDArray[np.integer], state: State) -> tuple[NDArray, State]:
        """Logits of what follows the last id, and the state after it: see the class."""
        raise NotImplementedError

    def window_loss(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        state: State,
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[np.floating, State], Callable[[], Gradients]]:
        """The loss over one window of a text, and the state after it.

        inputs and targets (B, T) -> (mean cross-entropy in nats per token, state).  With
        rng, there is dropout.  ``backward()`` -> gradients keyed as ``params``.
        """
        (logits, new_state), logits_backward = self.forward(inputs, state, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets)

        def backward():
            return logits_backward(loss_backward())

        return (loss, new_state), backward

    def loss(
        self,
        batch: tuple[NDArray[np.integer], NDArray[np.integer]],
        rng: np.random.Generator | None = None,
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The loss of (inputs, targets), both (B, T), from the zero state."""
        inputs, targets = batch
        (loss, _), backward = self.window_loss(inputs, targets, self.zero_state(len(inputs)), rng)
        return loss, backward


# --- decoders: models that write a target, token by token -----------------------


def select(state: State, rows: NDArray[np.integer], parents: NDArray[np.integer]) -> State:
    """Of a decoder's state, some sources, and of each of these some hypotheses.

    Entries whose names begin with ``memory.`` are per source, (B, ...), and shared by its
    hypotheses; with ``shared.``, they belong to all at once; all others are per hypothesis,
    (B, K, ...), and one of these comes first.  rows (b,) in 0..B-1, parents
    (b, k) in 0..K-1 -> a state of b sources with k hypotheses each.
    """
    B = len(next(iter(state.values())))
    all_rows = np.array_equal(rows, np.arange(B))  # then the memory need not be copied
    selected = {}
    for name, entry in state.items():
        if name.startswith("shared."):
            selected[name] = entry
        elif not name.startswith("memory."):
            selected[name] = entry[rows[:, None], parents]
        else:
            selected[name] = entry if all_rows else entry[rows]
    return selected


def one_hypothesis(state: State) -> State:
    """A state of one row for each source, (B, ...), as that of one hypothesis each, (B, 1, ...)."""
    return {
        name: entry if name.startswith("memory.") else entry[:, None]
        for name, entry in state.items()
    }


def accumulate(total: Gradients, gradients: Gradients) -> None:
    """Adds gradients to those of other uses of the same weights."""
    for name, gradient in gradients.items():
        total[name] = total[name] + gradient if name in total else gradient


def teacher_forcing(targets: NDArray[np.integer], bos: int) -> NDArray[np.integer]:
    """What a decoder reads in training: BOS, then each target but the last, (B, T)."""
    inputs = np.empty_like(targets)
    inputs[:, 0] = bos
    inputs[:, 1:] = targets[:, :-1]
    return inputs


def target_loss(
    params: dict[str, NDArray],
    hs: NDArray,
    targets: NDArray[np.integer],
    lengths: NDArray[np.integer],
    label_smoothing: float = 0.0,
) -> tuple[np.floating, Callable[[], tuple[NDArray, Gradients]]]:
    """The mean cross-entropy of the targets under softmax(hs W + b), without the padding.

    hs (B, T, H), targets (B, T), lengths (B,) -> loss in nats per token.  The weights are
    ``output.W`` and ``output.b``.  ``backward()`` -> dhs, gradients.

    The output layer is wide, so that padding is left out before it.
    """
    real = np.arange(targets.shape[1]) < lengths[:, None]  # (B, T)
    logits, output_backward = feed_forward.layer(params, "output", hs[real])  # (tokens, V)
    loss, loss_backward = ops.cross_entropy(logits, targets[real], label_smoothing=label_smoothing)

    def backward():
        drows, gradients = output_backward(loss_backward())
        dhs = np.zeros_like(hs)
        dhs[real] = drows
        return dhs, gradients

    return loss, backward


# --- configurations --------------------------------------------------------------


def sizes_of(config: Any) -> str:
    """The sizes that make a model, as "lstm, 2 layers of 256, vocabulary 65"; rates are none."""
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    shown = [value for value in values.values() if isinstance(value, str)]
    layers = values.pop("layers", None)
    if layers is not None:
        width = values.pop("hidden" if "hidden" in values else "width")
        shown.append(f"{layers} layer{'s' * (layers != 1)} of {width}")
    names = {name: name.replace("_", " ") for name in values}
    shown += [f"{names[name]} {value:,}" for name, value in values.items() if type(value) is int]
    return ", ".join(shown + [names[name] for name, value in values.items() if value is True])


def check_at_least(config: Any, least: int, *names: str) -> None:
    """ValueError for a field below ``least``."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, found {getattr(config, name)}")


def check_one_of(config: Any, name: str, known: tuple[str, ...]) -> None:
    """ValueError for a field that is not among ``known``."""
    if getattr(config, name) not in known:
        raise ValueError(f"{name} must be one of {known}, found {getattr(config, name)!r}")


def check_below_one(config: Any, *names: str) -> None:
    """ValueError for a rate that does not lie in [0, 1)."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must lie in [0, 1), found {getattr(config, name)}")
