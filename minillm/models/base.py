"""Model: a configuration and parameters by name; and the losses that several models share."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import stack
from minillm.layers.fresh import ParamSpec, Shape, draw_all
from minillm.layers.gradients import under
from minillm.layers.types import Backward, Ids, Params, Rng, State
from minillm.models.sizes import sizes_in_words

Config = TypeVar("Config")


class Model(Generic[Config]):
    """A configuration, and parameters by name.

    A model defines ``new_parameters`` and a loss.  ``model.loss(batch, rng)`` returns the loss
    and its backward; with rng there is dropout.  ``backward()`` returns gradients keyed as
    ``params``; a weight that is not trained may have none
    (:class:`minillm.layers.gradients.PartlyTrained`).
    """

    def __init__(
        self,
        config: Config,
        rng: Rng = None,
        *,
        params: Params | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Draw fresh parameters from rng, or use ``params``.

        ValueError if a name in ``params`` is missing or unknown, or has another shape.
        """
        self.config = config
        fresh = self.new_parameters(config)
        if params is not None:
            check_shapes(params, {name: declared.shape for name, declared in fresh.items()})
        elif rng is None:
            raise TypeError(f"{type(self).__name__} needs rng, to draw fresh parameters, or params")
        else:
            params = draw_all(fresh, rng, dtype)
        self.params = params

    @staticmethod
    def new_parameters(config: Any) -> dict[str, ParamSpec]:
        """Declare the parameters, in the order in which they are drawn."""
        raise NotImplementedError

    @classmethod
    def shapes(cls, config: Config) -> dict[str, Shape]:
        """The shapes of the parameters of a model of these sizes."""
        return {name: fresh.shape for name, fresh in cls.new_parameters(config).items()}

    def part(self, Part: type["Model"], config: Any, prefix: str = "") -> Any:
        """An inner model that shares the arrays whose names begin with the prefix."""
        part = Part.__new__(Part)
        part.config, part.params = config, under(self.params, prefix)
        return part

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the parameters."""
        return next(iter(self.params.values())).dtype

    def __repr__(self) -> str:
        count = sum(p.size for p in self.params.values())
        return f"<{type(self).__name__} {sizes_in_words(self.config)}: {count:,} parameters>"


def check_shapes(params: Params, expected: Mapping[str, Shape]) -> None:
    """ValueError with the name of a parameter that is missing, unknown, or of another shape."""
    for name, shape in expected.items():
        if name not in params:
            raise ValueError(f"{name}: expected shape {shape}, found no such parameter")
        if params[name].shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {params[name].shape}")
    if unknown := params.keys() - expected.keys():
        raise ValueError(f"{min(unknown)}: expected no parameter of this name, found one")


class StackModel(Model[Config]):
    """A stack of blocks that predicts the next token.

    A model of this kind defines ``embed``, ``block`` and ``predict``, which
    :mod:`minillm.layers.stack` calls in turn.
    """

    below: tuple[str, ...] = ("embedding",)  # the prefixes of the weights below all blocks

    embed: Callable[..., tuple[NDArray, Backward]]
    block: Callable[..., tuple[NDArray, Callable]]
    predict: Callable[[NDArray], tuple[NDArray, Callable]]
    hidden: Callable[..., tuple[NDArray, Backward]]
    forward: Callable[..., tuple[NDArray, Backward]]
    loss: Callable[..., tuple[np.floating, Backward]]

    mask = stack.mask


class CausalModel(StackModel[Config]):
    """A stack whose past is only the keys and values of its attention, as in a cache.

    The users of a model, such as a reader with a cache, need to know no more of it than stands
    here.
    """

    # The activation of a block in the form that kernels know; None: the block has another form.
    activation: Any = None
    lookback = 0  # tokens before the first one that ``embed`` reads: its argument ``before``
    # (ids, positions) -> the tables whose rows ``embed`` adds; None: ``embed`` does more.
    tables: Any = None

    def __init_subclass__(cls) -> None:
        """A class with a block or an embedding of its own says anew what these are."""
        if "block" in vars(cls) and "activation" not in vars(cls):
            cls.activation = None
        if "embed" in vars(cls) and "tables" not in vars(cls):
            cls.tables = None

    def rotation(self, layer: int) -> Any:
        """The base of a layer's angles and their scaling; None: it rotates nothing."""
        return None


class LabelModel(Model[Config]):
    """A classifier.

    A model of this kind defines ``forward(*inputs, rng)`` -> logits (B, classes), backward, or
    (B, N, classes) for N labels; ``backward(dlogits)`` -> gradients keyed as ``params``.
    """

    forward: Callable[..., Any]

    def loss(
        self, batch: tuple[NDArray, ...], rng: Rng = None, class_weights: NDArray | None = None
    ) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of (*inputs, labels) in nats, each weighted by its class.

        With rng it is the loss to train on, with dropout, and with label smoothing if the
        configuration has a rate of it.
        """
        *inputs, labels = batch
        logits, logits_backward = self.forward(*inputs, rng=rng)
        smoothing = 0.0 if rng is None else getattr(self.config, "label_smoothing", 0.0)
        loss, loss_backward = ops.cross_entropy(logits, labels, None, smoothing, class_weights)
        return loss, lambda: logits_backward(loss_backward())


class WindowModel(Model[Config]):
    """A language model that reads a text in windows, and carries a state from one to the next.

    A model of this kind defines ``zero_state(B)``, and ``forward(ids, state, rng)`` ->
    (logits (B, T, V), state), backward; ``backward(dlogits)`` -> gradients keyed as ``params``.
    """

    zero_state: Callable[[int], State]
    forward: Callable[..., Any]

    def window_loss(
        self, inputs: Ids, targets: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[np.floating, State], Backward]:
        """The loss of one window of a text, and the state after it.

        inputs and targets (B, T) -> (mean cross-entropy in nats per token, state).  With rng
        there is dropout.  ``backward()`` -> gradients keyed as ``params``.
        """
        (logits, new_state), logits_backward = self.forward(inputs, state, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets)
        return (loss, new_state), lambda: logits_backward(loss_backward())

    def loss(self, batch: tuple[Ids, Ids], rng: Rng = None) -> tuple[np.floating, Backward]:
        """The loss of (inputs, targets), both (B, T), from the zero state."""
        inputs, targets = batch
        (loss, _), backward = self.window_loss(inputs, targets, self.zero_state(len(inputs)), rng)
        return loss, backward
