"""Requests: the fields of OpenAI's interface, checked, and its errors."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from minillm.data.conversations import Message, check_messages
from minillm.decoding import Sampling
from minillm.errors import InputError, one_line, short
from minillm.option import checked

SAMPLING = tuple(entry.name for entry in fields(Sampling))

LONGEST_STOP = 1000  # characters

# Fields with the only values that can be done here, besides null.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
# Fields that change no answer.
IGNORED = (
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"),
    *("prompt_cache_key", "reasoning_effort", "verbosity"),
)


class RequestError(Exception):
    """A request that cannot be answered, as the interface describes it."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status=400):
        message = one_line(message)
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.body = {"error": error}


@dataclass(frozen=True)
class Wanted:
    """A request that has been checked."""

    messages: list[Message]  # of a chat
    prompt: str  # of a completion
    length: int | None
    sampling: Sampling
    stop: list[str]
    stream: bool
    usage: bool  # the last event of a stream has the numbers of tokens


def read(body: bytes, model: str, defaults: Sampling, chat: bool) -> Wanted:
    """Check the body of a request for a model of this name.  RequestError says what is wrong."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("expected a body in JSON") from None
    if not isinstance(values, dict):
        raise RequestError(f"expected a JSON object, found {short(values)}")
    values = {name: _whole(value) for name, value in values.items() if value is not None}
    _check_names(values, chat)
    asked = values.get("model")
    if not isinstance(asked, str):
        raise RequestError(f"model: expected a name, found {short(asked)}", "model")
    if asked != model:
        raise RequestError(
            f"model: expected {model!r}, found {short(asked)}", "model", "model_not_found", 404
        )
    options = _field(values, "stream_options", dict, {})
    return Wanted(
        messages=_messages(values.get("messages")) if chat else [],
        prompt="" if chat else _prompt(values.get("prompt")),
        length=_length(values),
        sampling=_sampling(values, defaults),
        stop=_stop(values.get("stop", [])),
        stream=_field(values, "stream", bool, False),
        usage=_field(options, "include_usage", bool, False),
    )


def _check_names(values: Mapping[str, Any], chat: bool) -> None:
    """RequestError for a field that is unknown, or has a value that cannot be done here."""
    text: Collection[str] = ("messages", "max_completion_tokens") if chat else ("prompt",)
    known = ("model", "max_tokens", "stop", "stream", "stream_options", *SAMPLING, *text, *IGNORED)
    for name, value in values.items():
        if name in NEUTRAL:
            if not any(value == one and type(value) is type(one) for one in NEUTRAL[name]):
                expected = " or ".join(map(json.dumps, NEUTRAL[name]))
                message = f"{name}: expected {expected}, found {short(value)}"
                raise RequestError(message, name, "unsupported_value")
        elif name not in known:
            shown = one_line(name, 60)
            raise RequestError(f"{shown}: there is no such field", shown, "unknown_parameter")


def _whole(value: Any) -> Any:
    """The value; 1 for 1.0, because some programs write all numbers as floats."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


def _messages(messages: Any) -> list[Message]:
    """The messages, with contents that are lists of texts joined, and developers as the system."""
    read = []
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, dict):
            content, role = message.get("content"), message.get("role")
            if isinstance(content, list) and all(map(_is_text, content)):
                content = "".join(part["text"] for part in content)
            role = "system" if role == "developer" else role
            message = {"role": role, "content": content}
        read.append(message)
    try:
        check_messages(read if isinstance(messages, list) else messages)
    except InputError as error:
        raise RequestError(str(error), str(error).partition(":")[0]) from None
    return read


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise RequestError(f"prompt: expected a text, found {short(prompt)}", "prompt")
    return prompt


def _length(values: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if name in values:
            length = _field(values, name, int, 0)
            if length < 1:
                raise RequestError(f"{name}: expected 1 or more, found {short(length)}", name)
            return length
    return None


def _sampling(values: Mapping[str, Any], defaults: Sampling) -> Sampling:
    given = {name: values[name] for name in SAMPLING if name in values}
    if given.get("top_k") in (0, -1) and not isinstance(given["top_k"], bool):
        given["top_k"] = None  # as other servers switch it off
    try:
        return Sampling(**{**vars(defaults), **checked(Sampling, given, "")})
    except InputError as error:
        raise RequestError(str(error), str(error).partition(":")[0]) from None


def _stop(stop: Any) -> list[str]:
    if stop == "":
        return []
    texts = [stop] if isinstance(stop, str) else stop
    if (
        not isinstance(texts, list)
        or len(texts) > 4
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise RequestError(f"stop: expected 1 to 4 texts, found {short(stop)}", "stop")
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_STOP:
        message = f"stop: expected at most {LONGEST_STOP:,} characters, found {longest:,}"
        raise RequestError(message, "stop")
    return texts


def _field(values: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = values.get(name, default)
    if type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", dict: "an object"}
        raise RequestError(f"{name}: expected {names[kind]}, found {short(value)}", name)
    return value
