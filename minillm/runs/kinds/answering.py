"""Measuring a chat model: the loss of answers, and answers that match exactly.

**Loss.**  The mean loss over the tokens of known answers to known questions, in nats.

**Exact match.**  The model writes its most probable answer, token by token.  Of both the answer and
the known one, the last match of a pattern is compared, by default all that is written: a question
of arithmetic, for example, is compared by its last number.
"""

import re
from collections.abc import Sequence
from typing import cast

import numpy as np

from minillm.data.conversations import Conversation, form_of, read_conversations
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.metrics import perplexity
from minillm.runs.kind import EvalData, Results
from minillm.runs.run import Run
from minillm.runs.settings import EvalOptions
from minillm.text.byte_tokens import ByteTokens
from minillm.training.conversations import Encoded, in_batches, mean_loss
from minillm.training.packed import Packed

TOKENS = 2048  # that are read at a time
LENGTH = 256  # tokens of an answer that is to match


def require_text(options: EvalOptions, expected: str) -> None:
    """InputError if there is an option for texts alone; ``expected`` ends its message."""
    for name in ("adapt", "mix"):
        if getattr(options, name):
            raise InputError(f"expected {expected}", name)


def results_of(run: Run, data: EvalData, options: EvalOptions) -> Results | None:
    """The figures on files of conversations; None for other data.

    InputError for other data with ``pattern``, and for these data with ``adapt`` or ``mix``.
    """
    pattern, items = _compiled(options.pattern), _items_of(run, data)
    if items is None:
        if pattern is not None:
            raise InputError("expected a FILE of conversations with it", "pattern")
        return None
    require_text(options, f"a text, found {data.title}: conversations")
    chats = [item for item in items if item.rejected is None]
    results: Results = {"data": data.title} | on_answers(run, chats)
    return results if pattern is None else results | on_matches(run, chats, pattern)


def _items_of(run: Run, data: EvalData) -> list[Conversation] | None:
    """The conversations of files; None: a text."""
    if data.files and all(map(form_of, data.files)):
        return [*read_conversations(*data.files)]
    return None


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InputError(f"expected a regular expression: {error}", "pattern") from None


def on_answers(run: Run, chats: Sequence[Conversation]) -> Results:
    """The loss of the answers in nats per token, and their perplexity."""
    template, context = run.answering.template, run.model.config.context
    messages = [chat.messages for chat in chats]
    tokenizer = cast(ByteTokens, run.tokenizer)
    places = [chat.place for chat in chats]
    encoded = template.encode_answers(tokenizer, messages, context, places)
    fitting = [Encoded(ids, counted) for ids, counted, _ in encoded if len(ids)]
    if not fitting:
        raise InputError(f"expected a conversation of at most {context} tokens, found none")
    nats, tokens = mean_loss(Packed(run.model), in_batches(fitting, TOKENS))
    return {
        "conversations": len(fitting),
        "tokens": tokens,
        "nats_per_token": nats,
        "perplexity": perplexity(nats),
    }


def on_matches(run: Run, chats: Sequence[Conversation], pattern: re.Pattern[str]) -> Results:
    """The share of last answers that match the known ones."""
    hits = []
    for chat in chats:
        question, known = chat.last_answer
        if not question:
            raise InputError(
                f"{chat.place}: expected a question before the last answer, found none"
            )
        written = "".join(run.answering.answer(question, LENGTH, Sampling(temperature=0)))
        hits.append(_last(pattern, written) == _last(pattern, known))
    return {"exact_match": float(np.mean(hits))}


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    """The last match of a pattern, or of its first group; None if there is none."""
    found = [match[1] if pattern.groups else match[0] for match in pattern.finditer(text)]
    return found[-1].strip() if found else None
