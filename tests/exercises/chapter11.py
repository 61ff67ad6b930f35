"""Answers to the exercises of chapter 11."""

from .answers import Answer

ANSWERS = [
    Answer(
        "next-merge",
        right=["n", "(-counts[pair], pair)", "1 + is_pair"],
        wrong=[
            (0, "1", "as often as its word occurs"),
            (1, "-counts[pair]", "ordered by the pair"),
            (1, "(counts[pair], pair)", "pair is"),
            (2, "1", "go on behind them"),
        ],
    ),
    Answer(
        "bpe-encode",
        right=["[pair for pair in pairwise(pieces) if pair in rank]", "min(pairs, key=rank.get)"],
        wrong=[
            (1, "pairs[0]", "that of learning, not that of the word"),
            (1, "max(pairs, key=rank.get)", "low rank means learned early"),
            (0, "list(pairwise(pieces))", "stop if no pair of the word is in rank"),
            (1, "min(pairs, key=lambda pair: rank[pair[0]])", "Take the pair of the smallest rank"),
        ],
    ),
]
