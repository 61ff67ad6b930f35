"""Calls of functions: what a request may ask for, and what an answer has."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding.grammar import read
from minillm.decoding.json_schema import grammar_of
from minillm.errors import InputError
from minillm.serving.tools import FORMS, Answer, form_of, read_tools

HERMES, MISTRAL, LLAMA = FORMS
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name="weather", **function):
    return {"type": "function", "function": {"name": name, **function}}


WEATHER, TIME = tool(parameters=SCHEMA), tool("time")
CALL = {"name": "weather", "arguments": {"city": "Zürich"}}
OF_LLAMA = {"name": "weather", "parameters": {"city": "Zürich"}}
WANTED = [("weather", {"city": "Zürich"})]
NAMES = ["weather", "time"]


def grown(form, pieces):
    """What is shown of an answer, and its calls."""
    answer = Answer(form, NAMES)
    shown = "".join(answer.add(piece) for piece in pieces) + answer.end()
    return shown, [(call.name, json.loads(call.arguments)) for call in answer.calls]


CASES = [
    (HERMES, f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>", "", WANTED),
    (HERMES, f"I look.\n<tool_call>{json.dumps(CALL, ensure_ascii=False)}", "I look.\n", WANTED),
    (HERMES, f"<tool_call>{json.dumps(CALL)}</tool_call>\n" * 2, "", WANTED * 2),
    (HERMES, '<tool_call>{"name": "x", "arguments": {}}</tool_call>', None, []),
    (HERMES, '<tool_call>{"name": "time", "arguments": []}</tool_call>', None, []),
    (HERMES, '<tool_call>{"name": ["time"], "arguments": {}}</tool_call>', None, []),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"a": NaN}}</tool_call>', None, []),
    (HERMES, '<tool_call>{"name": "time", "argu', None, []),
    (HERMES, "a <tool_ b", None, []),
    (HERMES, "a <tool_call", None, []),
    (HERMES, json.dumps(CALL), None, []),
    (MISTRAL, f"[TOOL_CALLS] [{json.dumps(CALL)}]", "", WANTED),
    (MISTRAL, f"[TOOL_CALLS][{json.dumps(CALL)}, {json.dumps(CALL)}]", "", WANTED * 2),
    (MISTRAL, "[TOOL_CALLS] []", None, []),
    (LLAMA, json.dumps(OF_LLAMA), "", WANTED),
    (LLAMA, f" {json.dumps(OF_LLAMA)}; {json.dumps(OF_LLAMA)}", "", WANTED * 2),
    (LLAMA, f"It is {json.dumps(OF_LLAMA)}", None, []),
    (LLAMA, '{"name": "Ada", "parameters": {}}', None, []),
    (LLAMA, " {", None, []),
    (LLAMA, "", None, []),
]


@pytest.mark.parametrize(("form", "text", "shown", "calls"), CASES)
@given(st.data())
def test_calls_are_found_however_the_text_is_cut(form, text, shown, calls, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    assert grown(form, pieces) == (text if shown is None else shown, calls)


def test_text_that_is_no_call_is_shown_at_once():
    assert Answer(HERMES, NAMES).add("It rains <") == "It rains "
    answer = Answer(LLAMA, NAMES)
    assert [answer.add("It "), answer.add("{")] == ["It ", "{"]


def test_arguments_are_json_that_a_file_can_hold():
    answer = Answer(HERMES, NAMES)
    answer.add('<tool_call>{"name": "time", "arguments": {"é": "\\ud800"}}')
    answer.end()
    assert answer.calls[0].arguments == '{"\\u00e9": "\\ud800"}'


@pytest.mark.parametrize("form", FORMS)
def test_a_forced_call_is_found_again(form):
    functions = {"weather": grammar_of(SCHEMA), "time": grammar_of({"type": "object"})}
    grammar = form.grammar(functions)
    before, after = form.brackets
    for name, arguments in (("weather", '{"city":"Bern"}'), ("time", "{}")):
        text = f'{before}{{"name": "{name}", "{form.arguments}": {arguments}}}{after}'
        assert read(grammar, text.encode()).has_empty
        assert grown(form, [form.opening + text]) == ("", [(name, json.loads(arguments))])
    wrong = f'{before}{{"name": "time", "{form.arguments}": []}}{after}'
    assert not read(grammar, wrong.encode()).has_empty


def test_the_form_of_a_template():
    assert form_of("{% if tools %}<tool_call>{% endif %}") is HERMES
    assert form_of("{{ xml_tools }}<tool_call>") is HERMES
    assert form_of("{{ tools }}[TOOL_CALLS]") is MISTRAL
    assert form_of('{% for t in tools %}{"name": n, "parameters": p}{% endfor %}') is LLAMA
    with pytest.raises(InputError, match=r"^tools: expected a chat template that takes tools, "):
        form_of("{% for m in messages %}<tool_call>{% endfor %}")
    with pytest.raises(InputError, match=r"^tools: expected a chat template with <tool_call> or "):
        form_of("{{ tools }}")


def test_what_is_forced():
    assert read_tools([], "auto") is read_tools([], "none") is read_tools([WEATHER], "none") is None
    assert read_tools([WEATHER, TIME], "auto").forced == ()
    assert read_tools([WEATHER, TIME], "required").forced == ("weather", "time")
    named = {"type": "function", "function": {"name": "time"}}
    one = read_tools([WEATHER, TIME], named)
    assert (one.forced, one.described, one.names) == (("time",), [WEATHER, TIME], NAMES)
    assert read(one.grammar(HERMES), b'{"name": "time", "arguments": {}}').has_empty
    assert not read(one.grammar(HERMES), b'{"name": "time", "arguments": {"a":1}}').has_empty
    assert not read(one.grammar(HERMES), b'{"name": "weather"').has_empty
    assert read_tools([WEATHER], "auto").grammar(HERMES) is None


@pytest.mark.parametrize(
    ("tools", "selected", "message"),
    [
        ("x", "auto", "tools: expected a list of at most 128, found 'x'"),
        ([TIME] * 129, "auto", "tools: expected a list of at most 128, found "),
        ([TIME, TIME], "auto", "tools: expected different names, found "),
        ([1], "auto", "tools[0]: expected a function, found 1"),
        ([TIME, {"type": "code"}], "auto", "tools[1]: expected a function, found {'type': 'code'}"),
        ([tool("a b")], "auto", "tools[0].function.name: expected a name of letters, digits, _, "),
        ([tool(parameters=1)], "auto", "tools[0].function.parameters: expected a schema, found 1"),
        ([], "required", 'tool_choice: expected "none", "auto", "required" or the name of a tool'),
        ([TIME], "any", 'tool_choice: expected "none", "auto", "required" or the name of a tool'),
        ([TIME], {"function": {"name": "x"}}, "tool_choice: expected "),
        ([TIME], {"function": "time"}, "tool_choice: expected "),
    ],
)
def test_what_is_wrong_is_named(tools, selected, message):
    with pytest.raises(InputError) as error:
        read_tools(tools, selected)
    assert str(error.value).startswith(message)


def test_a_schema_that_cannot_be_forced_is_named():
    tools = read_tools([TIME, tool(parameters={"not": {}})], "required")
    with pytest.raises(InputError, match=r"^tools\[1\]\.function\.parameters\.not: this keyword"):
        tools.grammar(HERMES)
