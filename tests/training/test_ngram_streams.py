"""n-gram models in streams: the same bits as in memory, with any memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.data.streams import Spill
from minillm.data.tables import ExternalMemory, gather, tally
from minillm.errors import InputError
from minillm.models.ngram import SMOOTHINGS, NGramConfig, count_ngrams, estimate
from minillm.testing.strategies import generators
from minillm.training import ngram_streams
from minillm.training.ngram_streams import (
    NGramOnDisk,
    count_in_streams,
    estimate_in_streams,
    whole_contexts,
)

V, START = 6, 5  # 4 is an unknown word, which never occurs

orders, smoothings = st.integers(1, 6), st.sampled_from(list(SMOOTHINGS))
prunings = st.sampled_from([(), (1,), (0, 1), (0, 1, 2)])
memories = st.integers(
    400, 6000
)  # chunks of 5 to 78 tokens, blocks of 1 to 23, tables of 12 to 187


def random_text(rng):
    T = int(rng.integers(2, 100))
    text = np.minimum(rng.integers(0, 4, T), rng.integers(0, 4, T)).astype(np.int32)
    text[rng.random(T) < 0.1] = START
    text[0] = START
    text[-1] %= START  # a word, because a text without any is refused before it is counted
    return text


def chunks_of(streams, text):
    return [
        streams.spill.keep(text[at : at + streams.chunk])
        for at in range(0, len(text), streams.chunk)
    ]


def assert_equal(config, params, expected):
    assert config == expected.config
    assert params.keys() == expected.params.keys()
    for name, column in params.items():
        array = expected.params[name]
        assert column.dtype == array.dtype
        assert column[:].tobytes() == array.tobytes(), name


@pytest.mark.deep
@given(generators(), orders, smoothings, prunings, memories)
def test_it_is_the_model_that_is_estimated_in_memory(kernels, rng, order, smoothing, prune, memory):
    text = random_text(rng)
    config = NGramConfig(START, order, smoothing, k=0.1, prune=prune, unknown=4)
    with use_kernels(kernels), Spill() as spill:
        expected = estimate(count_ngrams(text, order, START), config)
        streams = ExternalMemory(spill, memory)
        levels = count_in_streams(streams, chunks_of(streams, text), order, START)
        outputs, params = estimate_in_streams(streams, levels, config)
        assert_equal(outputs, params, expected)
        # As it is used to measure on a text.
        other = rng.choice(text, 40)
        other[rng.random(40) < 0.1] = 4
        ours = NGramOnDisk(outputs, params, streams).score(np.split(other, [7, 7, 30]))
        theirs = expected.score([other])
        assert ours[1::2] == theirs[1::2]
        assert ours[::2] == pytest.approx(theirs[::2], rel=1e-12)


@pytest.mark.deep
@given(generators(), st.integers(1, 1000))
def test_gathering_and_tallying(rng, memory):
    values = rng.standard_normal(rng.integers(1, 60))
    places = rng.integers(0, len(values), rng.integers(0, 80)).astype(np.int32)
    with Spill() as spill:
        streams, asked = ExternalMemory(spill, memory), spill.keep(places)
        assert np.array_equal(gather(streams, spill.keep(values), asked)[:], values[places])
        counts = tally(streams, asked, len(values))[:]
    assert np.array_equal(counts, np.bincount(places, minlength=len(values)))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 9))
def test_blocks_of_whole_contexts(children, block):
    """children: the number of n-grams of each context."""
    context = np.repeat(np.arange(len(children), dtype=np.int32), children)
    with Spill() as spill:
        blocks = list(whole_contexts(spill.keep(context), len(children), block))
    at = c = 0
    for ngrams, contexts in blocks:
        assert (ngrams.start, contexts.start) == (at, c)
        at, c = ngrams.stop, contexts.stop
        part = context[ngrams]
        assert part.tolist() == [k for k in range(contexts.start, c) for _ in range(children[k])]
        assert 0 < c - contexts.start <= block
        assert len(part) <= block or c - contexts.start == 1
    assert (at, c) == (len(context), len(children))


def test_too_many_ngrams_are_told(monkeypatch):
    """Their numbers have 32 bits."""
    monkeypatch.setattr(ngram_streams, "MOST", 3)
    text = np.array([START, 0, 1, 2, 3], np.int32)
    with (
        Spill() as spill,
        pytest.raises(InputError, match="expected at most 3 2-grams, found more"),
    ):
        count_in_streams(ExternalMemory(spill, 1000), [spill.keep(text)], 2, START)


def test_progress_is_told_of_each_step():
    lines = []
    text = np.tile(np.array([START, 0, 1, 2], np.int32), 40)
    with Spill() as spill:
        streams = ExternalMemory(spill, 2000, lines.append)
        levels = count_in_streams(streams, chunks_of(streams, text), 3, START)
        estimate_in_streams(streams, levels, NGramConfig(START, 3))
    assert lines[0] == "2-grams: sorting chunk 1 of 7"
    assert "3-grams: 2 merged" in lines
    assert lines[-1] == "3-grams: 2 of 2 smoothed"


@pytest.mark.parametrize("wrong", [-1, START + 1])
def test_ids_that_the_model_has_not_are_named(wrong):
    text = np.array([START, 0, wrong, 1], np.int32)
    with Spill() as spill:
        streams = ExternalMemory(spill, 1000)
        with pytest.raises(ValueError, match=r"^count_in_streams: chunks: expected 0..\d, found"):
            count_in_streams(streams, chunks_of(streams, text), 2, START)
