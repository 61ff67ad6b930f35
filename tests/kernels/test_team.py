"""The team of threads without Python around it: team.c has the tests."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "minillm/_kernels"
COMPILER = os.environ.get("CC", "cc").split()

pytestmark = pytest.mark.skipif(
    os.name != "posix" or shutil.which(COMPILER[0]) is None, reason="no C compiler here"
)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A function that runs a test of team.c, compiled with the given flags."""
    folder = tmp_path_factory.mktemp("team")

    @functools.cache
    def compiled(*flags):
        program = folder / f"team{len(os.listdir(folder))}"
        usual = ["-O1", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-pthread"]
        command = [*COMPILER, *usual, *flags, f"-I{KERNELS}", HERE / "team.c", "-o", program]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return program

    def run(name, *flags):
        clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        done = subprocess.run(
            [compiled(*flags), name], capture_output=True, text=True, env=clean, timeout=100
        )
        assert done.returncode == 0, done.stderr

    return run


TESTS = ["once", "callers", "pauses", "slow_thread", "waiting"]


@pytest.mark.parametrize("name", TESTS)
def test_the_team(run, name):
    run(name)


@pytest.mark.parametrize("started", [0, 1])
def test_threads_that_do_not_start_or_never_arrive(run, started):
    run("no_threads", f"-DNO_THREADS={started}")


@pytest.mark.deep
@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
@pytest.mark.parametrize("name", TESTS)
def test_the_team_under_sanitizers(run, name, sanitizers):
    run(name, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all")
