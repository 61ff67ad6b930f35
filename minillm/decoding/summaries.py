r"""Summaries, by a model that answers or by extraction, within the length that is asked for.

A chat model is asked for a summary by :func:`minillm.data.conversations.summary_request`.  It
ignores limits now and then, so they also end its answer, which is then cut to whole sentences.  A
small model may also write the same words again and again: the answer ends where it repeats itself.

A text that exceeds the context is summarised in parts, which end where sentences do.  The summaries
of the parts, one after another, are a shorter text, which is summarised in the same way:

    s(text) = answer(text)                              if the text fits the context
    s(text) = s(answer(part 1) answer(part 2) ...)      otherwise

Source: Wu et al. (2021), "Recursively summarizing books with human feedback", section 2.1.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.conversations import Message, summary_request
from minillm.decoding.chat import Chat
from minillm.decoding.sampling import Sampling
from minillm.errors import InputError
from minillm.option import option
from minillm.text.byte_tokens import ByteTokens
from minillm.text.sentences import sentences

GREEDY = Sampling(temperature=0)
WORDS = 100  # of the summary of a chat model at most, unless a number is given
TOKENS = 4  # of a word at most: an answer without spaces must end, too
REPEATED = 6  # words in a row that a summary does not have twice
SPARE = 8  # tokens that a text may have more within its prompt, or after a cut within a word
LEAST = 16  # tokens of a text that a context must have room for
SHORTER = 8  # times that the summary of a part has fewer tokens than the context has room for


@dataclass(frozen=True)
class Length:
    """The length of a summary at most."""

    sentences: int | None = option(
        None,
        "at most N sentences",
        "N",
        least=1,
        most=10_000,
        default_help="1 of lead and textrank",
    )
    words: int | None = option(
        None,
        "at most N words",
        "N",
        least=1,
        most=100_000,
        default_help=f"{WORDS} of a chat model",
    )

    def cut(self, text: str) -> str:
        """The beginning of a text that has this length: whole sentences, or one cut sentence."""
        if self.sentences is None and self.words is None:
            return " ".join(text.split())
        found = sentences(text)[: self.sentences]
        if self.words is not None and found:
            sizes = accumulate(len(sentence.split()) for sentence in found)
            fitting = sum(size <= self.words for size in sizes)
            found = found[:fitting] or [" ".join(found[0].split()[: self.words])]
        return " ".join(found)


# --- extraction ----------------------------------------------------------------------------------


def extracted(choose: Callable[[str, int], Sequence[str]], text: str, length: Length) -> str:
    """The best sentences of a text: by default one, or as many as have the number of words.

    There is one at least, however long it is.  ``choose(text, k)`` returns the best k sentences.
    """
    if length.words is None:
        return " ".join(choose(text, length.sentences or 1))
    most = min(len(sentences(text)), length.sentences or 10_000)
    fitting = bisect_right(
        range(1, most + 1), length.words, key=lambda k: len(" ".join(choose(text, k)).split())
    )
    return " ".join(choose(text, max(1, fitting)))


# --- a model that answers ------------------------------------------------------------------------


def summaries(
    chat: Chat,
    texts: Iterable[str],
    places: Iterable[str],
    length: Length,
    report: Callable[[str], None],
    progress: Callable[..., Any] = lambda parts, total: parts,
) -> Iterator[str | InputError]:
    """The summary of each text, in order, as it is written; an InputError if there is none.

    ``places`` name the texts in messages.  ``report`` is called with a line about a text that
    exceeds the context.  The answers to its parts pass through ``progress(answers, total=n)``.
    """
    limited = replace(length, words=length.words or WORDS)
    room = room_for_text(chat, length)

    def request(text: str, place: str) -> list[Message] | InputError:
        """The messages that ask for a summary of a text, or of the summaries of its parts."""
        if room < LEAST:
            return InputError(
                f"the model: expected a context with room for {LEAST} tokens of a text, found "
                f"{max(0, room)} of {chat.reader.config.context}"
            )
        while (tokens := len(chat.tokenizer.encode_ordinary(text))) > room:
            parts = parts_of(text, chat.tokenizer, room)
            report(
                f"{place}: {tokens:,} tokens, {room:,} fit the context: {len(parts)} "
                "parts are summarised, and then their summaries"
            )
            asked = (summary_request(part) for part in parts)
            found = _answered(
                chat, asked, Length(words=WORDS), min(TOKENS * WORDS, room // SHORTER)
            )
            shown = progress(found, total=len(parts))
            text = " ".join(one for one in shown if isinstance(one, str))
        if not text.strip():
            return InputError(f"{place}: expected a text, found an empty one")
        return summary_request(text, *vars(length).values())

    asked = (request(text, place) for text, place in zip(texts, places, strict=True))
    return _answered(chat, asked, limited, TOKENS * (length.words or WORDS))


def _answered(
    chat: Chat, requests: Iterable[list[Message] | InputError], length: Length, tokens: int
) -> Iterator[str | InputError]:
    """Yield the answers of so many tokens at most, shortened, and ended as soon as they can be."""

    def enough(answer: str) -> bool:
        whole = re.sub(r"\S+$", "", answer)  # without the last word, which may go on
        return len(shortened(whole, length).split()) < len(whole.split())

    for answer in chat.answers(requests, tokens, GREEDY, enough=enough):
        yield answer if isinstance(answer, InputError) else shortened(answer, length)


def shortened(answer: str, length: Length) -> str:
    """The first paragraph of an answer, up to a repeat, cut to the length."""
    answer = re.split(r"\n\s*\n", answer.lstrip(), maxsplit=1)[0]
    if (words := words_before_repeat(answer)) is not None:
        answer = Length(words=words).cut(answer)
    return length.cut(answer)


def words_before_repeat(text: str) -> int | None:
    """The number of words before the first ``REPEATED`` in a row that occur again; None: no repeat.

    >>> words_before_repeat("So it ends: a b c d e f and a b c d e f")
    10
    """
    words, seen = text.split(), set()
    for start in range(len(words) - REPEATED + 1):
        several = tuple(words[start : start + REPEATED])
        if several in seen:
            return start
        seen.add(several)
    return None


def room_for_text(chat: Chat, length: Length) -> int:
    """The number of tokens of a text that fit the context with the prompt and any answer."""
    prompt = summary_request("", *vars(length).values())
    return chat.most_tokens() - len(chat.encode(prompt)) - SPARE


def parts_of(text: str, tokenizer: ByteTokens, most: int) -> list[str]:
    """The parts of a text, of similar size: sentences of ``most`` tokens together at most.

    A longer sentence is cut between tokens.  Read again, a part that begins within a word may have
    a few more of them.
    """
    pieces = []
    for sentence in sentences(text):
        ids = tokenizer.encode_ordinary(f"{sentence} ")
        pieces += [ids[at : at + most] for at in range(0, len(ids), most)]
    total = sum(map(len, pieces))
    enough = total / max(1, -(-total // most))  # the mean of the fewest parts that are possible
    parts: list[list[NDArray[np.int32]]] = []
    size = most
    for piece in pieces:
        if size >= enough or size + len(piece) > most:
            parts, size = [*parts, []], 0
        parts[-1].append(piece)
        size += len(piece)
    texts = (tokenizer.decode(np.concatenate(part)).strip("\ufffd ") for part in parts)
    return [text for text in texts if text]
