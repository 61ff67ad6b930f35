"""Answers of the server in a given form: JSON by a schema, and calls of functions."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from chatting import user
from decoding.test_grammar import HOSTILE

from minillm.decoding.chat import Chat
from minillm.decoding.grammar import Grammar
from minillm.errors import InputError
from minillm.serving.tools import OPENING
from minillm.text import ChatTemplate

pytest.importorskip("llguidance")
from running_server import Running

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer"},
        "mood": {"enum": ["happy", "sad"]},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}
ASKED = {"model": "run", "messages": [user("the cat")], "max_tokens": 200, "temperature": 1.5}
TOOLS = [
    {"type": "function", "function": {"name": "find", "parameters": PERSON}},
    {"type": "function", "function": {"name": "time"}},
]
# What the tests need of a template with tools.
TEMPLATE = """
{%- for tool in tools or [] %}{{ tool.function | tojson }}{% endfor -%}
{%- for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}
{%- for call in m.tool_calls or [] %}<tool_call>{{ call.function.arguments.name }}{% endfor -%}
<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"""


def of_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


@pytest.fixture(scope="module")
def with_tools(run):
    pytest.importorskip("jinja2")
    with Running(Chat(run.model, run.tokenizer, ChatTemplate(TEMPLATE))) as some:
        yield some


def is_person(value):
    return (
        list(value) == ["name", "age", "mood"]
        and len(value["name"]) <= 5
        and isinstance(value["age"], int)
        and value["mood"] in ("happy", "sad")
    )


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 2])
def test_an_answer_satisfies_its_schema(server, seed):
    asked = {**ASKED, "seed": seed, "response_format": of_schema(PERSON)}
    status, answer = server.ask({**asked, "n": 2})
    assert status == 200
    for choice in answer["choices"]:
        assert choice["finish_reason"] == "stop"
        assert is_person(json.loads(choice["message"]["content"]))
    text = answer["choices"][0]["message"]["content"]
    assert server.streamed(asked)[0] == text


def test_requests_at_once_have_grammars_of_their_own(server):
    """A JSON object is one as far as it fits: random weights do not close their brackets."""
    schemas = [{"const": "the cat"}, {"type": "null"}, {"type": "boolean"}]
    given = [*map(of_schema, schemas), {"type": "json_object"}]
    asked = [{**ASKED, "n": 3, "response_format": form, "max_tokens": 30} for form in given]
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(server.ask, asked))
    texts = [{c["message"]["content"] for c in answer["choices"]} for _, answer in answers]
    assert texts[0] <= {'"the cat"'}
    assert texts[1] == {"null"}
    assert texts[2] <= {"true", "false"}
    assert {text[0] for text in texts[3]} == {"{"}


def test_hostile_schemas_harm_no_other_request(server):
    """Each is answered, or refused as a request that is wrong; the others have their answers."""
    talks = [[user(f"the cat {k}")] for k in range(4)]
    plain = [{**ASKED, "temperature": 0, "max_tokens": 20, "messages": talk} for talk in talks]
    expected = [(200, server.text(asked)) for asked in plain]
    short = {**ASKED, "seed": 0, "max_tokens": 40}
    hostile = [{**short, "response_format": of_schema(schema)} for schema in HOSTILE]
    with ThreadPoolExecutor(len(HOSTILE) + 4) as threads:
        answers = list(threads.map(server.ask, [*hostile[:6], *plain, *hostile[6:]]))
    found = [
        (status, answer["choices"][0]["message"]["content"]) for status, answer in answers[6:10]
    ]
    assert found == expected
    answers = answers[:6] + answers[10:]
    assert {status for status, _ in answers} == {200, 400}
    refused = [answer["error"] for status, answer in answers if status == 400]
    assert {error["param"] for error in refused} == {"response_format"}


def test_a_mask_that_fails_ends_its_own_answer(server, monkeypatch):
    """In a stream, the reason follows what has been sent."""
    original = Grammar.adjust

    def failing(self, logits, written):
        if len(written) == 3:
            raise InputError("its patterns need too much work", self.name)
        return original(self, logits, written)

    monkeypatch.setattr(Grammar, "adjust", failing)
    asked = {**ASKED, "response_format": of_schema(PERSON)}
    status, answer = server.ask(asked)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].endswith("schema: its patterns need too much work")
    body = json.dumps({**asked, "stream": True})
    _, text = server.raw("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert b"its patterns need too much work" in text


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["required", {"type": "function", "function": {"name": "find"}}])
def test_a_forced_call_satisfies_its_schema(with_tools, chosen):
    asked = {**ASKED, "tools": TOOLS, "tool_choice": chosen, "seed": 3}
    status, answer = with_tools.ask(asked)
    assert status == 200, answer
    [choice] = answer["choices"]
    [call] = choice["message"]["tool_calls"]
    chat = with_tools.server.chat
    prompt = [*chat.encode(ASKED["messages"], tools=TOOLS), *chat.tokenizer.encode_known(OPENING)]
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert call["type"] == "function"
    assert call["id"].startswith("call_")
    assert call["function"]["name"] in (["find", "time"] if chosen == "required" else ["find"])
    arguments = json.loads(call["function"]["arguments"])
    assert is_person(arguments) if call["function"]["name"] == "find" else arguments == {}
    first, *_, called, last = with_tools.events(asked)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    [delta] = called["choices"][0]["delta"]["tool_calls"]
    assert delta["index"] == 0
    assert delta["function"] == call["function"]
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "tool_calls",
    }


def test_a_call_that_the_model_chose(with_tools, monkeypatch):
    """The text before it is shown; the call is not."""
    call = '<tool_call>{"name": "time", "arguments": {"zone": "é"}}</tool_call>'
    script = iter(with_tools.server.chat.tokenizer.encode(f"I see. {call}<|im_end|>").tolist())
    text = type(with_tools.server.chat.continuation([0]))
    monkeypatch.setattr(text, "draw", lambda self, logits: drawn(self, next(script)))
    asked = {**ASKED, "tools": TOOLS}
    status, answer = with_tools.ask(asked)
    assert status == 200
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "I see. "
    [found] = choice["message"]["tool_calls"]
    assert found["function"] == {"name": "time", "arguments": '{"zone": "\\u00e9"}'}
    assert choice["finish_reason"] == "tool_calls"


def drawn(text, token):
    text.add(token)
    return token


def test_calls_and_results_go_back_through_the_template(with_tools):
    function = {"name": "find", "arguments": '{"name": "Ada"}'}
    call = {"id": "123456789", "type": "function", "function": function}
    result = {"role": "tool", "tool_call_id": "123456789", "content": "36"}
    talk = [user("the cat"), {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    status, answer = with_tools.ask({**ASKED, "messages": talk, "max_tokens": 1})
    assert status == 200
    function = {**function, "arguments": {"name": "Ada"}}
    talk[1] = {"role": "assistant", "content": "", "tool_calls": [{**call, "function": function}]}
    text = with_tools.server.chat.template.text(talk)
    assert "<|im_start|>assistant <tool_call>Ada<|im_end|><|im_start|>tool 36<|im_end|>" in text
    assert answer["usage"]["prompt_tokens"] == len(with_tools.server.chat.encode(talk))


@pytest.mark.parametrize("chosen", ["none", "auto"])
def test_the_template_gets_the_tools_unless_none_is_to_be_called(with_tools, chosen):
    asked = {**ASKED, "tools": TOOLS, "tool_choice": chosen, "max_tokens": 1}
    used = with_tools.ask(asked)[1]["usage"]["prompt_tokens"]
    described = None if chosen == "none" else TOOLS
    assert used == len(with_tools.server.chat.encode(ASKED["messages"], tools=described))
