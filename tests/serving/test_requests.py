"""Requests: which are refused, and by which error, and which fields change nothing."""

import json
import re

import msgspec
import pytest
from chatting import user
from running_server import expected

from minillm.decoding import Sampling
from minillm.serving import requests
from minillm.serving.embeddings import EmbeddingFields

TALK = [user("the cat")]
GREEDY = {"model": "run", "messages": TALK, "temperature": 0, "max_tokens": 8}
ENDPOINTS = {
    "chat": ("/v1/chat/completions", GREEDY),
    "text": ("/v1/completions", {"model": "run", "prompt": ["a", "b"], "max_tokens": 2}),
    "vectors": ("/v1/embeddings", {"model": "run", "input": "a"}),
}
TIME = {"type": "function", "function": {"name": "time"}}
NONE = {"type": "function", "function": {"name": "x"}}
BAD_CALL = {"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}


def of_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


@pytest.mark.parametrize(
    ("endpoint", "changes", "message"),
    [
        ("chat", {"messages": None}, "messages: expected a value, found None"),
        ("chat", {"messages": []}, "messages: expected a list of one or more, found []"),
        ("chat", {"messages": [{"role": "x"}]}, "messages[0].role: expected one of system, user"),
        ("chat", {"messages": [user([{"text": 3}])]}, "messages: expected texts, and functions "),
        ("chat", {"messages": [BAD_CALL]}, "messages: expected texts, and functions with argumen"),
        ("chat", {"messages": [user("cat " * 1600)]}, "messages: expected less than 1,024 tokens"),
        ("chat", {"messages": [user("\ud800")]}, "expected a body in JSON: "),
        ("chat", {"model": "gpt-4"}, "model: expected 'run', found 'gpt-4'"),
        ("chat", {"model": None}, "model: expected a name, found None"),
        ("chat", {"temperature": "hot"}, "temperature: expected a number at least 0, found 'hot'"),
        ("chat", {"max_tokens": 0}, "max_tokens: expected int >= 1, found 0"),
        ("chat", {"stop": ["a"] * 17}, "stop: expected array of length <= 16, found "),
        ("chat", {"stop": "y" * 1001}, "stop: expected str of length <= 1000, found 'yyy"),
        ("chat", {"top_k": -2}, "top_k: expected a whole number from 1 to 1000000, found -2"),
        ("chat", {"top_k": False}, "top_k: expected a whole number from 1 to 1000000, found False"),
        ("chat", {"seed": 2**63}, "seed: expected int <= 9223372036854775807, found 92"),
        ("chat", {"frequency_penalty": 2.5}, "frequency_penalty: expected float <= 2"),
        ("chat", {"logit_bias": {"999": 1}}, "logit_bias: expected token ids below 295, found 99"),
        ("chat", {"logit_bias": {"1": 101}}, "logit_bias[...]: expected float <= 100"),
        ("chat", {"n": 10**9}, "n: expected int <= 128, found 1000000000"),
        ("chat", {"tools": [TIME] * 129}, "tools: expected array of length <= 128, found "),
        (*("chat", {"tools": [{"type": "function", "function": {"name": "a b"}}]}),
         "tools[0].function.name: expected str matching regex"),
        ("chat", {"tools": [TIME] * 2}, "tools: expected different names, found ['time']"),
        ("chat", {"tool_choice": "required"}, "tool_choice: expected the name of a tool, found 'r"),
        ("chat", {"tools": [TIME], "tool_choice": NONE}, "tool_choice: expected the name of a too"),
        (*("chat", {"tools": [TIME], "response_format": {"type": "json_object"}}),
         'response_format: expected {"type": "text"} with tools'),
        ("chat", {"tools": [TIME]}, "tools: expected a chat template that has <tool_call>, found "),
        (*("chat", {"messages": [*TALK, {"role": "tool", "content": "b"}]}),
         "tools: expected a chat template that has <tool_call>, found one without"),
        (*("chat", {"response_format": {"type": "json_schema"}}),
         "response_format.json_schema.schema: expected a schema, found None"),
        (*("chat", {"response_format": of_schema({"items": {"not": {}}})}),
         'response_format.json_schema.schema: Unimplemented keys: ["not"]'),
        ("text", {"prompt": None}, "prompt: expected a value, found None"),
        ("text", {"prompt": []}, "prompt: expected a text or a list of token ids, or a list of "),
        ("text", {"prompt": ["a", 3]}, "prompt[1]: expected str, found 3"),
        ("text", {"prompt": [[]]}, "prompt[0]: expected array of length >= 1, found []"),
        ("text", {"prompt": [1, 295]}, "prompt[1]: expected int <= 294, found 295"),
        ("text", {"prompt": [[1], [-1]]}, "prompt[1][0]: expected int >= 0, found -1"),
        ("text", {"prompt": ["a"] * 2049}, "prompt: expected array of length <= 2048, found "),
        ("text", {"prompt": ["a"] * 17, "n": 128}, "prompt: expected array of length <= 16, fou"),
        ("text", {"prompt": ["a", "a b " * 600]}, "prompt[1]: expected less than 1,024 tokens, f"),
        ("text", {"suffix": "end"}, "suffix: expected str of length <= 0, found 'end'"),
        ("vectors", {"input": []}, "input: expected a text or a list of token ids, or a list of t"),
        ("vectors", {"input": ["a", ""]}, "input[1]: expected a text of a token or more, found ''"),
        ("vectors", {"dimensions": 17}, "dimensions: expected at most 16, found 17"),
        ("vectors", {"encoding_format": "int8"}, "encoding_format: expected str matching "),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_the_error_of_the_interface(server, endpoint, changes, message):
    path, asked = ENDPOINTS[endpoint]
    status, answer = server.ask({**asked, **changes}, path)
    error = answer["error"]
    assert error["message"].startswith(message)
    assert "\n" not in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == (re.match(r"\w+(?=[.[:])", message) or [None])[0]
    unknown, long = message.endswith("'gpt-4'"), "less than 1,024" in message
    code = "model_not_found" if unknown else "context_length_exceeded" if long else None
    assert (status, error["code"]) == (404 if unknown else 400, code)


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
        ("../api/generate", "POST", "application/json", 404, "Not Found; the addresses begin wi"),
        ("completions", "GET", "application/json", 405, "GET /v1/completions: Method Not Allowed"),
        ("completions", "POST", "text/plain", 415, "Content-Type: expected application/json, foun"),
        ("models/other", "GET", "", 404, "expected 'run', found 'other'"),
    ],
)
def test_a_wrong_path_or_kind(server, path, method, kind, status, message):
    found, answer = server.ask(GREEDY, f"/v1/{path}", method, **{"Content-Type": kind})
    assert found == status
    assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    "neutral",
    [
        {"frequency_penalty": 0.0, "presence_penalty": 0.0, "n": 1.0, "top_logprobs": 0.0}
        | {"user": "me", "tools": [], "stop": None, "top_k": 0},
        {"logit_bias": {}, "logprobs": False, "top_logprobs": 0, "tool_choice": "none"}
        | {"top_k": -1.0, "stop": "", "colour": "red"},
        {"cache_prompt": True, "ignore_eos": False, "repeat_penalty": 1.0, "tools": [TIME]}
        | {"top_k": 300.0, "stop": ["", ""], "seed": -1},
        {"repetition_penalty": 1.0, "mirostat": 0, "mirostat_tau": 5.0}
        | {"max_tokens": 8.0, "temperature": 0.0, "top_p": 1, "seed": 3.0},
    ],
)
def test_numbers_and_names_that_many_programs_send(server, run, neutral):
    if "tools" in neutral:
        neutral["tool_choice"] = "none"
    asked = {**GREEDY, **neutral}
    assert server.text(asked) == server.streamed(asked)[0] == expected(run, TALK)


def test_fields_of_a_completion_that_change_nothing(server):
    path, asked = ENDPOINTS["text"]
    _, answer = server.ask({**asked, "n": 2, "best_of": 1, "logprobs": False, "suffix": ""}, path)
    assert len(answer["choices"]) == 4


def sampling(values, defaults):
    body = json.dumps({**GREEDY, **values}).encode()
    return requests.read(body, "run", defaults, 300, chat=True)


def test_a_top_k_of_zero_switches_off_the_default():
    assert sampling({"top_k": 0}, Sampling(top_k=1)).sampling.top_k is None


def test_seeds_of_other_programs():
    def seed(value, choice=0):
        return sampling({"seed": value}, Sampling(seed=7)).sampling_of(choice).seed

    assert [seed(None), seed(-1), seed(-1, 3), seed(5, 3)] == [7, None, None, 8]
    assert [seed(-2), seed(-3)] == [2**63 - 2, 2**63 - 3]
    assert seed(2**63 - 1, 1) == 0


WEIRD = [
    *(None, True, False, 0, 1, -1, 2.5, 1e300, float("nan"), float("inf"), -float("inf"), 10**25),
    *("", "a", "\x00", "\ud800", [], [[]], [None], [1, "a"], ["a"] * 3, {}, {"a": 1}, {"1": None}),
    *([[[1]]], {"1": [1]}, [{}], [float("nan")], "a" * 2000),
]
KINDS = (requests.CompletionFields, requests.ChatFields, EmbeddingFields)
FIELDS = [entry.encode_name for kind in KINDS for entry in msgspec.structs.fields(kind)]


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted({*FIELDS, *requests.SAMPLING, "model"}))
def test_any_value_of_a_field_is_answered_or_refused_in_one_line(server, name):
    for path, asked in ENDPOINTS.values():
        for value in WEIRD:
            body = json.dumps({**asked, name: value})
            answer, text = server.raw("POST", path, body, {"Content-Type": "application/json"})
            if answer.status == 200:
                assert "error" not in text.decode()
                continue
            assert answer.status in (400, 404), (body, text)
            message = json.loads(text)["error"]["message"]
            assert "\n" not in message
            assert len(message) < 200
