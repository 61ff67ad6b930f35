"""Changed copies of texts: what stays, what changes, how many words, and the same by seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data.augmentation import (
    core_of,
    deletion,
    how_many,
    insertion,
    places_of_words,
    swap,
    synonyms,
)

WORD = st.text("abAB'.?-,", min_size=1, max_size=4)
WORDS = st.lists(WORD, max_size=12)
SHARE = st.floats(0.01, 1)
SEED = st.integers(0, 1000)


def neighbours(word):
    """Words with an "a" have two neighbours, which no word drawn above equals."""
    return [word + "one", word + "two"] if "a" in word else []


def changes(words, share, seed):
    """The result of each method on words."""
    for method, more in (
        (synonyms, [neighbours]),
        (insertion, [neighbours]),
        (swap, []),
        (deletion, []),
    ):
        yield method, method(words, share, np.random.default_rng(seed), *more)


def count(words, share):
    return how_many(share, len(places_of_words(words)))


@given(words=WORDS, share=SHARE, seed=SEED)
def test_a_seed_gives_the_same_and_no_argument_changes(words, share, seed):
    before = list(words)
    first = [made for _, made in changes(words, share, seed)]
    assert first == [made for _, made in changes(words, share, seed)]
    assert words == before


@given(words=WORDS, share=SHARE, seed=SEED)
def test_a_deletion_leaves_out_so_many_words_and_never_the_last(words, share, seed):
    made = deletion(words, share, np.random.default_rng(seed))
    n, left = len(places_of_words(words)), len(places_of_words(made))
    assert left == (n - min(count(words, share), n - 1) if n else 0)
    rest = iter(words)
    assert all(word in rest for word in made)  # in their order
    marks = [word for word in words if not core_of(word)[1]]
    assert [word for word in made if not core_of(word)[1]] == marks


@given(words=WORDS, share=SHARE, seed=SEED)
def test_a_swap_keeps_all_words_and_the_places_of_marks(words, share, seed):
    made = swap(words, share, np.random.default_rng(seed))
    assert Counter(made) == Counter(words)
    assert places_of_words(made) == places_of_words(words)
    moved = sum(a != b for a, b in zip(made, words, strict=True))
    assert moved <= 2 * count(words, share)
    if len(set(words)) == len(words) and len(places_of_words(words)) > 1 and share < 0.5 / 12:
        assert moved == 2  # one pair


@given(words=WORDS, share=SHARE, seed=SEED)
def test_synonyms_replace_so_many_words_that_have_any(words, share, seed):
    made = synonyms(words, share, np.random.default_rng(seed), neighbours)
    changed = [(a, b) for a, b in zip(words, made, strict=True) if a != b]
    able = [word for word in words if neighbours(core_of(word)[1].lower())]
    assert len(changed) == min(count(words, share), len(able))
    for old, new in changed:
        before, core, after = core_of(old)
        assert new.startswith(before)
        assert new.endswith(after)
        assert new[len(before)].isupper() == core[0].isupper()
        assert new[len(before) : len(new) - len(after)][-3:] in ("one", "two")


@given(words=WORDS, share=SHARE, seed=SEED)
def test_an_insertion_puts_so_many_neighbours_between_the_words(words, share, seed):
    made = insertion(words, share, np.random.default_rng(seed), neighbours)
    able = any(neighbours(core_of(word)[1].lower()) for word in words)
    assert len(made) == len(words) + (count(words, share) if able else 0)
    assert [word for word in made if word[-3:] not in ("one", "two")] == words


@pytest.mark.parametrize("words", [[], ["?"], ["!", "..."]])
def test_without_words_nothing_changes(words):
    for _, made in changes(words, 1.0, 0):
        assert made == words


def test_one_word_is_neither_swapped_nor_left_out():
    rng = np.random.default_rng(0)
    for text in (["alas"], ["alas", "!"]):
        assert swap(text, 1.0, rng) == deletion(text, 1.0, rng) == text
    assert synonyms(["alas"], 0.01, rng, neighbours)[0] in ("alasone", "alastwo")


def test_of_a_word_that_is_repeated_each_place_counts_by_itself():
    words = ["a"] * 10
    made = synonyms(words, 0.3, np.random.default_rng(0), neighbours)
    assert made.count("a") == 7
    assert len(deletion(words, 0.3, np.random.default_rng(0))) == 7
    where = {
        tuple(word != "a" for word in synonyms(words, 0.1, np.random.default_rng(seed), neighbours))
        for seed in range(100)
    }
    assert len(where) == 10  # every place has its turn


def test_every_word_may_be_left_out_and_every_neighbour_may_come():
    words = ["a", "b", "c", "d"]
    seeds = range(100)
    left = {tuple(deletion(words, 0.25, np.random.default_rng(seed))) for seed in seeds}
    assert len(left) == 4
    new = {synonyms(["a"], 1, np.random.default_rng(seed), neighbours)[0] for seed in seeds}
    assert new == {"aone", "atwo"}
    pairs = {tuple(swap(words, 0.25, np.random.default_rng(seed))) for seed in seeds}
    assert len(pairs) == 6
    put = {tuple(insertion(words, 0.25, np.random.default_rng(seed), neighbours)) for seed in seeds}
    assert len(put) == 8  # either neighbour of a, before any word


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share: expected above 0 and at most 1"):
        deletion(["a", "b"], share, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("", ("", "", "")),
        ("?!", ("?!", "", "")),
        ("day", ("", "day", "")),
        ("(day),", ("(", "day", "),")),
        ("e-mail", ("", "e-mail", "")),
        ("«été»", ("«", "été", "»")),
        ("1,000.", ("", "1,000", ".")),
    ],
)
def test_the_marks_around_a_word(word, parts):
    assert core_of(word) == parts


def test_marks_take_time_in_proportion_to_their_number():
    core_of("a" + "!" * 10**6 + "a")  # hours, if it were with the square
