"""Answers to many conversations, each its own: a few of them share the passes of a model."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from minillm.decoding.batch import Batch
from minillm.decoding.chat import Chat, Kept
from minillm.decoding.sampling import Sampling
from minillm.decoding.writer import Text
from minillm.errors import InputError
from minillm.text.chat_template import Message

AT_ONCE = 8  # conversations that share a pass


def answers(
    chat: Chat,
    conversations: Iterable[Sequence[Message] | None],
    length: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[str | InputError]:
    """Yield the answers to conversations, in their order.

    The answer to one that does not fit the context is an InputError, which is not raised, and that
    to None is empty.  ``length`` and ``sampling`` are those of :meth:`Chat.answer`.
    """
    batch = Batch(chat.reader, Kept(chat.reader))
    ordered: deque[Text | str | InputError] = deque()  # of the conversations not yielded yet
    begun = (_begun(chat, one, length, sampling or chat.sampling) for one in conversations)
    writing, more = 0, True
    while more or ordered:
        while more and writing < AT_ONCE:
            entry = next(begun, None)
            if entry is None:
                more = False
                break
            ordered.append(entry)
            if isinstance(entry, Text):
                batch.add(entry)
                writing += 1
        if writing:
            for text in batch.step():
                if text.ended is not None:
                    batch.remove(text)
                    writing -= 1
        while ordered and not (isinstance(ordered[0], Text) and ordered[0].ended is None):
            entry = ordered.popleft()
            yield _text(chat, entry) if isinstance(entry, Text) else entry


def _begun(
    chat: Chat, messages: Sequence[Message] | None, length: int | None, sampling: Sampling
) -> Text | str | InputError:
    """The text to continue to an answer."""
    if messages is None:
        return ""
    try:
        ids = chat.encode(chat.fitting(messages, length)).tolist()
    except InputError as error:
        return error
    most = chat.reader.config.context - len(ids)
    return Text(ids, min(length or most, most), sampling, frozenset(chat.ends), chat.banned)


def _text(chat: Chat, text: Text) -> str:
    """The answer in a text that has ended."""
    ids = text.ids[text.prompt :]
    return "".join(chat.text(iter(ids[:-1] if text.ended == "stop" else ids)))
