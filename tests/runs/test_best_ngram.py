"""The best n-gram beside a network: which it is, what was counted, and where it is shown."""

import json

import numpy as np
import pytest
import tiny
from tiny import LM, stopped_after

import minillm
from minillm.cli import main
from minillm.data import split_text
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.runs.kinds import ngram as page
from minillm.runs.kinds.ngram import best_ngram
from minillm.text import Characters, build_vocabulary
from minillm.training.language_model import LanguageModelTask

rng = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "and"]
TEXT = "".join(" ".join(rng.choice(WORDS, 7)) + ".\n" for _ in range(120))


@pytest.fixture
def ids():
    vocabulary = Characters.from_text(TEXT)
    return (*map(vocabulary.encode, split_text(TEXT)), vocabulary)


def losses(tmp_path, text, orders, **settings):
    (tmp_path / "text.txt").write_text(text)
    found = []
    for order in orders:
        run = minillm.train(
            "ngram",
            tmp_path / f"n{order}",
            files=tmp_path / "text.txt",
            order=order,
            quiet=True,
            **settings,
        )
        found.append(run.evaluate()["nats_per_token"])
    return found


def test_it_is_the_best_of_the_runs_of_ngrams(tmp_path, ids):
    expected = losses(tmp_path, TEXT, range(1, 11), unit="character")
    _, best = best_ngram(*ids)
    assert best.order == 1 + int(np.argmin(expected))
    assert 1 < best.order < 10
    assert best.orders == 10
    assert best.nats == pytest.approx(min(expected), rel=1e-6)
    assert best.counted == best.tokens == len(ids[0])


def test_words_read_on_over_the_ends_of_lines():
    text = "a b\nc d\n" * 240  # whether a or c begins a line depends on the line before it
    vocabulary = build_vocabulary([text], "word")
    ids = vocabulary.encode(text)
    _, best = best_ngram(ids[:1200], ids[1200:], vocabulary)
    assert best.orders == 5
    assert best.nats < 0.02
    V = len(vocabulary)
    whole = np.append(np.int32(V), ids[:1200]).astype(np.int32)
    model = estimate(count_ngrams(whole, best.order, V), NGramConfig(V, best.order))
    after = model.probabilities(np.append(np.int32(V), ids[1200:]).astype(np.int32))[1:]
    assert best.nats == pytest.approx(-after.mean() * np.log(10), rel=1e-6)


def test_what_is_counted_is_bounded_and_said(ids, monkeypatch):
    _, whole = best_ngram(*ids)
    assert whole.describe("character").startswith("best n-gram of the training text: ")
    monkeypatch.setattr(page, "COUNTED", 500)
    _, best = best_ngram(*ids)
    assert (best.counted, best.tokens) == (500, len(ids[0]))
    assert best == best_ngram(ids[0][:500], *ids[1:])[1]._replace(tokens=len(ids[0]))
    assert best.nats > whole.nats
    assert f"the first 500 of {len(ids[0]):,} training characters: " in best.describe("character")


def test_the_loss_is_that_of_the_whole_text(ids, monkeypatch):
    _, whole = best_ngram(*ids)
    monkeypatch.setattr(page, "COMPARED", 100)
    monkeypatch.setattr(page, "BLOCK", 7)
    _, best = best_ngram(*ids)
    model = estimate(
        count_ngrams(np.append(np.int32(len(ids[2])), ids[0]), best.order, len(ids[2])),
        NGramConfig(len(ids[2]), best.order),
    )
    score = model.score([np.append(np.int32(len(ids[2])), ids[1])])
    assert best.nats == pytest.approx(-score.log10 * np.log(10) / len(ids[1]), rel=1e-6)
    assert best.nats >= whole.nats


@pytest.mark.parametrize("kind", ["lm", "gpt", "neural-ngram"])
def test_a_training_reports_it_and_eval_too(tmp_path, capsys, kind):
    (tmp_path / "text.txt").write_text(TEXT)
    options = {"gpt": tiny.GPT, "neural-ngram": ["--hidden", "8"]}.get(kind, LM)
    out = str(tmp_path / "run")
    command = ["train", kind, str(tmp_path / "text.txt"), "--out", out, "--steps", "4", *options]
    assert main(command) == 0
    output = capsys.readouterr().out
    vocabulary = Characters.from_text(TEXT)
    _, best = best_ngram(*map(vocabulary.encode, split_text(TEXT)), vocabulary)
    line = f"best n-gram of the training text: {best.nats:.4f} nats per character"
    assert f"{line} (order {best.order}, of 1 to 10)\n" in output
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 4, "ngram_loss": best.nats, "ngram_order": best.order}
    assert main(["eval", out, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["best_ngram_nats_per_token"] == pytest.approx(best.nats)
    assert results["best_ngram_order"] == best.order
    assert "best_ngram_counted" not in results
    (tmp_path / "other.txt").write_text("the dog sat.\n" * 30)
    assert main(["eval", out, str(tmp_path / "other.txt"), "--json"]) == 0
    others = json.loads(capsys.readouterr().out)
    assert others["best_ngram_nats_per_token"] != results["best_ngram_nats_per_token"]


def test_python_sees_it_if_it_asks(tmp_path, capsys, monkeypatch):
    sizes = {"hidden": 12, "embedding": 6, "batch": 4, "window": 8, "steps": 3}
    lines = []
    run = minillm.train("lm", tmp_path / "run", text=TEXT, report=lines.append, **sizes)
    assert any(line.startswith("best n-gram of the training text: ") for line in lines)
    assert "best_ngram_order" not in run.evaluate()
    monkeypatch.setattr(page, "COUNTED", 500)
    results = run.evaluate(beside=True)
    assert results["best_ngram_counted"] == f"500 of {len(TEXT) * 9 // 10:,} training tokens"
    monkeypatch.setattr("minillm.runs.kinds.language.best_ngram", None)  # it is not called
    capsys.readouterr()
    minillm.train("lm", tmp_path / "quiet", text=TEXT, quiet=True, **sizes)
    assert capsys.readouterr().out == ""


def test_an_interrupted_training_has_none_until_it_ends(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    out = str(tmp_path / "run")
    command = ["train", "lm", str(tmp_path / "text.txt"), "--out", out, "--steps", "6", *LM]
    stopped_after(3, command, LanguageModelTask)
    assert "best n-gram" not in capsys.readouterr().out
    assert main(["train", "lm", "--out", out, "--resume"]) == 0
    assert capsys.readouterr().out.count("best n-gram of the training text") == 1


def test_without_the_training_text_there_is_a_reason(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text("the dog sat.\n" * 30)
    out = str(tmp_path / "run")
    command = ["train", "gpt", str(tmp_path / "text.txt"), "--out", out, "--steps", "2"]
    assert main([*command, *tiny.GPT]) == 0
    (tmp_path / "text.txt").unlink()
    capsys.readouterr()
    assert main(["eval", out, str(tmp_path / "other.txt"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["best_ngram"].startswith("not measured: ")
    assert "text.txt: there is no such file" in results["best_ngram"]
    loaded = minillm.load(out)
    minillm.save(loaded.model, loaded.tokenizer, tmp_path / "saved")
    results = minillm.load(tmp_path / "saved").evaluate("the dog sat.\n" * 30, beside=True)
    assert ": it comes from a training in Python" in results["best_ngram"]


def test_shards_are_counted_as_far_as_the_bound(tmp_path, capsys, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    tokenizer, shards, out = (str(tmp_path / name) for name in ("tokenizer", "shards", "run"))
    text = str(tmp_path / "text.txt")
    assert main(["train", "tokenizer", text, "--vocabulary", "280", "--out", tokenizer]) == 0
    assert main(["tokenize", text, "--tokenizer", tokenizer, "--out", shards]) == 0
    monkeypatch.setattr(page, "COUNTED", 300)
    assert main(["train", "gpt", shards, "--out", out, "--steps", "2", *tiny.GPT]) == 0
    output = capsys.readouterr().out
    assert "best n-gram of the first 300 of " in output
    assert " nats per token (order " in output
    assert ", of 1 to 5)" in output
    assert main(["eval", out]) == 0
    assert "best ngram counted         300 of " in capsys.readouterr().out
