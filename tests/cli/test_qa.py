"""The command line of question answering, called as a user calls it."""

import io
import json
import re
import sys

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.runs.kinds.qa import Answered

NAMES = ["ada", "bob", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jon", "kim", "leo"]
TINY = ["--width", "8", "--vocabulary", "70", "--batch", "4", "--context", "32", "--stride", "8"]


def squad(contexts=24, unanswered=False):
    """Pages of who found what, and questions about one of it; the answer is the thing."""
    paragraphs = []
    for number in range(contexts):
        people = [NAMES[(number * k + k) % len(NAMES)] for k in (1, 5)]
        context = f"{people[0]}\r\n\tfound gold{number}. {people[1].title()} found caf\u0065\u0301!"
        start = context.index("gold")
        answer = {"text": f"gold{number}", "answer_start": start}
        qas = [{"id": f"{number}", "question": f"What did {people[0]} find?", "answers": [answer]}]
        if unanswered:
            other = {"id": f"{number}x", "question": "What did zoe find?", "answers": []}
            qas.append(other | {"is_impossible": True})
        paragraphs.append({"context": context, "qas": qas})
    return {"data": [{"paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """SQuAD's two versions, a page, and a BERT."""
    folder = tmp_path_factory.mktemp("files")
    for name, unanswered in (("v1.json", False), ("v2.json", True)):
        (folder / name).write_text(json.dumps(squad(unanswered=unanswered)))
    (folder / "page.txt").write_bytes(
        "Ada found gold.\r\nBob found a cafe\u0301 \U0001f600.".encode()
    )
    (folder / "text.txt").write_text("ada found gold and bob found a cafe . " * 60)
    bert = ["train", "bert", str(folder / "text.txt"), "--out", str(folder / "bert")]
    sizes = ["--width", "8", "--heads", "2", "--layers", "2", "--context", "24"]
    assert main([*bert, *sizes, "--steps", "2", "--vocabulary", "60"]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, files):
    """A finished run of version 2: not to be changed."""
    out = tmp_path_factory.mktemp("run") / "run"
    command = ["train", "qa", str(files / "v2.json"), "--out", str(out), "--steps", "12", *TINY]
    assert main(command) == 0
    return out


def metrics(folder):
    """The lines of a run's metrics, without the times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


# --- what works -------------------------------------------------------------------------


def test_the_end_of_training_tells_what_came_of_it(files, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "qa", str(files / "v1.json"), "--out", str(out), "--steps", "4", *TINY]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert output.startswith("22 training questions in ")
    assert "trained after 4 steps, 16 questions, 0:0" in output
    sample = output.partition("sample:\n\n")[2]
    assert sample.count("?\n    ") == 2
    assert json.loads((out / "config.json").read_text())["training"]["learning_rate"] == 0.002
    assert minillm.load(out).data["unanswered"] is False


def test_a_run_begins_with_a_bert(files, tmp_path, capsys):
    """With all of its weights, and with its pieces."""
    out = tmp_path / "run"
    command = ["train", "qa", str(files / "v1.json"), "--init", str(files / "bert")]
    options = ["--steps", "1", "--learning-rate", "1e-30", "--batch", "4"]
    assert main([*command, "--out", str(out), *options]) == 0
    assert "; new: span.W; left: mask.W, mask.b," in capsys.readouterr().out
    bert, run = minillm.load(files / "bert"), minillm.load(out)
    assert run.tokenizer.to_dict() == bert.tokenizer.to_dict()
    assert run.model.config.encoder == "bert"
    shared = run.model.params.keys() & bert.model.params.keys()
    assert run.model.params.keys() - shared == {"span.W"}
    for name in shared:
        np.testing.assert_allclose(run.model.params[name], bert.model.params[name], rtol=1e-6)
    del command[-2:]
    assert main(["train", "qa", "--out", str(out), "--resume", "--steps", "2"]) == 0


@pytest.mark.parametrize("options", [["--lora-rank", "2"], ["--freeze", "1"], []])
def test_a_part_of_a_bert_is_trained(options, files, tmp_path):
    """The others keep their bits, in the reader that is opened, too."""
    out, again = tmp_path / "run", tmp_path / "again"
    command = ["train", "qa", str(files / "v1.json"), "--steps", "2", "--batch", "4"]
    assert main([*command, "--init", str(files / "bert"), "--out", str(out), *options]) == 0
    bert, run = minillm.load(files / "bert").model.params, minillm.load(out)
    changed = {n for n, p in run.model.params.items() if n in bert and (p != bert[n]).any()}
    assert "blocks.0.attention.W_qkv" in changed
    assert ("embedding.E" in changed) == (not options)
    assert len(run.answers(["Who?"], "gold1 is here")) == 1
    assert main([*command, "--init", str(out), "--out", str(again)]) == 0  # a reader from a reader
    assert minillm.load(again).model.config == run.model.config


def test_it_learns_and_is_measured(files, tmp_path, capsys):
    out = str(tmp_path / "run")
    sizes = ["--width", "32", "--vocabulary", "70", "--dropout", "0", "--learning-rate", "0.01"]
    command = ["train", "qa", str(files / "v2.json"), "--validation", str(files / "v2.json")]
    assert main([*command, "--out", out, "--steps", "60", "--batch", "12", *sizes]) == 0
    capsys.readouterr()
    assert main(["eval", out, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["questions"] == 48
    assert results["exact_match"] > 90
    assert results["f1"] >= results["exact_match"]
    answered, unanswered = results["f1_answered"], results["f1_unanswered"]
    assert results["f1"] == pytest.approx((answered + unanswered) / 2)
    assert main(["eval", out, str(files / "v1.json")]) == 0
    table = capsys.readouterr().out
    assert "questions" in table
    assert "unanswered" not in table
    [[best]] = minillm.load(out).answers(["What did zoe find?"], "Ada found gold7.")
    assert best == Answered("", best.probability, None, None)
    assert best.probability > 0.5


def test_answers(finished, files, capsys):
    run = minillm.load(finished)
    text = (files / "page.txt").read_text()
    [[best], [other]] = run.answers(["What did Ada find?", "Who?"], text)
    alone = run.answer("What did Ada find?", text)
    # A product of few rows adds up in another order than one of many.
    assert alone == best._replace(probability=pytest.approx(best.probability))
    assert run.answers([], text) == []
    for answer in (best, other):
        assert 0 < answer.probability <= 1
        if answer.start is not None:
            assert text[answer.start : answer.end] == answer.text
    [many] = run.answers(["Who?"], text, 1000)
    assert many[0] == pytest.approx(other) if other.start is None else many[0].text == other.text
    assert sum(answer.probability for answer in many) == pytest.approx(1)
    probabilities = [answer.probability for answer in many]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [answer.text for answer in many].count("") == 1  # no answer
    assert {answer.text for answer in many} >= {"cafe\u0301", "\U0001f600", "Ada", "gold"}
    capsys.readouterr()

    page = ["--context", str(files / "page.txt")]
    assert main(["answer", str(finished), *page, "Who?", "--n-best", "1000"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(many)
    assert all(line[0] == "1" for line in lines)
    assert [line[1] for line in lines] == [f"{p:.4f}" for p in probabilities]
    places = {line[2]: line[3] for line in lines}
    assert places[""] == "no answer"
    assert places["Ada"] == "line 1, column 1"
    assert places["cafe\u0301"] == "line 2, column 13"


def test_questions_from_standard_input(finished, files, monkeypatch, capsys):
    page = ["--context", str(files / "page.txt")]
    questions = b"What did Ada find?\nWho?\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(questions)))
    assert main(["answer", str(finished), *page, "--n-best", "2"]) == 0
    found = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [number for number, *_ in found] == ["1", "1", "2", "2"]
    text = (files / "page.txt").read_text()
    for _, _, answer, place in found:
        if place == "no answer":
            assert answer == ""
        else:
            line, column = map(int, re.findall(r"\d+", place))
            rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
            assert " ".join(rest.split()).startswith(answer)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["answer", str(finished), "--context", "-", "Who?", "What?"]) == 0
    assert capsys.readouterr().out.count("\n") == 2


# --- what does not ----------------------------------------------------------------------


def test_wrong_input(files, finished, tmp_path, fails):
    out = ["--out", tmp_path / "run"]
    broken = squad()
    broken["data"][0]["paragraphs"][3]["qas"][0]["answers"][0]["answer_start"] += 1
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    line = fails("train", "qa", tmp_path / "broken.json", *out)
    assert "broken.json, question '3': expected the answer 'gold3' at " in line
    assert "standard input: expected a file" in fails("train", "qa", "-", *out)
    assert "FILE: expected a JSON file in SQuAD's format, 1.1 or 2.0; found none" in fails(
        "train", "qa", *out
    )
    assert "found a built-in set of kind 'pairs'" in fails("train", "qa", "cmudict", *out)
    train = ["train", "qa", files / "v1.json", *out]
    assert "width: expected an even number" in fails(*train, "--width", "7")
    assert "--context: expected a whole number from 8" in fails(*train, "--context", "2")
    init = [*train, "--init", files / "bert"]
    command = ["train", "lm", "--steps", "1", "--hidden", "2", "--out", str(tmp_path / "lm")]
    assert main([*command, str(files / "v1.json")]) == 0
    line = fails(*train, "--init", tmp_path / "lm")
    assert "--init: expected a run of bert or qa, found one of lm in" in line
    assert "positions.E: expected shape (48, 8), found (24, 8)" in fails(*init, "--context", "48")
    assert "expected the one of init, because it is taken" in fails(*init, "--tokenizer", finished)
    assert not (tmp_path / "run").exists()

    answer = ["answer", finished, "--context"]
    page = files / "page.txt"
    assert "there is no such file" in fails(*answer, tmp_path / "none", "Who?")
    assert "expected a question of a token or more, found none" in fails(*answer, page, " ")
    assert "--context: expected a file, as standard input has the questions" in fails(*answer, "-")
    assert "--n-best: expected a whole number from 1" in fails(*answer, page, "--n-best", "0")
    assert "expected --context, found none" in fails("answer", finished, "Who?")
    assert "expected a run of qa, found 'bert'" in fails(
        "answer", files / "bert", "--context", page, "Who?"
    )
    assert "it has no test part" in fails("eval", finished, "--part", "test")


def test_data_that_have_changed(files, tmp_path, fails):
    file, out = tmp_path / "data.json", tmp_path / "run"
    file.write_text(json.dumps(squad()))
    assert main(["train", "qa", str(file), "--out", str(out), "--steps", "2", *TINY]) == 0
    file.write_text(json.dumps(squad(contexts=20)))
    line = fails("train", "qa", "--out", out, "--resume", "--steps", "4")
    assert "data.json: the data have changed since the run was started" in line
