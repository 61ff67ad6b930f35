"""Beam search and sampling, against greedy choice, the model's own loss, and all outputs."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from minillm.beam import Translator, _largest, beam_search, sample_outputs
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.text import Characters, Words


def model_of(V=4, seed=0, scale=4.0, **options):
    """A random model with opinions: fresh output weights predict nearly uniformly."""
    config = EncoderDecoderConfig(6, V, embedding=5, hidden=6, **options)
    model = EncoderDecoder(config, np.random.default_rng(seed), dtype=np.float64)
    model.params["output.W"] *= scale
    return model


def sources(rng, B=5, S=6):
    lengths = rng.integers(1, S + 1, B)
    return rng.integers(0, 6, (B, S)), lengths


def greedy(model, source, lengths, limit):
    """One source at a time, the plainest way."""
    outputs = []
    for b in range(len(source)):
        state = model.start(source[b : b + 1, : lengths[b]], lengths[b : b + 1])
        ids, out = np.full((1, 1), model.config.bos), []
        for _ in range(limit):
            logits, _, state = model.step(ids, state)
            ids = logits.argmax(axis=-1)
            if ids[0, 0] == model.config.eos:
                break
            out.append(int(ids[0, 0]))
        outputs.append(out)
    return outputs


def log_probability(model, source, ids, ended=True):
    """By the loss of teacher forcing."""
    target = np.array([[*ids, model.config.eos]] if ended else [ids])
    T = np.array([target.shape[1]])
    loss, _ = model.loss((source[None], np.array([len(source)]), target, T))
    return -float(loss) * T[0]


def attention_weights(model, source, lengths, ids):
    """Of one source, (T, S): of each id, and of what follows the last."""
    state, weights = model.start(source, lengths), []
    for id in [model.config.bos, *ids]:
        _, weight, state = model.step(np.array([[id]]), state)
        weights.append(weight[0, 0])
    return np.array(weights)


@pytest.mark.parametrize("attention", ["none", "general"])
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_beam_of_one_is_greedy(attention, input_feeding, exponent):
    ended = 0
    for seed in range(10):
        model = model_of(seed=seed, attention=attention, input_feeding=input_feeding)
        source, lengths = sources(np.random.default_rng(seed))
        found = beam_search(model, source, lengths, beam=1, limit=9, length_exponent=exponent)
        assert [[h.ids for h in hs] for hs in found] == [
            [ids] for ids in greedy(model, source, lengths, 9)
        ]
        ended += sum(hs[0].ended for hs in found)
    assert 0 < ended < 50  # both ends are met


@pytest.mark.parametrize("input_feeding", [False, True])
def test_scores_are_the_models_own(input_feeding):
    model = model_of(input_feeding=input_feeding)
    source, lengths = sources(np.random.default_rng(1))
    found = beam_search(model, source, lengths, beam=4, limit=7, length_exponent=0.6)
    assert {h.ended for hs in found for h in hs} == {True, False}
    for b, hypotheses in enumerate(found):
        assert hypotheses == sorted(hypotheses, key=lambda h: -h.score)
        assert len({tuple(h.ids) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            expected = log_probability(model, source[b, : lengths[b]], h.ids, h.ended)
            assert h.log_probability == pytest.approx(expected, rel=1e-10)
            assert h.score == pytest.approx(expected / (len(h.ids) + h.ended) ** 0.6)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_a_beam_as_wide_as_all_outputs_finds_the_best_of_all(exponent):
    limit, V = 3, 3
    for seed in range(5):
        model = model_of(V=V, seed=seed)
        source, lengths = sources(np.random.default_rng(seed), B=2)
        everything = [
            (ids, limit > T)
            for T in range(limit + 1)
            for ids in itertools.product(range(V), repeat=T)
        ]
        found = beam_search(model, source, lengths, len(everything), limit, exponent)
        for b in range(2):
            scores = {
                (ids, ended): log_probability(model, source[b, : lengths[b]], ids, ended)
                / (len(ids) + ended) ** exponent
                for ids, ended in everything
            }
            best = sorted(scores, key=lambda key: -scores[key])
            assert [(tuple(h.ids), h.ended) for h in found[b]] == best


def test_a_batch_equals_its_rows_and_the_weights_are_those_of_the_output():
    model = model_of()
    source, lengths = sources(np.random.default_rng(3))
    found = beam_search(model, source, lengths, beam=3, limit=8, keep_weights=True)
    for b in range(5):
        row = source[b : b + 1, : lengths[b]], lengths[b : b + 1]
        alone = beam_search(model, *row, beam=3, limit=8)[0]
        assert [h.ids for h in alone] == [h.ids for h in found[b]]
        for h in found[b]:
            expected = attention_weights(model, *row, h.ids if h.ended else h.ids[:-1])
            np.testing.assert_allclose(h.weights[:, : lengths[b]], expected, rtol=1e-8)
            assert not h.weights[:, lengths[b] :].any()


def test_sampling_at_temperature_zero_is_greedy_and_seeded_otherwise():
    model = model_of()
    source, lengths = sources(np.random.default_rng(4))
    cold = sample_outputs(model, source, lengths, np.random.default_rng(0), 9, temperature=0)
    assert [h.ids for h in cold] == greedy(model, source, lengths, 9)
    for h, row, n in zip(cold, source, lengths, strict=True):
        assert h.log_probability == pytest.approx(
            log_probability(model, row[:n], h.ids, h.ended), rel=1e-10
        )
    warm = [sample_outputs(model, source, lengths, np.random.default_rng(7)) for _ in range(2)]
    assert [h.ids for h in warm[0]] == [h.ids for h in warm[1]]


def test_samples_have_the_models_probabilities():
    model = model_of(V=2, scale=1.0)
    source, lengths = np.tile([[1, 2, 3]], (4000, 1)), np.full(4000, 3)
    drawn = sample_outputs(model, source, lengths, np.random.default_rng(5), limit=4)
    for ids in ([], [0], [1, 1]):
        p = np.exp(log_probability(model, source[0], ids))
        share = np.mean([h.ids == ids and h.ended for h in drawn])
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000)


@pytest.mark.parametrize("width", [1, 7, 64, 1000])
def test_the_largest_are_those_of_a_full_sort(width):
    x = np.random.default_rng(6).standard_normal((20, width))
    x[3, width // 2 :] = -np.inf
    places, values = _largest(x, 10)
    order = np.argsort(-x, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis=1))
    np.testing.assert_array_equal(places[:3], order[:3])
    assert places.max() < width


def test_nonsense_is_refused():
    nothing = SimpleNamespace()
    for options in ({"beam": 0}, {"limit": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            beam_search(nothing, np.zeros((1, 1), int), np.ones(1, int), **options)


def test_the_word_looked_at_stands_in_for_an_unknown_one():
    words = Words(["<unk>", "a", "b", "c", "d", "e"])
    translator = Translator(model_of(V=6), words, words, longest=9, limit=6)
    text = "a Zoe b Yann c"
    found = translator.translate([text], beam=5)[0]
    replaced = 0
    for output in found:
        looks = output.hypothesis.weights.argmax(axis=-1)
        expected = [
            text.split()[look] if id == words.unknown else words.tokens[id]
            for id, look in zip(output.hypothesis.ids, looks, strict=False)
        ]
        assert output.text == " ".join(expected)
        replaced += output.hypothesis.ids.count(words.unknown)
    assert replaced > 0


def test_without_attention_or_words_nothing_is_replaced():
    words, characters = Words(["<unk>", "a", "b", "c", "d", "e"]), Characters("abcdef")
    blind = Translator(model_of(V=6, attention="none"), words, words, longest=9, limit=6)
    assert any("<unk>" in output.text for output in blind.translate(["a Zoe"])[0])
    spelled = Translator(model_of(V=6), characters, characters, longest=9, limit=6)
    assert spelled.translate(["abc"])[0][0].text
