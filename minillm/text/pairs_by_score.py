"""Byte-pair encoding of SentencePiece: characters are merged, and a token's score is its rank.

:mod:`minillm.text.bpe` merges bytes within words, by the ranks of pairs.  SentencePiece differs in
three points.  It begins with characters.  It has no words: a space is a character like any other,
written as "▁" (U+2581), so a token may begin with one.  And no pair has a rank: two neighbours are
merged if together they are a token, and the token with the best score comes first.

>>> scores = {"▁s": -1.0, "he": -2.0, "▁she": -3.0, "ll": -4.0, "▁a": -5.0}
>>> encode("▁she▁all", scores)
['▁she', '▁a', 'll']

A character that is no token is split into the bytes of its UTF-8, for which models such as Llama 2,
Mistral and Gemma have tokens: :class:`minillm.text.sentence_pieces.SentencePieces` does this.

Source: Kudo and Richardson (2018), "SentencePiece: a simple and language independent subword
tokenizer and detokenizer for neural text processing".
"""

from collections.abc import Mapping
from itertools import pairwise


def encode(text: str, scores: Mapping[str, float]) -> list[str]:
    """The tokens of a text: the best pair is merged next, the first one of equally good pairs.

    A character that is no token remains as it is.
    """
    parts = list(text)
    while pairs := [
        (-scores[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in scores
    ]:
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
