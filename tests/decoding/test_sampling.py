"""Adjusted logits, probabilities from logits, and draws from probabilities."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minillm.decoding import Continuation, Sampling, next_probabilities, sample, sampling, write
from minillm.decoding.sampling import biased, less_often, penalised
from minillm.errors import InputError
from minillm.option import option

LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 2.5], np.float32)
GREEDY = Sampling(temperature=0)
SIXTEENTHS = [1, 8, 2, 4, 1]


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


# --- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "options", "expected"),
    [
        (SIXTEENTHS, {"top_k": 14, "top_p": 1, "min_p": 0}, SIXTEENTHS),
        (SIXTEENTHS, {"top_p": 0.8}, [0, 8, 2, 4, 0]),  # 12/16 are not enough
        (SIXTEENTHS, {"top_k": 3, "top_p": 0.8}, [0, 8, 0, 4, 0]),  # 12/14 are
        *(
            (SIXTEENTHS, options, [0, 1, 0, 0, 0])
            for options in (
                *({"temperature": 0}, {"temperature": 1e-320}),
                *({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1}),
            )
        ),
        *(
            ([1, 1, 1], options, [1, 0, 0])  # of equals the first
            for options in ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9})
        ),
        ([1, 1, 1, 1], {"top_p": 0.5}, [1, 1, 0, 0]),  # as soon as p is reached
        *(
            ([1, 0, 2], options, [1, 0, 2])  # an impossible token
            for options in ({}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0})
        ),
        ([1, 0, 2], {"temperature": np.finfo(float).max}, [1, 0, 1]),
    ],
)
def test_probabilities_of_a_few_tokens(weights, options, expected):
    with np.errstate(divide="ignore"):
        logits = np.log(weights)
    p = next_probabilities(np.stack([logits, np.zeros_like(logits)]), **options)
    np.testing.assert_allclose(p[0], np.array(expected) / sum(expected), rtol=1e-12)
    np.testing.assert_array_equal(p[0], next_probabilities(logits, **options))


def plainly(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """The rules one after the other, each on what the one before it keeps."""
    p = softmax(logits / temperature)
    ids = np.argsort(-logits, kind="stable")[:top_k]
    if top_p is not None:
        before = np.cumsum(p[ids]) - p[ids]
        assume(np.abs(before / p[ids].sum() - top_p).min() > 1e-9)
        ids = ids[(before < top_p * p[ids].sum()) | (top_p == 1)]
    ids = ids[p[ids] >= (min_p or 0) * p[ids[0]]]
    kept = np.isin(np.arange(len(p)), ids)
    return np.where(kept, p, 0) / p[kept].sum()


@given(
    st.lists(st.integers(-8, 8) | st.floats(-30, 30), min_size=1, max_size=40).map(np.array),
    st.floats(0.1, 5),
    st.fixed_dictionaries(
        {},
        optional={
            "top_k": st.integers(1, 41),
            "top_p": st.floats(0.001, 1),
            "min_p": st.floats(0.001, 1),
        },
    ),
    st.sampled_from([1, 4, 1024]),
)
def test_rules_act_one_after_the_other_however_many_tokens_are_ranked(logits, t, rules, likely):
    """Logits that are whole numbers are often equal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "LIKELY", likely)
        found = next_probabilities(logits, t, **rules)
        drawn_with = Sampling(temperature=t, **rules).probabilities(logits)
    np.testing.assert_allclose(found, plainly(logits, t, **rules), rtol=1e-12)
    np.testing.assert_array_equal(found, drawn_with)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (-1, float("nan"), float("inf"), "1")),
        *(("top_k", value) for value in (float("nan"), 0, 2.5)),
        *(("top_p", value) for value in (float("nan"), 0, 3)),
        *(("min_p", value) for value in (-0.1, 1.1)),
        *(("seed", value) for value in (-1, 0.5)),
        ("repetition_penalty", 0),
    ],
)
def test_nonsense_is_refused(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected"):
        Sampling(**{name: value})
    if name in ("temperature", *sampling.RULES):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            next_probabilities(LOGITS, **{name: value})
    with pytest.raises(TypeError, match=r"expected a rule of .*top_k, top_p, min_p.* found top_q"):
        next_probabilities(LOGITS, top_q=3)


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"top_k": 2}])
@pytest.mark.parametrize(
    ("bad", "name"), [(np.nan, "NaN"), (np.inf, "inf"), ([-np.inf] * 5, "-inf")]
)
def test_logits_without_a_finite_maximum_are_an_error(options, bad, name):
    batch = np.stack([LOGITS, LOGITS])
    batch[1, 2 if np.ndim(bad) == 0 else slice(None)] = bad
    for draw in (
        lambda: next_probabilities(batch, **options),
        lambda: Sampling(**options).draw(batch[1], np.random.default_rng()),
    ):
        with pytest.raises(InputError, match=f"^the model's logits are {name}: "):
            draw()


class Constant:
    """A model that predicts the same after any text."""

    def zero_state(self, B):
        return {}

    def read(self, ids, state):
        return LOGITS[None], state


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
    assert list(write(Constant(), text)) == [1, 1, 1]
    with pytest.raises(InputError, match="top_a: expected"):
        Mine(top_a=11.0)


# --- draws ---------------------------------------------------------------------------------------


def test_samples_are_distributed_as_told():
    p, n = next_probabilities(LOGITS, top_k=4), 20_000
    ids = sample(np.tile(p, (n, 1)), np.random.default_rng(1))
    counts, expected, kept = np.bincount(ids, minlength=5), n * p, p > 0
    assert counts[3] == 0
    chi_squared = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi_squared < 16.3  # 3 degrees of freedom: one time in a thousand by chance


def test_the_end_of_the_interval_is_no_id_beyond_the_last():
    class Highest:
        def random(self, shape):
            return np.full(shape, 1 - 2**-53)

    assert sample(np.array([0.3, 0.7, 0.0]), Highest()) == 1
    assert sample(np.array([0.1] * 10), Highest()) == 9


# --- penalties and biases ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adjust", "options", "expected"),
    [
        (penalised, (2.0,), [1, -2, 3, 0]),
        (penalised, (0.5,), [4, -0.5, 3, 0]),
        (less_often, (0.5, 0.0), [1, -1.5, 3, 0]),
        (less_often, (0.0, -1.0), [3, 0, 3, 0]),
        (less_often, (0.5, 1.0), [0, -2.5, 3, 0]),
        (biased, ({2: -1.5, 0: 4.0},), [6, -1, 1.5, 0]),
    ],
)
def test_adjustments_of_logits(adjust, options, expected):
    """Of a text in which the token 0 occurs twice, 1 once."""
    logits = np.array([2.0, -1.0, 3.0, 0.0])
    assert adjust(logits, [0, 1, 0], *options).tolist() == expected
    assert logits.tolist() == [2.0, -1.0, 3.0, 0.0]
    assert adjust(logits, [], *options).tolist() == (
        expected if adjust is biased else logits.tolist()
    )


def test_a_text_pays_for_what_it_has_read_and_written():
    text = Continuation([1, 4], 3, Sampling(temperature=0, repetition_penalty=10.0))
    assert list(write(Constant(), text)) == [2, 0, 1]


def test_adjustments_act_one_after_the_other_on_what_has_been_drawn():
    given = []

    def certain(logits, written, id):
        """Logits that make an id certain; what was given is kept."""
        given.append((logits.copy(), list(written)))
        return np.where(np.arange(5) == id, 1000.0, logits)

    adjustments = [partial(certain, id=4), partial(certain, id=3)]
    text = Continuation([1, 2], 3, GREEDY, banned=[0], adjustments=adjustments)
    for _ in range(3):
        text.draw(LOGITS)
    assert text.ids == [1, 2, 3, 3, 3]  # the lower of two equals
    assert [written for _, written in given[1::2]] == [[], [3], [3, 3]]
    assert given[0][0][0] == -np.inf  # banned before
    assert given[1][0][4] == 1000
