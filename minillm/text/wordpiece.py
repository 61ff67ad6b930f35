"""WordPiece: words in the pieces that a vocabulary holds, the longest first.

A text is first cut into words, much like a dictionary's:

>>> basic_tokens("Élodie's 2 cafés!")
['elodie', "'", 's', '2', 'cafes', '!']

Then each word is cut into pieces: the longest piece of the vocabulary that it begins with, then
the longest one that the rest begins with, and so on.  A piece that continues a word begins with ##:

>>> pieces = {"un", "##a", "##aff", "##able", "aff", "sea"}
>>> [split_word(word, pieces) for word in basic_tokens("Unaffable sea ?")]
[['un', '##aff', '##able'], ['sea'], ['[UNK]']]

Unlike with byte pairs, no merges are replayed: only the vocabulary is needed.  If no piece fits at
some place, the whole word becomes the unknown token, [UNK].

**The words** follow BERT's basic tokenizer.  Control characters, and those for private use,
are removed; all other white space separates; each CJK ideograph and each punctuation mark is a word
of its own.  A vocabulary in lower case has no accents, either: a character is decomposed (Unicode's
NFD) and loses its nonspacing marks, so é becomes e.  Marks and punctuation are those of Python's
Unicode; the published programs have an older one, and few characters differ.

**Training** starts with the characters, and repeatedly joins two neighbours to one piece, as for
byte pairs.  But the next pair is not the most frequent one.  It is the pair that raises the
likelihood of the text the most.  Suppose that each piece occurs with its share of all T pieces as
its probability, whatever its neighbours are.  Then the log-likelihood of the text is

    LL = sum of c log(c / T) = sum of c log c - T log T,    over all pieces, with counts c.

Joining the c(ab) neighbours a and b makes a new piece with the count c(ab), and takes c(ab) from
c(a), from c(b) and from T.  No other count changes.  With f(c) = c log c, LL grows by

    gain(ab) =  f(c(ab))                    the new piece
              - f(c(a)) + f(c(a) - c(ab))   what is left of a
              - f(c(b)) + f(c(b) - c(ab))   what is left of b
              + f(T) - f(T - c(ab))         fewer pieces in all

Where c(ab) is small next to c(a) and c(b), f(c) - f(c - m) is about m (log c + 1), and so

    gain(ab) ~ c(ab) (log(T c(ab) / (c(a) c(b))) - 1).

The fraction says how many times as often a and b are neighbours as they would be by chance.  Such a
pair gains only if that is more than e = 2.7 times.  One as frequent as by chance loses c(ab).

By hand, on five words with their counts, T = 113 characters:

    ##u ##g    f(20) - f(36) + f(16) - f(20) + f(0) + f(113) - f(93)  = 28.0
    p ##u      f(17) - f(17) + f(0) - f(36) + f(19) + f(113) - f(96)  = 23.0
    ##u ##n    f(16) - f(36) + f(20) - f(16) + f(0) + f(113) - f(97)  = 21.4
    h ##u      f(15) - f(15) + f(0) - f(36) + f(21) + f(113) - f(98)  = 19.8
    ##g ##s    f(5) - f(20) + f(15) - f(5) + f(0) + f(113) - f(108)   =  9.2

>>> words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
>>> learn_pieces(words, 3)
['##ug', '##un', 'hug']

Training stops at the number of pieces that was asked for, or where no pair raises the likelihood.

Widely used trainers take another rule.  Some take the most frequent pair, as for byte pairs, and so
merge pairs that are frequent only because their characters are.  Others take the largest fraction
c(ab) / (c(a) c(b)): above, ##g ##s would come first.  Then rare pairs come before all others,
unless a minimum count is tuned.  For encoding, it does not matter by which rule the pieces were
learned.

Sources: Schuster and Nakajima (2012), "Japanese and Korean voice search", section 3: the pair that
increases the likelihood the most, until there are enough pieces, or the increase is below a
threshold, here 0; Devlin et al. (2018), "BERT", and its tokenizer.

This page is the definition.  :mod:`minillm.text.word_pieces` learns from large texts, and has the
vocabulary.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from minillm.text.bpe import join

UNKNOWN = "[UNK]"
PREFIX = "##"  # of a piece that is not the first of its word
LONGEST = 100  # characters of a word; a longer one is unknown
LEAST = 2  # occurrences of a pair that may become one piece


# --- words ---------------------------------------------------------------------------------------

_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def is_ideograph(character: str) -> bool:
    """Whether it is a CJK ideograph, by Unicode's blocks; kana and hangul are not."""
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def is_punctuation(character: str) -> bool:
    """Whether it is punctuation in Unicode, or an ASCII symbol: $ and ` are, € is not."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


class CharacterTable(dict[int, str]):
    """The replacement of each character, for ``str.translate``; filled as characters occur.

    Letters remain; with ``lower_case``, in lower case and without accents.  A character that is a
    word of its own gets a space on both sides.
    """

    def __init__(self, lower_case: bool):
        super().__init__()
        self.lower_case = lower_case

    def __missing__(self, code: int) -> str:
        self[code] = replacement = self._of(chr(code))
        return replacement

    def _of(self, character: str) -> str:
        kind = unicodedata.category(character)
        if kind.startswith("Z") or character in "\t\n\r":
            return " "
        if kind in ("Cc", "Cf", "Co") or character == "\ufffd":
            return ""
        alone = is_ideograph(character)
        if self.lower_case:  # each by itself: a sigma at the end of a word is like any other
            parts = unicodedata.normalize("NFD", character)
            character = "".join(p.lower() for p in parts if unicodedata.category(p) != "Mn")
        return "".join(f" {c} " if alone or is_punctuation(c) else c for c in character)


def basic_tokens(text: str, table: CharacterTable | None = None) -> list[str]:
    """The words of a text, as in BERT's basic tokenizer; without a table, in lower case.

    >>> basic_tokens("naïve 東京 $5", CharacterTable(False))
    ['naïve', '東', '京', '$', '5']
    """
    return text.translate(CharacterTable(True) if table is None else table).split()


# --- training ------------------------------------------------------------------------------------


def spell(word: str) -> list[str]:
    """A word as pieces of one character.

    >>> spell("sea")
    ['s', '##e', '##a']
    """
    return [word[:1], *(PREFIX + character for character in word[1:])]


def glue(left: str, right: str) -> str:
    """The piece that two neighbours make."""
    return left + right.removeprefix(PREFIX)


def neighbours(pieces: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The pairs of neighbours that a merge can join: of three equal pieces, only two.

    >>> list(neighbours("aaab"))
    [('a', 'a'), ('a', 'b')]
    """
    before = None
    for pair in pairwise(pieces):
        before = None if pair == before and pair[0] == pair[1] else pair
        if before is not None:
            yield pair


def n_log_n(n: Any) -> Any:
    """The term of a count in a log-likelihood; 0 for a count of 0."""
    return n * np.log(np.maximum(n, 1))


def gain(pair: Any, left: Any, right: Any, total: Any, same: Any = False) -> Any:
    """The gain of the log-likelihood of a text, in nats, if a pair becomes one piece.

    Counts of occurrences: of the pair, of its left and its right piece, and of all pieces in
    total.  Numbers, or arrays (P,).  same: whether left and right are the same piece.
    """
    made = n_log_n(pair) + (n_log_n(total) - n_log_n(total - pair))
    lost_left = n_log_n(left) - n_log_n(left - pair)
    lost_right = n_log_n(right) - n_log_n(right - pair)
    lost_twice = n_log_n(left) - n_log_n(left - 2 * pair)
    return made - np.where(same, lost_twice, lost_left + lost_right)


def learn_pieces(words: Mapping[str, int], number: int) -> list[str]:
    """Learn the first ``number`` pieces from words with their counts, besides their characters.

    There are fewer if no pair that occurs ``LEAST`` times gains anything.  Pairs of equal gain are
    ordered by their left pieces, then by their right ones.  A pair whose piece exists already is
    not merged.

    >>> learn_pieces({"ba": 2, "ab": 2}, 2)
    ['ab', 'ba']
    """
    texts = {word: spell(word) for word in words}
    known = {piece for pieces in texts.values() for piece in pieces}
    learned: list[str] = []
    while len(learned) < number:
        counts, pairs = Counter[str](), Counter[tuple[str, str]]()
        for word, pieces in texts.items():
            for piece in pieces:
                counts[piece] += words[word]
            for pair in neighbours(pieces):
                pairs[pair] += words[word]
        total = counts.total()
        gains = {
            (left, right): gain(count, counts[left], counts[right], total, left == right)
            for (left, right), count in pairs.items()
            if count >= LEAST and glue(left, right) not in known
        }
        best = min(gains, key=lambda pair: (-gains[pair], pair), default=None)
        if best is None or gains[best] <= 0:
            break
        piece = glue(*best)
        texts = {word: join(pieces, best, piece) for word, pieces in texts.items()}
        known.add(piece)
        learned.append(piece)
    return learned


# --- encoding ------------------------------------------------------------------------------------


def split_word(word: str, pieces: Collection[str]) -> list[str]:
    """The pieces of a word: the longest one first, then the longest one of the rest, and so on.

    >>> split_word("seashells", {"sea", "seas", "##s", "##shell", "##hells"})
    ['seas', '##hells']

    The unknown token if no piece fits at some position, or if the word is longer than ``LONGEST``.
    """
    found: list[str] = []
    rest = word if len(word) <= LONGEST else ""
    while rest:
        prefix = PREFIX if found else ""
        end = next((n for n in range(len(rest), 0, -1) if prefix + rest[:n] in pieces), 0)
        if not end:
            return [UNKNOWN]
        found.append(prefix + rest[:end])
        rest = rest[end:]
    return found or [UNKNOWN]
