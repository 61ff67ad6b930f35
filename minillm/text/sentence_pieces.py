"""SentencePiece's tokens as a vocabulary: byte pairs by score, or a unigram model, and their JSON.

A text is normalised, its spaces become "▁", and mostly one is put before it, so that a word has the
same token at the beginning of a text as elsewhere:

    Hello world  ->  ▁Hello▁world  ->  ▁Hell  o  ▁world

The tokens are found by :mod:`minillm.text.pairs_by_score` or :mod:`minillm.text.unigram`.  A
character that is no token is split into the tokens of its bytes, <0x00> to <0xFF>, if the
vocabulary has them, and is the unknown token otherwise; unknown neighbours are one token.

The pages of both algorithms take a whole text.  Here a text is cut into words, and each different
word is encoded once.  This changes nothing: a cut is only made before a "▁" where no token has this
"▁" and the character before it.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import count
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import short
from minillm.text.bpe_fast import merge
from minillm.text.byte_tokens import MASK, ByteTokens, check_options
from minillm.text.charsmap import Charsmap
from minillm.text.unigram import PENALTY, segment
from minillm.text.vocabulary import Memory, check_texts

SPACE = "▁"
PREFIXES = {
    "each": "before each part between special tokens",
    "missing": "the same, except where a part begins with a space",
    "first": "as missing, but at the beginning of a text only",
    "none": "nowhere",
}


class SentencePieces(ByteTokens):
    """A vocabulary of SentencePiece, and of special tokens.

    >>> texts = ["<unk>", "▁", "▁s", "s", "e", "a", "ea"]
    >>> tokenizer = SentencePieces(texts, [0.0, -9.0, -1.0, -9.0, -9.0, -9.0, -2.0])
    >>> ids = tokenizer.encode("sea ease!")
    >>> ids.tolist(), tokenizer.decode(ids)
    ([2, 6, 1, 6, 3, 4, 0], 'sea ease<unk>')

    ``texts`` are the tokens as files spell them, and ``tokens`` the bytes that they stand for.
    """

    unit = "sentencepiece"

    def __init__(
        self,
        texts: Sequence[str],
        scores: list[float] | None = None,
        merges: NDArray | Sequence[Sequence[int]] | None = None,
        specials: Sequence[str] = (),
        *,
        unigram: bool = False,
        unknown: str = "<unk>",
        byte_fallback: bool = False,
        charsmap: str = "",
        squeeze: bool = False,
        prefix: str = "each",
        separate: bool = False,
        bos: str = "<s>",
        eos: str = "</s>",
        add_bos: bool = False,
        add_eos: bool = False,
        shown: Sequence[str] = (),
        lstrip: Sequence[str] = (),
        rstrip: Sequence[str] = (),
    ):
        """``texts`` by id.

        scores: of the tokens, by id; merges: pairs of ids (M, 2) in the order of their ranks, in
        place of the scores.  A unigram model has scores, which are log probabilities.
        specials: tokens that are written only as their exact text.
        unknown: the special token of characters that no other token has.
        byte_fallback: texts like <0x0A> are the tokens of bytes.
        charsmap: the table of :class:`minillm.text.charsmap.Charsmap`, in base64.
        squeeze: several spaces are one, and those at the ends are removed.
        prefix: where a space is put before a text, one of PREFIXES.
        separate: every "▁" begins a word, and tokens do not reach across it.
        For the other options see :class:`minillm.text.byte_pairs.BytePairs`.

        ValueError if these do not fit together.
        """
        self.texts = check_texts(list(texts), "texts")
        ids = {text: number for number, text in enumerate(self.texts)}
        if "" in ids or len(ids) < len(self.texts):
            raise ValueError(f"texts: expected distinct texts, found {short(self.texts)}")
        if prefix not in PREFIXES:
            raise ValueError(f"prefix: expected {' or '.join(PREFIXES)}, found {short(prefix)}")
        names = check_texts(list(specials), "specials")
        self.unknown_text = unknown
        for special in names:
            if special not in ids:
                raise ValueError(f"specials: expected some of the texts, found {short(special)}")
        self.specials = sorted({*names, *({unknown} & ids.keys())}, key=ids.__getitem__)
        known = {text: ids[text] for text in self.specials}
        self._set_specials(known, shown, lstrip, rstrip, bos, eos, add_bos, add_eos)
        self.mask = known.get(MASK)
        self.unigram, self.byte_fallback = unigram, byte_fallback
        self.prefix, self.separate, self.squeeze = prefix, separate, squeeze
        self.charsmap = charsmap
        self._charsmap = Charsmap(b64decode(charsmap, validate=True))
        self.scores = _checked_scores(scores, len(ids))
        self.merges, self._results = _checked_merges(merges, ids)
        if (self.scores is None) == (self.merges is None) or (unigram and self.scores is None):
            found = [
                name
                for name, given in (("scores", scores), ("merges", merges))
                if given is not None
            ]
            kind = "a unigram model" if unigram else "byte pairs"
            raise ValueError(f"expected scores, or merges of byte pairs, found {found} of {kind}")
        self.unknown = ids.get(unknown)
        self._bytes = [
            ids.get(f"<0x{value:02X}>", -1) if byte_fallback else -1 for value in range(256)
        ]
        if self.unknown is None and -1 in self._bytes:
            raise ValueError(f"unknown: expected {short(unknown)} among the texts, found none")
        self.tokens = [text.replace(SPACE, " ").encode() for text in self.texts]
        for value, number in enumerate(self._bytes):
            if number >= 0:
                self.tokens[number] = bytes([value])
        for text, number in known.items():
            self.tokens[number] = text.encode()
        without = {*self._bytes, *self.hidden}
        self.pieces = dict(ids)  # the tokens that texts are made of, and their ids
        for number in without - {-1}:
            del self.pieces[self.texts[number]]
        line_end = self.pieces.get("\n", self._bytes[10])
        self.line_end = None if line_end < 0 else line_end
        self._encoded = Memory(self._encode_word)

    # --- encoding --------------------------------------------------------------------------------

    def _encode(self, texts: list[str], first: list[bool]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts without special tokens."""
        encoded = []
        for text, begins in zip(texts, first, strict=True):
            text.encode()  # the error for a lone surrogate
            words = map(self._encoded.__getitem__, self._words(self._normal(text, begins)))
            encoded.append(np.array([number for word in words for number in word], np.int32))
        return encoded

    def _normal(self, text: str, begins: bool) -> str:
        """A text as the algorithms take it; ``begins``: whether nothing precedes it."""
        text = self._charsmap.normalise(text)
        if self.squeeze:
            text = re.sub(" +", " ", text).strip(" ")
        text = text.replace(" ", SPACE)
        has_space = text.startswith(SPACE)
        adds = {
            "each": True,
            "missing": not has_space,
            "first": begins and not has_space,
            "none": False,
        }
        return SPACE + text if text and adds[self.prefix] else text

    def _words(self, text: str) -> list[str]:
        """The text, cut before "▁" where no token reaches across."""
        return [word for word in self._cuts.split(text) if word]

    @cached_property
    def _cuts(self) -> re.Pattern[str]:
        if self.separate:
            return re.compile(f"(?={SPACE})")
        before = {
            character
            for text in self.pieces
            if SPACE in text[1:]
            for character in re.findall(f"(?s)(.)(?={SPACE})", text)
        }
        joined = re.escape("".join(sorted(before | {SPACE})))
        return re.compile(f"(?<=[^{joined}])(?={SPACE})")

    def _encode_word(self, word: str) -> list[int]:
        """The ids of a part of a text."""
        if self.unigram:
            parts = segment(word, self._by_text, self._least, self._longest)
            numbers = [self.pieces.get(part, ~ord(part[0])) for part in parts]
        else:
            numbers = merge([self.pieces.get(c, ~ord(c)) for c in word], self._ranked)
        if min(numbers, default=0) >= 0:
            return numbers
        found: list[int] = []
        for number in numbers:
            for known in [number] if number >= 0 else self._of_unknown(chr(~number)):
                if known != self.unknown or found[-1:] != [known]:
                    found.append(known)
        return found

    def _of_unknown(self, character: str) -> list[int]:
        """The ids of a character that is no token."""
        numbers = [self._bytes[value] for value in character.encode()]
        return numbers if min(numbers) >= 0 or self.unknown is None else [self.unknown]

    @cached_property
    def _ranked(self) -> Any:
        """The rank and the result of a pair, or None: see :func:`minillm.text.bpe_fast.merge`."""
        if self.merges is not None:
            left, right = self.merges.T.tolist()
            ranked = zip(count(), self._results.tolist(), strict=False)
            return dict(zip(zip(left, right, strict=True), ranked, strict=False)).get

        scores, texts, pieces = self.scores, self.texts, self.pieces
        assert scores is not None

        @lru_cache(1 << 20)
        def by_score(pair: tuple[int, int]) -> tuple[float, int] | None:
            a, b = pair
            result = None if a < 0 or b < 0 else pieces.get(texts[a] + texts[b])
            return None if result is None else (-scores[result], result)

        return by_score

    @cached_property
    def _by_text(self) -> dict[str, float]:
        """The score of each token of a unigram model."""
        assert self.scores is not None
        return {text: self.scores[number] for text, number in self.pieces.items()}

    @cached_property
    def _least(self) -> float:
        return min(self._by_text.values(), default=0.0) - PENALTY

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.pieces), default=1)

    # --- decoding and JSON -----------------------------------------------------------------------

    def begun(self, data: bytes) -> bytes:
        """The bytes of a text without the space that ``encode`` has put before it."""
        return data if self.prefix == "none" else data.removeprefix(b" ")

    def to_dict(self) -> dict:
        """The JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        values: dict[str, Any] = {"unit": self.unit, "texts": self.texts}
        values["specials"] = self.specials
        if self.scores is not None:
            values["scores"] = self.scores
        if self.merges is not None:
            values["merges"] = self.merges.ravel().tolist()
        defaults = _options()
        options = {
            name: getattr(self, name) for name in defaults if name not in ("bos", "eos", "unknown")
        }
        for name, number in (("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown)):
            if number is not None:
                options[name] = self.texts[number]
        return values | {
            name: value for name, value in options.items() if value and value != defaults[name]
        }

    def cut(self, size: int) -> "SentencePieces":
        """The tokenizer without the tokens from the id ``size`` on.

        ValueError unless they are special, and neither BOS nor EOS.
        """
        rest = {*self.texts[size:]}
        if not rest <= {*self.specials} or any((end or 0) >= size for end in (self.bos, self.eos)):
            raise ValueError(f"expected {size:,} tokens, found {len(self):,}")
        values = self.to_dict()
        names = ("texts", "specials", "shown", "lstrip", "rstrip")
        lists = {
            name: [text for text in values.get(name, ()) if text not in rest] for name in names
        }
        if self.scores is not None:
            values["scores"] = self.scores[:size]
        return self.from_dict(values | lists)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SentencePieces":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        texts, specials = (check_texts(values.get(name), name) for name in ("texts", "specials"))
        merges = values.get("merges")
        if merges is not None:
            if not isinstance(merges, list) or not {*map(type, merges)} <= {int} or len(merges) % 2:
                raise ValueError(f'expected "merges": pairs of numbers, found {short(merges)}')
            merges = np.array(merges, np.int64).reshape(-1, 2)
        return cls(
            texts, values.get("scores"), merges, specials, **check_options(values, _options())
        )


def _options() -> dict[str, Any]:
    """The options of SentencePieces that are stored, and their defaults."""
    return dict(SentencePieces.__init__.__kwdefaults__ or {})


def _checked_scores(scores: Any, count: int) -> list[float] | None:
    if scores is None:
        return None
    if (
        not isinstance(scores, list)
        or not {*map(type, scores)} <= {float, int}
        or not np.isfinite(scores).all()
    ):
        raise ValueError(f"scores: expected finite numbers, found {short(scores)}")
    if len(scores) != count:
        raise ValueError(f"scores: expected {count:,} numbers, found {len(scores):,}")
    return scores


def _checked_merges(
    merges: Any, ids: Mapping[str, int]
) -> tuple[NDArray[np.int32] | None, NDArray[np.int32]]:
    """The merges (M, 2), and the ids of what they make (M,)."""
    if merges is None:
        return None, np.zeros(0, np.int32)
    pairs = np.array(merges, np.int64).reshape(-1, 2)
    if len(pairs) and not (pairs.min() >= 0 and pairs.max() < len(ids)):
        raise ValueError(f"merges: expected ids of the {len(ids):,} texts, found others")
    texts = list(ids)
    left, right = (map(texts.__getitem__, column) for column in pairs.T.tolist())
    try:
        results = np.fromiter(map(ids.__getitem__, map(add, left, right)), np.int32)
    except KeyError as error:
        raise ValueError(
            f"merges: expected {short(error.args[0])} among the texts, found none"
        ) from None
    return pairs.astype(np.int32), results
