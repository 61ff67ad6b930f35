"""Fine-tuning: classifiers and chat models from trained ones, LoRA's updates, and their files."""

import json
import re
import shutil

import chatting
import numpy as np
import pytest
from kind_rows import ASKED, PREFERENCES, TALKS, lines, tsv

import minillm
from minillm.cli import main
from minillm.cli.train import _kind_for
from minillm.errors import InputError
from minillm.quantised.matrix import dense
from minillm.runs.folder import RunFolder
from minillm.runs.kinds.language import last_match
from minillm.training.trained import depths

LABELLED = tsv(
    (label, f"the {animal} sat on the {place}")
    for label, place in (("low", "mat"), ("high", "log"), ("high", "dog"))
    for animal in ("cat", "dog", "mat", "hat and the cat", "cat and the dog", "goat")
)
LORA = {"lora_rank": 2, "lora_alpha": 3, "learning_rate": 0.05}
TEXTS = ["the cat sat on the mat", "the dog", ""]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "labelled.tsv"
    path.write_text(LABELLED)
    return path


@pytest.fixture
def tune(runs, labelled, tmp_path):
    """Makes a classifier of the run of a row, or of one in a folder; returns it."""

    def tuned(base, out="run", **settings):
        init = base if "/" in str(base) else runs(base)
        given = {"files": labelled, "init": init, "steps": 3, "batch": 4, "quiet": True}
        return minillm.train("finetuned", tmp_path / out, **{**given, **settings})

    return tuned


# --- classifiers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("bert", {"mask.W", "mask.b", "mask.norm.gain", "mask.norm.bias", "mask.output_b"}),
        ("byte pairs", set()),
        ("rnn", {"output.b"}),  # it shares the embeddings
    ],
)
def test_a_classifier_of_a_model_that_reads(name, left, tune, runs, labelled):
    told = []
    run, base = tune(name, quiet=False, report=told.append), minillm.load(runs(name))
    [line] = [line for line in told if " weights taken; " in line]
    assert line.startswith(f"from {base.path} ({base.kind.name}): ")
    assert "; new: output.W, output.b" in line
    assert {*line.partition("; left: ")[2].split(", ")} - {""} == left
    assert run.tokenizer.to_dict() == base.tokenizer.to_dict()
    assert run.evaluate(files=labelled)["items"] == 18
    for text, answer in zip(TEXTS, run.classify(TEXTS), strict=True):
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert run.classify(text).probability == pytest.approx(answer.probability, rel=1e-5)


def test_a_classifier_of_a_classifier(tune, tmp_path):
    """With the same labels it goes on; with others, the last layer is new."""
    first, told = tune("bert"), []
    tune(first.path, out="second", report=told.append)
    assert not [line for line in told if "new:" in line]
    other = tmp_path / "other.tsv"
    other.write_text(LABELLED.replace("low", "a").replace("high", "b"))
    tune(first.path, out="third", files=other, report=told.append)
    [line] = [line for line in told if "new:" in line]
    assert line.endswith("; new: output.W, output.b; left: output.W, output.b")


def test_a_bert_reads_the_frame_and_no_more_than_its_context(tune):
    run = tune("bert", max_length=300)
    long = run.classify("the cat " * 100)
    assert long == run.classify("the cat " * 5)  # 10 tokens, next to [CLS] and [SEP]
    assert long != run.classify("the cat " * 4)


@pytest.mark.parametrize(("name", "freeze"), [("bert", "3"), ("byte pairs", "encoder")])
def test_frozen_weights_keep_their_bits_and_cost_no_moments(name, freeze, tune, runs):
    run, base = tune(name, freeze=freeze), minillm.load(runs(name))
    arrays, _ = RunFolder(run.path).load_resume()
    for weight, depth in depths(run.model).items():
        theirs = base.model.params.get(weight.removeprefix("encoder."))
        of_encoder = weight.startswith("encoder.")
        frozen = of_encoder if freeze == "encoder" else depth < int(freeze)
        assert (f"optimiser/m.{weight}" in arrays) == (not frozen)
        if theirs is not None and of_encoder:
            assert np.array_equal(run.model.params[weight], theirs) == frozen


# --- LoRA -----------------------------------------------------------------------------------------


def test_several_updates_of_one_run_and_merged(tune, tmp_path, capsys):
    """Each has its own outputs; merged, the outputs are the same without the other run."""
    one, two = tune("gpt", out="one", **LORA), tune("gpt", out="two", **LORA, seed=5)
    found = one.classify(TEXTS)
    assert two.classify(TEXTS) != found
    matrices = [n for n, p in one.model.params.items() if p.ndim == 2 and ".blocks." in n]
    stored = {"output.W", "output.b", *(f"{n}.{side}" for n in matrices for side in "AB")}
    assert one.folder.load_model().keys() == stored
    capsys.readouterr()
    assert main(["merge", str(one.path), "--out", str(tmp_path / "whole")]) == 0
    assert f"saved in {tmp_path / 'whole'}\n" in capsys.readouterr().out
    merged = minillm.load(tmp_path / "whole")
    assert merged.classify(TEXTS) == found
    assert merged.folder.load_model().keys() == merged.model.params.keys()
    assert tune(one.path, out="three", **LORA).classify(TEXTS) != found  # on top of the others


def refusal(call, *arguments, **options):
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_a_base_that_has_changed(tune, runs, tmp_path):
    base = shutil.copytree(runs("bert"), tmp_path / "base")
    out = tune(base, **LORA).path
    moved = base.rename(tmp_path / "moved")
    assert f"{out}: its weights are additions to others: {base}" in refusal(minillm.load, out)
    shutil.copytree(runs("bert"), base)
    other = minillm.load(base)
    other.model.params["embedding.E"][0] += 1
    other.folder.save_model(other.model.params, {})
    changed = f"{base}: its weights have changed since the run was started"
    assert changed in refusal(minillm.load, out)
    assert changed in refusal(minillm.train, "finetuned", out, resume=True)
    shutil.rmtree(base)
    moved.rename(base)
    folder = minillm.load(out).folder
    folder.save_model({n: a.astype(float) for n, a in folder.load_model().items()}, {})
    assert "to a weight (I, O) of float32, found float64 (" in refusal(minillm.load, out)


# --- PEFT's format --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["byte pairs", "llama", "bert", "talker"])
def test_updates_for_other_programs_and_back(name, tune, runs, tmp_path, capsys):
    """Of a language model, of the encoder of a classifier, or of quantised weights."""
    base = minillm.load(runs(name))
    if name == "bert":
        run = tune(name, **LORA)
    elif name == "talker":
        run = minillm.train(out=tmp_path / "run", **runs.given("chat", **LORA))
    else:
        given = {**runs.given(name, init=base.path), "steps": 3, **LORA}
        run = minillm.train(out=tmp_path / "run", **given)
    adapter, back = tmp_path / "adapter", tmp_path / "back"
    run.export(adapter, "peft")
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 3.0)
    assert config["base_model_name_or_path"] == str(base.path)
    assert main(["import", str(adapter), "--init", str(base.path), "--out", str(back)]) == 0
    assert f" weights of additions to those of {base.path}\n" in capsys.readouterr().out
    found = minillm.load(back)
    for weight, array in run.model.params.items():
        weight = weight.removeprefix("encoder.")
        if weight in found.model.params and weight not in ("output.W", "output.b"):
            theirs = dense(found.model.params[weight])
            np.testing.assert_allclose(theirs, dense(array), rtol=1e-5, atol=1e-6)
    if name in ("byte pairs", "llama"):
        assert found.generate("the", length=5, seed=1) == run.generate("the", length=5, seed=1)
    if name == "byte pairs":
        found.export(tmp_path / "whole", "huggingface")
        assert (tmp_path / "whole" / "model.safetensors").exists()


def test_what_is_no_adapter(tune, runs, tmp_path, capsys):
    whole, adapter = tune("bert"), tmp_path / "adapter"
    all_weights = "expected a run with a lora_rank, found one with all weights"
    assert all_weights in refusal(whole.export, tmp_path / "x")
    found = refusal(whole.export, tmp_path / "x", "huggingface")
    assert "format: a run of finetuned is exported as peft, found 'huggingface'" in found
    tune("byte pairs", out="y", **LORA).export(adapter)
    for command, message in (
        (["merge", whole.path], all_weights),
        (["import", adapter], "expected init, the run that its additions are for"),
        (["import", adapter, "--init", runs("lm")], "or decoder, found one of lm"),
        (["import", adapter, "--init", runs("bert")], ".query.lora_A.weight"),
        (["import", runs("bert"), "--init", runs("bert")], "a folder with adapter_config.json"),
    ):
        assert main([*map(str, command), "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x" / "config.json").exists()


# --- chat models ----------------------------------------------------------------------------------

CHAT = {"steps": 6, "validations": 2, "max_length": 64, "batch": 2, "lora_rank": 2, "quiet": True}
IDS = np.array([[5, 9, 2, 7, 1]])


@pytest.fixture(scope="module", params=["Q8_0", "F32"])
def base(request, tmp_path_factory):
    """A model of another program, with weights in integers or in floats."""
    folder = tmp_path_factory.mktemp("base")
    return chatting.write_gguf(folder / f"{request.param}.gguf", weights=request.param)


def converse(base, out, content, kind="chat", **settings):
    path = out.with_suffix(".jsonl")
    path.write_text(content)
    return minillm.train(kind, out, files=path, init=base, **{**CHAT, **settings})


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    return converse(base, tmp_path_factory.mktemp("tuned") / "run", TALKS)


def test_a_fine_tuned_chat_model(tuned, base):
    before = minillm.load(base)
    assert all(name.endswith((".A", ".B")) for name in tuned.folder.load_model())
    assert not np.array_equal(before.model.forward(IDS)[0], tuned.model.forward(IDS)[0])
    losses = [
        record["validation_loss"]
        for record in tuned.folder.read_metrics()
        if "validation_loss" in record
    ]
    assert losses[-1] < losses[0]
    state = tuned.reader.zero_state(1)
    for t in range(5):
        logits, state = tuned.reader.read(IDS[:, t : t + 1], state)
    whole = tuned.model.forward(IDS)[0][:, -1]
    np.testing.assert_allclose(logits, whole, rtol=1e-3, atol=1e-3)


def test_merged_it_needs_no_base(tuned, base, tmp_path, capsys):
    """Of quantised weights the merged ones have 8 bits; and it can be fine-tuned again."""
    packed, before = base.name == "Q8_0.gguf", minillm.load(base).model.forward(IDS)[0]
    theirs = tuned.model.forward(IDS)[0]
    for command, most in ((["merge"], 0.5), (["quantise", "--to", "f32"], 0.1)):
        out = tmp_path / command[0]
        capsys.readouterr()
        assert main([command[0], str(tuned.path), *command[1:], "--out", str(out)]) == 0
        told, merged = capsys.readouterr().out.splitlines()[0], minillm.load(out)
        ours = merged.model.forward(IDS)[0]
        assert np.abs(ours - theirs).max() < most * np.abs(before - theirs).max()
        if command == ["merge"]:
            size = sum(array.size for array in merged.model.params.values())
            assert told.startswith(f"{size:,} weights, those of {base} ")
            assert told.endswith(f"with the additions of {tuned.path}" + ", as q8_0" * packed)
            assert (out / ("model.gguf" if packed else "model.safetensors")).exists()
            assert merged.chat_template == tuned.chat_template
            assert converse(out, tmp_path / "again", TALKS, steps=1)


@pytest.mark.deep
def test_a_conversation_may_begin_with_a_greeting(base, tmp_path):
    user, assistant = chatting.user, chatting.assistant
    talks = [[assistant("the cat"), user(asked), assistant(told)] for asked, told in ASKED]
    content = lines(*({"messages": talk} for talk in [*talks, [assistant("the log")]]))
    run = converse(base, tmp_path / "run", content)
    results = run.evaluate(files=tmp_path / "run.jsonl")
    assert results["conversations"] == len(talks) + 1
    found = refusal(minillm.load(base).evaluate, files=tmp_path / "run.jsonl", pattern="x")
    assert f"run.jsonl, line {len(talks) + 1}: expected a question before the last answer" in found


def test_a_template_that_refuses_a_conversation_is_told_with_its_line(tmp_path):
    pytest.importorskip("jinja2")
    strict, file = tmp_path / "strict", tmp_path / "run.jsonl"
    minillm.load(chatting.write_gguf(tmp_path / "base.gguf")).save(strict)
    source = "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('No') }}{% endif"
    source += " %}{{ m.content }}<|im_end|>{% endfor %}"
    values = json.loads((strict / "chat.json").read_text())
    (strict / "chat.json").write_text(json.dumps(values | {"source": source}))
    content = TALKS + lines({"prompt": "bad", "completion": "x"})
    message = f"{file}, line {len(ASKED) + 1}: the chat template: No"
    assert refusal(converse, strict, tmp_path / "run", content) == message
    assert refusal(minillm.load(strict).evaluate, files=file) == message


def test_long_conversations_are_cut_or_left_out_and_counted(tmp_path):
    """Ten questions are enough.  Each has three conversations, which are held out together."""
    told, long, talks = [], "the cat " * 90, []
    for asked, answer in ASKED[:10]:
        short = [chatting.user(asked), chatting.assistant(answer)]
        more = [chatting.user(long), chatting.assistant(long)]
        talks += [short, [*short, *more], [short[0], more[1]]]
    base, options = chatting.write_gguf(tmp_path / "base.gguf"), {"steps": 1, "report": told.append}
    converse(base, tmp_path / "run", lines(*({"messages": talk} for talk in talks)), **options)
    assert "18 for training, 2 held out" in told
    assert "10 are cut to 64 tokens" in told
    assert "10 are left out: they exceed 64 tokens" in told


def test_conversations_are_measured(tuned, tmp_path):
    file = tmp_path / "two.jsonl"
    talk = [chatting.user("cat"), chatting.assistant("the 1 2"), chatting.user("and")]
    file.write_text(lines({"messages": talk}, {"prompt": "dog", "completion": "the 3"}))
    results = tuned.evaluate(files=file, pattern="[a-z]{90}")  # in no answer: all are alike
    assert results["exact_match"] == 1.0
    assert results["conversations"] == 2
    assert results["nats_per_token"] > 0
    assert "exact_match" not in tuned.evaluate(files=file)
    assert "expected a regular expression" in refusal(tuned.evaluate, files=file, pattern="[")
    assert "expected a FILE of conversations" in refusal(tuned.evaluate, pattern="x")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("[0-9]+", "12 and 345.", "345"),
        (r"answer is (\w+)", "the answer is no, the answer is yes", "yes"),
        ("x", "none", None),
    ],
)
def test_the_last_match_is_the_answer(pattern, text, found):
    assert last_match(re.compile(pattern), text) == found


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("", "", "chat"),
        ("a.tsv", "good\ta fine film\n", "finetuned"),
        ("a.jsonl", lines({"label": "x", "text": "a fine film"}), "finetuned"),
        ("a.jsonl", TALKS, "chat"),
        ("a.jsonl", PREFERENCES, "preferences"),
    ],
)
def test_finetune_finds_the_kind_in_the_data(name, content, kind, tmp_path):
    base, files = chatting.write_gguf(tmp_path / "base.gguf"), []
    if name:
        files = [str(tmp_path / name)]
        (tmp_path / name).write_text(content)
    assert _kind_for([str(base), *files, "--out", "x"]) == kind
    assert _kind_for([str(base), str(tmp_path), "--out", "x"]) == "finetuned"
