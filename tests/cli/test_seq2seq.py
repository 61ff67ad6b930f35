"""The command line of the encoder-decoder, called as a user calls it."""

import io
import json
import re
import sys

import pytest

import minillm
from minillm.cli import main
from minillm.runs.kinds.pairs import PairRun

TINY = ["--hidden", "8", "--embedding", "6", "--batch", "8", "--minimum-count", "1"]
WORDS = ["one", "two", "three", "four", "five"]


def reversed_pairs(count=60):
    """Pairs: three words, and the same words in reverse order."""
    lines = []
    for k in range(count):
        words = [WORDS[k % 5], WORDS[k // 5 % 5], WORDS[k // 25 % 5]]
        lines.append(f"{' '.join(words)}\t{' '.join(words[::-1])}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text(reversed_pairs())
    return str(path)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, pair_file):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "seq2seq", pair_file, "--out", str(folder), "--steps", "30", *TINY]) == 0
    return folder


def typed(monkeypatch, text):
    data = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_train_translate_eval_plot(run_folder, monkeypatch, capsys, tmp_path):
    typed(monkeypatch, "one two three\nfive four\n")
    assert main(["translate", str(run_folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

    typed(monkeypatch, "one two three\nfive four\n")
    assert main(["translate", str(run_folder), "--beam", "4", "--n-best", "3"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1"] * 3 + ["2"] * 3
    scores = [float(row[1]) for row in rows[:3]]
    assert scores == sorted(scores, reverse=True)

    typed(monkeypatch, "one two three\nfive four\n")
    assert main(["translate", str(run_folder), "--no-repeat", "1", "--least", "3"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert 3 <= len(line.split()) == len(set(line.split()))

    lengths = []
    for options in ([], ["--least", "4"]):
        assert main(["eval", str(run_folder), "--json", "--beam", "2", *options]) == 0
        results = json.loads(capsys.readouterr().out)
        lengths.append(results["token_error_rate"])
    assert lengths[1] > lengths[0]  # no output is right now
    assert results["exact_match"] == 0
    assert results["sources"] == 6
    records = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    best = min(r["validation_loss"] for r in records if "validation_loss" in r)
    assert results["nats_per_token"] == pytest.approx(best, rel=1e-5)
    assert {"exact_match", "token_error_rate", "bleu", "chrf", "rougeL"} <= results.keys()

    picture = tmp_path / "attention.png"
    arguments = ["plot", "attention", str(run_folder), "one two three", "--to", str(picture)]
    assert main(arguments) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "loss", str(run_folder)]) == 0
    assert main(["plot", "loss", *[str(run_folder)] * 2, "--to", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_eval_cannot_measure_is_told_before_the_work(run_folder, monkeypatch, capsys):
    for name in ("sacrebleu", "rouge_score", "rapidfuzz"):
        monkeypatch.setitem(sys.modules, name, None)
    told = []
    translate = PairRun.translate

    def told_before(*arguments, **options):
        told.append(capsys.readouterr().err)
        return translate(*arguments, **options)

    monkeypatch.setattr(PairRun, "translate", told_before)
    assert main(["eval", str(run_folder), "--json"]) == 0
    assert told == [
        "minillm: not measured: bleu, chrf, rouge needs the packages of: "
        "pip install 'minillm-book[metrics]'\n"
    ]
    results = json.loads(capsys.readouterr().out)
    assert {"exact_match", "token_error_rate", "nats_per_token"} <= results.keys()
    with pytest.warns(UserWarning, match="not measured: bleu, chrf, rouge"):
        minillm.load(run_folder).evaluate(beam=1)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("a\tb\nno tab\n", [], r"line 2: expected source<TAB>target, found no tab"),
        ("a\tb\nc\t\n", [], r"line 2: .* found an empty target"),
        ("a\tb\n", [], r"expected 10 pairs or more"),
        (
            reversed_pairs(),
            ["--max-length", "2"],
            "no option '--max-length'",
        ),
        (reversed_pairs(), ["--validation", "none.tsv"], r"none.tsv: there is no such file"),
    ],
)
def test_bad_input_to_training(tmp_path, capsys, data, options, message):
    path, out = tmp_path / "pairs.tsv", tmp_path / "run"
    path.write_text(data)
    try:
        status = main(["train", "seq2seq", str(path), "--out", str(out), "--steps", "2", *options])
    except SystemExit as exit:
        status = exit.code
    error = capsys.readouterr().err
    assert status == 2
    assert len(error.splitlines()) == 1
    assert re.search(message, error)
    assert not out.exists()


def test_what_is_too_long_is_cut_in_training_and_in_eval(tmp_path, capsys):
    path, out = tmp_path / "pairs.tsv", str(tmp_path / "run")
    path.write_text(reversed_pairs(58) + "one two three four\tone two three\n" + "one\tone two\n")
    command = ["train", "seq2seq", str(path), "--out", out, "--steps", "2", "--max-source", "3"]
    assert main([*command, "--max-target", "2", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "54 training pairs, 54 targets are cut to 2 tokens\n" in printed
    cut = "1 sources are cut to 3 tokens, 5 targets are cut to 2 tokens"
    assert f"6 validation pairs, {cut}\n" in printed
    assert main(["eval", out, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["sources"] == 6
    assert captured.err == f"minillm: {path}, validation: 6 pairs, {cut}\n"
    assert main(["eval", out, str(path)]) == 0
    assert "60 pairs, 1 sources are cut to 3 tokens, 59 targets" in capsys.readouterr().err
    run = minillm.load(out)
    whole = "one two three four five"
    assert run.translate(whole) == run.translate("one two three")
    cuts = [best.cut for best, *_ in run.hypotheses([whole, "one two three", "one"])]
    assert cuts == [True, False, False]


def test_no_data_and_unknown_languages(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "seq2seq", "--out", out]) == 2
    assert "DATA: expected a file of pairs, or cmudict" in capsys.readouterr().err
    assert main(["train", "seq2seq", "numbers-en-xx", "--out", out]) == 2
    assert "found 'xx'" in capsys.readouterr().err
    assert main(["train", "seq2seq", "no-such-set", "--out", out]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input: expected lines of text, found an empty file"),
        (b"\xff\n", "line 1: expected UTF-8 text"),
    ],
)
def test_bad_input_to_translation(run_folder, monkeypatch, capsys, text, message):
    typed(monkeypatch, text)
    assert main(["translate", str(run_folder)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error


def test_there_are_as_many_lines_out_as_in(run_folder, monkeypatch, capsys):
    typed(monkeypatch, "one two\n\nthree\n  \n" + "four " * 401 + "\n")
    assert main(["translate", str(run_folder), "--least", "1"]) == 0
    captured = capsys.readouterr()
    written = [bool(line) for line in captured.out.splitlines()]
    assert written == [True, False, True, False, True]
    assert captured.err.splitlines() == [
        "minillm: 2 of 5 lines are empty, first standard input, line 2",
        "minillm: 1 of 5 sources are cut to 400 tokens",
    ]


def test_what_was_read_before_a_bad_line_is_translated(run_folder, monkeypatch, capsys):
    typed(monkeypatch, b"one two\nthree\n\xff\nfour\n")
    assert main(["translate", str(run_folder)]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "standard input, line 3: expected UTF-8 text" in captured.err


def test_other_bad_input(run_folder, tmp_path, capsys):
    assert main(["translate", str(run_folder), "--beam", "2", "--n-best", "3"]) == 2
    assert "--n-best: expected at most --beam 2" in capsys.readouterr().err
    assert main(["eval", str(run_folder), "--part", "test"]) == 2
    assert "no test part" in capsys.readouterr().err
    assert main(["generate", str(run_folder)]) == 2
    assert "found 'seq2seq'" in capsys.readouterr().err
    changed = tmp_path / "changed.tsv"
    changed.write_text(reversed_pairs(70))
    command = ["train", "seq2seq", str(changed), "--out", str(run_folder), "--resume"]
    assert main(command) == 2
    assert "the data have changed" in capsys.readouterr().err


def test_characters_that_the_model_does_not_know_are_named(tmp_path, monkeypatch, capsys):
    path, out = tmp_path / "pairs.tsv", str(tmp_path / "run")
    path.write_text("".join(f"{'ab' * (k % 4 + 1)}\t{'ba' * (k % 4 + 1)}\n" for k in range(20)))
    command = ["train", "seq2seq", str(path), "--out", out, "--steps", "2", "--unit", "character"]
    assert main([*command, "--attention", "none", *TINY]) == 0
    capsys.readouterr()
    typed(monkeypatch, "ab\nabc\nba\nx\n\nab\n")
    assert main(["translate", out, "--least", "1"]) == 2
    captured = capsys.readouterr()
    first, *lines = captured.out.split("\n")
    assert [bool(line) for line in lines] == [False, True, False, False, True, False]
    assert lines[4] == first
    errors = captured.err.splitlines()
    assert len(errors) == 3
    for number, error in zip((2, 4), errors, strict=False):
        assert error.startswith(f"minillm: standard input, line {number}, ")
    typed(monkeypatch, "ab\nabc\nab\n")
    assert main(["translate", out, "--n-best", "1"]) == 2
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["1", "3"]
    assert main(["plot", "attention", out, "ab"]) == 2
    assert "this model has no attention" in capsys.readouterr().err
