"""Probabilities from logits, and draws from probabilities."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minillm.decoding import Continuation, Sampling, next_probabilities, sample, sampling, write
from minillm.errors import InputError
from minillm.option import option

LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 2.5], np.float32)
logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12).map(np.array)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@given(logits, st.floats(0.1, 5))
def test_temperature_scales_the_logits(logits, temperature):
    assert np.allclose(next_probabilities(logits, temperature), softmax(logits / temperature))


@given(logits, st.integers(1, 14))
def test_top_k_keeps_the_k_likeliest(logits, k):
    p = next_probabilities(logits, top_k=k)
    assert np.count_nonzero(p) == min(k, len(logits))
    assert p.sum() == pytest.approx(1)
    kept = p > 0
    if not kept.all():
        assert logits[kept].min() >= logits[~kept].max()
    assert np.allclose(p[kept], softmax(logits[kept]))


@given(logits, st.floats(0.001, 1))
def test_top_p_keeps_the_fewest_that_reach_p(logits, share):
    p = next_probabilities(logits, top_p=share)
    kept = p > 0
    whole = softmax(logits.astype(float))
    assert kept.any()
    assert p.sum() == pytest.approx(1)
    assert whole[kept].sum() >= share - 1e-9
    assert whole[kept].sum() - whole[kept].min() < share + 1e-9
    assert np.allclose(p[kept], whole[kept] / whole[kept].sum())


def test_top_p_stops_as_soon_as_p_is_reached():
    assert next_probabilities(np.zeros(4), top_p=0.5).tolist() == [0.5, 0.5, 0, 0]


def test_rows_are_treated_apart():
    batch = np.stack([LOGITS, LOGITS[::-1]])
    p = next_probabilities(batch, 0.7, top_k=3, top_p=0.8)
    assert np.allclose(p[0], next_probabilities(LOGITS, 0.7, top_p=0.8, top_k=3))
    assert np.allclose(p[0], p[1][::-1])


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-320}]
)
def test_ways_to_be_greedy(options):
    assert next_probabilities(LOGITS, **options).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("options", [{"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}])
def test_of_equals_the_first_is_chosen(options):
    assert next_probabilities(np.zeros(3), **options).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": float("nan")}, "top_k"),
        ({"top_p": float("nan")}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 3}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.1}, "min_p"),
    ],
)
def test_nonsense_is_refused(options, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        next_probabilities(LOGITS, **options)
    with pytest.raises(InputError, match=f"^{name}: expected"):
        Sampling(**options)


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"seed": 0.5}, {"repetition_penalty": 0}, {"top_k": 2.5}, {"temperature": "1"}],
)
def test_nonsense_of_other_fields_is_refused(options):
    with pytest.raises(InputError, match=f"^{next(iter(options))}: expected"):
        Sampling(**options)


@given(logits, st.floats(0, 1))
def test_min_p_keeps_a_share_of_the_largest(logits, share):
    p = next_probabilities(logits, min_p=share)
    whole = softmax(logits)
    np.testing.assert_array_equal(p > 0, (whole >= share * whole.max()) & (whole > 0))
    assert np.allclose(p[p > 0], softmax(logits[p > 0]))


@given(
    st.lists(st.integers(-8, 8), min_size=2, max_size=40).map(np.array),
    st.integers(1, 40),
    st.floats(0.01, 0.99),
    st.floats(0.01, 1),
    st.integers(1, 9),
)
def test_to_rank_a_few_tokens_is_to_rank_all(logits, k, share, least, likely):
    """Logits are whole numbers, so that many are equal."""
    before = np.cumsum(softmax(np.sort(logits)[::-1][:k]))
    assume(np.abs(before - share).min() > 1e-9)
    for rules in (
        {"top_k": k, "top_p": share, "min_p": least},
        {"top_k": k, "min_p": 0},
        {"top_k": k, "top_p": 1},
        {"min_p": least},
        {},
    ):
        of_all = next_probabilities(logits, **rules)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "LIKELY", likely)
            of_few = next_probabilities(logits, **rules)
        np.testing.assert_allclose(of_few, of_all, rtol=1e-12)


def test_rules_act_one_after_the_other():
    """By hand: 8/16, 4/16, 2/16, 1/16, 1/16; each rule on what the one before it keeps."""
    logits = np.log([1, 8, 2, 4, 1])
    p = next_probabilities(logits, top_k=4)
    np.testing.assert_allclose(p, np.array([1, 8, 2, 4, 0]) / 15)  # the lower id of two equals
    p = next_probabilities(logits, top_k=3, top_p=0.8)
    np.testing.assert_allclose(p, np.array([0, 8, 0, 4, 0]) / 12)  # 8/14 + 4/14 are enough
    p = next_probabilities(logits, top_p=0.8)
    np.testing.assert_allclose(p, np.array([0, 8, 2, 4, 0]) / 14)  # 12/16 are not
    p = next_probabilities(logits, top_k=4, min_p=0.25)
    np.testing.assert_allclose(p, np.array([0, 8, 2, 4, 0]) / 14)
    p = next_probabilities(logits, 0.5, min_p=0.25)
    np.testing.assert_allclose(p, np.array([0, 64, 0, 16, 0]) / 80)


def test_a_text_pays_for_what_it_has_read_and_written():
    text = Continuation([1, 4], 3, Sampling(temperature=0, repetition_penalty=10.0))
    assert list(write(TinyModel(), text)) == [2, 0, 1]


def test_a_new_rule_is_one_function_and_one_field(monkeypatch):
    """It keeps the tokens with at least a multiple of the square of the largest probability."""
    monkeypatch.setattr(sampling, "RULES", sampling.RULES.copy())

    @sampling.rule
    def top_a(ranked, a):
        return ranked >= a * ranked[..., :1] ** 2

    @dataclass(frozen=True)
    class Mine(Sampling):
        top_a: float | None = option(None, "a share of the square", least=0, most=10)

    p = next_probabilities(LOGITS, top_a=0.5)
    whole = softmax(LOGITS)
    np.testing.assert_array_equal(p > 0, whole >= 0.5 * whole.max() ** 2)
    text = Continuation([0], 3, Mine(top_a=1.9, temperature=1.0))
    assert list(write(TinyModel(), text)) == [1, 1, 1]
    with pytest.raises(InputError, match="top_a: expected"):
        Mine(top_a=11.0)


class TinyModel:
    def zero_state(self, B):
        return {}

    def read(self, ids, state):
        return LOGITS[None], state


def test_a_rule_that_is_not_known_is_refused():
    with pytest.raises(TypeError, match=r"expected a rule of .*top_k, top_p, min_p.* found top_q"):
        next_probabilities(LOGITS, top_q=3)


def test_samples_are_distributed_as_told():
    p = next_probabilities(LOGITS, top_k=4)
    n = 20_000
    ids = sample(np.tile(p, (n, 1)), np.random.default_rng(1))
    counts = np.bincount(ids, minlength=5)
    expected = n * p
    assert counts[3] == 0
    kept = p > 0
    chi_squared = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi_squared < 16.3  # 3 degrees of freedom: one time in a thousand by chance


def test_the_end_of_the_interval_is_no_id_beyond_the_last():
    class Highest:
        def random(self, shape):
            return np.full(shape, 1 - 2**-53)

    assert sample(np.array([0.3, 0.7, 0.0]), Highest()) == 1
    assert sample(np.array([0.1] * 10), Highest()) == 9


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 2}, {"top_p": 0.5}])
@pytest.mark.parametrize(
    ("bad", "name"), [(np.nan, "NaN"), (np.inf, "inf"), ([-np.inf] * 5, "-inf")]
)
def test_logits_without_a_finite_maximum_are_an_error(options, bad, name):
    batch = np.stack([LOGITS, LOGITS])
    batch[1, 2 if np.ndim(bad) == 0 else slice(None)] = bad
    with pytest.raises(InputError, match=f"^the model's logits are {name}: "):
        next_probabilities(batch, **options)


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.5}])
def test_an_impossible_token_is_none(options):
    scores = LOGITS.copy()
    scores[1] = -np.inf
    p = next_probabilities(scores, **options)
    assert p[1] == 0
    assert p.sum() == pytest.approx(1)


def test_at_the_highest_temperature_all_possible_tokens_are_equally_probable():
    p = next_probabilities(np.array([0, -np.inf, 1]), np.finfo(float).max)
    assert p == pytest.approx([0.5, 0, 0.5])
