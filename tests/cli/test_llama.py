"""The command line of Llama: what it shares with that of GPT is tested there."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
from other_programs import export_folder
from published import of_pairs

import minillm
from minillm.cli import main
from minillm.decoding import CausalReader
from minillm.errors import InputError
from minillm.formats.peft import read_adapter, write_adapter
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.rotary_scaling import Llama3
from minillm.quantised.matrix import dense
from minillm.runs.config import read_config, save_run
from minillm.runs.conversion import quantise
from minillm.runs.folder import RunFolder
from minillm.text import BytePairs


@pytest.fixture(scope="module")
def llama(made):
    """A Llama of four steps."""
    return made("llama", "--steps", "4", *tiny.LLAMA)


def test_a_fresh_decoder_of_characters_has_ngrams_and_stays_here(text_file, tmp_path, capsys):
    """Other programs have none, so it is neither exported nor quantised."""
    run = tmp_path / "run"
    command = ["train", "decoder", text_file, "--out", str(run), *tiny.GPT]
    assert main([*command, "--steps", "1"]) == 0
    assert main(["train", "decoder", "--out", str(run), "--resume", "--steps", "2"]) == 0
    assert minillm.load(run).model.config.ngrams == 4
    assert len(minillm.load(run).generate("the ", length=40, seed=1)) == 44
    assert main(["look", str(run), "the cat", "--out", str(tmp_path / "look.html")]) == 0
    capsys.readouterr()
    out = str(tmp_path / "out")
    for refused in (
        ["export", str(run), out, "--format", "gguf"],
        ["quantise", str(run), "--to", "q8_0", "--out", out],
    ):
        assert main(refused) == 2
        assert "expected a model without n-grams" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    words = str(tmp_path / "words")
    assert main([*command, "--out", words, "--unit", "word", "--steps", "1"]) == 0
    assert minillm.load(words).model.config.ngrams is None


@pytest.mark.deep
def test_sizes_without_an_option_come_from_the_run_of_init(llama, text_file, tmp_path):
    """Otherwise an imported model would go on with other angles and another output."""
    source = minillm.load(llama)
    config = replace(
        source.model.config, rotary_base=77.0, tied=False, rope_scaling=Llama3(4.0, 1.0, 4.0, 12.0)
    )
    folder, params = RunFolder(tmp_path / "imported"), source.model.params
    stored = replace(read_config(source.folder), config=config)
    params = {**params, "output.W": params["embedding.E"].T.copy()}
    save_run(folder, stored, params, {"tokenizer": source.tokenizer})
    out = str(tmp_path / "adapted")
    train = ["train", "llama", text_file, "--init", str(folder.path), "--out", out, "--steps", "2"]
    assert main(train) == 0
    assert main(["train", "llama", "--out", out, "--resume", "--steps", "3"]) == 0
    opened = minillm.load(out)
    assert opened.model.config == config
    assert (source.settings.optimiser, opened.settings.optimiser) == ("muon", "adamw")
    assert main([*train, "--overwrite", "--lora-rank", "1"]) == 0
    assert minillm.load(out).model.config == config


def test_additions_there_and_back_and_a_classifier(llama, text_file, tmp_path):
    """LoRA's updates in the format of PEFT; and a Llama that labels texts."""
    out, adapter, back = (str(tmp_path / name) for name in ("out", "adapter", "back"))
    lora = ["--lora-rank", "2", "--steps", "3", "--learning-rate", "0.05"]
    assert main(["train", "llama", text_file, "--init", str(llama), "--out", out, *lora]) == 0
    assert main(["export", out, adapter, "--format", "peft"]) == 0
    assert main(["import", adapter, "--init", str(llama), "--out", back]) == 0
    run, found, before = minillm.load(out), minillm.load(back), minillm.load(llama)
    for name, array in run.model.params.items():
        np.testing.assert_allclose(found.model.params[name], array, rtol=1e-5, atol=1e-6)
        assert np.array_equal(array, before.model.params[name]) == (".W_" not in name)
    labelled, tuned = tmp_path / "labelled.tsv", str(tmp_path / "tuned")
    labelled.write_text("a\tthe cat sat\nb\tthe dog\n" * 10)
    assert main(["finetune", str(llama), str(labelled), "--out", tuned, *lora]) == 0
    assert minillm.load(tuned).classify("the cat sat").label in "ab"
    assert main(["export", tuned, str(tmp_path / "of_encoder")]) == 0


def test_bos_precedes_what_is_read_and_is_not_written(tmp_path, monkeypatch):
    tokenizer = of_pairs([], ["<s>"], bos="<s>", framed=["bos"])
    model = Llama(LlamaConfig(257, 16, 1, 2, width=8), np.random.default_rng(0))
    export_folder(model, tokenizer, tmp_path / "theirs")
    assert main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "run")]) == 0
    run, read = minillm.load(tmp_path / "run"), []
    original = CausalReader.read

    def noted(reader, ids, state):
        read.append(ids.tolist())
        return original(reader, ids, state)

    monkeypatch.setattr(CausalReader, "read", noted)
    assert "".join(run.write("ab", length=1, temperature=0, stop=["c"]))[:2] == "ab"
    assert read[0] == [[256, *b"ab"]]
    assert "".join(run.write("", length=1, temperature=0))[:3] != "<s>"
    assert run.evaluate(text="abc\n")["tokens"] == 4  # the first one after BOS
    with pytest.raises(InputError, match="stop: expected a single token"):
        run.write("a", stop=["ab"])


@pytest.mark.parametrize("form", ["f32", "q8_0"])
def test_an_adapter_with_weights_that_replace_others(tmp_path, fails, form):
    """Of a run of floats, or a quantised one: in a run, in an export, and merged."""
    base, back, again = tmp_path / "base", tmp_path / "back", tmp_path / "again"
    source = Llama(LlamaConfig(257, 16, 2, 2, width=32), np.random.default_rng(0))
    export_folder(source, BytePairs([]), tmp_path / "llama")
    assert main(["import", str(tmp_path / "llama"), "--out", str(tmp_path / "floats")]) == 0
    quantise(tmp_path / "floats", form.upper(), base)
    model = minillm.load(base).model
    rng, gain = np.random.default_rng(0), np.full(model.config.width, 1.5, np.float32)
    W = "blocks.0.attention.W_o"
    I, O = model.params[W].shape
    arrays = {
        f"{W}.A": rng.standard_normal((I, 2)).astype(np.float32),
        f"{W}.B": rng.standard_normal((2, O)).astype(np.float32),
        "norm.gain": gain,
    }
    write_adapter(tmp_path / "adapter", model, arrays, 2.0, str(base))
    assert main(["import", str(tmp_path / "adapter"), "--init", str(base), "--out", str(back)]) == 0
    run = minillm.load(back)
    np.testing.assert_array_equal(run.model.params["norm.gain"], gain)
    whole = dense(run.model.params[W]) - dense(model.params[W])
    np.testing.assert_allclose(whole, 2 * arrays[f"{W}.A"] @ arrays[f"{W}.B"], rtol=1e-3, atol=1e-3)
    assert len("".join(run.write("a", length=4, seed=0))) > 1
    run.export(again, format="peft")
    found, _, _ = read_adapter(again, minillm.load(base).model)
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["norm.gain"], gain)
    assert main(["merge", str(back), "--out", str(tmp_path / "merged")]) == 0
    merged = minillm.load(tmp_path / "merged").model
    np.testing.assert_array_equal(merged.params["norm.gain"], gain)
    error = dense(merged.params[W]) - dense(run.model.params[W])
    assert np.abs(error).max() < (1e-6 if form == "f32" else 0.1)
