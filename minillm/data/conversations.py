"""Conversations, and preferences between answers: JSON lines.

A conversation is a list of messages, each with a role and a content.  A line has one, or a prompt
and the answer to it, which is the same as two messages:

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
    {"prompt": "2 + 2?", "completion": "4"}

A preference is a prompt with two answers; a person or a program has chosen one of them:

    {"prompt": "2 + 2?", "chosen": "4", "rejected": "22"}

Prompts and answers are texts, or lists of messages.

Source: the forms come from Hugging Face's TRL (2023); most published sets are written in them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minillm.data.entries import entry
from minillm.data.files import json_object
from minillm.data.lines import is_json_lines, read_lines
from minillm.errors import InputError, short
from minillm.unicode import check_encodable

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")

FORMS = '"messages", "prompt" and "completion", or "prompt", "chosen" and "rejected"'


class Conversation(NamedTuple):
    """Messages; at least one of them is an answer."""

    messages: list[Message]
    place: str  # in the file, for messages

    @property
    def key(self) -> str:
        """The text that decides between training and validation: the first question.

        Without any question, it is the first answer.
        """
        order = ("user", "assistant", "system")
        return min(self.messages, key=lambda m: order.index(m["role"]))["content"]

    @property
    def last_answer(self) -> tuple[list[Message], str]:
        """The messages before the last answer, and the answer."""
        last = max(at for at, m in enumerate(self.messages) if m["role"] == "assistant")
        return self.messages[:last], self.messages[last]["content"]


class Preference(NamedTuple):
    """Two conversations that differ in their last answer only."""

    chosen: list[Message]
    rejected: list[Message]
    place: str

    @property
    def key(self) -> str:
        """The text that decides between training and validation: the first question."""
        return Conversation(self.chosen, self.place).key


def read_conversations(path: str | Path) -> Iterator[Conversation | Preference]:
    """The conversations of a file, or its preferences; all lines are of one of these.

    InputError names the line of an entry that is missing or of another kind.
    """
    found: type | None = None
    for line, place in read_lines(path):
        if not line.strip():
            continue
        one = _of_line(json_object(line, place), place)
        if found not in (None, type(one)):
            raise InputError(
                f"{place}: expected {found.__name__.lower()}s only, as above, "
                f"found a {type(one).__name__.lower()}"
            )
        found = type(one)
        yield one
    if found is None:
        raise InputError(f"{path}: expected a conversation, found none")


def has_conversations(path: str | Path) -> bool:
    """Whether the first line of a file of JSON lines is a conversation or a preference."""
    if not is_json_lines(path):
        return False
    first, place = next((entry for entry in read_lines(path) if entry[0].strip()), ("{}", ""))
    return not {"messages", "completion", "chosen"}.isdisjoint(json_object(first, place))


def _of_line(values: Any, place: str) -> Conversation | Preference:
    if "messages" in values:
        return Conversation(_with_answer(values["messages"], "messages", place), place)
    if "completion" in values:
        prompt = _messages(values, "prompt", "user", place)
        answer = _messages(values, "completion", "assistant", place)
        return Conversation(_with_answer([*prompt, *answer], "completion", place), place)
    if "chosen" in values and "rejected" in values:
        prompt = _messages(values, "prompt", "user", place)
        both: list[list[Message]] = []
        for name in ("chosen", "rejected"):
            answer = _messages(values, name, "assistant", place)
            answer = answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer
            both.append(_with_answer([*prompt, *answer], name, place))
            if both[-1][-1]["role"] != "assistant":
                raise InputError(
                    f"{place}: {name}: expected an answer as its last message, "
                    f"found one of {short(both[-1][-1]['role'])}"
                )
        chosen, rejected = both
        return Preference(chosen, rejected, place)
    raise InputError(f"{place}: expected {FORMS}, found {', '.join(map(short, values)) or 'none'}")


def _messages(values: Any, name: str, role: str, place: str) -> list[Message]:
    """The messages of an entry, which is a list of them or the text of one."""
    value = values.get(name)
    if isinstance(value, str):
        return [{"role": role, "content": entry(values, name, str, place)}]
    if not isinstance(value, list):
        raise InputError(f"{place}: {name}: expected a text or messages, found {short(value)}")
    return _message_list(value, name, place)


def _with_answer(messages: Any, name: str, place: str) -> list[Message]:
    listed = _message_list(messages, name, place)
    if not any(message["role"] == "assistant" for message in listed):
        raise InputError(f"{place}: {name}: expected a message of the assistant, found none")
    return listed


def _message_list(messages: Any, name: str, place: str) -> list[Message]:
    if messages != []:
        check_messages(messages, f"{place}: {name}")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def check_messages(messages: Any, name: str = "messages") -> None:
    """InputError unless there is a message, and each has a role and a text as its content."""
    if not isinstance(messages, list | tuple) or not messages:
        raise InputError(f"{name}: expected a list of one or more, found {short(messages)}")
    for number, message in enumerate(messages):
        place = f"{name}[{number}]"
        if not isinstance(message, Mapping):
            raise InputError(f"{place}: expected a role and a content, found {short(message)}")
        if message.get("role") not in ROLES:
            role = short(message.get("role"))
            raise InputError(f"{place}.role: expected one of {', '.join(ROLES)}, found {role}")
        content = message.get("content")
        if not isinstance(content, str):
            raise InputError(f"{place}.content: expected a text, found {short(content)}")
        check_encodable(content, f"{place}.content")
