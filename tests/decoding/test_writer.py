"""A writer reads and writes the same text, however the work is cut."""

import itertools
from dataclasses import fields

import numpy as np
import pytest
from fake_models import TinyLanguageModel
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding import Sampling, Writer
from minillm.errors import InputError

V = 5
IDS = st.lists(st.integers(0, V - 1), min_size=1, max_size=8)
OPTIONS = st.sampled_from(
    [{}, {"temperature": 0}, {"temperature": 0.5, "top_k": 3}, {"top_p": 0.8}, {"banned": [0, 2]}]
)


class Counter:
    """It continues 0, 1, 2, ... round a vocabulary of five, and nearly always."""

    def __init__(self):
        self.reads = []

    def zero_state(self, B):
        return {}

    def read(self, ids, state):
        self.reads.append(ids.tolist())
        return 3.0 * np.eye(5, dtype=np.float32)[(ids[:, -1] + 1) % 5], state


def writer(model=None, seed=0, **options):
    names = {entry.name for entry in fields(Sampling)}
    sampling = {name: options.pop(name) for name in names & options.keys()}
    sampling = Sampling(**{"temperature": 1.0, "seed": seed, **sampling})
    return Writer(model or TinyLanguageModel(V), sampling, **options)


def cut(values, places):
    """The values in pieces, cut at the places."""
    bounds = [0, *sorted({place % (len(values) + 1) for place in places}), len(values)]
    return [values[a:b] for a, b in itertools.pairwise(bounds)]


@given(IDS, st.lists(st.integers(0, 20)), st.lists(st.integers(0, 5), max_size=5), OPTIONS)
def test_any_split_equals_one_go(prompt, places, lengths, options):
    whole = writer(**options)
    whole.read(prompt)
    expected = list(whole.write(sum(lengths)))
    assert len(expected) == sum(lengths)

    split = writer(**options)
    for piece in cut(prompt, places):
        split.read(piece)
    assert [id for length in lengths for id in split.write(length)] == expected
    assert list(split.write(3)) == list(whole.write(3))  # and they can go on


@given(IDS, IDS, st.integers(0, 5))
def test_what_was_written_counts_as_read(prompt, more, length):
    one = writer(seed=1)
    one.read(prompt)
    written = list(one.write(length))
    one.read(more)
    other = writer(seed=2)
    other.read([*prompt, *written, *more])
    one.text.rng, other.text.rng = np.random.default_rng(3), np.random.default_rng(3)
    assert list(one.write(4)) == list(other.write(4))


@given(IDS, st.integers(1, 20), st.sets(st.integers(0, V - 1), min_size=1, max_size=3))
def test_stop_tokens_cut_the_text_and_writing_goes_on_after_them(prompt, length, stop):
    free, stopped = writer(), writer(stop=sorted(stop))
    free.read(prompt)
    stopped.read(prompt)
    text = list(free.write(length))
    drawn = 0
    while drawn < length:
        expected = list(itertools.takewhile(lambda id: id not in stop, text[drawn:]))
        assert list(stopped.write(length - drawn)) == expected
        drawn += len(expected) + 1  # the stop token was drawn too


def test_greedy_writing_follows_the_model():
    some = writer(Counter(), temperature=0)
    some.read([3])
    assert list(some.write(7)) == [4, 0, 1, 2, 3, 4, 0]
    assert list(some.write(2)) == [1, 2]


def test_many_tokens_are_read_at_once_and_none_after_the_last():
    model = Counter()
    some = writer(model, temperature=0)
    some.read([4, 4, 1])
    assert model.reads == [[[4, 4, 1]]]
    ids = some.write(3)
    assert next(ids) == 2
    assert len(model.reads) == 1  # each is yielded when it is drawn
    assert list(ids) == [3, 4]
    assert model.reads[1:] == [[[2]], [[3]]]
    some.read([0, 0])
    assert model.reads[3:] == [[[4, 0, 0]]]
    some.read([])
    assert len(model.reads) == 4


def test_writing_that_is_given_up_can_go_on():
    whole, abandoned = writer(), writer()
    for one in (whole, abandoned):
        one.read([1])
    expected = list(whole.write(6))
    ids = abandoned.write(100)
    results = [next(ids), next(ids)]
    ids.close()
    assert results + list(abandoned.write(4)) == expected


def test_one_seed_writes_one_text():
    texts = []
    for seed in (1, 1, 2):
        some = writer(Counter(), seed)
        some.read([0])
        texts.append(list(some.write(60)))
    assert texts[0] == texts[1] != texts[2]


def test_banned_ids_are_never_drawn():
    free, careful = writer(Counter()), writer(Counter(), banned=[2])
    for one in (free, careful):
        one.read([0])
    assert 2 in free.write(60)
    assert 2 not in careful.write(60)


def test_nothing_was_read():
    with pytest.raises(ValueError, match="expected at least one id to have been read"):
        next(writer().write(1))
    some = writer()
    some.read(np.array([], np.int64))
    with pytest.raises(ValueError, match="expected at least one id to have been read"):
        next(some.write(1))


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"banned": [0]}, {"top_p": 0.5}])
def test_logits_that_are_nan_are_an_error(options):
    model = TinyLanguageModel(V)
    model.U[:, 3] = np.nan
    some = writer(model, **options)
    some.read([1, 2])
    with pytest.raises(InputError, match="the model's logits are NaN"):
        next(some.write(1))


WRONG_IDS = [
    ([1.7], TypeError, "expected integers, found float64"),
    (np.array([1.0]), TypeError, "expected integers, found float64"),
    ([2, 1.7], TypeError, "expected integers, found float64"),
    ([True], TypeError, "expected integers, found bool"),
    (["1"], TypeError, "expected integers, found <U1"),
    ([2**70], TypeError, "expected integers, found object"),
    ([-1], ValueError, r"expected 0\.\.9223372036854775807, found -1"),
    ([[1, 2]], ValueError, r"expected shape \(1,\), found \(1, 2\)"),
]


@pytest.mark.parametrize(("ids", "error", "message"), WRONG_IDS)
def test_what_is_no_id_is_refused(ids, error, message):
    some = writer(Counter())
    some.read([0])
    with pytest.raises(error, match=f"^Writer: ids: {message}"):
        some.read(ids)
    assert some.reader.reads == [[[0]]]  # and it can go on
    assert next(some.write(1)) in range(5)
    for name in ("banned", "stop"):
        with pytest.raises(error, match=f"^Writer: {name}: {message}"):
            writer(Counter(), **{name: ids})
