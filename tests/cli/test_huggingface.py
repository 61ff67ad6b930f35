"""import and export of a GPT-2 and of a BERT, from the command line."""

import io
import json
import sys

import numpy as np
import pytest
from other_programs import export_bert, export_folder

import minillm
from minillm.cli import main
from minillm.formats.sentences import Sentences
from minillm.models.bert import BERT, BERTConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import load_tokenizer, word_pieces
from minillm.text.byte_pairs import train

TEXT = "she sells sea shells on the sea shore\n"


@pytest.fixture
def gpt2(tmp_path):
    """A folder as transformers has it."""
    tokenizer = train([TEXT], 262)
    config = GPTConfig(len(tokenizer), context=8, layers=2, heads=3, width=6, dropout=0.1)
    export_folder(GPT(config, np.random.default_rng(0)), tokenizer, tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_there_and_back(tmp_path, gpt2, capsys):
    run, again = tmp_path / "run", tmp_path / "again"
    assert main(["import", str(gpt2), "--out", str(run)]) == 0
    assert "weights in 2 layers" in capsys.readouterr().out
    opened = minillm.load(run)
    assert (opened.settings.width, opened.settings.context) == (6, 8)
    text = "".join(opened.write("she", length=12, seed=0))
    assert text.startswith("she")
    assert main(["generate", str(run), "--prompt", "she", "--length", "5", "--seed", "0"]) == 0
    capsys.readouterr()
    file = tmp_path / "text"
    file.write_text(TEXT)
    assert main(["eval", str(run), str(file), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["nats_per_byte"] < 10
    assert main(["export", str(run), str(again), "--format", "huggingface"]) == 0
    assert capsys.readouterr().out.strip() == str(again)
    assert main(["export", str(run)]) == 0
    for copy in (again, run / "huggingface"):
        for name in ("model.safetensors", "config.json"):
            assert (copy / name).read_bytes() == (gpt2 / name).read_bytes()
        values = json.loads((copy / "tokenizer.json").read_text())
        assert values == load_tokenizer(gpt2).values  # with all defaults


def test_bad_input(tmp_path, gpt2, fails):
    run = tmp_path / "run"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "expected a run, which is a folder, or a" in fails("import", empty, "--out", run)
    whole = (gpt2 / "model.safetensors").read_bytes()
    (gpt2 / "model.safetensors").write_bytes(whole[:-1])
    assert "damaged" in fails("import", gpt2, "--out", run)
    assert not run.exists()
    (gpt2 / "model.safetensors").write_bytes(whole)
    assert main(["import", str(gpt2), "--out", str(run)]) == 0
    assert "already holds a run" in fails("import", gpt2, "--out", run)
    assert "it exists already" in fails("export", run, gpt2)
    assert "--format: a run of gpt" in fails("export", run, "--format", "arpa")
    assert (gpt2 / "model.safetensors").read_bytes() == whole


# --- BERT --------------------------------------------------------------------------------------

PIECES = word_pieces.train([TEXT * 3], 40)
FILES = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


def bert(path, sentences=None, **heads):
    """A folder as transformers has it."""
    config = BERTConfig(len(PIECES), context=16, layers=2, heads=3, width=6, dropout=0.1, **heads)
    export_bert(BERT(config, np.random.default_rng(0)), PIECES, path, sentences)
    return path


def test_bert_there_and_back(tmp_path, capsys):
    folder = bert(tmp_path / "bert", pooler=True)
    run, again, file = tmp_path / "run", tmp_path / "again", tmp_path / "text"
    assert main(["import", str(folder), "--out", str(run)]) == 0
    assert "weights in 2 layers" in capsys.readouterr().out
    assert minillm.load(run).settings.context == 16
    assert main(["fill", str(run), "she [MASK] shells", "--top", "3"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    file.write_text(TEXT)
    assert main(["eval", str(run), str(file), "--json"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["masked_accuracy"] <= 1
    assert main(["embed", str(run), TEXT, "--to", str(tmp_path / "v.npy")]) == 0
    assert np.load(tmp_path / "v.npy").shape == (1, 6)
    assert main(["export", str(run), str(again), "--format", "huggingface"]) == 0
    capsys.readouterr()
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert not (again / "modules.json").exists()


def test_a_bert_with_more_rows_than_pieces(tmp_path):
    size = len(PIECES)
    model = BERT(BERTConfig(size + 9, 16, 2, 3, 6), np.random.default_rng(0))
    model.params["mask.output_b"][size:] = 99
    export_bert(model, PIECES, tmp_path / "bert")
    run, again, text = tmp_path / "run", tmp_path / "again", tmp_path / "text"
    assert main(["import", str(tmp_path / "bert"), "--out", str(run)]) == 0
    opened = minillm.load(run)
    assert opened.model.config.vocabulary == size + 9
    for word, _ in opened.fill("she [MASK] shells", top=9)[0]:
        assert word in PIECES.tokens
    opened.look("she sells")
    assert opened.embed(["she sells"]).shape == (1, 6)
    assert main(["export", str(run), str(again), "--format", "huggingface"]) == 0
    weights = "model.safetensors"
    assert (again / weights).read_bytes() == (tmp_path / "bert" / weights).read_bytes()
    text.write_text(TEXT * 20)
    command = ["train", "bert", str(text), "--init", str(run), "--out", str(tmp_path / "more")]
    assert main([*command, "--steps", "2"]) == 0
    assert minillm.load(tmp_path / "more").model.config.vocabulary == size + 9


def test_a_sentence_encoder_there_and_back(tmp_path, capsys, monkeypatch):
    sentences = Sentences("first", True, 5)
    folder = bert(tmp_path / "encoder", sentences, masked_words=False)
    run, again = tmp_path / "run", tmp_path / "again"
    assert main(["import", str(folder), "--out", str(run)]) == 0
    opened = minillm.load(run)
    long = "she sells sea shells on the sea shore"
    first, cut, mean = (
        opened.embed([text], pooling)[0]
        for text, pooling in (
            (long, None),
            (" ".join(PIECES.split(long)[:3]), "first"),
            (long, "mean"),
        )
    )
    np.testing.assert_array_equal(first, cut)  # its beginning alone, [CLS]
    assert np.abs(first - mean).max() > 0.01
    for vector in (first, mean):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    x, _ = opened.model.hidden(np.array([[PIECES.bos, *PIECES.encode(long)[:3], PIECES.eos]]))
    np.testing.assert_allclose(first, x[0, 0] / np.linalg.norm(x[0, 0]), atol=1e-6)
    largest = x[0].max(axis=0)
    expected = largest / np.linalg.norm(largest)
    np.testing.assert_allclose(opened.embed([long], "max")[0], expected, atol=1e-6)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode() * 2)))
    capsys.readouterr()
    assert main(["similar", str(run), "she sells", "--among", "-"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["export", str(run), str(again)]) == 0
    for name in (*FILES, "modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_bad_input_of_bert(tmp_path, fails):
    folder, run = bert(tmp_path / "bert", masked_words=False), tmp_path / "run"
    assert main(["import", str(folder), "--out", str(run)]) == 0
    assert "without its head for masked words" in fails("fill", run, "she [MASK]")
    assert "without its head for masked words" in fails("eval", run, folder / "config.json")


@pytest.mark.parametrize(
    ("entry", "value"), [("pooling", "last"), ("normalised", 2), ("longest", 2), ("longest", "9")]
)
def test_a_damaged_run_of_a_sentence_encoder(tmp_path, entry, value, fails):
    folder = bert(tmp_path / "encoder", Sentences("mean"), masked_words=False)
    run = tmp_path / "run"
    assert main(["import", str(folder), "--out", str(run)]) == 0
    config = json.loads((run / "config.json").read_text())
    config["data"][entry] = value
    (run / "config.json").write_text(json.dumps(config))
    assert f"data: {entry}: expected" in fails("similar", run, "a", "b")
