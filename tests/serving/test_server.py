"""The server: its answers, its errors, and many clients at once."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import chatting
import pytest
from chatting import system, user
from running_server import Running, expected

from minillm.cli import main
from minillm.decoding import Continuation, Sampling, write
from minillm.decoding.chat import Chat
from minillm.decoding.speculation import Speculation
from minillm.serving import app, engine, requests
from minillm.text import ChatTemplate

CONTEXT = 512
TALK = [user("the cat")]
GREEDY = {"model": "run", "messages": TALK, "temperature": 0, "max_tokens": 8}


# --- answers -------------------------------------------------------------------------------------


def test_an_answer(server, run):
    status, answer = server.ask(GREEDY)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "run"
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": expected(run, TALK)}
    assert choice["finish_reason"] == "length"
    prompt = len(run.answering.encode(TALK))
    assert answer["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 8,
        "total_tokens": prompt + 8,
    }


def test_a_stream(server, run):
    first, *events, last, usage = server.events(
        {**GREEDY, "stream_options": {"include_usage": True}}
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [event["choices"][0]["delta"]["content"] for event in events]
    assert len(pieces) > 1
    assert "".join(pieces) == expected(run, TALK)
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["delta"] == {}
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 8
    assert {event["id"] for event in (first, *events, last, usage)} == {first["id"]}


def test_a_stop_text(server, run):
    whole = expected(run, TALK, 30)
    stop = whole[3:6]
    status, answer = server.ask({**GREEDY, "max_tokens": 30, "stop": [stop]})
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == whole[: whole.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_a_completion(server, run):
    asked = {"model": "run", "prompt": "the cat", "temperature": 0, "max_tokens": 5}
    status, answer = server.ask(asked, "/v1/completions")
    assert status == 200
    written = "".join(run.write("the cat", length=5, temperature=0)).removeprefix("the cat")
    assert answer["choices"][0]["text"] == written
    assert answer["object"] == "text_completion"
    pieces = [event["choices"][0]["text"] for event in server.events(asked, "/v1/completions")]
    assert "".join(pieces) == written


def test_guesses_change_no_answer(server, run, monkeypatch):
    """Not even where a stop text ends among several right guesses."""
    prompt, whole = run.answering.encode(TALK).tolist(), expected(run, TALK, 30)
    written = Continuation(prompt, 30, Sampling(temperature=0), banned=run.answering.banned)
    list(write(run.model, written))

    def guess(self, text, most):
        return written.ids[len(text) :][: min(5, most)]

    monkeypatch.setattr(Speculation, "guess", guess)
    monkeypatch.setattr(server.server.engine._batch, "_guess", True)
    assert server.text({**GREEDY, "max_tokens": 30}) == whole
    text, events = server.streamed({**GREEDY, "max_tokens": 30})
    assert (text, events < 15) == (whole, True)
    stop = whole[3:6]
    assert server.text({**GREEDY, "max_tokens": 30, "stop": [stop]}) == whole[: whole.index(stop)]


def test_seeds_and_defaults(run):
    with Running(run.answering, temperature=1.0, seed=7) as some:
        asked = {"model": "run", "messages": TALK, "max_tokens": 12}
        texts = [some.text({**asked, "seed": seed}) for seed in (7, 8)]
        assert some.text(asked) == texts[0] != texts[1]


def test_contents_in_parts_and_developers(server, run):
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat"}]
    asked = [{"role": "developer", "content": "the mat"}, {"role": "user", "content": parts}]
    assert server.text({**GREEDY, "messages": asked}) == expected(run, [system("the mat"), *TALK])


def test_models_and_the_page(server):
    status, models = server.ask(None, "/v1/models", "GET")
    assert status == 200
    assert [model["id"] for model in models["data"]] == ["run"]
    assert server.ask(None, "/v1/models/run", "GET") == (200, models["data"][0])
    status, answer = server.ask(None, "/v1/models/other", "GET")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    answer, text = server.raw("GET", "/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert b"<!doctype html>" in text


def test_the_client_of_openai(server, run):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
    with client:
        answer = client.chat.completions.create(**GREEDY)
        assert answer.choices[0].message.content == expected(run, TALK)
        stream = client.chat.completions.create(**GREEDY, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == expected(run, TALK)
        assert [model.id for model in client.models.list()] == ["run"]
        with pytest.raises(
            openai.BadRequestError, match="top_k: expected a whole number from 1 to"
        ):
            client.chat.completions.create(**GREEDY, extra_body={"top_k": -2})
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**{**GREEDY, "model": "gpt"})
        client.chat.completions.create(**GREEDY, extra_body={"min_p": 0.1, "top_k": 3})


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "param", "message"),
    [
        ({"messages": None}, 400, "messages", "messages: expected a value, found None"),
        ({"messages": []}, 400, "messages", "messages: expected a list of one or more, found []"),
        ({"messages": [{"role": "x"}]}, 400, "messages", "messages[0].role: expected one"),
        ({"messages": [user(3)]}, 400, "messages", "messages[0].content: expected a te"),
        (
            {"messages": [user([{"text": 3}])]},
            400,
            "messages",
            "messages: expected texts, and",
        ),
        ({"messages": [user("\ud800")]}, 400, None, "expected a body in JSON: "),
        ({"model": "gpt-4"}, 404, "model", "model: expected 'run', found 'gpt-4'"),
        ({"model": None}, 400, "model", "model: expected a name, found None"),
        ({"temperature": -1}, 400, "temperature", "temperature: expected a number at least 0, f"),
        ({"temperature": "hot"}, 400, "temperature", "temperature: expected a number at least 0"),
        ({"top_p": 1.5}, 400, "top_p", "top_p: expected a number above 0 and at most 1, found 1.5"),
        ({"max_tokens": 0}, 400, "max_tokens", "max_tokens: expected int >= 1, found 0"),
        ({"stop": ["a"] * 17}, 400, "stop", "stop: expected array of length <= 16, found "),
        ({"stop": "y" * 1001}, 400, "stop", "stop: expected str of length <= 1000, found 'yyy"),
        ({"top_k": -2}, 400, "top_k", "top_k: expected a whole number from 1 to 1000000, found -2"),
        ({"top_k": False}, 400, "top_k", "top_k: expected a whole number from 1 to 1000000, foun"),
        ({"seed": 1.5}, 400, "seed", "seed: expected int, found 1.5"),
        ({"seed": 2**63}, 400, "seed", "seed: expected int <= 9223372036854775807, found 92"),
        ({"frequency_penalty": 2.5}, 400, "frequency_penalty", "frequency_penalty: expected flo"),
        ({"presence_penalty": float("nan")}, 400, None, "expected a body in JSON: "),
        ({"repetition_penalty": 0}, 400, "repetition_penalty", "repetition_penalty: expected a nu"),
        ({"logit_bias": {"999": 1}}, 400, "logit_bias", "logit_bias: expected token ids below 29"),
        ({"logit_bias": {"²": 1}}, 400, "logit_bias", "logit_bias: expected int, found {'²': 1}"),
        ({"logit_bias": {"1": 101}}, 400, "logit_bias", "logit_bias[...]: expected float <= 100"),
        ({"n": 10**9}, 400, "n", "n: expected int <= 128, found 1000000000"),
        ({"logprobs": 2}, 400, "logprobs", "logprobs: expected bool, found 2"),
        ({"top_logprobs": 21}, 400, "top_logprobs", "top_logprobs: expected int <= 20, found 21"),
        ({"tools": [{}]}, 400, "tools", "tools[0].type: expected a value, found None"),
        ({"stream": "maybe"}, 400, "stream", "stream: expected bool, found 'maybe'"),
        (
            {"messages": [user("cat " * 800)]},
            400,
            "messages",
            "messages: expected less than 512 token",
        ),
    ],
)
def test_a_wrong_request_gets_the_error_of_the_interface(server, changes, status, param, message):
    found, answer = server.ask({**GREEDY, **changes})
    assert found == status
    error = answer["error"]
    assert error["message"].startswith(message)
    assert "\n" not in error["message"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "neutral",
    [
        {"frequency_penalty": 0.0, "presence_penalty": 0.0, "n": 1.0, "top_logprobs": 0.0},
        {"n": 1, "frequency_penalty": 0, "user": "me", "tools": [], "stop": None},
        {"top_k": 0},
        {"top_k": -1.0},
        {"top_k": 300.0},
        {"stop": ""},
        {"stop": ["", ""]},
        {"seed": -1},
        {"logit_bias": {}, "logprobs": False, "top_logprobs": 0},
        {"cache_prompt": True, "ignore_eos": False, "repeat_penalty": 1.0},
        {"repetition_penalty": 1.0, "mirostat": 0, "mirostat_tau": 5.0, "colour": "red"},
        {"max_tokens": 8.0, "temperature": 0.0, "top_p": 1, "seed": 3.0},
    ],
)
def test_numbers_and_names_that_many_programs_send(server, run, neutral):
    assert server.text({**GREEDY, **neutral}) == expected(run, TALK)
    assert len(server.events({**GREEDY, **neutral})) > 1


def test_a_top_k_of_zero_switches_off_the_default():
    body = json.dumps({**GREEDY, "top_k": 0}).encode()
    assert requests.read(body, "run", Sampling(top_k=1), 300, chat=True).sampling.top_k is None


def test_seeds_of_other_programs():
    def seed(value, choice=0):
        body = json.dumps({**GREEDY, "seed": value}).encode()
        read = requests.read(body, "run", Sampling(seed=7), 300, chat=True)
        return read.sampling_of(choice).seed

    assert [seed(None), seed(-1), seed(-1, 3), seed(5, 3)] == [7, None, None, 8]
    assert 0 <= seed(-2) != seed(-3)
    assert seed(2**63 - 1, 1) == 0


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "expected a body in JSON"),
        (b"\xff\xfe", 400, "expected a body in JSON"),
        (b"[" * 100_000, 400, "expected a body in JSON"),
        (b"[1]", 400, "expected a JSON object, found [1]"),
        (b"1" * 5000, 400, "expected "),
        (b" " * (5 << 20), 413, "expected a body of at most 4,194,304 bytes"),
    ],
)
def test_a_wrong_body(server, body, status, message):
    found, answer = server.ask(body)
    assert found == status
    assert answer["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("path", "method", "kind", "status", "message"),
    [
        ("responses", "POST", "application/json", 404, "POST /v1/responses: Not Found"),
        ("completions", "GET", "application/json", 405, "GET /v1/completions: Method Not Allowed"),
        ("completions", "POST", "text/plain", 415, "Content-Type: expected application/json, foun"),
    ],
)
def test_a_wrong_path_or_kind(server, path, method, kind, status, message):
    found, answer = server.ask(GREEDY, f"/v1/{path}", method, **{"Content-Type": kind})
    assert found == status
    assert answer["error"]["message"].startswith(message)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "LOCALHOST", "0.0.0.0"])
def test_at_a_local_address_requests_must_name_this_machine(run, host):
    try:
        some = Running(run.answering, host=host)
    except queue.Empty:
        pytest.skip("this machine has no such address")
    try:
        for name in (f"[{host}]:80" if ":" in host else host, "localhost:1", "[::1]", "127.0.0.1"):
            assert some.ask(None, "/v1/models", "GET", Host=name)[0] == 200
        for name in ("evil.example", "evil.example:1", "localhost.evil", "8.8.8.8", "ocalhost"):
            answer, _ = some.raw("GET", "/v1/models", None, {"Host": name})
            assert answer.status == (200 if host == "0.0.0.0" else 400)
    finally:
        some.close()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("\x1b[2J\ud800"), r"the server failed: \x1b[2J\ud800"),
        (MemoryError("out of memory"), "out of memory"),
    ],
)
def test_a_failure_is_said_and_the_next_request_is_answered(
    server, run, monkeypatch, capsys, failure, message
):
    """The traceback of a failure of ours is printed, without control characters."""

    def failing(self, ids, state):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(type(run.reader), "read", failing)
        status, answer = server.ask(GREEDY)
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert answer["error"]["message"] == message
    printed = capsys.readouterr().err
    if isinstance(failure, RuntimeError):
        assert printed.startswith("Traceback")
        assert printed.endswith("RuntimeError: \\x1b[2J\\ud800\n")
    assert printed.count("Traceback") == isinstance(failure, RuntimeError)
    assert server.text(GREEDY) == expected(run, TALK)


# --- many clients --------------------------------------------------------------------------------


OWN = "{% for m in messages %}<|im_start|>{{ m.content | trim }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize("source", ["chatml", OWN])
def test_requests_at_once_get_the_answers_that_they_get_alone(run, source):
    texts = ["the cat", "the dog sat", "on the mat and the log", "log"]
    talks = [[user(f" {texts[k % 4]} {k} ")] for k in range(40)]
    template = ChatTemplate(source)

    def ask(k):
        asked = {**GREEDY, "messages": talks[k], "max_tokens": 4 + k % 5}
        return some.text(asked) if k % 2 else some.streamed(asked)[0]

    with Running(Chat(run.model, run.tokenizer, template)) as some:
        with ThreadPoolExecutor(40) as threads:
            found = list(threads.map(ask, range(40)))
        some.idle()
    for k, talk in enumerate(talks):
        assert found[k] == expected(run, talk, 4 + k % 5, template)


def test_a_client_that_leaves_stops_its_answer(server, run, monkeypatch):
    """Neither a stream nor a whole answer would end within the test."""
    original = type(run.reader).read

    def slow(self, ids, state):
        time.sleep(0.02)
        return original(self, ids, state)

    monkeypatch.setattr(type(run.reader), "read", slow)
    monkeypatch.setattr(app, "LOOK", 0.05)
    long = {**GREEDY, "max_tokens": 400}
    for stream in (True, False):
        with server.post({**long, "stream": stream}):
            while not server.server.engine._active:
                time.sleep(0.01)
            (job,) = server.server.engine._active.values()
        server.idle()
        assert len(job.continuation.written) < 400
    assert server.text(GREEDY) == expected(run, TALK)


def test_too_many_requests_are_told_to_come_again(run, monkeypatch):
    monkeypatch.setattr(app, "WAITING", 0)
    with Running(run.answering) as some:
        for stream in (False, True):
            status, answer = some.ask({**GREEDY, "stream": stream})
            assert (status, answer["error"]["code"]) == (503, "overloaded")


def test_the_engine_ends_jobs_that_wait_or_run():
    some = chatting.model(context=512)
    chat = Chat(some, chatting.TOKENIZER, chatting.TEMPLATE)
    running = engine.Engine(chat, parallel=1, waiting=5)
    first, others = queue.Queue(), queue.Queue()
    ids = chat.encode(TALK)
    greedy = Sampling(temperature=0)

    def job(length, into):
        return engine.Job(chat.continuation(ids, length, greedy), into.put)

    long, waits = [job(400, first)], [job(400, others), job(400, others)]
    running.submit(long)
    first.get(timeout=30)
    running.submit(waits)
    running.cancel(waits)
    running.cancel(long)
    after = queue.Queue()
    running.submit([job(3, after)])
    while after.get(timeout=30).reason is None:
        pass
    assert others.empty()
    assert len(long[0].continuation.written) < 400
    running.cancel(long)  # it has ended already
    running.close()


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch):
    """What the verb serves: the server, the host and the port."""
    found = []

    def serve(server, host, port, started):
        found[:] = server, host, port
        started("http://127.0.0.1:1")
        server.engine.close()

    monkeypatch.setattr(app, "serve", serve)
    return found


def test_the_verb(run, capsys, served):
    assert main(["serve", str(run.path), "--port", "1", "--parallel", "3", "--min-p", "0.1"]) == 0
    assert served[0].engine.parallel == 3
    assert served[0].sampling == run.answering.sampling_with(min_p=0.1)
    assert served[1:] == ["127.0.0.1", 1]
    line = "http://127.0.0.1:1 answers as run; the base URL is http://127.0.0.1:1/v1\n"
    assert capsys.readouterr().out == line


def test_an_address_that_is_taken(run, capsys, server):
    assert main(["serve", str(run.path), "--port", str(server.port)]) == 2
    line = f"minillm: 127.0.0.1:{server.port}: Address already in use\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "--host: expected an address, found ''"),
        ("a" * 300, f"{'a' * 57}...:8080: "),
        ("é" * 70, f"{'é' * 57}...:8080: it cannot be the name of a host"),
        ("a\x1b\0b", r"a\x1b\x00b:8080: "),
    ],
)
def test_what_is_no_address(run, capsys, host, message):
    assert main(["serve", str(run.path), "--host", host]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"minillm: {message}")
    assert error.count("\n") == 1
    assert len(error) < 140


def test_a_folder_whose_name_is_no_text(run, tmp_path, capsys, served):
    folder = tmp_path / os.fsdecode(b"by\xff \x1bte")
    try:
        shutil.copytree(run.path, folder)
    except OSError:
        pytest.skip("files have no such names here")
    assert main(["serve", str(folder)]) == 0
    assert served[0].name == "by_ _te"
    assert "answers as by_ _te;" in capsys.readouterr().out


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


def test_a_missing_package_is_named(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "minillm.serving.embeddings", None)
    assert main(["serve", str(run.path)]) == 2
    assert "pip install 'minillm-book[serve]'" in capsys.readouterr().err
