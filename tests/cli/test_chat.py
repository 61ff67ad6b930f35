"""``minillm chat``, and ``Run.chat``."""

import json
import os
import signal
from dataclasses import replace

import chatting
import pytest
from chatting import assistant, system, user
from tiny import start

import minillm
from minillm.errors import InputError

GREEDY = ["--temperature", "0", "--length", "8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return chatting.save(tmp_path_factory.mktemp("chat") / "run")


@pytest.fixture(scope="module")
def answer(folder):
    """The answer to messages."""
    run = minillm.load(folder)
    return lambda *messages: "".join(run.chat([*messages], temperature=0, length=8))


# --- a conversation -------------------------------------------------------------------------------


def test_lines_are_answered_in_one_conversation(folder, answer, typed, prints):
    typed("the cat\n\nthe dog\n/reset\nthe cat\n/quit\nthe log\n")
    talk = [system("the mat"), user("the cat")]
    first = answer(*talk)
    second = answer(*talk, assistant(first), user("the dog"))
    printed = prints("chat", folder, *GREEDY, "--system", "the mat")
    assert printed == f"{first}\n{second}\n{first}\n"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('"""the cat\n\nthe dog"""\n', ["the cat\n\nthe dog"]),
        ('"""\nthe cat\n\nthe dog\n"""\n', ["the cat\n\nthe dog"]),
        ('  """the cat\n\nthe dog""" \n', ["the cat\n\nthe dog"]),
        ('"""the cat\n\nthe dog', ["the cat\n\nthe dog"]),  # the end of the input
        ('"""the cat"""\n/reset\nthe """cat\n', ["the cat", 'the """cat']),
    ],
)
def test_three_quotes_are_around_a_message_of_several_lines(
    text, messages, folder, answer, typed, prints
):
    typed(text)
    expected = "".join(f"{answer(user(message))}\n" for message in messages)
    assert prints("chat", folder, *GREEDY) == expected


def test_what_is_left_out_is_said(folder, typed, prints):
    typed("the cat sat on the mat\n" * 4)
    assert prints("chat", folder, *GREEDY).count("\n") >= 4
    line = "minillm: the context of 128 tokens no longer holds all turns: left out 3\n"
    assert line in prints.noted
    talk = [user("the cat sat"), assistant("on the mat"), user("the dog sat on the log")] * 4
    with pytest.warns(UserWarning, match="no longer holds all turns: left out 6"):
        "".join(minillm.load(folder).chat(talk, length=20))


def test_ctrl_c_stops_an_answer_and_not_the_program(tmp_path):
    """The first answer has no end within the test."""
    folder = chatting.save(tmp_path / "run", context=1 << 15)
    process = start("chat", folder, "--temperature", "0")
    process.stdin.write("the cat\n")
    process.stdin.flush()
    written = os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    while not written.endswith(b"\n"):
        written += os.read(process.stdout.fileno(), 1 << 16)
    _, error = process.communicate("/reset\n")
    assert (process.returncode, error) == (0, "")


# --- lines that are answered alone ----------------------------------------------------------------


def test_each_line_is_answered_in_its_line(folder, answer, typed, prints):
    good = [f"the {a} and the {b}" for a in ("cat", "dog", "mat") for b in ("log", "cat", "on")]
    typed("\n".join([*good, "", "the cat " * 80, "the log"]) + "\n")
    printed = prints("chat", folder, *GREEDY, "--system", "the mat", "--lines", status=2)
    expected = [answer(system("the mat"), user(line)) for line in (*good, "the log")]
    expected[-1:-1] = ["", ""]
    shown = [text.replace("\\", "\\\\").replace("\n", "\\n") for text in expected]
    assert printed.split("\n") == [*shown, ""]
    error, note = prints.noted.splitlines()
    assert note == "minillm: 1 of 12 lines are empty, first standard input, line 10"
    assert error.startswith(
        "minillm: standard input, line 11: messages: expected at most 120 tokens"
    )


def test_an_answer_is_one_line_and_stays_when_the_rest_is_stopped(
    folder, prints, typed, monkeypatch
):
    first = "a\nb \\n c\r\n"

    def stopped(*_, **named):
        yield from (first, "d")
        raise KeyboardInterrupt

    monkeypatch.setattr("minillm.decoding.Chat.answers", stopped)
    typed("the cat\nthe dog\nthe mat\n")
    shown, second, end = prints("chat", folder, "--lines", status=130).split("\n")
    assert (second, end) == ("d", "")
    assert shown.encode().decode("unicode_escape") == first


def test_answers_satisfy_a_schema(folder, typed, tmp_path, prints, fails):
    schema = {"type": "object", "properties": {"a": {"enum": ["the cat", 1]}}, "required": ["a"]}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    sampled = ["chat", folder, "--schema", file, "--temperature", "1", "--seed", "2"]
    typed("the cat\nthe dog\n")
    for text in prints(*sampled, "--lines").splitlines():  # JSON lines
        assert json.loads(text)["a"] in ("the cat", 1)
    typed("the cat\n")
    assert json.loads(prints(*sampled))["a"] in ("the cat", 1)
    run = minillm.load(folder)
    found = "".join(run.chat([user("the cat")], schema=schema, temperature=1, seed=2))
    assert json.loads(found)["a"] in ("the cat", 1)
    file.write_text('{"not": {}}')
    expected = f'minillm: {file}: schema: Unimplemented keys: ["not"]\n'
    assert fails("chat", folder, "--schema", file) == expected
    with pytest.raises(InputError, match=r"schema: expected a schema, found 1"):
        run.chat([user("x")], schema=1)


# --- the template of a run ------------------------------------------------------------------------


def test_a_run_that_is_trained_further_keeps_its_template(folder):
    given = {"text": chatting.TEXT * 20, "init": folder, "steps": 1, "batch": 1, "quiet": True}
    assert minillm.train("gpt", **given).chat_template == chatting.TEMPLATE


def test_the_run_says_how_it_is_sampled(tmp_path, fails):
    folder = chatting.save(tmp_path / "run")
    template = replace(chatting.TEMPLATE, sampling={"temperature": 1.0})
    values = json.loads((folder / "chat.json").read_text())
    (folder / "chat.json").write_text(json.dumps(values | template.to_dict()))
    run, talk = minillm.load(folder), [user("the cat")]
    sampled, greedy, same = (
        "".join(run.chat(talk, length=20, seed=1, **options))
        for options in ({}, {"temperature": 0}, {"temperature": 1})
    )
    assert sampled == same != greedy
    assert run.answering_in("llama3").sampling == run.answering.sampling
    for damaged, complaint in (
        ({"sampling": []}, "Expected `object`"),
        ({"sampling": {"top_k": 0}}, "sampling: top_k: "),
        ({"source": 3}, "chat.json: it is damaged: expected a chat template"),
    ):
        (folder / "chat.json").write_text(json.dumps(values | damaged))
        assert complaint in fails("chat", folder)


def test_what_cannot_chat(folder, fails, typed, runs):
    typed("the cat " * 60)
    assert "messages: expected at most 120 tokens, found" in fails("chat", folder, *GREEDY)
    assert "--template: expected one of chatml, " in fails("chat", folder, "--template", "x")
    typed(b"\xff\n")
    assert "line 1: expected UTF-8 text" in fails("chat", folder, "--lines")
    typed("the cat\n")
    for name in ("lm", "mamba"):
        assert "expected a run of gpt or chat" in fails("chat", runs(name))
    gpt = runs("gpt")
    assert "the run has no chat template: expected one of chatml" in fails("chat", gpt)
    assert "a chat needs a tokenizer of byte pairs" in fails("chat", gpt, "--template", "chatml")
    run = minillm.load(folder)
    with pytest.raises(InputError, match=r"^messages\[0\].role: expected one of"):
        run.chat([{"role": "robot", "content": "a"}])
    with pytest.raises(InputError, match="top_p: expected"):
        run.chat([user("the cat")], top_p=2)
