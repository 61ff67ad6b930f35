"""Measuring a chat model: the loss of answers, multiple choice, and answers that match exactly.

**Loss.**  The mean loss over the tokens of known answers to known questions, in nats.

**Multiple choice.**  Of several endings of a text, the model chooses the one to which it gives the
highest probability.  A longer ending has a lower one, so two figures are common: by the
log-probability itself, and by that for each byte of the ending.  With n questions, a share p that
is right has the standard error sqrt(p (1 - p) / n).

**Exact match.**  The model writes its most probable answer, token by token.  Of both the answer and
the known one, the last match of a pattern is compared, by default all that is written: a question
of arithmetic, for example, is compared by its last number.

Source: Gao et al. (2021), "A framework for few-shot language model evaluation", for both figures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from minillm.data.choices import Choice, is_choice, read_choices
from minillm.data.conversations import (
    Conversation,
    has_summaries,
    read_conversations,
    summarised,
)
from minillm.data.files import json_object
from minillm.data.lines import is_json_lines, read_lines
from minillm.decoding import Sampling
from minillm.errors import InputError
from minillm.metrics import perplexity
from minillm.option import option
from minillm.runs.kind import Given, Results
from minillm.runs.run import Run
from minillm.runs.settings import TextEvaluation
from minillm.text.byte_tokens import ByteTokens
from minillm.training.conversations import Encoded, in_batches, mean_loss
from minillm.training.packed import Packed
from minillm.training.preferences import answer_log_likelihoods

TOKENS = 2048  # that are read at a time
LENGTH = 256  # tokens of an answer that is to match


@dataclass(frozen=True)
class AnswerEvaluation(TextEvaluation):
    """Options of measuring a model that answers."""

    pattern: str | None = option(
        None,
        "of conversations: compare the last match of REGEX in the written answer and the known",
        "REGEX",
    )


def require_text(options: TextEvaluation, expected: str) -> None:
    """InputError if there is an option for texts alone; ``expected`` ends its message."""
    for name in ("adapt", "mix"):
        if getattr(options, name):
            raise InputError(f"{name}: expected {expected}")


def results_of(run: Run, given: Given, options: AnswerEvaluation) -> Results | None:
    """The figures on files of conversations or of multiple choice; None for other data.

    InputError for other data with ``pattern``, and for these data with ``adapt`` or ``mix``.
    """
    pattern, items = _compiled(options.pattern), _items_of(run, given)
    if items is None:
        if pattern is not None:
            raise InputError("pattern: expected a FILE of conversations with it")
        return None
    require_text(options, f"a text, found {given.title}: conversations or questions")
    choices = [item for item in items if isinstance(item, Choice)]
    if choices and pattern is not None:
        raise InputError("pattern: expected a FILE of conversations, found multiple choice")
    if choices:
        return {"data": given.title} | on_choices(run, choices)
    chats = [item for item in items if isinstance(item, Conversation)]
    results: Results = {"data": given.title} | on_answers(run, chats)
    return results if pattern is None else results | on_matches(run, chats, pattern)


def _items_of(run: Run, given: Given) -> list[Any] | None:
    """The questions of multiple choice, or the conversations of pairs or files; None: a text."""
    if given.pairs is not None:
        return [summarised(pair, "pairs") for pair in given.pairs]
    if given.files and all(map(is_json_lines, given.files)):
        first = next((line for line, _ in read_lines(given.files[0]) if line.strip()), "")
        values = json_object(first, f"{given.files[0]}, line 1")
        if is_choice(values):
            return [choice for file in given.files for choice in read_choices(file)]
        if {"messages", "completion", "target"}.isdisjoint(values):
            return None
    elif not given.files or run.chat_template() is None or not all(map(has_summaries, given.files)):
        return None
    return [*read_conversations(*given.files)]


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InputError(f"pattern: expected a regular expression: {error}") from None


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


def on_choices(run: Run, choices: Sequence[Choice]) -> Results:
    """The share of questions that are answered right, in both ways, with standard errors."""
    right: dict[str, list[bool]] = {"accuracy": [], "accuracy_per_byte": []}
    for choice in choices:
        log_p = ending_log_likelihoods(run, choice)
        sizes = np.array([len(ending.encode()) for ending in choice.endings])
        right["accuracy"].append(int(log_p.argmax()) == choice.right)
        right["accuracy_per_byte"].append(int((log_p / sizes).argmax()) == choice.right)
    n = len(choices)
    results: Results = {
        "questions": n,
        "guessing": float(np.mean([1 / len(choice.endings) for choice in choices])),
    }
    for name, hits in right.items():
        share = float(np.mean(hits))
        results |= {name: share, f"{name}_error": float(np.sqrt(share * (1 - share) / n))}
    return results


def ending_log_likelihoods(run: Run, choice: Choice) -> np.ndarray:
    """The log-probability of each ending after the beginning, in nats.

    A token that has a part of both belongs to the ending.
    """
    tokenizer = run.tokenizer
    beginning = tokenizer.encode(choice.beginning)
    rows = []
    for ending in choice.endings:
        ids = tokenizer.encode(choice.beginning + ending)
        most = min(len(beginning), len(ids))
        differ = np.flatnonzero(beginning[:most] != ids[:most])
        first = max(1, int(differ[0]) if len(differ) else most)
        ids, first = _shortened(ids, first, run.model.config.context)
        rows.append(Encoded(ids, np.arange(len(ids)) >= first))
    return answer_log_likelihoods(Packed(run.model), rows)[0]


def _shortened(ids: np.ndarray, first: int, context: int) -> tuple[np.ndarray, int]:
    """The last tokens that fit a context, and the place of ``first`` in them."""
    cut = max(0, len(ids) - 1 - context)
    return ids[cut:], max(1, first - cut)


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
