"""The interface of every vocabulary: texts to ids, and back."""

import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm.errors import short


class Vocabulary(ABC):
    """A finite set of tokens, numbered from 0, into which any text can be split.

    The id of a special token is None if a vocabulary has no such token.
    """

    unit: str  # of its tokens: "character", "word", "bpe" and so on
    tokens: Sequence[Any]  # by id; bytes of byte pairs and published tokens, otherwise strings
    stored: ClassVar[Mapping[str, type]] = {"tokens": list}  # arguments: a list of texts, or a bool
    pretokenised: bool = False  # the tokens of a text are separated by white space
    bos: int | None = None  # opens every text
    add_bos: bool = False  # whether ``encode`` puts BOS before a text
    eos: int | None = None  # closes every text
    unknown: int | None = None  # stands for all tokens that the vocabulary lacks
    padding: int | None = None
    mask: int | None = None  # stands for hidden tokens
    line_end: int | None = None  # the token "\n"
    sentence_end: int | None = None  # the token that ends a sentence, if a text has sentences

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} tokens>"

    @abstractmethod
    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,).

        A token that the vocabulary lacks becomes ``unknown``; without such an id, InputError
        names its place in ``name``.
        """

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts, without BOS; ``names`` are for error messages."""
        return [self.encode(text, name) for text, name in zip(texts, names, strict=True)]

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like ``encode``, without BOS, and InputError for any token that the vocabulary lacks."""
        return self.encode(text, name)

    def encode_target(
        self, text: str, source: str, most: int | None = None, name: str = "text"
    ) -> NDArray[np.int32]:
        """The ids of a text that was written from a source, of which ``most`` tokens are read.

        They are the same for every source, unless a source extends the vocabulary.
        """
        return self.encode(text, name)

    def write(self, ids: Iterable[int], source: str, weights: NDArray | None = None) -> str:
        """The text of ``ids`` that were written from a source, with attention weights (T, S).

        It is the same for every source, unless its words can be copied.
        """
        return self.decode(ids)

    def opened(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The ids of a text (T,), after BOS if ``add_bos``: (T,) or (1 + T,)."""
        return np.concatenate([np.array([self.bos], np.int32), ids]) if self.add_bos else ids

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``.

        Each unknown token is replaced by the next of ``unknown_words``, if there is one.
        """
        return "".join(self.stream(ids, unknown_words))

    @abstractmethod
    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids`` in pieces, each as soon as it can be printed."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The tokens of ``text`` in their original form, even if the vocabulary lacks them."""

    def token(self, number: int) -> Any:
        """The token of an id; IndexError if there is none, TypeError if it is no whole number."""
        if operator.index(number) < 0 or number >= len(self.tokens):
            raise IndexError(f"expected an id from 0 to {len(self.tokens) - 1}, found {number}")
        return self.tokens[number]

    @property
    def special_ids(self) -> list[int]:
        """The ids of special tokens, whose text always becomes them."""
        return []

    def show(self, number: int) -> str:
        """A token as a label of a plot: on one line, and visible."""
        return visible(self.token(number))

    def to_dict(self) -> dict:
        """The JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""
        return {"unit": self.unit, **{name: getattr(self, name) for name in self.stored}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary that ``to_dict`` described; ValueError if it is damaged."""
        found = {
            name: flag(values, name) if kind is bool else check_texts(values.get(name), name)
            for name, kind in cls.stored.items()
        }
        return cls(**found)


class SpecialTokens:
    """Special tokens and their ids; the text of a special token always becomes that token.

    >>> SpecialTokens({"<a>": 0, "<a><b>": 1}).cut("one<a>two<a><b>")
    ['one', '<a>', 'two', '<a><b>']
    """

    def __init__(self, ids: Mapping[str, int]):
        self.ids = dict(ids)
        self._pattern = re.compile(any_of(ids))

    def cut(self, text: str) -> list[str]:
        """The text, cut before and after each special token."""
        return [part for part, _ in self.places(text)]

    def places(self, text: str) -> list[tuple[str, int]]:
        """The parts of :meth:`cut`, and where each begins in the text."""
        if not any(token in text for token in self.ids):
            return [(text, 0)]
        return parts_between(text, ((m[0], *m.span()) for m in self._pattern.finditer(text)))


def parts_between(text: str, found: Iterable[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """The tokens found in a text, and the parts between them, and where each of these begins."""
    parts, at = [], 0
    for token, start, end in found:
        parts += [(text[at:start], at), (token, start)]
        at = end
    return [part for part in [*parts, (text[at:], at)] if part[0]]


def any_of(texts: Iterable[str]) -> str:
    """An expression that matches the longest of the texts that can begin at a position."""
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))


def unit_name(vocabulary: Vocabulary) -> str:
    """The name of one token, as a noun with a regular plural."""
    units = {"bpe": "token", "wordpiece": "token", "open word": "word"}
    return units.get(vocabulary.unit, vocabulary.unit)


def opening_id(vocabulary: Vocabulary, documents: bool = False) -> int:
    """The id before the first token of a text: BOS if a model was trained on whole ``documents``,
    else a line's end, else 0.
    """
    candidates = (vocabulary.bos if documents else None, vocabulary.line_end, 0)
    return next(number for number in candidates if number is not None)


def banned_ids(vocabulary: Vocabulary, documents: bool = False, rows: int = 0) -> list[int]:
    """The ids that a model should never write: BOS, padding and the unknown token.

    So are those past the vocabulary, of a model with more ``rows``: their number is often a
    multiple of 64, which multiplies faster on a GPU, and the last rows were never trained.

    EOS is one of them unless the model was trained on whole ``documents``, from which it has
    learned where a text ends.  If BOS is the same token, as in GPT-2, it may then be written.
    """
    specials = {vocabulary.bos, vocabulary.eos, vocabulary.padding, vocabulary.unknown}
    if documents:
        specials.discard(vocabulary.eos)
    present = (number for number in specials if number is not None)
    return [*sorted(present), *range(len(vocabulary), rows)]


def visible(token: str) -> str:
    r"""A token on one line, white space and control characters as escapes such as ``\n``.

    >>> visible("word"), visible(" "), visible("\n")
    ('word', '␣', '\\n')
    """
    if token.isprintable():
        return token.replace(" ", "␣")
    return repr(token)[1:-1].replace(" ", "␣")


def check_texts(values: Any, name: str) -> list[str]:
    """``values``; ValueError unless they are a list of texts that UTF-8 (so a file) can hold."""
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise ValueError(f'expected "{name}": a list of strings, found {short(values)}')
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        found = f"half of a character: {short(error.object[error.start])}"
        raise ValueError(f'"{name}": expected text, found {found}') from None
    return values


def flag(values: Mapping[str, Any], name: str, *default: bool | None) -> Any:
    """The entry ``name`` of a JSON object, or its default.  ValueError unless true or false."""
    value = values.get(name)
    if value is None and default:
        return default[0]
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, found {short(value)}")
    return value
