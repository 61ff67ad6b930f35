"""Data parallelism: is the loss that of one process, how much faster is it, what does a kill cost?

    python -m benchmarks.parallel [--out docs/parallel-results.md] [--rounds 5] [--kills 20]

Three tables in Markdown, on standard output and, with --out, in a file:

- **Loss**: 100 steps in float64, without dropout, of 1 to 4 ranks; and of 2 ranks that are stopped
  at step 50 and go on as 3.  Shown is the largest difference of a step's loss from that of one
  process, and whether all ranks had the same weights, bit for bit, at the end.
- **Speed**: whole steps of training (forward, backward, sum, clipping, AdamW) of a recurrent
  language model and of a GPT, by one process of one or two threads, and by 2 and 4 ranks of one
  thread.  They run in turn, --rounds times; the figures are medians, with the range.
- **Faults**: a training of two ranks is killed (kill -9 of a random rank at a random moment) and
  resumed, --kills times.  Then its files are compared with those of one that was left alone.

--tiny does all of it at sizes that mean nothing, to try the script.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from minillm.data import RandomWindows
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.mpi import ranks
from minillm.runs.folder import RunFolder
from minillm.training import AdamW, Options, restore_checkpoint, train
from minillm.training.context import ContextTask
from minillm.training.language_model import LanguageModelTask

V = 65
MODELS = {"lm": "language model, 1 x 512", "gpt": "GPT (6, 6, 384, 256)"}
WARM = 3  # steps that are not counted
SETUPS = {  # ranks, threads of each
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (1, 2),
    "2 ranks, 1 thread each": (2, 1),
    "4 ranks, 1 thread each": (4, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", metavar="FILE", help="write the tables there, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=40_000, help="timed ones of each round")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=["loss", "speed", "faults"])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what a process of a job does, as JSON
    args = parser.parse_args()
    if args.job:
        job(**json.loads(args.job))
        return
    makers = {
        "loss": lambda: losses(10 if args.tiny else 100),
        "speed": lambda: speeds(args.rounds, args.tokens, args.tiny),
        "faults": lambda: faults(args.kills, (100 if args.tiny else 1500) * args.kills),
    }
    tables = []
    for name in args.only:
        tables.append("\n".join(makers[name]()) + "\n")
        print(tables[-1], flush=True)
    if args.out:
        Path(args.out).write_text("\n".join(tables))


def mpiexec(count: int, *command: str, threads: int = 1) -> subprocess.Popen:
    """A job of so many ranks; of one, it is a process without MPI."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    prefix = [found, "-n", str(count)] if count > 1 else []
    return subprocess.Popen(
        [*prefix, sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
    )


# --- what each process of a job does -------------------------------------------------------------


def job(
    model: str, folder: str, steps: int, wide: bool = False, dtype: str = "float32", stop: int = 0
) -> None:
    """Trains; rank 0 writes job.json: the losses, when each step began, digests of the weights."""
    task, store = new_task(model, wide, dtype), RunFolder(folder)
    params, rng = task.model.params, np.random.default_rng(1)
    optimiser = AdamW(params)
    start = None
    if store.resume_path.exists():
        start = restore_checkpoint(store, params, optimiser, task, rng)
    began: list[float] = []
    real = task.training_loss

    def training_loss(rng: np.random.Generator) -> Any:
        began.append(time.perf_counter())
        if len(began) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return real(rng)

    task.training_loss = training_loss
    options = Options(steps=steps, learning_rate=1e-3, validations=1, log_every=1)
    kept = store if dtype == "float64" else None
    train(params, optimiser, task, options, rng, kept, start, quiet=True)
    digest = hashlib.sha256(b"".join(p.tobytes() for p in params.values())).hexdigest()
    found = {"began": began, "digests": ranks().gather(digest)}
    if ranks().rank == 0:
        (Path(folder) / "job.json").write_text(json.dumps(found))


def new_task(model: str, wide: bool, dtype: str) -> Any:
    """The model at its sizes, or a small one; on ids that are drawn at random."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, 100_000)
    kind: Any = np.dtype(dtype).type
    if model == "lm":
        hidden, batch, window = (512, 32, 64) if wide else (24, 8, 16)
        lm = LanguageModel(LanguageModelConfig(V, hidden=hidden), rng, dtype=kind)
        return LanguageModelTask(lm, ids, ids[:200], batch, window)
    layers, heads, width, context, batch = (6, 6, 384, 256, 16) if wide else (2, 2, 24, 16, 8)
    gpt = GPT(GPTConfig(V, context, layers, heads, width), rng, dtype=kind)
    return ContextTask(gpt, RandomWindows(ids, batch, context), ids[:200], batch, 200)


def run(count: int, threads: int = 1, **given: Any) -> dict[str, Any]:
    """A job to its end, and what it has written."""
    command = ("-m", "benchmarks.parallel", "--job", json.dumps(given))
    if mpiexec(count, *command, threads=threads).wait() != 0:
        raise SystemExit(f"a job of {count} ranks failed")
    return json.loads((Path(given["folder"]) / "job.json").read_text())


# --- the tables ----------------------------------------------------------------------------------


def losses(steps: int) -> Iterator[str]:
    """Of each number of ranks, the largest difference from one process."""
    yield f"| {steps} steps in float64 | ranks | largest difference of the loss | replicas |"
    yield "|---|---|--:|---|"
    for model in MODELS:
        one = np.zeros(steps)
        for counts in ([1], [2], [3], [4], [2, 3]):
            with tempfile.TemporaryDirectory() as folder:
                for number, count in enumerate(counts, start=1):
                    stop = steps // 2 if number < len(counts) else 0
                    done = run(
                        count, model=model, folder=folder, steps=steps, dtype="float64", stop=stop
                    )
                lines = RunFolder(folder).read_metrics()
            loss = np.array([line["loss"] for line in lines if "loss" in line])
            assert len(loss) == steps
            if counts == [1]:
                one = loss
            same = "the same bits" if len(set(done["digests"])) == 1 else "**they differ**"
            shown = ", then ".join(map(str, counts))
            yield f"| {model} | {shown} | {np.abs(loss - one).max():.0e} | {same} |"


def speeds(rounds: int, timed: int, tiny: bool) -> Iterator[str]:
    """Tokens per second of whole steps."""
    yield "| tokens per second | " + " | ".join(SETUPS) + " |"
    yield "|---|" + "--:|" * len(SETUPS)
    ratios = []
    for model, name in MODELS.items():
        task = new_task(model, not tiny, "float32")
        tokens = task.training_loss(np.random.default_rng(0))[2]
        found: dict[str, list[float]] = {setup: [] for setup in SETUPS}
        for _ in range(rounds):
            for setup, (count, threads) in SETUPS.items():
                with tempfile.TemporaryDirectory() as folder:
                    done = run(
                        *(count, threads),
                        model=model,
                        folder=folder,
                        steps=WARM + -(-timed // tokens) + 1,
                        wide=not tiny,
                    )
                seconds = np.diff(done["began"])[WARM:]
                found[setup].append(tokens / float(np.median(seconds)))
        cells = [f"{median(r):,.0f} ({min(r):,.0f} to {max(r):,.0f})" for r in found.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"
        one, threads_2, two, four = (median(rates) for rates in found.values())
        ratios.append(
            f"- {name}: two ranks reach {two / threads_2:.2f} of one process of two threads and "
            f"{two / one:.2f} times one of one thread; four reach {four / two:.2f} of two."
        )
    yield ""
    yield from ratios


def faults(kills: int, steps: int) -> Iterator[str]:
    """What is left of a training that is killed again and again."""
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "text.txt"
        text.write_text("the cat sat on the mat and the dog sat on the log.\n" * 2000)
        sizes = ("--hidden", "64", "--batch", "8", "--window", "16", "--steps", str(steps))
        options = ("--checkpoint-seconds", "0.2", "--validations", "5")

        def command(name: str) -> tuple[str, ...]:
            out = f"{place}/{name}"
            begun = (Path(out) / "config.json").exists()
            given = ("--resume",) if begun else (str(text), *sizes, *options)
            return ("-m", "minillm", "train", "lm", "--out", out, *given)

        assert mpiexec(2, *command("whole")).wait() == 0
        survived, slowest = 0, 0.0
        for _ in range(kills):
            process = mpiexec(2, *command("killed"))
            time.sleep(moments.uniform(0.5, 5))
            victims = ranks_of(process)
            if process.poll() is not None or not victims:
                process.wait()
                continue
            os.kill(moments.choice(victims), signal.SIGKILL)
            at = time.monotonic()
            process.wait()
            slowest = max(slowest, time.monotonic() - at)
            survived += 1
        assert mpiexec(2, *command("killed")).wait() in (0, 2)  # 2: it was complete before
        same = all(
            np.array_equal(array, RunFolder(f"{place}/whole").load_resume()[0][name])
            for name, array in RunFolder(f"{place}/killed").load_resume()[0].items()
        )
    yield "| kills | job ended after at most | resumed to the end |"
    yield "|--:|--:|---|"
    yield f"| {survived} | {slowest:.2f} s | {'the same bits' if same else '**other bits**'} |"


def ranks_of(process: subprocess.Popen) -> list[int]:
    """The processes of a job's ranks: mpiexec has started one that started them."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    proxies = {pid for pid, parent in parents.items() if parent == process.pid}
    return [pid for pid, parent in sorted(parents.items()) if parent in proxies]


if __name__ == "__main__":
    main()
