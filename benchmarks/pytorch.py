"""The shared parts of the comparisons with PyTorch: options, weights, agreement, steps, times.

A model in PyTorch is a function of its tensors, which have our names.  It does the work of the
usual modules, and has their layout of weights: (out, in).
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minillm.training import AdamW, clip_global_norm

from . import report
from .race import threads


def parser(description: str | None, rounds: int = 9) -> argparse.ArgumentParser:
    """Make a parser with the options of all comparisons."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    made.add_argument("--rounds", type=int, default=rounds)
    return made


def on_threads(counts: Sequence[int]) -> Iterator[int]:
    """Print the machine, then yield each number of threads while it is in force."""
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    for count in counts:
        with threads(count):
            print(f"\n{count} thread(s)", flush=True)
            yield count


# --- weights and steps ----------------------------------------------------------------------


def is_transposed(name: str) -> bool:
    """Return whether PyTorch stores this matrix as (out, in)."""
    return name.rsplit(".", 1)[-1].startswith("W")


def tensors(params: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Copy our weights to tensors that are trained."""
    import torch

    return {
        name: torch.tensor(array.T if is_transposed(name) else array).contiguous().requires_grad_()
        for name, array in params.items()
    }


def check(model: Any, batch: Any, p: Mapping[str, Any], loss_of: Callable[[], Any]) -> None:
    """AssertionError if our loss of a batch and theirs differ, or a gradient."""
    loss, backward = model.loss(batch)
    their_loss = loss_of()
    assert abs(float(loss) - their_loss.item()) < 1e-4, (loss, their_loss)
    their_loss.backward()
    for name, gradient in backward().items():
        theirs = p[name].grad.numpy()
        gap = np.abs(gradient - (theirs.T if is_transposed(name) else theirs)).max()
        assert gap < 1e-4, (name, gap)
        p[name].grad = None


def our_step(model: Any, batches: Sequence[Any], **options: float) -> Callable[[], None]:
    """Make a step on the next of the batches, again and again: with dropout, if there is any."""
    optimiser, rng = AdamW(model.params, weight_decay=0.1, **options), np.random.default_rng(0)
    following = itertools.cycle(batches)

    def run() -> None:
        _, backward = model.loss(next(following), rng)
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, 1e-4)

    return run


def their_step(
    p: Mapping[str, Any], loss_of: Callable[..., Any], batches: Sequence[tuple]
) -> Callable[[], None]:
    """Make the same step in PyTorch, with its fused AdamW."""
    import torch

    optimiser = torch.optim.AdamW(p.values(), lr=1e-4, weight_decay=0.1, fused=True)
    following = itertools.cycle(batches)

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss_of(*next(following)).backward()
        torch.nn.utils.clip_grad_norm_(p.values(), 1.0)
        optimiser.step()

    return run


# --- times -----------------------------------------------------------------------------------


def in_turns(contestants: Mapping[str, Callable], rounds: int, count: int) -> dict[str, list]:
    """Return the seconds of each contestant; each warms up before its turn (see race.py)."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round in range(rounds + 1):
        for name, run in contestants.items():
            if count > 1:
                time.sleep(0.1)
            run()
            start = time.perf_counter()
            run()
            if round > 0:
                times[name].append(time.perf_counter() - start)
    return times


def show(times: Mapping[str, Sequence[float]], each: int = 1) -> None:
    """Print medians and ranges in milliseconds, and how many times the first's they are.

    ``each`` is the number of steps, sentences or tokens in a turn.
    """
    first = np.median(next(iter(times.values())))
    for name, seconds in times.items():
        low, middle, high = np.quantile(seconds, [0, 0.5, 1]) * 1e3 / each
        ratio = np.median(seconds) / first
        print(f"  {name:17} {middle:9.3f} ms ({low:.3f} to {high:.3f})  {ratio:.2f}", flush=True)
