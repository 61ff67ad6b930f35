"""Settings: one declaration, from which checks and options follow."""

import json
from dataclasses import dataclass, fields
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.cli.arguments import ArgumentParser, add_settings, given_settings
from minillm.errors import InputError
from minillm.option import make, option, option_of, types_of
from minillm.runs import settings as declarations
from minillm.runs.kind import kinds
from minillm.runs.settings import config_from, names_of_sizes, stored_values

KINDS = sorted(name for name in kinds() if not name.startswith("toy"))


@pytest.fixture(params=KINDS)
def settings(request):
    return kinds()[request.param].settings


def parsed(settings, *words):
    parser = ArgumentParser(prog="x")
    add_settings(parser, settings)
    return given_settings(parser.parse_args(words), settings)


def test_the_defaults_are_within_their_own_ranges(settings):
    defaults = settings()
    values = {entry.name: getattr(defaults, entry.name) for entry in fields(settings)}
    assert make(settings, values) == defaults


def test_what_json_kept_makes_the_same_settings(settings):
    chosen = make(settings, {})
    stored = json.loads(json.dumps(stored_values(chosen)))
    assert make(settings, stored) == chosen


# Settings that are named as a field of the config, which they do not say alone: the most words or
# tokens that a vocabulary may have.
OTHER = {"vocabulary"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_default_exists_once(kind):
    declared = kinds()[kind]
    of_config = {entry.name: entry.default for entry in fields(declared.config)}
    of_settings = {entry.name: entry.default for entry in fields(declared.settings)}
    both = (of_config.keys() & of_settings.keys()) - OTHER
    assert both == set(names_of_sizes(declared.settings))
    for name in both:
        if of_settings[name] is not None:  # None: it depends on other settings, or on the data
            assert of_settings[name] == of_config[name], name


def test_a_default_is_that_of_the_config():
    @dataclass(frozen=True)
    class Config:
        width: int = 7

    Settings = declarations.settings(
        config=Config,
        sizes="width",
        width={"help": "width of a layer", "metavar": "D"},
        other=(int, option(3, "something else")),
    )
    assert Settings().width == 7
    assert option_of(Settings, "width").least == 1
    assert config_from(Settings(width=9), Config, colour=1) == Config(9)
    assert stored_values(Settings()) == {"other": 3}


def test_another_default_keeps_help_and_range():
    @dataclass(frozen=True)
    class Settings(kinds()["lm"].settings):
        batch: int = 3

    assert make(Settings, {}).batch == 3
    assert option_of(Settings, "batch") == option_of(kinds()["lm"].settings, "batch")
    with pytest.raises(InputError, match="batch: expected a whole number from 1"):
        make(Settings, {"batch": 0})


def test_every_option_has_help_and_only_what_is_given_is_told(settings):
    assert parsed(settings) == {}
    for entry in fields(settings):
        assert option_of(settings, entry.name).help
    if "seed" in types_of(settings):
        assert parsed(settings, "--seed", "3") == {"seed": 3}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"hidden": 1.5}, "hidden: expected a whole number from 1 to 65536, found 1.5"),
        ({"hidden": 10**30}, "hidden: expected a whole number from 1 to 65536"),
        ({"hidden": True}, "hidden: expected a whole number"),
        ({"hidden": None}, "hidden: expected a whole number"),
        ({"dropout": 1.0}, "dropout: expected a number at least 0 and below 1, found 1.0"),
        ({"dropout": float("nan")}, "dropout: expected a number"),
        ({"learning_rate": float("inf")}, "learning_rate: expected a number above 0"),
        ({"cell": "fish"}, "cell: expected one of gru, lstm, min_gru, min_lstm, rnn, found 'fish'"),
        ({"files": [3]}, "files: expected a text, found 3"),
        ({"pretokenised": 1}, "pretokenised: expected true or false, found 1"),
        ({"colour": 1}, "colour: there is no such setting"),
    ],
)
def test_what_is_wrong_is_named(values, complaint):
    with pytest.raises(InputError) as error:
        make(kinds()["lm"].settings, values, "config.json: ")
    assert str(error.value).startswith(f"config.json: {complaint}")


@given(st.integers(), st.sampled_from(["hidden", "layers", "seed", "batch", "steps"]))
def test_python_and_the_command_line_accept_the_same_numbers(value, name):
    settings = kinds()["lm"].settings
    try:
        chosen = getattr(make(settings, {name: value}), name)
    except InputError:
        chosen = None
    try:
        typed = parsed(settings, f"--{name}={value}")[name]
    except SystemExit:
        typed = None
    assert chosen == typed


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({"cell": "lstm"}, 0.006),
        ({"cell": "gru"}, 0.8 / 512),
        ({"cell": "rnn", "hidden": 256}, 0.8 / 256),
        ({"cell": "rnn", "hidden": 64}, 0.006),
        ({"cell": "gru", "learning_rate": 0.5}, 0.5),
    ],
)
def test_a_wide_rnn_or_gru_learns_at_a_lower_rate(given, rate):
    """At the rate of an LSTM of 512 both diverged within five minutes."""
    kind = kinds()["lm"]
    training = SimpleNamespace(settings=kind.settings(**given), initial=None, stored=None)
    settings = kind.complete(training, given)
    assert settings.learning_rate == pytest.approx(rate)
