"""--augment: which texts are trained on, which are not, and the runs that help."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats.word2vec import write_vectors
from minillm.models.vectors import Vectors
from minillm.option import make
from minillm.runs import augmentation
from minillm.runs.augmentation import neighbours_in, parse
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Job, find_kind
from minillm.training.minibatches import MinibatchTask

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
        ("seq2seq", "pairs.tsv", [*TINY, "--minimum-count", "1", "--max-length", "8"]),
    ):
        out = ["--out", str(folder / kind)]
        assert main(["train", kind, str(folder / data), *out, *options]) == 0
    return folder


def parts_of(files, **given):
    """The parts that the training loop gets."""
    kind = find_kind("recurrent-classifier")
    data = {"data": str(files / "labelled.tsv"), "validation": given.pop("validation", None)}
    settings = make(kind.settings, {"steps": 5, "hidden": 4, **given})
    job = Job(RunFolder(files / "none"), settings, data, None, lambda line: None)
    job = replace(job, settings=kind.complete(settings, {"steps": 5}, job))
    return kind.prepare(job, np.random.default_rng(0))


def read(parts, part):
    """(label, text) of a part, as the model reads them."""
    ids, classes = getattr(parts.task, part).columns
    tokenizer = parts.vocabularies["tokenizer"]
    return [(int(c), tokenizer.decode(ids[row])) for row, c in enumerate(classes)]


METHODS = {
    "synonyms": "synonyms={}/vectors.txt",
    "insertion": "insertion={}/word2vec",
    "swap": "swap",
    "deletion": "deletion",
    "back-translation": "back-translation={0}/seq2seq+{0}/seq2seq",
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_adds_copies_to_the_training_texts_alone(method, files):
    """For up to 500 texts, there are 16 copies of each."""
    augment = METHODS[method].format(files)
    plain = parts_of(files, minimum_count=1)
    parts = parts_of(files, augment=augment, minimum_count=1)
    assert read(parts, "validation") == read(plain, "validation")
    training, originals = read(parts, "training"), read(plain, "training")
    n = len(originals)
    assert training[:n] == originals
    assert len(training) == 17 * n
    assert [label for label, _ in training] == 17 * [label for label, _ in originals]
    assert parts.task.batches_per_epoch == plain.task.batches_per_epoch
    changed = sum(copy != originals[k % n] for k, copy in enumerate(training[n:]))
    assert changed > n
    assert f"{16 * n} changed copies of the training texts, 16 of each, by" in parts.notes[0]
    assert read(parts_of(files, augment=augment, minimum_count=1), "training") == training
    assert read(parts_of(files, augment=augment, minimum_count=1, seed=1), "training") != training


EASY = st.lists(
    st.sampled_from(["synonyms", "insertion", "swap", "deletion"]), min_size=1, unique=True
)


@settings(max_examples=10)
@given(names=EASY, seed=st.integers(0, 99), held_out=st.booleans())
def test_no_method_ever_sees_a_text_that_is_held_out(files, names, seed, held_out):
    """Every tenth text of a label is held out, or the texts of a file of their own."""
    seen = set()
    open_method = augmentation.open_method

    def watched(name, paths):
        method = open_method(name, paths)

        def watching(texts, rng):
            seen.update(texts)
            return method(texts, rng)

        return watching

    held = files / "held.tsv"
    held.write_text("good\ta day of its own\nbad\tno wind at all\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "open_method", watched)
        parts = parts_of(
            files,
            validation=str(held) if held_out else None,
            augment=",".join(names),
            seed=seed,
            vectors=str(files / "vectors.txt"),
        )
    lines = [line.partition("\t") for line in LABELLED.splitlines()]
    if held_out:
        validation = [line.partition("\t") for line in held.read_text().splitlines()]
        assert seen == {text for _, _, text in lines}
    else:
        validation = [line for k, line in enumerate(lines) if k // 2 % 10 == 9]
        assert seen == {text for _, _, text in lines} - {text for _, _, text in validation}
    tokenizer = parts.vocabularies["tokenizer"]
    ids, classes = parts.task.validation.columns
    assert len(ids) == len(validation)
    for row, (label, _, text) in enumerate(validation):
        assert ids[row].tolist() == tokenizer.encode(text).tolist()
        assert classes[row] == ["bad", "good"].index(label)


def test_a_word_of_one_text_alone_stays_unknown_though_its_copies_have_it(files):
    """--minimum-count counts texts, not copies."""
    parts = parts_of(files, augment=f"synonyms={files}/vectors.txt,swap", minimum_count=3)
    plain = parts_of(files, minimum_count=3)
    assert set(parts.vocabularies["tokenizer"].tokens) == set(
        plain.vocabularies["tokenizer"].tokens
    )
    assert "17" not in parts.vocabularies["tokenizer"].tokens
    assert "fine" in parts.vocabularies["tokenizer"].tokens


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
def test_a_run_that_cannot_help_is_refused_and_nothing_is_written(
    augment, message, files, tmp_path
):
    out = tmp_path / "run"
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(out), *SMALL]
    with pytest.raises(InputError, match=message):
        parts_of(files, augment=augment.format(files))
    assert main([*command, "--augment", augment.format(files)]) == 2
    assert not out.exists()


# --- runs that are resumed ---------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(files, tmp_path, monkeypatch):
    """Also from another folder, because the paths that the methods need begin at the root."""
    monkeypatch.chdir(files)
    kind = "recurrent-classifier"
    command = ["train", kind, "labelled.tsv", "--vectors", "vectors.txt", "--hidden", "4"]
    command += ["--augment", "synonyms,insertion=word2vec,deletion"]
    command += ["--steps", "12", "--batch", "4", "--validations", "1"]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    original, calls = MinibatchTask.training_loss, []

    def interrupted(self, rng):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(MinibatchTask, "training_loss", interrupted)
        assert main([*command, "--out", str(tmp_path / "halves")]) == 130
    monkeypatch.chdir(tmp_path)
    assert main(["train", kind, "--out", "halves", "--resume"]) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array)


def test_a_resumed_run_finds_the_vectors_from_any_folder(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    command = ["train", "classifier", "labelled.tsv", "--out", str(tmp_path / "run"), *SMALL]
    assert main([*command, "--augment", "synonyms=vectors.txt"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["train", "classifier", "--out", "run", "--resume", "--steps", "9"]) == 0


def test_the_methods_of_a_run_do_not_change(files, tmp_path, capsys):
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *SMALL, "--augment", "swap"]) == 0
    assert main([*command, "--resume", "--steps", "9", "--augment", "deletion"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--augment: the run in" in line
    assert "has swap, found deletion" in line


def test_vectors_that_have_changed_are_noticed(files, tmp_path, capsys):
    vectors = tmp_path / "vectors.txt"
    vectors.write_bytes((files / "vectors.txt").read_bytes())
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *SMALL, "--augment", f"synonyms={vectors}"]) == 0
    lines = vectors.read_text().splitlines(keepends=True)
    vectors.write_text(lines[0] + lines[1].replace("what", "else") + "".join(lines[2:]))
    augmentation.open_vectors.cache_clear()
    assert main([*command, "--resume", "--steps", "9"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "or what --augment makes of them, have changed since the run was started" in line


def test_a_run_is_measured_without_what_the_methods_needed(files, tmp_path, capsys):
    """Copies are for training: eval and classify ask for no run."""
    gone = tmp_path / "vectors.txt"
    gone.write_bytes((files / "vectors.txt").read_bytes())
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *SMALL, "--augment", f"synonyms={gone}"]) == 0
    gone.unlink()
    run = minillm.load(tmp_path / "run")
    assert run.evaluate()["items"] == 4
    assert run.classify(["a fine day"])[0].label in ("good", "bad")


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
