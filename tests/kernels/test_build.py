"""How the kernels are built: once for all versions of Python, and under the expected names."""

import contextlib
import importlib
import importlib.machinery
import re
import runpy
import sysconfig
from pathlib import Path
from threading import Lock
from unittest import mock

import pytest
from setuptools import Distribution

from minillm._kernels import INSTRUCTION_SETS, TOPICS

ROOT = Path(__file__).parents[2]
AVX2 = "fma f16c avx2"  # the flags of a CPU


@pytest.fixture(scope="module")
def recipe():
    """The names of setup.py."""
    with contextlib.chdir(ROOT), mock.patch("setuptools.setup"):
        return runpy.run_path("setup.py")


def test_what_is_built_is_what_is_looked_for(recipe):
    assert set(recipe["TOPICS"]) == set(TOPICS)
    assert set(recipe["GCC_SETS"]) == set(INSTRUCTION_SETS)


def test_the_limited_api_is_that_of_the_oldest_python(recipe):
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert recipe["MACROS"] == []
        return
    ((name, value),) = recipe["MACROS"]
    assert name == "Py_LIMITED_API"
    assert (
        f'requires-python = ">=3.{int(value, 16) >> 16 & 0xFF}"'
        in (ROOT / "pyproject.toml").read_text()
    )


@pytest.mark.parametrize(
    ("choice", "in_place", "cpu", "expected"),
    [
        ("", True, "flags : sse2 fma f16c avx2", ["baseline", "avx2"]),
        ("", True, "flags : sse2 fma avx2", ["baseline"]),
        ("", True, f"{AVX2} avx512f avx512dq avx512vl", ["baseline", "avx2"]),
        ("", True, f"{AVX2} avx512f avx512dq avx512vl avx512bw", ["baseline", "avx2", "avx512"]),
        ("", True, "", ["baseline", "avx2", "avx512"]),
        ("", False, "sse2", ["baseline", "avx2", "avx512"]),
        ("all", True, "sse2", ["baseline", "avx2", "avx512"]),
        ("check", True, "sse2", ["baseline", "avx2", "avx512"]),
        ("best", True, AVX2, ["avx2"]),
        ("best", True, "sse2", ["baseline"]),
    ],
)
def test_a_build_in_place_is_for_this_cpu(recipe, choice, in_place, cpu, expected):
    chosen_sets = recipe["chosen_sets"]
    chosen_sets.__globals__["SETS"][:] = INSTRUCTION_SETS[::-1]
    assert chosen_sets(choice, in_place, cpu) == expected


def test_an_unknown_choice_of_sets(recipe):
    with pytest.raises(SystemExit, match="MINILLM_SETS: expected all, best or check, found avx2"):
        recipe["chosen_sets"]("avx2", True, "")


@pytest.mark.parametrize("error", [None, OSError("no terminal")])
def test_the_progress_is_shown_on_a_terminal_if_there_is_one(recipe, error, tmp_path, monkeypatch):
    """pip shows nothing of a build: setting up looked as if it hung."""
    monkeypatch.chdir(ROOT)
    kernels = recipe["BuildKernels"](Distribution())
    kernels.build_lib = str(tmp_path)
    kernels.choice, kernels.sets, kernels.built, kernels.translated = "", ["avx2"], 2, {"_adam"}
    kernels.translating, kernels.compiler, kernels.failures = Lock(), mock.Mock(), {}
    extension = mock.Mock(translated="_adam", instruction_set="")
    extension.name = "minillm._kernels._adam"
    compiled = mock.patch("setuptools.command.build_ext.build_ext.build_extension")
    with compiled, mock.patch("builtins.open", mock.mock_open(), create=True) as opened:
        opened.side_effect = error
        kernels.build_extension(extension)
    opened.assert_called_once_with("/dev/tty", "w")
    assert not kernels.failures
    if error is None:
        of = len(recipe["SHARED"]) + len(recipe["TOPICS"])
        opened().write.assert_called_once_with(f"\rcompiled 3 of {of} kernels")


def test_setting_up_says_first_how_long_it_takes():
    _, _, rule = (ROOT / "Makefile").read_text().partition("\n.venv/%: pyproject.toml setup.py")
    assert re.search(r"echo .*compiling.* minutes.*\n.*pip install", rule.partition("\n\n")[0])


def test_no_module_of_one_version_hides_those_of_all():
    """Python prefers a module whose name has its version, such as an earlier build leaves."""
    cpu = pytest.importorskip("minillm._kernels._cpu", reason="the kernels are not built")
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        versioned = importlib.machinery.EXTENSION_SUFFIXES[0]
        assert not list(Path(cpu.__file__).parent.glob(f"*{versioned}"))


def test_the_page_of_platforms_has_each_wheel():
    built = re.findall(
        r'^    "(\w+)": "', (ROOT / "distribution/build.py").read_text(), flags=re.MULTILINE
    )
    page = (ROOT / "docs/manual/platforms.md").read_text()
    assert len(built) == 7
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == built
