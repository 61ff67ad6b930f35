"""Kernels in several Python threads at once, and in a Python that has no GIL."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import programs
import pytest

pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")

PROGRAM = Path(__file__).parent / "many_threads.py"


@pytest.mark.deep
def test_several_python_threads_get_the_bits_of_one():
    """The pool is small, so that blocks are taken and freed all the time."""
    environment = os.environ | {"MINILLM_POOL_BYTES": "400k", "MINILLM_KERNELS": "cython"}
    command = [sys.executable, "-X", "faulthandler", PROGRAM, "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python was built with the GIL"
)
def test_no_module_brings_the_gil_back():
    """Python would switch it on, with a warning, for a module that does not declare to be safe."""
    program = """
import pkgutil
import sys
from importlib import import_module

import minillm
from minillm import _kernels

minillm.kernels_info()
modules = [module.name for module in pkgutil.iter_modules(_kernels.__path__)]
for name in modules:
    import_module(f"minillm._kernels.{name}")
assert "_pool" in modules and not sys._is_gil_enabled(), modules
"""
    done = programs.run(program, PYTHON_GIL="")
    assert (done.returncode, done.stderr) == (0, "")
