"""Answers to many conversations: a few of them share the passes of a model."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from minillm.decoding.batch import Batch, Kept
from minillm.decoding.chat import Chat
from minillm.decoding.grammar import Grammar
from minillm.decoding.sampling import Sampling
from minillm.decoding.text import Text
from minillm.errors import InputError
from minillm.text.chat_template import Message

AT_ONCE = 8  # conversations that share a pass


def answers(
    chat: Chat,
    conversations: Iterable[Sequence[Message] | InputError | None],
    length: int | None = None,
    sampling: Sampling | None = None,
    is_enough: Callable[[str], bool] | None = None,
    grammar: Grammar | None = None,
) -> Iterator[str | InputError]:
    """Yield the answers to conversations, in their order.

    The answer to a conversation that does not fit the context is an InputError, which is not
    raised, nor is one that ends an answer.  The answer to None is empty, and the one to an
    InputError is that error.  For ``length``, ``sampling`` and ``grammar`` see :meth:`Chat.answer`.
    An answer also ends where ``is_enough`` of it is true; it may then exceed by a few tokens what
    would have been enough.
    """
    batch = Batch(chat.reader, Kept(chat.reader))
    begun = (_begun(chat, one, length, sampling, grammar) for one in conversations)
    ordered: deque[Text | str | InputError] = deque()  # of the conversations not yielded yet
    while True:
        while len(batch) < AT_ONCE and (entry := next(begun, None)) is not None:
            ordered.append(entry)
            if isinstance(entry, Text):
                batch.add(entry)
        if not ordered:
            return
        for text in batch.step():
            if text.ended is None and is_enough is not None and is_enough(_written(chat, text)):
                text.ended = "length"
            if text.ended is not None:
                batch.remove(text)
        while ordered and not (isinstance(ordered[0], Text) and ordered[0].ended is None):
            entry = ordered.popleft()
            if isinstance(entry, Text):
                ended = entry.ended
                if isinstance(ended, Exception) and not isinstance(ended, InputError):
                    raise ended
                entry = ended if isinstance(ended, InputError) else _written(chat, entry)
            yield entry


def _begun(
    chat: Chat,
    messages: Sequence[Message] | InputError | None,
    length: int | None,
    sampling: Sampling | None,
    grammar: Grammar | None,
) -> Text | str | InputError:
    """The text to continue to an answer."""
    if messages is None or isinstance(messages, InputError):
        return messages or ""
    try:
        ids = chat.encode(chat.fitting(messages, length)).tolist()
    except InputError as error:
        return error
    return chat.to_continue(ids, length, sampling, grammar)


def _written(chat: Chat, text: Text) -> str:
    """The answer in a text, so far."""
    ids = text.ids[text.prompt :]
    return "".join(chat.text(iter(ids[:-1] if text.ended == "stop" else ids)))
