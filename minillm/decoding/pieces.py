"""The text of ids that come one at a time: characters are whole, and it ends before a stop text."""

import codecs
from collections.abc import Collection, Sequence

from minillm.text.byte_tokens import ByteTokens


class Pieces:
    """A text that grows: each id adds a piece of it.

    >>> pieces = Pieces(tokenizer, stop=["END"])  # doctest: +SKIP
    >>> pieces.add(id)  # doctest: +SKIP

    A piece has whole characters, and nothing that may be the beginning of a stop text.  Hidden
    special tokens have no text, except those in ``shown``.  ``stopped``: a stop text is complete,
    and nothing more will be added.  Where stop texts overlap, the one that is complete first ends
    the text, and of two that end together the longer one, so that the result is the same however
    tokens cut the text.

    ``after`` is the id that precedes the text.  After a special token, some tokenizers put a space
    before a text, which is no part of it.
    """

    def __init__(
        self,
        tokenizer: ByteTokens,
        stop: Sequence[str] = (),
        shown: Collection[str] = (),
        after: int | None = None,
    ):
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        ids = tokenizer.special.ids
        self._hidden = tokenizer.hidden - {ids[text] for text in shown if text in ids}
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._begins = after is None or after in tokenizer.special.ids.values()

    def add(self, token: int) -> str:
        """The piece that an id completes; it may be empty."""
        text = b"" if token in self._hidden else self.tokenizer.token(token)
        if self._begins and text:
            text, self._begins = self.tokenizer.begun(text), False
        return self._extended(self._decoder.decode(text))

    def end(self) -> str:
        """The piece that was held back, after the last id."""
        text = self._extended(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _extended(self, more: str) -> str:
        """The text that was held back, and more, as far as it is no beginning of a stop text."""
        if self.stopped:
            return ""
        text = self._held + more
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        kept = len(text) - begun(text, self.stop)
        self._held = text[kept:]
        return text[:kept]


def begun(text: str, wholes: Sequence[str]) -> int:
    """The number of characters at the end of a text that begin, but do not complete, a whole."""
    most = len(text) + 1
    sizes = (k for one in wholes for k in range(1, min(len(one), most)) if text.endswith(one[:k]))
    return max(sizes, default=0)
