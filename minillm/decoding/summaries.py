"""Summaries, by a model that answers or by extraction, within the length that is asked for.

A chat model is asked for a summary by :func:`minillm.data.conversations.summary_request`.  It
ignores limits now and then, so its answer is cut to whole sentences within them.

Of a text that exceeds the context, the beginning is read.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

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
SPARE = 8  # tokens that a text may have more within its prompt, or after it was cut
LEAST = 16  # tokens of a text that a context must have room for


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
) -> Iterator[str | InputError]:
    """The summary of each text, in order, as it is written; an InputError if there is none.

    It is the first paragraph of the answer, cut to the length.

    ``places`` name the texts in messages.  ``report`` is called with a line about a text that
    exceeds the context, so that its beginning is read.
    """
    words = length.words or WORDS
    limited = replace(length, words=words)
    room = room_for_text(chat, length)

    def request(text: str, place: str) -> list[Message] | InputError:
        """The messages that ask for a summary of a text."""
        if room < LEAST:
            return InputError(
                f"the model: expected a context with room for {LEAST} tokens of a text, found "
                f"{max(0, room)} of {chat.reader.config.context}"
            )
        if not text.strip():
            return InputError(f"{place}: expected a text, found an empty one")
        read = beginning(text, chat.tokenizer, room)
        if len(read) < len(text):
            report(f"{place}: its first {room:,} tokens are read: more do not fit the context")
        return summary_request(read, *vars(length).values())

    asked = (request(text, place) for text, place in zip(texts, places, strict=True))
    for answer in chat.answers(asked, TOKENS * words, GREEDY):
        if not isinstance(answer, InputError):
            answer = limited.cut(re.split(r"\n\s*\n", answer.lstrip(), maxsplit=1)[0])
        yield answer


def room_for_text(chat: Chat, length: Length) -> int:
    """The number of tokens of a text that fit the context with the prompt and any answer."""
    prompt = summary_request("", *vars(length).values())
    return chat.most_tokens() - len(chat.encode(prompt)) - SPARE


def beginning(text: str, tokenizer: ByteTokens, most: int) -> str:
    """The first ``most`` tokens of a text."""
    ids = tokenizer.encode_ordinary(text)
    return text if len(ids) <= most else tokenizer.decode(ids[:most]).rstrip("\ufffd")
