"""A copy of the project in which mutants are built and tested, so that nothing else is harmed."""

import contextlib
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from .mutant import Mutant
from .witnesses import KERNELS, SHARED, Witness, topics

OF_ROOT = {".git", ".venv", "build", "dist", "runs", "docs", "benchmarks"}  # not minillm/runs
ANYWHERE = shutil.ignore_patterns("*.so", "__pycache__", ".*cache")
PATIENCE = 20  # times its CPU time, after which a process waits for ever
MEMORY = 8_000_000  # kilobytes of address space of one process
SUFFIX = ".abi3.so"  # as setup.py builds them
# Fast to compile.  No symbols: they name the file, and equal code is to be equal bytes.
FLAGS = ["-Og", "-g0", "-s", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]


@dataclass
class Outcome:
    code: int | None  # None: it had to be stopped
    output: str


class Project:
    """The copy, and the compiled kernels in it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        shutil.copytree(root, folder, ignore=self.left_out, dirs_exist_ok=True)
        self.instruction_set = ""
        self.built: dict[Path, bytes] = {}  # the unchanged C and modules of topics

    def left_out(self, folder: str, names: list[str]) -> set[str]:
        """The names in a folder of the project that the copy does without."""
        return ANYWHERE(folder, names) | (
            OF_ROOT & set(names) if Path(folder) == self.root else set()
        )

    def run(self, *command: str, cpu: float = 600, **environment: str) -> Outcome:
        """Run one process, within limits of its CPU time and memory."""
        limits = f"ulimit -S -t {cpu:.0f}; ulimit -H -t {cpu + 10:.0f}; ulimit -c 0; "
        limits += f'ulimit -v {MEMORY} 2>/dev/null; exec "$@"'
        path = [str(self.folder), str(self.folder / "tests"), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            ["sh", "-c", limits, "sh", *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, waits = process.communicate(timeout=PATIENCE * cpu)[0], False
        except subprocess.TimeoutExpired:
            kill(process)
            output, waits = process.communicate()[0], True
        except BaseException:  # an interrupt leaves no process behind
            kill(process)
            raise
        hung = waits or process.returncode == -signal.SIGXCPU
        return Outcome(None if hung else process.returncode, output)

    def test(self, witness: Witness, first: list[str], cpu: float, keep: bool) -> Outcome:
        """Run a witness's tests, those named in `first` first; `keep` caches Python's bytecode."""
        compiled = witness.topic is not None
        unseen = "numpy" if compiled else "cython"
        chosen = f"not {unseen}" + (f" and ({witness.chosen})" if witness.chosen else "")
        return self.run(
            *(sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"),
            *("-p", "no:faulthandler"),  # a crash is to end it, not to hang in a broken heap
            *("-p", "tests.mutation.first", *witness.tests, "-k", chosen),
            cpu=cpu,
            MUTATION_FIRST="\n".join(first),
            HYPOTHESIS_PROFILE="mutation",
            MINILLM_KERNELS="cython" if compiled else "numpy",
            MINILLM_GUARD="1",
            # A mutant may have the size and the second of the file that it replaces, and Python
            # compares nothing else.
            PYTHONDONTWRITEBYTECODE="" if keep else "1",
        )

    @contextlib.contextmanager
    def with_change(self, mutant: Mutant) -> Iterator[None]:
        """Put this mutant into the copy, and restore the copy afterwards."""
        target = self.folder / mutant.path
        for old in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            old.unlink()
        target.write_text(mutant.text)
        try:
            yield
        finally:
            target.write_text(mutant.source)
            for path, content in self.built.items():
                if not path.exists() or path.read_bytes() != content:
                    path.unlink(missing_ok=True)
                    path.write_bytes(content)

    def prepare(self, topic: str) -> None:
        """Put the unchanged kernels into the copy, and build this topic like its mutants."""
        if not self.instruction_set:
            self.take_kernels()
        paths = self.c_of(f"_{topic}"), self.so_of(self.module(topic))
        if not self.built.keys() >= set(paths):
            self.require(self.build_topic(topic))
            self.built |= {path: path.read_bytes() for path in paths}

    def take_kernels(self) -> None:
        """Copy the project's kernels for the best instruction set, and build the missing ones."""
        with contextlib.chdir(self.folder), mock.patch("setuptools.setup"):
            recipe = runpy.run_path("setup.py")
            shared = {*SHARED, recipe["MEMORYVIEWS"]}
            names = [*shared, *(f"_{topic}" for topic in topics(self.folder))]
            self.translations = {name: recipe["cython"](name) for name in names}
        self.flags = [flag for flag in recipe["GCC"] if not flag.startswith(("-O", "-g"))]
        self.flags += [f"-D{name}={value}" for name, value in recipe["MACROS"]]
        (self.folder / "build/kernels").mkdir(parents=True)
        for name in shared:
            if not self.take(name):
                self.require(self.build(name, name, self.flags))
        best = "import minillm._kernels._cpu as c; print(c.instruction_sets()[-1])"
        outcome = self.run(sys.executable, "-c", best)
        self.require(outcome)
        self.instruction_set = outcome.output.strip()
        self.flags += recipe["GCC_SETS"][self.instruction_set]
        for topic in topics(self.folder):
            if not self.take(self.module(topic)):
                self.require(self.build_topic(topic))

    def take(self, module: str) -> bool:
        """Copy a module of the project if it is no older than any source."""
        ready = self.root / KERNELS / f"{module}{SUFFIX}"
        sources = [path for path in (self.root / KERNELS).glob("*.[ph]*") if path.suffix != ".py"]
        if not ready.exists() or ready.stat().st_mtime < max(s.stat().st_mtime for s in sources):
            return False
        shutil.copy(ready, self.so_of(module))
        return True

    def require(self, outcome: Outcome) -> None:
        if outcome.code != 0:
            raise RuntimeError(f"the unchanged kernels cannot be built:\n{outcome.output}")

    def module(self, topic: str) -> str:
        return f"_{topic}_{self.instruction_set}"

    def c_of(self, translated: str) -> Path:
        return self.folder / f"build/kernels/{translated}.c"

    def so_of(self, module: str) -> Path:
        return self.folder / KERNELS / f"{module}{SUFFIX}"

    def build_topic(self, topic: str, translate: bool = True) -> Outcome:
        return self.build(f"_{topic}", self.module(topic), self.flags, translate)

    def build(
        self, translated: str, module: str, flags: list[str], translate: bool = True
    ) -> Outcome:
        """Build one module, as setup.py does; a changed header needs no new translation to C."""
        c, so = self.c_of(translated), self.so_of(module)
        if translate:
            outcome = self.run(*self.translations[translated])
            if outcome.code != 0:
                return outcome
        so.unlink(missing_ok=True)
        command = [*FLAGS, *flags, "-pthread", f"-DPyInit_{translated}=PyInit_{module}"]
        command += [f"-I{KERNELS}", str(c.relative_to(self.folder))]
        return self.run(
            os.environ.get("CC", "cc"), *command, "-o", str(so.relative_to(self.folder))
        )

    def same_code(self, topic: str) -> bool:
        so = self.so_of(self.module(topic))
        return so.read_bytes() == self.built[so]


def kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def killer_of(outcome: Outcome) -> str:
    """The first test that failed, or another reason of the end."""
    if outcome.code is None:
        return "time"
    test = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", outcome.output, re.MULTILINE)
    if test:
        return test[1]
    return f"crash ({-outcome.code})" if outcome.code < 0 else "an error while loading"
