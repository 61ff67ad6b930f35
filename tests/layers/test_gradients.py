"""Gradients by name, and parameters of which only some are trained."""

import numpy as np

from minillm.layers.gradients import PartlyTrained, is_trained, merge_gradients, prefixed, under


def test_gradients_that_meet_are_added():
    one, two = np.array([1.0, 2]), np.array([10.0, 30])
    parts = {"a": one, "b": two}, {"b": one}, {}, {"b": one, "c": two}
    merged = merge_gradients(*parts)
    assert {name: g.tolist() for name, g in merged.items()} == {
        "a": [1, 2],
        "b": [12, 34],
        "c": [10, 30],
    }
    assert one.tolist() == [1, 2]  # no argument has changed
    assert two.tolist() == [10, 30]


def test_parameters_are_trained_unless_they_say_otherwise():
    assert is_trained({}, "x")
    params = PartlyTrained({"x.a": 1, "y.a": 2, "y.b": 3}, ["y.a", "blocks.10.W", "y.b.A"])
    assert params == {"x.a": 1, "y.a": 2, "y.b": 3}
    assert is_trained(params, "y.a")
    assert is_trained(params, "y")
    assert is_trained(params, "x", "y")
    assert is_trained(params, "y.b")  # of its additions
    assert not is_trained(params, "x")
    assert not is_trained(params, "x.a", "y.c")
    assert not is_trained(params, "blocks.1")
    assert not is_trained(PartlyTrained({"x.a": 1}, ()), "x.a")


def test_names_of_an_inner_model():
    assert prefixed("x.", {"a": 1}) == {"x.a": 1}
    params = {"x.a": 1, "x.b": 2, "y.a": 3}
    inner = under(params, "x.")
    assert inner == {"a": 1, "b": 2}
    assert is_trained(inner, "b")
    inner = under(PartlyTrained(params, ["x.a", "y.a"]), "x.")
    assert inner == {"a": 1, "b": 2}
    assert is_trained(inner, "a")
    assert not is_trained(inner, "b")
