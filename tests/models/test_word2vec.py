"""word2vec: gradients of all four losses, twins, tables, learning, nearest words."""

import ctypes
import os
import shutil
import subprocess
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import kernels_info, use_kernels, use_threads
from minillm.errors import InputError
from minillm.models.vectors import Vectors
from minillm.models.word2vec import Word2Vec, Word2VecConfig, alias_table, huffman_paths, keep_table
from minillm.testing.strategies import generators

FOUR = [
    pytest.param({"algorithm": algorithm, "negative": negative}, id=f"{algorithm}-{name}")
    for algorithm in ("skip-gram", "cbow")
    for name, negative in (("negative-sampling", 3), ("hierarchical-softmax", 0))
]


def made(rng, V=9, dtype=np.float64, **options):
    """A model whose every parameter is random."""
    config = Word2VecConfig(V, **({"dimension": 5, "window": 3, "subsample": 0.2} | options))
    model = Word2Vec(config, np.sort(rng.integers(1, 50, V))[::-1], dtype=dtype)
    for array in model.params.values():
        array[:] = 0.5 * rng.standard_normal(array.shape)
    return model


def sentences(rng, V=9, S=6):
    """-> words, starts of S sentences, some of them empty."""
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 9, S))])
    return rng.integers(0, V, starts[-1]).astype(np.int32), starts


def copies(model):
    return {name: array.copy() for name, array in model.params.items()}


def steps_and_slopes(model, words, starts):
    """The change by a step at a tiny rate, over the rate, is minus the slope of the loss."""
    still, rate = np.zeros(len(starts) - 1), 1e-7
    before = copies(model)
    model.learn(words, starts, still + rate, seed=5)
    steps = {name: (model.params[name] - before[name]) / rate for name in before}
    for name, array in model.params.items():
        array[:] = before[name]
    slopes = copies(model)
    for name, array in model.params.items():
        for index in np.ndindex(array.shape):
            losses = []
            for offset in (1e-5, -1e-5):
                array[index] = before[name][index] + offset
                losses.append(model.learn(words, starts, still, seed=5)[0])
            array[index] = before[name][index]
            slopes[name][index] = (losses[0] - losses[1]) / 2e-5
    return steps, slopes


@pytest.mark.parametrize("options", FOUR)
def test_a_step_goes_down_the_gradient(kernels, options):
    rng = np.random.default_rng(3)
    model = made(rng, V=6, dimension=3, subsample=0, **options)
    with use_kernels(kernels):
        steps, slopes = steps_and_slopes(model, *sentences(rng, V=6, S=4))
    if options["algorithm"] == "cbow":  # the words of a mean: see below
        del steps["vectors"]
    for name in steps:
        assert steps[name] == pytest.approx(-slopes[name], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("negative", [3, 0])
def test_the_words_of_a_mean_take_its_whole_step(kernels, negative):
    """In 0 1 0, word 1 is predicted from two words, the others from one.

    The two take twice their gradient each, because theirs is half that of the mean.
    """
    model = made(
        np.random.default_rng(3), subsample=0, window=1, algorithm="cbow", negative=negative
    )
    with use_kernels(kernels):
        steps, slopes = steps_and_slopes(model, np.array([0, 1, 0], np.int32), np.array([0, 3]))
    assert steps["outputs"] == pytest.approx(-slopes["outputs"], rel=1e-4, abs=1e-5)
    for word, times in ((0, 2), (1, 1), (2, 0)):
        expected = -times * slopes["vectors"][word]
        assert steps["vectors"][word] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("options", FOUR)
@given(
    rng=generators(),
    D=st.sampled_from([1, 7, 16, 20, 70]),
    dtype=st.sampled_from([np.float32, np.float64]),
    padded=st.booleans(),
)
def test_twins_take_the_same_steps(options, rng, D, dtype, padded):
    if kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    words, starts = sentences(rng, S=4)
    rates = rng.uniform(0, 0.2, 4)
    start = made(rng, dimension=D, dtype=dtype, **options)
    if not padded:
        start._W_in, start._W_out = copies(start).values()
    before, results = copies(start), []
    for kernels in kernels_info()["available"]:
        for name, array in start.params.items():
            array[:] = before[name]
        with use_kernels(kernels):
            loss, predictions = start.learn(words, starts, rates, seed=7, sentence=2**33)
        results.append((loss, predictions, copies(start)))
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for loss, predictions, params in results[1:]:
        assert predictions == results[0][1]
        assert loss == pytest.approx(results[0][0], rel=tolerance)
        for name in params:
            np.testing.assert_allclose(params[name], results[0][2][name], tolerance, tolerance)


def test_the_first_loss_by_hand(kernels):
    """Outputs of zero: each step along a path costs log 2, and of two words each has one step."""
    model = made(np.random.default_rng(0), V=2, negative=0, subsample=0, window=1)
    model.params["outputs"][:] = 0
    with use_kernels(kernels):
        found = model.learn(np.array([0, 1, 1, 0], np.int32), np.array([0, 4]), np.zeros(1))
    assert found == (pytest.approx(6 * np.log(2)), 6)


def test_rows_drawn_twice_and_large_scores(kernels):
    """With two words, a negative sample often comes twice; large scores make exp overflow."""
    rng = np.random.default_rng(0)
    model = made(rng, V=2, negative=8, subsample=0)
    words, starts = np.array([0, 1, 1, 0], np.int32), np.array([0, 4])
    model.params["vectors"][:] = 1e3
    model.params["outputs"][:] = 1e2
    with use_kernels(kernels):
        loss, _ = model.learn(words, starts, np.array([0.01]))
    assert np.isfinite(loss)
    assert loss > 1000
    assert all(np.isfinite(array).all() for array in model.params.values())


# --- the tables ----------------------------------------------------------------


@given(generators(), st.integers(1, 40))
def test_the_alias_table_is_exact(rng, V):
    weights = rng.random(V) ** 4 + 1e-9
    share, alias = alias_table(weights)
    part = share / 2**32
    mass = part.copy()
    np.add.at(mass, alias, 1 - part)
    assert mass / V == pytest.approx(weights / weights.sum(), abs=1e-7)


def test_keep_table_by_hand():
    # f = 0.9 and 0.1, t = 0.1: (sqrt(9) + 1) / 9 = 0.444, and (1 + 1) / 1 > 1.
    chance = keep_table(np.array([9, 1]), 0.1) / 2**32
    assert chance == pytest.approx([4 / 9, 1])
    assert keep_table(np.array([9, 1]), 0).tolist() == [2**32, 2**32]


def test_huffman_by_hand():
    # 1 and 2 make 3, 3 and 3 make 6, 6 and 10 make 16.
    starts, nodes, labels = huffman_paths(np.array([10, 3, 2, 1]))
    paths = [
        list(zip(nodes[a:b].tolist(), labels[a:b].tolist(), strict=True))
        for a, b in pairwise(starts)
    ]
    assert paths[0] == [(2, 1)]
    assert paths[1] == [(2, 0), (1, 0)]
    assert paths[3] == [(2, 0), (1, 1), (0, 0)]
    assert paths[2] == [(2, 0), (1, 1), (0, 1)]


@given(generators(), st.integers(2, 60))
def test_huffman_is_a_code_of_least_length(rng, V):
    counts = np.sort(rng.integers(1, 1000, V))[::-1]
    starts, nodes, labels = huffman_paths(counts)
    codes = {tuple(labels[a:b]) for a, b in pairwise(starts)}
    lengths = np.diff(starts)
    assert len(codes) == V
    assert sum(0.5**lengths) == 1  # complete: no code is a prefix of another, none is missing
    assert nodes.min() == 0
    assert nodes.max() == V - 2
    entropy = -(counts / counts.sum()) @ np.log2(counts / counts.sum())
    assert entropy <= (lengths @ counts) / counts.sum() < entropy + 1


# --- several threads -----------------------------------------------------------

COMPILER = os.environ.get("CC", "cc").split()
KERNELS = Path(__file__).parents[2] / "minillm/_kernels"
ROW_OF_ROUND = """
#include "word2vec.h"
ptrdiff_t row(ptrdiff_t count, int last_is_top, ptrdiff_t size, ptrdiff_t round)
{
    return row_of_round(count, last_is_top, size, round);
}
"""


@pytest.fixture(scope="module")
def row_of_round(tmp_path_factory):
    """The function of word2vec.h, in a library of its own."""
    if os.name != "posix" or shutil.which(COMPILER[0]) is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("rows")
    (folder / "row.c").write_text(ROW_OF_ROUND)
    command = [*COMPILER, "-shared", "-fPIC", f"-I{KERNELS}", "row.c", "-o", "row.so"]
    clean = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    subprocess.run(command, cwd=folder, env=clean, check=True)
    function = ctypes.CDLL(str(folder / "row.so")).row
    function.restype = ctypes.c_ssize_t
    function.argtypes = [ctypes.c_ssize_t, ctypes.c_int, ctypes.c_ssize_t, ctypes.c_ssize_t]
    return function


@given(count=st.integers(1, 70), last_is_top=st.booleans(), start=st.integers(0, 1000))
def test_the_rows_that_a_round_exchanges(row_of_round, count, last_is_top, start):
    """In `size` rounds, each of the `size` next most used rows once; in all, every row."""
    by_use = np.arange(count)[:: -1 if last_is_top else 1]
    for size in 2 ** np.arange(count.bit_length()):
        rounds = range(start, start + size)
        rows = [row_of_round(count, last_is_top, size, t) for t in rounds]
        expected = by_use[size - 1 : 2 * size - 1]
        assert sorted(row for row in rows if row != count) == sorted(expected)


@contextmanager
def threads_at_hand(count):
    """Let compiled kernels use so many threads, however busy the machine is."""
    _threads = pytest.importorskip("minillm._kernels._threads", reason="no compiled kernels")
    with use_threads(count), use_kernels("cython"):
        _threads.always_all(True)
        try:
            yield
        finally:
            _threads.always_all(False)


def units(model, name, words, starts, threads):
    """Train one matrix in steps of a unit that do not depend on their order; return its units.

    One matrix is of ones, the other of zeros. All scores are so near to 0 that every probability is
    exactly 0.5, and the steps are too small to change a one. So each is half the rate, up or down.
    """
    for key, array in model.params.items():
        array[:] = key != name
    rate = 2.0**-90  # sigmoid(x) is 0.5 to the last bit of float64 where |x| < 2**-54
    rates = np.full(len(starts) - 1, rate)
    _, predictions = model.learn(words, starts, rates, seed=5, threads=threads)
    return model.params[name] / (rate / 2), predictions


@pytest.mark.parametrize("options", FOUR)
@given(
    rng=generators(),
    V=st.integers(2, 40),
    D=st.sampled_from([1, 16, 40]),
    S=st.integers(1, 400),
    threads=st.integers(2, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_no_step_of_several_threads_is_lost(options, rng, V, D, S, threads, dtype):
    """Whatever is copied and exchanged, outputs end as in one thread, to the bit."""
    model = made(rng, V, dtype, dimension=D, subsample=0, **options)
    words, starts = sentences(rng, V, S)
    with threads_at_hand(threads):
        expected, count = units(model, "outputs", words, starts, 1)
        results, predictions = units(model, "outputs", words, starts, threads)
    assert predictions == count
    np.testing.assert_array_equal(results, expected)


@pytest.mark.deep
@pytest.mark.parametrize("negative", [2, 0])
@pytest.mark.parametrize("rows", [0, 1, 3, 11])
def test_no_step_of_a_copied_row_is_lost(rows, negative):
    """Of rows of 1 MB / ``rows``, so many are copied: the first words, but the last nodes."""
    D = 2**18 // max(rows, 1) // 16 * 16 + 16 * (rows == 0)
    rng = np.random.default_rng(rows)
    config = Word2VecConfig(12, D, "cbow", negative=negative, window=2, subsample=0)
    model = Word2Vec(config, np.arange(12, 0, -1))
    words, starts = rng.integers(0, 12, 40).astype(np.int32), np.arange(0, 41, 5)
    with threads_at_hand(2):
        expected, count = units(model, "outputs", words, starts, 1)
        results, predictions = units(model, "outputs", words, starts, 2)
        for array in model.params.values():
            array[:] = rng.standard_normal(array.shape) / np.sqrt(D)
        before, still = copies(model), np.zeros(len(starts) - 1)
        losses = [model.learn(words, starts, still, threads=n)[0] for n in (1, 2)]
    copied = slice(rows) if negative else slice(len(expected) - rows, None)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert all(np.array_equal(before[name], model.params[name]) for name in before)
    assert predictions == count
    assert expected.any(axis=1).sum() > 4
    np.testing.assert_array_equal(results[copied], expected[copied])


@pytest.mark.parametrize("options", FOUR)
def test_several_threads_learn_as_well_as_one(options):
    """Words of 12 places and 4 things: two threads and five learn nearly as much as one.

    How much exactly depends on when each thread has a core.  Exchanges that lose or repeat steps
    would cost far more than a fifth of what is learned.
    """
    rng = np.random.default_rng(0)
    place, thing = rng.integers(0, 12, 4000), rng.integers(0, 4, 4000)
    columns = [place * 4 + thing, 48 + place * 3 + rng.integers(0, 3, 4000)]
    columns += [84 + thing * 5 + rng.integers(0, 5, 4000), 104 + rng.integers(0, 16, 4000)]
    words = rng.permuted(np.stack(columns, axis=1), axis=1).astype(np.int32).ravel()
    starts, counts = np.arange(4001) * 4, np.bincount(words, minlength=120)
    config = Word2VecConfig(120, dimension=16, window=4, subsample=0, **options)
    learned, vectors = {}, []
    for threads in (1, 1, 2, 5):
        model = Word2Vec(config, counts, np.random.default_rng(0))
        with threads_at_hand(threads):
            before, predictions = model.learn(words, starts, np.zeros(4000), 9)
            for epoch in range(8):
                rates = np.full(4000, 0.025)
                model.learn(words, starts, rates, 1, 4000 * epoch, threads)
            after, _ = model.learn(words, starts, np.zeros(4000), 9)
        learned[threads] = (before - after) / predictions
        vectors.append(model.params["vectors"])
    assert np.array_equal(vectors[0], vectors[1])  # of one seed and one thread
    assert learned[2] > 0.8 * learned[1] > 0
    assert learned[5] > 0.8 * learned[1]


# --- nearest words -----------------------------------------------------------------

TOY = Vectors(
    ["man", "woman", "king", "queen", "apple"],
    np.array([[1, 0, 2.0], [-1, 0, 2], [1, 2, 2], [-1, 2, 2], [0, -3, 0]]),
)


def test_nearest_and_analogy():
    assert TOY.most_similar("king", topn=2)[0][0] == "queen"
    assert TOY.most_similar("king", topn=2)[0][1] == pytest.approx(7 / 9)
    assert len(TOY.most_similar("king", topn=100)) == 4
    assert TOY.analogy("man", "king", "woman", 1)[0][0] == "queen"
    assert TOY.most_similar(["king", "woman"], ["man"], 1)[0][0] == "queen"
    assert TOY.most_similar(positive="king", negative="man") == TOY.most_similar(["king"], ["man"])
    assert {word for word, _ in TOY.most_similar(negative=["apple"])} == set(TOY.words) - {"apple"}
    assert (TOY.index_to_key, TOY.vector_size) == (TOY.words, 3)
    with pytest.raises(InputError, match="positive: expected a word or more, found none"):
        TOY.most_similar()
    assert TOY.similarity("king", "king") == pytest.approx(1)
    assert TOY["king"].tolist() == [1, 2, 2]
    assert "king" in TOY
    assert "aple" not in TOY
    assert len(TOY) == 5
    unknown = r"^the word 'aple' is not among the 5 that the model knows; did you mean apple\?$"
    for ask in (TOY.most_similar, TOY.__getitem__, lambda w: TOY.map([w])):
        with pytest.raises(InputError, match=unknown):
            ask("aple")


def test_similar_words_are_those_of_gensim():
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors")
    theirs = keyedvectors.KeyedVectors(3)
    theirs.add_vectors(TOY.words, TOY.vectors)
    for query in ({"positive": ["king", "woman"], "negative": ["man"]}, {"positive": "apple"}):
        ours = TOY.most_similar(**query)
        expected = theirs.most_similar(**query)
        assert [word for word, _ in ours] == [word for word, _ in expected]
        for (_, score), (_, expected_score) in zip(ours, expected, strict=True):
            assert score == pytest.approx(expected_score, abs=1e-5)


def test_the_map_keeps_the_distances_of_a_plane():
    flat = np.zeros((6, 5))
    flat[:, [1, 3]] = np.random.default_rng(0).standard_normal((6, 2))
    flat[:, 4] = 0
    vectors = Vectors(list("abcdef"), flat)
    places = vectors.map(list("abcdef"))
    for a in range(6):
        distances = np.linalg.norm(vectors.directions - vectors.directions[a], axis=1)
        assert np.linalg.norm(places - places[a], axis=1) == pytest.approx(distances)


TEXT = {"words": [1, 2], "starts": [0, 2], "rates": [1.0]}
WRONG = [
    ({"words": [9, 2]}, ValueError, r"words: expected 0\.\.8"),
    ({"words": [2**32, 2]}, ValueError, r"words: expected 0\.\.8"),
    ({"words": [-1, 2]}, ValueError, r"words: expected 0\.\.8"),
    ({"words": [[1, 2]]}, ValueError, r"words: expected shape \(2,\), found \(1, 2\)"),
    ({"starts": [0, 3]}, ValueError, r"starts: expected 0\.\.2, found 0\.\.3"),
    ({"starts": [0, 10**9, 2], "rates": [1.0] * 2}, ValueError, r"starts: expected 0\.\.2"),
    ({"starts": [0, -(10**9), 2], "rates": [1.0] * 2}, ValueError, r"starts: expected 0\.\.2"),
    ({"starts": [0, 2, 1, 2], "rates": [1.0] * 3}, ValueError, "starts: expected to ascend from 0"),
    ({"rates": [1.0, 1.0]}, ValueError, "starts: expected"),
    ({"rates": [[0.1]]}, ValueError, r"rates: expected shape \(1,\), found \(1, 1\)"),
    *(
        ({"rates": [rate]}, ValueError, "rates: expected finite numbers from 0")
        for rate in (np.nan, np.inf, -0.1)
    ),
    *(
        ({name: wrong(np.array(TEXT[name]))}, TypeError, f"{name}: expected {expected}")
        for name in ("words", "starts")
        for wrong, expected in (
            (lambda a: a.tolist(), "a NumPy array, found list"),
            (lambda a: np.ma.masked_array(a, a > 1), "a NumPy array, found MaskedArray"),
            (lambda a: a.astype(object), "integers, found object"),
            (lambda a: a > 1, "integers, found bool"),
            (lambda a: a.astype(float), "integers, found float64"),
        )
    ),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_a_text_that_does_not_fit_is_refused(kernels, wrong, error, message):
    model = made(np.random.default_rng(0))
    before = copies(model)
    given = {name: np.array(values) for name, values in TEXT.items()} | wrong
    if error is ValueError:
        given = {name: np.array(values) for name, values in given.items()}
    with use_kernels(kernels), pytest.raises(error, match=message):
        model.learn(**given)
    assert all(np.array_equal(before[name], model.params[name]) for name in before)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, ">i4", np.uint64])
def test_words_and_starts_of_any_integer_type(kernels, dtype):
    rng = np.random.default_rng(3)
    words, starts = sentences(rng)
    rates = rng.uniform(0, 0.1, len(starts) - 1)
    one, other = made(np.random.default_rng(0)), made(np.random.default_rng(0))
    with use_kernels(kernels):
        expected = one.learn(words, starts, rates, seed=1)
        strided = np.repeat(words, 2).astype(dtype)[::2], np.repeat(starts, 3).astype(dtype)[::3]
        assert other.learn(*strided, rates.astype(">f8"), seed=1) == expected
    assert all(np.array_equal(one.params[name], other.params[name]) for name in one.params)


def test_a_weight_is_changed_and_not_replaced():
    """The steps would go on with the old ones: they are in memory with padded rows."""
    model = made(np.random.default_rng(0))
    new = np.ones_like(model.params["vectors"])
    with pytest.raises(TypeError, match="does not support item assignment"):
        model.params["vectors"] = new
    with pytest.raises(AttributeError, match="no setter"):
        model.params = {"vectors": new, "outputs": model.params["outputs"]}
    model.params["vectors"][:] = new
    assert (model._W_in[:, : new.shape[1]] == 1).all()


def test_counts_of_another_kind_are_refused():
    config = Word2VecConfig(3)
    for counts in ([3, 2, 1], np.array([3.0, 2.0, 1.0]), None, np.ma.array([3, 2, 1])):
        with pytest.raises(TypeError, match=r"counts: expected (a NumPy array|integers), found"):
            Word2Vec(config, counts)
    with pytest.raises(ValueError, match="counts: expected 1 or more, found 0"):
        Word2Vec(config, np.array([3, 2, 0]))


@pytest.mark.parametrize("power", [-10.0, -0.5, 0.75, 10.0])
def test_no_count_is_too_large_for_a_power(power):
    config = Word2VecConfig(3, dimension=4, power=power)
    Word2Vec(config, np.array([1, 2**40, 2**62]), np.random.default_rng(0))
