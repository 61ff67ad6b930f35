"""A summariser: words that it has never seen are copied, and what it copies is shown."""

import random

import numpy as np
import pytest

import minillm
from minillm.cli import main
from minillm.text import vocabulary_from_dict

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def pairs(count, seed):
    """A letter with a new name in each, which is the summary."""
    rng = random.Random(seed)
    for _ in range(count):
        name = "".join(rng.choices(LETTERS, k=7)).capitalize()
        filler = [rng.choice(["well", "so", "now", "then"]) for _ in range(rng.randint(0, 5))]
        words = [*filler, "call", name, "soon", rng.choice(["please", "thanks"]), "."]
        yield " ".join(words), f"Call {name.lower()}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summariser") / "run"
    options = {"hidden": 24, "embedding": 16, "batch": 32, "steps": 250, "dropout": 0.0}
    return minillm.train(
        "summariser", folder, pairs=list(pairs(600, 1)), quiet=True, learning_rate=1e-2, **options
    )


@pytest.mark.deep
def test_names_that_no_training_has_seen_are_copied(trained):
    """A model without copying cannot write any of them."""
    sources, targets = zip(*pairs(100, 2), strict=True)
    outputs = trained.translate(list(sources))
    right = [o.lower() == t.lower() for o, t in zip(outputs, targets, strict=True)]
    assert np.mean(right) > 0.9
    # The spelling is the source's.
    assert all(output[5:].istitle() for output, ok in zip(outputs, right, strict=True) if ok)


@pytest.mark.deep
def test_the_gate_opens_for_new_words(trained):
    text = "so call Xqwpzhj soon please ."
    best = trained.hypotheses(text)[0].hypothesis
    copying = trained.kind.copying(trained, text, [*best.ids, trained.model.config.eos])
    assert copying.copied[1] == pytest.approx(1)  # the vocabulary has no such word
    assert copying.copied[-1] == pytest.approx(0)  # EOS is in no source


TINY = ["--hidden", "8", "--embedding", "6", "--batch", "8", "--minimum-count", "1", "--steps", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    file = root / "pairs.tsv"
    file.write_text("".join(f"{s}\t{t}\n" for s, t in pairs(60, 3)))
    assert main(["train", "summariser", str(file), "--out", str(root / "run"), *TINY]) == 0
    return root


def test_one_vocabulary_serves_both_sides(folder):
    run = minillm.load(folder / "run")
    assert (folder / "run" / "vocabulary.json").exists()
    assert run.source.tokens == run.target.tokens
    assert len(run.target) == run.model.config.vocabulary
    assert vocabulary_from_dict(run.target.to_dict()).unit == "open word"


def test_training_on_from_its_weights_keeps_the_vocabulary(folder):
    out = folder / "more"
    command = ["train", "summariser", str(folder / "pairs.tsv"), "--out", str(out)]
    assert main([*command, "--init", str(folder / "run"), "--steps", "2"]) == 0
    assert minillm.load(out).target.tokens == minillm.load(folder / "run").target.tokens


def test_byte_pairs_can_be_copied_too(folder):
    out = folder / "bpe"
    command = ["train", "summariser", str(folder / "pairs.tsv"), "--out", str(out)]
    assert main([*command, *TINY, "--unit", "bpe", "--vocabulary", "300"]) == 0
    run = minillm.load(out)
    assert run.target.unit == "bpe"
    assert isinstance(run.translate("call Ada soon", beam=2), str)


def test_a_summary_is_not_empty_and_repeats_no_trigram(folder):
    run = minillm.load(folder / "run")
    sources = [source for source, _ in pairs(20, 4)]
    for results in run.hypotheses(sources):
        for output in results:
            ids = output.hypothesis.ids
            trigrams = list(zip(ids, ids[1:], ids[2:], strict=False))
            assert len(ids) >= 1
            assert len(trigrams) == len(set(trigrams))


def test_the_attention_of_a_summariser_can_be_drawn_and_looked_at(folder, capsys):
    pytest.importorskip("matplotlib")
    run, text = str(folder / "run"), "so call Zanzibar soon please ."
    capsys.readouterr()
    assert main(["plot", "attention", run, text]) == 0
    assert (folder / "run" / "attention.png").exists()
    assert main(["look", run, text]) == 0
    assert "Zanzibar" in (folder / "run" / "look.html").read_text()


def test_a_source_of_any_length_is_read_up_to_its_limit(folder):
    run = minillm.load(folder / "run")
    long = "well " * 500 + "call Ada soon ."
    (results,) = run.hypotheses([long])
    assert results[0].cut
    assert results[0].hypothesis.weights.shape[1] == run.settings.max_source == 400
