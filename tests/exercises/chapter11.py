"""Answers to the exercises of chapter 11."""

from .answers import Answer

WORDPIECES = """[]
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)
        fits = [end for end in ends if mark + word[start:end] in vocabulary]
        if not fits:
            return ["[UNK]"]
        pieces.append(mark + word[start : fits[0]])
        start = fits[0]"""
SPLIT = """[], 0.0
    best = [(0.0, [])]
    for end in range(1, len(word) + 1):
        best.append((-np.inf, []))
        for start in range(end):
            piece = word[start:end]
            if piece in log_p:
                total = best[start][0] + log_p[piece]
                if total > best[end][0]:
                    best[end] = total, [*best[start][1], piece]
    total, pieces = best[-1]"""
LONGEST = """[], 0.0
    start = 0
    while start < len(word):
        end = max(e for e in range(start, len(word) + 1) if word[start:e] in log_p or e == start)
        if end == start:
            break
        pieces.append(word[start:end])
        total, start = total + log_p[word[start:end]], end"""

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
    Answer(
        "wordpieces",
        right=[WORDPIECES],
        wrong=[
            (0, WORDPIECES.replace("fits[0]", "fits[-1]"), "Take the longest piece"),
            (
                0,
                WORDPIECES.replace('"##" if start else ""', '""'),
                "only pieces that are written with ##",
            ),
            (
                0,
                WORDPIECES.replace("pieces.append(mark + word", "pieces.append(word"),
                "for all but the first piece",
            ),
            (0, WORDPIECES.replace('return ["[UNK]"]', "break"), "the whole word is unknown"),
            (
                0,
                WORDPIECES.replace('return ["[UNK]"]', 'return [*pieces, "[UNK]"]'),
                "also what was found before",
            ),
        ],
    ),
    Answer(
        "best-split",
        right=[SPLIT],
        wrong=[
            (0, LONGEST, "Neither the longest piece"),
            (
                0,
                "list(word), sum(log_p.get(c, -99.0) for c in word)",
                "few pieces are often better",
            ),
            (0, SPLIT.replace("total > best", "total < best").replace("-np", "np"), "of the whole"),
            (0, SPLIT.replace("log_p[piece]", "log_p[piece] / len(piece)"), "Compare log_p of"),
            (0, SPLIT + "\n    total = total / len(pieces)", "is the product of"),
        ],
    ),
]
