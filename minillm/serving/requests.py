"""Requests: the fields of OpenAI's interface, checked, and its errors.

A field that is not listed here is ignored, as by most servers, unless it would change the answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from minillm.data import entries
from minillm.data.conversations import Message, check_messages
from minillm.decoding import Sampling
from minillm.decoding.continuation import Adjustment
from minillm.decoding.sampling import Bias, Occurrences
from minillm.errors import InputError, one_line, short
from minillm.option import make
from minillm.serving.tools import MOST_TOOLS, Tool, Tools, chosen

SAMPLING = tuple(entry.name for entry in fields(Sampling))

STOPS = 16  # texts
LONGEST_STOP = 1000  # characters
MOST_CHOICES = 2048  # texts of one answer

Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(max_length=LONGEST_STOP)]

# Fields that would change the answer, and the value with which they do not.
NEUTRAL: dict[str, Any] = {
    "chat_template": "",
    "chat_template_kwargs": {},
    "continue_final_message": False,
    "dry_multiplier": 0,
    "functions": [],
    "grammar": "",
    "ignore_eos": False,
    "min_tokens": 0,
    "mirostat": 0,
    "modalities": ["text"],
    "repeat_penalty": 1,
    "stop_token_ids": [],
    "suffix": "",
    "use_beam_search": False,
    "xtc_probability": 0,
}
NEUTRAL_OF_CHAT: dict[str, Any] = {"echo": False}
NEUTRAL_OF_COMPLETION: dict[str, Any] = {
    "best_of": 1,
    "response_format": {"type": "text"},
    "tools": [],
}


class StreamOptions(Struct, frozen=True):
    """Options of an answer that comes as events."""

    include_usage: bool = False


class Fields(Struct, kw_only=True):
    """The fields of both interfaces, besides Sampling's."""

    n: Annotated[int, Meta(ge=1, le=128)] = 1
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: dict[int, Annotated[float, Meta(ge=-100, le=100)]] = {}
    stop: StopText | Annotated[list[StopText], Meta(max_length=STOPS)] = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


class NamedSchema(Struct):
    """A schema of an answer."""

    schema: Any


class ResponseFormat(Struct, frozen=True):
    """The form of an answer."""

    type: Annotated[str, Meta(pattern="^(text|json_object|json_schema)$")]
    json_schema: NamedSchema | None = None


class ChatFields(Fields, kw_only=True):
    """The fields of a chat."""

    messages: list[dict[str, Any]]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] = 0
    response_format: ResponseFormat = ResponseFormat("text")
    tools: Annotated[list[Tool], Meta(max_length=MOST_TOOLS)] = []
    tool_choice: Annotated[str, Meta(pattern="^(none|auto|required)$")] | Tool = "auto"


class CompletionFields(Fields, kw_only=True):
    """The fields of a completion."""

    prompt: Any  # see texts_or_ids
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool = False


class RequestError(InputError):
    """A request that cannot be answered, with a code and a status of the interface."""

    def __init__(
        self, message: str, field: str | None = None, code: str | None = None, status: int = 400
    ):
        super().__init__(message, field)
        self.code, self.status = code, status


def answer_to(error: InputError) -> tuple[dict[str, Any], int]:
    """The object that describes an error, and its status."""
    status = getattr(error, "status", 400)
    described = {
        "message": one_line(str(error)),
        "type": "invalid_request_error" if status < 500 else "server_error",
        "param": re.split("[.[:]", error.field)[0] if error.field else None,
        "code": getattr(error, "code", None),
    }
    return {"error": described}, status


@dataclass(frozen=True)
class Wanted:
    """A request that has been checked."""

    fields: Any  # ChatFields or CompletionFields
    sampling: Sampling
    length: int | None  # tokens of an answer; None: as many as fit
    top: int | None  # most probable tokens that are listed; None: no log-probabilities
    messages: Sequence[Message] = ()  # of a chat
    tools: Tools | None = None
    prompts: Sequence[str | list[int]] = ()  # of a completion: texts, or ids of tokens
    echo: bool = False

    def sampling_of(self, choice: int) -> Sampling:
        """The sampling of one of the ``n`` choices: the seeds follow each other."""
        seed = self.sampling.seed
        return replace(self.sampling, seed=None if seed is None else (seed + choice) % 2**63)

    def adjustments(self) -> list[Adjustment]:
        """New adjustments of the logits of one choice."""
        given: list[Adjustment] = []
        if self.fields.logit_bias:
            given.append(Bias(self.fields.logit_bias))
        penalties = Occurrences(self.fields.frequency_penalty, self.fields.presence_penalty)
        return given if penalties == Occurrences() else [*given, penalties]


def read(body: bytes, model: str, defaults: Sampling, vocabulary: int, chat: bool) -> Wanted:
    """Check the body of a request for a model of this name and number of tokens.

    InputError says what is wrong.
    """
    values = fields_of(body, model)
    neutral = NEUTRAL | (NEUTRAL_OF_CHAT if chat else NEUTRAL_OF_COMPLETION)
    for name, value in values.items():
        if value and name in neutral and value != neutral[name]:
            message = f"expected {json.dumps(neutral[name])}, found {short(value)}"
            raise RequestError(message, name, "unsupported_value")
    if not chat and values.get("logprobs") is False:
        del values["logprobs"]
    given: Any = converted(values, ChatFields if chat else CompletionFields)
    if wrong := [token for token in given.logit_bias if not 0 <= token < vocabulary]:
        message = f"expected token ids below {vocabulary:,}, found {wrong[0]}"
        raise InputError(message, "logit_bias")
    if isinstance(given.stop, str):
        given.stop = [given.stop]
    given.stop = [text for text in given.stop if text]  # empty ones stop nothing
    sampling = _sampling(values, defaults)
    if chat:
        tools = chosen(given.tools, given.tool_choice, values.get("tools", []))
        messages: list[Message] = [_message(message) for message in given.messages]
        check_messages(messages)
        if tools is not None and given.response_format.type != "text":
            message = 'expected {"type": "text"} with tools, found another'
            raise RequestError(message, "response_format", "unsupported_value")
        length = given.max_completion_tokens or given.max_tokens
        top = given.top_logprobs if given.logprobs else None
        return Wanted(given, sampling, length, top, messages, tools)
    prompts = texts_or_ids("prompt", given.prompt, vocabulary, MOST_CHOICES // given.n)
    length, top = given.max_tokens, given.logprobs
    return Wanted(given, sampling, length, top, prompts=prompts, echo=given.echo)


def fields_of(body: bytes, model: str) -> dict[str, Any]:
    """The fields of a request for this model that are not null, but for the model's name."""
    try:
        values = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"expected a body in JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"expected a JSON object, found {short(values)}")
    values = {name: value for name, value in values.items() if value is not None}
    asked = values.pop("model", None)
    if not isinstance(asked, str):
        raise InputError(f"expected a name, found {short(asked)}", "model")
    if asked != model:
        raise RequestError(
            f"expected {model!r}, found {short(asked)}", "model", "model_not_found", 404
        )
    return values


def converted(values: Any, form: Any, name: str = "") -> Any:
    """Values of JSON as a type, the fields of a request or one named field."""
    try:
        return entries.converted(values, form, name, strict=False)
    except InputError as error:
        raise InputError(error.args[0], error.field or "the request") from None


def _message(message: dict[str, Any]) -> Message:
    """A message; a content that is a list of texts is joined, and a developer is the system."""
    content, role = message.get("content"), message.get("role")
    if isinstance(content, list) and all(map(_is_text, content)):
        content = "".join(part["text"] for part in content)
    named = {name: message[name] for name in ("tool_call_id", "name") if message.get(name)}
    read = {"role": "system" if role == "developer" else role, "content": content, **named}
    if message.get("tool_calls"):
        try:
            read["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": _arguments(call)}}
                for call in message["tool_calls"]
            ]
        except (TypeError, KeyError, ValueError, RecursionError):
            raise InputError(
                "tool_calls: expected functions with a name and arguments in JSON, "
                f"found {short(message['tool_calls'])}",
                "messages",
            ) from None
        read["content"] = content or ""
    return read


def _arguments(call: Mapping[str, Any]) -> Any:
    """The arguments of a call, which templates take as objects."""
    arguments = call["function"]["arguments"]
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def _is_text(part: Any) -> bool:
    is_text = isinstance(part, dict) and part.get("type") == "text"
    return is_text and isinstance(part.get("text"), str)


def texts_or_ids(name: str, value: Any, vocabulary: int, most: int) -> list[str | list[int]]:
    """A text, a list of texts, of ids, or of lists of ids: -> a list of texts or lists of ids.

    There may be ``most`` of them.
    """
    several = Meta(min_length=1, max_length=most)
    ids = Annotated[list[Annotated[int, Meta(ge=0, lt=vocabulary)]], Meta(min_length=1)]
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(value, str):
        return [value]
    if isinstance(first, str | list):
        kind: Any = str if isinstance(first, str) else ids
        return converted(value, Annotated[list[kind], several], name)
    if first is not None:
        return [converted(value, ids, name)]
    expected = "a text or a list of token ids, or a list of them"
    raise InputError(f"expected {expected}, found {short(value)}", name)


def _sampling(values: Mapping[str, Any], defaults: Sampling) -> Sampling:
    """The sampling of a request: its own values, and the defaults elsewhere.

    0 or -1 as ``top_k`` and 1 as ``top_p`` switch a rule off.
    """
    given = {name: values[name] for name in SAMPLING if name in values}
    if isinstance(given.get("top_k"), float):  # some programs write all numbers as floats
        given["top_k"] = converted(given["top_k"], int, "top_k")
    if given.get("top_k") in (0, -1) and not isinstance(given["top_k"], bool):
        given["top_k"] = None
    seed = given.get("seed")
    if seed is not None:
        seed = converted(seed, Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)], "seed")
        given["seed"] = None if seed == -1 else seed % 2**63  # -1: any, as in llama.cpp
    return make(Sampling, {**vars(defaults), **given})
