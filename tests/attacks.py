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

from minillm import ops, use_kernels
from minillm.decoding import Reader, TargetDecoder
from minillm.decoding.cache import Cache
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.mamba import Mamba, MambaConfig
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


def tuple_of(result):
    return result if isinstance(result, tuple) else (result,)


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


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


# --- layouts -----------------------------------------------------------------------------


def layouts(kernels, rounds):
    """Any layout of the arguments and of the upstream gradients gives what a plain one gives."""
    rng = np.random.default_rng(1)
    for number in range(int(rounds)):
        for name in CASES:
            seed, dtype = int(rng.integers(2**32)), (np.float32, np.float64)[rng.integers(2)]
            op, arguments = case_of(name, seed, dtype)
            upstream = upstream_of(op, arguments, rng)
            expected = outcome(op, arguments, upstream)
            attempted(kernels, name, "round", number)
            others = [laid_out(a, rng) if is_float(a) else a for a in arguments]
            result = outcome(op, others, [laid_out(dy, rng) for dy in upstream])
            assert_close(result, expected)


def case_of(name, seed, dtype):
    op, arguments = CASES[name](np.random.default_rng(seed))
    return op, [a.astype(dtype) if is_float(a) else a for a in arguments]


def upstream_of(op, arguments, rng):
    outputs, _ = op(*arguments)
    return [np.asarray(rng.normal(size=y.shape)).astype(y.dtype) for y in tuple_of(outputs)]


def outcome(op, arguments, upstream):
    outputs, backward = op(*arguments)
    return [y.copy() for y in (*tuple_of(outputs), *tuple_of(backward(*upstream)))]


def assert_close(results, expected):
    for ours, theirs in zip(results, expected, strict=True):
        tolerance = 1e-4 if theirs.dtype == np.float32 else 1e-11
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


def laid_out(a, rng):
    """The same numbers with other strides, or at an odd address, perhaps read-only."""
    kind = rng.integers(6)
    if kind == 0 and a.ndim:  # it would give a number an axis
        a = np.asfortranarray(a)
    elif kind == 1:
        axes = rng.permutation(a.ndim)
        a = a.transpose(axes).copy().transpose(np.argsort(axes))
    elif kind == 2 and a.ndim:
        axis, step = rng.integers(a.ndim), rng.integers(2, 4)
        a = np.repeat(a, step, axis=axis)[(slice(None),) * axis + (slice(None, None, step),)]
    elif kind == 3 and a.ndim:
        a = np.flip(np.flip(a).copy())
    elif kind == 4:
        memory = np.empty(a.nbytes + 1, np.uint8)[1:]
        odd = memory[: a.nbytes].view(a.dtype).reshape(a.shape)
        odd[...] = a
        a = odd
    a = a.view()
    a.flags.writeable = bool(rng.integers(2))
    return a


# --- arrays that change between forward and backward ----------------------------------------


def reshaped_arrays(kernels):
    """The ``shape`` of arguments and outputs is set before the backward."""
    rng = np.random.default_rng(2)
    for name in CASES:
        for dtype in (np.float32, np.float64):
            op, arguments = case_of(name, 3, dtype)
            upstream = upstream_of(op, arguments, rng)
            expected = outcome(op, arguments, upstream)[-sum(map(is_float, arguments)) :]
            attempted(kernels, name)
            outputs, backward = op(*arguments)
            for array in (*arguments, *tuple_of(outputs)):
                flatten(array)
            assert_close(
                [g.ravel() for g in tuple_of(backward(*upstream))], map(np.ravel, expected)
            )


def flatten(array):
    if isinstance(array, np.ndarray):
        with contextlib.suppress(AttributeError):  # its strides do not allow it
            array.shape = (array.size,)


def models():
    """A small model of each kind, and a batch for its loss."""
    rng = np.random.default_rng(5)
    ids, lengths = rng.integers(0, 5, (3, 6)), np.array([6, 2, 4])
    target = rng.integers(0, 5, (3, 4))
    target[:, -1] = 5
    pairs = ids, lengths, target, np.full(3, 4)
    yield GPT(GPTConfig(5, 8, layers=2, heads=2, width=8), rng), (ids, ids)
    for cell in ("rnn", "lstm", "gru"):
        yield LanguageModel(LanguageModelConfig(5, 4, 6, layers=2, cell=cell), rng), (ids, ids)
    yield Mamba(MambaConfig(5, layers=2, width=8), rng), (ids, ids)
    for kind in ("none", "dot", "general", "additive"):
        config = EncoderDecoderConfig(5, 5, embedding=3, hidden=4, layers=2, attention=kind)
        yield EncoderDecoder(config, rng), pairs
    yield transformer(rng), pairs


def transformer(rng, **options):
    sizes = {"layers": 2, "heads": 2, "width": 8, "feed_forward": 6} | options
    return Transformer(TransformerConfig(5, 5, **sizes), rng)


def replaced_weights(kernels):
    """Weights are replaced by larger or smaller ones, or flattened, before the backward."""
    for model, batch in models():
        name, originals = type(model).__name__, dict(model.params)
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


# --- states --------------------------------------------------------------------------------


def mixed_states(kernels, rounds):
    """Entries of two states of unequal models or lengths, in one: an error, or NumPy's answer."""
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 5, (3, 6))
    gpts, recurrent, decoders = [], [], []
    for layers, heads, width in ((1, 2, 8), (2, 2, 8), (2, 4, 8), (2, 2, 4)):
        gpts.append(GPT(GPTConfig(5, 90, layers=layers, heads=heads, width=width), rng))
        decoders.append(transformer(rng, layers=layers, heads=heads, width=width))
        for cell in ("rnn", "lstm", "gru"):
            config = LanguageModelConfig(5, 4, width, layers=layers, cell=cell)
            recurrent.append(LanguageModel(config, rng))
        for kind in ("none", "additive"):
            config = EncoderDecoderConfig(
                5, 5, embedding=3, hidden=width, layers=layers, attention=kind
            )
            decoders.append(EncoderDecoder(config, rng))
    for group in (gpts, recurrent, decoders):
        kinds = [(model, T, B) for model in group for T in (1, 3, 80) for B in (1, 3)]
        states = [state_after(model, ids[:B], T) for model, T, B in kinds]
        for _ in range(int(rounds)):
            model = group[rng.integers(len(group))]
            one, other = (states[i] for i in rng.integers(len(states), size=2))
            word, some = str(rng.choice(["keys", "values", "h", "c", ""])), rng.random()
            entries = entries_of(other)
            names = [n for n in entries if n.endswith(word) and rng.random() < 2 * some]
            mixed = copied(one, {n: entries[n] for n in names})
            attempted(kernels, type(model).__name__, model.config, sorted(names))
            results = answer(model, copied(mixed))
            with use_kernels("numpy"):
                expected = answer(model, copied(mixed))
            assert (results is None) == (expected is None)
            if results is not None and np.abs(expected).max() < 1e6:  # unwritten rows are anything
                np.testing.assert_allclose(results, expected, 1e-3, 1e-3)


def state_after(model, ids, T):
    if isinstance(model, (GPT, LanguageModel)):
        reader = Reader(model)
        return reader.read(np.resize(ids, (len(ids), T)), reader.zero_state(len(ids)))[1]
    decoder = TargetDecoder(model)
    state = decoder.start(ids, np.full(len(ids), ids.shape[1]))
    for _ in range(min(T, 20)):
        _, _, state = decoder.step(np.zeros((len(ids), 1), np.int64), state)
    return state


def answer(model, state):
    """The logits after a step; None if the state is refused."""
    try:
        if isinstance(model, (GPT, LanguageModel)):
            B, reader = len(next(iter(entries_of(state).values()))), Reader(model)
            logits, state = reader.read(np.zeros((B, 1), np.int64), state)
            return logits + reader.read(np.zeros((len(logits), 2), np.int64), state)[0]
        first = state.get("past", next(iter(state.values())))
        return TargetDecoder(model).step(np.zeros(first.shape[:2], np.int64), state)[0]
    except REFUSED:
        return None


# --- threads ----------------------------------------------------------------------


def two_threads_from_one_state(kernels, seconds):
    """Both go on from the same states, with other ids, and get the logits of one alone."""
    sys.setswitchinterval(1e-5)
    rng = np.random.default_rng(7)
    text, source = rng.integers(0, 5, (2, 40)), (rng.integers(0, 5, (2, 6)), np.array([6, 3]))
    gpt = Reader(GPT(GPTConfig(5, 90, layers=2, heads=2, width=8), rng))
    lstm = Reader(LanguageModel(LanguageModelConfig(5, 4, 6, layers=2), rng))
    decoder = TargetDecoder(transformer(rng))
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


def entries_of(state):
    """The arrays of a state, by name; those of a cache, too."""
    if isinstance(state, dict):
        return state
    entries = {name: getattr(state, name) for name in CACHE}
    for kind in ("keys", "values"):
        entries |= {f"{layer}.{kind}": a for layer, a in enumerate(getattr(state, kind))}
    return entries


def copied(state, others=None):
    """A state with copies of the arrays, and of these others."""
    entries = {name: array.copy() for name, array in (entries_of(state) | (others or {})).items()}
    if isinstance(state, dict):
        return entries
    keys, values = (
        tuple(array for name, array in entries.items() if name.endswith(kind))
        for kind in (".keys", ".values")
    )
    return Cache(*[entries[name] for name in CACHE], keys, values)


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
