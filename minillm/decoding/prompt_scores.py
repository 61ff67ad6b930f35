"""The scores of prompts: a pass over a prompt predicts each of its tokens.

The choice among given endings, for example, takes nothing else: the ending with the highest
log-probability wins.  Several prompts are rows of one batch.  The shorter ones are padded on the
right, where no token of theirs attends to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.cache import Cache
from minillm.decoding.scores import Score, score
from minillm.decoding.text import Text

PART = 256  # tokens of all prompts together that are read at once


class PromptScores:
    """Texts whose prompts are read together, a part of each at a time.

    ``step`` until all ``are_read``: it gives each text its scores.  ``texts`` has None for a row
    whose text has been removed.
    """

    def __init__(self, reader: Any, texts: Sequence[Text]):
        self.reader = reader
        self.texts: list[Text | None] = list(texts)
        self.lengths = np.array([text.prompt for text in texts])
        self._ids = np.zeros((len(texts), int(self.lengths.max())), np.int64)
        for row, text in zip(self._ids, texts, strict=True):
            row[: text.prompt] = text.ids[: text.prompt]
            text.scores.append(Score(text.ids[0], None, []))
        self._cache: Cache = reader.zero_state(len(texts))
        self._read = 0  # tokens of each row

    @property
    def are_read(self) -> bool:
        """Whether all prompts have been read, or their texts removed."""
        return self._read == self._ids.shape[1] or not any(self.texts)

    def step(self) -> list[tuple[Text, NDArray, int]]:
        """Read a part of each prompt: -> the texts whose prompts end in it.

        Each comes with the logits (V,) of its next token, and its row.
        """
        start, (B, T) = self._read, self._ids.shape
        width = max(2, PART // B)
        end = T if T - start <= width + 1 else start + width  # not a single one last
        logits, self._cache = self.reader.read_all(self._ids[:, start:end], self._cache)
        self._read, ended = end, []
        for row, text in enumerate(self.texts):
            if text is None:
                continue
            last = text.prompt - 1
            for at in range(start, min(end, last)):
                text.scores.append(score(logits[row, at - start], text.ids[at + 1], text.top or 0))
            if start <= last < end:
                ended.append((text, logits[row, last - start], row))
        return ended

    def remove(self, text: Text) -> None:
        """Let a text leave, whether its prompt has been read or not."""
        self.texts = [None if one is text else one for one in self.texts]

    def cache_of(self, row: int) -> tuple[Cache, int]:
        """The cache of a prompt that has been read, as a row of a cache of several."""
        return self._cache.cut(np.minimum(self.lengths, self._read)), row
