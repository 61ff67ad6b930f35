"""Where a breach of the convention shows first: two calls of a backward, value by value.

Each check of ``convention.py`` compares two calls of a backward, such as one for dy and one for
-dy.  Here the same calls are traced: the first statement is found whose values disagree.
"""

import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import as_tuple, copies
from minillm.testing.convention import POWER, spread_out
from minillm.testing.point import Point
from minillm.testing.repairs import Copies, Key, largest
from minillm.testing.rewriting import Statement

Trace = list[tuple[Key, NDArray]]  # the values of all statements, in their order


def first_breach(point: Point, check: str) -> Statement | None:
    """The statement at which a breach shows; ``check`` is the name of the one that found it."""
    return _CHECKS[check](_Traced(point))


class _Traced:
    """An op whose calls are traced."""

    def __init__(self, point: Point) -> None:
        self.upstream, self.copies = point.upstream, Copies()
        self.given = copies(point.args)
        result, backward = self.copies.call(point.op)(*self.given)
        self.outputs, self.own = as_tuple(result), self.copies.call(backward)
        self.op = self.copies.call(point.op)
        self.raised: Statement | None = None

    def trace(self, upstream: Iterable[Any]) -> Trace:
        """All values of the backward for an upstream gradient, up to an exception."""
        hooks, self.raised = self.copies, None
        events: Trace = []
        hooks.events = events
        hooks.backward = True
        try:
            self.own(*upstream)
        except Exception as error:  # whatever the reader's code raises
            self.raised = self._statement_of(error)
        finally:
            hooks.events, hooks.backward = None, False
        return events

    def changed(self, upstream: Sequence[NDArray]) -> Trace:
        """The trace of copies of an upstream gradient."""
        return self.trace(copies(upstream))

    def statement(self, key: Key | None) -> Statement | None:
        return None if key is None else self.copies.statements[key[0]]

    def _statement_of(self, error: BaseException) -> Statement | None:
        """The outermost statement of the reader's that led to an exception."""
        for frame, line in traceback.walk_tb(error.__traceback__):
            for statement in self.copies.statements:
                if (statement.file, statement.line) == (frame.f_code.co_filename, line):
                    return statement
        return None


def _kinds(op: _Traced) -> Statement | None:
    for key, value in op.changed(op.upstream):
        if value.dtype.kind == "f" and value.dtype != np.float64:
            return op.statement(key)
    return op.statement((op.copies.last,))  # which returns None, a list, or a wrong number


def _changes(op: _Traced) -> Statement | None:
    upstream = copies(op.upstream)
    watched = [a for a in (*op.given, *upstream, *op.outputs) if isinstance(a, np.ndarray)]
    op.copies.watched = [(array, array.copy()) for array in watched]
    op.trace(upstream)
    op.copies.at(op.copies.last)
    if op.copies.changed is None:  # not the backward: its op
        op.copies.watched = [(array, array.copy()) for array in watched]
        op.op(*op.given)
        op.copies.at(op.copies.last)
    op.copies.watched = []
    return None if op.copies.changed is None else op.copies.statements[op.copies.changed]


def _second_call(op: _Traced) -> Statement | None:
    first, again = op.changed(op.upstream), op.changed(op.upstream)
    opposite = op.trace([np.asarray(-dy) for dy in op.upstream])
    return op.statement(_deviates(first, again, 1) or _deviates(first, opposite, -1))


def _large(op: _Traced) -> Statement | None:
    multiple = op.trace([np.asarray(2.0**POWER * dy) for dy in op.upstream])
    return op.statement(_deviates(op.changed(op.upstream), multiple, 2.0**POWER))


def _layouts(op: _Traced) -> Statement | None:
    spread = op.trace([spread_out(dy) for dy in op.upstream])
    return op.statement(_deviates(op.changed(op.upstream), spread, 1))


def _rounds(op: _Traced) -> Statement | None:
    """The first value that is the same for dy and for dy rounded to float32."""
    rounded = [dy.astype(np.float32).astype(np.float64) for dy in op.upstream]
    opposite = [np.asarray(-dy) for dy in op.upstream]
    runs = map(op.changed, (op.upstream, rounded, opposite))
    for (key, value), (_, other), (_, minus) in zip(*runs, strict=False):
        if value.shape == other.shape == minus.shape and value.dtype.kind == "f":
            depends = np.abs(value - minus) > 0.01 * np.abs(value)
            if depends.any() and np.all((value == other)[depends]):
                return op.statement(key)
    return None


def _absent(op: _Traced) -> Statement | None:
    for k in range(len(op.upstream)):
        nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(op.upstream)]
        usual = op.changed(nothing)
        found = op.trace(None if j == k else dy.copy() for j, dy in enumerate(op.upstream))
        place = _deviates(usual[: len(found)] if op.raised else usual, found, 1)
        if place is not None or op.raised:
            return op.statement(place) or op.raised
    return None


_CHECKS: dict[str, Callable[[_Traced], Statement | None]] = {
    check.__name__: check
    for check in (_kinds, _changes, _second_call, _large, _layouts, _rounds, _absent)
}
_CHECKS["_precision"] = _rounds


def _deviates(events: Trace, others: Trace, factor: float) -> Key | None:
    """The first statement whose value in another call is neither the same nor so many times it."""
    for (key, value), (other, new) in zip(events, others, strict=False):
        if key != other:
            return other
        if value.shape != new.shape or value.dtype != new.dtype:
            return key
        if value.dtype.kind != "f":
            if not np.array_equal(value, new):
                return key
            continue
        near = [
            np.isclose(new, c * value, rtol=1e-9, atol=1e-13 * largest(c * value))
            for c in (1.0, factor)
        ]
        if not np.all(near[0] | near[1]):
            return key
    longer = events[len(others) :] or others[len(events) :]
    return longer[0][0] if longer else None
