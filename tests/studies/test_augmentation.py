"""Changed copies of labelled texts: the methods, and the runs that help."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from benchmarks import augmentation
from benchmarks.augmentation import (
    absolute_methods,
    augment,
    augmented,
    back_translation,
    each,
    neighbours_in,
    parse,
    usual_copies,
)
from minillm.cli import main
from minillm.data.augmentation import synonyms
from minillm.data.labelled import read_labelled
from minillm.errors import InputError
from minillm.formats.word2vec import write_vectors
from minillm.models.vectors import Vectors

SMALL = ["--steps", "6", "--batch", "4"]
TINY = [*SMALL, "--hidden", "4", "--embedding", "6"]
WORDS = ["what", "a", "fine", "day", "rain", "and", "wind", "again", "number"]
LABELLED = "".join(
    f"{label}\t{text} {k}\n"
    for k in range(20)
    for label, text in (("good", "what a fine day, number"), ("bad", "rain and wind again, number"))
)
TEXT = "what a fine day . rain and wind again , number .\n" * 80
PAIRS = "".join(
    f"{a} {b}\t{b} {a}\n"
    for a in ("what", "a", "fine", "rain", "and", "number")
    for b in ("day", "wind", "again")
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Data, word vectors, and a tiny run for each method that needs one."""
    folder = tmp_path_factory.mktemp("augmentation")
    (folder / "labelled.tsv").write_text(LABELLED)
    (folder / "text.txt").write_text(TEXT)
    (folder / "pairs.tsv").write_text(PAIRS)
    vectors = np.random.default_rng(0).standard_normal((len(WORDS), 5)).astype(np.float32)
    write_vectors(folder / "vectors.txt", WORDS, vectors)
    for kind, data, options in (
        ("bert", "text.txt", [*SMALL, "--width", "8", "--heads", "2", "--layers", "1"]),
        ("word2vec", "text.txt", ["--dimension", "6", "--epochs", "1"]),
        ("seq2seq", "pairs.tsv", [*TINY, "--minimum-count", "1", "--max-source", "8"]),
    ):
        out = ["--out", str(folder / kind)]
        assert main(["train", kind, str(folder / data), *out, *options]) == 0
    return folder


METHODS = {
    "synonyms": "synonyms={}/vectors.txt",
    "insertion": "insertion={}/word2vec",
    "swap": "swap",
    "deletion": "deletion",
    "back-translation": "back-translation={0}/seq2seq+{0}/seq2seq",
}


@pytest.mark.deep
@pytest.mark.parametrize("method", METHODS)
def test_each_method_makes_16_copies_of_a_text_with_its_label(method, files):
    """For up to 500 texts."""
    augment, labelled = METHODS[method].format(files), list(read_labelled(files / "labelled.tsv"))
    copies, note = augmented(labelled, augment, seed=0)
    n = len(labelled)
    assert [label for label, _ in copies] == 16 * [label for label, _ in labelled]
    assert sum(copy != labelled[k % n] for k, copy in enumerate(copies)) > n
    assert f"{16 * n} changed copies of the training texts, 16 of each, by {method}; " in note
    assert augmented(labelled, augment, seed=0)[0] == copies
    assert augmented(labelled, augment, seed=1)[0] != copies


def test_the_program_prints_texts_and_copies_to_train_on(files, monkeypatch, capsys, tmp_path):
    data = str(files / "labelled.tsv")
    monkeypatch.setattr(sys, "argv", ["augmentation", data, "--augment", "swap"])
    augmentation.main()
    printed = capsys.readouterr().out
    assert printed.startswith(LABELLED)
    assert printed.count("\n") == 17 * LABELLED.count("\n")
    (tmp_path / "more.tsv").write_text(printed)
    options = ["--validation", data, "--out", str(tmp_path / "run"), *SMALL]
    assert main(["train", "classifier", str(tmp_path / "more.tsv"), *options]) == 0
    monkeypatch.setattr(sys, "argv", ["augmentation", data, "--augment", "swop"])
    with pytest.raises(SystemExit, match="2"):
        augmentation.main()
    assert "--augment: expected some of synonyms" in capsys.readouterr().err


# --- what is named ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synonym", "augment: expected some of synonyms.*, back-translation=DIR.DIR; found 'syn"),
        ("", "augment: expected some of .*; found ''"),
        ("swap,,deletion", "augment: expected some of .*; found ''"),
        ("swap,deletion,swap", "augment: expected each method once, found swap again"),
        ("swap=runs/x", "augment swap: expected swap, found 'swap=runs/x'"),
        ("synonyms", "augment synonyms: expected synonyms=VECTORS, found 'synonyms'"),
        ("synonyms=", "augment synonyms: expected synonyms=VECTORS, found 'synonyms='"),
        ("fill=a", "augment: expected some of .*; found 'fill=a'"),
        ("back-translation=a", r"augment back-translation: expected back-translation=DIR\+DIR"),
        ("back-translation=a+", r"expected back-translation=DIR\+DIR, found 'back.*a\+'"),
    ],
)
def test_what_is_no_method_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse(text, None)


def test_paths_are_kept_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = parse("synonyms, insertion=other.txt,back-translation=a+b/c", "vectors.txt")
    assert found == {
        "synonyms": [str(tmp_path / "vectors.txt")],
        "insertion": [str(tmp_path / "other.txt")],
        "back-translation": [str(tmp_path / "a"), str(tmp_path / "b" / "c")],
    }


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("back-translation={0}/seq2seq+{0}/nowhere", "nowhere: there is no run in it"),
        ("back-translation={0}/seq2seq+{0}/bert", "bert/config.json: expected a run of .*seq2seq"),
        ("synonyms={}/bert", "bert/config.json: expected a run of word2vec, found 'bert'"),
        ("synonyms={}/labelled.tsv", "labelled.tsv, line 1: expected the number of words"),
        ("synonyms={}/none.txt", "none.txt: there is no such file"),
    ],
)
def test_a_run_that_cannot_help_is_refused(augment, message, files):
    with pytest.raises(InputError, match=message):
        absolute_methods(augment.format(files))


# --- what the methods ask -------------------------------------------------------------------


def test_neighbours_are_near_words_and_no_function_words():
    words = ["the", "of", "film", "Film", "movie", "3", *(f"w{k}" for k in range(94))]
    vectors = np.eye(100, dtype=np.float32)
    vectors[[0, 3, 4, 5], 2] = [3, 2, 1, 2]  # the others at right angles
    similar = neighbours_in(Vectors(words, vectors))
    assert similar("film") == ["movie"]  # not the, nor Film, nor 3, nor w0
    assert similar("movie") == ["film", "Film"]
    assert similar("the") == similar("unheard-of") == []


def test_a_translator_leaves_out_what_it_cannot_read(files):
    translate = augmentation.translate_with(minillm.load(files / "seq2seq"))
    found = translate(["", "a day", "a " * 9], np.random.default_rng(0))
    assert found[0] == found[2] == ""
    assert translate([], np.random.default_rng(0)) == []


# --- the copies ----------------------------------------------------------------------------

DRAWN = st.lists(st.text("abAB'.?-,", min_size=1, max_size=4), max_size=12)
DRAWN_TEXTS = st.lists(DRAWN.map(" ".join), max_size=6)


def similar(word):
    return [word + "one", word + "two"] if "a" in word else []


@given(texts=DRAWN_TEXTS)
def test_back_translation_goes_there_and_back_and_keeps_what_is_lost(texts):
    rng = np.random.default_rng(0)

    def there(given, generator):
        assert generator is rng
        return [text.upper() if len(text) % 2 else "" for text in given]

    def back(given, generator):
        return [text[::-1] for text in given]

    made = back_translation(texts, rng, there, back)
    assert made == [text.upper()[::-1] if len(text) % 2 else text for text in texts]


DRAWN_LABELLED = st.lists(st.tuples(st.sampled_from("xyz"), DRAWN.map(" ".join)), max_size=6)


@given(labelled=DRAWN_LABELLED, copies=st.integers(0, 5), seed=st.integers(0, 1000))
def test_copies_keep_the_labels_and_the_methods_take_turns(labelled, copies, seed):
    asked = []

    def method(name):
        def change(texts, rng):
            asked.append(name)
            assert texts == [text for _, text in labelled]
            return [f"{name}{rng.integers(1000)} {text}" for text in texts]

        return change

    methods = [method("p"), method("q")]
    made = list(augment(labelled, methods, copies, np.random.default_rng(seed)))
    assert [label for label, _ in made] == [label for label, _ in labelled] * copies
    assert asked == [("p", "q")[k % 2] for k in range(copies)]
    for k, (_, text) in enumerate(made):
        assert text.endswith(labelled[k % len(labelled)][1])
    assert made == list(augment(labelled, methods, copies, np.random.default_rng(seed)))


def test_a_method_that_loses_a_text_is_found_out():
    with pytest.raises(ValueError, match="zip"):
        list(augment([("x", "a"), ("y", "b")], [lambda texts, rng: texts[:1]], 1, None))


@given(texts=DRAWN_TEXTS, seed=st.integers(0, 1000))
def test_each_changes_a_tenth_of_the_words_of_every_text(texts, seed):
    made = each(synonyms, similar)(texts, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    assert made == [" ".join(synonyms(text.split(), 0.1, rng, similar)) for text in texts]


def test_the_fewer_the_texts_the_more_copies():
    found = [usual_copies(texts) for texts in (1, 500, 501, 2000, 2001, 10**6)]
    assert found == [16, 16, 8, 8, 4, 4]
