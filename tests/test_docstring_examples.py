"""The examples in docstrings are true."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import minillm

ROOT = Path(minillm.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0
