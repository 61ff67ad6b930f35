"""Exercises of chapter 11: parts of words."""

from collections import Counter
from itertools import pairwise

from minillm.exercises.declaration import exercise
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
