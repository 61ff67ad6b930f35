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
token, because then a user could write messages in the name of others.  So a mark, a character that
occurs in no message, is put into such a text before the template is filled in.  When the result is
cut at its special tokens, a marked one is not found.  The marks are then removed.

Source: the interface is that of ``apply_chat_template`` of Hugging Face's transformers (2023).
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.conversations import ROLES, Message
from minillm.errors import InputError, short
from minillm.text import template_processes
from minillm.text.bpe import BytePairs
from minillm.text.vocabulary import SpecialTokens, Vocabulary, check_encodable

SECONDS = 5  # of CPU time that a template may take
AT_ONCE = 500  # conversations that one process fills in

Asked = tuple[Sequence[Message], bool]  # a conversation, and whether to prompt an answer

_NONE = np.zeros(0, np.int32)


# --- templates that are known ------------------------------------------------------------------

Filled = Callable[[Sequence[Message], str, bool], str]  # messages, BOS, whether to prompt an answer


@dataclass(frozen=True)
class _Known:
    source: str  # in Jinja
    fill: Filled


def _chatml(messages: Sequence[Message], bos: str, prompt: bool) -> str:
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    return "".join(turns) + "<|im_start|>assistant\n" * prompt


def _smollm2(messages: Sequence[Message], bos: str, prompt: bool) -> str:
    """ChatML; a conversation without a system prompt gets one."""
    if messages and messages[0]["role"] != "system":
        content = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
        messages = [{"role": "system", "content": content}, *messages]
    return _chatml(messages, bos, prompt)


def _llama3(messages: Sequence[Message], bos: str, prompt: bool) -> str:
    def header(role: str) -> str:
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n"

    turns = [f"{header(m['role'])}{m['content'].strip()}<|eot_id|>" for m in messages]
    return bos * bool(turns) + "".join(turns) + header("assistant") * prompt


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
    """A template in Jinja, or the name of one in ``KNOWN``; and the texts of BOS and EOS for it.

    ``sampling`` has how its authors sample from the model: values of
    :class:`minillm.decoding.Sampling`, or none.
    """

    source: str
    bos: str = ""
    eos: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.source in KNOWN:
            object.__setattr__(self, "source", KNOWN[self.source].source)

    def text(self, messages: Sequence[Message], prompt: bool = True) -> str:
        """The conversation as one text, and with ``prompt`` the beginning of an answer.

        InputError, in one line, where the template fails or refuses the conversation.
        """
        return self._texts([(messages, prompt)])[0]

    def _texts(self, asked: Sequence[Asked]) -> list[str]:
        """The text of each conversation."""
        for known in KNOWN.values():
            if _with_line_ends(self.source) == _with_line_ends(known.source):
                return [known.fill(messages, self.bos, prompt) for messages, prompt in asked]
        values = [
            {
                "messages": [dict(message) for message in messages],
                "bos_token": self.bos,
                "eos_token": self.eos,
                "add_generation_prompt": prompt,
            }
            for messages, prompt in asked
        ]
        return [
            text
            for first in range(0, len(values), AT_ONCE)
            for text in _in_a_process(self.source, values[first : first + AT_ONCE])
        ]

    def encode(
        self,
        tokenizer: BytePairs,
        messages: Sequence[Message],
        prompt: bool = True,
        watch: Callable[[int], None] = lambda n: None,
    ) -> NDArray[np.int32]:
        """The ids of :meth:`text`, (T,).  No content of a message becomes a special token.

        ``watch`` is called now and then with the number of ids so far, and may raise an exception.
        """
        return self._encoded(tokenizer, [(messages, prompt)], watch)[0]

    def _encoded(
        self,
        tokenizer: BytePairs,
        asked: Sequence[Asked],
        watch: Callable[[int], None] = lambda n: None,
    ) -> list[NDArray[np.int32]]:
        """The ids of each conversation."""
        special = _special_tokens(tokenizer)
        for messages, _ in asked:
            check_messages(messages)
        mark = _absent_character(
            chain.from_iterable(m["content"] for some, _ in asked for m in some)
        )
        marked = [
            (
                [
                    {"role": m["role"], "content": _marked(m["content"], special.ids, mark)}
                    for m in some
                ],
                prompt,
            )
            for some, prompt in asked
        ]
        encoded = []
        for text in self._texts(marked):
            ids, n = [_NONE], 0
            for part in special.cut(text):
                watch(n)
                ids.append(
                    np.array([special.ids[part]], np.int32)
                    if part in special.ids
                    else tokenizer.encode_ordinary(part.replace(mark, ""))
                )
                n += len(ids[-1])
            encoded.append(np.concatenate(ids))
        return encoded

    def encode_answers(
        self, tokenizer: BytePairs, conversations: Sequence[Sequence[Message]], most: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.bool_], int]]:
        """The ids of each conversation (T,), which are answers (T,), and the answers left out.

        An answer is what a model has to write: its text, and the special token that ends it.  The
        ids end with the last answer that ends within ``most`` tokens; there are none if even the
        first one does not.

        InputError where the text of a conversation does not begin with that of its first turns.
        """
        ends = self.ends(tokenizer)
        answers = [
            [at for at, message in enumerate(messages) if message["role"] == "assistant"]
            for messages in conversations
        ]
        asked: list[Asked] = []  # each answer's conversation before it, and with it
        for messages, places in zip(conversations, answers, strict=True):
            for at in places:
                asked += [(messages[:at], True), (messages[: at + 1], False)]
        encoded = iter(self._encoded(tokenizer, asked))
        results = []
        for places in answers:
            ids, counted, kept = _NONE, np.zeros(0, bool), 0
            for before, whole in [(next(encoded), next(encoded)) for _ in places]:
                first = len(before)
                begins = [(before, ids), (whole, before)]
                if not all(np.array_equal(long[: len(short)], short) for long, short in begins):
                    raise InputError(
                        "the chat template: expected the text of a conversation to begin with that "
                        "of its first messages"
                    )
                after = np.flatnonzero(np.isin(whole[first:], ends))
                last = first + int(after[0]) + 1 if len(after) else len(whole)
                if last > most:
                    break
                counted = np.append(counted, np.zeros(first - len(ids), bool))
                counted = np.append(counted, np.ones(last - first, bool))
                ids, kept = whole[:last], kept + 1
            results.append((ids, counted, len(places) - kept))
        return results

    def ends(self, tokenizer: BytePairs) -> list[int]:
        """The ids that end an answer: the special token after one, EOS, and the end of a text.

        InputError if there is none.
        """
        special = _special_tokens(tokenizer)
        answer = _absent_character(self.source)
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]
        _, found, after = self.text(talk, prompt=False).rpartition(answer)
        ids = [special.ids[part] for part in special.cut(after) if found and part in special.ids]
        candidates = (*ids[:1], special.ids.get(self.eos), tokenizer.eos)
        ends = {id for id in candidates if id is not None}
        if not ends:
            raise InputError(
                "the chat template: expected a special token of the tokenizer after an answer, "
                f"found {short(after)}"
            )
        return sorted(ends)

    @classmethod
    def of(
        cls, source: str | None, tokenizer: Vocabulary, sampling: Mapping[str, Any]
    ) -> "ChatTemplate | None":
        """The template of a model with this tokenizer; None if there is no source."""
        if not source:
            return None
        bos, eos = (
            "" if id is None else tokenizer.tokens[id].decode()
            for id in (tokenizer.bos, tokenizer.eos)
        )
        return cls(source, bos, eos, sampling)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        values: dict[str, Any] = {"template": self.source, "bos": self.bos, "eos": self.eos}
        return values | ({"sampling": dict(self.sampling)} if self.sampling else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ChatTemplate":
        """The template that ``to_dict`` described; ValueError if it is damaged."""
        texts: list[Any] = [values.get(name) for name in ("template", "bos", "eos")]
        sampling = values.get("sampling", {})
        if not all(isinstance(text, str) for text in texts) or not isinstance(sampling, dict):
            raise ValueError("expected texts as template, bos and eos, and an object as sampling")
        return cls(texts[0], texts[1], texts[2], sampling)


def check_messages(messages: Any) -> None:
    """InputError unless there is a message, and each has a role and a text as its content."""
    if not isinstance(messages, list | tuple) or not messages:
        raise InputError(f"messages: expected a list of one or more, found {short(messages)}")
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise InputError(f"{place}: expected a role and a content, found {short(message)}")
        if message.get("role") not in ROLES:
            role = short(message.get("role"))
            raise InputError(f"{place}.role: expected one of {', '.join(ROLES)}, found {role}")
        content = message.get("content")
        if not isinstance(content, str):
            raise InputError(f"{place}.content: expected a text, found {short(content)}")
        check_encodable(content, f"{place}.content")


def _with_line_ends(source: str) -> str:
    r"""A template that has a line's end itself in its literals, where some files have ``\n``."""
    return source.replace("\\n", "\n")


def _special_tokens(tokenizer: BytePairs) -> SpecialTokens:
    if not isinstance(tokenizer, BytePairs):
        raise InputError("a chat needs a tokenizer of byte pairs, which has special tokens")
    return SpecialTokens({text: tokenizer.id_of(text.encode()) for text in tokenizer.specials})


def _absent_character(text: Iterable[str]) -> str:
    """A character that is not in the text, among those that Unicode keeps free."""
    present = set(text)
    return next(c for c in map(chr, range(0xFDD0, sys.maxunicode)) if c not in present)


def _marked(content: str, specials: Iterable[str], mark: str) -> str:
    """The content, with a mark in each text of a special token.

    A part of a special token at either end gets a mark, too: the rest may stand in the template,
    which may also strip white space.
    """
    for special in specials:
        content = content.replace(special, f"{special[0]}{mark}{special[1:]}")
    heads, tails, longest = _parts(tuple(specials))
    places = set()
    for end in {len(content), len(content.rstrip())}:
        for k in range(1, min(longest, end + 1)):
            if content[end - k : end] in heads:
                places.add(end - k + 1)
    for begin in {0, len(content) - len(content.lstrip())}:
        for k in range(1, min(longest, len(content) - begin + 1)):
            if content[begin : begin + k] in tails:
                places.add(begin + k - 1)
    for place in sorted(places, reverse=True):
        content = content[:place] + mark + content[place:]
    return content


@lru_cache(maxsize=8)
def _parts(specials: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str], int]:
    """The beginnings of special tokens, their ends, and the length of the longest token."""
    cuts = [(special, at) for special in specials for at in range(1, len(special))]
    heads = frozenset(special[:at] for special, at in cuts)
    tails = frozenset(special[at:] for special, at in cuts)
    return heads, tails, max(map(len, specials), default=0)


def _in_a_process(source: str, values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fill in a template with jinja2, in a process with limits, for each of some values."""
    answer = template_processes.fill_in(source, values, SECONDS)
    if "error" in answer:
        raise InputError(f"the chat template: {' '.join(str(answer['error']).split())[:300]}")
    return answer["texts"]
