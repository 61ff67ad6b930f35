r"""Grammars: which texts a model may write, and which token may come next.

A grammar is an expression for a set of texts, which are strings of bytes:

    literal(b"yes")            one text
    one_of(b"0123456789")      a text of one byte
    sequence(a, b, ...)        a text of a, then a text of b, ...
    choice(a, b, ...)          a text of a, or a text of b, ...
    repeat(a, least, most)     ``least`` to ``most`` texts of a; None: any number
    Rule()                     an expression that is defined later, and may contain itself

The **derivative** of a set of texts with respect to a byte is the set of what may follow that byte:

    d_b(A) = {w : b w is in A}

It is an expression again, and each kind below has its own line for it, as a function has in
calculus.  So reading a text takes no other machine than derivatives: the grammar is the first
state, and each byte takes the state to its derivative.  A text belongs to the grammar if the state
after it contains the empty text.  A state that is ``NOTHING``, the set without texts, is dead: no
continuation can repair what was read.

A sequence is kept with its first part in front, as a stack is.  A byte changes the top of the stack
only, and a rule puts its definition there.  This is a pushdown automaton, so brackets may nest.

A token is a string of bytes.  It may come next if reading it leads to a state that is not dead
(:func:`allowed`).  The probabilities of the other tokens are set to zero, and the rest is
normalised again:

    p(token | text, allowed) = p(token | text) / sum of p(t | text) over the allowed tokens t

This conditions on the next token alone.  The distribution of whole texts is not the model's,
conditioned on the grammar: the model may be led to a beginning that it finds probable, although it
finds all complete texts with this beginning improbable.

Sources: Brzozowski (1964), "Derivatives of regular expressions"; Might, Darais and Spiewak (2011),
"Parsing with derivatives: a functional pearl", for expressions that contain themselves; Willard and
Louf (2023), "Efficient guided generation for large language models", for masks of tokens by state;
Geng et al. (2023), "Grammar-constrained decoding for structured NLP tasks without finetuning".
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, reduce
from itertools import groupby
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray


class Expression:
    """A set of texts.  Equal expressions are one object, so that they can be compared fast."""

    @property
    def has_empty(self) -> bool:
        """Whether the empty text is one of them."""
        return False

    def derivative(self, byte: int) -> "Expression":
        """The texts that may follow a byte."""
        return NOTHING

    @property
    def classes(self) -> NDArray[np.int64]:
        """A number for each byte (256,); bytes with the same number have the same derivative."""
        return _ALL_EQUAL


class Nothing(Expression):
    """No text."""


class Empty(Expression):
    """The empty text."""

    @property
    def has_empty(self) -> bool:
        return True


NOTHING, EMPTY = Nothing(), Empty()
_ALL_EQUAL = np.zeros(256, np.int64)


class OneOf(Expression):
    """Texts of one byte.

    d_b = {the empty text} if b is one of the bytes
    """

    def __init__(self, bytes_: frozenset[int]):
        self.bytes = bytes_

    def derivative(self, byte: int) -> Expression:
        return EMPTY if byte in self.bytes else NOTHING

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        return np.isin(np.arange(256), list(self.bytes)).astype(np.int64)


class Chain(Expression):
    """A text of ``first``, then one of ``rest``; ``first`` is no chain.

    d_b(first rest) = d_b(first) rest  and, if first has the empty text, d_b(rest)
    """

    def __init__(self, first: Expression, rest: Expression):
        self.first, self.rest = first, rest

    @property
    def has_empty(self) -> bool:
        return self.first.has_empty and self.rest.has_empty

    def derivative(self, byte: int) -> Expression:
        after = sequence(self.first.derivative(byte), self.rest)
        return choice(after, self.rest.derivative(byte)) if self.first.has_empty else after

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        first = self.first.classes
        return _refined(first, self.rest.classes) if self.first.has_empty else first


class Choice(Expression):
    """A text of one of the parts.

    d_b(A | B) = d_b(A) | d_b(B)
    """

    def __init__(self, parts: frozenset[Expression]):
        self.parts = parts
        self._known: dict[int, Expression] = {}  # derivatives, by the class of the byte

    @property
    def has_empty(self) -> bool:
        return any(part.has_empty for part in self.parts)

    def derivative(self, byte: int) -> Expression:
        kind = int(self.classes[byte])
        if kind not in self._known:
            self._known[kind] = choice(*[part.derivative(byte) for part in self.parts])
        return self._known[kind]

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        return reduce(_refined, [part.classes for part in self.parts])


class Repeat(Expression):
    """``least`` to ``most`` texts of a part, which has no empty text; None: any number.

    d_b(A{m,n}) = d_b(A) A{m-1,n-1}
    """

    def __init__(self, part: Expression, least: int, most: int | None):
        self.part, self.least, self.most = part, least, most

    @property
    def has_empty(self) -> bool:
        return self.least == 0

    def derivative(self, byte: int) -> Expression:
        first = self.part.derivative(byte)
        if first is NOTHING:
            return NOTHING
        most = None if self.most is None else self.most - 1
        return sequence(first, repeat(self.part, max(0, self.least - 1), most))

    @property
    def classes(self) -> NDArray[np.int64]:
        return self.part.classes


class Rule(Expression):
    """An expression under a name; ``definition`` may contain the rule, after a byte."""

    def __init__(self, definition: Expression = NOTHING):
        self.definition = definition

    @property
    def has_empty(self) -> bool:
        return self.definition.has_empty

    def derivative(self, byte: int) -> Expression:
        return self.definition.derivative(byte)

    @property
    def classes(self) -> NDArray[np.int64]:
        return self.definition.classes


def _refined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes of the bytes that are in one class of both."""
    return np.unique(256 * one + other, return_inverse=True)[1]


# --- how expressions are made ---------------------------------------------------------------------

_EXPRESSIONS: WeakValueDictionary[tuple[Any, ...], Expression] = WeakValueDictionary()


def _unique(kind: type[Any], *parts: Any) -> Expression:
    """The one expression of a kind with these parts."""
    found = _EXPRESSIONS.get((kind, *parts))
    if found is None:
        found = _EXPRESSIONS[kind, *parts] = kind(*parts)
    return found


def one_of(bytes_: Iterable[int]) -> Expression:
    """The texts of one byte, of these."""
    return _unique(OneOf, kept) if (kept := frozenset(bytes_)) else NOTHING


def literal(text: bytes) -> Expression:
    """One text."""
    return sequence(*(one_of([byte]) for byte in text))


def sequence(*parts: Expression) -> Expression:
    """A text of each part, one after another."""
    whole: Expression = EMPTY
    for part in reversed(parts):
        whole = _before(part, whole)
    return whole


def _before(part: Expression, rest: Expression) -> Expression:
    """A text of a part, then one of ``rest``."""
    if part is NOTHING or rest is NOTHING:
        return NOTHING
    if part is EMPTY or rest is EMPTY:
        return rest if part is EMPTY else part
    firsts = []
    while isinstance(part, Chain):  # (a b) rest = a (b rest)
        firsts.append(part.first)
        part = part.rest
    whole = rest
    for first in (part, *reversed(firsts)):
        whole = _unique(Chain, first, whole)
    return whole


def choice(*parts: Expression) -> Expression:
    """A text of one of the parts."""
    every: set[Expression] = set()
    for part in parts:
        every |= part.parts if isinstance(part, Choice) else {part}
    every.discard(NOTHING)
    if len(every) < 2:
        return every.pop() if every else NOTHING
    return _unique(Choice, frozenset(every))


def repeat(part: Expression, least: int = 0, most: int | None = None) -> Expression:
    """``least`` to ``most`` texts of a part, which has no empty text; None: any number."""
    if most == 0 or part is NOTHING:
        return EMPTY if least == 0 else NOTHING
    return _unique(Repeat, part, least, most)


def literals(texts: Iterable[bytes]) -> Expression:
    """One of several texts.  Common beginnings are shared, as in a trie."""
    texts = sorted(set(texts))
    if len(texts) < 2:
        return literal(texts[0]) if texts else NOTHING
    first, last = texts[0], texts[-1]
    pairs = enumerate(zip(first, last, strict=False))
    shared = next((at for at, (a, b) in pairs if a != b), len(first))
    by_next = groupby((text[shared:] for text in texts), lambda rest: rest[:1])
    return sequence(literal(first[:shared]), choice(*(literals(rests) for _, rests in by_next)))


# --- reading --------------------------------------------------------------------------------------


def read(state: Expression, text: bytes) -> Expression:
    """The state after a text; NOTHING if no continuation of it is in the grammar.

    >>> answer = choice(literal(b"yes"), literal(b"no"))
    >>> [read(answer, text).has_empty for text in (b"no", b"ye", b"yes!")]
    [True, False, False]
    >>> [read(answer, text) is NOTHING for text in (b"no", b"ye", b"yes!")]
    [False, False, True]
    """
    for byte in text:
        state = state.derivative(byte)
    return state


def allowed(state: Expression, tokens: Sequence[bytes]) -> list[bool]:
    """Whether each token may come next.  A token without text may not.

    >>> allowed(choice(literal(b"yes"), literal(b"no")), [b"y", b"yes", b"yet", b"no", b""])
    [True, True, False, True, False]

    :class:`minillm.decoding.token_masks.TokenMasks` computes the same for all tokens together.
    """
    return [bool(token) and read(state, token) is not NOTHING for token in tokens]
