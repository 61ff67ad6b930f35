"""Conversations, preferences between answers, and texts with summaries: files of lines.

A conversation is a list of messages, each with a role and a content.  A line has one, or a prompt
and the answer to it, which is the same as two messages:

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
    {"prompt": "2 + 2?", "completion": "4"}

A preference is a prompt with two answers; a person or a program has chosen one of them:

    {"prompt": "2 + 2?", "chosen": "4", "rejected": "22"}

Prompts and answers are texts, or lists of messages.

A text with its summary is a conversation, too, of a prompt with the text and the summary as the
answer.  A file has no other lines then: see :func:`minillm.data.pairs.read_pairs`.  The prompt is
:func:`summary_request`, for training and for use.

Source: the forms come from Hugging Face's TRL (2023); most published sets are written in them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minillm.data.entries import entry
from minillm.data.lines import is_json_lines, read_objects
from minillm.data.pairs import Pair, read_placed_pairs
from minillm.errors import InputError, short
from minillm.unicode import check_encodable

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant")
# Of a chat: a program answers to a call of the assistant as a tool; a function is its old name.
CHAT_ROLES = (*ROLES, "tool", "function")

FORMS = (
    '"messages", "prompt" and "completion", "source" and "target", or "prompt", "chosen" and '
    '"rejected"'
)


class Conversation(NamedTuple):
    """Messages; at least one of them is an answer."""

    messages: list[Message]
    place: str  # in the file, for messages
    pair: Pair | None = None  # the text and the summary that the conversation was made of
    rejected: list[Message] | None = None  # of a preference: the same with a worse last answer

    @property
    def form(self) -> str:
        """The name of the entry in its file."""
        return "pair" if self.pair else "preference" if self.rejected else "conversation"

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
    """The conversations of files, or their preferences, or their pairs as conversations.

    InputError names the line of an entry that is missing, or of another form than the others.
    """
    found = ""
    for path in paths:
        for one in _of_file(path):
            if found not in ("", one.form):
                raise InputError(
                    f"{one.place}: expected {found}s only, as before, found a {one.form}"
                )
            found = one.form
            yield one
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: expected a conversation, found none")


def _of_file(path: str | Path) -> Iterator[Conversation]:
    """The entries of a file; the first of them says whether they are pairs."""
    if not is_json_lines(path) or "target" in _first_object(path):
        for pair, place in read_placed_pairs(path):
            yield summarised(pair, place)
    else:
        for values, place in read_objects(path):
            yield _conversation(values, place)


def has_conversations(path: str | Path) -> bool:
    """Whether the first line of a file of JSON lines is an entry of one of the forms."""
    forms = {"messages", "completion", "chosen", "target"}
    return is_json_lines(path) and not forms.isdisjoint(_first_object(path))


def _first_object(path: str | Path) -> dict[str, Any]:
    return next((values for values, _ in read_objects(path)), {})


def _conversation(values: dict[str, Any], place: str) -> Conversation:
    """The conversation or the preference of a line."""
    if "messages" in values:
        return Conversation(_answered([], values, "messages", place), place)
    names = ("completion",) if "completion" in values else ("chosen", "rejected")
    if not values.keys() >= {*names}:
        found = ", ".join(map(short, values)) or "none"
        raise InputError(f"{place}: expected {FORMS}, found {found}")
    prompt = _messages(values, "prompt", "user", place)
    talks = [_answered(prompt, values, name, place) for name in names]
    for name, talk in zip(names, talks, strict=True):
        if len(names) > 1 and talk[-1]["role"] != "assistant":
            raise InputError(
                f"{place}: {name}: expected an answer as its last message, "
                f"found one of {short(talk[-1]['role'])}"
            )
    return Conversation(talks[0], place, rejected=talks[1] if len(talks) > 1 else None)


def _answered(prompt: list[Message], values: Any, name: str, place: str) -> list[Message]:
    """The prompt and the messages of an entry, which may repeat the prompt, with an answer."""
    messages = _messages(values, name, "assistant", place)
    if not prompt or messages[: len(prompt)] != prompt:
        messages = [*prompt, *messages]
    if not any(message["role"] == "assistant" for message in messages):
        raise InputError(f"{place}: {name}: expected a message of the assistant, found none")
    return messages


def _messages(values: Any, name: str, role: str, place: str) -> list[Message]:
    """The messages of an entry, which is a list of them or, unless it is "messages", a text."""
    value = values.get(name)
    if isinstance(value, str) and name != "messages":
        return [{"role": role, "content": entry(values, name, str, place)}]
    if not isinstance(value, list) and name != "messages":
        raise InputError(f"{place}: {name}: expected a text or messages, found {short(value)}")
    if value != []:
        check_messages(value, f"{place}: {name}", ROLES)
    return [{"role": message["role"], "content": message["content"]} for message in value]


def summarised(pair: Pair, place: str) -> Conversation:
    """The conversation in which a text is summarised."""
    text, summary = pair
    answer = {"role": "assistant", "content": summary}
    return Conversation([*summary_request(text), answer], place, pair)


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


def check_messages(
    messages: Any, name: str = "messages", roles: Sequence[str] = CHAT_ROLES
) -> None:
    """InputError unless there is a message, and each has a role and a text as its content.

    Where there may be tools, a message may call them (``tool_calls``) without a content.  The form
    of these calls is the business of the template, and of the server.
    """
    tools = "tool" in roles
    if not isinstance(messages, list | tuple) or not messages:
        raise InputError(f"expected a list of one or more, found {short(messages)}", name)
    for number, message in enumerate(messages):
        place = f"{name}[{number}]"
        if not isinstance(message, Mapping):
            raise InputError(f"expected a role and a content, found {short(message)}", place)
        if message.get("role") not in roles:
            role = short(message.get("role"))
            raise InputError(f"expected one of {', '.join(roles)}, found {role}", f"{place}.role")
        text, calls = message.get("content"), message.get("tool_calls") if tools else None
        if not isinstance(text, str) and not (calls and text is None):
            raise InputError(f"expected a text, found {short(text)}", f"{place}.content")
        check_encodable(text or "", f"{place}.content")
