"""What is uploaded: one version, pinned tools, and kernels for all CPUs."""

import re
import runpy
import tomllib
from contextlib import chdir
from pathlib import Path
from unittest import mock

import minillm

ROOT = Path(minillm.__file__).parents[1]


def test_one_version():
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest, date = re.findall(r"^## ([\d.]+) - ([\d-]+)$", changelog, re.MULTILINE)[0]
    (cited_date,) = re.findall(r"^date-released: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited == newest == minillm.__version__
    assert date == cited_date


def test_the_tools_that_build_are_pinned_with_hashes():
    folder = ROOT / "distribution"
    asked = re.findall(r"^[\w-]+", (folder / "requirements.in").read_text(), re.MULTILINE)
    pinned = (folder / "requirements.txt").read_text()
    entries = re.findall(
        r"^([\w-]+)==[\w.]+ \\\n    --hash=sha256:[0-9a-f]{64}", pinned, re.MULTILINE
    )
    assert {"setuptools", "cython", "ziglang", "pip"} <= set(asked) <= set(entries)
    assert len(entries) == len(re.findall(r"^[\w-]+==", pinned, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in project["build-system"]["requires"]:
        assert requirement in (folder / "requirements.in").read_text()
    assert "://" not in pinned  # the file names no index


def test_no_kernel_is_compiled_for_the_building_machine_alone():
    with chdir(ROOT), mock.patch("setuptools.setup"):
        recipe = runpy.run_path("setup.py")
    flags = [*recipe["GCC"], *(flag for flags in recipe["GCC_SETS"].values() for flag in flags)]
    assert flags
    assert not [flag for flag in flags if "native" in flag]
    wheels = (ROOT / "distribution/build.py").read_text()
    assert "cc -target {target}" in wheels  # without a target, zig compiles for this CPU
    assert "native" not in wheels
