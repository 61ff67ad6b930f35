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
before it.  No merge crosses words, so "dog." and "dog!" do not become tokens.  Later models cut
numbers: SmolLM into single digits, Llama 3 into groups of three.

Sources: Sennrich, Haddow and Birch (2016), "Neural machine translation of rare words with subword
units"; on bytes, and with the pattern: Radford et al. (2019), "Language models are unsupervised
multitask learners" (GPT-2); the patterns of Allal et al. (2025), "SmolLM2", and of Dubey et al.
(2024), "The Llama 3 herd of models".  Sennrich and Radford leave two details open.  Here, equally
frequent pairs are ordered by the bytes of their left tokens, then of their right ones.  And a pair
is not merged if its bytes are a token already ("a bc" after "ab c"), so each merge makes one new
token.

This page is the definition.  :mod:`minillm.text.bpe_fast` has the same functions for large texts,
and :mod:`minillm.text.byte_pairs` the vocabulary and its files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, pairwise
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
# Endings in either case; letters, with any sign before them; others with the ends of their line.
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Capitals before small letters, one of them at least; marks and letters without case are both.
_CAPITALS, _SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SMALL_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}*{_SMALL}+"
_LARGE_WORD = rf"[^\r\n\p{{L}}\p{{N}}]?{_CAPITALS}+{_SMALL}*"
_LETTERS_WITH_CASE = """
41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A
38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF
1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D
1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4
1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F
2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F
A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3
104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""  # of Unicode 12


def _class(ranges: str) -> str:
    """A class of characters for an expression; the ranges are hexadecimal numbers."""
    ends = (part.split("-") for part in ranges.split())
    return f"[{''.join('-'.join(chr(int(code, 16)) for code in end) for end in ends)}]"


_EAST_ASIAN = _class("4E00-9FA5 800-4E00 AC00-D7FF")
_WIDE_SIGNS = _class("21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002")
_ASCII_SIGNS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

# By the names that GGUF files have for them.  Of several expressions, each cuts the parts that are
# left by the ones before it: what it matches is a part, and so is the text between two matches.
PATTERNS: dict[str, tuple[str, ...]] = {
    "gpt-2": (PATTERN,),
    # A digit is a word, and has nothing before it: all of the white space is a word.
    "smollm": (
        r"'s|'t|'re|'ve|'m|'ll|'d"
        r"| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?=\p{N})|\s+(?!\S)|\s+",
    ),
    # Up to three digits, or single ones.
    "llama-bpe": (rf"{_ENDINGS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}",),
    "qwen2": (rf"{_ENDINGS}|{_WORDS}|\p{{N}}|{_SIGNS}|{_SPACES}",),
    "qwen35": (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",
    ),
    # A word ends before a capital that follows a small letter.
    "tekken": (rf"{_SMALL_WORD}|{_LARGE_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",),
    "gpt-4o": (
        rf"{_SMALL_WORD}{_ENDINGS}?|{_LARGE_WORD}{_ENDINGS}?|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
    ),
    "deepseek-llm": (
        *(r"[\r\n]", rf"\s?{_class(_LETTERS_WITH_CASE)}+", rf"\s?{_WIDE_SIGNS}+", r"\s+$"),
        *(rf"{_EAST_ASIAN}+", r"\p{N}"),
    ),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", rf"{_EAST_ASIAN}+", r"\p{N}"),
    "deepseek-v3": (
        *(r"\p{N}{1,3}", rf"{_class('4E00-9FA5 3040-309F 30A0-30FF')}+"),
        rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
    ),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", PATTERN, "[0-9][0-9][0-9]"),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", PATTERN, r"\p{N}+", "[0-9][0-9][0-9]"),
}


@cache
def compiled(pattern: str) -> list[Any]:
    """One of PATTERNS, by its name, as expressions of the package regex."""
    import regex  # not re, which has no \p{L}; saves 10 ms if the twin splits words

    return [regex.compile(f"({expression})") for expression in PATTERNS[pattern]]


def cut_words(text: str, pattern: str = "gpt-2") -> list[str]:
    """The words of a text; together they are the text.

    >>> cut_words("HTTPServer 12", "tekken")
    ['HTTPServer', ' ', '1', '2']
    """
    parts = [text]
    for expression in compiled(pattern):
        parts = [part for whole in parts for part in expression.split(whole) if part]
    return parts


def split_words(text: str, pattern: str = "gpt-2") -> list[bytes]:
    """The words of a text, each as its bytes.

    >>> split_words("Don't  say été!")[:4]
    [b'Don', b"'t", b' ', b' say']

    InputError for a lone surrogate.
    """
    check_encodable(text, "text")
    ends = accumulate(map(len, cut_words(without_late_letters(text), pattern)), initial=0)
    return [text[start:end].encode() for start, end in pairwise(ends)]


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
