"""Summaries from a file: their measures, the extracts beside, and the table in the run's folder."""

import json

import pytest

import minillm
from minillm.cli import main

TINY = ["--hidden", "8", "--embedding", "6", "--batch", "8", "--minimum-count", "1", "--steps", "2"]
NAMES = ["Ada", "Bob", "Cleo", "Dan", "Eve"]


def texts(count=60):
    """Letters of 38 words about a price of the fuel that a name sells, with two summaries each."""
    for k in range(count):
        name, price = NAMES[k % 5], 10 + k
        fuel = ["gas", "oil"][k // 5 % 2]
        text = (
            f"Hello to all of you. The price of {fuel} is {price} today, says {name}. We met on "
            f"the way to the market, and {name} was late. It rains, and it will rain for the rest "
            "of the week."
        )
        yield text, [f"{name} sells {fuel}", f"{fuel} is {price} today"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summaries")
    pairs = [(text, known) for text, targets in texts() for known in targets]
    (folder / "pairs.tsv").write_text("".join(f"{text}\t{known}\n" for text, known in pairs))
    rows = [{"source": text, "target": targets} for text, targets in texts()]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def run_folder(files):
    arguments = ["train", "summariser", str(files / "pairs.jsonl"), "--out", str(files / "run")]
    assert main([*arguments, *TINY]) == 0
    return files / "run"


def test_summaries_are_measured_against_their_sources_and_beside_extracts(run_folder, capsys):
    pytest.importorskip("rouge_score")
    assert main(["eval", str(run_folder), "--json", "--beam", "2"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["sources"] == 6
    assert results["rouge"].startswith("stemmed, 0 to 1")
    assert {"words", "new_words", "density", "repeated_trigrams", "distinct_outputs"} <= {*results}
    for kind in ("rouge1", "rouge2", "rougeL"):
        extracts = [results[f"{name}_{kind}"] for name in ("lead", "textrank", "oracle")]
        assert max(extracts) == extracts[-1] > 0
    assert results["lead_rouge1"] < results["oracle_rouge1"]
    assert main(["eval", str(run_folder), "--beam", "2"]) == 0
    assert "\noracle rouge1 " in capsys.readouterr().out


def test_references_may_be_repeated_lines_or_lists(run_folder, files):
    run = minillm.load(run_folder)
    of_lines, of_lists = (
        run.evaluate(files=(str(files / name),), beam=1) for name in ("pairs.tsv", "pairs.jsonl")
    )
    assert of_lines.pop("data") != of_lists.pop("data")
    assert of_lines == of_lists
    assert of_lists["sources"] == 60
    assert not any(name.startswith(("lead", "textrank", "oracle")) for name in of_lists)
