"""Calls of functions: what a request may ask for, and what an answer has."""

import json
from itertools import pairwise

import pytest
from decoding.test_grammar import TOKENS, allowed
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding.grammar import Grammar
from minillm.serving.tools import (
    OPENING,
    Answer,
    Function,
    Tool,
    Tools,
    call_rules,
    chosen,
    takes_tools,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


WEATHER = Tool("function", Function("weather", SCHEMA))
TIME = Tool("function", Function("time"))
CALL = {"name": "weather", "arguments": {"city": "Zürich"}}
WANTED = [("weather", {"city": "Zürich"})]
NAMES = ["weather", "time"]
TOOLS = Tools(NAMES, [], {})


def grown(*pieces):
    """What is shown of an answer, and its calls."""
    answer = Answer(TOOLS)
    shown = "".join(answer.add(piece) for piece in pieces) + answer.end()
    called = [call["function"] for call in answer.calls]
    return shown, [(call["name"], json.loads(call["arguments"])) for call in called]


CASES = [
    (f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>", "", WANTED),
    (f"I look.\n<tool_call>{json.dumps(CALL, ensure_ascii=False)}", "I look.\n", WANTED),
    (f"<tool_call>{json.dumps(CALL)}</tool_call>\n" * 2, "", WANTED * 2),
    ('<tool_call>{"name": "x", "arguments": {}}</tool_call>', None, []),
    ('<tool_call>{"name": "time", "arguments": []}</tool_call>', None, []),
    ('<tool_call>{"name": ["time"], "arguments": {}}</tool_call>', None, []),
    ('<tool_call>{"name": "time", "arguments": {"a": NaN}}</tool_call>', None, []),
    ('<tool_call>{"name": "time", "argu', None, []),
    ("a <tool_ b", None, []),
    ("a <tool_call", None, []),
    (json.dumps(CALL), None, []),
    (f"<tool_call>{json.dumps(CALL)}</tool_call> So be it.", "", WANTED),
]


@pytest.mark.parametrize(("text", "shown", "calls"), CASES)
@given(st.data())
def test_calls_are_found_however_the_text_is_cut(text, shown, calls, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    assert grown(*pieces) == (text if shown is None else shown, calls)


def test_text_that_is_no_call_is_shown_at_once():
    assert Answer(TOOLS).add("It rains <") == "It rains "


def test_arguments_are_json_that_a_file_can_hold():
    answer = Answer(TOOLS)
    answer.add('<tool_call>{"name": "time", "arguments": {"é": "\\ud800"}}')
    answer.end()
    assert answer.calls[0]["function"]["arguments"] == '{"\\u00e9": "\\ud800"}'


def test_a_forced_call_is_found_again():
    """Its text begins after the opening, which is in the prompt."""
    grammar = Grammar(TOKENS, call_rules({"weather": SCHEMA, "time": {"type": "object"}}), "tools")
    for name, arguments in (("weather", '{"city":"Bern"}'), ("time", "{}")):
        text = f'{{"name": "{name}", "arguments": {arguments}}}'
        for begin in ("", " "):
            assert b"<|endoftext|>" in allowed(grammar, f"{begin}{text}".encode())
        assert grown(OPENING, text) == ("", [(name, json.loads(arguments))])


def test_templates_that_take_tools():
    assert takes_tools("{% if tools %}<tool_call>{% endif %}")
    assert takes_tools("{{ xml_tools }}<tool_call>")
    assert not takes_tools("{% for m in messages %}<tool_call>{% endfor %}")
    assert not takes_tools("{{ tools }}[TOOL_CALLS]")


def test_what_is_forced():
    both, described = [WEATHER, TIME], [{"a": 1}, {"b": 2}]
    assert chosen([], "auto", []) is chosen([], "none", []) is chosen(both, "none", []) is None
    assert chosen(both, "auto", described).forced == {}
    assert list(chosen(both, "required", described).forced) == ["weather", "time"]
    one = chosen(both, TIME, described)
    assert (one.names, one.described, list(one.forced)) == (NAMES, described, ["time"])
