"""Damaged runs of each kind: one line, which names what is wrong."""

import json
import re
import shutil

import numpy as np
import pytest
from few import few
from kind_rows import KINDS
from safetensors.numpy import load_file

import minillm
from minillm.errors import InputError
from minillm.runs.folder import RunFolder

# Of two vocabularies, of none, of a baseline, with a chat template; the rest are like the first.
FIRST = ["lm", "seq2seq", "classifier", "finetuned", "chat"]


@pytest.fixture(params=few(FIRST + sorted(KINDS.keys() - FIRST), kept=len(FIRST)))
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, runs, tmp_path):
    """A copy of a run of the kind, to change at will."""
    return shutil.copytree(runs(KINDS[kind]), tmp_path / "run")


def test_a_missing_file_is_named(kind, folder):
    for path in [*sorted(folder.glob("*.json")), folder / "model.safetensors"]:
        if path.name in ("tokenizer.json", "vocab.json", "chat.json"):
            continue  # for other programs, or optional
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError) as error:
            minillm.load(folder)
        assert str(folder) in str(error.value)
        if path.name != "config.json":
            assert path.name in str(error.value)
            assert "damaged" not in str(error.value)
        path.write_bytes(content)
    minillm.load(folder)


@pytest.mark.parametrize(
    "value",
    few(["x", 10**30, None, -1, 1.5, 0, True, [], {}], kept=1),
    ids=lambda value: repr(value)[:6],
)
def test_wrong_entries_of_a_configuration_are_named(kind, folder, value):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for group in ("model", "training"):
        for name, before in list(config[group].items()):
            config[group][name] = value
            path.write_text(json.dumps(config))
            message = refusal(folder)
            assert message is None or (str(folder) in message and "\n" not in message)
            config[group][name] = before


def refusal(folder):
    """Why a folder cannot be opened, or None."""
    try:
        minillm.load(folder)
    except InputError as error:
        return str(error)
    return None


REMOVED = object()


def changed(folder, group, **entries):
    """Change entries of a group of the configuration."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    together = config[group] | entries
    config[group] = {key: value for key, value in together.items() if value is not REMOVED}
    path.write_text(json.dumps(config))


def test_measuring_a_run_stores_nothing_about_its_data(runs, tmp_path):
    folder = shutil.copytree(runs("lm"), tmp_path / "run")
    changed(folder, "data", sha256=REMOVED)
    run = minillm.load(folder)
    before = dict(run.data)
    run.evaluate()
    assert run.data == before
    assert "sha256" not in before


WRONG = {
    "ngram": [("data", {"files": REMOVED}, "data: 'files' is missing"),
        ("data", {"files": 3}, "data: files: expected a text, found 3"),
        ("model", {"line_end": 10**6}, "line_end: expected an id"),
        ("model", {"sizes": [10**9] * 3}, "its sizes do not agree")],
    "lm": [("model", {"colour": 1}, "colour: there is no such setting"),
        ("model", {"vocabulary": REMOVED}, "'vocabulary' is missing"),
        ("model", {"hidden": 1.5}, "hidden: expected a whole number from 1 to 65536, found 1.5"),
        ("model", {"hidden": 60_000}, r"expected shape \(.*60000.*\), found \("),
        ("model", {"layers": 64}, "layers.2.W_h: expected shape .*, found no such parameter"),
        ("training", {"learning_rate": -1}, "learning_rate: expected a number above 0"),
        ("training", {"x" * 5000: 1}, "there is no such setting"),
        ("training", {"hidden": 8}, "training: hidden: there is no such setting"),
        ("training", {"minutes": 1.0}, "expected one of minutes, steps, epochs")],
    "word2vec": [("model", {"dimension": 60_000}, "vectors: expected shape .*, found "),
        ("model", {"subsample": float("nan")}, "subsample")],
    "classifier": [("data", {"labels": ["good"]}, "labels: expected 2 of them, found 1"),
        ("data", {"labels": REMOVED}, "'labels' is missing")],
    "finetuned": [("model", {"kind": "elman"}, "encoder"),
        ("model", {"encoder": 3}, "encoder: expected an object, found 3"),
        ("model", {"encoder": {"width": 8}}, "is missing"),
        ("model", {"pooling": "attention"}, "pooling: expected one of")],
    "qa": [("data", {"unanswered": 1}, "unanswered: expected true or false, found 1")],
    "seq2seq": [("data", {"longest_target": REMOVED}, "'longest_target' is missing"),
        ("data", {"longest_target": 10**9}, "longest_target: expected a whole number from 1 to")],
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG, indirect=True)
def test_what_a_configuration_says_fits_its_kind(kind, folder):
    before = (folder / "config.json").read_text()
    for group, entries, complaint in WRONG[kind]:
        changed(folder, group, **entries)
        message = refusal(folder)
        assert message is not None, entries
        assert re.search(complaint, message), message
        assert "config.json" in message
        assert len(message) < 500
        (folder / "config.json").write_text(before)
    assert refusal(folder) is None


@pytest.mark.parametrize("kind", ["lm", "ngram", "bert", "tokenizer"], indirect=True)
def test_tokens_that_are_no_text_are_refused(kind, folder):
    for path in folder.glob("vocabulary*.json"):
        values = json.loads(path.read_text())
        name = next(name for name in ("words", "specials", "tokens") if values.get(name))
        values[name][-1] = "\ud800"
        path.write_text(json.dumps(values))
        assert "expected text, found half of a character" in refusal(folder)


def test_vocabularies_of_another_kind(runs, tmp_path):
    folder = shutil.copytree(runs("bert"), tmp_path / "run")
    path = folder / "vocabulary.json"
    path.write_text(path.read_text().replace("[MASK]", "[GONE]"))
    assert "expected a vocabulary with [CLS], [SEP] and [MASK]" in refusal(folder)
    shutil.copy(runs("word2vec") / "vocabulary.json", path)
    assert "vocabulary.json: it is damaged" in refusal(folder)


def test_counts_of_words_are_checked(runs, tmp_path):
    folder = shutil.copytree(runs("word2vec"), tmp_path / "run")
    path = folder / "vocabulary.json"
    values = json.loads(path.read_text())
    for count in (0, -1, 1.5, "1", None, 10**30, True):
        path.write_text(json.dumps(values | {"counts": [*values["counts"][:-1], count]}))
        assert "counts: expected whole numbers" in refusal(folder)


def test_weights_that_do_not_fit_are_named(runs, tmp_path):
    folder = shutil.copytree(runs("lm"), tmp_path / "run")
    arrays = load_file(folder / "model.safetensors")
    b = arrays["output.b"]
    for wrong, complaint in (
        ({n: array for n, array in arrays.items() if n != "output.b"}, "output.b: expected shape"),
        (arrays | {"output.b": b[1:]}, r"output.b: expected shape .*, found \("),
        (arrays | {"output.c": b}, "output.c: expected no parameter of this name"),
        (arrays | {"output.b": b.astype(np.float64)}, "expected weights of one dtype"),
        ({n: array.astype(np.int32) for n, array in arrays.items()}, "one dtype, a float"),
    ):
        RunFolder(folder).save_model(wrong, {})
        assert re.search(f"model.safetensors do not fit, .*{complaint}", refusal(folder))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("lm", "seconds", float("nan")), ("lm", "step", 1.5), ("word2vec", "sentences", "1")],
)
def test_a_number_that_is_none_in_the_progress_is_named(kind, name, value, runs, tmp_path):
    folder = shutil.copytree(runs(kind), tmp_path / "run")
    arrays, values = RunFolder(folder).load_resume()
    values["progress"][name] = value
    RunFolder(folder).save_resume(arrays, values)
    damaged = rf"resume\.safetensors: it is damaged: Expected .* at `\$\.{name}`"
    with pytest.raises(InputError, match=damaged):
        minillm.train(kind, folder, resume=True, **({"steps": 9} if kind == "lm" else {}))


def test_sizes_are_checked_before_a_run_is_resumed(runs, tmp_path):
    folder = shutil.copytree(runs("lm"), tmp_path / "run")
    changed(folder, "model", hidden=60_000)
    with pytest.raises(InputError, match=r"resume\.safetensors do not fit: .*60000"):
        minillm.train("lm", folder, resume=True, steps=9)
