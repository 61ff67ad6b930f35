"""The shared parts of the comparisons with PyTorch: options, weights, steps, times.

A model in PyTorch is a function of its tensors, which have our names.  It does the work of the
usual modules, and has their layout of weights: (out, in).
"""

import argparse
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.machine import described, machine
from minillm import use_kernels
from minillm.timing.contest import threads
from minillm.training import AdamW, clip_global_norm

try:
    import torch
except ImportError:
    torch = None


LSTM = ("W_x", "W_h", "b")  # our weights of a layer


def parser(description: str, rounds: int = 9) -> argparse.ArgumentParser:
    """Make a parser with the options of all comparisons."""
    made = command.parser(description)
    made.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    made.add_argument("--rounds", type=int, default=rounds)
    return made


def on_threads(counts: Sequence[int]) -> Iterator[int]:
    """Print the machine, then yield each number of threads while it is in force."""
    print(described(machine()))
    for count in counts:
        with threads(count):
            print(f"\n{count} thread(s)", flush=True)
            yield count


def tensors(params: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Copy our weights to tensors that are trained.  PyTorch stores matrices as (out, in)."""
    turned = {n: a.T if n.rsplit(".", 1)[-1].startswith("W") else a for n, a in params.items()}
    return {n: torch.tensor(a).contiguous().requires_grad_() for n, a in turned.items()}


def recurrent(cell: str, W_x: np.ndarray, W_h: np.ndarray, *biases: np.ndarray) -> Any:
    """Make a layer "rnn", "lstm" or "gru" with our weights.

    PyTorch has two biases.  Where we have one, the second is zero and is not trained: its gradient
    is no part of the norm.
    """
    layer = getattr(torch.nn, cell.upper())(*W_x.shape[:1], *W_h.shape[:1], batch_first=True)
    second = biases[1] if len(biases) > 1 else np.zeros_like(biases[0])
    with torch.no_grad():
        for name, array in zip(
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
            (W_x.T, W_h.T, biases[0], second),
            strict=True,
        ):
            getattr(layer, f"{name}_l0").copy_(torch.from_numpy(np.ascontiguousarray(array)))
    layer.bias_hh_l0.requires_grad_(len(biases) > 1)
    return layer


def our_step(model: Any, batch: Any, kernels: str = "auto") -> Callable[[], list[float]]:
    """Make a training step without dropout: it returns loss and norm of the gradient."""
    optimiser = AdamW(model.params)

    def run() -> list[float]:
        with use_kernels(kernels):
            loss, backward = model.loss(batch)
            gradients = backward()
            norm = clip_global_norm(gradients, 1.0)
            optimiser.step(gradients, 1e-4)
        return [float(loss), norm]

    return run


def their_step(parameters: Iterable[Any], loss_of: Callable[[], Any]) -> Callable[[], list[float]]:
    """Make the same step in PyTorch, with its fused AdamW."""
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run() -> list[float]:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return [loss.item(), float(norm)]

    return run


def show(times: Mapping[str, Sequence[float]], each: int = 1) -> None:
    """Print medians and ranges in milliseconds, and how many times the first's they are.

    ``each`` is the number of steps, sentences or tokens in a turn.
    """
    first = np.median(next(iter(times.values())))
    for name, seconds in times.items():
        low, middle, high = np.quantile(seconds, [0, 0.5, 1]) * 1e3 / each
        ratio = np.median(seconds) / first
        print(f"  {name:17} {middle:9.3f} ms ({low:.3f} to {high:.3f})  {ratio:.2f}", flush=True)


def peak() -> float:
    """The most bytes that this process has had in memory at once."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else 1024 * most)
