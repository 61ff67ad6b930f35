"""Conversations, and preferences between answers: files of JSON lines.

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
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta, Struct

from minillm.data.lines import is_json_lines, read_objects
from minillm.errors import InputError, short
from minillm.unicode import check_encodable

Message = Mapping[str, Any]
# Of a chat: a program answers to a call of the assistant as a tool; a function is its old name.
CHAT_ROLES = ("system", "user", "assistant", "tool", "function")


class FileMessage(TypedDict):
    """A message in a file."""

    role: Annotated[str, Meta(pattern="^(system|user|assistant)$")]
    content: str


class Line(Struct):
    """A line of a file; what it may hold besides is not read."""

    messages: list[FileMessage] | None = None
    prompt: str | list[FileMessage] | None = None
    completion: str | list[FileMessage] | None = None
    chosen: str | list[FileMessage] | None = None
    rejected: str | list[FileMessage] | None = None

    @property
    def form(self) -> str:
        """The name of what it holds, if it holds anything whole."""
        prompted = self.prompt is not None
        if self.messages is not None or (prompted and self.completion is not None):
            return "conversation"
        if prompted and self.chosen is not None and self.rejected is not None:
            return "preference"
        return ""


class Conversation(NamedTuple):
    """Messages; at least one of them is an answer."""

    messages: list[Message]
    place: str  # in the file, for messages
    rejected: list[Message] | None = None  # of a preference: the same with a worse last answer

    @property
    def form(self) -> str:
        """The name of the entry in its file."""
        return "preference" if self.rejected else "conversation"

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


def read_conversations(*paths: str | Path) -> Iterator[Conversation]:
    """The conversations of files, or their preferences.

    InputError names the line of an entry that is missing, or of another form than the others.
    """
    found = ""
    for path in paths:
        for line, place in read_objects(path, Line):
            if not line.form:
                raise InputError(
                    f'{place}: expected "messages", "prompt" and "completion", or "prompt", '
                    '"chosen" and "rejected", found none of them'
                )
            if found not in ("", line.form):
                raise InputError(f"{place}: expected {found}s only, as before, found a {line.form}")
            found = line.form
            yield _conversation(line, place)
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: expected a conversation, found none")


def form_of(path: str | Path) -> str:
    """The form of the first of some JSON lines; the empty string for other lines and files."""
    lines = read_objects(path, Line) if is_json_lines(path) else iter(())
    return next((line.form for line, _ in lines), "")


def _conversation(line: Line, place: str) -> Conversation:
    """The conversation or the preference of a line."""
    if line.messages is not None:
        return Conversation(_answered([], line.messages, place), place)
    prompt = _messages(line.prompt, "user")
    if line.completion is not None:
        return Conversation(_answered(prompt, line.completion, place), place)
    chosen, rejected = (_answered(prompt, talk, place) for talk in (line.chosen, line.rejected))
    if any(talk[-1]["role"] != "assistant" for talk in (chosen, rejected)):
        raise InputError(
            f"{place}: expected an answer as the last message of both, found one of another role"
        )
    return Conversation(chosen, place, rejected)


def _answered(prompt: list[Message], talk: Any, place: str) -> list[Message]:
    """The prompt and the messages after it, which may repeat the prompt, with an answer."""
    messages = _messages(talk, "assistant")
    if not prompt or messages[: len(prompt)] != prompt:
        messages = [*prompt, *messages]
    if not any(message["role"] == "assistant" for message in messages):
        raise InputError(f"{place}: expected a message of the assistant, found none")
    return messages


def _messages(talk: Any, role: str) -> list[Message]:
    """A list of messages; a text is one message."""
    return [{"role": role, "content": talk}] if isinstance(talk, str) else talk


def summary_request(
    text: str, sentences: int | None = None, words: int | None = None
) -> list[Message]:
    """The messages that ask for a summary of a text.

    The instruction follows the text.  A small model then forgets it less often, and copies less of
    the text, than after an instruction in front of the text or in a system prompt.
    """
    most = []
    if sentences is not None:
        most.append("one sentence" if sentences == 1 else f"at most {sentences} sentences")
    if words is not None:
        most.append(f"at most {words} words")
    how = f"briefly, in {' and '.join(most)}" if most else "briefly"
    asked = f"{text}\n\nSummarize the text above {how}. Write only the summary."
    return [{"role": "user", "content": asked}]


def check_messages(messages: Any, name: str = "messages") -> None:
    """InputError unless there is a message, and each has a role and a text as its content.

    A message may call tools (``tool_calls``) without a content.  The form of these calls is the
    business of the template, and of the server.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise InputError(f"expected a list of one or more, found {short(messages)}", name)
    for number, message in enumerate(messages):
        place = f"{name}[{number}]"
        if not isinstance(message, Mapping):
            raise InputError(f"expected a role and a content, found {short(message)}", place)
        role, text = message.get("role"), message.get("content")
        if role not in CHAT_ROLES:
            expected = ", ".join(CHAT_ROLES)
            raise InputError(f"expected one of {expected}, found {short(role)}", f"{place}.role")
        if not isinstance(text, str) and not (message.get("tool_calls") and text is None):
            raise InputError(f"expected a text, found {short(text)}", f"{place}.content")
        check_encodable(text or "", f"{place}.content")
