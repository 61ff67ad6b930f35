"""What every vocabulary can do: texts to ids, and back."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short


class Vocabulary(Protocol):
    """A finite set of tokens, numbered from 0, into which any text can be split.

    The ids of the special tokens are None where a vocabulary has no such token.
    """

    unit: str  # what one token is: "character", "word", "bpe" or "wordpiece" (a part of a word)
    pretokenised: bool  # a text's tokens are separated by white space
    bos: int | None  # opens every text
    eos: int | None  # closes every text
    unknown: int | None  # stands for all tokens that the vocabulary lacks
    padding: int | None
    line_end: int | None  # the token "\n"
    sentence_end: int | None  # the token that ends a sentence, where a text is a row of them

    def __len__(self) -> int: ...

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """The ids of the tokens of ``text``, (T,).

        A token that the vocabulary lacks becomes ``unknown``; without such an id, InputError
        says where in ``name`` it stands.
        """

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """As ``encode``, but InputError at any token that the vocabulary lacks."""

    def decode(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> str:
        """The text of ``ids``.

        Each unknown token is the next of ``unknown_words``, while there are any.
        """

    def stream(self, ids: Iterable[int], unknown_words: Iterable[str] = ()) -> Iterator[str]:
        """The text of ``ids`` in pieces, each as soon as it can be printed."""

    def split(self, text: str) -> list[str]:
        """The tokens of ``text`` as they stand in it, those that the vocabulary lacks too."""

    def show(self, id: int) -> str:
        """A token as a label of a plot: on one line, and visible."""

    def to_dict(self) -> dict:
        """Its JSON form; :func:`minillm.text.vocabulary_from_dict` reads it back."""


def unit_name(vocabulary: Vocabulary) -> str:
    """What one token is, in a word that has a plural."""
    return "token" if vocabulary.unit in ("bpe", "wordpiece") else vocabulary.unit


def opening_id(vocabulary: Vocabulary, documents: bool = False) -> int:
    """The id after which a text begins: BOS where a model has seen ``documents``, each from its
    beginning to its end; else a line's end, else 0.
    """
    candidates = (vocabulary.bos if documents else None, vocabulary.line_end, 0)
    return next(id for id in candidates if id is not None)


def banned_ids(vocabulary: Vocabulary, documents: bool = False) -> list[int]:
    """The ids that a model should never write: BOS, padding and the unknown token.

    So is EOS, unless the model has learned from ``documents`` where a text ends.  GPT-2 has one
    token for both: it may be written.
    """
    specials = {vocabulary.bos, vocabulary.eos, vocabulary.padding, vocabulary.unknown}
    if documents:
        specials.discard(vocabulary.eos)
    return sorted(id for id in specials if id is not None)


def visible(token: str) -> str:
    r"""A token on one line, white space and control characters as escapes such as ``\n``.

    >>> visible("word"), visible(" "), visible("\n")
    ('word', '␣', '\\n')
    """
    if token.isprintable():
        return token.replace(" ", "␣")
    return repr(token)[1:-1].replace(" ", "␣")


def check_texts(values: Any, name: str) -> list[str]:
    """``values``, from JSON; ValueError unless they are a list of texts that UTF-8 can hold."""
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise ValueError(f'expected "{name}": a list of strings')
    for text in values:
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f'"{name}": expected text, found half of a character: {short(text)}')
    return values


def surrogate(text: str, name: str) -> InputError:
    """What is wrong with a text that has a lone surrogate."""
    at = next(at for at, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return InputError(
        f"{name}, line {line}, column {column}: expected text, found a lone surrogate "
        f"(U+{ord(text[at]):04X})"
    )
