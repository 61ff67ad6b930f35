"""Chat: a conversation is a text for the model to continue; only the new part of it is read.

Each answer continues a whole conversation.  Most of its tokens were read for the answer before, so
the caches of the last conversations are kept, and a beginning that two conversations share is not
read again.

A model sees no more than its context.  Messages that no longer fit are dropped by whole turns, the
oldest first: a turn is a message of the user and the answers to it.  The system prompt stays.  Half
of the context is freed at once, so this is rarely needed.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.conversations import Message, check_messages
from minillm.decoding.batch import PrefixCache, write, write_all
from minillm.decoding.continuation import Continuation, Pieces
from minillm.decoding.grammar import Grammar, json_rules, tokens_of
from minillm.decoding.reader import Reader
from minillm.decoding.sampling import Adjustment, Sampling
from minillm.errors import InputError
from minillm.option import make, with_default
from minillm.text import banned_ids
from minillm.text.byte_tokens import ByteTokens
from minillm.text.chat_template import ChatTemplate

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class ChatSampling(Sampling):
    """The sampling of an answer, unless the model's files say otherwise: greedy.

    Small models then answer more questions correctly.
    """

    temperature: float = with_default(
        Sampling, "temperature", 0.0, default_help="as in the model's files, otherwise 0"
    )


class Chat:
    """A model that answers.

    >>> chat = Chat(model, tokenizer, ChatTemplate("chatml"))  # doctest: +SKIP
    >>> "".join(chat.answer([{"role": "user", "content": "Who are you?"}]))  # doctest: +SKIP
    """

    def __init__(self, model: Any, tokenizer: ByteTokens, template: ChatTemplate):
        self.reader: Any = Reader(model)
        self.tokenizer, self.template = tokenizer, template
        self.ends = template.ends(tokenizer)
        self.banned = banned_ids(tokenizer, documents=True, rows=self.reader.config.vocabulary)
        self.prefixes = PrefixCache(self.reader)
        own = template.sampling
        self.sampling: Sampling = make(Sampling, own) if own else ChatSampling()

    def sampling_with(self, **values: Any) -> Sampling:
        """The sampling of answers, with other values of fields; InputError for wrong ones."""
        return make(Sampling, {**vars(self.sampling), **values})

    def answer(
        self,
        messages: Sequence[Message],
        length: int | None = None,
        sampling: Sampling | None = None,
        report: Callable[[str], None] = warnings.warn,
        grammar: Grammar | None = None,
    ) -> Iterator[str]:
        """An answer of ``length`` tokens at most, piece by piece as it is drawn.

        None: as many as fit the context.  ``sampling`` is by default ``self.sampling``, from the
        model's files or ChatSampling.  ``report`` is called with a line if turns are left out.  The
        answer belongs to the ``grammar``, or begins a text of it if ``length`` ends it early.
        InputError for messages that are no conversation, or whose last turn alone does not fit.
        """
        fitting = self.fitting(messages, length)
        if left_out := len(_turns(messages)[1]) - len(_turns(fitting)[1]):
            C = self.reader.config.context
            report(f"the context of {C:,} tokens no longer holds all turns: left out {left_out}")
        one = self.continuation(self.encode(fitting).tolist(), length, sampling, grammar)
        return self._pieces(one)

    def _pieces(self, one: Continuation) -> Iterator[str]:
        """Write a continuation, and yield its text in pieces."""
        shown = 0
        for _ in chain(write(self.reader, one, self.prefixes), [None]):  # its end has text, too
            if len(one.text) > shown:
                yield one.text[shown:]
                shown = len(one.text)

    def answers(
        self,
        conversations: Iterable[Sequence[Message] | InputError | None],
        length: int | None = None,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
    ) -> Iterator[str | InputError]:
        """Yield the answers to conversations, in their order; a few of them share each pass.

        The answer to a conversation that does not fit the context is an InputError, which is not
        raised, nor is one that ends an answer.  The answer to None is empty, and the one to an
        InputError is that error.  For the other arguments see :meth:`answer`.
        """

        def begun(messages: Sequence[Message] | InputError | None) -> Any:
            if messages is None or isinstance(messages, InputError):
                return messages or ""
            try:
                ids = self.encode(self.fitting(messages, length)).tolist()
            except InputError as error:
                return error
            return self.continuation(ids, length, sampling, grammar)

        for one in write_all(self.reader, map(begun, conversations), PrefixCache(self.reader)):
            if isinstance(one, Continuation):
                one = one.ended if isinstance(one.ended, Exception) else one.text
            if isinstance(one, Exception) and not isinstance(one, InputError):
                raise one
            yield one

    def encode(self, messages: Sequence[Message], **options: Any) -> Ids:
        """The ids (T,) that an answer continues; options: see :meth:`ChatTemplate.encode`."""
        return self.template.encode(self.tokenizer, messages, **options)

    def fitting(self, messages: Sequence[Message], length: int | None = None) -> list[Message]:
        """The messages without the oldest turns, if all of them do not fit the context."""
        check_messages(messages)
        C, most = self.reader.config.context, self.most_tokens(length)
        system, turns = _turns(messages)
        fitting, goal = list(messages), most
        while (found := len(self.encode(fitting))) > goal:
            if len(turns) < 2:
                if found > most:
                    raise InputError(
                        f"expected at most {most:,} tokens, found {found:,}", "messages"
                    )
                break
            turns, goal = turns[1:], C // 2
            fitting = [*system, *(message for turn in turns for message in turn)]
        return fitting

    def most_tokens(self, length: int | None = None) -> int:
        """The number of tokens of a conversation that fit the context with an answer to it.

        The answer has ``length`` tokens, or a quarter of the context if that is less.
        """
        C: int = self.reader.config.context
        return C - min(length or C, C // 4)

    def continuation(
        self,
        ids: Sequence[int],
        length: int | None = None,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        adjustments: Sequence[Adjustment] = (),
        stop: Sequence[str] = (),
        shown: Collection[str] = (),
        **options: Any,
    ) -> Continuation:
        """The continuation of these ids by ``length`` tokens at most that fit.

        The new tokens belong to the ``grammar``, and a ``stop`` text ends them.  Special tokens
        have no text, except those in ``shown``.  The ``options`` are fields of
        :class:`minillm.decoding.continuation.Continuation`.
        """
        if grammar is not None:
            adjustments = [*adjustments, grammar.start().adjust]
        free = self.reader.config.context - len(ids)
        return Continuation(
            list(ids),
            free if length is None else min(length, free),
            sampling or self.sampling,
            frozenset(self.ends),
            self.banned,
            adjustments,
            pieces=Pieces(self.tokenizer, stop, shown, ids[-1]),
            **options,
        )

    def grammar(self, schema: Any, name: str = "schema") -> Grammar:
        """The grammar of the answers in JSON that satisfy a schema.

        InputError, which begins with ``name``, for a schema that cannot be enforced.
        """
        return Grammar(self.tokens, json_rules(schema, name), name)

    @cached_property
    def tokens(self) -> Any:
        """The tokens, in the form that grammars need."""
        return tokens_of(self.tokenizer, self.ends)


def _turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The messages before the first turn, which are the system's, and the turns."""
    system: list[Message] = []
    turns: list[list[Message]] = []
    for message in messages:
        if message["role"] == "user" or (not turns and message["role"] == "assistant"):
            turns.append([message])
        else:
            (turns[-1] if turns else system).append(message)
    return system, turns
