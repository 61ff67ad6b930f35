"""Run a milestone: check the reader's pieces, measure them, and train the model beside ours.

Both models start with the same weights and read the same batches, so their losses agree.
"""

import os
import re
import runpy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter, thread_time
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.corpora import read_text
from minillm.errors import describe_error
from minillm.exercises import desk
from minillm.exercises.answering import reports_of_file
from minillm.exercises.catalogue import exercises
from minillm.exercises.milestones import Milestone, Shapes, Weights
from minillm.testing import GradientError, check_projections
from minillm.testing.calls import last_line

Batch = tuple[NDArray, NDArray]  # ids (B, T), and the ids that follow

SECONDS = 60.0  # of training, for both models together
ENOUGH, MOST = 300, 3000  # steps: where fewer than the first fit into the time, the model shrinks
SIZES = (4, 12, 16), (8, 16, 32), (16, 32, 64)  # texts, positions, and the width of the model
SLOW = 2.0  # times as long as ours: from here on, it is said
RATE = 0.005
WRITTEN, WRITING = 400, 15.0  # characters of the sample, and the seconds after which it ends


def run(
    milestone: Milestone,
    folder: Path,
    interrupts: Callable[[], AbstractContextManager] = lambda: nullcontext(()),
) -> bool:
    """Run a milestone on the files of a folder, and print how it goes; whether nothing is wrong.

    In ``with interrupts() as noted``, a Ctrl-C adds to the list: the training stops, and what it
    has reached is printed before KeyboardInterrupt.  The progress notes a milestone as solved if
    the training comes to its end on pieces that are all the reader's.
    """
    print(f"{milestone.name}: {milestone.title}", flush=True)
    yours, wrong = readers_pieces(milestone, folder)
    if not yours and not wrong:
        print("No piece is yours, so there is nothing to run yet.")
        return False
    try:
        right = {*wrong} <= {*yours} and check(milestone, yours)
        for name in wrong:
            print(f"Mend {name} first; for hints: minillm exercise {name} --check")
        if wrong or not right:
            return False
        train(milestone, yours, interrupts)
    except Exception as error:
        if not (text := in_your_line(error)):
            raise
        print(text)
        return False
    solved = len(yours) == len(milestone.pieces)
    of = f"{len(yours)} of {len(milestone.pieces)} pieces are yours"
    print(f"{of}: passed." if solved else f"{of}: it counts when all are.")
    progress = desk.read_progress(folder)
    entry = progress.setdefault(milestone.name, desk.new_entry())
    entry |= {"attempts": entry["attempts"] + 1, "solved": entry["solved"] or solved}
    desk.write_progress(folder, progress)
    return True


# --- the pieces -------------------------------------------------------------------------


def readers_pieces(milestone: Milestone, folder: Path) -> tuple[dict[str, Callable], list[str]]:
    """The reader's functions by exercise, and the wrong ones of them.  Print whose each piece is.

    A wrong one that only has a wrong gradient is a function of the model, too.
    """
    yours, wrong = {}, []
    for name in milestone.pieces:
        verdict = judged(name, folder)
        print(f"  {name:19} {verdict}", flush=True)
        wrong += [name] * verdict.startswith("wrong")
        if verdict == "yours" or "the gradient" in verdict:
            one = exercises()[name]
            yours[name] = runpy.run_path(str(desk.file_of(one, folder)))[one.function]
    return yours, wrong


def judged(name: str, folder: Path) -> str:
    """Whether a piece is yours or ours, or what is wrong with it, and in which line."""
    exercise, entry = exercises()[name], desk.new_entry()
    path = desk.file_of(exercise, folder)
    if not path.exists():
        return f"ours: {path} does not exist"
    right, report = desk.verdict(exercise, reports_of_file(exercise, path), entry)
    if right:
        return "yours"
    if entry["failed"] == "hole":
        return f"ours: the hole of {path} is not filled"
    text = report.partition("\nhint: ")[0].removeprefix(f"{name}: ").replace("\n", "; ")
    if wrong := re.match(r"(?:the gradient )?(\w+) (?:is wrong|has shape)", text):
        assigns = re.compile(rf"\s*(\w+, )*{wrong[1]}(, \w+)*(\[.*\])? [-+*/]?= ")
        lines = enumerate(path.read_text(errors="replace").splitlines(), 1)
        text = f"line {max((n for n, line in lines if assigns.match(line)), default=1)}: {text}"
    return f"wrong: {path}, {text}"


def pieces(milestone: Milestone, yours: dict[str, Callable]) -> SimpleNamespace:
    """The pieces by the names of their functions: the reader's, otherwise ours."""
    known = [exercises()[name] for name in milestone.pieces]
    return SimpleNamespace(**{one.function: yours.get(one.name, one.reference) for one in known})


def in_your_line(error: BaseException) -> str:
    """An exception in words, with the line of the reader that led to it; "" if it was none."""
    foreign = tuple(str(path) + os.sep for path in (Path(__file__).parents[1], np.__path__[0]))
    if not (found := last_line(error, lambda file: not file.startswith(foreign))):
        return ""
    frame, number, line = found
    return f"{frame.f_code.co_filename}, line {number}, {line}: {describe_error(error)}"


# --- the model --------------------------------------------------------------------------


class Learner:
    """A model in training: its pieces, its weights, and Adam's averages, each in one vector."""

    def __init__(self, milestone: Milestone, own: SimpleNamespace, shapes: Shapes) -> None:
        self.milestone, self.own, self.shapes = milestone, own, shapes
        rng = np.random.default_rng(0)
        self.weights = np.concatenate(
            [
                rng.standard_normal(np.prod(shape)) / np.sqrt(shape[0])
                if len(shape) == 2
                else np.full(shape, float(name.startswith("gain")))
                for name, shape in shapes.items()
            ]
        )
        self.m, self.v = np.zeros_like(self.weights), np.zeros_like(self.weights)

    def named(self) -> Weights:
        """The weights by name, without a copy."""
        ends = np.cumsum([np.prod(shape) for shape in self.shapes.values()])
        parts = zip(self.shapes.items(), np.split(self.weights, ends[:-1]), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in parts}

    def loss(self, ids: NDArray, targets: NDArray) -> tuple[Any, Callable]:
        """The mean loss of a batch.  ``backward()`` -> the gradients by name."""
        logits, model_backward = self.milestone.model(self.own, self.named(), ids)
        last = targets[:, -(len(logits) // len(ids)) :]  # an n-gram passes over the first ones
        loss, loss_backward = self.own.cross_entropy(logits, last.ravel())
        return loss, lambda: model_backward(loss_backward(1.0))

    def step(self, batch: Batch, k: int, steps: int) -> float:
        """Take step k of Adam, and return the loss before it."""
        loss, backward = self.loss(*batch)
        gradients = backward()
        g = np.concatenate([gradients[name].ravel() for name in self.shapes])
        rate = self.own.schedule(k, steps, max(1, steps // 20), RATE)
        self.m, self.v, self.weights = self.own.adam(
            self.weights, g, self.m, self.v, k + 1, rate, 0.9, 0.99, 1e-8
        )
        return float(loss)

    def write(self, ids: list[int]) -> list[int]:
        """Sample what follows the ids (T,)."""
        rng, T, start = np.random.default_rng(0), len(ids), perf_counter()
        while len(ids) < T + WRITTEN and perf_counter() - start < WRITING:
            logits, _ = self.milestone.model(self.own, self.named(), np.array([ids[-T:]]))
            p = self.own.next_probabilities(logits[-1], 0.7, min(20, logits.shape[1]))
            ids = [*ids, int(rng.choice(len(p), p=p))]
        return ids[T:]


def draw(rng: np.random.Generator, text: NDArray, B: int, T: int) -> Batch:
    """B windows of T ids, and the same windows one id later."""
    rows = text[rng.integers(0, len(text) - T, B)[:, None] + np.arange(T + 1)]
    return rows[:, :-1], rows[:, 1:]


def check(milestone: Milestone, yours: dict[str, Callable]) -> bool:
    """Whether the gradient of the whole model is right, in a tiny size; print what is wrong."""
    rng = np.random.default_rng(0)
    tiny = Learner(milestone, pieces(milestone, yours), milestone.shapes(7, 8, 9))
    batch = draw(rng, rng.integers(0, 7, 50), 2, 9)
    try:
        worst = check_projections(lambda: tiny.loss(*batch), tiny.named(), rng=rng)
    except GradientError as error:
        print(f"The whole model: {error}", flush=True)
        return False
    print(f"The gradient of the whole model is right (relative error {worst:.0e}).", flush=True)
    return True


# --- training ---------------------------------------------------------------------------


def clocked(piece: Callable, name: str, spent: dict[str, float]) -> Callable:
    """The piece; the seconds that it and its backward take are added to ``spent[name]``."""

    def call(*args: Any) -> Any:
        start = thread_time()  # other programs do not count
        result = piece(*args)
        spent[name] += thread_time() - start
        if isinstance(result, tuple) and callable(result[-1]):
            return result[0], clocked(result[-1], name, spent)
        return result

    return call


def measured(
    milestone: Milestone, own: SimpleNamespace, shapes: Shapes, batch: Batch
) -> tuple[float, dict[str, float]]:
    """The seconds of a step on the clock, and the seconds of the processor in each function."""
    spent = dict.fromkeys(vars(own), 0.0)
    timed = {name: clocked(piece, name, spent) for name, piece in vars(own).items()}
    learner = Learner(milestone, SimpleNamespace(**timed), shapes)
    learner.step(batch, 0, 1)  # the first one takes longer
    spent.update(dict.fromkeys(spent, 0.0))
    count, start = 0, perf_counter()
    while count == 0 or (count < 20 and perf_counter() - start < 0.5):
        learner.step(batch, 0, 1)
        count += 1
    return (perf_counter() - start) / count, {n: s / count for n, s in spent.items()}


def train(milestone: Milestone, yours: dict[str, Callable], interrupts: Callable) -> None:
    """Train the reader's model and ours, of a size that fits into the time; print both losses."""
    letters = np.frombuffer(read_text(["python-docs"]).encode("utf-32-le"), np.uint32)
    symbols, ids = np.unique(letters, return_inverse=True)
    text, held_out = np.split(ids, [len(ids) * 9 // 10])
    own, reference = pieces(milestone, yours), pieces(milestone, {})
    size, steps, rng = (0, 0, 0), 0, np.random.default_rng(0)
    for B, T, D in SIZES:
        shapes, batch = milestone.shapes(len(symbols), D, T), draw(rng, text, B, T)
        (slow, mine), (fast, ours) = (
            measured(milestone, each, shapes, batch) for each in (own, reference)
        )
        fit = int(SECONDS / (slow + fast))
        if steps and fit < ENOUGH:
            break
        size, steps = (B, T, D), max(1, min(fit, MOST))
    for name in yours:
        times = mine[at := exercises()[name].function] / max(ours[at], 1e-6)
        if times > SLOW and mine[at] - ours[at] > sum(ours.values()) / 10:
            print(f"{name} is {times:,.{int(times < 10)}f} times slower than ours.")
    B, T, D = size
    if size != SIZES[-1]:
        wide = f"its width is {D} instead of {SIZES[-1][2]}"
        print(f"So that it learns within a minute, the model is smaller: {wide}.")
    print(f"{steps} steps on {B} texts of {T} characters from Python's documentation:", flush=True)

    shapes, losses = milestone.shapes(len(symbols), D, T), []
    both = [Learner(milestone, each, shapes) for each in (own, reference)]
    with interrupts() as noted:
        for k in range(steps):
            batch = draw(rng, text, B, T)
            losses.append([learner.step(batch, k, steps) for learner in both])
            if noted or k == 0 or (k + 1) * 10 // steps > k * 10 // steps:
                loss, ours = np.mean(losses[-max(1, steps // 10) :], axis=0)
                print(f"  step {k + 1:5}  loss {loss:.4f}  ours {ours:.4f}", flush=True)
            if noted:
                break
    batch = draw(rng, held_out, 8 * B, T)
    bits, ours = (learner.loss(*batch)[0] / np.log(2) for learner in both)
    print(f"Held-out text: {bits:.3f} bits per character, ours {ours:.3f}.  It writes:", flush=True)
    written = symbols[both[0].write(list(held_out[:T]))].astype(np.uint32)
    print(f"\n{written.tobytes().decode('utf-32-le')}\n", flush=True)
    if noted:
        raise KeyboardInterrupt
