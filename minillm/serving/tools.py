"""Tools: functions that a model may ask for, in the forms that its chat template has taught it.

A request describes functions, and the template writes them into the prompt.  The model answers with
a text, or with calls such as

    <tool_call>
    {"name": "weather", "arguments": {"city": "Paris"}}
    </tool_call>

The client runs the function, and sends the result as a message of the role tool.  Other forms of
calls, such as Mistral's and Llama's, are texts here.

Sources: OpenAI (2023), "API reference", tools; the templates that are published with Qwen2.5,
Hermes 2 Pro and SmolLM3.
"""

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from minillm.decoding.continuation import begun
from minillm.decoding.grammar import json_rules
from minillm.errors import InputError, short

MOST_TOOLS = 128
OPENING, CLOSING = "<tool_call>", "</tool_call>"

# Of a function without a description of its parameters.
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "additionalProperties": False}


class Function(Struct):
    """A function; its parameters are a schema."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")]
    parameters: dict[str, Any] | None = None


class Tool(Struct):
    """A tool that an answer may call."""

    type: Annotated[str, Meta(pattern="^function$")]
    function: Function


def takes_tools(template: str) -> bool:
    """Whether a chat template in Jinja writes tools and their calls.  SmolLM3 has xml_tools."""
    return OPENING in template and re.search(r"\b(xml_)?tools\b", template) is not None


def call_rules(functions: Mapping[str, Any]) -> str:
    """The rules of one call after the opening; ``functions`` has the schema of each.

    See :func:`minillm.decoding.grammar.json_rules`.
    """
    names = " | ".join(f"call_{at}" for at in range(len(functions)))
    rules = f'start: " "? ({names})\n'
    for at, (name, schema) in enumerate(functions.items()):
        begin = json.dumps(f'{{"name": "{name}", "arguments": ')
        rules += f'call_{at}: {begin} arguments_{at} "}}"\n'
        rules += json_rules(schema, f"tools: {name}: parameters", f"arguments_{at}")
    return rules


def calls_in(text: str, names: Collection[str]) -> list[dict[str, Any]]:
    """The calls that begin a text, as the interface has them; none if one of them is wrong."""
    found = []
    try:
        for part in re.split(f"{OPENING}|{CLOSING}", text):
            if part.strip():
                found.append(json.loads(part, parse_constant=_refuse))  # noqa: PERF401
    except (ValueError, RecursionError):
        pass  # the calls before a text, or before a call that was cut, count
    try:
        functions = [(call["name"], json.dumps({**call["arguments"]})) for call in found]
    except (TypeError, KeyError, RecursionError):
        return []
    if not all(name in list(names) for name, _ in functions):
        return []
    return [
        {
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for name, arguments in functions
    ]


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


class Tools(NamedTuple):
    """The functions of a request.

    The template receives ``described``.  The model must call one of those in ``forced``, which has
    their schemas by name; it chooses for itself if there is none.
    """

    names: list[str]
    described: list[dict[str, Any]]
    forced: dict[str, Any]


def chosen(
    tools: Sequence[Tool], choice: str | Tool, described: list[dict[str, Any]]
) -> Tools | None:
    """The tools of a request, and the selection among them, as ``tool_choice`` describes it.

    None if there are none, or none is to be called.  InputError names what is wrong.
    """
    functions = {tool.function.name: tool.function.parameters or NO_PARAMETERS for tool in tools}
    if len(functions) < len(tools):
        raise InputError(f"expected different names, found {short(sorted(functions))}", "tools")
    if choice == "none" or (choice == "auto" and not functions):
        return None
    name = choice.function.name if isinstance(choice, Tool) else None
    forced = {
        one: schema for one, schema in functions.items() if choice == "required" or one == name
    }
    if choice != "auto" and not forced:
        raise InputError(
            f"expected the name of a tool, found {short(name or choice)}", "tool_choice"
        )
    return Tools(list(functions), described, forced)


class Answer:
    """An answer that grows, and in which there may be calls.

    ``add`` pieces, and ``end`` it; both give the text to show.  ``calls`` has the calls then.
    """

    def __init__(self, tools: Tools):
        self.names = tools.names
        self.calls: list[dict[str, Any]] = []
        # It may be calls, or the beginning of their opening.  The prompt ends with a forced one.
        self._held = OPENING if tools.forced else ""

    def add(self, piece: str) -> str:
        """The text that certainly is no call."""
        held = self._held + piece
        at = held.find(OPENING)
        at = len(held) - begun(held, [OPENING]) if at < 0 else at
        shown, self._held = held[:at], held[at:]
        return shown

    def end(self) -> str:
        """The rest of the text, if it is no call."""
        if self._held.startswith(OPENING):
            self.calls = calls_in(self._held, self.names)
        return "" if self.calls else self._held
