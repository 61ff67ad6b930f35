"""--augment: what is trained on, what is not, and the runs that help."""

import os
import re
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import minillm
from minillm.cli import main
from minillm.data.augmentation import Gap
from minillm.errors import InputError
from minillm.formats.word2vec import write_vectors
from minillm.models.vectors import Vectors
from minillm.runs import augmentation, repeated
from minillm.runs.augmentation import neighbours_in, parse
from minillm.runs.kind import find_kind
from minillm.runs.settings import make
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
    transformer = [*SMALL, "--width", "8", "--heads", "2", "--layers", "1"]
    for kind, data, options in (
        ("bert", "text.txt", [*transformer, "--context", "12", "--vocabulary", "60"]),
        (
            "gpt",
            "text.txt",
            [*transformer, "--context", "8", "--unit", "bpe", "--vocabulary", "290"],
        ),
        ("lm", "text.txt", [*SMALL, "--hidden", "8"]),
        ("ngram", "text.txt", ["--unit", "word", "--order", "3"]),
        ("word2vec", "text.txt", ["--dimension", "6", "--epochs", "1"]),
        ("seq2seq", "pairs.tsv", [*TINY, "--minimum-count", "1", "--max-length", "8"]),
    ):
        out = ["--out", str(folder / kind)]
        assert main(["train", kind, str(folder / data), *out, *options]) == 0
    return folder


def parts_of(files, **given):
    """What the training loop gets."""
    kind = find_kind("classifier")
    chosen = make(kind.settings, {"steps": 5, "hidden": 4, "ngrams": 0, **given})
    data = {"data": str(files / "labelled.tsv")}
    parts = kind.prepare(chosen, data, np.random.default_rng(0))
    return parts, data


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
    "bert": "fill={}/bert",
    "gpt": "fill={}/gpt",
    "lm": "fill={}/lm",
    "ngram": "fill={}/ngram",
    "back-translation": "back-translation={0}/seq2seq+{0}/seq2seq",
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_adds_copies_to_the_training_texts_alone(method, files):
    plain, _ = parts_of(files, minimum_count=1)
    parts, data = parts_of(files, augment=METHODS[method].format(files), minimum_count=1, copies=3)
    assert read(parts, "validation") == read(plain, "validation")
    training, originals = read(parts, "training"), read(plain, "training")
    n = len(originals)
    assert training[:n] == originals
    assert len(training) == 4 * n
    assert [label for label, _ in training] == 4 * [label for label, _ in originals]
    assert parts.task.batches_per_epoch == plain.task.batches_per_epoch
    changed = sum(copy != originals[k % n] for k, copy in enumerate(training[n:]))
    assert changed > n / 5  # a model may write the very word that stood there
    assert f"{3 * n} changed copies of the training texts, 3 of each" in parts.notes[0]
    assert data["augment"] == METHODS[method].format(files)
    again, _ = parts_of(files, augment=METHODS[method].format(files), minimum_count=1, copies=3)
    assert read(again, "training") == training
    other, _ = parts_of(
        files, augment=METHODS[method].format(files), minimum_count=1, copies=3, seed=1
    )
    assert read(other, "training") != training


EASY = st.lists(
    st.sampled_from(["synonyms", "insertion", "swap", "deletion"]), min_size=1, unique=True
)


@settings(max_examples=25)
@given(
    names=EASY,
    share=st.floats(0.01, 1),
    copies=st.integers(4, 6),
    seed=st.integers(0, 99),
    held_out=st.booleans(),
)
def test_no_method_ever_sees_a_text_that_is_held_out(files, names, share, copies, seed, held_out):
    """Every tenth text of a label is held out, or the texts of a file of their own."""
    seen = set()
    open_method = augmentation.open_method

    def watched(name, paths, of_share):
        method = open_method(name, paths, of_share)

        def watching(texts, rng):
            seen.update(texts)
            return method(texts, rng)

        return watching

    held = files / "held.tsv"
    held.write_text("good\ta day of its own\nbad\tno wind at all\n")
    kind = find_kind("classifier")
    data = {"data": str(files / "labelled.tsv"), "validation": str(held) if held_out else None}
    given = {"augment": ",".join(names), "augment_share": share, "copies": copies, "seed": seed}
    given |= {"steps": 1, "hidden": 4, "ngrams": 0, "vectors": str(files / "vectors.txt")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "open_method", watched)
        parts = kind.prepare(make(kind.settings, given), dict(data), np.random.default_rng(0))
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
    parts, _ = parts_of(
        files, augment=f"synonyms={files}/vectors.txt,swap", minimum_count=3, augment_share=0.5
    )
    plain, _ = parts_of(files, minimum_count=3)
    assert set(parts.vocabularies["tokenizer"].tokens) == set(
        plain.vocabularies["tokenizer"].tokens
    )
    assert "17" not in parts.vocabularies["tokenizer"].tokens
    assert "fine" in parts.vocabularies["tokenizer"].tokens


def test_all_methods_take_turns_and_the_default_is_a_copy_for_each_at_least(files):
    names = ",".join(METHODS[m].format(files) for m in ("synonyms", "swap", "bert"))
    parts, _ = parts_of(files, augment=names, augment_share=0.3)
    assert len(parts.task.training.columns[1]) == 17 * 36
    assert "16 of each, by synonyms, swap, fill" in parts.notes[0]


# --- what is named ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synonym", "--augment: expected some of synonyms.*, back-translation=DIR.DIR; found 'syn"),
        ("", "--augment: expected some of .*; found ''"),
        ("swap,,deletion", "--augment: expected some of .*; found ''"),
        ("swap,deletion,swap", "--augment: expected each method once, found swap again"),
        ("swap=runs/x", "--augment swap: expected swap, found 'runs/x'"),
        ("synonyms", "--augment synonyms: expected --vectors FILE, or synonyms=VECTORS, found"),
        ("synonyms=", r"--augment synonyms: expected synonyms\[=VECTORS\], found ''"),
        ("fill", "--augment fill: expected fill=DIR, found none"),
        ("fill=a+b", r"--augment fill: expected fill=DIR, found 'a\+b'"),
        ("back-translation=a", r"--augment back-translation: expected back-translation=DIR\+DIR"),
        ("back-translation=a+", r"expected back-translation=DIR\+DIR, found 'a\+'"),
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
        ("fill={}/nowhere", "nowhere: there is no run in it"),
        ("fill={}/seq2seq", "--augment fill: expected a run of bert, or of a model that writes"),
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
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(out), *TINY]
    with pytest.raises(InputError, match=message):
        parts_of(files, augment=augment.format(files))
    assert main([*command, "--augment", augment.format(files)]) == 2
    assert not out.exists()


def test_an_encoder_of_another_kind_is_not_trained_on_mixtures(files, capsys):
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(files / "mixed")]
    assert main([*command, *SMALL, "--init", str(files / "lm"), "--mixup", "0.4"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--mixup: texts are mixed for a recurrence from scratch or from a classifier" in line
    assert main([*command, *TINY, "--mixup", "0.4", "--augment", "swap"]) == 0
    assert minillm.load(files / "mixed").model.config.mixup == 0.4
    again = [*command[:-1], str(files / "again"), *SMALL, "--init", str(files / "mixed")]
    assert main([*again, "--mixup", "0.1"]) == 0
    assert minillm.load(files / "again").model.config.mixup == 0.1


def test_too_few_copies_for_all_methods_are_refused(files):
    with pytest.raises(InputError, match="--copies: expected at least 2, one for each method"):
        parts_of(files, augment="swap,deletion", copies=1)


# --- runs that are resumed ---------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(files, tmp_path, monkeypatch):
    """Also from another folder, for the paths of what the methods need are kept from the root."""
    monkeypatch.chdir(files)
    command = ["train", "classifier", "labelled.tsv", "--vectors", "vectors.txt", "--hidden", "4"]
    command += ["--augment", "synonyms,insertion=word2vec,deletion,fill=bert", "--mixup", "0.5"]
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
    assert main(["train", "classifier", "--out", "halves", "--resume"]) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array)


def test_further_seeds_find_the_vectors_from_any_folder(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    command = ["train", "classifier", "labelled.tsv", "--out", str(tmp_path / "run"), *TINY]
    assert main([*command, "--augment", "synonyms=vectors.txt"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["train", "classifier", "--out", "run", "--resume", "--seeds", "2"]) == 0


def test_no_method_sees_the_text_that_a_fold_tests(files, tmp_path, monkeypatch):
    seen = []
    open_method = augmentation.open_method

    def watched(*arguments):
        method, texts_seen = open_method(*arguments), set()
        seen.append(texts_seen)

        def watching(texts, rng):
            texts_seen.update(texts)
            return method(texts, rng)

        return watching

    monkeypatch.setattr(augmentation, "open_method", watched)
    tested = []
    measured = repeated._measure_fold

    def measuring(kind, job, place, training, test):
        tested.append({text for _, text in test})
        return measured(kind, job, place, training, test)

    monkeypatch.setattr(repeated, "_measure_fold", measuring)
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *TINY, "--augment", "swap", "--folds", "3"]) == 0
    assert len(tested) == 3
    assert len(seen) == 4  # the run itself, then the folds
    for texts, test in zip(seen[1:], tested, strict=True):
        assert texts
        assert not texts & test


def test_the_methods_of_a_run_do_not_change(files, tmp_path, capsys):
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *TINY, "--augment", "swap"]) == 0
    assert main([*command, "--resume", "--steps", "9", "--augment", "deletion"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--augment: the run in" in line
    assert "has swap, found deletion" in line


def test_vectors_that_have_changed_are_noticed(files, tmp_path, capsys):
    vectors = tmp_path / "vectors.txt"
    vectors.write_bytes((files / "vectors.txt").read_bytes())
    command = ["train", "classifier", str(files / "labelled.tsv"), "--out", str(tmp_path / "run")]
    assert main([*command, *TINY, "--augment", f"synonyms={vectors}"]) == 0
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
    assert main([*command, *TINY, "--augment", f"synonyms={gone}"]) == 0
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


def test_bert_is_asked_for_whole_words_near_the_gap(files):
    run = minillm.load(files / "bert")
    predict = augmentation.predict_with(run)
    long = " ".join(["rain and wind again"] * 20)
    gaps: list[Gap] = [
        ("what a", "day ."),
        ("", "a"),
        (long, ""),
        (long, long),
        ("", long),
        ("", ""),
    ]
    for seed in range(5):
        found = predict(gaps, np.random.default_rng(seed))
        assert all(re.fullmatch(r"\w+", word) for word in found)
        assert set(found) <= set(run.tokenizer.tokens)


def test_bert_fills_a_gap_as_fill_does(files, monkeypatch):
    """What stands at the gap, with the context around it, is what the command line shows."""
    monkeypatch.setattr(augmentation, "FILLING", 1)
    run = minillm.load(files / "bert")
    ranked = run.fill("what a [MASK] day", top=60)[0]
    best = next(token for token, _ in ranked if token.isalnum())
    rng = np.random.default_rng(0)
    assert augmentation.predict_with(run)([("what a", "day"), ("rain", "")], rng)[0] == best


def test_of_a_long_text_bert_reads_what_stands_on_both_sides(files, monkeypatch):
    run = minillm.load(files / "bert")
    read, original = [], run.model.fill
    monkeypatch.setattr(run.model, "fill", lambda batch: read.append(batch) or original(batch))
    long = "rain " * 30
    for before, after, around in (
        (long, long, (5, 4)),
        (long, "", (9, 0)),
        ("", long, (0, 9)),
        (long, "day", (8, 1)),
    ):
        augmentation.predict_with(run)([(before, after)], np.random.default_rng(0))
        batch = read.pop()
        assert batch.ids.shape == (1, 12)
        (place,) = np.flatnonzero(batch.places[0])
        assert batch.ids[0, place] == run.tokenizer.mask
        encoded = len(run.tokenizer.encode("rain")), len(run.tokenizer.encode("day"))
        assert encoded == (1, 1)
        assert (place - 1, 10 - place) == around


def test_one_that_writes_is_asked_for_the_next_word(files):
    run = minillm.load(files / "ngram")
    predict = augmentation.predict_with(run)
    seen = {predict([("what a", "")], np.random.default_rng(seed))[0] for seed in range(20)}
    assert "fine" in seen
    assert "day" in predict([("Unheard of fine", "")], np.random.default_rng(0))
    for kind in ("gpt", "lm"):
        predict = augmentation.predict_with(minillm.load(files / kind))
        for before in ("", "what a fine day .", "\u4e00 unknown", "what a " * 20):
            (word,) = predict([(before, "")], np.random.default_rng(0))
            assert " " not in word


def test_a_translator_leaves_out_what_it_cannot_read(files):
    translate = augmentation.translate_with(minillm.load(files / "seq2seq"))
    found = translate(["", "a day", "a " * 9], np.random.default_rng(0))
    assert found[0] == found[2] == ""
    assert translate([], np.random.default_rng(0)) == []
