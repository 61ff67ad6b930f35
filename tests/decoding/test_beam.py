"""Beam search, against greedy choice, single steps, and all outputs."""

import itertools

import numpy as np
import pytest
from fake_models import TinyDecoder
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.decoding import beam_search
from minillm.decoding.beam import _most_probable
from minillm.decoding.rules import forbidden
from minillm.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def sources(rng, B=5, S=6):
    lengths = rng.integers(1, S + 1, B)
    return rng.integers(0, 6, (B, S)), lengths


def breaks(ids, ended, banned=(), no_repeat=0, no_repeat_window=0, least=0):
    """The plain definition of the rules, for one output."""
    grams = [tuple(ids[k : k + no_repeat]) for k in range(len(ids) - no_repeat + 1)]
    again = no_repeat > 0 and len(set(grams)) < len(grams)
    again = again or any(id in ids[max(0, t - no_repeat_window) : t] for t, id in enumerate(ids))
    return again or not set(ids).isdisjoint(banned) or (ended and len(ids) < least)


def possible_outputs(V, limit, **rules):
    """Every output (ids, ended) of at most ``limit`` tokens, EOS included, that the rules allow."""
    outputs = []
    for T in range(limit + 1):
        for ids in itertools.product(range(V), repeat=T):
            stuck = all(breaks((*ids, more), False, **rules) for more in range(V))
            if not breaks(ids, limit > T and not stuck, **rules):
                outputs.append((ids, limit > T))
    return outputs


def rules(V=4):
    """A strategy for the rules of outputs of V tokens."""
    return st.fixed_dictionaries(
        {
            "banned": st.lists(st.integers(0, V - 1), max_size=V),
            "no_repeat": st.integers(0, 3),
            "no_repeat_window": st.integers(0, 3),
            "least": st.integers(0, 5),
        }
    )


def log_probability(model, source, ids, ended=True, banned=()):
    """Decode one output step by step -> log P, attention weights, the best ids not banned."""
    ids = [*ids, model.config.eos] if ended else ids
    state = model.start(source[None], np.array([len(source)]))
    total, all_weights, best, before = 0.0, [], [], model.config.bos
    for id in ids:
        logits, weights, state = model.step(np.array([[before]]), state)
        total += logits[0, 0, id] - np.log(np.exp(logits[0, 0]).sum())
        all_weights.append(None if weights is None else weights[0, 0])
        best.append(
            max(set(range(model.config.eos + 1)) - {*banned}, key=lambda k: logits[0, 0, k])
        )
        before = id
    return total, all_weights, best


@given(SEEDS, st.booleans(), st.lists(st.integers(0, 3)), st.integers(1, 9))
def test_beam_of_one_is_greedy(seed, attention, banned, limit):
    model = TinyDecoder(seed=seed, attention=attention)
    source, lengths = sources(np.random.default_rng(seed))
    results = beam_search(model, source, lengths, 1, limit, banned=banned)
    for row, length, (h,) in zip(source, lengths, results, strict=True):
        *_, best = log_probability(model, row[:length], h.ids, h.ended, banned)
        assert best == [*h.ids, model.config.eos][: len(best)]


@given(SEEDS, st.integers(1, 6), st.booleans(), st.sampled_from([0.0, 0.6, 1.0]), rules())
def test_outputs_have_their_own_scores_and_weights_and_keep_the_rules(
    seed, beam, attention, exponent, values
):
    """However many sources are translated together."""
    model, limit = TinyDecoder(seed=seed, scale=2.0, attention=attention), 8
    source, lengths = sources(np.random.default_rng(seed), B=3)
    options = {"beam": beam, "limit": limit, "length_exponent": exponent, **values}
    results = beam_search(model, source, lengths, keep_weights=True, **options)
    for b, hypotheses in enumerate(results):
        row = source[b : b + 1, : lengths[b]], lengths[b : b + 1]
        (alone,) = beam_search(model, *row, **options)
        assert [h.ids for h in alone] == [h.ids for h in hypotheses]
        assert 1 <= len(hypotheses) <= beam
        assert hypotheses == sorted(hypotheses, key=lambda h: -h.score)
        assert len({(*h.ids, h.ended) for h in hypotheses}) == len(hypotheses)
        for h in hypotheses:
            assert len(h.ids) == limit or h.ended
            stuck = all(breaks([*h.ids, more], False, **values) for more in range(4))
            assert not breaks(h.ids, h.ended and not stuck, **values)
            expected, weights, _ = log_probability(model, row[0][0], h.ids, h.ended)
            assert h.log_probability == pytest.approx(expected, rel=1e-10)
            assert h.score == pytest.approx(expected / (len(h.ids) + h.ended) ** exponent)
            if attention:
                np.testing.assert_allclose(h.weights[:, : lengths[b]], weights, rtol=1e-8)
                assert not h.weights[:, lengths[b] :].any()
        assert {h.weights is None for h in (*alone, *hypotheses)} == {True, not attention}


@pytest.mark.parametrize(
    ("exponent", "values"),
    [
        (0.0, {}),
        (0.8, {"banned": [1], "no_repeat": 2}),
        (0.8, {"no_repeat_window": 1, "least": 2}),
        (1.0, {"banned": [0, 2], "no_repeat": 1, "least": 3}),
    ],
)
def test_a_beam_as_wide_as_all_outputs_finds_the_best_that_the_rules_allow(exponent, values):
    limit, V = 4, 3
    outputs = possible_outputs(V, limit, **values)
    for seed in range(2):
        model = TinyDecoder(V, seed=seed, scale=2.0)
        source, lengths = sources(np.random.default_rng(seed), B=2)
        results = beam_search(model, source, lengths, 200, limit, exponent, **values)
        for b in range(2):
            scores = {}
            for ids, ended in outputs:
                total, *_ = log_probability(model, source[b, : lengths[b]], ids, ended)
                scores[ids, ended] = total / (len(ids) + ended) ** exponent
            best = sorted(scores, key=lambda key: -scores[key])
            assert [(tuple(h.ids), h.ended) for h in results[b]] == best
            np.testing.assert_allclose([h.score for h in results[b]], [scores[key] for key in best])


class Silent(TinyDecoder):
    """EOS is its only possible token but token 1."""

    def step(self, ids, state):
        logits, weights, state = super().step(ids, state)
        logits[..., [0, 2]] = -np.inf
        return logits, weights, state


@pytest.mark.parametrize("beam", [1, 3])
def test_an_output_ends_if_no_token_is_left(beam):
    """EOS ends it even before the least length; a model may have no tokens but banned ones."""
    source, lengths = sources(np.random.default_rng(0))
    for model, values, T in (
        (TinyDecoder(1), {"banned": [0], "least": 3}, 0),
        (TinyDecoder(4), {"no_repeat": 1, "least": 9}, 4),
        (Silent(3), {"banned": [1], "least": 2}, 0),
    ):
        results = beam_search(model, source, lengths, beam, limit=20, **values)
        for h in [h for hypotheses in results for h in hypotheses]:
            assert (len(h.ids), h.ended) == (T, True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_log_probabilities_of_bad_logits_are_nan(kernels, bad):
    logits = np.random.default_rng(6).standard_normal((3, 200))
    logits[1, 150] = bad
    if bad == -np.inf:  # of one it would only be impossible
        logits[1] = bad
    if np.isnan(bad):  # beside the largest ones, too
        logits[1, 65:96], logits[1, 97:128] = bad, 100
    with use_kernels(kernels):
        ids, log_p = _most_probable(logits, 3)
    assert np.isnan(log_p[1]).all()
    assert np.isfinite(log_p[[0, 2]]).all()
    assert ids.min() >= 0
    assert ids.max() < 200


def test_nonsense_is_refused():
    model, nothing = TinyDecoder(), (np.zeros((1, 1), int), np.ones(1, int))
    for name in ("beam", "limit"):
        for value, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
            with pytest.raises(error, match=rf"^beam_search: {name}: expected "):
                beam_search(model, *nothing, **{name: value})
    for exponent in (np.nan, np.inf, -1e308, 11):
        with pytest.raises(ValueError, match=r"^length_exponent: expected 0 to 10, found"):
            beam_search(model, *nothing, length_exponent=exponent)


def test_a_limit_that_no_memory_could_hold_is_not_reserved():
    model = TinyDecoder()
    source, lengths = sources(np.random.default_rng(0), B=2)
    ((one,), (other,)), ((same,), (too,)) = (
        beam_search(model, source, lengths, 1, limit, least=3) for limit in (200, 2**62)
    )
    assert one.ended
    assert (one.ids, other.ids) == (same.ids, too.ids)


class FailsLater(TinyDecoder):
    """Its logits are NaN from the third step on, of one hypothesis of one source."""

    def start(self, source, lengths):
        self.steps = 0
        return super().start(source, lengths)

    def step(self, ids, state):
        logits, weights, state = super().step(ids, state)
        self.steps += 1
        if self.steps == 3:
            logits[-1, -1, 0] = np.nan
        return logits, weights, state


@pytest.mark.parametrize("beam", [1, 4])
def test_logits_that_are_nan_are_an_error(beam):
    """Not an empty list of hypotheses, whose first one callers then ask for."""
    source, lengths = sources(np.random.default_rng(0))
    with pytest.raises(InputError, match=r"^the model's logits are NaN: its weights are"):
        beam_search(FailsLater(scale=0.1), source, lengths, beam)


def test_an_absent_hypothesis_may_end_with_a_word_of_a_source_that_has_left_the_batch():
    """The rows are as wide as the sources that are left need."""
    written = np.array([[[7], [1]]])
    mask = forbidden(np.zeros((1, 2, 5)), written, 3, no_repeat=1, no_repeat_window=1)
    assert mask[0, 1].tolist() == [False, True, False, False, False]
