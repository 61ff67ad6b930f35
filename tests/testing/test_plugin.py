"""The fixture gradcheck, in a project of another."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minillm

ROOT = Path(minillm.__file__).parents[1]

TESTS = """
import numpy as np
import pytest


def double(x):
    return 2 * x, lambda dy: 2 * dy


def wrong(x):
    return 2 * x, lambda dy: 3 * dy


def test_arrays(gradcheck):
    assert gradcheck(double, np.ones(3)) < 1e-7


def test_shapes(gradcheck):
    gradcheck(double, "B T", seeds=2, T=(1, 2))
    gradcheck((lambda x: x**2, lambda dy, x: 2 * x * dy), "B T", tolerance=1e-5)


def test_kinks(gradcheck):
    def size(x):
        return np.abs(x), lambda dy: dy * np.sign(x)

    gradcheck(size, np.array([0.0, 2.0]), kinks="between")
    gradcheck(size, "B T", kinks=0, dtype="float16")


def test_wrong_shapes(gradcheck):
    gradcheck(wrong, "B T")


def test_wrong_arrays(gradcheck):
    gradcheck(wrong, np.ones(3), locate=True)


def test_arrays_have_their_sizes(gradcheck):
    with pytest.raises(TypeError, match="gradcheck: expected a legend with T, found arrays"):
        gradcheck(double, np.ones(3), T=3)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of the tests above, without the plugins of this environment."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(TESTS)
    options = ["-p", "minillm.pytest_plugin", "-p", "no:cacheprovider", "-W", "error"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert result.stderr == ""
    return result.stdout


def test_right_ops_pass_and_wrong_ones_fail(report):
    assert "2 failed, 4 passed" in report
    for name in ("wrong_shapes", "wrong_arrays"):
        assert f"FAILED test_mine.py::test_{name}" in report


def test_a_failure_is_the_line_of_the_test_and_the_message(report):
    failure = report.partition("_ test_wrong_shapes _")[2].partition("_ test_wrong_arrays _")[0]
    lines = [line for line in failure.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert any(line.startswith(">") and 'gradcheck(wrong, "B T")' in line for line in lines)
    assert "the gradient with respect to x is wrong" in failure
    assert 'to repeat: check_gradients(wrong, *arrays("B T", B=' in failure
    assert "line 11, `return 2 * x, lambda dy: 3 * dy`: with " in report
    for internal in ("gradients.py", "legends.py", "adapters.py", "pytest_plugin.py"):
        assert f"{internal}:" not in report


def test_the_plugin_is_declared_and_costs_nothing():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    code = f"""
import sys
import {module}
imported = [name for name in sys.modules if name.startswith(("numpy", "minillm."))]
sys.exit(imported != [{module!r}] and f"imported: {{imported}}")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
