"""A subclass of ``torch.autograd.Function`` as an op."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from minillm.testing.calls import as_tuple, bare, is_float, known_as, named


def op_of_torch(function: Any) -> Callable[..., Any]:
    """An op that calls ``function.apply``, in the precision of its arrays."""

    def op(*args: Any) -> Any:
        given = [
            torch.tensor(a, requires_grad=is_float(a)) if isinstance(a, np.ndarray) else a
            for a in args
        ]
        inputs = [x for x, a in zip(given, args, strict=True) if is_float(a)]
        outputs = as_tuple(function.apply(*given))

        def backward(*dys: Any) -> Any:
            # PyTorch makes zeros for outputs that are left out.
            pairs = [
                (y, torch.tensor(np.asarray(dy)))
                for y, dy in zip(outputs, dys, strict=True)
                if dy is not None and y.requires_grad
            ]
            if not pairs:
                return bare(tuple(np.zeros_like(a) for a in args if is_float(a)))
            ys, upstream = zip(*pairs, strict=True)
            options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
            gradients = torch.autograd.grad(ys, inputs, upstream, **options)
            return bare(tuple(dx.numpy().copy() for dx in gradients))

        known = known_as(backward, function.backward, len(outputs), first=1)  # without ctx
        return bare(tuple(y.detach().numpy().copy() for y in outputs)), known

    parameters = list(inspect.signature(function.forward).parameters.values())
    separate = function.setup_context is not torch.autograd.Function.setup_context
    return named(op, parameters if separate else parameters[1:])
