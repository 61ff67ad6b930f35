r"""Chat templates: a conversation as the text that a model was trained to continue.

A conversation is a list of messages, each with a role and a content.  The model has seen them as
one text, with special tokens around each.  ChatML's form is:

    <|im_start|>system
    You are a helpful assistant.<|im_end|>
    <|im_start|>user
    What is the capital of France?<|im_end|>
    <|im_start|>assistant

The model continues the last line, and ends its answer with ``<|im_end|>``.

A template is a program in the language Jinja, which a stranger may have written.  Hugging Face's
folders and GGUF files have one, and ``KNOWN`` has a few.  The package jinja2 runs it in its
sandbox, which keeps it from files and from Python's internals.

A message may contain the text of a special token, such as ``<|im_end|>``.  It must not become that
token, because then a user could write messages in the name of others.  So the template sees other
characters, which Unicode keeps for private use, in place of those in a message that begin or end
the special tokens.  A special token in the text that it writes is therefore its own.  Afterwards
the characters are put back, as ordinary text.  Added tokens that are not special, such as
``</think>``, stay in messages: a template may look for them, to leave out what precedes them.

Source: the interface follows ``apply_chat_template`` of Hugging Face's transformers (2023).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm.data.conversations import Message, check_messages
from minillm.errors import InputError, missing_extra, one_line, short
from minillm.text.byte_tokens import ByteTokens
from minillm.text.vocabulary import SpecialTokens, Vocabulary, any_of

Tools = Sequence[Mapping[str, Any]]

_NONE = np.zeros(0, np.int32)
_PRIVATE = range(0xE000, 0xF8FF)  # code points for private use
_MARKS = ("<|", "<\uff5c", "[")  # beginnings of special tokens that some files do not call special

_CHATML_TURNS = (
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

KNOWN = {
    "chatml": "{% for message in messages %}" + _CHATML_TURNS,
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS
    ),
    "llama3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
        "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = (bos_token or '') + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
}


@dataclass(frozen=True)
class ChatTemplate:
    """A template in Jinja, or the name of one in ``KNOWN``; and the texts of special tokens for it.

    An empty text means that the tokenizer has no such token.  ``sampling`` has how its authors
    sample from the model: values of :class:`minillm.decoding.Sampling`, or none.
    """

    source: str
    bos: str = ""
    eos: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source in KNOWN:
            object.__setattr__(self, "source", KNOWN[self.source])

    def text(
        self,
        messages: Sequence[Message],
        prompt: bool = True,
        tools: Tools | None = None,
        **values: Any,
    ) -> str:
        """The conversation as one text, and with ``prompt`` the beginning of an answer.

        tools: functions that the answer may call, each as OpenAI's interface describes it.
        values: others that the template asks for, such as ``enable_thinking``; no other name of
        these replaces its own.
        InputError, in one line, where the template fails or refuses the conversation.
        """
        given: dict[str, Any] = {"bos_token": self.bos, "eos_token": self.eos}
        given = {name: token for name, token in given.items() if token}
        given |= {"tools": tools and list(tools), "documents": None}
        given |= {"add_generation_prompt": prompt, "messages": list(map(dict, messages))}
        called = {"xml_tools": given["tools"]}  # by SmolLM3
        try:
            return _compiled(self.source).render({**called, **values, **given})
        except InputError:
            raise
        except Exception as error:  # a template may call what it likes, and fail anywhere
            line = getattr(error, "lineno", None)
            reason = f"line {line}: {error}" if line else str(error) or type(error).__name__
            raise InputError(f"the chat template: {one_line(reason, 300)}") from None

    def encode(
        self,
        tokenizer: ByteTokens,
        messages: Sequence[Message],
        prompt: bool = True,
        tools: Tools | None = None,
        **values: Any,
    ) -> NDArray[np.int32]:
        """The ids of :meth:`text`, (T,).  No content of a message becomes a special token."""
        check_messages(messages)
        hidden = _Hidden(tokenizer, self.source, [messages, tools, values])
        messages, tools, values = map(hidden.hide, (messages, tools, values))
        return hidden.encode(self.text(messages, prompt, tools, **values))

    def encode_answers(
        self,
        tokenizer: ByteTokens,
        conversations: Sequence[Sequence[Message]],
        most: int,
        places: Iterable[str] = repeat(""),
    ) -> list[tuple[NDArray[np.int32], NDArray[np.bool_], int]]:
        """The ids of each conversation (T,), which are answers (T,), and the answers left out.

        An answer is what a model has to write: its text, and the special token that ends it.  The
        ids end with the last answer that ends within ``most`` tokens; there are none if even the
        first one does not.

        An answer that nothing precedes, a greeting, begins where the first message does.

        InputError, with the place of a conversation in its file if it is given, where its text does
        not begin with the text of its first turns.
        """
        ends, results = self.ends(tokenizer), []
        for messages, place in zip(conversations, places, strict=False):
            try:
                results.append(self._answers(tokenizer, messages, ends, most))
            except InputError as error:
                raise InputError(f"{place}: {error}" if place else str(error)) from None
        return results

    def _answers(
        self, tokenizer: ByteTokens, messages: Sequence[Message], ends: Sequence[int], most: int
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], int]:
        """One result of :meth:`encode_answers`."""
        check_messages(messages)
        hidden = _Hidden(tokenizer, self.source, messages)
        turns, ids, counted, left_out = hidden.hide(messages), _NONE, np.zeros(0, bool), 0
        for at in (at for at, turn in enumerate(turns) if turn["role"] == "assistant"):
            before = hidden.encode(self.text(turns[:at]) if at else self._around()[0])
            whole, first = hidden.encode(self.text(turns[: at + 1], False)), len(before)
            parts = zip((before[: len(ids)], whole[:first]), (ids, before), strict=True)
            if not all(np.array_equal(part, begin) for part, begin in parts):
                raise InputError(
                    "the chat template: expected the text of a conversation to begin with the text "
                    "of its first messages, found another beginning"
                )
            after = np.flatnonzero(np.isin(whole[first:], ends))
            last = first + int(after[0]) + 1 if len(after) else len(whole)
            if left_out or last > most:
                left_out += 1
                continue
            counted = np.append(counted, np.arange(len(ids), last) >= first)
            ids = whole[:last]
        return ids, counted, left_out

    def _around(self, *messages: Message) -> tuple[str, str]:
        """The text before an answer to the messages, and after it."""
        answer = _absent(self.source)
        text = self.text([*messages, {"role": "assistant", "content": answer}], False)
        before, found, after = text.rpartition(answer)
        return before, after if found else ""

    def ends(self, tokenizer: ByteTokens) -> list[int]:
        """The ids that end an answer: the special token after one, EOS, and the end of a text.

        InputError if there is none.
        """
        special = _special_tokens(tokenizer)
        _, after = self._around({"role": "user", "content": "a"})
        ids = [special.ids[part] for part in special.cut(after) if part in special.ids]
        candidates = (*ids[:1], special.ids.get(self.eos), tokenizer.eos)
        ends = {number for number in candidates if number is not None}
        if not ends:
            raise InputError(
                "the chat template: expected a special token of the tokenizer after an answer, "
                f"found {short(after)}"
            )
        return sorted(ends)

    @classmethod
    def of(
        cls, source: str | None, tokenizer: Vocabulary, sampling: Mapping[str, Any] | None = None
    ) -> "ChatTemplate | None":
        """The template of a model with this tokenizer; None if there is no source."""
        if not source:
            return None
        bos, eos = (
            "" if number is None else tokenizer.tokens[number].decode()
            for number in (tokenizer.bos, tokenizer.eos)
        )
        return cls(source, bos, eos, sampling or {})

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ChatTemplate":
        """The template that ``to_dict`` described; ValueError if it is damaged."""
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"expected a chat template, found by msgspec: {error}") from None


def _special_tokens(tokenizer: ByteTokens) -> SpecialTokens:
    if not isinstance(tokenizer, ByteTokens):
        raise InputError("a chat needs a tokenizer of byte pairs, which has special tokens")
    return tokenizer.special


def _absent(text: str) -> str:
    """A character for private use that is not in the text."""
    return next(c for c in map(chr, _PRIVATE) if c not in text)


class _Hidden:
    """Messages in which no special token can be read, until their text is encoded."""

    def __init__(self, tokenizer: ByteTokens, source: str, messages: Any):
        self.tokenizer, self.special = tokenizer, _special_tokens(tokenizer)
        free = [text for text in tokenizer.shown if not text.startswith(_MARKS)]
        self._free = re.compile(f"({any_of(free)})") if free else None
        used, self._table = source + json.dumps(messages, ensure_ascii=False), dict[int, str]()
        for text in self.special.ids.keys() - {*free}:
            ends = [c for c in (text[0], text[-1]) if not c.isalnum()]  # letters are in roles, too
            for character in ends or text[:1]:
                if character in used and ord(character) not in self._table:
                    self._table[ord(character)] = absent = _absent(used)
                    used += absent
        self._back = {ord(absent): chr(code) for code, absent in self._table.items()}

    def hide(self, value: Any) -> Any:
        """The value, such as a message, with private characters in all of its texts."""
        if isinstance(value, str):
            parts = self._free.split(value) if self._free else [value]
            parts[::2] = [part.translate(self._table) for part in parts[::2]]
            return "".join(parts)
        if isinstance(value, Mapping):
            return {self.hide(name): self.hide(entry) for name, entry in value.items()}
        return list(map(self.hide, value)) if isinstance(value, list | tuple) else value

    def encode(self, text: str) -> NDArray[np.int32]:
        """The ids of a text that the template made of hidden messages."""
        pieces = [_NONE]
        for part, start in self.special.places(text):
            if part in self.special.ids:
                pieces.append(np.array([self.special.ids[part]], np.int32))
            else:
                part = part.translate(self._back)
                pieces.append(self.tokenizer.encode_ordinary(part, first=start == 0))
        return np.concatenate(pieces)


# --- Jinja, with the functions that transformers adds ---------------------------------------------


@lru_cache(maxsize=4)
def _compiled(source: str) -> Any:
    """The program of a template."""
    try:
        import jinja2.ext  # the extra: 40 ms
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise missing_extra("a chat template", "chat") from None

    class Generation(jinja2.ext.Extension):
        """``{% generation %}``: answers in the templates of TRL, whose text is all that counts."""

        tags = {"generation"}  # noqa: RUF012  # as the base class has it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, **others: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **others)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    return environment.from_string(source)
