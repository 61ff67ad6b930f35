"""What every model promises: see tests/model_table.py for the models, model_checks.py for how."""

import numpy as np
import pytest
from model_checks import check_model, check_rows, fit, logits_of, same_gradients
from model_table import EACH_CLASS, MASKED, STACKS, TABLE, WINDOWS, C, each
from usual import originals_deep, usual_kernels

from minillm import ops
from minillm.layers.gradients import PartlyTrained
from minillm.training.trained import depths

pytestmark = pytest.mark.usefixtures("both_twins")


@originals_deep
@each(TABLE)
def test_the_gradient_of_every_weight(entry):
    model, batch = entry.with_batch()
    check_model(model, batch, **entry.options)


@originals_deep
@each(TABLE)
def test_a_batch_equals_its_rows_and_padding_changes_nothing(entry):
    check_rows(*entry.with_batch())


@originals_deep
@each(TABLE)
def test_any_part_has_the_gradients_that_it_has_in_the_whole(entry):
    """Some weights alone, each depth and all above it, and parts drawn at random; with dropout."""
    model, batch = entry.with_batch()
    params, depth_of, rng = model.params, depths(model), np.random.default_rng(0)
    loss, backward = model.loss(batch, np.random.default_rng(2))
    whole = backward()
    parts = [{name} for name in whole] if entry in EACH_CLASS.values() else [set()]
    parts += [{n for n in whole if depth_of[n] >= d} for d in range(max(depth_of.values()) + 1)]
    parts += [{n for n in whole if rng.random() < share} for share in (0.1, 0.5, 0.9)]
    for part in parts:
        model.params = PartlyTrained(params, part)
        same, part_backward = model.loss(batch, np.random.default_rng(2))
        found = part_backward()
        assert same == loss
        assert part <= found.keys()
        for name in part:
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-9, atol=1e-13)


@usual_kernels
@each(EACH_CLASS)
def test_parameters_are_given_by_name_and_shape(entry):
    """As from a file: the same losses to the bit, and no other parameters."""
    model, batch = entry.with_batch(np.float32)
    Model, config, params = entry.Model, entry.config, model.params
    count = sum(p.size for p in params.values())
    assert repr(model).startswith(f"<{Model.__name__} ")
    assert repr(model).endswith(f": {count:,} parameters>")
    assert model.dtype == np.float32
    again = Model(config, params={name: p.copy() for name, p in params.items()})
    assert again.loss(batch)[0] == model.loss(batch)[0]
    assert Model.shapes(config) == {name: p.shape for name, p in params.items()}
    name = min(params)
    missing = {other: p for other, p in params.items() if other != name}
    for wrong, message in (
        (params | {name: np.zeros((2, 3, 4, 5))}, rf"^{name}: .* \(.*, found \(2, 3, 4, 5\)"),
        (missing, rf"^{name}: expected shape .*, found no such parameter"),
        (params | {"more.W": np.zeros(3)}, r"^more\.W: expected no parameter of this name"),
    ):
        with pytest.raises(ValueError, match=message):
            Model(config, params=wrong)
    with pytest.raises(TypeError, match=f"{Model.__name__} needs rng, to draw fresh parameters"):
        Model(config)


@each(EACH_CLASS)
def test_ids_lengths_and_labels_are_whole_numbers(entry):
    model, batch = entry.with_batch()
    whole = [k for k, column in enumerate(batch) if column.dtype.kind in "iu"]
    assert whole
    for wrong in whole:
        columns = [column + 0.2 if k == wrong else column for k, column in enumerate(batch)]
        columns = type(batch)(*columns) if hasattr(batch, "_fields") else tuple(columns)
        # A recurrence takes vectors in place of ids: floats lack an axis.
        with pytest.raises((TypeError, ValueError), match=r"expected (integers, found|shape)"):
            model.loss(columns)


@originals_deep
@each(WINDOWS | STACKS)
def test_later_tokens_change_nothing_before(entry):
    model, (ids, targets) = entry.with_batch()
    logits, backward = logits_of(model, ids)
    for t in range(1, ids.shape[1]):
        changed = ids.copy()
        changed[:, t:] = (changed[:, t:] + 1) % model.config.vocabulary
        others, _ = logits_of(model, changed)
        np.testing.assert_array_equal(others[:, :t], logits[:, :t])
        assert (others[:, t] != logits[:, t]).any(axis=-1).all()
    loss, loss_backward = ops.cross_entropy(logits, targets)
    same, same_backward = model.loss((ids, targets))
    assert same == pytest.approx(loss, rel=1e-14)
    same_gradients(backward(loss_backward()), same_backward())


@each(STACKS | MASKED)
def test_a_text_longer_than_the_context_is_refused(entry):
    model, ids = entry.new(), np.zeros((1, C + 1), int)
    read = model.forward if hasattr(model, "forward") else model.hidden
    read(ids[:, 1:])
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        read(ids)


@usual_kernels
@each(EACH_CLASS)
def test_one_batch_is_learned_by_heart(entry):
    model, batch = entry.with_batch(np.float32)
    before = model.loss(batch)[0]
    assert fit(model, batch, steps=150, learning_rate=0.02) < 0.1 * before
