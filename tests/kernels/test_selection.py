"""Which kernels run, and what is said where they cannot."""

import os
import subprocess
import sys
import threading

import pytest

from minillm._kernels import (
    INSTRUCTION_SETS,
    TOPICS,
    KernelsUnavailable,
    active_kernels,
    kernels_info,
    select_kernels,
    use_kernels,
)
from minillm.errors import InputError

COMPILED = kernels_info()["available"] != ["numpy"]


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_use_kernels_holds_inside_the_block_only():
    before = active_kernels().name
    with use_kernels("numpy") as kernels:
        assert kernels is active_kernels()
        assert active_kernels().name == "numpy"
        with use_kernels("auto"):
            assert active_kernels().name == select_kernels("auto").name
        assert active_kernels().name == "numpy"
    assert active_kernels().name == before


def test_use_kernels_holds_in_its_own_thread_only():
    seen = []
    with use_kernels("numpy"):
        thread = threading.Thread(target=lambda: seen.append(active_kernels().name))
        thread.start()
        thread.join()
    assert seen == [active_kernels().name]


def test_a_forced_twin_runs(twin):
    with use_kernels(twin.name):
        assert kernels_info()["kernels"] == twin.name


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="found 'fortran'"), use_kernels("fortran"):
        pass
    for name, value in (("MINILLM_KERNELS", "fortran"), ("MINILLM_NUM_THREADS", "-3")):
        result = run("import minillm; minillm.kernels_info()", **{name: value})
        assert f"{name}: expected" in result.stderr
        assert value in result.stderr


def test_what_is_missing_is_refused_with_the_reason():
    for name, reason in kernels_info()["missing"].items():
        with pytest.raises(KernelsUnavailable, match=f"{name} cannot run here") as caught:
            select_kernels(name)
        assert reason in str(caught.value)
        assert isinstance(caught.value, ImportError)


def test_the_environment_chooses():
    program = "import minillm; print(minillm.kernels_info())"
    assert "'kernels': 'numpy'" in run(program, MINILLM_KERNELS="numpy").stdout
    if COMPILED:
        assert "'kernels': 'baseline'" in run(program, MINILLM_KERNELS="baseline").stdout
        assert "'threads': 1" in run(program, MINILLM_NUM_THREADS="1").stdout
        assert "'threads': 1" in run(program, OMP_NUM_THREADS="1").stdout


def test_without_a_build_numpy_runs_and_says_why():
    """As after an install without a compiler: the compiled modules are hidden."""
    hidden = ["_cpu", *(f"_{topic}_{name}" for topic in TOPICS for name in INSTRUCTION_SETS)]
    program = f"""
import sys
for name in {hidden}:
    sys.modules["minillm._kernels." + name] = None
import minillm
print(minillm.kernels_info())
"""
    found = run(program, MINILLM_KERNELS="auto").stdout
    assert "'kernels': 'numpy'" in found
    assert "not built" in found
    assert "cannot run here" in run(program, MINILLM_KERNELS="cython").stderr
