"""The encoder-decoder: gradients of all variants, padding, steps, and the gain by attention."""

import numpy as np
import pytest
from model_checks import check_model, check_padding, fit, random_pairs
from usual import originals_deep, usual_kernels

from minillm import ops
from minillm.decoding.decoder import TargetDecoder, select
from minillm.layers import dense
from minillm.layers.attention import KINDS, Attention
from minillm.layers.fresh import ParamSpec, uniform
from minillm.layers.gradients import merge_gradients
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")
CELLS = ("rnn", "lstm", "gru")


def small(dtype=np.float64, seed=0, **options):
    config = EncoderDecoderConfig(
        **{
            "source_vocabulary": 6,
            "target_vocabulary": 5,
            "embedding": 3,
            "hidden": 4,
            "layers": 1,
            "dropout": 0.0,
            "label_smoothing": 0.0,
            **options,
        }
    )
    return EncoderDecoder(config, np.random.default_rng(seed), dtype=dtype)


def check(model):
    check_model(model, random_pairs(model, np.random.default_rng(1)))


@originals_deep
@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_of_every_parameter(attention, cell):
    check(small(attention=attention, cell=cell))


@pytest.mark.parametrize("attention", KINDS)
def test_the_logits_have_the_loss_and_its_gradients(attention):
    model = small(attention=attention, layers=2)
    source, lengths, targets = np.array([[1, 2, 3]]), np.array([3]), np.array([[4, 0, 5]])
    loss, backward = model.loss((source, lengths, targets, np.array([3])))
    state, encode_backward = model.encode(source, lengths)
    (a, _), decode_backward = model.decode(np.array([[5, 4, 0]]), state)  # 5 is BOS
    logits, output_backward = dense.layer(model.params, "output", a)
    again, loss_backward = ops.cross_entropy(logits, targets)
    assert again == pytest.approx(loss)
    da, of_output = output_backward(loss_backward())
    dstate, of_decoder = decode_backward(da)
    expected = backward()
    found = merge_gradients(of_output, of_decoder, encode_backward(dstate))
    assert found.keys() == expected.keys() == model.params.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-12)


@originals_deep
@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_with_layers_dropout_and_smoothing(attention, bidirectional):
    model = small(
        attention=attention,
        bidirectional=bidirectional,
        layers=2,
        dropout=0.3,
        label_smoothing=0.2,
    )
    check(model)


@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_batch_mates_change_nothing(attention, bidirectional):
    check_padding(small(attention=attention, bidirectional=bidirectional))


@pytest.mark.parametrize("attention", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_whole_sequence(attention, cell):
    """Hypotheses that share the memory of a source equal hypotheses with a source each."""
    model = small(attention=attention, cell=cell, layers=2)
    rng = np.random.default_rng(5)
    source, source_lengths, target, _ = random_pairs(model, rng)
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


def loss_on_fresh_sequences(attention, order, steps=300, length=20, V=8):
    """The loss of copying 20 tokens, in their order or reversed, after a few hundred steps."""
    rng = np.random.default_rng(8)

    def batch(B):
        source = rng.integers(0, V, (B, length))
        target = np.concatenate([source[:, ::order], np.full((B, 1), V)], axis=1)
        return source, np.full(B, length), target, np.full(B, length + 1)

    config = EncoderDecoderConfig(
        V, V, embedding=16, hidden=32, attention=attention, dropout=0, label_smoothing=0
    )
    model = EncoderDecoder(config, rng)
    optimiser = Adam(model.params)
    for _ in range(steps):
        _, backward = model.loss(batch(32))
        optimiser.step(backward(), 0.01)
    return model.loss(batch(100))[0]


@usual_kernels
@pytest.mark.deep
def test_attention_says_again_what_one_vector_cannot_hold():
    for order in (1, -1):
        assert loss_on_fresh_sequences("none", order) > 0.8
        assert loss_on_fresh_sequences("general", order) < 0.15
    assert loss_on_fresh_sequences("dot", -1) < 0.15
    assert loss_on_fresh_sequences("additive", -1) < 0.15


@usual_kernels
@pytest.mark.deep
@pytest.mark.parametrize("attention", KINDS)
def test_one_batch_is_learned_by_heart(attention):
    rng = np.random.default_rng(9)
    model = small(np.float32, hidden=16, attention=attention)
    assert fit(model, random_pairs(model, rng, B=4), steps=150) < 0.05


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
    check(small(attention="location", layers=2, dropout=0.3))
    test_steps_equal_the_whole_sequence("location", "gru")
    test_padding_and_batch_mates_change_nothing("location", bidirectional=True)
