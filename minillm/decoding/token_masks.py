"""The tokens that a grammar allows, for a whole vocabulary at once, and as a change of logits.

The plain definition, :func:`minillm.decoding.grammar.allowed`, reads each token from its first
byte.  Two things make it fast.  The tokens are a trie, so that a beginning of many tokens is read
once.  And the states of the grammar are numbered, with a table of the next state for each byte, so
that all nodes of a level of the trie are read by one look into the table:

    next states = table[states of the parents, bytes]

The table is filled as far as it is needed, because a grammar with brackets has no end of states.
The mask of a state is computed once: a text soon comes back to states that it has seen.

Source: Willard and Louf (2023), "Efficient guided generation for large language models", section 3,
for the masks by state.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.decoding.grammar import NOTHING, Choice, Expression, read
from minillm.errors import InputError
from minillm.text.byte_tokens import ByteTokens

DEAD, UNKNOWN = 0, -1  # numbers of states
MOST_STATES = 20_000  # then all states and masks are forgotten
MOST_BITS = 1 << 29  # of all masks, 64 MB; the same
MOST_WORK = 5_000  # derivatives for a mask


class Level(NamedTuple):
    """The nodes of a trie that are as many bytes below the root."""

    parents: NDArray[np.int64]  # (n,) numbers of nodes in the level above
    bytes: NDArray[np.int64]  # (n,)
    ids: NDArray[np.int64]  # (k,) the tokens that end in this level
    nodes: NDArray[np.int64]  # (k,) the nodes where they end


class Trie:
    """Tokens by their bytes.  A token without bytes, b"", is not in it."""

    def __init__(self, tokens: Sequence[bytes]):
        self.tokens = list(tokens)
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        data = np.frombuffer(b"".join(tokens), np.uint8)
        starts = np.cumsum(lengths) - lengths
        ids = np.flatnonzero(lengths)
        nodes = np.zeros(len(ids), np.int64)
        self.levels: list[Level] = []
        while len(ids):
            edges = 256 * nodes + data[starts[ids] + len(self.levels)]
            edges, nodes = np.unique(edges, return_inverse=True)
            ends = lengths[ids] == len(self.levels) + 1
            self.levels.append(Level(edges // 256, edges % 256, ids[ends], nodes[ends]))
            ids, nodes = ids[~ends], nodes[~ends]


def trie_of(tokenizer: ByteTokens) -> Trie:
    """The tokens of a tokenizer, without the special tokens that are no part of a text."""
    hidden = tokenizer.hidden
    return Trie([b"" if number in hidden else t for number, t in enumerate(tokenizer.tokens)])


class TokenMasks:
    """The tokens that each state of a grammar allows, computed when it is first asked for.

    >>> from minillm.decoding.grammar import literal
    >>> masks = TokenMasks(Trie([b"y", b"es", b"yes", b"yet"]))
    >>> masks.allowed(literal(b"yes")).tolist()
    [True, False, True, False]
    >>> masks.allowed(read(literal(b"yes"), b"y")).tolist()
    [False, True, False, False]
    """

    def __init__(self, trie: Trie):
        self.trie = trie
        self._forget()

    def _forget(self) -> None:
        self._states: list[Expression] = [NOTHING]
        self._numbers: dict[Expression, int] = {NOTHING: DEAD}
        self._table = np.full((16, 256), UNKNOWN, np.int32)
        self._table[DEAD] = DEAD
        self._masks: dict[Expression, NDArray[np.uint8]] = {}  # as bits

    def allowed(self, state: Expression) -> NDArray[np.bool_]:
        """Whether each token may come next (V,)."""
        V = len(self.trie.tokens)
        if len(self._states) > MOST_STATES or len(self._masks) * V > MOST_BITS:
            self._forget()
        if state not in self._masks:
            self._masks[state] = np.packbits(self._walk(self._number(state)))
        return np.unpackbits(self._masks[state], count=V).view(bool)

    def _walk(self, number: int) -> NDArray[np.bool_]:
        """The mask of a state (V,), from the root of the trie downwards.

        After MOST_WORK, no new states are looked at: the tokens that lead to them are not allowed.
        Only a schema with very many choices that begin alike needs so much.
        """
        mask = np.zeros(len(self.trie.tokens), bool)
        states, self._work = np.array([number]), 0
        for level in self.trie.levels:
            states = self._next(states[level.parents], level.bytes)
            mask[level.ids] = states[level.nodes] != DEAD
            if not states.any():
                break
        return mask

    def _next(self, states: NDArray[np.int64], bytes_: NDArray[np.int64]) -> NDArray[np.int32]:
        """The states after one byte each: (n,), (n,) -> (n,)."""
        after = self._table[states, bytes_]
        unknown = after == UNKNOWN
        if unknown.any():
            for state in np.unique(states[unknown]).tolist():
                if self._work < MOST_WORK:
                    self._fill(state)
            after = self._table[states, bytes_]
            after[after == UNKNOWN] = DEAD
        return after

    def _fill(self, state: int) -> None:
        """Find the states after each byte; one derivative is enough for each class of bytes."""
        expression = self._states[state]
        _, bytes_, classes = np.unique(expression.classes, return_index=True, return_inverse=True)
        after = [self._number(expression.derivative(byte)) for byte in bytes_.tolist()]
        self._table[state] = np.array(after)[classes]
        self._work += len(after) * (len(expression.parts) if isinstance(expression, Choice) else 1)

    def _number(self, state: Expression) -> int:
        """The number of a state; a new one gets the next, and a row of the table."""
        number = self._numbers.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
            if number == len(self._table):
                new = np.full_like(self._table, UNKNOWN)
                self._table = np.concatenate([self._table, new])
        return number


class Constrained:
    """The adjustment of a text that must belong to a grammar.

    Each of ``ends``, the tokens that end a text, is allowed where the text is complete.
    """

    def __init__(self, masks: TokenMasks, grammar: Expression, ends: Collection[int]):
        self.masks, self.state, self.ends = masks, grammar, list(ends)
        self._read = 0  # tokens

    def adjust(self, logits: NDArray[np.float64], written: Sequence[int]) -> NDArray[np.float64]:
        """The logits (V,), with minus infinity for tokens that are not allowed: a new array.

        A padded vocabulary has rows past the tokens; these are not allowed either.
        InputError if none is allowed, because the vocabulary lacks a byte that the grammar needs.
        """
        for token in written[self._read :]:
            self.state = read(self.state, self.masks.trie.tokens[token])
        self._read = len(written)
        mask = self.masks.allowed(self.state)
        mask[self.ends] = self.state.has_empty
        if not mask.any():
            raise InputError("the grammar: expected a token that may come next, found none")
        adjusted = np.full_like(logits, -np.inf)
        adjusted[: len(mask)][mask] = logits[: len(mask)][mask]
        return adjusted
