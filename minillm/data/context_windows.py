"""Questions and contexts for a reader: pieces of words, and windows of long contexts.

A reader has a limited number of tokens for [CLS] question [SEP] context [SEP].  A longer context is
read in windows, one every ``stride`` tokens.  The windows overlap, so that an answer that is cut by
one is whole in another.  If a window does not have the answer, or a question has none, the target
is [CLS].

Source: Devlin, Chang, Lee and Toutanova (2018), "BERT", section 4.2; the windows follow the
code published with it.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data.sequences import Sequences
from minillm.data.squad import Question
from minillm.errors import InputError, short

LONGEST_QUESTION = 64  # tokens; only the beginning of a longer one is read
FRAME = 3  # [CLS] and two [SEP]
JOINED = ("Mn", "Mc", "Me", "Cf")  # Unicode's categories of marks on the character before


class ContextWindows(NamedTuple):
    """N windows of the contexts of some questions.

    questions and contexts: the ids for :class:`minillm.models.question_answering.Reader`; question
    (N,): the number of a window's question; begin (N,): the number of a window's first token in the
    context; offsets: for each question the places of its context's tokens in the text, (T, 2).
    """

    questions: Sequences
    contexts: Sequences
    question: NDArray[np.int64]
    begin: NDArray[np.int64]
    offsets: list[NDArray[np.int64]]


def windows_of(
    questions: Iterable[Question], tokenizer: Any, context: int, stride: int
) -> ContextWindows:
    """The windows of questions.

    context: the largest number of tokens in a row.  InputError, with the question's id, for a
    question or a context without tokens.
    """
    rows, contexts = Sequences(), Sequences()
    owners: list[int] = []
    begins: list[int] = []
    offsets = []
    encoded: dict[str, tuple[NDArray, NDArray]] = {}
    for number, asked in enumerate(questions):
        place, text = f"question {asked.id}", asked.context
        if text not in encoded:
            encoded[text] = tokenizer.encode_with_offsets(text, f"{place}: context")
        ids, where = encoded[text]
        question_ids = tokenizer.encode(asked.question, f"{place}: question")
        for name, tokens in (("question", question_ids), ("context", ids)):
            if len(tokens) == 0:
                raise InputError(f"{place}: expected a {name} of a token or more, found none")
        question_ids = question_ids[: min(LONGEST_QUESTION, context // 2)]
        offsets.append(where)
        for begin, end in windows(len(ids), context - FRAME - len(question_ids), stride):
            rows.append([*question_ids, tokenizer.eos])
            contexts.append([tokenizer.bos, *ids[begin:end], tokenizer.eos])
            owners.append(number)
            begins.append(begin)
    return ContextWindows(
        rows, contexts, np.array(owners, np.int64), np.array(begins, np.int64), offsets
    )


def windows(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """The beginnings and ends of windows of ``room`` tokens, one every ``stride`` tokens.

    >>> windows(10, 6, 3), windows(10, 3, 5), windows(2, 6, 3)
    ([(0, 6), (3, 9), (6, 10)], [(0, 3), (3, 6), (6, 9), (9, 10)], [(0, 2)])
    """
    starts = range(0, max(1, tokens - room + min(stride, room)), min(stride, room))
    return [(start, min(start + room, tokens)) for start in starts]


def targets_of(
    windows: ContextWindows, questions: list[Question]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last place of the answer in each window, (N,) each; 0 if it is not there.

    The first of several answers counts.  InputError, with the question's id, for an answer without
    tokens.
    """
    spans = []
    for question, offsets in zip(questions, windows.offsets, strict=True):
        span = None
        if question.answers:
            answer = question.answers[0]
            span = tokens_of(offsets, answer.start, answer.start + len(answer.text))
            if span is None:
                raise InputError(
                    f"question {short(question.id)}: expected an answer of a token or more, found "
                    f"{short(answer.text)}"
                )
        spans.append(span)
    first, last = np.zeros((2, len(windows.question)), np.int64)
    for row, (number, begin) in enumerate(zip(windows.question, windows.begin, strict=True)):
        span, room = spans[number], windows.contexts.lengths[row] - 2
        if span and begin <= span[0] and span[1] < begin + room:
            first[row], last[row] = (1 + place - begin for place in span)  # [CLS] is at 0
    return first, last


def tokens_of(offsets: NDArray[np.integer], start: int, end: int) -> tuple[int, int] | None:
    """The first and the last token with a character in ``text[start:end]``; None if there is none.

    >>> tokens_of(np.array([[0, 2], [2, 5], [6, 9]]), 3, 7)
    (1, 2)
    """
    first = int(np.searchsorted(offsets[:, 1], start, "right"))
    last = int(np.searchsorted(offsets[:, 0], end, "left")) - 1
    return (first, last) if first <= last else None


def text_span(text: str, offsets: NDArray[np.integer], first: int, last: int) -> tuple[int, int]:
    """The beginning and end of the tokens ``first`` to ``last`` in the text.

    The span includes marks on its last character, such as an accent that is a separate character,
    which a vocabulary without accents drops.

    >>> text_span("cafe\\u0301 bar", np.array([[0, 4], [6, 9]]), 0, 0)
    (0, 5)
    """
    start, end = int(offsets[first, 0]), int(offsets[last, 1])
    while end < len(text) and unicodedata.category(text[end]) in JOINED:
        end += 1
    return start, end
