r"""Chat templates: a conversation as the text that a model was trained to continue.

A conversation is a list of messages, each with a role and a content.  The model has seen them as
one text, with special tokens around each.  ChatML's form is:

    <|im_start|>system
    You are a helpful assistant.<|im_end|>
    <|im_start|>user
    What is the capital of France?<|im_end|>
    <|im_start|>assistant

The model continues the last line, and ends its answer with ``<|im_end|>``.

A template is a program in the language Jinja.  Hugging Face's folders and GGUF files have one.  The
few in ``KNOWN`` are Python functions here.  Any other is run by the package jinja2, in a sandbox
and in a process apart: see :mod:`minillm.text.template_processes`.

A message may contain the text of a special token, such as ``<|im_end|>``.  It must not become that
token, because then a user could write messages in the name of others.  So we note who wrote each
character of the text, the template or a message (:class:`minillm.text.jinja_process.Written`), and
a special token counts only if the template wrote all of it.  The template sees the messages as they
are: it may look for ``</think>`` in an earlier answer, and leave out what precedes it.

Source: the interface follows ``apply_chat_template`` of Hugging Face's transformers (2023).
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.conversations import Message, check_messages
from minillm.errors import InputError, one_line, short
from minillm.text import template_processes
from minillm.text.byte_tokens import ByteTokens
from minillm.text.jinja_process import TEMPLATE, Written, ours
from minillm.text.vocabulary import SpecialTokens, Vocabulary, longest_of

SECONDS = 5  # of CPU time that a template may take for a conversation

Tools = Sequence[Mapping[str, Any]]

_NONE = np.zeros(0, np.int32)


# --- templates that are known ------------------------------------------------------------------

# Of messages, BOS, and whether to prompt an answer.
Filled = Callable[[Sequence[Message], str, bool], Written]


@dataclass(frozen=True)
class _Known:
    source: str  # in Jinja
    fill: Filled


def _chatml(messages: Sequence[Message], bos: str, prompt: bool) -> Written:
    turns = [
        ours(f"<|im_start|>{m['role']}\n") + m["content"] + ours("<|im_end|>\n") for m in messages
    ]
    return ours("").join(turns) + ours("<|im_start|>assistant\n") * prompt


def _smollm2(messages: Sequence[Message], bos: str, prompt: bool) -> Written:
    """ChatML; a conversation without a system prompt gets one."""
    if messages and messages[0]["role"] != "system":
        content = ours("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
        messages = [{"role": "system", "content": content}, *messages]
    return _chatml(messages, bos, prompt)


def _llama3(messages: Sequence[Message], bos: str, prompt: bool) -> Written:
    def header(role: str) -> Written:
        return ours(f"<|start_header_id|>{role}<|end_header_id|>\n\n")

    turns = [header(m["role"]) + m["content"].strip() + ours("<|eot_id|>") for m in messages]
    return ours(bos) * bool(turns) + ours("").join(turns) + header("assistant") * prompt


_CHATML_TURNS = (
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

KNOWN = {
    "chatml": _Known("{% for message in messages %}" + _CHATML_TURNS, _chatml),
    "smollm2": _Known(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\\n' }}{% endif %}" + _CHATML_TURNS,
        _smollm2,
    ),
    "llama3": _Known(
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
        "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
        _llama3,
    ),
}


# --- any template --------------------------------------------------------------------------------


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
    pad: str = ""
    unk: str = ""

    def __post_init__(self) -> None:
        if self.source in KNOWN:
            object.__setattr__(self, "source", KNOWN[self.source].source)

    def text(
        self,
        messages: Sequence[Message],
        prompt: bool = True,
        tools: Tools | None = None,
        **values: Any,
    ) -> str:
        """The conversation as one text, and with ``prompt`` the beginning of an answer.

        tools: functions that the answer may call, each as OpenAI's interface describes it.
        values: others that the template asks for, such as ``enable_thinking``.
        InputError, in one line, where the template fails or refuses the conversation.
        """
        return str.__str__(self._text(messages, prompt, tools, values))

    @cached_property
    def _known(self) -> Filled | None:
        """The Python function that does what the template does; None if there is none."""
        source = _with_line_ends(self.source)
        return next((k.fill for k in KNOWN.values() if _with_line_ends(k.source) == source), None)

    def _text(
        self,
        messages: Sequence[Message],
        prompt: bool,
        tools: Tools | None = None,
        others: Mapping[str, Any] = MappingProxyType({}),
    ) -> Written:
        plain = all(isinstance(message.get("content"), str) for message in messages)
        if self._known is not None and plain:
            return self._known(messages, self.bos, prompt)
        tokens = {f"{name}_token": getattr(self, name) for name in ("bos", "eos", "pad", "unk")}
        values: dict[str, Any] = {name: token for name, token in tokens.items() if token}
        values |= {"tools": tools and list(tools), "documents": None}
        values |= {"add_generation_prompt": prompt, "messages": list(map(dict, messages))}
        for name in others:
            if name in tokens or name in values:
                raise InputError(f"the chat template: expected other values than {name}, found it")
        called = {"xml_tools": values["tools"]}  # by SmolLM3
        return _in_a_process(self.source, {**called, **others, **values})

    def encode(
        self,
        tokenizer: ByteTokens,
        messages: Sequence[Message],
        prompt: bool = True,
        watch: Callable[[int], None] = lambda n: None,
        tools: Tools | None = None,
        **values: Any,
    ) -> NDArray[np.int32]:
        """The ids of :meth:`text`, (T,).  No content of a message becomes a special token.

        ``watch`` is called now and then with the number of ids so far, and may raise an exception.
        """
        special = _special_tokens(tokenizer)
        check_messages(messages)
        text = self._text(messages, prompt, tools, values)
        return _encoded(text, tokenizer, special, watch, self._free(tokenizer))

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
        special, ends = _special_tokens(tokenizer), self.ends(tokenizer)
        free, results = self._free(tokenizer), []
        for messages, place in zip(conversations, places, strict=False):
            try:
                check_messages(messages)
                pairs = []
                for at, message in enumerate(messages):
                    if message["role"] == "assistant":
                        whole = self._text(messages[: at + 1], False)
                        before = self._text(messages[:at], True) if at else _before_messages(whole)
                        pairs.append(
                            [_encoded(t, tokenizer, special, free=free) for t in (before, whole)]
                        )
                results.append(_answers(pairs, ends, most))
            except InputError as error:
                raise InputError(f"{place}: {error}" if place else str(error)) from None
        return results

    def ends(self, tokenizer: ByteTokens) -> list[int]:
        """The ids that end an answer: the special token after one, EOS, and the end of a text.

        InputError if there is none.
        """
        special = _special_tokens(tokenizer)
        answer = _absent_character(self.source)
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]
        text = self._text(talk, False)
        written = [part for part in special.cut(text) if part in special.ids]
        if written != [part for part in special.cut(_hidden(text, special)) if part in special.ids]:
            raise InputError(
                "the chat template: expected special tokens as texts in it, found one that it "
                "puts together in a way that is not followed here, such as format"
            )
        _, found, after = text.rpartition(answer)
        ids = [special.ids[part] for part in special.cut(after) if found and part in special.ids]
        candidates = (*ids[:1], special.ids.get(self.eos), tokenizer.eos)
        ends = {number for number in candidates if number is not None}
        if not ends:
            raise InputError(
                "the chat template: expected a special token of the tokenizer after an answer, "
                f"found {short(after)}"
            )
        return sorted(ends)

    def _free(self, tokenizer: ByteTokens) -> list[str]:
        """The added tokens that a message may contain: tags of HTML, for example, in Gemma.

        They are part of a text's meaning, no mark of turns: no special ones, not written by the
        template, and not spelled like marks.
        """
        marks = ("<|", "<\uff5c", "[")
        return [t for t in tokenizer.shown if t not in self.source and not t.startswith(marks)]

    @classmethod
    def of(
        cls,
        source: str | None,
        tokenizer: Vocabulary,
        sampling: Mapping[str, Any],
        others: Mapping[str, str],
    ) -> "ChatTemplate | None":
        """The template of a model with this tokenizer; None if there is no source.

        ``others`` has the texts of ``pad`` and ``unk``, if the tokenizer has them.
        """
        if not source:
            return None
        bos, eos = (
            "" if number is None else tokenizer.tokens[number].decode()
            for number in (tokenizer.bos, tokenizer.eos)
        )
        return cls(source, bos, eos, sampling, **others)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        values: dict[str, Any] = {"template": self.source, "bos": self.bos, "eos": self.eos}
        optional = {"sampling": dict(self.sampling), "pad": self.pad, "unk": self.unk}
        return values | {name: value for name, value in optional.items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ChatTemplate":
        """The template that ``to_dict`` described; ValueError if it is damaged."""
        texts: list[Any] = [values.get(name) for name in ("template", "bos", "eos")]
        others = {name: values.get(name, "") for name in ("pad", "unk")}
        sampling = values.get("sampling", {})
        if not all(isinstance(text, str) for text in (*texts, *others.values())):
            found = short([*texts, *others.values()])
            raise ValueError(f"expected texts as template, bos, eos, pad and unk, found {found}")
        if not isinstance(sampling, dict):
            raise ValueError(f"expected an object as sampling, found {short(sampling)}")
        return cls(texts[0], texts[1], texts[2], sampling, **others)


def _with_line_ends(source: str) -> str:
    r"""A template that has a line's end itself in its literals, where some files have ``\n``."""
    return source.replace("\\n", "\n")


def _special_tokens(tokenizer: ByteTokens) -> SpecialTokens:
    if not isinstance(tokenizer, ByteTokens):
        raise InputError("a chat needs a tokenizer of byte pairs, which has special tokens")
    return tokenizer.special


def _absent_character(text: Iterable[str]) -> str:
    """A character that is not in the text; Unicode keeps some free for such uses."""
    present = set(text)
    return next(c for c in map(chr, range(0xFDD0, sys.maxunicode)) if c not in present)


def _hidden(text: Written, special: SpecialTokens, free: Sequence[str] = ()) -> str:
    """A text of the same length; another character replaces each character of a message.

    White space stays: a special token may take it, whoever has written it.  So do the ``free``
    tokens, which messages may contain.
    """
    absent, plain = _absent_character(chain.from_iterable(special.ids)), str.__str__(text)
    runs = [(run[0], plain[run.start() : run.end()]) for run in re.finditer(r"(.)\1*", text.by)]
    kept = f"{longest_of(free)}|" if free else ""

    def hide(found: re.Match[str]) -> str:
        return found[0] if found[0] in free else absent

    return "".join(
        part if by.startswith(TEMPLATE) else re.sub(rf"{kept}\S", hide, part) for by, part in runs
    )


def _encoded(
    text: Written,
    tokenizer: ByteTokens,
    special: SpecialTokens,
    watch: Callable[[int], None] = lambda n: None,
    free: Sequence[str] = (),
) -> NDArray[np.int32]:
    """The ids of a text; only what the template wrote can be a special token.

    ``free`` tokens can be written in messages, too.
    """
    pieces, n, plain = [_NONE], 0, str.__str__(text)
    for part, start, end in special.places(_hidden(text, special, free)):
        watch(n)
        if part in special.ids:
            pieces.append(np.array([special.ids[part]], np.int32))
        else:
            pieces.append(tokenizer.encode_ordinary(plain[start:end], first=start == 0))
        n += len(pieces[-1])
    return np.concatenate(pieces)


def _before_messages(text: Written) -> Written:
    """The beginning that the template writes before the first message."""
    return text[: len(text) - len(text.by.lstrip(TEMPLATE))]


def _answers(
    pairs: Sequence[Sequence[NDArray[np.int32]]], ends: Sequence[int], most: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_], int]:
    """One result of ``encode_answers``, from the ids before each answer, and with it."""
    ids, counted, kept = _NONE, np.zeros(0, bool), 0
    for before, whole in pairs:
        first = len(before)
        if not all(
            np.array_equal(long[: len(begin)], begin)
            for long, begin in ((before, ids), (whole, before))
        ):
            raise InputError(
                "the chat template: expected the text of a conversation to begin with the text of "
                "its first messages, found another beginning"
            )
        after = np.flatnonzero(np.isin(whole[first:], ends))
        last = first + int(after[0]) + 1 if len(after) else len(whole)
        if last > most:
            break
        counted = np.append(counted, np.zeros(first - len(ids), bool))
        counted = np.append(counted, np.ones(last - first, bool))
        ids, kept = whole[:last], kept + 1
    return ids, counted, len(pairs) - kept


def _in_a_process(source: str, values: Mapping[str, Any]) -> Written:
    """Fill in a template with jinja2, in a process with limits."""
    answer = template_processes.fill_in(source, values, SECONDS)
    if "error" in answer:
        raise InputError(f"the chat template: {one_line(answer['error'], 300)}")
    return Written(answer["text"], answer["by"])
