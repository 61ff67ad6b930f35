"""Settings that all tests share: threads, Hypothesis profiles, and the two twins.

Profiles (``HYPOTHESIS_PROFILE=deep``): ``ci``, the default, draws the same examples every time;
``few`` does so for checks that are slow; ``deep`` draws half as many again, new ones each time,
or the same for each ``--hypothesis-seed``.  ``mutation`` is ``ci`` for tests.mutation, which asks
whether a test fails and not which is the simplest failure.
"""

import os
import re
import signal

# `make test` runs a process on each core, and the arrays here are tiny: a second thread would only
# get in the way.  Tests of threads set their number themselves.  Commands that tests start inherit
# this.  It must stand before NumPy and the kernels are imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, Phase, settings

from minillm import kernels_info, use_kernels

# What a script starts with "&" ignores Ctrl-C, and so do the commands that it starts: tests that
# send it would wait until such a command ends by itself.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", max_examples=10, derandomize=True, deadline=None)
settings.register_profile("few", settings.get_profile("ci"), max_examples=5)
settings.register_profile(
    "deep", max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
    database=None,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# --- make parity --------------------------------------------------------------------------------

# Programs with which ours is compared where they are installed.
OTHERS = re.compile(
    r"""importorskip\(["'](gensim|gguf|jax|kenlm|llama_cpp|openai|peft|scipy|sentence_transformers"""
    r"""|tokenizers|torch|transformers|numba)\b"""
)


def pytest_addoption(parser):
    parser.addoption(
        "--parity",
        action="store_true",
        help="only files that compare with other programs; fail if such a program is missing",
    )


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--parity", False) and collection_path.name.startswith("test_"):
        return OTHERS.search(collection_path.read_text("utf-8")) is None or None
    return None


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--parity", False) or not reporter:
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    for reason in sorted(reason for reason in reasons if "could not import" in reason):
        print(f"\nnot compared: {reason}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# --- the two twins ------------------------------------------------------------------------------


@pytest.fixture(params=["numpy", "cython"], scope="session")
def kernels(request):
    """Each twin in turn; where the compiled one is missing, its tests are skipped.

    The marks of ``usual.py`` ask for those that a program would use.
    """
    if request.param == "usual":
        return os.environ.get("MINILLM_KERNELS") or "auto"
    if request.param == "cython" and kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    return request.param


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The folder of a tiny run of ``kind_rows.ROWS`` by its name, trained when first asked for."""
    from kind_rows import Runs  # it imports every kind, which few folders need

    return Runs(tmp_path_factory.mktemp)


@pytest.fixture
def both_twins(kernels):
    """Runs the whole test on each twin: ``pytestmark = pytest.mark.usefixtures("both_twins")``."""
    with use_kernels(kernels):
        yield
