"""The objects of an answer, whole or as events, with the log-probabilities of its tokens."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect

from minillm.decoding.continuation import Score
from minillm.decoding.grammar import Grammar
from minillm.errors import InputError
from minillm.serving.engine import Event
from minillm.serving.requests import Wanted, answer_to
from minillm.text import ByteTokens

LEAST = -9999.0  # a log-probability in JSON, which has no infinity


class Prompt(NamedTuple):
    """The ids of messages or of a prompt, the text of a prompt, and the grammar of the answer."""

    ids: list[int]
    text: str = ""
    grammar: Grammar | None = None


class Form:
    """The objects of the answers to one request: its ``n`` choices for each of the prompts."""

    def __init__(
        self,
        chat: bool,
        model: str,
        tokenizer: ByteTokens,
        prompts: Sequence[Prompt],
        wanted: Wanted,
    ):
        self.chat, self.choices = chat, wanted.fields.n * len(prompts)
        self.prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        self.object = "chat.completion" if chat else "text_completion"
        self.common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self.tokenizer = tokenizer
        self.written = [0] * self.choices

    def whole(self, events: list[Event]) -> dict[str, Any]:
        """An answer as one object."""
        of_choice: list[list[Event]] = [[] for _ in range(self.choices)]
        for event in events:
            of_choice[event.choice].append(event)
        choices = []
        for own in of_choice:
            text = "".join(event.piece for event in own)
            content: dict[str, Any] = {"role": "assistant", "content": text}
            if calls := own[-1].calls:
                content |= {"content": text if text.strip() else None, "tool_calls": calls}
            content = {"message": content} if self.chat else {"text": text}
            scores = [score for event in own for score in event.scores]
            choices.append(self._choice(own[-1]._replace(scores=scores), content))
        return {**self.common, "object": self.object, "choices": choices, "usage": self._usage()}

    async def stream(
        self, first: Event, others: AsyncIterator[Event], usage: bool
    ) -> AsyncIterator[bytes]:
        """An answer as events."""
        event: Event | None = first
        try:
            if self.chat:
                for number in range(self.choices):
                    opening = Event(number, "", [], None, 0)
                    yield self._event(opening, {"role": "assistant", "content": ""})
            while event is not None:
                if event.piece or event.scores:
                    part: dict[str, Any] = {"content" if self.chat else "text": event.piece}
                    yield self._event(event._replace(reason=None), part)
                for at, call in enumerate(event.calls):
                    part = {"tool_calls": [{"index": at, **call}]}
                    yield self._event(event._replace(scores=[], reason=None), part)
                if event.reason is not None:
                    yield self._event(event._replace(scores=[]), {} if self.chat else {"text": ""})
                event = await anext(others, None)
            if usage:
                yield self._line({"choices": [], "usage": self._usage()})
            yield b"data: [DONE]\n\n"
        except ClientDisconnect:
            pass
        except InputError as error:
            yield self._line(answer_to(error)[0])
        finally:
            await others.aclose()  # type: ignore[attr-defined]

    def _event(self, event: Event, part: dict[str, Any]) -> bytes:
        content = {"delta": part} if self.chat else part
        return self._line({"choices": [self._choice(event, content)]})

    def _line(self, values: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.chat else self.object
        whole = values if "error" in values else {**self.common, "object": kind, **values}
        return f"data: {json.dumps(whole)}\n\n".encode()

    def _choice(self, event: Event, content: dict[str, Any]) -> dict[str, Any]:
        """A choice, or a piece of it."""
        self.written[event.choice] = event.written
        listed = of_chat if self.chat else of_completion
        return {
            "index": event.choice,
            **content,
            "logprobs": listed(self.tokenizer, event.scores) if event.scores else None,
            "finish_reason": event.reason,
        }

    def _usage(self) -> dict[str, int]:
        tokens = sum(self.written)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }


# --- log-probabilities: the rows of a model past its tokenizer's tokens are not listed -----------


def of_chat(tokenizer: ByteTokens, scores: Sequence[Score]) -> dict[str, Any]:
    """The object for the next tokens of a chat: it has an object for each token."""

    def entry(token: int, log_p: float | None) -> dict[str, Any]:
        data = tokenizer.token(token)
        text = data.decode("utf-8", "replace")
        return {"token": text, "logprob": _finite(log_p), "bytes": list(data)}

    content = [
        {
            **entry(token, log_p),
            "top_logprobs": [entry(*one) for one in top if one[0] < len(tokenizer)],
        }
        for token, log_p, top in scores
    ]
    return {"content": content, "refusal": None}


def of_completion(tokenizer: ByteTokens, scores: Sequence[Score]) -> dict[str, Any]:
    r"""The object for the next tokens of a completion: lists with an entry for each token.

    A part of a character is shown as ``bytes:\xe2\x82``.
    """

    def text(token: int) -> str:
        data = tokenizer.token(token)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    tops = [
        {
            text(one): _finite(of_one)
            for one, of_one in [*top, (token, log_p)]
            if one < len(tokenizer)
        }
        for token, log_p, top in scores
    ]
    return {
        "tokens": [text(score.token) for score in scores],
        "token_logprobs": [_finite(score.log_p) for score in scores],
        "top_logprobs": [
            None if score.log_p is None else top for score, top in zip(scores, tops, strict=True)
        ],
    }


def _finite(log_p: float | None) -> float | None:
    return None if log_p is None else max(log_p, LEAST)
