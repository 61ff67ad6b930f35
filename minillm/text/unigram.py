r"""The unigram language model: the most probable of all segmentations of a text.

Each token x has a probability p(x), and a segmentation of a text has the product of its tokens'
probabilities.  A file has the logarithms s(x) = log p(x), so we look for the largest sum.

All segmentations are the paths of a lattice: its nodes are the places between characters, from 0 to
T, and each token that occurs in the text is an edge from its beginning to its end.  The best path
to a node ends with one of its edges, after the best path to where this edge begins (Viterbi):

    best(0) = 0,    best(t) = max over tokens x = text[u:t] of best(u) + s(x)

By hand, for "abc" with s(a) = s(b) = s(c) = -3, s(ab) = -4, s(bc) = -5:

    best(1) = s(a) = -3
    best(2) = max(best(1) + s(b), s(ab)) = max(-6, -4) = -4                       ab
    best(3) = max(best(2) + s(c), best(1) + s(bc)) = max(-7, -8) = -7             ab c

>>> scores = {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -4.0, "bc": -5.0}
>>> segment("abc", scores)
['ab', 'c']

A character that is no token is an edge, too, with a score that is worse than any other by
``PENALTY``, so that every text has a path.

Sources: Kudo (2018), "Subword regularization: improving neural network translation models with
multiple subword candidates", section 3; the penalty: Kudo and Richardson (2018), "SentencePiece".
Of equally good paths, the one whose last token is longest is taken.
"""

from collections.abc import Mapping

PENALTY = 10.0


def segment(
    text: str, scores: Mapping[str, float], unknown: float | None = None, longest: int | None = None
) -> list[str]:
    """The tokens of the best path; a character that is no token is one part.

    unknown: the score of such a character; None: the least score, minus ``PENALTY``.
    longest: the characters of the longest token, if it is known.
    """
    if unknown is None:
        unknown = min(scores.values(), default=0.0) - PENALTY
    longest = longest or max(map(len, scores), default=1)
    best, start = [0.0] + [float("-inf")] * len(text), [0] * (len(text) + 1)
    for u in range(len(text)):
        for t in range(u + 1, min(u + longest, len(text)) + 1):
            score = scores.get(text[u:t], unknown if t == u + 1 else None)
            if score is not None and best[u] + score > best[t]:
                best[t], start[t] = best[u] + score, u
    tokens, t = [], len(text)
    while t:
        tokens.append(text[start[t] : t])
        t = start[t]
    return tokens[::-1]
