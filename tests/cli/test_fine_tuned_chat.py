"""``finetune`` of a model that chats, called as a user calls it."""

import json

import chatting
import numpy as np
import pytest
from tiny import stopped_after

import minillm
from minillm.cli import main
from minillm.cli.train import _kind_for
from minillm.formats.gguf import export_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.training.conversations import ChatTask
from minillm.training.preferences import PreferenceTask

WORDS = ("cat", "dog", "mat", "log", "the cat", "the dog", "sat", "on", "user", "and")
QUICK = (
    "--steps",
    "6",
    "--validations",
    "2",
    "--max-length",
    "64",
    "--batch",
    "2",
    "--lora-rank",
    "2",
)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def chats(folder):
    return lines(
        folder / "chats.jsonl",
        [{"prompt": f"{a} {b}", "completion": f"the {a}"} for a in WORDS for b in WORDS[:3]],
    )


@pytest.fixture(scope="module")
def preferences(folder):
    rows = [{"prompt": f"{a} {b}", "chosen": a, "rejected": b} for a in WORDS for b in WORDS[:3]]
    return lines(folder / "preferences.jsonl", rows)


@pytest.fixture(scope="module", params=["packed", "floats"])
def base(request, folder):
    """An imported run that chats."""
    name = request.param
    config = LlamaConfig(
        len(chatting.TOKENIZER), 128, 2, heads=2, key_heads=1, width=32, feed_forward=32
    )
    model = Llama(config, np.random.default_rng(0))
    file = folder / f"{name}.gguf"
    type = "Q8_0" if name == "packed" else "F32"
    export_gguf(model, chatting.TOKENIZER, file, type, chatting.TEMPLATE)
    assert main(["import", str(file), "--out", str(folder / name)]) == 0
    return folder / name


@pytest.fixture(scope="module")
def tuned(base, folder, chats):
    out = folder / f"tuned-{base.name}"
    assert main(["finetune", str(base), str(chats), "--out", str(out), *QUICK]) == 0
    return out


def test_only_additions_are_stored_and_the_answers_change(base, tuned):
    before, after = minillm.load(base), minillm.load(tuned)
    assert (tuned / "model.safetensors").stat().st_size < (base.stat().st_size + 60_000)
    ids = np.array([[1, 2, 3, 4]])
    assert not np.array_equal(before.model.forward(ids)[0], after.model.forward(ids)[0])
    assert isinstance("".join(after.chat([chatting.user("cat")], length=3)), str)


def test_the_loss_falls(tuned):
    losses = [
        json.loads(line)["validation_loss"]
        for line in (tuned / "metrics.jsonl").read_text().splitlines()
        if "validation_loss" in line
    ]
    assert losses[-1] < losses[0]


def test_writing_by_steps_equals_reading_at_once(tuned):
    run = minillm.load(tuned)
    ids, state = np.array([[5, 9, 2, 7, 1]]), run.reader.zero_state(1)
    for t in range(5):
        logits, state = run.reader.read(ids[:, t : t + 1], state)
    np.testing.assert_allclose(logits, run.model.forward(ids)[0][:, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.deep
def test_preferences_continue_a_fine_tuned_run(tuned, preferences, folder, fails, capsys):
    """If its baseline is quantised, only after the two were merged."""
    out, begun = folder / f"better-{tuned.name}", tuned
    if tuned.name == "tuned-packed":
        line = fails("finetune", tuned, preferences, "--out", out, *QUICK)
        assert "first merge them, with minillm merge" in line
        begun = folder / "merged-first"
        assert main(["merge", str(tuned), "--out", str(begun)]) == 0
    assert main(["finetune", str(begun), str(preferences), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "preferred 0." in printed.err
    assert "sample:" in printed.out
    assert minillm.load(out).data["init"] == str(begun)


@pytest.mark.deep
def test_a_killed_run_resumes_with_the_same_bits(base, chats, preferences, folder):
    for name, data in (("chats", chats), ("preferences", preferences)):
        whole, broken = (folder / f"{kind}-{name}-{base.name}" for kind in ("whole", "broken"))
        command = ["finetune", str(base), str(data), *QUICK, "--out"]
        assert main([*command, str(whole)]) == 0
        task = {"chats": ChatTask, "preferences": PreferenceTask}[name]
        stopped_after(3, [*command, broken], task)
        assert main(["finetune", "--out", str(broken), "--resume"]) == 0
        ours, theirs = (minillm.load(path).model.params for path in (broken, whole))
        for key, array in theirs.items():
            if isinstance(array, np.ndarray):
                np.testing.assert_array_equal(ours[key], array)


def test_merged_and_quantised_again(tuned, folder):
    out = folder / f"merged-{tuned.name}"
    assert main(["quantise", str(tuned), "--to", "f32", "--out", str(out)]) == 0
    ids = np.array([[1, 2, 3, 4]])
    merged, whole = (minillm.load(path).model.forward(ids)[0] for path in (out, tuned))
    np.testing.assert_allclose(merged, whole, rtol=0, atol=0.05 * np.abs(whole).max())


def test_a_merged_run_needs_no_baseline_and_chats(tuned, folder, chats, capsys):
    """That of a quantised baseline has 8 bits, and can be fine-tuned again."""
    out = folder / f"merge-{tuned.name}"
    assert main(["merge", str(tuned), "--out", str(out)]) == 0
    packed = tuned.name == "tuned-packed"
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith(f"with the additions of {tuned}" + ", as q8_0" * packed)
    assert (out / ("model.gguf" if packed else "model.safetensors")).exists()
    tuned, merged = minillm.load(tuned), minillm.load(out)
    size = sum(array.size for array in merged.model.params.values())
    assert line.startswith(f"{size:,} weights, those of {tuned.data['init']} ")
    ids = np.array([[1, 2, 3, 4]])
    ours, theirs, before = (
        run.model.forward(ids)[0] for run in (merged, tuned, minillm.load(tuned.data["init"]))
    )
    assert np.abs(ours - theirs).max() < 0.5 * np.abs(before - theirs).max()
    assert merged.chat_template == tuned.chat_template
    assert isinstance("".join(merged.chat([chatting.user("cat")], length=3)), str)
    again = folder / f"again-{out.name}"
    assert main(["finetune", str(out), str(chats), "--out", str(again), *QUICK]) == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "x"}, 'line 2: expected "messages"'),
        ({"messages": []}, "line 2: expected a message of the assistant"),
        (
            {"messages": [{"role": "robot", "content": "x"}]},
            "role: expected str matching regex",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content: expected a value"),
        ({"prompt": 3, "completion": "x"}, "line 2: prompt: expected str | array, found 3"),
        ({"prompt": "x", "chosen": "a", "rejected": "b"}, "line 2: expected conversations only"),
    ],
)
def test_a_bad_line_is_told_by_its_number(row, expected, base, folder, fails):
    bad = lines(folder / "bad.jsonl", [{"prompt": "x", "completion": "y"}, row])
    out = folder / "none"
    assert expected in fails("finetune", base, bad, "--out", out, *QUICK)
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.deep
def test_a_conversation_may_begin_with_a_greeting(base, folder, fails, capsys):
    talks = [
        [chatting.assistant("the cat"), chatting.user(f"{a} {b}"), chatting.assistant("the dog")]
        for a in WORDS
        for b in WORDS[:3]
    ]
    talks.append([chatting.assistant("the log")])
    data = lines(folder / "greetings.jsonl", [{"messages": talk} for talk in talks])
    out = folder / f"greeted-{base.name}"
    assert main(["finetune", str(base), str(data), "--out", str(out), *QUICK]) == 0
    assert main(["eval", str(out), str(data), "--json"]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["conversations"] == len(talks)
    line = fails("eval", base, data, "--pattern", "x")
    assert f"{data}, line {len(talks)}: expected a question before the last answer" in line


def test_a_template_that_refuses_a_conversation_is_told_with_its_line(base, folder, fails):
    pytest.importorskip("jinja2")
    strict = folder / f"strict-{base.name}"
    minillm.load(base).save(strict)
    source = "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('No') }}{% endif"
    source += " %}{{ m.content }}<|im_end|>{% endfor %}"
    (strict / "chat.json").write_text(
        json.dumps(json.loads((strict / "chat.json").read_text()) | {"source": source})
    )
    rows = [{"prompt": f"{a} {b}", "completion": "the cat"} for a in WORDS for b in WORDS[:3]]
    data = lines(folder / "strict.jsonl", [*rows, {"prompt": "bad", "completion": "x"}])
    for command in (["finetune", "--out", folder / "none", *QUICK], ["eval"]):
        line = fails(command[0], strict, data, *command[1:])
        assert line == f"minillm: {data}, line {len(rows) + 1}: the chat template: No\n"


def test_what_cannot_be_fine_tuned(base, folder, chats, fails):
    few = lines(folder / "few.jsonl", [{"prompt": "x", "completion": "y"}] * 30)
    assert "ten different beginnings" in fails("finetune", base, few, "--out", folder / "n")
    line = fails("finetune", base, chats, "--out", folder / "n", "--max-length", "8")
    assert "expected a conversation of at most 8 tokens" in line
    if base.name == "packed":
        line = fails("finetune", base, chats, "--out", folder / "n", "--lora-rank", "0")
        assert "its weights are quantised, and cannot be trained" in line


def test_a_training_that_is_interrupted_measures_nothing_at_its_end(
    base, preferences, folder, capsys
):
    """Even where there was no validation yet."""
    out = folder / f"interrupted-{base.name}"
    stopped_after(1, ["finetune", base, preferences, *QUICK, "--out", out], PreferenceTask)
    printed = capsys.readouterr().out
    assert "to continue: " in printed
    assert "before" not in printed


def test_eval_of_conversations(tuned, folder, evaluated, fails):
    rows = [
        {"messages": [chatting.user("cat"), chatting.assistant("the 1 2"), chatting.user("and")]},
        {"prompt": "dog", "completion": "the 3"},
    ]
    data = lines(folder / "two.jsonl", rows)
    results = evaluated(tuned, data, "--pattern", "[a-z]{90}")  # in no answer: all are alike
    assert results["exact_match"] == 1.0
    assert results["conversations"] == 2
    assert results["nats_per_token"] > 0
    assert "exact_match" not in evaluated(tuned, data)
    assert "expected a regular expression" in fails("eval", tuned, data, "--pattern", "[")
    assert "expected a FILE of conversations" in fails("eval", tuned, "--pattern", "x")


def test_labels_still_make_a_classifier(base, folder):
    path, table = folder / "labels.jsonl", folder / "labels.tsv"
    lines(path, [{"label": "x", "text": "sat on the log"}])
    table.write_text("".join(f"{a}\t{b} sat on the log\n" for a in "xy" for b in WORDS))
    for data in (path, table):
        assert _kind_for([str(base), str(data)]) == "finetuned"
