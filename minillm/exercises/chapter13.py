"""Exercises of chapter 13: parts of words."""

from collections import Counter
from itertools import pairwise

import numpy as np

from minillm.exercises.declaration import Bug, exercise, find_the_bug
from minillm.text import bpe


def _next_merge(words):
    merges = bpe.learn_merges({b"".join(pieces): count for pieces, count in words.items()}, 1)
    pair = merges[0]
    joined = {tuple(bpe.join(pieces, pair, b"".join(pair))): n for pieces, n in words.items()}
    return pair, joined


def _counted_words(rng):
    for words in (
        {b" sells": 1, b" sea": 1, b"she": 1, b" shells": 1},
        {b"ab": 1, b"cab": 1, b"de": 5},
        {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5},
        {b"aaab": 3, b"aaaa": 2, b"ba": 1},
        {b"cd": 2, b"ab": 2, b"abc": 1, b"dcd": 1},
    ):
        yield "", ({tuple(bpe.BYTES[value] for value in word): n for word, n in words.items()},)


@exercise(
    "count the pairs of neighbours, and merge the most frequent",
    level=2,
    minutes=20,
    reference=_next_merge,
    solution="minillm/text/bpe.py: learn_merges",
    cases=_counted_words,
    imports="from collections import Counter\nfrom itertools import pairwise",
    outputs=("pair", "merged"),
    hints={
        "pair": (
            "A pair counts as often as its word occurs.  Equal counts are ordered by the pair.",
            "counts[pair] += n.  The smallest (-counts[pair], pair) is the pair that is wanted.",
        ),
        "merged": (
            "From left to right: if the next two pieces are the pair, append both as one and "
            "go on behind them.  Of a a a with the pair a a, the first two are joined.",
            "Append pieces[at] + pieces[at + 1] and add 2 to at; else append pieces[at], add 1.",
        ),
    },
)
def next_merge(words):
    """Take one step of learning byte pairs.

    words: counts, keyed by tuples of pieces, such as {(b"h", b"u", b"g"): 10} -> the most frequent
    pair of neighbours, of equal ones the first in order; and the words after this merge.
    """
    counts = Counter()
    for pieces, n in words.items():
        for pair in pairwise(pieces):
            counts[pair] += ...

    def order(pair):
        # what min compares: of two tuples the first entry, or where it is equal, the next
        key = ...
        return key

    pair = min(counts, key=order)
    merged = {}
    for pieces, n in words.items():
        joined, at = [], 0
        while at < len(pieces):
            is_pair = pieces[at : at + 2] == pair
            joined.append(pieces[at] + pieces[at + 1] if is_pair else pieces[at])
            # how many pieces have been read
            at += ...
        merged[tuple(joined)] = n
    return pair, merged


def _encode_word(word, merges):
    return bpe.encode_word(word, merges)


def _words_to_encode(rng):
    merges = [(b"s", b"e"), (b"h", b"e"), (b"l", b"l"), (b"ll", b"s"), (b"s", b"he"), (b"a", b"s")]
    for word in (b"sells", b"shells", b"x"):
        yield "", (word, merges)
    yield "order", (b"seashells", merges)
    yield "order", (b"abc", [(b"b", b"c"), (b"a", b"b")])
    yield "", (b"sese", merges)


@exercise(
    "encode a word by replaying merges",
    level=2,
    minutes=20,
    reference=_encode_word,
    solution="minillm/text/bpe.py: encode_word",
    cases=_words_to_encode,
    imports="from itertools import pairwise",
    outputs=("pieces",),
    hints={
        "pieces": (
            "Of the pairs that stand in the word now, the one that was learned first is merged.",
            "rank[pair] is its position in merges.  Take the pair of the smallest rank; stop if no "
            "pair of the word is in rank.",
        ),
        "order": (
            "The order is that of learning, not that of the word from left to right.",
            "min(pairs, key=lambda pair: rank[pair]): a low rank means learned early.",
        ),
    },
)
def bpe_encode(word, merges):
    """Encode a word.  word: bytes; merges: pairs of bytes in the order of learning -> pieces."""
    rank = {pair: number for number, pair in enumerate(merges)}
    pieces = [word[at : at + 1] for at in range(len(word))]
    while True:
        pairs = ...
        if not pairs:
            return pieces
        pair = ...
        at = list(pairwise(pieces)).index(pair)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _wordpieces(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        for end in range(len(word), start, -1):
            if mark + word[start:end] in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def _words_in_pieces(rng):
    vocabulary = {"un", "una", "unaff", "##aff", "##able", "##ab", "##a", "##le", "able", "a"}
    yield "", ("able", vocabulary)
    yield "inside", ("abba", {"a", "ab", "ba", "b", "##ba", "##b"})
    yield "greedy", ("unaffable", vocabulary)
    yield "greedy", ("abab", {"a", "ab", "##a", "##ab", "##b", "aba"})
    yield "no piece", ("unfit", vocabulary)
    yield "no piece", ("unable", {"un", "able", "##able", "##a", "unabl"})
    yield "no piece", ("aaffx", vocabulary)


@exercise(
    "WordPiece: the longest piece first",
    level=2,
    minutes=20,
    name="wordpieces",
    reference=_wordpieces,
    solution="minillm/exercises/chapter13.py: _wordpieces",
    cases=_words_in_pieces,
    outputs=("pieces",),
    hints={
        "pieces": (
            "Take the longest piece with which the word starts, then the longest with which the "
            "rest starts, and so on.",
            "For end from len(word) down to start + 1, the first word[start:end] that fits.",
        ),
        "inside": (
            "Inside of a word, only pieces that are written with ## fit.",
            "Look for mark + word[start:end], where mark is ## for all but the first piece.",
        ),
        "greedy": (
            "The longest piece that fits now is taken, whatever becomes of the rest.",
            "From the longest end to the shortest, and the first that is in the vocabulary.",
        ),
        "no piece": (
            "If no piece fits somewhere, the whole word is unknown, also what was found before.",
            'return ["[UNK]"].',
        ),
    },
)
def wordpieces(word, vocabulary):
    """Encode a word by the longest pieces of a vocabulary, from left to right.

    word: str; vocabulary: a set of str, in which a piece that continues a word is written with ##
    -> pieces, a list of str; ["[UNK]"] if at some position no piece fits.
    """
    # as many lines as you need
    pieces = ...
    return pieces


def _best_split(word, log_p):
    best = [(0.0, [])]
    for end in range(1, len(word) + 1):
        candidates = [
            (best[start][0] + log_p[word[start:end]], [*best[start][1], word[start:end]])
            for start in range(end)
            if word[start:end] in log_p and best[start]
        ]
        best.append(max(candidates, default=None))
    total, pieces = best[-1]
    return pieces, total


def _weighted_pieces(rng):
    def weighted(*pieces):
        return dict(zip(pieces, np.log(rng.dirichlet(np.ones(len(pieces)))).tolist(), strict=True))

    yield "one piece", ("ab", {"ab": -1.0, "a": -2.0, "b": -3.0})
    yield "", ("ab", {"ab": -9.0, "a": -2.0, "b": -3.0})
    yield "", ("abcd", {"abc": -1.0, "d": -9.0, "ab": -2.0, "cd": -3.0, "a": -5.0})
    yield "a dead end", ("abcd", {"abc": -1.0, "ab": -4.0, "cd": -3.0, "a": -0.5})
    word = "abcabcbcab"
    yield "", (word, weighted(*sorted({word[k : k + n] for k in range(9) for n in (1, 2, 3)})))


@exercise(
    "the most probable split of a word",
    level=3,
    minutes=35,
    reference=_best_split,
    solution="minillm/exercises/chapter13.py: _best_split",
    cases=_weighted_pieces,
    outputs=("pieces", "total"),
    hints={
        "pieces": (
            "The best split of the first n letters ends with some piece; what comes before it is "
            "the best split of fewer letters.  Neither the longest piece nor the most probable one "
            "need be in it.",
            "best[end] is the largest best[start] + log_p[word[start:end]] over all starts; keep "
            "the pieces with it.",
        ),
        "one piece": (
            "Each further piece costs a probability, so few pieces are often better.",
            "Compare log_p of the whole word with the sum of those of its parts.",
        ),
        "a dead end": (
            "A split that begins well may not be able to end: only whole splits count.",
            "If no piece ends at a position, best there is -inf (or None), and nothing goes on "
            "from it.",
        ),
        "total": (
            "The probability of a split is the product of its pieces' probabilities.",
            "The sum of log_p over the pieces.",
        ),
    },
)
def best_split(word, log_p):
    """Split a word into pieces whose probabilities have the largest product.

    word: str; log_p: a dictionary from pieces to the logarithms of their probabilities; there is
    a way to split the word, and a best one -> pieces, a list of str, and the sum of their log_p.
    """
    # as many lines as you need
    pieces, total = ...
    return pieces, total


# --- find the bug -------------------------------------------------------------------


def _spelled_words(rng):
    yield "", ({"sells": 1, "sea": 1, "she": 1, "shells": 1}, 3)
    yield "", ({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}, 3)
    yield "", ({"aaab": 3, "aaaa": 2, "ba": 1}, 2)
    yield "", ({"cd": 2, "ab": 2, "abc": 1, "dcd": 1}, 2)


@find_the_bug(
    "find the bug: learning byte pairs",
    level=2,
    minutes=20,
    cases=_spelled_words,
    imports="from collections import Counter\nfrom itertools import pairwise",
    outputs=("merges",),
    bugs=(
        Bug(
            "factor",
            "counts[pair] += n",
            "counts[pair] += 1",
            "A pair counts as often as its word occurs.",
            lead='Try {"ab": 5, "cd": 1, "cde": 1}: which pair is the most frequent?',
        ),
        Bug(
            "sign",
            "key=lambda pair: (-counts[pair], pair)",
            "key=lambda pair: (counts[pair], pair)",
            "The most frequent pair is wanted, and min finds the smallest key.",
            lead='Try {"ab": 5, "cd": 1}, one step: which of the two pairs is merged?',
        ),
        Bug(
            "order",
            "joined.append(pair[0] + pair[1])",
            "joined.append(pair[1] + pair[0])",
            "A merge keeps the order of its two pieces.",
            lead='Two steps on {"abc": 1}: what are the pieces after the first?',
        ),
        Bug(
            "range",
            "at += 2",
            "at += 1",
            "After a merge, both pieces have been read.",
            lead='Merge "ab" in "abc", and join all pieces again: is it still the same word?',
        ),
        Bug(
            "order",
            "pairwise(pieces)",
            "pairwise(sorted(pieces))",
            "Pairs are neighbours in the word.",
            lead='One step on {"ba": 1}: which pair of neighbours does this word have?',
        ),
        Bug(
            "value",
            "words = merged",
            "words = words",
            "The next step has to see the words after this merge.",
            lead="Ask for two steps: are the second merge and the first different?",
        ),
    ),
)
def find_merges(words, steps):
    """Learn ``steps`` merges from a dictionary of words (str) and their counts.

    At each step, the most frequent pair of neighbours is joined everywhere, from left to right; of
    equally frequent ones, the first in alphabetical order -> merges, a list of pairs of str.
    """
    words = {tuple(word): n for word, n in words.items()}
    merges = []
    for _ in range(steps):
        counts = Counter()
        for pieces, n in words.items():
            for pair in pairwise(pieces):
                counts[pair] += n
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(pair)
        merged = {}
        for pieces, n in words.items():
            joined, at = [], 0
            while at < len(pieces):
                if pieces[at : at + 2] == pair:
                    joined.append(pair[0] + pair[1])
                    at += 2
                else:
                    joined.append(pieces[at])
                    at = at + 1
            merged[tuple(joined)] = n
        words = merged
    return merges
