"""Requests: the fields of OpenAI's interface, checked, and its errors.

A field that is not listed here is ignored, as by most servers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct, field

from minillm.data import files
from minillm.data.conversations import Message, check_messages
from minillm.decoding import Sampling
from minillm.decoding.sampling import Adjustment, biased, less_often
from minillm.errors import InputError, one_line, short
from minillm.option import make
from minillm.serving.tools import MOST_TOOLS, Tool, Tools, chosen

SAMPLING = tuple(entry.name for entry in fields(Sampling))

STOPS = 16  # texts
LONGEST_STOP = 1000  # characters
MOST_CHOICES = 2048  # texts of one answer

Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(max_length=LONGEST_STOP)]


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

    def adjustments(self) -> list[Adjustment]:
        """New adjustments of the logits of one choice."""
        given: list[Adjustment] = []
        if self.logit_bias:
            given.append(partial(biased, biases=self.logit_bias))
        frequency, presence = self.frequency_penalty, self.presence_penalty
        if frequency or presence:
            given.append(partial(less_often, frequency=frequency, presence=presence))
        return given


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
    echo: ClassVar[bool] = False

    @property
    def length(self) -> int | None:
        """The most tokens of an answer; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """The number of most probable tokens that are listed; None: no log-probabilities."""
        return self.top_logprobs if self.logprobs else None


class CompletionFields(Fields, kw_only=True):
    """The fields of a completion."""

    prompt: Any  # see texts_or_ids
    length: Annotated[int, Meta(ge=0)] | None = field(default=None, name="max_tokens")
    top: Annotated[int, Meta(ge=0, le=5)] | None = field(default=None, name="logprobs")
    echo: bool = False
    best_of: Annotated[int, Meta(ge=1, le=1)] = 1
    suffix: Annotated[str, Meta(max_length=0)] = ""


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
    messages: Sequence[Message] = ()  # of a chat
    tools: Tools | None = None
    prompts: Sequence[str | list[int]] = ()  # of a completion: texts, or ids of tokens

    def sampling_of(self, choice: int) -> Sampling:
        """The sampling of one of the ``n`` choices: the seeds follow each other."""
        seed = self.sampling.seed
        return replace(self.sampling, seed=None if seed is None else (seed + choice) % 2**63)


def read(body: bytes, model: str, defaults: Sampling, vocabulary: int, chat: bool) -> Wanted:
    """Check the body of a request for a model of this name and number of tokens.

    InputError says what is wrong.
    """
    values = fields_of(body, model)
    if not chat and values.get("logprobs") is False:
        del values["logprobs"]
    given: Any = converted(values, ChatFields if chat else CompletionFields)
    if wrong := [token for token in given.logit_bias if not 0 <= token < vocabulary]:
        message = f"expected token ids below {vocabulary:,}, found {wrong[0]}"
        raise InputError(message, "logit_bias")
    stops = [given.stop] if isinstance(given.stop, str) else given.stop
    given.stop = [text for text in stops if text]  # empty ones stop nothing
    sampling = _sampling(values, defaults)
    if not chat:
        prompts = texts_or_ids("prompt", given.prompt, vocabulary, MOST_CHOICES // given.n)
        return Wanted(given, sampling, prompts=prompts)
    tools = chosen(given.tools, given.tool_choice, values.get("tools", []))
    messages = [_message(message) for message in given.messages]
    check_messages(messages)
    if tools is not None and given.response_format.type != "text":
        raise InputError('expected {"type": "text"} with tools, found another', "response_format")
    return Wanted(given, sampling, messages, tools)


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
        return files.converted(values, form, name, strict=False)
    except InputError as error:
        raise InputError(error.args[0], error.field or "the request") from None


def _message(given: Mapping[str, Any]) -> Message:
    """A message as templates take it.

    A content that is a list of texts is joined, a developer is the system, and the arguments of
    calls are objects.
    """
    message = {name: value for name, value in given.items() if value is not None}
    content, calls = message.get("content"), message.get("tool_calls")
    try:
        if isinstance(content, list):
            content = "".join(part["text"] for part in content)
        if calls:
            functions = [{**call["function"]} for call in calls]
            for function in functions:
                if isinstance(function["arguments"], str):
                    function["arguments"] = json.loads(function["arguments"])
            pairs = zip(calls, functions, strict=True)
            message["tool_calls"] = [{**call, "function": function} for call, function in pairs]
            content = content or ""
    except (TypeError, KeyError, ValueError, RecursionError):
        expected = "texts, and functions with arguments in JSON"
        raise InputError(f"expected {expected}, found {short(given)}", "messages") from None
    role = message.get("role")
    return {**message, "role": "system" if role == "developer" else role, "content": content}


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
