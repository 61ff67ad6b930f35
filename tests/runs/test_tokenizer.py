"""Byte pairs and wordpieces: learned, stored for other programs, and read by models."""

import math

import pytest
from kind_rows import OF_PAIRS, TINY, tsv

import minillm
from minillm.data import builtin_corpus
from minillm.errors import InputError
from minillm.text import load_tokenizer, word_pieces
from minillm.text.byte_pairs import learn_merges, train

TEXT = builtin_corpus()[:20_000] + "Ünïcödé 😀 and more.\n" * 20
UNITS = ("bpe", "wordpiece")


def learned(out=None, text=TEXT, **settings):
    return minillm.train("tokenizer", out, text=text, quiet=True, **{"vocabulary": 600, **settings})


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """A tokenizer of each unit."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return {unit: learned(folder / unit, unit=unit) for unit in UNITS}


@pytest.mark.parametrize("unit", UNITS)
def test_a_tokenizer_is_learned_from_the_training_part(unit, tokenizers):
    run, learn = tokenizers[unit], {"bpe": train, "wordpiece": word_pieces.train}[unit]
    expected = learn([TEXT[: len(TEXT) * 9 // 10]], 600)
    assert run.tokenizer.to_dict() == expected.to_dict()
    for name in ("tokenizer.json", "vocabulary.json"):
        again = load_tokenizer(run.path / name)
        assert unit != "bpe" or again.tokens == expected.tokens
        assert again.encode(TEXT[-1000:]).tolist() == expected.encode(TEXT[-1000:]).tolist()
    held_out, whole = run.evaluate(), run.evaluate(TEXT)
    assert held_out["vocabulary"] == 600
    assert 1.5 < held_out["bytes_per_token"] < 6
    assert held_out.get("unknown_share", 0) < 0.05
    if unit == "bpe":
        assert whole["bytes_per_token"] == pytest.approx(len(TEXT.encode()) / whole["tokens"])
        assert whole["characters_per_token"] < whole["bytes_per_token"]


def test_interrupted_it_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("minillm.text.byte_pairs.learn_merges", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_replaced_only_if_asked(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="already holds a run"):
        learned(tmp_path, vocabulary=300)
    learned(tmp_path, vocabulary=300, overwrite=True)
    assert len(load_tokenizer(tmp_path)) == 300


@pytest.mark.parametrize(
    ("unit", "said"),
    [("bpe", "fewer than asked for"), ("wordpiece", "no other pair of the text is worth a token")],
)
def test_a_text_that_has_few_pairs(unit, said):
    told = []
    run = learned(text="abab abab\n" * 20, unit=unit, report=told.append)
    assert any(said in line for line in told)
    if unit == "bpe":
        words = {b"abab": 9, b" abab": 18, b"\n": 17}
        assert set(run.tokenizer.merges) == set(learn_merges(words, 99))


def test_cased_wordpieces():
    tokenizer = learned(unit="wordpiece", cased=True, vocabulary=400).tokenizer
    assert tokenizer.decode(tokenizer.encode("The Statement")) == "The Statement"


# --- models that read them ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "source"),
    [
        ("lm", {**TINY, "window": 16}, None),
        ("neural-ngram", {**TINY, "window": 16}, "tokenizer.json"),
        ("ngram", {"order": 3}, ""),
    ],
)
def test_language_models_of_byte_pairs(kind, settings, source, tokenizers):
    given = {"unit": "bpe", "vocabulary": 600}
    if source is not None:
        given = {"tokenizer": tokenizers["bpe"].path / source}
    run = minillm.train(kind, text=TEXT, quiet=True, **settings, **given)
    assert run.tokenizer.tokens == tokenizers["bpe"].tokenizer.tokens
    prompt, text = "The ünknown 😀", "ein anderer Text: 😀 Ünïcödé\n" * 5
    assert run.generate(prompt, length=20, stop=["<|endoftext|>"]).startswith(prompt)
    with pytest.raises(InputError, match="stop: expected a single token, found 'zqzq'"):
        run.write(stop=["zqzq"])
    results, ids = run.evaluate(text), run.tokenizer.encode(text)
    first = 0 if kind == "ngram" else len(run.tokenizer.tokens[ids[0]])  # bytes that are given
    assert results["tokens"] == len(ids) - (first > 0)
    nats = results["nats_per_token"] * results["tokens"]
    assert results["nats_per_byte"] == pytest.approx(nats / (len(text.encode()) - first))
    bits = nats / math.log(2) / (len(text) - first)
    assert results["bits_per_character"] == pytest.approx(bits)


def test_a_language_model_of_wordpieces(tokenizers):
    given = {**TINY, "tokenizer": tokenizers["wordpiece"].path, "quiet": True}
    run = minillm.train("lm", text=TEXT, **given)
    results = run.evaluate()
    assert results["unit"] == "wordpiece"
    assert "bits_per_byte" not in results  # they have no white space
    assert run.generate("The Statement", length=5).startswith("the statement")


@pytest.mark.parametrize(("unit", "source"), [("bpe", "unit"), ("wordpiece", "tokenizer")])
def test_models_of_pairs_and_of_labels(unit, source, tokenizers, tmp_path):
    given = {"unit": unit, "vocabulary": 300}
    if source == "tokenizer":
        given = {"tokenizer": tokenizers[unit].path}
    pairs = [(f"Number {n}", f"the number after is {n + 1}") for n in range(60)]
    run = minillm.train("seq2seq", pairs=pairs, quiet=True, **OF_PAIRS, **given)
    assert (run.source.unit, run.target.unit) == (unit, unit)
    results = run.evaluate(pairs=pairs, beam=1)
    assert results["sources"] == 60
    assert results["token_error_rate"] >= 0
    file = tmp_path / "texts.tsv"
    file.write_text(tsv((n % 2, f"The {'Odd' if n % 2 else 'even'} {n}") for n in range(60)))
    run = minillm.train("recurrent-classifier", files=file, quiet=True, **TINY, **given)
    assert run.tokenizer.unit == unit
    assert run.evaluate()["items"] > 0


def test_a_run_goes_on_with_the_tokenizer_that_it_began_with(tmp_path):
    learned(tmp_path / "pairs", vocabulary=300)
    given = {**TINY, "tokenizer": tmp_path / "pairs", "quiet": True}
    run = minillm.train("lm", tmp_path / "run", text=TEXT, **given)
    minillm.train("lm", run.path, resume=True, steps=7, quiet=True)
    learned(tmp_path / "pairs", vocabulary=301, overwrite=True)
    with pytest.raises(InputError, match="the vocabulary has changed since the run was started"):
        minillm.train("lm", run.path, resume=True, steps=8)
