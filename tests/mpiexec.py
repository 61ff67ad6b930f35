"""Programs under mpiexec, for tests: skipped where MPI is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def mpiexec():
    """The path of mpiexec, which is beside Python or on the PATH."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    return found


def start(ranks, *command, **options):
    """Python with the arguments ``command``, as a job of so many ranks."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | options.pop("env", {})
    return subprocess.Popen(
        [mpiexec(), "-n", str(ranks), sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def run(ranks, *command, **options):
    """As :func:`start`, to its end: the status, and what it wrote to both streams."""
    with start(ranks, *command, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    return process.returncode, stdout, stderr
