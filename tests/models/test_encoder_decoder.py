"""The encoder-decoder: its logits, steps, and the gain by attention."""

import numpy as np
import pytest
from model_checks import check_model, check_rows
from model_table import encoder_decoder, pairs
from usual import originals_deep

from minillm import ops
from minillm.decoding.decoder import TargetDecoder, select
from minillm.layers.attention import KINDS, Attention
from minillm.layers.fresh import ParamSpec, uniform

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def small(attention, **options):
    return encoder_decoder(attention=attention, **options).new()


@pytest.mark.parametrize(
    ("attention", "cell"),
    [("none", "rnn"), ("dot", "lstm"), ("general", "gru"), ("additive", "gru")],
)
def test_steps_equal_the_whole_sequence(attention, cell):
    """Hypotheses that share the memory of a source equal hypotheses with a source each."""
    model = small(attention, cell=cell, layers=2)
    rng = np.random.default_rng(5)
    source, source_lengths, target, _ = pairs(model, rng)
    decoder = TargetDecoder(model)
    state = decoder.start(source, source_lengths)
    state = select(state, np.arange(3), np.zeros((3, 2), int))  # two of each
    ids = np.full((3, 2), model.config.bos)
    log_p, all_weights = 0.0, []
    for t in range(4):
        logits, weights, state = decoder.step(ids, state)
        np.testing.assert_array_equal(logits[:, 0], logits[:, 1])
        p = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(-1, keepdims=True)
        log_p += np.log(p[np.arange(3), target[:, t]]).sum()
        all_weights.append(weights)
        ids = np.repeat(target[:, t, None], 2, axis=1)
    loss, _ = model.loss((source, source_lengths, target, np.full(3, 4)))
    assert -log_p / 12 == pytest.approx(loss, rel=1e-10)
    if attention == "none":
        assert all_weights == [None] * 4
    else:
        weights = np.stack(all_weights, axis=2)  # (B, K, T, S)
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
        for b, length in enumerate(source_lengths):
            assert not weights[b, ..., length:].any()


class Location(Attention):
    """score = v . q, at one position of the source more than at another by position alone.

    A toy after Luong et al. (2015), equation 8: the weights of S positions, from the query.
    """

    weights = ("W",)

    def new_layer(self, prefix, H, M):
        """Declare ``W``, the keys of up to 9 positions."""
        return {f"{prefix}.W": ParamSpec((9, H), uniform(H**-0.5))}

    def op(self, query, keys, values, lengths, W):
        """(context, weights), backward."""
        S = values.shape[1]
        of_positions = np.tile(W[:S], (len(values), 1, 1))  # (B, S, H)
        outputs, op_backward = ops.multiplicative_attention(
            query, of_positions, values, None, lengths
        )

        def backward(dcontext):
            dquery, dpositions, dvalues = op_backward(dcontext)
            dW = np.zeros_like(W)
            dW[:S] = dpositions.sum(axis=0)
            return dquery, np.zeros_like(keys), dvalues, dW

        return outputs, backward


def test_a_new_attention_is_one_class(monkeypatch):
    """Config, gradients, loss and steps accept it by its name."""
    monkeypatch.setitem(KINDS, "location", Location())
    entry = encoder_decoder(attention="location", layers=2, dropout=0.3)
    model, batch = entry.with_batch()
    check_model(model, batch)
    check_rows(model, batch)
    test_steps_equal_the_whole_sequence("location", "gru")
