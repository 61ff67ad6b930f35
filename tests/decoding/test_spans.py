"""The best spans of a question, over all windows of its context."""

import numpy as np
import pytest

from minillm.data.context_windows import windows_of
from minillm.data.squad import Question
from minillm.decoding import spans
from minillm.decoding.spans import find_spans
from minillm.text.word_pieces import SPECIALS, WordPieces

LETTERS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
PIECES = WordPieces([*SPECIALS, *LETTERS])
TEXT = " ".join(LETTERS)


class OfIds:
    """A reader whose logits depend on the token alone: [CLS] has 1 and 2."""

    def __init__(self, rng):
        self.scores = rng.standard_normal((2, len(PIECES)))
        self.scores[:, PIECES.bos] = 1, 2

    def forward(self, question, question_lengths, context, lengths):
        logits = self.scores[:, context].transpose(1, 0, 2)  # (B, 2, T)
        allowed = np.arange(context.shape[1]) < lengths[:, None] - 1
        return np.where(allowed[:, None], logits, -np.inf), None


@pytest.mark.parametrize("longest", [1, 4])
def test_windows_have_the_spans_of_the_whole_context(monkeypatch, longest):
    """As long as no answer is longer than two windows have in common."""
    monkeypatch.setattr(spans, "BATCH", 4)
    model = OfIds(np.random.default_rng(0))
    texts = [("1", "a b", TEXT), ("2", "c", TEXT[::-1]), ("3", "d", "x y")]
    questions = [Question(*each, ()) for each in texts]
    [whole, parts] = [
        find_spans(model, windows_of(questions, PIECES, context, 4), longest, 1000)
        for context in (40, 14)
    ]
    assert parts == whole
    s, e = model.scores
    for (_, _, text), found in zip(texts, parts, strict=True):
        ids = PIECES.encode(text)
        expected = {
            (i, j): s[ids[i]] + e[ids[j]] - 3
            for i in range(len(ids))
            for j in range(i, min(len(ids), i + longest))
        }
        assert dict(found) == pytest.approx(expected)
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
    assert find_spans(model, windows_of(questions, PIECES, 14, 4), longest, 2) == [
        found[:2] for found in whole
    ]


def test_of_a_span_in_several_windows_the_largest_score_counts():
    class ByPlace:
        """Logits that rise from left to right in each window."""

        def forward(self, question, question_lengths, context, lengths):
            logits = np.zeros((*context.shape, 2)) + np.arange(context.shape[1])[:, None]
            allowed = np.arange(context.shape[1]) < lengths[:, None] - 1
            return np.where(allowed[:, None], logits.transpose(0, 2, 1), -np.inf), None

    windows = windows_of([Question("1", "a", TEXT, ())], PIECES, 12, 4)  # room for 8 tokens
    assert windows.begin.tolist() == [0, 4, 8, 12, 16, 20]
    [found] = find_spans(ByPlace(), windows, 1, 1000)
    # the token 5 is at the place 6 of the first window and 2 of the second
    assert dict(found)[5, 5] == 12
    assert dict(found)[3, 3] == 8
    assert len(found) == len(LETTERS)
