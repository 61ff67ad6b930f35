"""Damaged files for every reader: nothing but InputError may come of them, or a loss of NaN.

    FUZZ_INPUTS=20000 FUZZ_SEED=1 python -m pytest tests/fuzz -k arpa

``readers`` makes small valid files and reads them as the commands do, ``damage`` changes them at
random.  Input number i of a reader follows from the seed and i alone; the one that goes wrong stays
in the temporary folder that pytest keeps.
"""

import faulthandler
import os
import random
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from minillm.errors import DivergedError, InputError, InputWarning

from .damage import damaged
from .readers import READERS

INPUTS = int(os.environ.get("FUZZ_INPUTS", "12"))
SEED = os.environ.get("FUZZ_SEED", "0")
PATIENCE = 60  # seconds of an input, after which the process ends, wherever it is
MEMORY = 4 << 30  # more than the process has at first


@pytest.fixture(autouse=True)
def limits():
    """Of memory, and of time, also in compiled code."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        import resource  # which Windows lacks

        before = resource.getrlimit(resource.RLIMIT_AS)
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    faulthandler.cancel_dump_traceback_later()
    if pages.exists():
        resource.setrlimit(resource.RLIMIT_AS, before)


def read(reader, folder, name):
    """None if a reader accepts a folder, else the exception that it raises."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=sys.__stderr__)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # weights may be very large
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", InputWarning)
            READERS[reader].read(folder, name)
    except Exception as error:
        return error
    return None


def right(error):
    """Whether an input was read, or refused in one line that is not too long."""
    if error is None:
        return True
    return (
        isinstance(error, (InputError, DivergedError))
        and "\n" not in str(error)
        and len(str(error)) < 1500
    )


@pytest.mark.parametrize("reader", READERS)
def test_nothing_but_input_errors_comes_of_damaged_files(reader, runs, tmp_path):
    READERS[reader].write(tmp_path / "good", runs)
    samples, found = sorted((tmp_path / "good").iterdir()), []
    for number in range(max(INPUTS, len(samples))):
        rng = random.Random(f"{SEED} {reader} {number}")
        sample = samples[number % len(samples)]
        folder = shutil.copytree(sample, tmp_path / f"input {number}" / sample.name)
        file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        name = str(file.relative_to(folder))
        if number < len(samples):
            error = read(reader, folder, name)
            assert error is None, f"the sample {sample.name} of {reader}: {error!r}"
        file.write_bytes(damaged(name, file.read_bytes(), rng))
        error = read(reader, folder, name)
        assert right(error), f"input {number} of {reader}: {error!r}"
        found.append(error)
        shutil.rmtree(folder.parent)
    assert any(isinstance(error, InputError) for error in found)
