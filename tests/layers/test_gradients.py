"""Gradients by name: sums where a name comes twice, and the parts of an outer model."""

import numpy as np

from minillm.layers.gradients import any_trained, merge_gradients, prefixed, trained_within


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


def test_names_of_an_inner_model():
    assert prefixed("x.", {"a": 1}) == {"x.a": 1}
    assert trained_within({"x.a", "x.b", "y.a"}, "x.") == {"a", "b"}
    assert trained_within(None, "x.") is None
    assert any_trained(None, "x.")
    assert any_trained({"y.a"}, "x.", "y.")
    assert not any_trained({"y.a"}, "x.")
