"""The loop: resumed to the bit, validated, logged, stopped, and what a checkpoint must have."""

import itertools
import math
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pytest

from minillm.errors import DivergedError, InputError
from minillm.training import SGD, AdamW, Options, Summary, loop, save_checkpoint


def same_files(one, other):
    name = "model.safetensors"
    assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    (arrays, values), (others, other_values) = one.load_resume(), other.load_resume()
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, others[name]), name
    for each in (values, other_values):
        del each["progress"]["seconds"], each["progress"]["validation_seconds"]
    assert values == other_values
    for each in (records := one.read_metrics(), other_records := other.read_metrics()):
        for record in each:
            record.pop("seconds", None)
    assert records == other_records


def test_training_lowers_the_loss(run_bigram, bigram, capsys):
    before = bigram().validation_loss()
    summary, *_ = run_bigram("run", steps=200, learning_rate=0.1)
    assert (summary.step, summary.tokens, summary.interrupted) == (200, 1600, False)
    assert summary.best_loss < before - 0.5
    assert summary.best_loss < math.log(2) + 0.1  # each token has two that can follow
    assert capsys.readouterr().err == ""  # for it was to be quiet


@pytest.mark.parametrize("make", [SGD, AdamW])
@pytest.mark.parametrize(("stop", "accumulate"), [(1, 1), (7, 3), (8, 1), (13, 3)])
def test_resumed_equals_uninterrupted(run_bigram, bigram, make, stop, accumulate):
    options = {"steps": 20, "validations": 5, "accumulate": accumulate}
    task = bigram()
    _, _, whole = run_bigram("whole", task=task, optimiser=make(task.params), **options)
    task = bigram(stop=stop * accumulate)
    summary, _, folder = run_bigram("parts", task=task, optimiser=make(task.params), **options)
    assert summary.interrupted
    assert summary.step == stop
    folder.append_metrics({"step": stop + 1, "loss": 9.0})  # as if it had gone on, and been killed
    task = bigram(seed=5)  # whose first weights must not matter
    optimiser = make(task.params)
    summary, _, parts = run_bigram("parts", task=task, optimiser=optimiser, resume=True, **options)
    assert summary.step == 20
    same_files(whole, parts)


def test_a_run_of_the_command_line_starts_from_a_checkpoint(run_bigram, bigram):
    _, _, whole = run_bigram("whole", steps=9)
    whole.path.with_name("saved").mkdir()
    task = bigram()
    folder = type(whole)(whole.path.with_name("saved"))
    save_checkpoint(
        folder, task.params, AdamW(task.params), task, np.random.default_rng(7), Summary()
    )
    _, _, saved = run_bigram("saved", steps=9, resume=True)
    same_files(whole, saved)


def test_validations_are_evenly_spread_and_the_best_is_kept(run_bigram, bigram):
    task = bigram(losses=[5.0, 3.0, 4.0, math.nan])
    summary, _, folder = run_bigram("run", task=task, steps=22, validations=4)
    assert (summary.best_loss, summary.best_step) == (3.0, 11)
    steps = [r["step"] for r in folder.read_metrics() if "validation_loss" in r]
    assert steps == [6, 11, 17, 22]
    kept = folder.load_model()
    assert np.array_equal(kept["table"], task.seen[1])
    assert not np.array_equal(kept["table"], task.params["table"])


def test_metrics_are_means_between_the_lines(run_bigram, bigram):
    class Scripted(bigram):
        def training_loss(self, rng):
            _, backward, tokens = super().training_loss(rng)
            return float(self.batches), backward, tokens

    options = {"steps": 7, "log_every": 3, "clip": 0.01, "warmup": 0.0, "validations": 1}
    _, _, folder = run_bigram("run", task=Scripted(), **options)
    lines = [r for r in folder.read_metrics() if "loss" in r]
    assert [(r["step"], r["loss"], r["tokens"]) for r in lines] == [(3, 2, 24), (6, 5, 48)]
    assert lines[0]["learning_rate"] > lines[1]["learning_rate"] > 0
    assert all(r["gradient_norm"] > 0.01 for r in lines)  # before it was clipped


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        *itertools.product(("learning_rate", "warmup", "final", "checkpoint_seconds"), (-1.0,)),
        *itertools.product(("learning_rate", "warmup", "accumulate", "patience"), (math.nan,)),
        *itertools.product(("accumulate", "validations", "log_every"), (0,)),
        ("clip", 0.0),
        ("learning_rate", math.inf),
    ],
)
def test_options_out_of_range_are_refused(option, wrong):
    with pytest.raises(ValueError, match=f"^{option}: expected .*, found {wrong}$"):
        Options(steps=3, **{option: wrong})


@pytest.fixture
def timed(bigram, monkeypatch):
    """Makes tasks on a simulated clock: a step takes a second."""
    now = [1000.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Timed(bigram):
        def __init__(self, validation_takes, stop=None):
            super().__init__(stop=stop)
            self.validation_takes = validation_takes
            now[0] += 5000  # what lies between two runs does not count

        def training_loss(self, rng):
            now[0] += 1
            return super().training_loss(rng)

        def validation_loss(self):
            now[0] += self.validation_takes
            return super().validation_loss()

    return Timed


def test_minutes_are_kept_and_carried_over(run_bigram, timed):
    options = {"minutes": 2.0, "validations": 4, "warmup": 0.25, "final": 0.0, "log_every": 1}
    summary, _, folder = run_bigram("run", task=timed(2, stop=86), **options)
    assert (summary.step, summary.seconds, summary.interrupted) == (86, 92, True)
    summary, *_ = run_bigram("run", task=timed(2), resume=True, **options)
    assert (summary.step, summary.seconds, summary.interrupted) == (114, 122, False)
    assert summary.validation_seconds == 8
    records = folder.read_metrics()
    assert [r["step"] for r in records if "validation_loss" in r] == [30, 58, 86, 114]
    rates = {r["step"]: r["learning_rate"] for r in records if "loss" in r}
    assert rates[16] == pytest.approx(0.05 * 15 / 30)  # half-way up
    assert rates[66] == pytest.approx(0.05 * (1 + math.cos(math.pi * 39 / 90)) / 2)
    assert rates[87] == pytest.approx(0.05 * (1 + math.cos(math.pi * 62 / 90)) / 2)


def test_validation_does_not_eat_the_time(run_bigram, timed):
    _, _, folder = run_bigram("minutes", task=timed(10), minutes=2.0, validations=4)
    assert [r["step"] for r in folder.read_metrics() if "validation_loss" in r] == [30, 110]
    _, _, folder = run_bigram("steps", task=timed(10), steps=40, validations=4)
    assert [r["step"] for r in folder.read_metrics() if "validation_loss" in r] == [10, 20, 30, 40]


def test_a_model_can_be_read_after_a_stop_before_the_first_validation(run_bigram, bigram):
    summary, task, folder = run_bigram("run", task=bigram(stop=1), steps=10, validations=1)
    assert (summary.step, summary.best_step) == (1, 0)
    kept = folder.load_model()
    assert np.array_equal(kept["table"], task.params["table"])


def test_a_second_interrupt_stops_at_once(run_bigram, bigram):
    class Stuck(bigram):
        def training_loss(self, rng):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    # A shell starts what runs in its background with interrupts ignored.
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_bigram("run", task=Stuck(), steps=3)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outer)


def test_signals_are_answered_while_a_kernel_runs():
    """The kernel is a hash, which C computes for minutes without the lock of the interpreter."""
    code = """
import hashlib, signal
from minillm.training.loop import interrupts
signal.signal(signal.SIGTERM, lambda *received: None)  # as the command line has one
with interrupts():
    print("there", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        late = threading.Timer(60, process.kill)  # a line may never come
        late.start()
        try:
            assert process.stdout.readline() == "there\n"
            for line, end in (("stops after this step; again: at once", None), ("stopped", 130)):
                process.terminate()
                assert process.stderr.readline() == "\n"
                assert process.stderr.readline() == f"minillm: {line}\n"
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60 if end else 1.2)  # a second signal ends it after a second
                assert process.returncode == end
        finally:
            late.cancel()
            process.kill()


def test_it_trains_outside_the_main_thread(run_bigram):
    thread = threading.Thread(target=run_bigram, args=("run",), kwargs={"steps": 3})
    thread.start()
    thread.join()
    assert run_bigram("other", steps=3)[0].step == 3


def test_the_memory_of_a_step_is_kept_for_the_next(run_bigram, bigram, monkeypatch):
    events, task = [], bigram()
    step = task.training_loss

    @contextmanager
    def keeping():
        events.append("begin")
        yield
        events.append("end")

    monkeypatch.setattr(loop, "keep_memory", keeping)
    monkeypatch.setattr(task, "training_loss", lambda rng: events.append("step") or step(rng))
    run_bigram("run", task=task, steps=2)
    assert events == ["begin", "step", "step", "end"]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_nan_stops_the_run_and_keeps_the_last_checkpoint(run_bigram, bigram, what):
    class Diverging(bigram):
        def training_loss(self, rng):
            loss, backward, tokens = super().training_loss(rng)
            if self.batches < 6:
                return loss, backward, tokens
            if what == "loss":
                return math.nan, backward, tokens
            return loss, lambda: {"table": np.full((5, 5), 1e200)}, tokens

    _, task, folder = run_bigram("good", steps=5, warmup=0.0, final=1.0)
    good = {name: p.copy() for name, p in task.params.items()}
    options = {"steps": 9, "warmup": 0.0, "final": 1.0, "checkpoint_seconds": 0}
    with pytest.raises(DivergedError, match=r"diverged at step 6: .*learning rate 0\.05") as error:
        run_bigram("run", task=Diverging(), **options)
    assert ("loss nan" if what == "loss" else "gradient norm inf") in str(error.value)
    arrays, values = type(folder)(folder.path.with_name("run")).load_resume()
    assert values["progress"]["step"] == 5
    assert np.array_equal(arrays["params/table"], good["table"])


def damaged(run_bigram, damage):
    """Resume from a checkpoint with damage to its arrays or values."""
    _, _, folder = run_bigram("run", steps=4)
    arrays, values = folder.load_resume()
    damage(arrays, values)
    folder.save_resume(arrays, values)
    with pytest.raises(InputError, match=r"resume.safetensors: ") as caught:
        run_bigram("run", steps=8, resume=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("part", ["optimiser", "task", "rng", "progress"])
def test_an_incomplete_checkpoint_is_named(run_bigram, part):
    assert "an entry is missing" in damaged(run_bigram, lambda _, values: values.pop(part))
    if part in ("optimiser", "task"):
        name = {"optimiser": "optimiser/m.table", "task": "task/carried"}[part]
        assert "is missing" in damaged(run_bigram, lambda arrays, _: arrays.pop(name))


@pytest.mark.parametrize(
    ("part", "entry", "values"),
    [
        ("progress", "step", [1.5, -1]),
        ("progress", "seconds", [math.nan, math.inf]),
        ("progress", "recent_loss", [math.nan]),
        ("progress", "best_loss", [math.nan]),
        ("progress", "tokens", ["5", 10**400]),
        ("optimiser", "t", [-1, "5", 10**400]),
        ("rng", "bit_generator", ["MT19937"]),
        ("rng", "state", [5]),
        ("rng", "has_uint32", [10**30]),
    ],
)
def test_a_damaged_checkpoint_is_named(run_bigram, part, entry, values):
    for value in values:
        damaged(run_bigram, lambda _, all_values: all_values[part].__setitem__(entry, value))


@pytest.mark.parametrize("name", ["params/table", "optimiser/m.table"])
def test_numbers_of_a_checkpoint_are_finite(run_bigram, name):
    message = damaged(run_bigram, lambda arrays, _: arrays[name].__setitem__((1, 1), math.nan))
    assert "table': expected finite numbers, found a NaN" in message
