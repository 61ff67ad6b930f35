"""The command line of encoders after BERT: trained here, or imported, adapted and fine-tuned."""

import json

import numpy as np
import pytest
import tiny
from published import of_pairs

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.models.encoders import Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.text.byte_pairs import train

TEXT = tiny.TEXT
LABELLED = "cat\tthe cat sat\ndog\tthe dog sat\n" * 20
SIZES = {"context": 12, "layers": 2, "heads": 2, "width": 8}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.txt").write_text(TEXT)
    (folder / "labelled.tsv").write_text(LABELLED)
    return folder


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A RoBERTa of byte pairs, imported: not to be changed."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    merges = train([TEXT], 280, []).merges
    tokenizer = of_pairs(merges, specials, bos="<s>", eos="</s>", lstrip=["<mask>"])
    given = {"segments": 1, "family": "roberta", "padding": 1, "eps": 1e-5}
    config = EncoderConfig(len(tokenizer), **SIZES, **given)
    folder = tmp_path_factory.mktemp("imported")
    contents = Contents(Encoder(config, np.random.default_rng(0)), tokenizer)
    huggingface.write(contents, folder / "theirs")
    assert main(["import", str(folder / "theirs"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("family", ["distilbert", "roberta", "mpnet"])
def test_trained_here(files, tmp_path, family, capsys):
    out, text = str(tmp_path / "run"), str(files / "text.txt")
    options = ["--family", family, "--steps", "3", *tiny.BERT]
    assert main(["train", "encoder", text, "--out", out, *options]) == 0
    assert "masked_accuracy 0." in capsys.readouterr().err
    run = minillm.load(out)
    assert run.config.family == family
    [gap] = run.fill("the [MASK] sat", top=3)
    assert len(gap) == 3
    assert run.evaluate()["masked_tokens"] > 0
    assert run.embed(["the cat"]).shape == (1, 8)
    if family == "mpnet":  # pieces that are learned here have another padding token
        with pytest.raises(InputError, match="mpnet: pad_token_id: expected 1, found 0"):
            run.export(tmp_path / "out")
        return
    run.export(tmp_path / "out")
    again = huggingface.read(tmp_path / "out").model
    for name, array in run.model.params.items():
        np.testing.assert_array_equal(again.params[name], array)


def test_electra_cannot_be_trained_here(files, fails):
    options = ["--family", "electra", "--out", files / "x", *tiny.BERT]
    line = fails("train", "encoder", files / "text.txt", *options)
    assert "masked_words: expected none in family electra, found True" in line


def test_an_imported_one(imported, capsys):
    assert main(["fill", str(imported), "the <mask> sat", "--top", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["fill", str(imported), "the [MASK] sat"]) == 2
    assert "TEXT: expected <mask> where a word is missing" in capsys.readouterr().err
    run = minillm.load(imported)
    ids = np.array([[run.tokenizer.bos, *run.tokenizer.encode("the cat"), run.tokenizer.eos]])
    x, _ = run.model.hidden(ids)
    np.testing.assert_allclose(run.embed("the cat"), x[0].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(run.embed("the cat", "first"), x[0, 0], atol=1e-6)


def test_adapted_to_a_text(imported, files, tmp_path):
    """With its tokenizer, its eps and its positions."""
    out = str(tmp_path / "run")
    options = ["--init", str(imported), "--steps", "2", "--batch", "4"]
    assert main(["train", "encoder", str(files / "text.txt"), "--out", out, *options]) == 0
    run, before = minillm.load(out), minillm.load(imported)
    assert run.config == before.config
    assert run.tokenizer.to_dict() == before.tokenizer.to_dict()


@pytest.mark.parametrize("options", [[], ["--lora-rank", "2"], ["--pooling", "first"]])
def test_fine_tuned(imported, files, tmp_path, options, capsys):
    out = str(tmp_path / "run")
    data = str(files / "labelled.tsv")
    assert main(["finetune", str(imported), data, "--out", out, "--steps", "3", *options]) == 0
    run = minillm.load(out)
    assert run.config.encoder.eps == 1e-5
    assert run.classify("the cat sat").label in ("cat", "dog")


def test_a_classifier_of_theirs_is_trained_further(imported, files, tmp_path):
    """Its hidden layer stays, and it is exported as it came."""
    before = minillm.load(imported)
    encoder = EncoderConfig(**{**vars(before.config), "masked_words": False})
    config = FineTunedConfig("encoder", encoder, 3, pooling="first", head="tanh")
    model = FineTuned(config, np.random.default_rng(0))
    contents = Contents(model, before.tokenizer, facts={"labels": ["a", "b", "c"]})
    huggingface.write(contents, tmp_path / "theirs")
    classifier, out = str(tmp_path / "classifier"), str(tmp_path / "out")
    assert main(["import", str(tmp_path / "theirs"), "--out", classifier]) == 0
    data = str(files / "labelled.tsv")
    assert main(["finetune", classifier, data, "--out", out, "--steps", "2"]) == 0
    run = minillm.load(out)
    assert (run.config.head, run.config.pooling, run.config.classes) == ("tanh", "first", 2)
    np.testing.assert_allclose(run.model.params["head.W"], model.params["head.W"], atol=0.1)
    run.export(tmp_path / "again")
    values = json.loads((tmp_path / "again" / "config.json").read_text())
    assert values["architectures"] == ["RobertaForSequenceClassification"]
    assert values["id2label"] == {"0": "cat", "1": "dog"}
