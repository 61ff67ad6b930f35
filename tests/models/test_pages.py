"""A reader finds a model whole: the pages that a gradient crosses, counted."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minillm
from minillm import use_kernels
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig

PACKAGE = Path(minillm.__file__).parent


def pages(run):
    """The files of the package whose functions a function calls, without the choice of kernels."""
    files = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            files.add(path.relative_to(PACKAGE).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return {file for file in files if not file.startswith("_kernels/")}


@pytest.mark.parametrize(
    ("Model", "config", "most"),
    [
        (GPT, GPTConfig(11, 8, 2, 2, 8), 19),
        (Llama, LlamaConfig(11, 8, 2, 2, width=8), 22),
        (Mamba, MambaConfig(11, 2, 8), 18),
    ],
)
def test_a_gradient_crosses_few_files(Model, config, most):
    rng = np.random.default_rng(0)
    model, ids = Model(config, rng), rng.integers(0, 11, (2, 6))

    def gradient():
        _, backward = model.loss((ids, ids))
        backward()

    with use_kernels("numpy"):
        found = pages(gradient)
    assert f"models/{Model.__name__.lower()}.py" in found
    assert len(found) <= most, sorted(found)
