"""`eval --adapt` and `generate --adapt`: the figures, and that a run stays as it is."""

import json

import numpy as np
import pytest
from tiny import contents

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.runs.kinds.ngram import MixtureReader

rng = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "and"]
TEXT = "".join(" ".join(rng.choice(WORDS, 7)) + ".\n" for _ in range(120))
OTHER = "dad hats: toads, tom hats: ants.\n" * 40  # another style, in letters that are known
TEXT += ":,\n" * 3
KINDS = {
    "lm": {"hidden": 12, "embedding": 6, "batch": 4, "window": 8},
    "lm min_gru": {"cell": "min_gru", "hidden": 12, "layers": 2, "batch": 4, "window": 8},
    "lm min_lstm": {"cell": "min_lstm", "hidden": 12, "embedding": 0, "batch": 4, "window": 8},
    "neural-ngram": {"hidden": 8, "batch": 4, "window": 8},
    "mamba": {"width": 8, "layers": 2, "batch": 4, "window": 8},
    "gpt": {"width": 8, "heads": 2, "layers": 2, "context": 12, "batch": 4},
    "llama": {"width": 8, "heads": 2, "layers": 2, "context": 12, "batch": 4},
    "decoder": {"width": 8, "heads": 2, "layers": 2, "context": 12, "batch": 4},
}
FIGURES = {f"{unit}_per_{of}" for unit in ("nats", "bits") for of in ("token", "byte", "character")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapting")
    (folder / "text.txt").write_text(TEXT)
    return {
        name: minillm.train(
            name.split()[0],
            folder / name,
            files=folder / "text.txt",
            steps=60,
            quiet=True,
            **settings,
        )
        for name, settings in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_figures(runs, kind):
    run = runs[kind]
    before = contents(run.path)
    plain = run.evaluate(OTHER)
    results = run.evaluate(OTHER, adapt=True)
    assert {name: results[name] for name in plain} == plain
    assert results.keys() - plain.keys() == {f"adapted_{n}" for n in [*FIGURES, "perplexity"]}
    assert results["adapted_nats_per_token"] < results["nats_per_token"] - 0.2
    assert results["adapted_perplexity"] == pytest.approx(np.exp(results["adapted_nats_per_token"]))
    assert contents(run.path) == before
    assert run.evaluate(OTHER) == plain  # nor has the model in memory changed


@pytest.mark.parametrize("kind", ["lm", "gpt"])
def test_the_network_of_a_mixture_is_the_adapted_one(runs, kind):
    run = runs[kind]
    mixed = run.evaluate(OTHER, mix=True)["mixture_nats_per_token"]
    results = run.evaluate(OTHER, adapt=True, mix=True)
    assert results["mixture_nats_per_token"] < results["adapted_nats_per_token"]
    assert results["mixture_nats_per_token"] != mixed
    ids = run.tokenizer.encode(OTHER)
    expected = MixtureReader(run).results(ids, run.adapted(ids).losses)
    assert {name: results[name] for name in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_of_a_mixture_is_learned_before_it_is_scored(runs, kind):
    run, t = runs[kind], 300
    ids = run.tokenizer.encode(OTHER)
    other = ids.copy()
    other[t] = (other[t] + 1) % len(run.tokenizer)
    p, changed = (
        MixtureReader(run).read(read, run.adapted(read).losses).p for read in (ids, other)
    )
    assert np.array_equal(p[: t - 1], changed[: t - 1])
    assert p[t - 1] != changed[t - 1]


def test_the_command(runs, capsys, tmp_path):
    (tmp_path / "other.txt").write_text(OTHER)
    folder, file = str(runs["lm"].path), str(tmp_path / "other.txt")
    assert main(["eval", folder, file, "--adapt", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    expected = runs["lm"].evaluate(files=file, adapt=True)
    assert results["adapted_nats_per_token"] == expected["adapted_nats_per_token"]
    assert main(["eval", folder, file, "--adapt"]) == 0
    assert f"{expected['adapted_nats_per_token']:.4f}" in capsys.readouterr().out


def test_what_cannot_adapt_says_so(tmp_path):
    ngram = minillm.train("ngram", tmp_path / "ngram", text=TEXT, unit="character", quiet=True)
    with pytest.raises(InputError, match=r"^adapt: expected a run of .*lm.*, found 'ngram'"):
        ngram.evaluate(OTHER, adapt=True)
    wide = {"layers": 1, "heads": 2, "width": 32, "feed_forward": 64, "context": 12}
    shape = {"batch": 2} | wide
    minillm.train("llama", tmp_path / "llama", text=TEXT, steps=1, quiet=True, **shape)
    command = ["quantise", tmp_path / "llama", "--to", "q8_0", "--out", tmp_path / "small"]
    assert main(list(map(str, command))) == 0
    quantised = minillm.load(tmp_path / "small")
    with pytest.raises(InputError, match=r"^adapt: expected weights in floats.*found quantised"):
        quantised.evaluate(OTHER, adapt=True)


def test_conversations_are_no_text(runs, tmp_path):
    chat = {"prompt": "the cat", "completion": "sat"}
    (tmp_path / "chats.jsonl").write_text(json.dumps(chat) + "\n")
    with pytest.raises(InputError, match=r"^adapt: expected a text, found .*: conversations"):
        runs["llama"].evaluate(files=tmp_path / "chats.jsonl", adapt=True)
