"""`eval --mix`: its parts, that it learns from nothing that it predicts, and what it reports."""

import json

import numpy as np
import pytest
from tiny import LM

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.models.mixture import Mixture
from minillm.runs.kinds.ngram import MixtureReader, best_ngram, ngram_of
from minillm.runs.kinds.texts import held_out_ids, training_ids

rng = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "and"]
TEXT = "".join(" ".join(rng.choice(WORDS, 7)) + ".\n" for _ in range(120))
# The held-out text repeats itself.
TEXT += "on that note a mad gnat hugs a nut.\n" * (len(TEXT) // 400)
OTHER = "the dog and the cat sat on a mat and a dog.\n" * 20
KINDS = {
    "lm": {"hidden": 12, "embedding": 6, "batch": 4, "window": 8},
    "lm min_gru": {"cell": "min_gru", "hidden": 12, "layers": 2, "batch": 4, "window": 8},
    "lm min_lstm": {"cell": "min_lstm", "hidden": 12, "embedding": 0, "batch": 4, "window": 8},
    "mamba": {"width": 8, "layers": 2, "batch": 4, "window": 8},
    "neural-ngram": {"hidden": 8, "batch": 4, "window": 8},
    "gpt": {"width": 8, "heads": 2, "layers": 2, "context": 12, "batch": 4},
    "llama": {"width": 8, "heads": 2, "layers": 2, "context": 12, "batch": 4},
}
PARTS = ["network", "cache", "ngram"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "text.txt").write_text(TEXT)
    return {
        name: minillm.train(
            name.split()[0],
            folder / name,
            files=folder / "text.txt",
            steps=3,
            quiet=True,
            **settings,
        )
        for name, settings in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_single_tokens_have_the_mean_of_the_whole(runs, kind):
    run = runs[kind]
    ids = held_out_ids(run)
    losses = run.losses_on(ids)
    measured = run.evaluate()
    assert len(losses) == measured["tokens"]
    assert losses.mean() == pytest.approx(measured["nats_per_token"], rel=1e-6)
    # in the order of the text: a text that ends earlier has the first of them
    if kind == "gpt":
        some = run.losses_on(ids[:100])
        assert some == pytest.approx(losses[:99], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mixture_beats_its_parts(runs, kind):
    results = runs[kind].evaluate(mix=True, beside=True)
    parts = results["nats_per_token"], results["best_ngram_nats_per_token"]
    assert results["mixture_nats_per_token"] < min(parts)
    assert results["mixture_bits_per_token"] == pytest.approx(
        results["mixture_nats_per_token"] / np.log(2)
    )
    weights = [results[f"mixture_weight_of_{name}"] for name in PARTS]
    assert sum(weights) == pytest.approx(1)
    without = runs[kind].evaluate()
    assert not [name for name in without if "mixture" in name]
    for name, value in without.items():
        assert results[name] == (value if isinstance(value, str) else pytest.approx(value))


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_was_read_is_counted(runs, kind):
    """The beginning of a text is mixed as it is where the text ends there."""
    run = runs[kind]
    ids = run.tokenizer.encode(OTHER)
    losses = run.losses_on(ids)
    whole, begun = (MixtureReader(run).read(ids[:end], losses[: end - 1]) for end in (700, 301))
    assert np.array_equal(whole.p[:300], begun.p)
    assert np.array_equal(whole.weights[:, :300], begun.weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [40, 300, 500])
def test_no_token_is_predicted_from_itself(runs, kind, t):
    run = runs[kind]
    ids = run.tokenizer.encode(OTHER)
    changed = ids.copy()
    changed[t] = (changed[t] + 1) % len(run.tokenizer)
    before, after = (MixtureReader(run).read(text, run.losses_on(text)) for text in (ids, changed))
    assert np.array_equal(before.p[: t - 1], after.p[: t - 1])  # p[0] is of the second token
    assert np.array_equal(before.weights[:, :t], after.weights[:, :t])
    assert before.p[t - 1] != after.p[t - 1]


def test_the_held_out_text_chooses_nothing(runs):
    run = runs["lm"]
    training = training_ids(run)
    model = ngram_of(training, run.tokenizer)
    tenth = len(training) // 10
    assert (
        model.config.order
        == best_ngram(training[:-tenth], training[-tenth:], run.tokenizer)[1].order
    )
    assert model.config.sizes[0] == len(run.tokenizer) + 1


def test_a_mixture_of_the_network_alone_is_the_network(runs, monkeypatch):
    run = runs["lm"]
    reader = MixtureReader(run)
    reader.mixture = Mixture(1)
    only = reader.mixture.read
    reader.mixture.read = lambda p, classes: only(p[:1])
    losses = run.losses_on(held_out_ids(run))
    assert np.array_equal(reader.read(held_out_ids(run), losses).p, np.exp(-losses))


def test_without_the_training_text_the_cache_is_left(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    run = minillm.train("lm", tmp_path / "run", files=text, steps=3, quiet=True, **KINDS["lm"])
    text.unlink()
    results = run.evaluate(OTHER, mix=True, beside=True)
    assert results["best_ngram"].startswith("not measured: ")
    weights = [results[f"mixture_weight_of_{name}"] for name in PARTS[:2]]
    assert sum(weights) == pytest.approx(1)
    assert "mixture_weight_of_ngram" not in results
    assert results["mixture_nats_per_token"] < results["nats_per_token"]


def test_the_command_prints_it(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    out = str(tmp_path / "run")
    command = ["train", "lm", str(tmp_path / "text.txt"), "--out", out, "--steps", "3", *LM]
    assert main(command) == 0
    capsys.readouterr()
    assert main(["eval", out, "--mix", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["mixture_nats_per_token"] < results["best_ngram_nats_per_token"]
    assert main(["eval", out, "--mix"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"mixture nats per token {results['mixture_nats_per_token']:.4f}" in lines
    ngram = str(tmp_path / "ngram")
    assert main(["train", "ngram", str(tmp_path / "text.txt"), "--out", ngram]) == 0
    assert main(["eval", ngram, "--mix"]) == 2
    assert "--mix: expected a run of " in capsys.readouterr().err


def test_conversations_are_not_mixed(runs, tmp_path):
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"prompt": "the cat", "completion": "sat"}\n')
    with pytest.raises(InputError, match=r"mix: expected a text, found .*chats\.jsonl"):
        runs["llama"].evaluate(files=chats, mix=True)


def test_words_are_mixed_too(tmp_path):
    settings = {**KINDS["gpt"], "unit": "word"}
    run = minillm.train("gpt", tmp_path / "run", text=TEXT, steps=3, quiet=True, **settings)
    results = run.evaluate(mix=True)
    assert results["mixture_nats_per_token"] < results["nats_per_token"]
    assert "mixture_nats_per_byte" not in results
