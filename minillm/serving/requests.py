"""Requests: the fields of OpenAI's interface, checked, and its errors."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from minillm.data.conversations import Message, check_messages
from minillm.decoding import Sampling
from minillm.decoding.grammar import Expression
from minillm.decoding.json_schema import ANY_OBJECT, grammar_of
from minillm.decoding.penalties import Bias, Occurrences
from minillm.decoding.writer import Adjustment
from minillm.errors import InputError, one_line, short
from minillm.option import checked, option, with_default
from minillm.serving.tools import Tools, read_tools

SAMPLING = tuple(entry.name for entry in fields(Sampling))

TINY = 1e-300  # top_p with which only the most probable token is kept, as OpenAI's 0

STOPS = 16  # texts
LONGEST_STOP = 1000  # characters
MOST_CHOICES = 2048  # texts of one answer


@dataclass(frozen=True)
class Fields:
    """Fields with one value each, of both interfaces; ``option`` has their ranges."""

    n: int = option(1, "the number of choices for each prompt", least=1, most=128)
    seed: int | None = option(
        None, "the same seed draws the same text", least=-(2**63), most=2**63 - 1
    )
    frequency_penalty: float = option(0.0, "see Occurrences", least=-2, most=2)
    presence_penalty: float = option(0.0, "see Occurrences", least=-2, most=2)
    stream: bool = option(False, "the answer comes as events")


@dataclass(frozen=True)
class ChatFields(Fields):
    """The fields of a chat."""

    max_tokens: int | None = option(None, "the number of tokens of an answer", least=1)
    max_completion_tokens: int | None = option(None, "the same", least=1)
    logprobs: bool = option(False, "the answer has log-probabilities")
    top_logprobs: int = option(0, "so many of the most probable tokens, too", least=0, most=20)


@dataclass(frozen=True)
class RepeatPenalty:
    """The repetition penalty under its name in llama.cpp."""

    repeat_penalty: float = with_default(Sampling, "repetition_penalty", 1.0)


@dataclass(frozen=True)
class CompletionFields(Fields):
    """The fields of a completion."""

    max_tokens: int | None = option(None, "the number of tokens of an answer", least=0)
    logprobs: int | None = option(
        None, "the answer has log-probabilities, also of the most probable tokens", least=0, most=5
    )
    echo: bool = option(False, "the answer begins with the prompt")
    best_of: int | None = option(None, "must be n", least=1, most=128)


# Fields with the only values that can be done here, besides null.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    # of vLLM
    "add_generation_prompt": (True,),
    "chat_template": ("",),  # the model's own is used: a request brings no program
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "min_tokens": (0,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "use_beam_search": (False,),
    # of llama.cpp
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "grammar": ("",),
    "mirostat": (0,),
    "n_probs": (0,),
    "repeat_last_n": (-1,),
    "tfs_z": (1,),
    "timings_per_token": (False,),
    "top_n_sigma": (-1,),
    "typical_p": (1,),
    "xtc_probability": (0,),
}
NEUTRAL_OF_CHAT: dict[str, tuple[Any, ...]] = {"echo": (False,)}
NEUTRAL_OF_COMPLETION: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}

# Fields that change no answer; the last two lines belong to samplers that are switched off.
IGNORED = (
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "verbosity"),
    *("cache_prompt", "id_slot", "priority", "request_id", "spaces_between_special_tokens"),
    *("dry_allowed_length", "dry_base", "dry_penalty_last_n", "dry_sequence_breakers"),
    *("dynatemp_exponent", "mirostat_eta", "mirostat_tau", "xtc_threshold"),
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
    prompts: list[str | list[int]]  # of a completion: texts, or ids of tokens
    n: int  # choices for each prompt
    length: int | None
    sampling: Sampling
    penalties: Occurrences
    bias: Mapping[int, float]
    stop: list[str]
    top: int | None  # most probable tokens that are listed; None: no log-probabilities
    echo: bool
    grammar: Expression | None  # of the text of an answer
    tools: Tools | None  # that an answer may call
    stream: bool
    usage: bool  # the last event of a stream has the numbers of tokens

    def sampling_of(self, choice: int) -> Sampling:
        """The sampling of one of the ``n`` choices: the seeds follow each other."""
        seed = self.sampling.seed
        return replace(self.sampling, seed=None if seed is None else (seed + choice) % 2**63)

    def adjustments(self) -> list[Adjustment]:
        """New adjustments of the logits of one choice."""
        given: list[Adjustment] = []
        if self.bias:
            given.append(Bias(self.bias))
        if self.penalties != Occurrences():
            given.append(self.penalties)
        return given


def read(body: bytes, model: str, defaults: Sampling, vocabulary: int, chat: bool) -> Wanted:
    """Check the body of a request for a model of this name and number of tokens.

    RequestError says what is wrong.
    """
    values = fields_of(body, model)
    form = ChatFields if chat else CompletionFields
    text = ("messages", "response_format", "tools", "tool_choice") if chat else ("prompt",)
    known = [*text, "logit_bias", "repeat_penalty", "stop", "stream_options", *SAMPLING]
    check_names(
        values,
        [*known, *(entry.name for entry in fields(form)), *IGNORED],
        NEUTRAL | (NEUTRAL_OF_CHAT if chat else NEUTRAL_OF_COMPLETION),
    )
    if values.get("logprobs") is False or (chat and values.get("logprobs") == 0):
        del values["logprobs"]
    given: Any = check_fields(form, values)
    options = _field(values, "stream_options", dict, {})
    grammar = _grammar(values.get("response_format", {"type": "text"}))
    tools = _tools(values) if chat else None
    if grammar is not None and tools is not None:
        message = 'response_format: expected {"type": "text"} with tools, found another'
        raise RequestError(message, "response_format", "unsupported_value")
    most = MOST_CHOICES // given.n
    return Wanted(
        messages=_messages(values.get("messages")) if chat else [],
        prompts=[] if chat else texts_or_ids("prompt", values.get("prompt"), vocabulary, most),
        n=_choices(given),
        length=_length(given),
        sampling=_sampling(values, given.seed, defaults),
        penalties=Occurrences(given.frequency_penalty, given.presence_penalty),
        bias=_bias(values.get("logit_bias", {}), vocabulary),
        stop=_stop(values.get("stop", [])),
        top=_top(given),
        echo=getattr(given, "echo", False),
        grammar=grammar,
        tools=tools,
        stream=given.stream,
        usage=_field(options, "include_usage", bool, False),
    )


def fields_of(body: bytes, model: str) -> dict[str, Any]:
    """The fields of a request for this model that are not null, but for the model's name."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("expected a body in JSON") from None
    if not isinstance(values, dict):
        raise RequestError(f"expected a JSON object, found {short(values)}")
    values = {name: _whole(value) for name, value in values.items() if value is not None}
    asked = values.pop("model", None)
    if not isinstance(asked, str):
        raise RequestError(f"model: expected a name, found {short(asked)}", "model")
    if asked != model:
        raise RequestError(
            f"model: expected {model!r}, found {short(asked)}", "model", "model_not_found", 404
        )
    return values


def check_names(
    values: Mapping[str, Any], known: Collection[str], neutral: Mapping[str, Sequence[Any]]
) -> None:
    """RequestError for a field that is not known, or not neutral."""
    for name, value in values.items():
        if name in neutral:
            if not any(value == one and type(value) is type(one) for one in neutral[name]):
                expected = " or ".join(map(json.dumps, neutral[name]))
                message = f"{name}: expected {expected}, found {short(value)}"
                raise RequestError(message, name, "unsupported_value")
        elif name not in known:
            shown = one_line(name, 60)
            raise RequestError(f"{shown}: there is no such field", shown, "unknown_parameter")


def check_fields(form: type, values: Mapping[str, Any]) -> Any:
    """The values of a dataclass of fields; RequestError for one that is wrong."""
    names = [entry.name for entry in fields(form)]
    return form(**_checked(form, {name: values[name] for name in names if name in values}))


def _checked(form: type, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return checked(form, given, "")
    except InputError as error:
        raise RequestError(str(error), str(error).partition(":")[0]) from None


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
            message = {"role": role, "content": content, **_of_tools(message)}
            if "tool_calls" in message and content is None:
                message["content"] = ""
        read.append(message)
    try:
        check_messages(read if isinstance(messages, list) else messages)
    except InputError as error:
        raise RequestError(str(error), str(error).partition(":")[0]) from None
    return read


def _of_tools(message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message about calls; templates take their arguments as objects."""
    given = {name: message[name] for name in ("tool_call_id", "name") if message.get(name)}
    if message.get("tool_calls"):
        try:
            given["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": _arguments(call)}}
                for call in message["tool_calls"]
            ]
        except (TypeError, KeyError, ValueError, RecursionError):
            found = short(message["tool_calls"])
            expected = "functions with a name and arguments in JSON"
            raise RequestError(
                f"messages: tool_calls: expected {expected}, found {found}", "messages"
            ) from None
    return given


def _arguments(call: Mapping[str, Any]) -> Any:
    arguments = call["function"]["arguments"]
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def texts_or_ids(name: str, value: Any, vocabulary: int, most: int) -> list[str | list[int]]:
    """A text, a list of texts, of ids, or of lists of ids: -> a list of texts or lists of ids.

    There may be ``most`` of them.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if isinstance(value[0], str | list) and len(value) > most:
            found = f"{name}: expected a list of at most {most:,}, found {len(value):,}"
            raise RequestError(found, name)
        if all(isinstance(one, str) for one in value):
            return value
        if all(isinstance(one, list) for one in value):
            return [_ids(f"{name}[{at}]", name, one, vocabulary) for at, one in enumerate(value)]
        if not any(isinstance(one, str | list) for one in value):
            return [_ids(name, name, value, vocabulary)]
    raise RequestError(
        f"{name}: expected a text or a list of token ids, or a list of them, found {short(value)}",
        name,
    )


def _ids(place: str, name: str, ids: list[Any], vocabulary: int) -> list[int]:
    """A list of ids, after a check."""
    if not ids:
        raise RequestError(f"{place}: expected a token id or more, found []", name)
    ids = [_whole(one) for one in ids]
    for at, one in enumerate(ids):
        if type(one) is not int or not 0 <= one < vocabulary:
            message = f"{place}[{at}]: expected a token id below {vocabulary:,}, found {short(one)}"
            raise RequestError(message, name)
    return ids


def _choices(given: Any) -> int:
    best_of = getattr(given, "best_of", None)
    if best_of not in (None, given.n):
        message = f"best_of: expected n, which is {given.n}, found {best_of}"
        raise RequestError(message, "best_of", "unsupported_value")
    return given.n


def _length(given: Any) -> int | None:
    length = getattr(given, "max_completion_tokens", None)
    return given.max_tokens if length is None else length


def _top(given: Any) -> int | None:
    """The number of most probable tokens; None if there are no log-probabilities."""
    if isinstance(given, CompletionFields):
        return given.logprobs
    if given.top_logprobs and not given.logprobs:
        message = f"top_logprobs: expected logprobs true with it, found {given.top_logprobs}"
        raise RequestError(message, "top_logprobs")
    return given.top_logprobs if given.logprobs else None


def _sampling(values: Mapping[str, Any], seed: int | None, defaults: Sampling) -> Sampling:
    given = {name: values[name] for name in SAMPLING if name in values and name != "seed"}
    if given.get("top_k") in (0, -1) and not isinstance(given["top_k"], bool):
        given["top_k"] = None  # as other servers switch it off
    if given.get("top_p") == 0:
        given["top_p"] = TINY
    if "repeat_penalty" in values:  # its name in llama.cpp
        if "repetition_penalty" in given:
            message = "repeat_penalty: expected one name, found repetition_penalty as well"
            raise RequestError(message, "repeat_penalty")
        given |= _checked(RepeatPenalty, {"repeat_penalty": values["repeat_penalty"]})
        given["repetition_penalty"] = given.pop("repeat_penalty")
    if seed is not None:
        given["seed"] = None if seed == -1 else seed % 2**63  # -1: any, as in llama.cpp
    return Sampling(**{**vars(defaults), **_checked(Sampling, given)})


def _bias(bias: Any, vocabulary: int) -> dict[int, float]:
    """The biases by ids, which are texts in JSON."""
    if not isinstance(bias, dict):
        message = f"logit_bias: expected an object of token ids and biases, found {short(bias)}"
        raise RequestError(message, "logit_bias")
    read = {}
    for key, value in bias.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and int(key) < vocabulary):
            message = f"logit_bias: expected token ids below {vocabulary:,}, found {short(key)}"
            raise RequestError(message, "logit_bias")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 100:
            message = f"logit_bias: expected biases from -100 to 100, found {short(value)}"
            raise RequestError(message, "logit_bias")
        read[int(key)] = float(value)
    return read


def _stop(stop: Any) -> list[str]:
    """The stop texts; empty ones, which some programs send, stop nothing."""
    texts = [stop] if isinstance(stop, str) else stop
    if (
        not isinstance(texts, list)
        or len(texts) > STOPS
        or not all(isinstance(text, str) for text in texts)
    ):
        raise RequestError(f"stop: expected at most {STOPS} texts, found {short(stop)}", "stop")
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_STOP:
        message = f"stop: expected at most {LONGEST_STOP:,} characters, found {longest:,}"
        raise RequestError(message, "stop")
    return [text for text in texts if text]


def _tools(values: Mapping[str, Any]) -> Tools | None:
    """The tools of a chat, checked."""
    try:
        return read_tools(values.get("tools", []), values.get("tool_choice", "auto"))
    except InputError as error:
        param = "tool_choice" if str(error).startswith("tool_choice") else "tools"
        raise RequestError(str(error), param) from None


def _grammar(form: Any) -> Expression | None:
    """The grammar of a response format; None for any text."""
    name, kinds = "response_format", ("text", "json_object", "json_schema")
    if not isinstance(form, dict) or form.get("type") not in kinds:
        found = form.get("type") if isinstance(form, dict) else form
        expected = f"{name}.type: expected {', '.join(kinds[:2])} or {kinds[2]}"
        raise RequestError(f"{expected}, found {short(found)}", name)
    if form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return ANY_OBJECT
    named = form.get("json_schema")
    if not isinstance(named, dict) or "schema" not in named:
        message = f"{name}.json_schema: expected an object with a schema, found {short(named)}"
        raise RequestError(message, name)
    try:
        return grammar_of(named["schema"], f"{name}.json_schema.schema")
    except InputError as error:
        raise RequestError(str(error), name) from None


def _field(values: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = values.get(name, default)
    if type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", dict: "an object"}
        raise RequestError(f"{name}: expected {names[kind]}, found {short(value)}", name)
    return value
