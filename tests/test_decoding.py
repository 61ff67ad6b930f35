import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding import generate, next_probabilities, sample

LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 2.5], np.float32)
logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12).map(np.array)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


class Counter:
    """A model that always continues 0, 1, 2, ... round a vocabulary of five, and mostly."""

    def zero_state(self, B):
        return np.zeros(B)

    def read(self, ids, state):
        following = (ids[:, -1] + 1) % 5
        return 3.0 * np.eye(5, dtype=np.float32)[following], state + ids.shape[1]


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
    assert np.allclose(p[0], next_probabilities(LOGITS, 0.7, 3, 0.8))
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
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 3}, "top_p"),
    ],
)
def test_nonsense_is_refused(options, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        next_probabilities(LOGITS, **options)


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


def test_greedy_generation_follows_the_model():
    ids = generate(Counter(), [3], 7, np.random.default_rng(0), temperature=0)
    assert list(ids) == [4, 0, 1, 2, 3, 4, 0]


def test_a_prompt_is_read_to_its_end():
    assert list(generate(Counter(), [4, 4, 1], 2, np.random.default_rng(0), top_k=1)) == [2, 3]
    with pytest.raises(ValueError, match="prompt"):
        next(generate(Counter(), [], 2, np.random.default_rng(0)))


def test_one_seed_writes_one_text():
    texts = [list(generate(Counter(), [0], 60, np.random.default_rng(s))) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_banned_ids_are_never_drawn():
    rng = np.random.default_rng(0)
    assert 2 in generate(Counter(), [0], 60, rng)
    assert 2 not in generate(Counter(), [0], 60, rng, banned=[2])
    assert list(generate(Counter(), [1], 1, rng, temperature=0, banned=[2])) != [2]


def test_ids_are_streamed():
    class Model(Counter):
        reads = 0

        def read(self, ids, state):
            self.reads += 1
            return super().read(ids, state)

    model = Model()
    ids = generate(model, [0], 10, np.random.default_rng(0), temperature=0)
    assert next(ids) == 1
    assert model.reads == 1
    assert list(ids) == [2, 3, 4, 0, 1, 2, 3, 4, 0]
    assert model.reads == 10  # none after the last
