"""The life of a decoder after Llama: quantised, fine-tuned, merged, exported, imported again."""

import json

import numpy as np
import pytest
from chatting import TEMPLATE, TOKENIZER, user

import minillm
from minillm.cli import main
from minillm.models.decoders import FAMILIES, Decoder, DecoderConfig
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import RunConfig, find_kind

pytestmark = pytest.mark.filterwarnings("ignore:.*llama.cpp ignores the window")


def save(path, family):
    window = {"window": 40} if FAMILIES[family].windows else {}
    sizes = {"context": 128, "layers": 6, "heads": 2, "key_heads": 1, "width": 32}
    config = DecoderConfig(len(TOKENIZER), **sizes, feed_forward=32, family=family, **window)
    model, kind = Decoder(config, np.random.default_rng(0)), find_kind("decoder")
    for array in model.params.values():
        if array.ndim == 2:
            array *= 8
    data = {"files": [], "documents": True, "imported": "x"}
    stored = RunConfig(kind, config, kind.settings(unit="bpe"), data)
    save_run(RunFolder(path), stored, model.params, {"tokenizer": TOKENIZER}, chat=TEMPLATE)


FAST = ("qwen2", "gemma3")  # all changes but layers without rotation
EACH = [pytest.param(n, marks=() if n in FAST else pytest.mark.deep) for n in FAMILIES]


@pytest.mark.parametrize("family", EACH)
def test_the_life_of_a_decoder(family, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("first", "packed", "chat", "merged", "back")]
    first, packed, chat, merged, back = paths
    save(first, family)
    chats = tmp_path / "chats.jsonl"
    chats.write_text(
        "".join(
            json.dumps({"prompt": f"the {one} {other} sat on", "completion": f"the {other}"}) + "\n"
            for one in ("cat", "dog", "mat", "log")
            for other in ("cat", "dog", "mat", "log")
        ).replace("sat on", "sat on the mat and", 6)
    )
    commands = [
        ["quantise", first, "--to", "q8_0", "--out", packed],
        ["finetune", packed, str(chats), "--out", chat, "--lora-rank", "2", "--steps", "2"],
        ["merge", chat, "--out", merged],
        ["export", merged, f"{tmp_path}/x.gguf"],
        ["import", f"{tmp_path}/x.gguf", "--out", back],
    ]
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err
    runs = [minillm.load(path) for path in paths]
    back = "llama" if family == "mistral" else "decoder"  # a GGUF file has no windows for it
    assert [run.kind.name for run in runs] == ["decoder", "decoder", "chat", "chat", back]
    assert {run.model.config.family for run in runs[:4]} == {family}
    expected = "".join(runs[3].chat([user("the cat")], length=12, temperature=0))
    assert "".join(runs[4].chat([user("the cat")], length=12, temperature=0)) == expected
    assert runs[0].evaluate(text="the cat sat on the mat")["nats_per_token"] > 0
    runs[2].look("the cat")
