"""Attacks on the package, as a hostile or careless caller would write them.

Each function is an attack.  An attack raises AssertionError for a wrong answer, and must not end
the process.  A test runs it in a process of its own (`survives`), so that a crash fails one test.
"""

import contextlib
import faulthandler
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from model_table import CAUSAL, PAIRS, WINDOWS
from ops.cases import case_of, tuple_of, upstream_of

from minillm import ops, use_kernels
from minillm.decoding import Reader, TargetDecoder
from minillm.decoding.cache import Cache
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.ops.gradient_cases import CASES

CACHE = ("ids", "lengths", "start", "written")  # and keys and values
REFUSED = (ValueError, TypeError, MemoryError, KeyError, IndexError)


def survives(attack, *arguments, timeout=100):
    """Run an attack of this module in another process.  It must end well, and in time."""
    result = subprocess.run(
        [sys.executable, __file__, attack, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    last = "\n".join(result.stdout.splitlines()[-3:])
    assert result.returncode == 0, f"status {result.returncode}\n{last}\n{result.stderr}"


def attempted(*names):
    """Print what is tried next: after a crash, the last line is the culprit."""
    print(*names, flush=True)


def sizes_and_shapes(kernels):
    """The attacks that take a fraction of a second each."""
    huge_views(kernels)
    reshaped_arrays(kernels)
    replaced_weights(kernels)


# --- sizes -------------------------------------------------------------------------------


def huge_views(kernels):
    """Views that repeat a number 2**58 times along an axis of one argument, or of all."""
    for name in CASES:
        op, arguments = CASES[name](np.random.default_rng(0))
        arrays = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]
        for axis in range(3):
            for chosen in [arrays, *([i] for i in arrays)]:
                if axis < max(arguments[i].ndim for i in chosen):
                    attempted(kernels, name, "arguments", chosen, "axis", axis)
                    changed = list(arguments)
                    for i in chosen:
                        changed[i] = repeated(arguments[i], axis, 2**58)
                    refused(op, *changed)
    row = np.ones((1, 1), np.float32)
    ids, many = np.zeros((1, 1), np.int8), np.zeros((1, 1, 1), np.float32)
    for axis in range(2):
        attempted(kernels, "ids, axis", axis)
        refused(ops.embedding, repeated(ids, axis, 2**58), row)
        refused(ops.rnn, repeated(ids, axis, 2**58), row, row, row, row[0])
        logits = repeated(many, axis, 2**58)
        refused(ops.cross_entropy, logits, repeated(ids, axis, 2**58))
        refused(ops.cross_entropy, many, ids, repeated(ids > 0, axis, 2**58))
    attempted(kernels, "a product of 2**66 bytes")
    refused(ops.linear, repeated(row, 0, 2**32), repeated(row, 1, 2**32))


def repeated(a, axis, count):
    """A view of a's first entry along the axis, count times, if it has that axis."""
    if axis >= a.ndim:
        return a
    shape = [count if i == axis else 1 for i in range(a.ndim)]
    return np.broadcast_to(a[(slice(0, 1),) * a.ndim], shape)


def refused(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, MemoryError):
        return
    raise AssertionError("expected ValueError or MemoryError")


# --- arrays that change between forward and backward ----------------------------------------


def reshaped_arrays(kernels):
    """The ``shape`` of arguments and outputs is set before the backward."""
    rng = np.random.default_rng(2)
    for name in CASES:
        for dtype in (np.float32, np.float64):
            op, arguments = case_of(name, np.random.default_rng(3), dtype)
            outputs, backward = op(*arguments)
            upstream = upstream_of(outputs, rng)
            expected = [dx.ravel().copy() for dx in tuple_of(backward(*upstream))]
            attempted(kernels, name)
            outputs, backward = op(*arguments)
            for array in (*arguments, *tuple_of(outputs)):
                flatten(array)
            for dx, before in zip(tuple_of(backward(*upstream)), expected, strict=True):
                np.testing.assert_array_equal(dx.ravel(), before)


def flatten(array):
    if isinstance(array, np.ndarray):
        with contextlib.suppress(AttributeError):  # its strides do not allow it
            array.shape = (array.size,)


def replaced_weights(kernels):
    """Weights are replaced by larger or smaller ones, or flattened, before the backward."""
    for name, entry in (WINDOWS | CAUSAL | PAIRS).items():
        model, batch = entry.with_batch(np.float32)
        originals = dict(model.params)
        _, backward = model.loss(batch)
        expected = backward()
        for change in ("smaller", "larger", "flat"):
            attempted(kernels, name, change)
            model.params = {n: a.copy() for n, a in originals.items()}
            _, backward = model.loss(batch)
            for weight, array in list(model.params.items()):
                if change == "flat":
                    flatten(array)
                else:
                    size = [1 if change == "smaller" else 50 * n for n in array.shape]
                    model.params[weight] = np.full(size, np.nan, array.dtype)
            gradients = backward()
            assert gradients.keys() == expected.keys()
            for weight, gradient in expected.items():
                np.testing.assert_array_equal(gradients[weight].ravel(), gradient.ravel())


# --- threads ----------------------------------------------------------------------


def two_threads_from_one_state(kernels, seconds):
    """Both go on from the same states, with other ids, and get the logits of one alone."""
    sys.setswitchinterval(1e-5)
    rng = np.random.default_rng(7)
    text, source = rng.integers(0, 5, (2, 40)), (rng.integers(0, 5, (2, 6)), np.array([6, 3]))
    gpt = Reader(GPT(GPTConfig(5, 90, layers=2, heads=2, width=8), rng))
    lstm = Reader(LanguageModel(LanguageModelConfig(5, 4, 6, layers=2), rng))
    config = TransformerConfig(5, 5, layers=2, heads=2, width=8, feed_forward=6)
    decoder = TargetDecoder(Transformer(config, rng))
    begun = [
        (gpt, gpt.read(text, gpt.zero_state(2))[1]),
        (lstm, lstm.read(text, lstm.zero_state(2))[1]),
        (decoder, decoder.step(np.zeros((2, 1), int), decoder.start(*source))[2]),
    ]
    for model, state in begun:
        attempted(kernels, type(model).__name__)
        ids = rng.integers(0, 5, (2, 2, 2))  # of two threads, two steps, two rows
        expected = [go_on(model, ids[i], copied(state)) for i in range(2)]
        for _ in rounds(float(seconds) / len(begun)):
            states = [copied(state) for _ in range(100)]
            for one in in_threads(kernels, lambda i, s: go_on(model, ids[i], s), states):
                for ours, theirs in zip(one, expected, strict=True):
                    np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


def rounds(seconds):
    """Yield until so many seconds have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def copied(state):
    """A state with copies of the arrays."""
    if isinstance(state, dict):
        return {name: array.copy() for name, array in state.items()}
    first = [getattr(state, name).copy() for name in CACHE]
    return Cache(*first, *(tuple(map(np.copy, arrays)) for arrays in (state.keys, state.values)))


def go_on(reader, ids, state):
    """The logits of each step."""
    logits = []
    for row in ids:
        y, *_, state = (getattr(reader, "read", None) or reader.step)(row[:, None], state)
        logits.append(y)
    return np.stack(logits)


def in_threads(kernels, function, items):
    """The results of two threads for each item, which both begin at the same time."""
    gate = threading.Barrier(2)

    def run(i):
        with use_kernels(kernels):
            return [(gate.wait(), function(i, item))[1] for item in items]

    with ThreadPoolExecutor(2) as pool:
        return list(zip(*pool.map(run, range(2)), strict=True))


def integers_that_another_thread_writes(kernels, seconds):
    """Ids, lengths and states change while the ops and models check and use them."""
    sys.setswitchinterval(1e-5)
    rng, stop = np.random.default_rng(8), threading.Event()
    reader = Reader(GPT(GPTConfig(5, 90, layers=4, heads=4, width=256), rng))
    start = reader.read(rng.integers(0, 5, (2, 40)), reader.zero_state(2))[1]
    shared = [rng.integers(0, 5, (2, 1)), start.lengths]
    cases = [CASES[name](rng) for name in CASES]
    for _, arguments in cases:
        shared += [a for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "i"]
    honest = [a.copy() for a in shared]

    def write():
        while not stop.is_set():
            for array, good in zip(shared, honest, strict=True):
                array[...] = 2**40
                array[...] = good

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in rounds(float(seconds)):
            attempted(kernels, "GPT")
            with contextlib.suppress(*REFUSED):
                reader.read(shared[0], start)
            for op, arguments in cases:
                with contextlib.suppress(*REFUSED):
                    outputs, backward = op(*arguments)
                    backward(*tuple_of(outputs))
    finally:
        stop.set()
        writer.join()


if __name__ == "__main__":
    faulthandler.enable()
    attack, kernels, *rest = sys.argv[1:]
    with use_kernels(kernels):
        globals()[attack](kernels, *rest)
