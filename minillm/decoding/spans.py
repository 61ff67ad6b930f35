"""The best spans of a context that is read in one or more windows."""

from typing import Any

import numpy as np

from minillm.data.context_windows import ContextWindows
from minillm.data.sequences import batches_in_order
from minillm.models.question_answering import best_spans

BATCH = 32  # windows that are read together

Span = tuple[int, int]


def find_spans(
    model: Any, windows: ContextWindows, longest: int, number: int
) -> list[list[tuple[Span, float]]]:
    """The ``number`` best spans for each question, with their scores, best first.

    A span is the first and the last token of an answer in the context.  The score of a span
    compares it with "no answer" in its window.  If several windows have a span, its largest score
    counts.
    """
    scores: list[dict[Span, float]] = [{} for _ in windows.offsets]
    lengths = windows.contexts.lengths
    for rows in batches_in_order(np.argsort(lengths, kind="stable"), lengths, rows=BATCH):
        texts = *windows.questions.padded(rows), *windows.contexts.padded(rows)
        logits, _ = model.forward(*texts)  # (B, 2, T)
        for row, of_row in zip(rows, logits, strict=True):
            spans = scores[windows.question[row]]
            before = int(windows.begin[row]) - 1  # [CLS] is the place 0
            for first, last, score in best_spans(of_row, longest, number):
                span = before + first, before + last
                spans[span] = max(score, spans.get(span, -np.inf))
    return [sorted(spans.items(), key=lambda entry: -entry[1])[:number] for spans in scores]
