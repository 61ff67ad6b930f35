"""Training steps and writing on a busy machine: beside programs that keep a core busy each.

    python -m benchmarks.busy [--threads 1 2] [--neighbours 0 1 2] [--only gpt] [--seconds 2]

Each case is timed on each number of threads beside each number of neighbours: the mean time of a
step, for a step that waits is what is looked for.  Beside it stand how many times its idle time
that is, and how many times its time on one thread beside the same neighbours.  PyTorch runs the
same steps, where it is installed; `python -m benchmarks` checks that they agree.  The contestants
take turns in short rounds.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.machine import described, machine
from minillm.decoding import Reader
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.timing.contest import Case, threads

from .cases import recurrence
from .pytorch import our_step, parser
from .training import bert_step, gpt_step

ROUNDS = 3
FORGETTING = 4.0  # seconds, until kernels use all threads again after a busy machine
WRITTEN = 50  # tokens


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--only", default="", help="only the cases whose name contains this")
    options.add_argument("--seconds", type=float, default=2.0, help="of each cell of the table")
    args = options.parse_args()
    print(described(machine()))
    for name, make in CASES.items():
        if args.only in name:
            print(f"\n{name}: ms a step (times idle, times one thread)", flush=True)
            show(measured(make(), args.threads, args.neighbours, args.seconds / ROUNDS), args)


def measured(contestants, counts, neighbours, seconds) -> dict[tuple[str, int, int], float]:
    """The mean seconds of a step by contestant, threads and neighbours."""
    times: dict[tuple[str, int, int], list[tuple[int, float]]] = {}
    time.sleep(FORGETTING)
    for busy in sorted(neighbours):
        with neighbours_at_work(busy):
            for _ in range(ROUNDS):
                for count in counts:
                    for name, run in contestants.items():
                        with threads(count):
                            done = repeated(run, seconds)
                        times.setdefault((name, count, busy), []).append(done)
    return {
        key: sum(spent for _, spent in turns) / sum(steps for steps, _ in turns)
        for key, turns in times.items()
    }


def repeated(run: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Run for some time after a pause, in which others' threads go to sleep, and a warm-up."""
    time.sleep(0.1)
    run()
    steps, start = 0, time.perf_counter()
    while True:
        run()
        steps += 1
        spent = time.perf_counter() - start
        if spent > seconds:
            return steps, spent


@contextmanager
def neighbours_at_work(count: int) -> Iterator[None]:
    """Keep cores busy with other processes."""
    programs = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)
    ]
    try:
        time.sleep(0.2)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def show(times: dict[tuple[str, int, int], float], args) -> None:
    """Print a line for each contestant and number of threads, a column for each neighbour."""
    for name in dict.fromkeys(name for name, _, _ in times):
        for count in args.threads:
            cells = []
            for busy in args.neighbours:
                spent = times[name, count, busy]
                idle = times.get((name, count, 0), np.nan)
                single = times.get((name, 1, busy), np.nan)
                cells.append(f"{spent * 1e3:8.2f} ({spent / idle:4.2f}, {spent / single:4.2f})")
            print(f"  {name:9} {count} thread(s)  " + "  ".join(cells), flush=True)


# --- the cases ------------------------------------------------------------------------------


def compiled(case: Case):
    """The contestants without NumPy."""
    return {name: run for name, run in case.contestants.items() if name != "NumPy"}


def step_of_classifier():
    """The usual recurrent classifier, 32 texts of 40 words."""
    rng = np.random.default_rng(0)
    model = Classifier(ClassifierConfig(2000, 6), rng)
    batch = rng.integers(0, 2000, (32, 40)), rng.integers(20, 41, 32), rng.integers(0, 6, 32)
    return {"Cython": our_step(model, batch)}


def writing(model):
    """Greedy writing at batch 1."""
    reader = Reader(model)

    def write() -> None:
        logits, state = reader.read(np.arange(20)[None], reader.zero_state(1))
        for _ in range(WRITTEN):
            logits, state = reader.read(logits.reshape(1, -1).argmax(axis=1)[:, None], state)

    return {"Cython": write}


CASES = {
    "lstm 16, 64, 128, 256": lambda: compiled(recurrence("lstm", 16, 64, 128, 256)),
    "gru 16, 64, 128, 256": lambda: compiled(recurrence("gru", 16, 64, 128, 256)),
    "gpt step, 4 layers of 128": lambda: compiled(gpt_step("small", False)),
    "bert step, 4 layers of 128": lambda: compiled(bert_step("small")),
    "classifier step": step_of_classifier,
    f"gpt of 4 layers of 128 writes {WRITTEN} tokens": lambda: writing(
        GPT(GPTConfig(65, 256, layers=4, heads=4, width=128), np.random.default_rng(0))
    ),
    f"lstm of 512 writes {WRITTEN} tokens": lambda: writing(
        LanguageModel(LanguageModelConfig(65, hidden=512, cell="lstm"), np.random.default_rng(0))
    ),
}

if __name__ == "__main__":
    main()
