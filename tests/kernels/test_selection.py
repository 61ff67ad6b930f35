"""The choice of kernels, and the messages if they cannot run."""

import re
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from programs import run

import minillm
from minillm._kernels import (
    INSTRUCTION_SETS,
    TOPICS,
    KernelsUnavailable,
    _compiled,
    _default,
    kernels_info,
    select_kernels,
    twinned,
    use_kernels,
)
from minillm.errors import InputError

COMPILED = kernels_info()["available"] != ["numpy"]


def active():
    return kernels_info()["kernels"]


def test_use_kernels_holds_inside_the_block_only():
    before = active()
    with use_kernels("numpy"):
        assert active() == "numpy"
        with use_kernels("auto"):
            assert active() == select_kernels("auto").name
        assert active() == "numpy"
    assert active() == before


def test_use_kernels_holds_in_its_own_thread_only():
    before, seen = active(), []
    with use_kernels("numpy" if before != "numpy" else "auto"):
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
    assert seen == [before]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("MINILLM_KERNELS", value) for value in ("fortran", "x" * 5000)),
        *(("MINILLM_NUM_THREADS", value) for value in ("-3", "1000001", "9" * 30, "9" * 5000)),
    ],
)
def test_an_unknown_name_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    read = _default.__wrapped__ if name == "MINILLM_KERNELS" else _compiled.__wrapped__
    with pytest.raises(InputError, match=f"^{name}: expected") as caught:
        read(*[] if name == "MINILLM_KERNELS" else ["_cpu"])
    assert value[:50] in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(InputError, match="found 'fortran'"), use_kernels("fortran"):
        pass


def test_what_is_missing_is_refused_with_the_reason():
    for name, reason in kernels_info()["missing"].items():
        with pytest.raises(KernelsUnavailable, match=f"{name} cannot run here") as caught:
            select_kernels(name)
        assert reason in str(caught.value)
        assert isinstance(caught.value, ImportError)


@pytest.mark.deep
def test_the_environment_chooses():
    program = "import minillm; print(minillm.kernels_info())"
    assert "'kernels': 'numpy'" in run(program, MINILLM_KERNELS="numpy").stdout
    if COMPILED:
        assert "'kernels': 'baseline'" in run(program, MINILLM_KERNELS="baseline").stdout
        assert "'threads': 3" in run(program, OMP_NUM_THREADS="3").stdout
        limited = run(program, OMP_NUM_THREADS="3", MINILLM_NUM_THREADS="2")
        assert "'threads': 2" in limited.stdout


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
    results = run(program, MINILLM_KERNELS="auto").stdout
    assert "'kernels': 'numpy'" in results
    assert "not built" in results
    assert "cannot run here" in run(program, MINILLM_KERNELS="cython").stderr


def test_without_a_compiler_each_set_says_why(monkeypatch):
    """The build notes its failure for the sets that it tried alone."""
    failures = '{"baseline": "its build failed (no compiler)"}'
    monkeypatch.setattr("pathlib.Path.read_text", lambda path: failures)
    monkeypatch.setattr("minillm._kernels._compiled", lambda name: None)
    assert minillm._kernels._not_built("avx512") == "its build failed (no compiler)"
    monkeypatch.setattr("minillm._kernels._compiled", lambda name: object())
    assert "not built for it" in minillm._kernels._not_built("avx512")


def test_a_call_runs_the_twin_in_force(monkeypatch):
    """The one of the same name and with the same arguments; without one, the original."""

    def half(x, y):
        return x / 2, y

    monkeypatch.setattr("minillm._kernels.ORIGINALS", {})
    function = twinned(half)
    assert function.__wrapped__ is half
    assert function.__name__ == "half"
    twin = SimpleNamespace(name="toy", half=lambda x, y: (x, "twin"))
    monkeypatch.setattr("minillm._kernels.select_kernels", lambda name: twin)
    with use_kernels("toy"):
        assert function(3, "a") == (3, "twin")
        del twin.half
        assert function(3, "a") == (1.5, "a")
        quarter = twinned(_quarter)  # an original has an underscore where its op has the name
        assert quarter(8) == 2
        twin.quarter = lambda x: "twin"
        assert quarter(8) == "twin"


def _quarter(x):
    return x / 4


def test_every_name_is_twinned_once():
    """A second original, or a second twin, of a name would take the place of the first."""
    package = Path(minillm.__file__).parent
    sources = "".join(page.read_text() for page in sorted(package.rglob("*.py")))
    originals = re.findall(r"^@twinned\ndef _?(\w+)", sources, re.MULTILINE)
    pages = [(package / "_kernels" / f"{topic}.pyx").read_text() for topic in TOPICS]
    twins = re.findall(r"^def ([a-z]\w*)", "".join(pages), re.MULTILINE)
    assert len(originals) == len(set(originals)) > 40
    assert len(twins) == len(set(twins)) > 40


def test_a_module_of_another_version_is_no_twin(monkeypatch):
    """Its functions are not found, and the originals would run under the name of the twins."""
    stale = ModuleType("minillm._kernels._adam_toy")
    monkeypatch.setitem(sys.modules, "minillm._kernels._adam_toy", stale)
    monkeypatch.setattr("minillm._kernels.TOPICS", ("adam",))
    with pytest.raises(ImportError, match="_adam_toy has no kernels: it is of another version"):
        minillm._kernels._load("toy")
