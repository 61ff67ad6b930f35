"""Minimal pairs are compared by the probabilities that a model's reader gives, token by token."""

import json

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.errors import InputError

PAIRS = [("the cat sat", "the cat sot", "verb"), ("the dog sat", "the the dog sat", "length")]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("".join("\t".join(pair) + "\n" for pair in PAIRS))
    return path


def read_by_steps(run, text):
    """The log-probability of each token by the reader, which opens a line or a document."""
    ids = run.tokenizer.encode(text)
    state, log_p = run.reader.zero_state(1), []
    before = [run.tokenizer.line_end or 0]
    for token in ids:
        logits, state = run.reader.read(np.array([before]), state)
        logits = logits[0].astype(np.float64)
        log_p.append(logits[token] - np.logaddexp.reduce(logits))
        before = [token]
    return np.array(log_p)


@pytest.mark.parametrize("name", ["ngram", "neural-ngram", "lm", "gpt", "llama", "mamba"])
def test_the_shares_are_those_of_the_reader(name, runs, pairs):
    run = minillm.load(runs(name))
    results = run.minimal_pairs(pairs)
    higher = {"total": np.sum, "mean": np.mean}
    for key, score in higher.items():
        right = [
            score(read_by_steps(run, good)) > score(read_by_steps(run, bad))
            for good, bad, _ in PAIRS
        ]
        assert results[key]["accuracy"] == np.mean(right)
        assert [results["groups"][group][key]["accuracy"] for *_, group in PAIRS] == right
    text = PAIRS[1][1]
    ids = np.append([run.tokenizer.line_end or 0], run.tokenizer.encode(text))
    np.testing.assert_allclose(
        run.losses_after(ids), -read_by_steps(run, text), rtol=2e-4, atol=1e-5
    )


def test_sentences_of_the_same_tokens_are_ties(runs, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"good": "the sofa sat", "bad": "the couch sat"}) + "\n")
    results = minillm.load(runs("ngram")).minimal_pairs(path)  # both words are unknown
    assert (results["total"]["accuracy"], results["total"]["ties"]) == (0.5, 1)


def test_the_command_prints_groups_and_figures(runs, pairs, capsys):
    run = str(runs("gpt"))
    assert main(["eval", run, "--pairs", str(pairs)]) == 0
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == ["verb", "length", "all"]
    assert main(["eval", run, "--pairs", str(pairs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == minillm.load(run).minimal_pairs(pairs)


def test_what_is_refused(runs, pairs, tmp_path, capsys):
    with pytest.raises(InputError, match=r"expected a run of .*, found 'bert'"):
        minillm.load(runs("bert")).minimal_pairs(pairs)
    (tmp_path / "odd.tsv").write_text("the cat\tthe cat!\n")
    for command, complaint in (
        ([pairs, "other.txt"], "--pairs: expected no other data or measure with it, found a FILE"),
        ([pairs, "--adapt"], "found --adapt"),
        ([tmp_path / "odd.tsv"], "the bad sentence, line 1, column 8: the character '!'"),
    ):
        assert main(["eval", str(runs("gpt")), "--pairs", *map(str, command)]) == 2
        assert complaint in capsys.readouterr().err
