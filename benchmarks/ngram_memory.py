"""n-grams beyond memory: time, memory and disk, beside KenLM's lmplz where it is on the PATH.

    python -m benchmarks.ngram_memory --tokens 100000000 --memory 1024 --ranks 1 2

The text is the Python language reference over and over, a quarter of its words drawn anew, as
frequent as their rank is small (Zipf): with every copy there are more different n-grams.

Memory is the largest resident set of a process, less that of an interpreter that has imported the
same modules (of lmplz: all); of several ranks, that of the largest.  `export` maps the model: what
it has read counts, though the system may drop it.  Disk is the most that the temporary files take.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.ngram_kenlm import varied_copies
from minillm import kernels_info
from minillm.data.streams import TextStream
from minillm.runs.folder import RunFolder
from minillm.runs.run import stored_config

IDLE = "import minillm.formats.arpa, minillm.runs.start, minillm.training.ngram"


class Measured(NamedTuple):
    """A command: its seconds, by the clock and of all cores, the bytes of its largest process, and
    the most that was in a folder.
    """

    seconds: float
    cores: float
    resident: int
    disk: int


def measure(command: list[str], temporary: Path) -> Measured:
    """Runs a command whose temporary files go to a folder."""
    temporary.mkdir(exist_ok=True)
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.2):
            most = max(most, _size(temporary))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cores = used.ru_utime + used.ru_stime
    return Measured(seconds, cores, used.ru_maxrss * 1024, most)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # deleted just now
                continue
    return total


def write_text(path: Path, tokens: int) -> None:
    """A text of so many tokens."""
    with open(path, "w") as file:
        file.writelines(varied_copies(TextStream([]), tokens))


def minillm(*arguments: str, ranks: int = 1) -> list[str]:
    """The command, of several ranks with mpiexec."""
    own = Path(sys.executable).parent / "mpiexec"
    start = [str(own) if own.exists() else "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    return [*start, sys.executable, "-m", "minillm", *arguments]


def row(name: str, tokens: int, found: Measured, idle: int, memory: int) -> str:
    """A line of the table."""
    above = found.resident - idle
    disk = f"{found.disk / 2**30:.2f} GB" if found.disk else "-"  # files without names are not seen
    return (
        f"| {name} | {found.seconds:,.1f} | {found.cores:,.1f} | {tokens / found.seconds:,.0f} | "
        f"{above / 2**20:,.0f} MB ({above / memory:.0%}) | {disk} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--memory", type=int, default=1024, help="in megabytes")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1])
    parser.add_argument("--no-export", action="store_true")
    args = parser.parse_args()
    memory, size = args.memory << 20, f"{args.memory}M"
    info = kernels_info()
    print(f"kernels: {info['kernels']}, {info['threads']} threads\n")
    with tempfile.TemporaryDirectory(prefix="ngram-memory-") as name:
        folder = Path(name)
        text, temporary = folder / "text.txt", folder / "temporary"
        write_text(text, args.tokens)
        idle = measure([sys.executable, "-c", IDLE], temporary).resident
        options = ["--pretokenised", "--order", str(args.order), "--memory", size]
        lines = []
        for ranks in args.ranks:
            run = folder / f"run{ranks}"
            command = minillm("train", "ngram", str(text), "--out", str(run), *options, ranks=ranks)
            found = measure(command, temporary)
            title = "train" if ranks == 1 else f"train, {ranks} ranks"
            lines.append(row(title, args.tokens, found, idle, memory))
        if not args.no_export:
            arpa = folder / "model.arpa"
            found = measure(minillm("export", str(run), str(arpa)), temporary)
            lines.append(row("export", args.tokens, found, idle, memory))
            arpa.unlink()
        if estimator := shutil.which("lmplz"):
            counted = folder / "counted.txt"  # as `train`, without the last tenth
            stream = TextStream([str(text)])
            with open(counted, "w") as file:
                file.writelines(stream.blocks(stop=stream.characters * 9 // 10))
            command = [estimator, "-o", str(args.order), "-S", size, "-T", str(temporary)]
            command += ["--discount_fallback", "--text", str(counted)]
            found = measure([*command, "--arpa", str(folder / "theirs.arpa")], temporary)
            lines.append(row("lmplz, to its ARPA file", args.tokens, found, 0, memory))
        sizes = stored_config(RunFolder(run))["model"].sizes
        model = (run / "model.safetensors").stat().st_size
        several = ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(sizes, 1))
        print(f"{args.tokens:,} tokens, {text.stat().st_size / 2**20:,.0f} MB of text, of which")
        print(f"nine tenths are counted; --memory {size}.  {several}.")
        print(f"The model has {model / 2**30:.2f} GB.\n")
        print("| | seconds | seconds of cores | tokens/s | memory (of --memory) | disk |")
        print("|---|---|---|---|---|---|")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
