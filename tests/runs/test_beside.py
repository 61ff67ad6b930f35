"""`eval` next to a network: the best n-gram, a mixture with n-grams, and a copy that learns."""

import json
from unittest import mock

import numpy as np
import pytest
from kind_rows import ROWS
from tiny import LM, contents, stopped_after

import minillm
from minillm.cli import main
from minillm.data import split_text
from minillm.errors import InputError
from minillm.models.mixture import Mixture
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.runs.kinds import language
from minillm.runs.kinds import ngram as page
from minillm.runs.kinds.ngram import MixtureReader, best_ngram, ngram_of
from minillm.runs.kinds.texts import held_out_ids, training_ids
from minillm.text import Characters, build_vocabulary
from minillm.training.language_model import LanguageModelTask

rng = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dog", "and"]
TEXT = "".join(" ".join(rng.choice(WORDS, 7)) + ".\n" for _ in range(120))
# The held-out text repeats itself, and has letters that others need.
LONGER = TEXT + ":,\n" * 3 + "on that note a mad gnat hugs a nut.\n" * (len(TEXT) // 400)
OTHER = "the dog and the cat sat on a mat and a dog.\n" * 20
STYLE = "dad hats: toads, tom hats: ants.\n" * 40  # another one, in letters that are known
KINDS = ["lm", "gpt", pytest.param("mamba", marks=pytest.mark.deep)]
PARTS = ["network", "cache", "ngram"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each row on the longer text, made when it is asked for."""
    folder, made = tmp_path_factory.mktemp("beside"), {}
    (folder / "text.txt").write_text(LONGER)

    def run_of(name):
        if name not in made:
            given = {**ROWS[name].settings, "files": folder / "text.txt", "steps": 60}
            made[name] = minillm.train(ROWS[name].kind, folder / name, quiet=True, **given)
        return made[name]

    return run_of


# --- the best n-gram ------------------------------------------------------------------------------


@pytest.fixture
def ids():
    vocabulary = Characters.from_text(TEXT)
    return (*map(vocabulary.encode, split_text(TEXT)), vocabulary)


def test_it_is_the_best_of_the_runs_of_ngrams(ids):
    given = {"text": TEXT, "unit": "character", "quiet": True}
    expected = [
        minillm.train("ngram", order=order, **given).evaluate()["nats_per_token"]
        for order in range(1, 11)
    ]
    _, best = best_ngram(*ids)
    assert best.order == 1 + int(np.argmin(expected))
    assert 1 < best.order < best.orders == 10
    assert best.nats == pytest.approx(min(expected), rel=1e-6)
    assert best.counted == best.tokens == len(ids[0])


def test_words_read_on_over_the_ends_of_lines():
    text = "a b\nc d\n" * 240  # whether a or c begins a line depends on the line before it
    vocabulary = build_vocabulary([text], "word")
    ids, V = vocabulary.encode(text), len(vocabulary)
    _, best = best_ngram(ids[:1200], ids[1200:], vocabulary)
    assert best.orders == 5
    assert best.nats < 0.02
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
    (_, whole), V = best_ngram(*ids), len(ids[2])
    monkeypatch.setattr(page, "COMPARED", 100)
    monkeypatch.setattr(page, "BLOCK", 7)
    _, best = best_ngram(*ids)
    counts = count_ngrams(np.append(np.int32(V), ids[0]), best.order, V)
    score = estimate(counts, NGramConfig(V, best.order)).score([np.append(np.int32(V), ids[1])])
    assert best.nats == pytest.approx(-score.log10 * np.log(10) / len(ids[1]), rel=1e-6)
    assert best.nats >= whole.nats


@pytest.mark.parametrize("name", ["lm", "gpt"])
def test_a_training_reports_it_and_so_does_a_run_that_is_asked(name, ids):
    told = []
    given = {**ROWS[name].settings, "steps": 4, "report": told.append}
    run, (_, best) = minillm.train(ROWS[name].kind, text=TEXT, **given), best_ngram(*ids)
    line = f"best n-gram of the training text: {best.nats:.4f} nats per character"
    assert f"{line} (order {best.order}, of 1 to 10)" in told
    last = run.folder.read_metrics()[-1]
    assert last == {"step": 4, "ngram_loss": best.nats, "ngram_order": best.order}
    assert "best_ngram_order" not in run.evaluate()
    results = run.evaluate(beside=True)
    assert results["best_ngram_nats_per_token"] == pytest.approx(best.nats)
    assert results["best_ngram_order"] == best.order
    assert "best_ngram_counted" not in results
    others = run.evaluate(text=OTHER, beside=True)
    assert others["best_ngram_nats_per_token"] != results["best_ngram_nats_per_token"]


def test_a_quiet_training_counts_nothing(monkeypatch, capsys):
    monkeypatch.setattr("minillm.runs.kinds.language.best_ngram", None)
    minillm.train("lm", text=TEXT, quiet=True, **ROWS["lm"].settings)
    assert capsys.readouterr().out == ""


def test_an_interrupted_training_has_none_until_it_ends(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    out = str(tmp_path / "run")
    command = ["train", "lm", str(tmp_path / "text.txt"), "--out", out, "--steps", "6", *LM]
    stopped_after(3, command, LanguageModelTask)
    assert "best n-gram" not in capsys.readouterr().out
    assert main(["train", "lm", "--out", out, "--resume"]) == 0
    assert capsys.readouterr().out.count("best n-gram of the training text") == 1


def test_without_the_training_text_there_is_a_reason_and_no_part_in_the_mixture(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(LONGER)
    run = minillm.train("lm", tmp_path / "run", files=text, quiet=True, **ROWS["lm"].settings)
    text.unlink()
    results = run.evaluate(OTHER, mix=True, beside=True)
    assert results["best_ngram"].startswith("not measured: ")
    assert "text.txt: there is no such file" in results["best_ngram"]
    assert sum(results[f"mixture_weight_of_{name}"] for name in PARTS[:2]) == pytest.approx(1)
    assert "mixture_weight_of_ngram" not in results
    assert results["mixture_nats_per_token"] < results["nats_per_token"]
    saved = minillm.save(run.model, run.tokenizer, tmp_path / "saved")
    found = saved.evaluate(OTHER, beside=True)["best_ngram"]
    assert ": it comes from a training in Python" in found


def test_shards_are_counted_as_far_as_the_bound(tmp_path, runs, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["tokenize", tmp_path / "text.txt", "--tokenizer", runs("byte pairs")]
    assert main([*map(str, command), "--out", str(tmp_path / "shards")]) == 0
    monkeypatch.setattr(page, "COUNTED", 300)
    told, given = [], {**ROWS["gpt"].settings, "files": tmp_path / "shards"}
    run = minillm.train("gpt", **given, report=told.append)
    [line] = [line for line in told if line.startswith("best n-gram of the first 300 of ")]
    assert " nats per token (order " in line
    assert line.endswith(", of 1 to 5)")
    counted = run.evaluate(beside=True)["best_ngram_counted"]
    assert counted.startswith("300 of ")


# --- the mixture ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_losses_of_single_tokens_have_the_mean_of_the_whole(name, trained):
    run = trained(name)
    ids = held_out_ids(run)
    losses, measured = run.losses_on(ids), run.evaluate()
    assert len(losses) == measured["tokens"]
    assert losses.mean() == pytest.approx(measured["nats_per_token"], rel=1e-6)
    if name == "gpt":  # in the order of the text: a text that ends earlier has the first of them
        assert run.losses_on(ids[:100]) == pytest.approx(losses[:99], rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_the_mixture_beats_its_parts(name, trained):
    results = trained(name).evaluate(mix=True, beside=True)
    mixed = results["mixture_nats_per_token"]
    assert mixed < min(results["nats_per_token"], results["best_ngram_nats_per_token"])
    assert results["mixture_bits_per_token"] == pytest.approx(mixed / np.log(2))
    assert sum(results[f"mixture_weight_of_{name}"] for name in PARTS) == pytest.approx(1)
    without = trained(name).evaluate()
    assert not [name for name in without if "mixture" in name]
    for figure, value in without.items():
        assert results[figure] == (value if isinstance(value, str) else pytest.approx(value))


def test_only_what_was_read_is_counted(trained):
    """The beginning of a text is mixed as it is where the text ends there."""
    run = trained("lm")
    ids = run.tokenizer.encode(OTHER)
    losses = run.losses_on(ids)
    whole, begun = (MixtureReader(run).read(ids[:end], losses[: end - 1]) for end in (700, 301))
    assert np.array_equal(whole.p[:300], begun.p)
    assert np.array_equal(whole.weights[:, :300], begun.weights)


@pytest.mark.parametrize("name", KINDS)
def test_no_token_is_predicted_from_itself(name, trained):
    run, t = trained(name), 300
    ids = run.tokenizer.encode(OTHER)
    changed = ids.copy()
    changed[t] = (changed[t] + 1) % len(run.tokenizer)
    before, after = (MixtureReader(run).read(text, run.losses_on(text)) for text in (ids, changed))
    assert np.array_equal(before.p[: t - 1], after.p[: t - 1])  # p[0] is of the second token
    assert np.array_equal(before.weights[:, :t], after.weights[:, :t])
    assert before.p[t - 1] != after.p[t - 1]


def test_the_held_out_text_chooses_nothing(trained):
    run = trained("lm")
    training = training_ids(run)
    model, tenth = ngram_of(training, run.tokenizer), len(training) // 10
    _, best = best_ngram(training[:-tenth], training[-tenth:], run.tokenizer)
    assert model.config.order == best.order
    assert model.config.sizes[0] == len(run.tokenizer) + 1


def test_a_mixture_of_one_part_alone_is_this_part(trained):
    run = trained("lm")
    reader, ids, p = MixtureReader(run), held_out_ids(run), []
    losses = run.losses_on(ids)
    for part in range(len(PARTS)):
        reader.mixture.read = lambda all_p, _, part=part: Mixture(1).read(all_p[[part]])
        p.append(reader.read(ids, losses).p)
    assert np.array_equal(p[0], np.exp(-losses))
    score = reader.counted.score([np.append(reader.counted.config.start, ids)])
    assert np.log10(p[2]).sum() == pytest.approx(score.log10, rel=0.01)  # which has one token more


# --- a copy that learns ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_learns_as_it_reads_and_the_run_stays_as_it_is(name, trained):
    run = trained(name)
    before, plain = contents(run.path), run.evaluate(STYLE)
    with mock.patch.object(language, "adapt", wraps=language.adapt) as learned:
        results = run.evaluate(STYLE, adapt=True, mix=True)
    assert learned.call_args.kwargs == {"quiet": False}  # it may take minutes
    assert {figure: results[figure] for figure in plain} == plain
    of_copy = {f"adapted_{figure}" for figure in plain if "_per_" in figure} | {
        "adapted_perplexity"
    }
    assert {figure for figure in results if figure.startswith("adapted_")} == of_copy
    adapted = results["adapted_nats_per_token"]
    assert adapted < results["nats_per_token"] - 0.2
    assert results["adapted_perplexity"] == pytest.approx(np.exp(adapted))
    assert contents(run.path) == before
    assert run.evaluate(STYLE) == plain  # nor has the model in memory changed
    # The network of a mixture is the adapted one.
    ids = run.tokenizer.encode(STYLE)
    expected = MixtureReader(run).results(ids, run.adapted(ids).losses)
    assert {figure: results[figure] for figure in expected} == expected
    assert results["mixture_nats_per_token"] < adapted


# --- the command line, and what is refused --------------------------------------------------------


def test_the_command_prints_them(trained, tmp_path, capsys):
    run, file = trained("lm"), tmp_path / "other.txt"
    file.write_text(STYLE[:500])
    assert main(["eval", str(run.path), str(file), "--adapt", "--mix"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    expected = run.evaluate(files=file, adapt=True, mix=True)
    for name in ("mixture", "adapted"):
        assert f"{name} nats per token {expected[f'{name}_nats_per_token']:.4f}" in lines


def test_what_cannot_be_mixed_or_learned(runs, tmp_path):
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"prompt": "the cat", "completion": "sat"}) + "\n")
    ngram, llama, quantised = (minillm.load(runs(n)) for n in ("ngram", "llama", "talker"))
    for option in ("mix", "adapt"):
        with pytest.raises(InputError, match=rf"^{option}: expected a run of .*lm.*found 'ngram'"):
            ngram.evaluate(OTHER, **{option: True})
        with pytest.raises(InputError, match=rf"{option}: expected a text, found .*chats\.jsonl"):
            llama.evaluate(files=chats, **{option: True})
    with pytest.raises(InputError, match=r"^adapt: expected weights in floats.*found quantised"):
        quantised.evaluate(OTHER, adapt=True)
