"""Models that copy: words that they have never seen are copied, and what they copy is shown."""

import random
from itertools import pairwise

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
def trained():
    sizes = {"hidden": 24, "embedding": 16, "batch": 32, "dropout": 0.0}
    given = list(pairs(600, 1))
    return minillm.train(
        "summariser", pairs=given, steps=250, learning_rate=1e-2, quiet=True, **sizes
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


SIZES = ["--hidden", "8", "--embedding", "6"]
TINY = ["--batch", "8", "--minimum-count", "1", "--steps", "3"]


def train(data, out, *options):
    """Train a tiny run on pairs."""
    return main(["train", "summariser", str(data), "--out", str(out), *options]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    file = root / "pairs.tsv"
    file.write_text("".join(f"{s}\t{t}\n" for s, t in pairs(60, 3)))
    assert train(file, root / "run", *TINY, *SIZES)
    return root


def test_one_vocabulary_serves_both_sides(folder):
    run = minillm.load(folder / "run")
    assert (folder / "run" / "vocabulary.json").exists()
    assert run.source.tokens == run.target.tokens
    assert len(run.target) == run.model.config.vocabulary
    assert vocabulary_from_dict(run.target.to_dict()).unit == "open word"


def test_training_on_from_its_weights_keeps_the_vocabulary(folder):
    out = folder / "more"
    assert train(folder / "pairs.tsv", out, "--init", str(folder / "run"), "--steps", "2")
    assert minillm.load(out).target.tokens == minillm.load(folder / "run").target.tokens


def test_byte_pairs_can_be_copied_too(folder):
    out, options = folder / "bpe", ["--unit", "bpe", "--vocabulary", "300"]
    assert train(folder / "pairs.tsv", out, *TINY, *SIZES, *options)
    run = minillm.load(out)
    assert run.target.unit == "bpe"
    assert isinstance(run.translate("call Ada soon", beam=2), str)


def test_a_summary_is_not_empty_and_does_not_repeat_itself(folder):
    run = minillm.load(folder / "run")
    sources = [source for source, _ in pairs(20, 4)]
    for results in run.hypotheses(sources):
        for output in results:
            ids = output.hypothesis.ids
            bigrams = list(pairwise(ids))
            assert len(ids) >= 1
            assert len(bigrams) == len(set(bigrams))
            assert all(id not in ids[max(0, t - 4) : t] for t, id in enumerate(ids))


def test_its_attention_can_be_drawn_and_looked_at(folder, capsys):
    pytest.importorskip("matplotlib")
    run, text = str(folder / "run"), "so call Zanzibar soon please ."
    capsys.readouterr()
    assert main(["plot", "attention", run, text]) == 0
    assert (folder / "run" / "attention.png").exists()
    assert main(["look", run, text]) == 0
    page = (folder / "run" / "look.html").read_text()
    assert "Zanzibar" in page


def test_a_source_of_any_length_is_read_up_to_its_limit(folder):
    run = minillm.load(folder / "run")
    long = "well " * 500 + "call Ada soon ."
    (results,) = run.hypotheses([long])
    assert results[0].cut
    assert results[0].hypothesis.weights.shape[1] == run.settings.max_source == 400


def test_the_labels_of_an_output_are_words_of_the_vocabulary_or_of_its_source(folder):
    run, text = minillm.load(folder / "run"), "so call Zanzibar and Quito soon"
    ids, words = run.source.encode(text).tolist(), run.source.split(text)
    label, eos = run.trace(text).label, len(run.target)
    assert label(eos) == "(end)"
    for number, word in zip(ids, words, strict=True):
        assert label(number) == (word if number > eos else word.lower())
    assert sum(number > eos for number in ids) >= 2
