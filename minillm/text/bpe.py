r"""Byte-pair encoding: tokens between bytes and words, learned from a text.

Begin with the bytes of each word.  Find the pair of neighbours that occurs most often in the
text, and make it one token.  Repeat this any number of times.  Frequent words end up whole, rare
ones in pieces.  No text is unknown: in the worst case it is split into bytes.

By hand, on four words, with a dot between two tokens and ␣ for the space:

    s.h.e   ␣.s.e.l.l.s   ␣.s.e.a   ␣.s.h.e.l.l.s
    s.h.e   ␣s.e.l.l.s    ␣s.e.a    ␣s.h.e.l.l.s      "␣ s" occurs three times
    s.h.e   ␣se.l.l.s     ␣se.a     ␣s.h.e.l.l.s      "␣s e", "h e", "e l", "l l" and "l s" twice
    s.he    ␣se.l.l.s     ␣se.a     ␣s.he.l.l.s       "h e", "l l" and "l s" twice
    s.he    ␣se.ll.s      ␣se.a     ␣s.he.ll.s
    s.he    ␣se.lls       ␣se.a     ␣s.he.lls         no pair occurs twice any more

>>> words = {b"she": 1, b" sells": 1, b" sea": 1, b" shells": 1}
>>> merges = learn_merges(words, 5)
>>> merges
[(b' ', b's'), (b' s', b'e'), (b'h', b'e'), (b'l', b'l'), (b'll', b's')]

To encode a word, replay the merges in the order of learning, which is their rank:

>>> encode_word(b" seashells", merges)
[b' se', b'a', b's', b'he', b'lls']

GPT-2's pattern defines a word: a run of letters, of digits or of anything else, with the space
before it.  No merge crosses words, so "dog." and "dog!" do not become tokens.

Sources: Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
units"; on bytes, and with the pattern: Radford et al. (2019), "Language models are unsupervised
multitask learners" (GPT-2).  They leave two details open.  Here, equally frequent pairs are ordered
by the bytes of their left tokens, then of their right ones.  And a pair is not merged if its bytes
are a token already ("a bc" after "ab c"), so each merge makes one new token.

This page is the definition.  :mod:`minillm.text.byte_pairs` has the same functions for large texts,
and the vocabulary.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from minillm.unicode import check_encodable, without_late_letters

Pair = tuple[bytes, bytes]

LONGEST = 1024  # bytes of a token

BYTES = [bytes([value]) for value in range(256)]


# --- words ---------------------------------------------------------------------------------------

# GPT-2's: an English ending; letters, digits or others, each with a space before them; white space,
# except its last character, which belongs to the word after it.
PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)


@cache
def _compiled() -> Any:
    """The pattern, for the package regex."""
    import regex  # not re, which has no \p{L}; saves 10 ms if the twin splits words

    return regex.compile(PATTERN)


def cut_words(text: str) -> list[str]:
    """The words of a text; together they are the text.

    >>> cut_words("Don't  say été!")[:4]
    ['Don', "'t", ' ', ' say']
    """
    ends = [match.end() for match in _compiled().finditer(without_late_letters(text))]
    return [text[start:end] for start, end in pairwise([0, *ends])]


def split_words(text: str) -> list[bytes]:
    """The words of a text, each as its bytes.

    InputError for a lone surrogate.
    """
    check_encodable(text, "text")
    return [word.encode() for word in cut_words(text)]


# --- training ------------------------------------------------------------------------------------


def join(parts: Sequence[Any], pair: tuple[Any, Any], new: Any) -> list[Any]:
    """The parts of a word after one merge: ``new`` replaces each ``pair``, from left to right.

    >>> join([b"a", b"a", b"a", b"b"], (b"a", b"a"), b"aa")
    [b'aa', b'a', b'b']
    """
    joined: list[Any] = []
    at = 0
    while at < len(parts):
        is_pair = tuple(parts[at : at + 2]) == pair
        joined.append(new if is_pair else parts[at])
        at += 1 + is_pair
    return joined


def count_pairs(words: Mapping[bytes, int], parts: Mapping[bytes, list[bytes]]) -> Counter[Pair]:
    """The count of each pair of neighbours in words, from the count and the parts of each word.

    >>> count_pairs({b"he": 2, b"she": 1}, {b"he": [b"h", b"e"], b"she": [b"s", b"h", b"e"]})
    Counter({(b'h', b'e'): 3, (b's', b'h'): 1})
    """
    counts: Counter[Pair] = Counter()
    for word in words:
        for pair in pairwise(parts[word]):
            counts[pair] += words[word]
    return counts


def learn_merges(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """The first ``number`` merges of words with their counts; fewer if no pair occurs twice.

    >>> learn_merges({b"ba": 2, b"ab": 2, b"cd": 3}, 2)
    [(b'c', b'd'), (b'a', b'b')]
    """
    parts = {word: [BYTES[value] for value in word] for word in words}
    tokens, merges = set(BYTES), list[Pair]()
    while len(merges) < number:
        counts = count_pairs(words, parts)
        new = [pair for pair in counts if b"".join(pair) not in tokens]
        allowed = [pair for pair in new if counts[pair] >= 2 and len(b"".join(pair)) <= LONGEST]
        if not allowed:
            break
        best = min(allowed, key=lambda pair: (-counts[pair], pair))
        parts = {word: join(parts[word], best, b"".join(best)) for word in words}
        tokens.add(b"".join(best))
        merges.append(best)
    return merges


# --- encoding ------------------------------------------------------------------------------------


def encode_word(word: bytes, merges: Sequence[Pair]) -> list[bytes]:
    """The tokens of a word: the pair that was learned first is merged next, from left to right.

    >>> encode_word(b"abc", [(b"b", b"c"), (b"a", b"b")])
    [b'a', b'bc']
    """
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    parts = [BYTES[value] for value in word]
    while mergeable := [
        (ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in ranks
    ]:
        _, at = min(mergeable)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
