"""The life of the server: addresses, failures, many clients, those that leave, and signals."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import chatting
import pytest
from chatting import user
from running_server import Running, expected

from minillm.cli import main
from minillm.decoding.chat import Chat
from minillm.serving import app
from minillm.text import ChatTemplate

TALK = [user("the cat")]
GREEDY = {"model": "run", "messages": TALK, "temperature": 0, "max_tokens": 8}


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("LOCALHOST", "127.0.0.1", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"]),
        ("::1", "::1", ["localhost", "127.0.0.1", "[::1]", "[::1]"]),
        ("0.0.0.0", "0.0.0.0", ["*"]),
        ("name", "8.8.8.8", ["*"]),
    ],
)
def test_at_a_local_address_requests_must_name_this_machine(host, address, allowed):
    assert app.allowed_hosts(host, address) == allowed


def test_a_request_must_name_an_allowed_host(run):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no such address")
    with Running(run.answering, host="::1") as some:
        for name in ("[::1]:80", "localhost:1", "127.0.0.1"):
            assert some.ask(None, "/v1/models", "GET", Host=name)[0] == 200
        for name in ("evil.example:1", "localhost.evil", "ocalhost"):
            assert some.raw("GET", "/v1/models", None, {"Host": name})[0].status == 400


@pytest.mark.parametrize(
    ("failure", "message", "printed"),
    [
        (
            RuntimeError("\x1b[2J\ud800"),
            r"the server failed: \x1b[2J\ud800",
            r"Traceback.*RuntimeError: \\x1b\[2J\\ud800\n",
        ),
        (MemoryError("out of memory"), "out of memory", ""),
    ],
)
def test_a_failure_is_said_and_the_next_request_is_answered(
    server, run, monkeypatch, capsys, failure, message, printed
):
    """The traceback of a failure of ours is printed, without control characters."""

    def failing(self, ids, state):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(type(run.reader), "read", failing)
        status, answer = server.ask(GREEDY)
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert answer["error"]["message"] == message
    assert re.fullmatch(printed, capsys.readouterr().err, re.DOTALL)
    assert server.text(GREEDY) == expected(run, TALK)


# --- many clients --------------------------------------------------------------------------------


OWN = "{% for m in messages %}<|im_start|>{{ m.content | trim }}<|im_end|>{% endfor %}"


def test_requests_at_once_get_the_answers_that_they_get_alone(run):
    texts = ["the cat", "the dog sat", "on the mat and the log", "log"]
    talks = [[user(f" {texts[k % 4]} {k} ")] for k in range(16)]
    template = ChatTemplate(OWN)

    def ask(k):
        asked = {**GREEDY, "messages": talks[k], "max_tokens": 4 + k % 5}
        return some.text(asked) if k % 2 else some.streamed(asked)[0]

    with Running(Chat(run.model, run.tokenizer, template)) as some:
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(ask, range(16)))
        some.idle()
    for k, talk in enumerate(talks):
        assert found[k] == expected(run, talk, 4 + k % 5, template)


def test_a_client_that_leaves_stops_its_answer(server, run, monkeypatch, capsys):
    """Neither a stream nor a whole answer would end within the test."""
    original = type(run.reader).read

    def slow(self, ids, state):
        time.sleep(0.005)
        return original(self, ids, state)

    monkeypatch.setattr(type(run.reader), "read", slow)
    monkeypatch.setattr(app, "LOOK", 0.05)
    long = {**GREEDY, "max_tokens": 400}
    for options in ({"stream": True}, {}, {"n": 20}):  # as many do not all have a place
        with server.post({**long, **options}):
            while not server.server.engine._active:
                time.sleep(0.01)
            jobs = [*server.server.engine._active.values()]
            waiting = [job for jobs in [*server.server.engine._queue] for job in jobs]
        server.idle()
        assert all(len(job.continuation.written) < 400 for job in jobs)
        assert not any(job.continuation.written for job in waiting)
        assert len(waiting) >= options.get("n", 4) - 4
    assert server.text(GREEDY) == expected(run, TALK)
    assert capsys.readouterr().err == ""  # it is no failure


def test_too_many_requests_are_told_to_come_again(server, monkeypatch):
    monkeypatch.setattr(server.server.engine, "waiting", 0)
    for stream in (False, True):
        status, answer = server.ask({**GREEDY, "stream": stream})
        assert (status, answer["error"]["code"]) == (503, "overloaded")


# --- the command line ----------------------------------------------------------------------------


def test_the_verb(run, tmp_path, capsys, served):
    """The model has the name of its folder, as far as that is text."""
    folder = tmp_path / os.fsdecode(b"by\xff \x1bte")
    try:
        shutil.copytree(run.path, folder)
    except OSError:
        pytest.skip("files have no such names here")
    assert main(["serve", str(folder), "--port", "1", "--parallel", "3", "--min-p", "0.1"]) == 0
    assert served[0].engine.parallel == 3
    assert served[0].sampling == run.answering.sampling_with(min_p=0.1)
    assert (served[0].name, *served[1:]) == ("by_ _te", "127.0.0.1", 1)
    line = "http://127.0.0.1:1 answers as by_ _te; the base URL is http://127.0.0.1:1/v1\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1", "127.0.0.1:PORT: Address already in use\n"),
        ("", "--host: expected an address, found ''"),
        ("a" * 300, f"{'a' * 57}...:PORT: "),
        ("é" * 70, f"{'é' * 57}...:PORT: it cannot be the name of a host"),
    ],
)
def test_an_address_that_is_taken_or_none(run, capsys, server, host, message):
    assert main(["serve", str(run.path), "--host", host, "--port", str(server.port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"minillm: {message}".replace("PORT", str(server.port)))
    assert error.count("\n") == 1
    assert len(error) < 140


# A server in which a step of the engine, or the encoding of messages, never ends.
ENDLESS = """
import sys
from minillm.cli import main
from minillm.decoding.batch import Batch
from minillm.decoding.chat import Chat

def endless(*args, **options):
    while True:
        pass

kind = sys.argv.pop(1)
if kind == "encoding":
    Chat.encode = endless
elif kind == "step":
    Batch.step = endless
sys.exit(main())
"""


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["encoding", "step", "stream"])
@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGTERM")
def test_a_signal_ends_the_process_in_the_middle_of_requests(tmp_path, kind):
    folder = chatting.save(tmp_path / "run", context=65536)
    command = [sys.executable, "-c", ENDLESS, kind, "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        address = process.stdout.readline().split()[0]
        some = Running.__new__(Running)
        some.host, some.port = "127.0.0.1", int(address.rpartition(":")[2])
        asked = {**GREEDY, "stream": kind == "stream", "max_tokens": 65000}
        for _ in range(app.ENCODED + 2):
            client = stack.enter_context(some.post(asked))
        if kind == "stream":
            assert client.recv(10)
        else:
            time.sleep(1)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (130, "minillm: stopped\n")
