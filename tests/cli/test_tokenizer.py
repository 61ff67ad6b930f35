"""``train tokenizer``, and the kinds that read text with byte pairs or wordpieces."""

import math

import pytest

import minillm
from minillm.cli import main
from minillm.data import Shards, builtin_corpus
from minillm.text import load_tokenizer, word_pieces
from minillm.text.byte_pairs import learn_merges, train

SMALL = ["--hidden", "16", "--steps", "3", "--batch", "4"]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(builtin_corpus()[:20_000] + "Ünïcödé 😀 and more.\n" * 20, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_file):
    folder = str(tmp_path_factory.mktemp("run") / "pairs")
    assert main(["train", "tokenizer", text_file, "--vocabulary", "600", "--out", folder]) == 0
    return folder


def test_a_tokenizer_is_learned_from_the_training_part(folder, text_file):
    run = minillm.load(folder)
    with open(text_file, encoding="utf-8") as file:
        text = file.read()
    expected = train([text[: len(text) * 9 // 10]], 600)
    assert run.tokenizer.to_dict() == expected.to_dict()
    assert len(run.tokenizer) == 600
    assert "NoModel" in repr(run)
    with pytest.raises(minillm.errors.InputError, match="expected a run of"):
        run.write("a")


def test_its_files_are_the_same_tokenizer(folder):
    tokenizer = minillm.load(folder).tokenizer
    for name in ("tokenizer.json", "vocabulary.json"):
        again = load_tokenizer(f"{folder}/{name}")
        assert (
            again.encode("the statement\n").tolist() == tokenizer.encode("the statement\n").tolist()
        )
        assert again.tokens == tokenizer.tokens


def test_eval_measures_the_length_of_tokens(folder, text_file, evaluated):
    held_out = evaluated(folder)
    assert held_out["vocabulary"] == 600
    assert 1.5 < held_out["bytes_per_token"] < 6
    whole = evaluated(folder, text_file)
    with open(text_file, "rb") as file:
        size = len(file.read())
    assert whole["bytes_per_token"] == pytest.approx(size / whole["tokens"])
    assert whole["characters_per_token"] < whole["bytes_per_token"]


def test_interrupted_or_failing_it_leaves_nothing(tmp_path, text_file, monkeypatch, fails):
    import minillm.text.byte_pairs

    def interrupted(*args):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(minillm.text.byte_pairs, "learn_merges", interrupted)
        assert main(["train", "tokenizer", text_file, "--out", str(out)]) == 130
    assert not out.exists()
    assert "no such file" in fails("train", "tokenizer", "none", "--out", str(out))
    assert not out.exists()


def test_an_existing_folder_is_replaced_only_if_asked(folder, text_file, tmp_path, fails):
    command = ["train", "tokenizer", text_file, "--out", str(tmp_path), "--vocabulary", "300"]
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "already holds a run" in fails(*command)
    assert main([*command, "--overwrite"]) == 0
    assert len(load_tokenizer(tmp_path)) == 300


def test_a_text_that_has_few_pairs(tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("abab abab\n" * 20)
    assert main(["train", "tokenizer", str(text), "--out", str(tmp_path / "out")]) == 0
    assert "fewer than asked for" in capsys.readouterr().out
    words = {b"abab": 9, b" abab": 18, b"\n": 17}
    merges = minillm.load(tmp_path / "out").tokenizer.merges
    assert set(merges) == set(learn_merges(words, 99))


# --- models that read byte pairs


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (["lm", *SMALL, "--window", "16"], "unit"),
        (["neural-ngram", *SMALL, "--window", "16"], "file"),
        (["ngram", "--order", "3"], "tokenizer"),
    ],
    ids=["lm", "neural-ngram", "ngram"],
)
def test_language_models_of_byte_pairs(
    tmp_path, text_file, folder, capsys, kind, source, evaluated
):
    out = str(tmp_path / "run")
    options = {
        "unit": ["--unit", "bpe", "--vocabulary", "600"],
        "tokenizer": ["--tokenizer", folder],
        "file": ["--tokenizer", f"{folder}/tokenizer.json"],
    }[source]
    assert main(["train", kind[0], text_file, "--out", out, *kind[1:], *options]) == 0
    run = minillm.load(out)
    assert run.tokenizer.tokens == load_tokenizer(folder).tokens
    results = evaluated(out)
    assert results["unit"] == "bpe"
    assert main(["generate", out, "--prompt", "The ünknown 😀", "--length", "20"]) == 0
    assert capsys.readouterr().out.startswith("The ünknown 😀")
    text = tmp_path / "other"
    text.write_text("ein anderer Text: 😀 Ünïcödé\n" * 5, encoding="utf-8")
    results = evaluated(out, str(text))
    data = text.read_bytes()
    ids = run.tokenizer.encode(data.decode())
    given = 0 if kind[0] == "ngram" else len(run.tokenizer.tokens[ids[0]])
    predicted = len(ids) - (given > 0)
    assert results["tokens"] == predicted
    nats = results["nats_per_token"] * predicted
    assert results["nats_per_byte"] == pytest.approx(nats / (len(data) - given))
    assert results["bits_per_character"] == pytest.approx(
        nats / math.log(2) / (len(data.decode()) - given)
    )


def test_measures_per_byte_of_other_units(tmp_path, text_file, evaluated):
    out = str(tmp_path / "run")
    base = ["train", "ngram", text_file, "--out", out, "--order", "2", "--overwrite"]
    assert main([*base, "--unit", "character"]) == 0
    results = evaluated(out)
    assert results["bits_per_character"] == pytest.approx(results["bits_per_token"])
    assert results["bits_per_byte"] < results["bits_per_character"]
    assert main([*base, "--unit", "word"]) == 0
    assert "bits_per_byte" not in evaluated(out)  # what is unknown has no bytes


# --- wordpieces


@pytest.fixture(scope="module")
def pieces(tmp_path_factory, text_file):
    folder = str(tmp_path_factory.mktemp("run") / "pieces")
    learn = ["train", "tokenizer", text_file, "--unit", "wordpiece", "--out", folder]
    assert main([*learn, "--vocabulary", "600"]) == 0
    return folder


def test_wordpieces_are_learned_from_the_training_part(pieces, text_file, evaluated):
    with open(text_file, encoding="utf-8") as file:
        text = file.read()
    expected = word_pieces.train([text[: len(text) * 9 // 10]], 600)
    assert minillm.load(pieces).tokenizer.to_dict() == expected.to_dict()
    assert load_tokenizer(f"{pieces}/vocabulary.json").to_dict() == expected.to_dict()
    read = load_tokenizer(f"{pieces}/tokenizer.json")
    assert read.encode(text[-1000:]).tolist() == expected.encode(text[-1000:]).tolist()
    results = evaluated(pieces)
    assert results["vocabulary"] == 600
    assert 1.5 < results["bytes_per_token"] < 6
    assert results["unknown_share"] < 0.05


def test_cased_wordpieces(tmp_path, text_file):
    out = str(tmp_path / "run")
    learn = ["train", "tokenizer", text_file, "--unit", "wordpiece", "--cased", "--out", out]
    assert main([*learn, "--vocabulary", "400"]) == 0
    tokenizer = load_tokenizer(f"{out}/tokenizer.json")
    assert tokenizer.decode(tokenizer.encode("The Statement")) == "The Statement"


def test_few_wordpieces(tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("abab abab\n" * 20)
    out = str(tmp_path / "out")
    assert main(["train", "tokenizer", str(text), "--unit", "wordpiece", "--out", out]) == 0
    assert "no other pair of the text is worth a token" in capsys.readouterr().out


@pytest.mark.parametrize("unit", ["bpe", "wordpiece"])
@pytest.mark.parametrize("source", ["unit", "tokenizer"])
def test_models_of_pairs_and_of_labels(tmp_path, folder, pieces, unit, source, evaluated):
    options = {
        "unit": ["--unit", unit, "--vocabulary", "300" if unit == "bpe" else "60"],
        "tokenizer": ["--tokenizer", folder if unit == "bpe" else pieces],
    }[source]
    options += [*SMALL, "--embedding", "8"]
    path, out = tmp_path / "pairs.tsv", str(tmp_path / "pairs")
    path.write_text("".join(f"Number {n}\tthe number after is {n + 1}\n" for n in range(60)))
    assert main(["train", "seq2seq", str(path), "--out", out, *options]) == 0
    run = minillm.load(out)
    assert (run.source.unit, run.target.unit) == (unit, unit)
    assert evaluated(out)["token_error_rate"] >= 0
    assert main(["plot", "attention", out, "the Number 7"]) == 0
    path, out = tmp_path / "texts.tsv", str(tmp_path / "texts")
    path.write_text("".join(f"{n % 2}\tThe {'Odd' if n % 2 else 'even'} {n}\n" for n in range(60)))
    assert main(["train", "recurrent-classifier", str(path), "--out", out, *options]) == 0
    assert minillm.load(out).tokenizer.unit == unit
    assert evaluated(out)["items"] > 0


def test_a_language_model_of_wordpieces(tmp_path, text_file, pieces, capsys, evaluated):
    """White space is not theirs: no measures per byte."""
    out = str(tmp_path / "run")
    command = ["train", "lm", text_file, "--out", out, *SMALL, "--tokenizer", pieces]
    assert main(command) == 0
    results = evaluated(out)
    assert results["unit"] == "wordpiece"
    assert "bits_per_byte" not in results
    assert main(["generate", out, "--prompt", "The Statement", "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("the statement")


def test_shards_of_wordpieces(tmp_path, pieces):
    """[SEP] closes each document."""
    for name in "ab":
        (tmp_path / name).write_text("the statement and the expression " * 30)
    files, corpus = [str(tmp_path / name) for name in "ab"], str(tmp_path / "corpus")
    assert main(["tokenize", *files, "--tokenizer", pieces, "--out", corpus]) == 0
    shards, tokenizer = Shards(corpus), load_tokenizer(pieces)
    ids = [*tokenizer.encode("the statement and the expression " * 30), tokenizer.eos]
    assert shards[:].tolist() == ids * 2
    assert shards.dtype.itemsize == 2


def test_a_run_goes_on_with_the_tokenizer_that_it_began_with(tmp_path, text_file, fails):
    pairs, out = str(tmp_path / "pairs"), str(tmp_path / "run")
    learn = ["train", "tokenizer", text_file, "--out", pairs, "--overwrite", "--vocabulary"]
    assert main([*learn, "300"]) == 0
    command = ["train", "lm", text_file, "--out", out, *SMALL, "--tokenizer", pairs]
    assert main(command) == 0
    assert main(["train", "lm", "--out", out, "--resume", "--steps", "4"]) == 0
    assert main([*learn, "301"]) == 0
    message = fails("train", "lm", "--out", out, "--resume", "--steps", "5")
    assert "the vocabulary has changed since the run was started" in message


def test_bad_options(tmp_path, text_file, fails):
    out = str(tmp_path / "out")
    base = ["train", "lm", text_file, "--out", out]
    message = fails(*base, "--unit", "bpe", "--vocabulary", "256")
    assert "--vocabulary: expected at least 257 byte pairs, found 256" in message
    assert "there is no such file" in fails(*base, "--tokenizer", str(tmp_path / "none"))
    assert "expected one of vocabulary.json" in fails(*base, "--tokenizer", str(tmp_path))
    (tmp_path / "texts").write_text("a\tb\nb\tc\n" * 20)
    texts = [
        "train",
        "recurrent-classifier",
        str(tmp_path / "texts"),
        "--out",
        out,
        "--vocabulary",
        "6",
    ]
    message = fails(*texts, "--unit", "wordpiece")
    assert "--vocabulary: expected at least 7 wordpieces, found 6" in message
    learn = ["train", "tokenizer", text_file, "--out", out]
    message = fails(*learn, "--vocabulary", "256")
    assert "--vocabulary: expected at least 257 byte pairs, found 256" in message
    assert "--cased: expected the unit wordpiece" in fails(*learn, "--cased")
    with pytest.raises(SystemExit):
        main([*learn, "--vocabulary", "6", "--unit", "wordpiece"])
    assert not (tmp_path / "out").exists()


def test_a_stop_is_one_token(tmp_path, text_file, folder, fails):
    out = str(tmp_path / "run")
    assert main(["train", "ngram", text_file, "--out", out, "--tokenizer", folder]) == 0
    assert main(["generate", out, "--stop", "<|endoftext|>", "--length", "5"]) == 0
    message = fails("generate", out, "--stop", "zqzq")
    assert "--stop: expected a single token, found 'zqzq'" in message
