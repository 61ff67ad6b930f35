"""``finetune``, ``--init`` and LoRA, called as a user calls them."""

import json
import re

import numpy as np
import pytest
from tiny import stopped_after

import minillm
from minillm.cli import main
from minillm.training.minibatches import MinibatchTask

TEXT = "the cat sat on the mat and the dog sat on the log.\nan unbelievable mouse ran.\n" * 40
LABELLED = "".join(
    f"{label}\tthe {animal} sat on the {place}\n"
    for label, place in (("low", "mat"), ("high", "log"), ("high", "tree"))
    for animal in ("cat", "dog", "mouse", "mouse and the cat", "cat and the dog", "unbelievable")
)
BLOCKS = ["--width", "8", "--heads", "2", "--layers", "2"]
KINDS = {
    "bert": [*BLOCKS, "--context", "16", "--vocabulary", "60"],
    "gpt": [*BLOCKS, "--context", "16", "--unit", "bpe", "--vocabulary", "280"],
    "lm": ["--hidden", "8", "--embedding", "4", "--layers", "2"],
    "tied": ["--hidden", "8", "--embedding", "8", "--tied", "--unit", "word"],
}
QUICK = ["--steps", "3", "--batch", "4"]


def kind_of(name):
    return "lm" if name == "tied" else name


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.txt").write_text(TEXT)
    (folder / "labelled.tsv").write_text(LABELLED)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory, files):
    """A small run of each kind of model that reads: not to be changed."""
    folder = tmp_path_factory.mktemp("bases")
    for name, options in KINDS.items():
        command = ["train", kind_of(name), str(files / "text.txt"), "--out", str(folder / name)]
        assert main([*command, *options, *QUICK]) == 0
    return folder


@pytest.fixture
def train(files, tmp_path):
    """Fine-tunes a run in a new folder; returns the folder."""

    def run(base, *options, name="run"):
        out = tmp_path / name
        command = ["finetune", base, files / "labelled.tsv", "--out", out, *QUICK, *options]
        assert main([str(part) for part in command]) == 0
        return out

    return run


# --- from a model that reads to a classifier ----------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_classifier_from(name, bases, train, files, capsys):
    out = train(bases / name)
    printed = capsys.readouterr().out
    assert f"from {bases / name} ({kind_of(name)}): " in printed
    assert " weights taken; new: output.W, output.b" in printed
    run, base = minillm.load(out), minillm.load(bases / name)
    assert run.tokenizer.to_dict() == base.tokenizer.to_dict()
    assert main(["eval", str(out), str(files / "labelled.tsv"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    found = run.classify(["the cat sat on the mat", "the dog", ""])
    assert results["items"] == 18
    for row in found:
        assert sum(row.probabilities.values()) == pytest.approx(1)
    alone = run.classify(["the dog"])[0]  # neighbours change nothing
    assert found[1].probability == pytest.approx(alone.probability, rel=1e-5)
    assert "FineTuned" in repr(run)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("bert", ["mask.W", "mask.b", "mask.norm.gain", "mask.norm.bias", "mask.output_b"]),
        ("gpt", []),
        ("lm", ["output.W", "output.b"]),
        ("tied", ["output.b"]),
    ],
)
def test_it_says_what_was_left(name, left, bases, train, capsys):
    train(bases / name)
    [line] = [line for line in capsys.readouterr().out.splitlines() if " weights taken; " in line]
    names = line.partition("; left: ")[2]
    assert sorted(names.split(", ") if names else []) == sorted(left)


def test_a_classifier_of_a_classifier(bases, train, capsys, files, tmp_path):
    """With the same labels it goes on; with others, the last layer is new."""
    first = train(bases / "bert")
    capsys.readouterr()
    train(first, name="second")
    assert "new:" not in capsys.readouterr().out
    other = tmp_path / "other.tsv"
    other.write_text(LABELLED.replace("low", "a").replace("high", "b"))
    command = ["finetune", str(first), str(other), "--out", str(tmp_path / "third"), *QUICK]
    assert main(command) == 0
    assert "; new: output.W, output.b; left: output.W, output.b\n" in capsys.readouterr().out


def test_a_bert_reads_the_frame_and_no_more_than_its_context(bases, train):
    run = minillm.load(train(bases / "bert", "--max-length", "300"))
    long = run.classify(["the cat " * 100])[0]
    assert long == run.classify(["the cat " * 7])[0]  # 14 tokens, beside [CLS] and [SEP]
    assert long != run.classify(["the cat " * 6])[0]


@pytest.mark.parametrize("lora", [[], ["--lora-rank", "2", "--lora-alpha", "3"]])
def test_resumed_equals_uninterrupted(lora, bases, train, files, tmp_path):
    options = ["--steps", "9", "--batch", "4", *lora]
    whole = minillm.load(train(bases / "bert", *options))
    stopped = tmp_path / "stopped"
    command = ["finetune", bases / "bert", files / "labelled.tsv", "--out", stopped]
    stopped_after(4, [*command, *options], MinibatchTask)
    assert main(["finetune", "--out", str(stopped), "--resume"]) == 0
    assert_same(whole, minillm.load(stopped))


def changed(one, other):
    """The names of the weights that differ."""
    params = other.model.params
    return {n for n, p in one.model.params.items() if not np.array_equal(p, params[n])}


def assert_same(one, other):
    """The weights of two runs, bit for bit."""
    assert one.model.params.keys() == other.model.params.keys()
    for name, array in one.model.params.items():
        np.testing.assert_array_equal(array, other.model.params[name])


# --- from a run to another of its kind ----------------------------------------------------

PAIRS = "".join(f"{a} {b}\t{b} {a}\n" for a in "abcdef" for b in "ghijkl")
OF_PAIRS = {
    "seq2seq": ["--hidden", "6", "--embedding", "4", "--layers", "2"],
    "transformer": [*BLOCKS, "--feed-forward", "8"],
    "joint": [*BLOCKS, "--feed-forward", "8", "--joint", "--post-norm"],
}
SEQ2SEQ = {"forward": "seq2seq", "joint": "transformer", "tied": "lm"}  # the others are kinds


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pairs.tsv").write_text(PAIRS)
    for name, options in OF_PAIRS.items():
        command = ["train", SEQ2SEQ.get(name, name), str(folder / "pairs.tsv")]
        assert main([*command, "--out", str(folder / name), *options, *QUICK]) == 0
    return folder


@pytest.fixture
def again(bases, pairs, files, tmp_path):
    """Trains a run of a kind that begins with a small one of that kind; returns both."""

    def run(name, *options, to="again"):
        base = (pairs if name in OF_PAIRS else bases) / name
        data = pairs / "pairs.tsv" if name in OF_PAIRS else files / "text.txt"
        command = ["train", SEQ2SEQ.get(name, name), str(data), "--out", str(tmp_path / to)]
        assert main([*command, "--init", str(base), *QUICK, *map(str, options)]) == 0
        return minillm.load(base), minillm.load(tmp_path / to)

    return run


EVERY = [*KINDS, *OF_PAIRS]


@pytest.mark.parametrize("name", EVERY)
def test_to_begin_with_itself_changes_nothing(name, again, monkeypatch, capsys):
    """A run of no steps: that which it began with, bit for bit."""
    monkeypatch.setattr("minillm.training.Options.progress", lambda *_: 1.0)
    base, run = again(name)
    assert_same(base, run)
    assert base.model.config == run.model.config
    printed = capsys.readouterr().out
    assert "weights taken" in printed
    assert "new:" not in printed
    assert "left:" not in printed


@pytest.mark.parametrize("name", EVERY)
def test_to_go_on_with_a_run_of_the_same_kind(name, again):
    base, run = again(name)
    assert changed(base, run) == set(base.model.params)
    for vocabulary in run.kind.vocabularies:
        assert getattr(run, vocabulary).to_dict() == getattr(base, vocabulary).to_dict()


def test_a_shorter_context_has_the_first_positions(again, monkeypatch):
    monkeypatch.setattr("minillm.training.Options.progress", lambda *_: 1.0)
    base, run = again("gpt", "--context", "9")
    P = base.model.params["positions.E"]
    np.testing.assert_array_equal(run.model.params["positions.E"], P[:9])


# --- what is frozen -----------------------------------------------------------------------


def moments(folder):
    """The names of the weights of which an optimiser keeps moments."""
    from minillm.runs.folder import RunFolder

    arrays, _ = RunFolder(folder).load_resume()
    return {name.removeprefix("optimiser/m.") for name in arrays if name.startswith("optimiser/m.")}


@pytest.mark.parametrize(
    ("name", "freeze"),
    [("bert", "0"), ("bert", "3"), ("gpt", "1"), ("gpt", "encoder"), ("lm", "2"), ("tied", "2")],
)
def test_frozen_weights_keep_their_bits_and_cost_no_moments(name, freeze, bases, train):
    from minillm.training.trained import depths

    out = train(bases / name, "--freeze", freeze)
    base, run = minillm.load(bases / name), minillm.load(out)
    for weight, depth in depths(run.model).items():
        theirs = base.model.params.get(weight.removeprefix("encoder."))
        of_encoder = weight.startswith("encoder.")
        frozen = of_encoder if freeze == "encoder" else depth < int(freeze)
        assert (weight in moments(out)) == (not frozen)
        if theirs is not None and weight.startswith("encoder."):
            assert np.array_equal(run.model.params[weight], theirs) == frozen


@pytest.mark.parametrize("name", EVERY)
def test_frozen_weights_of_every_kind(name, again, tmp_path):
    from minillm.training.trained import depths

    base, run = again(name, "--freeze", "2")
    depth = depths(run.model)
    for weight, array in run.model.params.items():
        assert np.array_equal(array, base.model.params[weight]) == (depth[weight] < 2)
    assert moments(tmp_path / "again") == {n for n, d in depth.items() if d >= 2}


# --- LoRA ---------------------------------------------------------------------------------

LORA = ["--lora-rank", "2", "--lora-alpha", "3"]


def test_additions_are_all_that_is_stored(bases, train):
    out = train(bases / "bert", *LORA, "--learning-rate", "0.01")
    base, run = minillm.load(bases / "bert"), minillm.load(out)
    names = run.folder.load_model().keys()
    matrices = [n for n, p in run.model.params.items() if p.ndim == 2 and ".blocks." in n]
    assert names == {"output.W", "output.b", *(f"{n}.{s}" for n in matrices for s in "AB")}
    assert moments(out) == names
    stored = run.folder.load_model()
    for name, array in run.model.params.items():
        if not name.startswith("encoder."):
            continue
        theirs = base.model.params[name.removeprefix("encoder.")]
        if name in matrices:
            assert stored[f"{name}.B"].any()
            expected = theirs + 1.5 * stored[f"{name}.A"] @ stored[f"{name}.B"]
            np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(array, theirs)


def test_several_additions_beside_one_baseline_and_merged(bases, train, tmp_path, capsys):
    """Each has its own outputs; merged, the outputs are the same without the baseline."""
    one = train(bases / "gpt", *LORA, "--learning-rate", "0.05", name="one")
    two = train(bases / "gpt", *LORA, "--seed", "5", name="two")
    texts = ["the cat sat on the mat", "the dog"]
    found = [minillm.load(folder).classify(texts) for folder in (one, two)]
    assert found[0] != found[1]
    whole = tmp_path / "whole"
    assert main(["merge", str(one), "--out", str(whole)]) == 0
    assert f"saved in {whole}\n" in capsys.readouterr().out
    merged = minillm.load(whole)
    assert merged.classify(texts) == found[0]
    assert merged.folder.load_model().keys() == merged.model.params.keys()
    third = train(one, *LORA, name="three")  # on top of another one's
    assert minillm.load(third).classify(texts) != found[0]


@pytest.mark.parametrize("name", EVERY)
def test_lora_of_every_kind(name, again):
    base, run = again(name, *LORA, "--learning-rate", "0.01")
    assert changed(base, run) == {n[:-2] for n in run.folder.load_model()} != set()
    assert all(".norm" not in n and "E" not in n for n in changed(base, run))


def test_a_baseline_that_has_changed(bases, train, tmp_path, fails):
    import shutil

    base = shutil.copytree(bases / "bert", tmp_path / "base")
    out = train(base, *LORA)
    moved = base.rename(tmp_path / "moved")
    line = fails("classify", out, out / "config.json")
    assert f"{out}: its weights are additions to others: {base}" in line
    shutil.copytree(bases / "bert", base)
    other = minillm.load(base)
    other.model.params["embedding.E"][0] += 1
    other.folder.save_model(other.model.params, {})
    line = fails("classify", out, out / "config.json")
    assert f"{base}: its weights have changed since the run was started" in line
    assert "its weights have changed" in fails("finetune", "--out", out, "--resume")
    shutil.rmtree(base)
    moved.rename(base)
    minillm.load(out)


# --- PEFT's format ------------------------------------------------------------------------


def test_additions_for_other_programs(again, bases, tmp_path, capsys):
    base, run = again("gpt", *LORA, "--learning-rate", "0.05")
    adapter, back = tmp_path / "adapter", tmp_path / "back"
    assert main(["export", str(run.path), str(adapter), "--format", "peft"]) == 0
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 3.0)
    assert config["base_model_name_or_path"] == str(base.path)
    command = ["import", str(adapter), "--init", str(bases / "gpt"), "--out", str(back)]
    assert main(command) == 0
    found = minillm.load(back)
    for name, array in run.model.params.items():
        np.testing.assert_allclose(found.model.params[name], array, rtol=1e-5, atol=1e-6)
    assert "".join(found.write("the", length=5, seed=1)) == "".join(
        run.write("the", length=5, seed=1)
    )
    assert main(["export", str(back), str(tmp_path / "whole")]) == 0
    assert (tmp_path / "whole" / "model.safetensors").exists()


def test_additions_to_the_encoder_of_a_classifier(bases, train, tmp_path):
    out = train(bases / "bert", *LORA, "--learning-rate", "0.05")
    adapter, back = tmp_path / "adapter", tmp_path / "back"
    assert main(["export", str(out), str(adapter)]) == 0
    command = ["import", str(adapter), "--init", str(bases / "bert"), "--out", str(back)]
    assert main(command) == 0
    classifier, found = minillm.load(out), minillm.load(back)
    for name, array in found.model.params.items():
        ours = classifier.model.params.get(f"encoder.{name}")
        if ours is not None:
            np.testing.assert_allclose(ours, array, rtol=1e-5, atol=1e-6)
    assert found.embed(["the cat"]).shape == (1, 8)


def test_what_is_no_adapter(bases, files, train, tmp_path, fails, capsys):
    whole = train(bases / "bert")
    assert f"{whole}: expected a run with a lora_rank, found one with all weights" in fails(
        "export", whole, tmp_path / "x"
    )
    assert "--format: a run of finetuned is exported as peft, found 'huggingface'" in fails(
        "export", whole, tmp_path / "x", "--format", "huggingface"
    )
    assert "expected a run with a lora_rank, found one with all weights" in fails(
        "merge", whole, "--out", tmp_path / "x"
    )
    adapter = tmp_path / "adapter"
    assert main(["export", str(train(bases / "gpt", *LORA, name="y")), str(adapter)]) == 0
    out = ["--out", tmp_path / "x"]
    assert "expected init, the run that its additions are for" in fails("import", adapter, *out)
    assert (
        "--init: expected a run of bert, gpt, encoder, llama or decoder, found one of lm"
        in fails("import", adapter, *out, "--init", bases / "lm")
    )
    command = ["import", str(adapter), *map(str, out), "--init", str(bases / "bert")]
    assert main(command) == 2
    assert "expected lora_A or lora_B of a linear layer of the baseline" in capsys.readouterr().err
    assert "--init: expected a folder with adapter_config.json" in fails(
        "import", bases / "bert", *out, "--init", bases / "bert"
    )
    assert not (tmp_path / "x" / "config.json").exists()


# --- what does not ------------------------------------------------------------------------


def test_wrong_input(bases, files, tmp_path, fails):
    out = [files / "labelled.tsv", "--out", tmp_path / "run", *QUICK]
    bert = ["finetune", bases / "bert", *out]
    assert "none: there is no run in it" in fails("finetune", tmp_path / "none", *out)
    expected = "RUN: expected the run to begin with: of lm, gpt, llama, decoder, bert, encoder"
    assert expected in fails("finetune", "--out", tmp_path / "run")
    assert "DATA: expected lines label<TAB>text, or a folder for each label; found none" in fails(
        "finetune", bases / "bert", "--out", tmp_path / "run"
    )
    for freeze in ("4", "-1", "all"):
        line = fails(*bert, "--freeze", freeze)
        assert f"--freeze: expected a number from 0 to 3, or encoder; found '{freeze}'" in line
    assert "--lora-alpha: expected lora_rank with it, found none" in fails(
        *bert, "--lora-alpha", "1"
    )
    assert "--lora-rank: expected at most 8, the smaller side of encoder.blocks.0." in fails(
        *bert, "--lora-rank", "9"
    )
    assert "pooling: expected one of" in fails(*bert, "--pooling", "attention")
    words = tmp_path / "words"
    options = ["--dimension", "4", "--epochs", "1", "--minimum-count", "1", "--out", str(words)]
    assert main(["train", "word2vec", str(files / "text.txt"), *options]) == 0
    line = fails("finetune", words, *out)
    assert "RUN: expected a run of lm, gpt, llama, decoder, bert, encoder or finetuned" in line
    assert "found one of word2vec" in line
    assert not (tmp_path / "run" / "config.json").exists()
    gpt = ["train", "gpt", files / "text.txt", "--out", tmp_path / "run", *QUICK]
    assert "--freeze: expected init with it, found none" in fails(*gpt, "--freeze", "1")
    assert "--lora-rank: expected init with it, found none" in fails(*gpt, "--lora-rank", "1")
    comes = "expected the one of init, because it is taken; found"
    init = ["--init", bases / "gpt"]
    assert f"--unit: {comes} word" in fails(*gpt, *init, "--unit", "word")
    assert f"--tokenizer: {comes} {bases / 'lm'}" in fails(*gpt, *init, "--tokenizer", bases / "lm")


def test_weights_that_do_not_fit(bases, pairs, files, tmp_path, fails):
    out = ["--out", tmp_path / "run", *QUICK]
    gpt = ["train", "gpt", files / "text.txt", *out, "--init", bases / "gpt"]
    assert re.search(r"gpt: [\w.]+: expected shape \(.*4.*\), found", fails(*gpt, "--width", "4"))
    assert "positions.E: expected shape (40, 8), found (16, 8)" in fails(*gpt, "--context", "40")
    assert "--init: expected a run of gpt, found one of bert in" in fails(*gpt[:-1], bases / "bert")
    assert "--freeze: expected a number: this model has no encoder" in fails(
        *gpt, "--freeze", "encoder"
    )
    seq2seq = ["train", "seq2seq", pairs / "pairs.tsv", *out, "--init", pairs / "seq2seq"]
    assert "because it is taken; found word" in fails(*seq2seq, "--unit", "word")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: model.update(kind="elman"), "encoder"),
        (lambda model: model.update(encoder=3), "encoder: expected an object, found 3"),
        (lambda model: model["encoder"].update(width=10**8), "expected shape"),
        (lambda model: model["encoder"].pop("vocabulary"), "'vocabulary' is missing"),
        (lambda model: model["encoder"].update(colour=1), "colour: there is no such setting"),
        (lambda model: model.update(pooling="attention"), "pooling: expected one of"),
    ],
)
def test_a_damaged_configuration(damage, message, bases, train, fails):
    out = train(bases / "bert")
    path = out / "config.json"
    config = json.loads(path.read_text())
    damage(config["model"])
    path.write_text(json.dumps(config))
    line = fails("classify", out, path)
    assert "config.json" in line
    assert "damaged" in line
    assert message in line
