"""Configurations with parts of their own: scaled angles in a run's config.json."""

import json
from dataclasses import asdict, replace

import pytest

from minillm.errors import InputError
from minillm.models.llama import LlamaConfig
from minillm.ops.rotary_scaling import Linear, Llama3, Yarn
from minillm.runs.config import config_of
from minillm.runs.kinds.language import LLAMA

CONFIG = LlamaConfig(20, 16, 2, heads=4, width=12, head_width=6)


def read(values):
    return config_of(LlamaConfig, json.loads(json.dumps(values)), LLAMA.settings, "run: ")


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        Linear(2.0),
        Llama3(8.0, 1.0, 4.0, 16.0),
        Yarn(4.0, 9.0),
        Yarn(4.0, 9.0, 16.0, 0.5, False, 1.25),
    ],
)
def test_a_scaling_comes_back_from_json(scaling):
    config = replace(CONFIG, rope_scaling=scaling)
    assert read(asdict(config)) == config


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ([1.0], "rope_scaling: expected Linear, found"),
        (3.0, "rope_scaling: expected Linear, found 3.0"),
        ({"factor": "a"}, "rope_scaling: factor: expected a number"),
        ({"factor": -1.0}, "rope_scaling: factor: expected a number from 1e-9 to 1e9, found -1.0"),
        ({"more": 1.0}, "rope_scaling: more: there is no such setting"),
    ],
)
def test_a_damaged_scaling_is_one_line(damaged, message):
    with pytest.raises(InputError, match=f"^run: {message}") as error:
        read(asdict(CONFIG) | {"rope_scaling": damaged})
    assert "\n" not in str(error.value)
