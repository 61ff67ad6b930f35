"""One input after the other: what was damaged, and what came of it."""

import random
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

from minillm.errors import InputError, InputWarning

from .damage import damaged
from .readers import READERS, Files, Samples


class Bench:
    """The samples of one reader, each in a folder, of which one file at a time is damaged."""

    def __init__(self, name: str, samples: Samples, folder: Path, seed: int):
        self.name, self.samples, self.seed = name, samples[name], seed
        self.folders = [folder / name / str(k) for k in range(len(self.samples))]
        for target, files in zip(self.folders, self.samples, strict=True):
            shutil.rmtree(target, ignore_errors=True)
            _write(target, files)

    def input(self, number: int) -> tuple[int, Files, random.Random]:
        """Which sample an input changes, and its changed files."""
        rng = random.Random(f"{self.seed} {self.name} {number}")
        k = rng.randrange(len(self.samples))
        file = rng.choice(list(self.samples[k]))
        return k, {file: damaged(file, self.samples[k][file], rng)}, rng

    def run(self, number: int) -> BaseException | None:
        """None if the reader accepts an input, else the exception that it raises."""
        k, files, rng = self.input(number)
        folder = self.folders[k]
        _write(folder, files)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", InputWarning)
                READERS[self.name](folder, rng)
        except Exception as error:
            return error
        finally:
            self._restore(k, files)
        return None

    def _restore(self, k: int, files: Iterable[str]) -> None:
        for path in self.folders[k].glob("*out*"):
            path.unlink()
        _write(self.folders[k], {name: self.samples[k][name] for name in files})

    def save(self, number: int, what: str, folder: Path) -> Path:
        """Keeps an input, whole, to look at; returns its folder."""
        target = folder / f"{self.name}-{self.seed}-{number}-{what}"
        k, files, _ = self.input(number)
        _write(target, self.samples[k] | files)
        return target


def right(error: BaseException | None) -> bool:
    """Whether an input was read, or refused in one line that is not too long."""
    if error is None:
        return True
    if not isinstance(error, InputError):
        return False
    return "\n" not in str(error) and len(str(error)) < 1500


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
