"""The door for Python: training, saving and opening runs without the command line."""

import json
import re

import numpy as np
import pytest
from tiny import interrupted

import minillm
from minillm._kernels import slow_bfloat16
from minillm.errors import DivergedError, InputError
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.training.language_model import LanguageModelTask, WindowTask

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
TINY = {"hidden": 8, "embedding": 6, "window": 8, "batch": 4, "quiet": True}
BLOCKS = {"width": 8, "heads": 2, "layers": 1, "context": 8, "batch": 4, "quiet": True}


def test_a_text_trains_a_run_that_keeps_it(tmp_path):
    run = minillm.train("lm", tmp_path / "run", text=TEXT, steps=5, **TINY)
    assert (tmp_path / "run" / "given.txt").read_bytes().decode() == TEXT
    held_out = run.evaluate()
    assert held_out["text"].endswith("given.txt")
    given = run.evaluate(text=TEXT)
    assert given["text"] == "the given data"
    assert given["tokens"] > 3000
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    nats = held_out["nats_per_token"]
    assert minillm.load(moved).evaluate()["nats_per_token"] == nats
    run = minillm.train("lm", moved, resume=True, steps=8, quiet=True)
    assert run.evaluate()["nats_per_token"] <= nats
    stored = json.loads((moved / "config.json").read_text())["data"]
    assert stored["files"] == ["{run}/given.txt"]


def test_a_given_text_is_kept_as_it_is(tmp_path):
    text = "\ufeffa\r\nb\rc\x0b\x1c é \n" * 30
    run = minillm.train("lm", tmp_path / "run", text=text, steps=1, **TINY)
    assert (tmp_path / "run" / "given.txt").read_bytes().decode() == text
    assert run.evaluate()["tokens"] > 0


def test_files_are_read_where_they_are(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    for files in (path, [path], str(path)):
        run = minillm.train("lm", files=files, steps=1, **TINY)
        assert run.data["files"] == [str(path)]
        assert not (run.path / "given.txt").exists()


def test_a_run_in_memory_lives_as_long_as_it_is_held(tmp_path):
    run = minillm.train("gpt", text=TEXT, steps=2, **BLOCKS)
    folder, nats = run.path, run.evaluate()["nats_per_token"]
    run.save(tmp_path / "kept")
    with pytest.raises(InputError, match="already holds a run"):
        run.save(tmp_path / "kept")
    run.save(tmp_path / "kept", overwrite=True)
    del run
    assert not folder.exists()
    assert minillm.load(tmp_path / "kept").evaluate()["nats_per_token"] == nats
    run = minillm.train("gpt", tmp_path / "kept", resume=True, steps=3, quiet=True)
    assert run.settings.steps == 3


def test_ctrl_c_returns_the_run_so_far_and_says_how_to_resume(tmp_path):
    told, out, given = [], tmp_path / "run", {**TINY, "quiet": False, "minutes": 5}
    with interrupted(1, LanguageModelTask):
        run = minillm.train("lm", out, text=TEXT, report=told.append, **given)
    assert told[0].startswith("stopped after 1 step")
    assert told[-1] == f'to continue: minillm.train("lm", "{out}", resume=True)'
    assert run.generate(length=3)
    assert json.loads((out / "config.json").read_text())["training"]["minutes"] == 5


def test_a_run_in_bfloat16_is_resumed_bit_for_bit(tmp_path):
    """Where the CPU has no instruction for it, both parts are float32, and say so."""
    lines = []
    given = {"text": TEXT, "steps": 6, "precision": "bfloat16", **BLOCKS}
    whole = minillm.train("gpt", **given, report=lines.append)
    assert bool(slow_bfloat16()) == any("bfloat16 would be slower" in line for line in lines)
    with interrupted(3, WindowTask):
        minillm.train("gpt", tmp_path / "run", **given)
    run = minillm.train("gpt", tmp_path / "run", resume=True, quiet=True)
    assert run.settings.precision == "bfloat16"
    float32 = minillm.train("gpt", **{**given, "precision": "float32"})
    for name, array in whole.model.params.items():
        assert np.array_equal(array, run.model.params[name])
        if name.endswith(".W_qkv"):
            assert np.array_equal(array, float32.model.params[name]) == bool(slow_bfloat16())
    with pytest.raises(InputError, match=r"precision: .* cannot change"):
        minillm.train("gpt", tmp_path / "run", resume=True, precision="float32", steps=9)


def test_kernels_without_bfloat16_train_in_float32():
    lines, given = [], {"text": TEXT, "steps": 3, **BLOCKS}
    with minillm.use_kernels("numpy"):
        run = minillm.train("gpt", **given, precision="bfloat16", report=lines.append)
        expected = minillm.train("gpt", **given)
    assert lines == [
        "precision: bfloat16 would be slower here, so float32 is used: NumPy has no bfloat16"
    ]
    for name, array in expected.model.params.items():
        assert np.array_equal(array, run.model.params[name])


def test_sentences_train_word_vectors():
    sentences = [["a", "cat", "sat"], ["a", "dog", "sat"]] * 50
    run = minillm.train("word2vec", sentences=sentences, dimension=4, epochs=2, quiet=True)
    assert sorted(run.vectors.words) == ["a", "cat", "dog", "sat"]
    assert run.evaluate(sentences=sentences)["known_words"] == 300
    assert re.search(r"<run of word2vec in .*, 4 tokens: analogy, similar, vectors>", repr(run))
    assert run.similar("cat", 2) == run.vectors.most_similar("cat", topn=2)
    assert run.analogy("a", "cat", "dog") == run.vectors.analogy("a", "cat", "dog")
    for name, here in {"most_similar": "similar", "wv": "vectors"}.items():
        with pytest.raises(AttributeError, match=f"did you mean {here}"):
            getattr(run, name)


def test_a_newcomers_names_lead_to_ours():
    assert dir(minillm) == sorted([*minillm.__all__, "__version__"])
    for name, here in {"fit": "train", "predict": "classify", "pipeline": "load"}.items():
        with pytest.raises(InputError, match=f"has no attribute '{name}'; .*{here}"):
            exec(f"from minillm import {name}")
    assert not hasattr(minillm, "lod")
    for given, named in ((["x", "my.tsv"], {}), (["my.tsv"], {"out": "x"}), ([__file__], {})):
        with pytest.raises(InputError, match=f"^files: expected .*: files='{given[-1][:9]}"):
            minillm.train("classifier", *given, **named)
    with pytest.raises(InputError, match=r"text: .* the name of a file: use files="):
        minillm.train("ngram", text=TEXT, quiet=True).evaluate(__file__)


TEXTS = [f"{text} {k}" for k in range(20) for text in ("a fine day", "rain and wind\tagain\n")]
LABELS = ["good", "bad"] * 20


def test_texts_with_labels_train_a_classifier(tmp_path):
    given = {"texts": TEXTS, "labels": LABELS}
    run = minillm.train("classifier", tmp_path / "run", **given, steps=60, quiet=True)
    assert run.classify("a fine day").label == "good"
    assert [answer.label for answer in run.classify(["a fine day", "rain"])] == ["good", "bad"]
    assert run.evaluate(**given)["accuracy"] == 1
    kept = [json.loads(line) for line in (run.path / "given.jsonl").read_text().splitlines()]
    assert kept == [
        {"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    moved = run.path.rename(tmp_path / "moved")
    assert minillm.load(moved).evaluate()["items"] == 4
    assert run.evaluate(texts=[*TEXTS, " "], labels=[*LABELS, "good"])["items"] == len(TEXTS)
    with pytest.raises(InputError, match="expected a label among bad, good; found 'x'"):
        run.evaluate(texts=["a"], labels=["x"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"kind": "gtp"}, r"kind: expected one of .*; found 'gtp'; did you mean gpt\?"),
        ({"n_layer": 4}, "n_layer: there is no such setting; did you mean layers?"),
        ({"hiden": 8}, r"hiden: there is no such setting; did you mean hidden\?"),
        ({"text": 3}, "text: expected a text, found 3"),
        ({"text": "a\n\ud800"}, r"text, line 2, column 1: expected text, found a lone surrogate"),
        ({"text": TEXT, "files": "x"}, "expected data of one sort, found text and files"),
        ({"texts": [TEXT]}, r"expected texts=\[...\] and labels=\[...\] together"),
        ({"pairs": [("a", "b")]}, "pairs: a run of lm takes its data as text or files"),
        ({"resume": True}, "resume: expected out"),
        ({"kind": "word2vec", "sentences": ["a b"]}, "expected lists of words, found a text"),
        ({"kind": "word2vec", "sentences": [["a b"]]}, "a word without white space, found 'a b'"),
        ({"text": ""}, "^text: expected text, found an empty file"),
        ({"kind": "seq2seq", "pairs": [("a", "b")]}, "^pairs: expected 10 pairs or more, because"),
        ({"kind": "seq2seq", "pairs": [("a", "")] * 9}, "^pairs, line 1: expected source and"),
        ({"kind": "classifier"}, "^texts or files: expected lines label<TAB>text, or a folder"),
        ({"kind": "classifier", "texts": ["a"], "labels": ["b"]}, "^texts: expected "),
        ({"kind": "word2vec", "sentences": "a b"}, "sentences: expected a list, found a text"),
    ],
)
def test_wrong_arguments_are_named(given, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        minillm.train(**{"kind": "lm", "quiet": True, **given})
    assert not re.search(r"--\w|minillm-|/", str(caught.value))


def test_messages_of_a_run_in_memory_name_no_folder(tmp_path):
    run = minillm.train("lm", text=TEXT, steps=1, **TINY)
    with pytest.raises(InputError, match=r"^expected a run of .*, found 'lm'$"):
        run.translate("a text")
    with pytest.raises(InputError, match=r"^expected a run of gpt or chat"):
        next(run.chat([{"role": "user", "content": "hello"}]))
    with pytest.raises(InputError, match=r"^text: "):
        run.evaluate(text="")
    run.save(tmp_path / "kept")
    with pytest.raises(InputError, match=r"kept/config\.json: expected a run of"):
        minillm.load(tmp_path / "kept").translate("a text")


def test_a_divergence_in_memory_names_no_folder():
    wild = {"optimiser": "sgd", "learning_rate": 1e38, "clip": 1e38, "warmup": 0.0}
    with pytest.raises(DivergedError) as caught:
        minillm.train("lm", text=TEXT, steps=30, **TINY, **wild)
    assert "minillm-" not in str(caught.value)
    assert "keeps" not in str(caught.value)


def test_a_model_of_a_loop_of_ones_own_is_saved_as_a_run(tmp_path):
    model = Bag(BagConfig(2, buckets=40), np.random.default_rng(0))
    model.params["ngrams.b"][1] = 1
    run = minillm.save(model, (), tmp_path / "run", labels=["a", "b"])
    with pytest.raises(InputError, match="give the text to measure it on"):
        run.evaluate()
    with pytest.raises(InputError, match="expected a model of one of"):
        minillm.save(object(), (), tmp_path / "other")
    assert run.classify("any text").label == "b"
