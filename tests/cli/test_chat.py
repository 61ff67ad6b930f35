"""``minillm chat``, and ``Run.chat``."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import chatting
import pytest
from chatting import assistant, system, user

import minillm
from minillm.cli import main
from minillm.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return chatting.save(tmp_path_factory.mktemp("chat") / "run")


@pytest.fixture
def typed(monkeypatch):
    """Give a command its standard input."""

    def type_(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return type_


GREEDY = ["--temperature", "0", "--length", "8"]
OPTIONS = {"temperature": 0, "length": 8}


def test_lines_are_answered_in_one_conversation(folder, typed, capsys):
    typed("the cat\n\nthe dog\n/reset\nthe cat\n/quit\nthe log\n")
    assert main(["chat", str(folder), *GREEDY, "--system", "the mat"]) == 0
    run = minillm.load(folder)
    talk = [system("the mat"), user("the cat")]
    first = "".join(run.chat(talk, **OPTIONS))
    second = "".join(run.chat([*talk, assistant(first), user("the dog")], **OPTIONS))
    assert capsys.readouterr().out == f"{first}\n{second}\n{first}\n"


def test_what_is_left_out_is_said(folder, typed, capsys):
    typed("the cat sat on the mat\n" * 4)
    assert main(["chat", str(folder), *GREEDY]) == 0
    output = capsys.readouterr()
    line = "minillm: the context of 128 tokens no longer holds all turns: left out 3\n"
    assert line in output.err
    assert output.out.count("\n") >= 4


def test_run_chat_warns_of_it(folder):
    talk = [user("the cat sat"), assistant("on the mat"), user("the dog sat on the log")] * 4
    with pytest.warns(UserWarning, match="no longer holds all turns: left out 6"):
        "".join(minillm.load(folder).chat(talk, length=20))


def test_nonsense(folder, fails, typed, tmp_path, lm, gpt):
    typed("the cat " * 60)
    assert "messages: expected at most 120 tokens, found" in fails("chat", folder, *GREEDY)
    assert "--template: expected one of chatml, " in fails("chat", folder, "--template", "x")
    typed("the cat\n")
    assert "expected a run of gpt or chat" in fails("chat", lm)
    assert "the run has no chat template: expected one of chatml" in fails("chat", gpt)
    assert "a chat needs a tokenizer of byte pairs" in fails("chat", gpt, "--template", "chatml")
    run = minillm.load(folder)
    with pytest.raises(InputError, match=r"^messages\[0\].role: expected one of"):
        run.chat([{"role": "robot", "content": "a"}])
    with pytest.raises(InputError, match="top_p: expected"):
        run.chat([user("the cat")], top_p=2)
    damaged = chatting.save(tmp_path / "damaged")
    (damaged / "chat.json").write_text('{"format_version": 1, "source": 3}')
    assert "chat.json: it is damaged: expected a chat template" in fails("chat", damaged)


def test_a_run_keeps_its_template_when_it_is_copied(folder, tmp_path):
    run = minillm.load(folder)
    run.save(tmp_path / "copy")
    assert minillm.load(tmp_path / "copy").answering.template == run.answering.template


def test_a_run_keeps_its_template_when_it_is_trained_further(folder, tmp_path):
    text, out, merged = tmp_path / "text.txt", tmp_path / "out", tmp_path / "merged"
    text.write_text(chatting.TEXT * 20)
    train = ["train", "gpt", str(text), "--init", str(folder), "--out", str(out), "--steps", "1"]
    for lora in ([], ["--lora-rank", "1", "--overwrite"]):
        assert main([*train, "--batch", "1", *lora]) == 0
        assert minillm.load(out).chat_template == chatting.TEMPLATE
    assert main(["merge", str(out), "--out", str(merged)]) == 0
    assert minillm.load(merged).chat_template == chatting.TEMPLATE


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
    for sampling, complaint in (([], "Expected `object`"), ({"top_k": 0}, "sampling: top_k: ")):
        (folder / "chat.json").write_text(json.dumps(values | {"sampling": sampling}))
        assert complaint in fails("chat", folder)


def test_ctrl_c_stops_an_answer_and_not_the_program(tmp_path):
    """The first answer has no end within the test."""
    folder = chatting.save(tmp_path / "run", context=1 << 15)
    command = [sys.executable, "-m", "minillm", "chat", str(folder), "--temperature", "0"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(b"the cat\n")
    process.stdin.flush()
    first = os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    rest, error = process.communicate(b"/reset\n")
    assert process.returncode == 0, error
    assert (first + rest).endswith(b"\n")
    assert error == b""


# --- messages of several lines, documents, files of messages ------------------------------------


def alone(folder, *messages):
    return "".join(minillm.load(folder).chat([user(message) for message in messages], **OPTIONS))


@pytest.mark.parametrize(
    "text",
    [
        '"""the cat\n\nthe dog"""\n',
        '"""\nthe cat\n\nthe dog\n"""\n',
        '  """the cat\n\nthe dog""" \n',
        '"""the cat\n\nthe dog',  # the end of the input
    ],
)
def test_three_quotes_are_around_a_message_of_several_lines(folder, typed, capsys, text):
    typed(text)
    assert main(["chat", str(folder), *GREEDY]) == 0
    assert capsys.readouterr().out == alone(folder, "the cat\n\nthe dog") + "\n"


def test_quotes_on_one_line_and_within_a_line(folder, typed, capsys):
    typed('"""the cat"""\n/reset\nthe """cat\n')
    assert main(["chat", str(folder), *GREEDY]) == 0
    answers = [alone(folder, message) for message in ("the cat", 'the """cat')]
    assert capsys.readouterr().out == "".join(f"{answer}\n" for answer in answers)


def test_lines_that_are_no_text(folder, fails, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    assert "line 1: expected UTF-8 text" in fails("chat", folder, "--lines")


def test_each_line_is_answered_in_its_line(folder, capsys, typed):
    good = [f"the {a} and the {b}" for a in ("cat", "dog", "mat") for b in ("log", "cat", "on")]
    typed("\n".join([*good, "", "the cat " * 80, "the log"]) + "\n")
    options = ["--system", "the mat"]
    assert main(["chat", str(folder), *GREEDY, *options, "--lines"]) == 2
    output = capsys.readouterr()
    run = minillm.load(folder)
    expected = [
        "".join(run.chat([system("the mat"), user(line)], **OPTIONS)) for line in (*good, "the log")
    ]
    expected[-1:-1] = ["", ""]
    shown = [answer.replace("\\", "\\\\").replace("\n", "\\n") for answer in expected]
    assert output.out.split("\n") == [*shown, ""]
    error, note = output.err.splitlines()
    assert note == "minillm: 1 of 12 lines are empty, first standard input, line 10"
    assert error.startswith(
        "minillm: standard input, line 11: messages: expected at most 120 tokens"
    )


def test_an_answer_of_several_lines_is_one_line(folder, capsys, typed, monkeypatch):
    answer = "a\nb \\n c\r\n"
    monkeypatch.setattr("minillm.decoding.Chat.answers", lambda *_, **named: iter([answer, "d"]))
    typed("the cat\nthe dog\n")
    assert main(["chat", str(folder), "--lines"]) == 0
    first, second, end = capsys.readouterr().out.split("\n")
    assert (second, end) == ("d", "")
    assert first.encode().decode("unicode_escape") == answer


def test_what_was_answered_remains_when_the_rest_is_stopped(folder, capsys, typed, monkeypatch):
    def stopped(*_, **named):
        yield "first"
        raise KeyboardInterrupt

    monkeypatch.setattr("minillm.decoding.Chat.answers", stopped)
    typed("the cat\nthe dog\n")
    assert main(["chat", str(folder), "--lines"]) == 130
    assert capsys.readouterr().out == "first\n"


def test_answers_satisfy_a_schema(folder, typed, tmp_path, capsys):
    schema = {"type": "object", "properties": {"a": {"enum": ["the cat", 1]}}, "required": ["a"]}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    typed("the cat\nthe dog\n")
    sampled = ["--schema", str(file), "--temperature", "1", "--seed", "2"]
    assert main(["chat", str(folder), *sampled, "--lines"]) == 0
    for text in capsys.readouterr().out.splitlines():  # JSON lines
        assert json.loads(text)["a"] in ("the cat", 1)
    typed("the cat\n")
    assert main(["chat", str(folder), *sampled]) == 0
    assert json.loads(capsys.readouterr().out)["a"] in ("the cat", 1)
    run = minillm.load(folder)
    answer = "".join(run.chat([user("the cat")], schema=schema, temperature=1, seed=2))
    assert json.loads(answer)["a"] in ("the cat", 1)


def test_a_schema_that_cannot_be_a_grammar(folder, tmp_path, capsys):
    file = tmp_path / "schema.json"
    file.write_text('{"not": {}}')
    assert main(["chat", str(folder), "--schema", str(file)]) == 2
    expected = f'minillm: {file}: schema: Unimplemented keys: ["not"]\n'
    assert capsys.readouterr().err == expected
    with pytest.raises(InputError, match=r"schema: expected a schema, found 1"):
        minillm.load(folder).chat([user("x")], schema=1)
