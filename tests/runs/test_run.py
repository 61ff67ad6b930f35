"""A run that is opened: one loader for every kind."""

import json
import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from few import few
from safetensors.numpy import load_file
from tiny import metrics

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats.word2vec import read_vectors
from minillm.runs import kind as kind_module
from minillm.runs.folder import RunFolder
from minillm.runs.kind import kinds

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
SMALL = {"steps": 6, "batch": 4}
TINY = {**SMALL, "hidden": 8, "embedding": 6}
BLOCKS = {**SMALL, "width": 8, "heads": 2, "layers": 2}
PAIRS = "".join(
    f"{a} {b}\t{b} {a}\n" for a in ("one", "two", "three", "four") for b in ("six", "ten", "two")
)
LABELLED = "".join(
    f"{label}\t{text} {k}\n"
    for k in range(20)
    for label, text in (("good", "what a fine day"), ("bad", "rain and wind again"))
)


def paragraph(name):
    """One of SQuAD's, with a question."""
    answers = [{"text": "gold", "answer_start": len(name) + 7}]
    question = {"id": name, "question": f"What did {name} find?", "answers": answers}
    return {"context": f"{name} found gold.", "qas": [question]}


QUESTIONS = json.dumps({"data": [{"paragraphs": [paragraph(name) for name in "abcdefghijkl"]}]})
GIVEN = {  # the data, and the settings of a tiny run
    "ngram": (TEXT, {"order": 3}),
    "neural-ngram": (TEXT, {**TINY, "order": 3, "window": 8}),
    "lm": (TEXT, {**TINY, "window": 8}),
    "mamba": (TEXT, {**SMALL, "width": 8, "state": 3, "layers": 2, "window": 8}),
    "word2vec": (TEXT, {"dimension": 8, "epochs": 1}),
    "gpt": (TEXT, {**BLOCKS, "context": 8}),
    "llama": (TEXT, {**BLOCKS, "context": 8}),
    "decoder": (TEXT, {**BLOCKS, "context": 8, "family": "gemma3", "window": 4}),
    "bert": (TEXT, {**BLOCKS, "context": 12}),
    "encoder": (TEXT, {**BLOCKS, "context": 12, "family": "mpnet"}),
    "tokenizer": (TEXT, {"vocabulary": 300}),
    "seq2seq": (PAIRS, {**TINY, "minimum_count": 1}),
    "transformer": (PAIRS, {**SMALL, "width": 8, "layers": 2, "feed_forward": 8}),
    "summariser": (PAIRS, {**TINY, "minimum_count": 1}),
    "classifier": (LABELLED, {**SMALL, "buckets": 32}),
    "recurrent-classifier": (LABELLED, TINY),
    "finetuned": (LABELLED, {"steps": 6}),  # of the tiny bert
    "qa": (QUESTIONS, {**SMALL, "width": 8, "context": 16}),
    "image-classifier": (None, {**SMALL, "hidden": 8}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A tiny run of each kind, made when it is asked for."""
    made = {}

    def run_of(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            text, settings = GIVEN[kind]
            if text is None:
                pytest.importorskip("sklearn")
            else:
                (folder / "data").write_text(text)
            if kind == "finetuned":
                settings = {**settings, "init": run_of("bert")}
            files = "digits" if text is None else folder / "data"
            made[kind] = folder / "run"
            minillm.train(kind, made[kind], files=files, quiet=True, **settings)
        return made[kind]

    return run_of


@pytest.fixture(params=sorted(GIVEN))
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, runs, tmp_path):
    """A copy of a run of the kind, to change at will."""
    return shutil.copytree(runs(kind), tmp_path / "run")


def test_every_kind_is_here():
    known = {name for name in kinds() if not name.startswith("toy")}
    # A chat begins with a run: see test_fine_tuned_chat.py.
    assert known - {"chat", "preferences"} == set(GIVEN)


def test_it_says_what_it_is_and_is_measured(kind, runs):
    run = minillm.load(runs(kind))
    assert run.kind.name == kind
    assert kind in repr(run)
    for array in run.model.params.values():
        assert np.isfinite(array).all() or kind == "ngram"
    if kind != "word2vec":
        options = {"beam": 1} if "beam" in run.kind.eval_options else {}
        results = run.evaluate(**options)
        assert len(results) >= 4
        if not options:
            with pytest.raises(InputError, match=f"beam: expected a run of .*, found '{kind}'$"):
                run.evaluate(beam=1)


def test_a_text_to_measure_on_fits_in_memory(runs, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat.\n" * 9)
    run = minillm.load(runs("lm"))
    assert run.evaluate(files=path)["tokens"] > 0
    monkeypatch.setattr("minillm.runs.kinds.texts.MOST_IN_MEMORY", 10)
    with pytest.raises(InputError, match=r"text\.txt: expected at most .* bytes"):
        run.evaluate(files=path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {}),
        ("bert", {"dropout": 0.1}),
        ("seq2seq", {"attention": "none", "dropout": 0.3}),
        ("seq2seq", {"attention": "dot", "dropout": 0.3}),
        ("summariser", {"coverage": 0.5}),
        ("transformer", {"dropout": 0.3}),
        ("mamba", {"dropout": 0.1}),
        ("lm", {"cell": "min_gru", "layers": 2}),
        ("lm", {"cell": "min_lstm", "embedding": 8, "tied": True}),
        ("qa", {}),
        ("classifier", {}),
        ("recurrent-classifier", {"dropout": 0.1}),
        ("neural-ngram", {}),
        ("image-classifier", {}),
    ],
)
def test_resumed_equals_uninterrupted(kind, options, tmp_path, monkeypatch):
    """Ctrl-C in the middle, and then to the same number of steps: bit for bit."""
    text, settings = GIVEN[kind]
    (tmp_path / "data").write_text(text or "")
    given = {"files": tmp_path / "data" if text else "digits", "quiet": True, **settings, **options}
    whole = minillm.train(kind, tmp_path / "whole", **given)
    own = kinds()[kind]

    def interrupted(training):
        own.prepare(training)
        loss, steps = training.task.training_loss, iter(range(1, 7))

        def counted(rng):
            if next(steps) == 4:
                signal.raise_signal(signal.SIGINT)
            return loss(rng)

        training.task.training_loss = counted

    with monkeypatch.context() as patch:
        patch.setitem(kind_module._kinds, kind, own)
        replace(own, prepare=interrupted)  # a row enters itself in the list
        minillm.train(kind, tmp_path / "parts", **given)
    assert len(metrics(tmp_path / "parts")) < len(metrics(tmp_path / "whole"))
    resumed = minillm.train(kind, tmp_path / "parts", resume=True, quiet=True)
    for name, array in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[name], array)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_language_models_write(runs):
    for kind in ("ngram", "neural-ngram", "lm", "gpt"):
        run = minillm.load(runs(kind))
        prompt = "the cat" if kind == "ngram" else "the "
        texts = ["".join(run.write(prompt, length=20, seed=seed)) for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]
        assert texts[0].startswith(prompt)


def test_writing_ends_before_a_stop_token(runs):
    run = minillm.load(runs("lm"))
    whole = "".join(run.write("the ", length=300, seed=1))
    stopped = "".join(run.write("the ", length=300, seed=1, stop=["o"]))
    assert "o" in whole[4:]
    assert stopped == whole[: 4 + whole[4:].index("o")]
    with pytest.raises(InputError, match="stop: expected a single character, found 'on'"):
        run.write("the ", stop=["on"])


def test_word_vectors_are_saved_for_other_programs(runs, tmp_path):
    run = minillm.load(runs("word2vec"))
    vectors = run.vectors
    run.export(tmp_path / "vectors")
    words, numbers = read_vectors(tmp_path / "vectors")
    assert words == vectors.index_to_key
    assert np.array_equal(numbers, vectors.vectors)
    assert numbers.shape[1] == vectors.vector_size


def test_a_text_is_generated_at_once(runs):
    run = minillm.load(runs("lm"))
    text = run.generate("the ", length=9, temperature=0.5, seed=3)
    assert text == "".join(run.write("the ", length=9, temperature=0.5, seed=3))
    assert len(text) > 4
    meant = {"max_new_tokens": "length", "temperatur": "temperature", "topk": "top_k"}
    for name, here in meant.items():
        with pytest.raises(InputError, match=f"{name}: there is no such setting.*{here}"):
            run.generate("the ", **{name: 5})


def test_what_a_run_cannot_do_is_told(runs):
    run = minillm.load(runs("lm"))
    for call in (
        lambda: run.translate(["x"]),
        lambda: run.classify(["x"]),
        lambda: run.vectors,
        lambda: run.fill("[MASK]"),
        lambda: run.embed(["x"]),
        lambda: run.answer("x?", "x"),
        lambda: run.export("x"),
    ):
        with pytest.raises(InputError, match=r"config\.json: expected a run of .*, found 'lm'"):
            call()


# --- damaged folders -----------------------------------------------------------------------------


def test_a_missing_file_is_named(kind, folder):
    for path in [*sorted(folder.glob("*.json")), folder / "model.safetensors"]:
        if path.name in ("tokenizer.json", "vocab.json"):
            continue  # for other programs
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
    few([None, "x", -1, 10**30, 1.5, 0, True, [], {}], kept=4),
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


def test_other_names_and_missing_ones_are_named(kind, folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    name = next(name for name in config["model"] if name != "kind")
    for model, complaint in (
        (config["model"] | {"colour": 1}, "colour: there is no such setting"),
        ({n: v for n, v in config["model"].items() if n != name}, f"'{name}' is missing"),
    ):
        path.write_text(json.dumps(config | {"model": model}))
        with pytest.raises(InputError, match=complaint):
            minillm.load(folder)


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
    "ngram": [
        ("data", {"files": REMOVED}, "data: 'files' is missing"),
        ("data", {"files": 3}, "data: files: expected a text, found 3"),
        ("data", {"files": [None]}, "data: files: expected a text, found None"),
        ("data", {"sha256": 1.5}, "data: sha256: expected a text, found 1.5"),
        ("data", {"imported": ["x"]}, "data: imported: expected a text"),
        ("model", {"line_end": 10**6}, "line_end: expected an id"),
        ("model", {"sizes": [10**9] * 3}, "its sizes do not agree"),
        ("model", {"sizes": [10**30] * 3}, "sizes: expected a whole number from"),
        ("model", {"order": 21}, "order: expected a whole number from 1 to 20"),
    ],
    "lm": [
        ("model", {"hidden": 1.5}, "hidden: expected a whole number from 1 to 65536, found 1.5"),
        ("model", {"hidden": 60_000}, r"expected shape \(.*60000.*\), found \("),
        ("model", {"layers": 10**9}, "layers: expected a whole number from 1 to 64"),
        ("model", {"layers": 64}, "layers.1.W_h: expected shape .*, found no such parameter"),
        ("training", {"accumulate": 10**9}, "accumulate: expected a whole number from 1 to"),
        ("training", {"learning_rate": -1}, "learning_rate: expected a number above 0"),
        ("training", {"learning_rate": 10**400}, "learning_rate: expected "),
        ("training", {"x" * 5000: 1}, "there is no such setting"),
        ("training", {"hidden": 8}, "training: hidden: there is no such setting"),
        ("training", {"minutes": 1.0}, "expected one of minutes, steps, epochs"),
        ("data", {"files": REMOVED}, "data: 'files' is missing"),
    ],
    "neural-ngram": [
        ("model", {"order": 1000, "embedding": 60_000}, "expected shape"),
    ],
    "word2vec": [
        ("model", {"dimension": 60_000}, "vectors: expected shape .*, found "),
        ("model", {"power": 1e308}, "power"),
        ("model", {"subsample": float("nan")}, "subsample"),
    ],
    "classifier": [
        ("data", {"labels": ["good"]}, "labels: expected 2 of them, found 1"),
        ("data", {"labels": REMOVED}, "'labels' is missing"),
        ("data", {"labels": [1, 2]}, "labels: expected a text, found 1"),
        ("model", {"classes": 10**9}, "labels: expected 1000000000 of them"),
    ],
    "qa": [
        ("data", {"unanswered": 1}, "unanswered: expected true or false, found 1"),
        ("data", {"data": 3}, "data: data: expected a text"),
        ("model", {"encoder": "x"}, "encoder: expected one of"),
        ("model", {"width": 60_000}, "expected shape"),
    ],
    "seq2seq": [
        ("data", {"longest_target": REMOVED}, "'longest_target' is missing"),
        ("data", {"longest_target": 10**9}, "longest_target: expected a whole number from 1 to"),
        ("data", {"data": 3}, "data: data: expected a text"),
    ],
}


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


def test_tokens_that_are_no_text_are_refused(kind, folder):
    for path in folder.glob("vocabulary*.json"):
        values = json.loads(path.read_text())
        name = {"word2vec": "words", "tokenizer": "specials"}.get(kind, "tokens")
        values[name][-1] = "\ud800"
        path.write_text(json.dumps(values))
        assert "expected text, found half of a character" in refusal(folder)


def test_counts_of_words_are_checked(runs, tmp_path):
    folder = shutil.copytree(runs("word2vec"), tmp_path / "run")
    path = folder / "vocabulary.json"
    values = json.loads(path.read_text())
    for count in (0, -1, 1.5, "1", None, 10**30, True):
        path.write_text(json.dumps(values | {"counts": [*values["counts"][:-1], count]}))
        assert "counts: expected whole numbers" in refusal(folder)


def test_weights_that_are_not_finite_are_refused(runs, tmp_path, capsys):
    folder = shutil.copytree(runs("lm"), tmp_path / "run")
    path = folder / "model.safetensors"
    arrays = load_file(path)
    arrays["output.b"][1] = np.nan
    RunFolder(folder).save_model(arrays, {})
    assert "the tensor 'output.b': expected finite numbers, found a NaN" in refusal(folder)
    assert main(["eval", str(folder)]) == 2
    assert "'output.b'" in capsys.readouterr().err


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


def test_a_number_that_is_none_in_the_progress_is_named(runs, tmp_path, capsys):
    for kind in ("lm", "word2vec"):
        folder = shutil.copytree(runs(kind), tmp_path / kind)
        arrays, values = RunFolder(folder).load_resume()
        for name, value in (("seconds", float("nan")), ("seconds", "1"), (LAST[kind], 1.5)):
            changed = values["progress"] | {name: value}
            RunFolder(folder).save_resume(arrays, values | {"progress": changed})
            length = ["--steps", "9"] if kind == "lm" else []
            assert main(["train", kind, "--out", str(folder), "--resume", *length]) == 2
            found = capsys.readouterr().err
            assert re.search(
                rf"resume.safetensors: it is damaged: Expected .* at `\$\.{name}`", found
            ), found


LAST = {"lm": "step", "word2vec": "sentences"}


def test_sizes_are_checked_before_a_run_is_resumed(runs, tmp_path, capsys):
    folder = shutil.copytree(runs("lm"), tmp_path / "run")
    changed(folder, "model", hidden=60_000)
    assert main(["train", "lm", "--out", str(folder), "--resume", "--steps", "9"]) == 2
    assert re.search(r"resume.safetensors do not fit: .*60000", capsys.readouterr().err)
