"""Tools: functions that a model may ask for, in the forms that its chat template has taught it.

A request describes functions, and the template writes them into the prompt.  The model answers with
a text, or with calls such as

    <tool_call>
    {"name": "weather", "arguments": {"city": "Paris"}}
    </tool_call>

The client runs the function, and sends the result as a message of the role tool.  Models differ in
how they write calls: ``FORMS`` has a row for each form, which is recognised by its template.

Sources: OpenAI (2023), "API reference", tools; the templates that are published with Qwen2.5,
Hermes 2 Pro and SmolLM3 (the first row), Mistral 7B Instruct 0.3 (the second), Llama 3.1 (the
third).
"""

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from minillm.decoding.grammar import json_rules
from minillm.errors import InputError, short

MOST_TOOLS = 128

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


class Call(NamedTuple):
    """A function to be called, and its arguments in JSON."""

    name: str
    arguments: str

    def to_dict(self) -> dict[str, Any]:
        """The call as the interface has it.  Mistral's templates want ids of nine letters."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": secrets.token_hex(5)[:9], "type": "function", "function": function}


@dataclass(frozen=True)
class CallForm:
    """The form in which a model writes calls.

    ``sign``: the text in a template by which the form is recognised.
    ``opening``: the text before the first call; "" if an answer that is JSON is a call.
    ``marks``: texts between and after calls.
    ``arguments``: the key of the arguments.
    ``brackets``: what is around all calls.
    """

    sign: str
    opening: str
    marks: tuple[str, ...] = ()
    arguments: str = "arguments"
    brackets: tuple[str, str] = ("", "")

    @property
    def texts(self) -> tuple[str, ...]:
        """The opening and the marks, which may be special tokens."""
        return (self.opening, *self.marks)

    def rules(self, functions: Mapping[str, Any]) -> str:
        """The rules of one call after the opening; ``functions`` has the schema of each.

        See :func:`minillm.decoding.grammar.json_rules`.
        """
        before, after = map(json.dumps, self.brackets)
        names = " | ".join(f"call_{at}" for at in range(len(functions)))
        rules = f'start: " "? {before} ({names}) {after}\n'
        for at, (name, schema) in enumerate(functions.items()):
            begin = json.dumps(f'{{"name": "{name}", "{self.arguments}": ')
            rules += f'call_{at}: {begin} arguments_{at} "}}"\n'
            place = f"tools: {name}: parameters"
            rules += json_rules(schema, place, f"arguments_{at}")
        return rules

    def calls(self, text: str, names: Collection[str]) -> list[Call]:
        """The calls in a text that begins with the opening; none if it has others, too."""
        found: list[Any] = []
        rest = text.removeprefix(self.opening).strip()
        while rest:
            mark = next((mark for mark in self.marks if rest.startswith(mark)), "")
            if not mark:
                try:
                    value, end = _DECODER.raw_decode(rest)
                except (ValueError, RecursionError):
                    break
                found += value if isinstance(value, list) else [value]
                rest = rest[end:]
            rest = rest.removeprefix(mark).lstrip()
        try:
            calls = [(call["name"], call[self.arguments]) for call in found]
        except (TypeError, KeyError):
            return []
        if not all(name in list(names) and isinstance(values, dict) for name, values in calls):
            return []
        return [Call(name, json.dumps(values)) for name, values in calls]


FORMS = (
    CallForm("<tool_call>", "<tool_call>", ("<tool_call>", "</tool_call>")),
    CallForm("[TOOL_CALLS]", "[TOOL_CALLS]", brackets=("[", "]")),
    CallForm('"parameters"', "", (";",), arguments="parameters"),
)


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def form_of(template: str) -> CallForm:
    """The form of the calls of a model with a chat template in Jinja.  InputError for none."""
    if not re.search(r"\b(xml_)?tools\b", template):  # SmolLM3 calls them so
        raise InputError("tools: expected a chat template that takes tools, found one without")
    found = next((form for form in FORMS if form.sign in template), None)
    if found is None:
        signs = " or ".join(form.sign for form in FORMS)
        raise InputError(f"tools: expected a chat template with {signs}, found another")
    return found


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
        raise InputError(f"tools: expected different names, found {short(sorted(functions))}")
    if choice == "none" or (choice == "auto" and not functions):
        return None
    name = choice.function.name if isinstance(choice, Tool) else None
    forced = {
        one: schema for one, schema in functions.items() if choice == "required" or one == name
    }
    if choice != "auto" and not forced:
        raise InputError(f"tool_choice: expected the name of a tool, found {short(name or choice)}")
    return Tools(list(functions), described, forced)


@dataclass
class Answer:
    """An answer that grows, and in which there may be calls.

    ``add`` pieces, and ``end`` it; both give the text to show.  ``calls`` has the calls then.
    """

    form: CallForm
    names: Collection[str]
    held: str = ""  # it may be calls, or the beginning of their opening
    calls: list[Call] = field(default_factory=list)
    _begun: bool = False  # some text has been shown

    def add(self, piece: str) -> str:
        """The text that certainly is no call."""
        self.held += piece
        opening = self.form.opening
        if not opening:
            self._begun = self._begun or self.held.lstrip()[:1] not in ("", "{")
            at = len(self.held) if self._begun else 0
        elif (at := self.held.find(opening)) < 0:
            begun = [k for k in range(1, len(opening)) if self.held.endswith(opening[:k])]
            at = len(self.held) - max(begun, default=0)
        shown, self.held = self.held[:at], self.held[at:]
        return shown

    def end(self) -> str:
        """The rest of the text, if it is no call."""
        if self.held.startswith(self.form.opening):
            self.calls = self.form.calls(self.held, self.names)
        return "" if self.calls else self.held
