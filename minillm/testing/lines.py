"""Which statement of a backward is wrong: the one whose repair makes all gradients right.

The forward and the backward run from copies of their source (``rewriting.py``).  For each
statement of the backward, the value is sought with which the rest of the backward returns the
measured gradients.  What follows a statement is affine in its value v, because a backward is
linear in its gradients, so a few runs and a least-squares solution find it:

    gradients(v + e_i) - gradients(v) = A_i        A (repaired - v) = measured - gradients(v)

A statement without a solution is innocent: whatever it computed, some gradient would be wrong.  One
with a solution is *repaired*.  A run with the repaired value proves it, and anyone can repeat it.

Of several statements that can be repaired, most are innocent all the same, because what comes after
the fault can make up for it.  Three measurements tell:

- The slopes of the loss by the nodes of the forward.  A statement whose own value is the slope by
  some node is right as it is.  Where the repaired value is the slope by a node, and its own
  is not, the statement is wrong, and the fault is there or before it.
- Other upstream gradients.  A value that does not depend on dy, such as a local derivative or a
  mask, needs one repair for all of them.
- A small change of the statement's text, such as another sign, after which all gradients are
  right (``edits.py``).
"""

import ast
import copy
import inspect
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import use_kernels
from minillm.errors import describe_error
from minillm.testing.calls import as_tuple, copies, equal, flat
from minillm.testing.convention import spread_out
from minillm.testing.diagnosis import guess_of_order
from minillm.testing.edits import edits
from minillm.testing.point import Compared, Point
from minillm.testing.rewriting import CannotRewriteError, Hooks, Statement, as_array, is_tensor

MOST = 400  # numbers in the values of a statement that are solved for
BREACHES = ("_changes", "_second_call", "_large", "_rounds", "_layouts", "_absent")
DRAWS = 20  # of upstream gradients, the point's own included
Key = tuple[Any, ...]  # the number of a statement, and the place in its tuple
Runs = list[NDArray]  # the values of a statement, one for each time that it ran


class OutOfTimeError(Exception):
    """The search was given less time than it needs."""


class Copies(Hooks):
    """The copies of an op and its backward: they note values, or put others in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.backward = False
        self.of_forward: set[int] = set()  # functions
        self.events: list[tuple[Key, NDArray]] | None = None
        self.repairs: dict[Key, Runs] = {}
        self.ran: dict[Key, int] = {}
        self.edit: tuple[int, Any] = (-1, None)
        self.frames: dict[int, FrameType] = {}  # of the functions of the forward
        self.scope: dict[str, Any] | None = None
        self.shapes: dict[int, list[tuple[int, ...]]] | None = None  # of nodes
        self.watched: list[tuple[NDArray, NDArray]] = []
        self.changed: int | None = None
        self.last = 0
        self.kept: dict[int, list[Any]] = {}  # before a statement that may change them
        self.moves: dict[int, dict[int, NDArray]] = {}
        self.visits: dict[int, int] = {}

    def at(self, number: int) -> None:
        if self.changed is None and not all(equal(a, b) for a, b in self.watched):
            self.changed = self.last
        self.last = number
        if not self.backward:
            self.of_forward.add(self.statements[number].function)
            if self.shapes is not None:
                self.frames[self.statements[number].function] = sys._getframe(1)

    def node(self, number: int, value: Any) -> Any:
        if self.backward or (self.shapes is None and number not in self.moves):
            return value
        if isinstance(value, float) and not isinstance(value, np.floating):
            return value
        array = as_array(value)
        if array is None or array.dtype != np.float64:
            return value
        if self.shapes is not None:
            self.shapes.setdefault(number, []).append(array.shape)
            return value
        visit = self.visits[number] = self.visits.get(number, -1) + 1
        move = self.moves[number].get(visit)
        return value if move is None else value + _like(value, move)

    def value(self, number: int, value: Any) -> Any:
        if not self.backward:
            return value
        self.last = number
        if number == self.edit[0]:
            frame = sys._getframe(1)
            around = self.frames.get(self.around[self.statements[number].function])
            names = {**around.f_locals, **frame.f_locals} if around else frame.f_locals
            if self.scope is not None:
                self.scope.update(names)
            if self.edit[1] is not None:
                value = eval(self.edit[1], frame.f_globals, names)
                # A copy: what follows may change it in place, and it may be what the forward kept.
                value = tuple(map(copy.copy, value)) if type(value) is tuple else copy.copy(value)
        return self._seen((number,), value)

    def _seen(self, key: Key, value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value)(self._seen((*key, k), v) for k, v in enumerate(value))
        if type(value) is dict:
            return {k: self._seen((*key, k), v) for k, v in value.items()}
        array = as_array(value)
        if array is None:
            if value is None and self.events is not None:
                self.events.append((key, np.array(None)))
            return value
        if self.events is not None:
            self.events.append((key, np.array(array)))
        repairs = self.repairs.get(key)
        if repairs is None:
            return value
        ran = self.ran[key] = self.ran.get(key, -1) + 1
        return _like(value, repairs[ran].copy()) if ran < len(repairs) else value

    def before(self, number: int, *values: Any) -> None:
        if self.backward:
            self.kept[number] = copies(values)

    def arrays(self, number: int, *values: Any) -> None:
        if self.backward:
            kept = self.kept.pop(number, None)
            for k, value in enumerate(values):
                if kept and isinstance(value, np.ndarray) and equal(kept[k], value):
                    continue  # the statement does not change it
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    made = self._seen((number, "in", k), value)
                    if made is not value:
                        value[...] = made


def _like(value: Any, array: NDArray) -> Any:
    """An array as a tensor if the value is one."""
    return sys.modules["torch"].from_numpy(array) if is_tensor(value) else array


class Repair(NamedTuple):
    """Values of a statement with which all gradients are right."""

    statement: Statement
    number: int
    keys: list[Key]
    start: list[Runs]  # its own values
    values: list[Runs]
    rows: NDArray  # a basis of the directions in which the gradients depend on the values
    first: int  # when it first is wrong, in the order of all values
    again: int  # how often it was right before, in a loop
    wrong: list[int]  # the places of the keys whose values are wrong
    own: list[set[str]]  # for each of them: the nodes whose slope its own value is
    nodes: list[set[str]]  # and those whose slope the repaired one is
    constant: bool  # whether its own values do not depend on dy
    joint: int  # if one repair fits all dy then: in how many directions they depend on it; else 0

    @property
    def size(self) -> int:
        return sum(v.size for part in self.start for v in part)

    @property
    def ratio(self) -> float | None:
        """What the own values must be multiplied by, if one number does it."""
        old, new = (
            self.rows @ flat([v for part in values for v in part])
            for values in (self.start, self.values)
        )
        ratio = float(old @ new / (old @ old)) if old.any() else 0.0
        return ratio if np.allclose(new, ratio * old, rtol=0, atol=1e-6 * _largest(new)) else None


class Search:
    """The search at one point."""

    def __init__(
        self, point: Point, compared: Sequence[Compared], kind: str, seconds: float
    ) -> None:
        self.end = time.perf_counter() + seconds
        self.kind = kind
        self.point, self.compared = point, compared
        self.copies = Copies()
        self.op = self.copies.call(point.op)
        self._forward()
        if kind not in BREACHES:
            # Once more, now that it is known what the forward is: fewer hooks, and faster.
            places = {self.copies.places[function] for function in self.copies.of_forward}
            self.copies = Copies()
            self.copies.lean = places
            self.op = self.copies.call(point.op)
        self.rng = np.random.default_rng(0)
        self.upstream = [list(point.upstream)]
        for _ in range(DRAWS - 1):
            self.upstream.append([self.rng.standard_normal(y.shape) for y in point.outputs])
        self.copies.shapes = {}
        self.outputs, self.own = self._forward()
        self.shapes, self.copies.shapes = self.copies.shapes, None
        self.jacobian = self._jacobian()
        self.wanted = [self._wanted(upstream) for upstream in self.upstream]
        # Before its repair, each statement's values for two upstream gradients.
        self.base = self.gradients(0) or []
        self.order: dict[tuple[Key, int], int] = {}
        self.events = [self._events(k) for k in range(2)]

    # --- runs -----------------------------------------------------------------------------

    def _forward(self) -> tuple[Any, Any]:
        if time.perf_counter() > self.end:
            raise OutOfTimeError
        self.copies.backward = False
        self.copies.visits = {}
        self.given = copies(self.point.args)
        result, backward = self.op(*self.given)
        return as_tuple(result), self.copies.call(backward)

    def gradients(self, k: int, repairs: dict[Key, Runs] | None = None) -> list[NDArray] | None:
        """What the backward returns for an upstream gradient, with repairs; None if it fails."""
        if time.perf_counter() > self.end:
            raise OutOfTimeError
        hooks = self.copies
        hooks.repairs, hooks.ran, hooks.backward = repairs or {}, {}, True
        try:
            found = as_tuple(self.own(*copies(self.upstream[k])))
            return [np.array(g) for g in found]
        except Exception:  # whatever the reader's code raises
            return None
        finally:
            hooks.backward, hooks.repairs = False, {}

    def _events(self, k: int) -> dict[Key, Runs]:
        self.copies.events = []
        self.gradients(k)
        found: dict[Key, Runs] = {}
        for place, (key, value) in enumerate(self.copies.events):
            if value.dtype == object:  # None
                continue
            if k == 0:
                self.order[key, len(found.get(key, []))] = place
            found.setdefault(key, []).append(value)
        self.copies.events = None
        return found

    def _jacobian(self) -> list[NDArray]:
        """The slopes of all outputs by each coordinate of each checked argument."""
        point, found = self.point, []
        for k in point.checked:
            array = point.args[k]
            slopes = np.zeros((array.size, flat(point.outputs).size))
            for i, index in enumerate(np.ndindex(array.shape)):
                if np.isfinite(array[index]):
                    h = point.step or 2e-3 * max(1.0, abs(array[index]))
                    wide, half = self._change(array, index, h), self._change(array, index, h / 2)
                    gap, size = np.abs(wide - half), np.abs(half)
                    if np.max(gap, initial=0) > 1e-4 * np.max(size, initial=0):  # near a kink
                        h /= 50
                        wide, half = self._change(array, index, h), self._change(array, index, h / 2)
                    slopes[i] = (4 * half - wide) / 3
            found.append(slopes)
        return found

    def _change(self, array: NDArray, index: Any, h: float) -> NDArray:
        centre = array[index]
        array[index] = centre + h
        up, above = array[index], self.point.outputs_now()
        array[index] = centre - h
        down, below = array[index], self.point.outputs_now()
        array[index] = centre
        return np.where(above == below, 0, above - below) / (up - down)

    def _wanted(self, upstream: Sequence[NDArray]) -> list[NDArray]:
        dy, checked = flat(upstream), self.point.checked
        shapes = [self.point.args[k].shape for k in checked]
        return [(J @ dy).reshape(s) for J, s in zip(self.jacobian, shapes, strict=True)]

    # --- what is right --------------------------------------------------------------------

    def fits(self, found: list[NDArray] | None, k: int) -> bool:
        """Whether the returned gradients have their shapes, and can be compared."""
        return found is not None and [g.shape for g in found] == [g.shape for g in self.wanted[k]]

    def right(self, found: list[NDArray] | None, k: int) -> bool:
        """Whether all gradients are right."""
        if found is None or not self.fits(found, k):
            return False
        for g, wanted, compared in zip(found, self.wanted[k], self.compared, strict=True):
            rounding = max(1e-9 * _largest(wanted), 4 * _largest(compared.rounding))
            size = np.maximum(np.abs(g), np.abs(wanted))
            if g.dtype != np.float64 or np.any(np.isfinite(wanted) & ~np.isfinite(g)) or not np.all(np.abs(g - wanted) <= 1e-6 * size + rounding):
                return False
        return True

    # --- repairs --------------------------------------------------------------------------

    def statements(self) -> Iterator[tuple[int, list[Key]]]:
        """The statements that ran in the backward alone, in their order, with their values."""
        keys: dict[int, list[Key]] = {}
        for key in self.events[0]:
            if self.copies.statements[key[0]].function not in self.copies.of_forward:
                keys.setdefault(key[0], []).append(key)
        yield from keys.items()

    def repair(
        self, keys: list[Key], draws: int = 1, shape: tuple[int, ...] | None = None
    ) -> tuple[list[Runs], list[Runs], NDArray] | None:
        """Values of a statement that make all gradients right, or None.

        Returns its values before, in another shape if one is given, those of the repair, and the
        basis of the directions.
        """
        ks = range(draws)
        start = [self.events[0][key] for key in keys]
        if shape is not None:
            start = [[np.full(shape, np.mean(v)) for v in values] for values in start]
        x = flat([v for values in start for v in values])
        if not 0 < len(x) <= MOST:
            return None
        truths = any(v.dtype.kind == "b" for values in start for v in values)

        def run(x: NDArray) -> list[list[NDArray] | None]:
            repairs = dict(zip(keys, _split(x, start), strict=True))
            return [self.gradients(k, repairs) for k in ks]

        def all_of(x: NDArray) -> NDArray | None:
            runs = run(x)
            if not all(self.fits(found, k) for found, k in zip(runs, ks, strict=True)):
                return None
            return flat([g for found in runs for g in found or ()])

        base = all_of(x)
        if base is None or not np.isfinite(base).all():
            return None
        goal = flat([g for k in ks for g in self.wanted[k]])
        size = max(_largest(x), 1e-3)
        # One random change tells whether all wrong gradients depend on the statement.
        moved = all_of(1 - x if truths else x + size * self.rng.uniform(0.5, 1, len(x)))
        gap = np.abs(goal - base)
        if moved is None or np.any(gap[moved == base] > 1e-5 * _largest(goal)):
            return None
        for _ in range(6):
            matrix = np.empty((len(goal), len(x)))
            for i in range(len(x)):
                bumped = x.copy()
                bumped[i] = 1 - x[i] if truths else x[i] + size
                found = all_of(bumped)
                if found is None:
                    return None
                matrix[:, i] = (found - base) / (bumped[i] - x[i])
            if not np.isfinite(matrix).all():
                return None
            change, *_ = np.linalg.lstsq(matrix, goal - base, rcond=1e-10)
            x = np.round(x + change).clip(0, 1) if truths else x + change
            if all(self.right(found, k) for found, k in zip(run(x), ks, strict=True)):
                _, s, rows = np.linalg.svd(matrix, full_matrices=False)
                return start, _split(x, start), rows[s > 1e-9 * s[0]]
            base = None if truths else all_of(x)
            if base is None or _largest(goal - base) > 0.5 * _largest(gap):
                return None
        return None

    def repairs(self) -> Iterator[Repair]:
        """All repairs, up to the first statement that certainly is wrong.

        A fault in a statement would show in every gradient that depends on it.  So those come
        first on which only wrong gradients depend, and the others if they explain nothing.
        """
        wrong = {k for k, c in enumerate(self.compared) if c.wrong.any()}
        if self.kind != "values":  # right values of a wrong dtype, or in a wrong shape
            found = zip(self.base, self.wanted[0], strict=False)
            bad = {k for k, (g, w) in enumerate(found) if (g.shape, g.dtype) != (w.shape, w.dtype)}
            wrong = bad or wrong
        reach = {
            key: self._reach(key)
            for _, keys in self.statements()
            for key in keys
        }
        any_found = False
        for exact, last in ((True, False), (False, False), (True, True)):
            end, certain = float("inf"), False
            for number, keys in self.statements():
                statement = self.copies.statements[number]
                if self.order[keys[0], 0] > end:
                    break
                if (statement.passes and statement.returns and len(keys) > 1) != last:
                    continue
                chosen = [k for k in keys if reach[k] is not None and self._may(reach[k], wrong, exact)]
                together = set().union(*[reach[k] or () for k in keys])
                tried = [([key], self.repair([key])) for key in chosen if not self.is_named(key)]
                if not any(found for _, found in tried) and len(keys) > 1:
                    if self._may(together, wrong, exact) and not (chosen and not tried):
                        tried = [(keys, self.repair(keys))]
                if not any(found for _, found in tried) and len(keys) == 1:
                    own = {v.shape for v in self.events[0][keys[0]]}
                    shapes = {self.compared[k].numeric.shape for k in wrong}
                    others = _spread(own.pop(), shapes) if len(own) == 1 and exact else ()
                    others = shapes if self.kind == "shapes" else others
                    tried = [(keys, self.repair(keys, shape=shape)) for shape in others]
                for some, found in tried:
                    if found:
                        made = self._judged(number, some, *found)
                        any_found = True
                        yield made
                        if _is_certain(made):
                            certain, end = True, min(end, made.first)
            if certain or (any_found and not exact):
                return

    @staticmethod
    def _may(reach: set[int], wrong: set[int], exact: bool) -> bool:
        return reach == wrong if exact else reach > wrong

    def _reach(self, key: Key) -> set[int] | None:
        """The places of the gradients that depend on a value."""
        values = self.events[0][key]
        size = max(max(map(_largest, values)), 1e-3)
        moved = [
            ~v if v.dtype.kind == "b" else v + size * self.rng.uniform(0.5, 1, v.shape) for v in values
        ]
        found = self.gradients(0, {key: moved})
        if found is None or len(found) != len(self.base):
            return None
        return {k for k, (a, b) in enumerate(zip(found, self.base, strict=True)) if not equal(a, b)}

    def is_named(self, key: Key) -> bool:
        """Whether a value is the slope by the variable of the forward that its name answers."""
        statement, values = self.copies.statements[key[0]], self.events[0][key]
        names = _forward_names(statement, key)
        around = self.copies.around[statement.function]
        if not names or any(v.dtype != np.float64 for v in values):
            return False
        r = [self.rng.uniform(-1, 1, v.shape) for v in values]
        goal = sum(float(np.sum(v * part)) for v, part in zip(values, r, strict=True))
        size = sum(float(np.sum(np.abs(v * part))) for v, part in zip(values, r, strict=True))
        for number, order in self._places([v.shape for v in values]):
            node = self.copies.nodes[number]
            if node.name in names and not node.use and (not around or node.function == around):
                slope = self.slope(number, dict(zip(order, r, strict=True)))
                if abs(slope - goal) <= 1e-6 * size:
                    return True
        return False

    def _judged(
        self, number: int, keys: list[Key], start: list[Runs], values: list[Runs], rows: NDArray
    ) -> Repair:
        statement = self.copies.statements[number]
        wrong, gaps = [], {}
        for j, (old, fixed) in enumerate(zip(start, values, strict=True)):
            size = max(map(_largest, fixed)) or 1.0
            far = [t for t, (a, b) in enumerate(zip(old, fixed, strict=True)) if _largest(a - 1.0 * b) > 1e-7 * size]
            if far:
                wrong.append(j)
                gaps[j] = far[0]
        first, again = min(((self.order[keys[j], gaps[j]], gaps[j]) for j in wrong), default=(self.order[keys[0], 0], 0))
        parts = [(j, t, v.size) for j, runs in enumerate(start) for t, v in enumerate(runs)]
        place_j = np.repeat([j for j, _, _ in parts], [n for *_, n in parts])
        place_t = np.repeat([t for _, t, _ in parts], [n for *_, n in parts])
        own, nodes = [], []
        for j in wrong:
            names, inside = _forward_names(statement, keys[j]), place_j == j
            nodes.append(self._match(rows, inside, values[j], names))
            # What follows a fault in a loop is wrong in the next steps: only its first counts.
            t = gaps[j]
            before = self._match(rows, inside & (place_t == t), [start[j][t]], names, t, len(start[j]))
            own.append(before)
        constant = all(
            np.array_equal(a, b)
            for key in keys
            for a, b in zip(self.events[0][key], self.events[1].get(key, []), strict=False)
        )
        joint = 0
        if constant and not all(nodes):
            size, shape = len(place_j), start[0][0].shape
            enough = min(DRAWS, 2 + 2 * size // len(rows), 2 + 1500 // size)
            other = shape if shape != self.events[0][keys[0]][0].shape else None
            fits = self.repair(keys, enough, other)
            joint = 0 if fits is None else len(fits[2])
        return Repair(
            statement, number, keys, start, values, rows, first, again, wrong, own, nodes, constant, joint
        )

    # --- nodes ----------------------------------------------------------------------------

    def _match(
        self, rows: NDArray, inside: NDArray, values: Runs, names: set[str], run: int = 0, runs: int = 0
    ) -> set[str]:
        """The nodes whose slopes some values are, by name or line.

        Only the directions are compared in which the gradients depend on these values alone.  The
        values are of all runs of a statement, or of one out of so many.
        """
        if not inside.all():
            _, s, c = np.linalg.svd(rows[:, ~inside].T)
            rows = c[np.count_nonzero(s > 1e-9) :] @ rows
        rows = rows[:, inside]
        found: set[str] = set()
        v = flat(values)
        if not len(rows) or _largest(rows) < 1e-9 or not v.any() or values[0].dtype.kind == "b":
            return found
        r = rows.T @ self.rng.standard_normal(len(rows))
        r /= _largest(r)
        parts = [part.reshape(v.shape) for part, v in zip(_cut(r, values), values, strict=True)]
        goal, size = float(v @ r), float(np.abs(v) @ np.abs(r))
        sums: dict[Any, list[float]] = {}
        nodes = self.copies.nodes
        places = self._places([v.shape for v in values], run, runs)
        for number, order in sorted(places, key=lambda place: nodes[place[0]].name not in names):
            node, slope = nodes[number], self.slope(number, dict(zip(order, parts, strict=True)))
            slopes = [slope]
            if node.use:  # a variable that is read several times has the sum of their slopes
                several = sums.setdefault((node.name, node.function, tuple(order)), [])
                several.append(slope)
                if len(several) > 1:
                    slopes.append(sum(several))
            if size and any(abs(s - goal) <= 1e-6 * size for s in slopes):
                found.add(node.name or f"line {node.line}")
                if node.name in names or not names:
                    break
        return found

    def _places(
        self, shapes: list[tuple[int, ...]], run: int = 0, runs: int = 0
    ) -> Iterator[tuple[int, list[int]]]:
        """Nodes with values of these shapes, in the order of the times that a statement ran."""
        for number, found in (self.shapes or {}).items():
            count = runs or len(shapes)
            if count == 1:
                yield from ((number, [v]) for v, s in enumerate(found) if s == shapes[0])
            elif len(found) == count:
                visits = list(range(len(found)))
                for order in (visits[::-1], visits):
                    chosen = [order[run]] if runs else order
                    if [found[v] for v in chosen] == shapes:
                        yield number, chosen

    def slope(self, number: int, moves: dict[int, NDArray]) -> float:
        """The slope of the loss as a node of the forward moves."""
        dy, h = flat(self.upstream[0]), 1e-4

        def loss(h: float) -> float:
            self.copies.moves = {number: {v: h * r for v, r in moves.items()}}
            try:
                y = flat(self._forward()[0])
                return float(dy @ np.where(np.isfinite(y), y, 0))
            except OutOfTimeError:
                raise
            except Exception:  # whatever the reader's code raises
                return np.nan
            finally:
                self.copies.moves = {}

        return (loss(h) - loss(-h)) / (2 * h)

    # --- breaches of the convention ---------------------------------------------------------

    def breach(self, kind: str) -> Statement | None:
        """The first statement that shows a breach: ``kind`` is the name of a check of it."""
        found = getattr(self, kind, lambda: None)()
        return None if found is None else self.copies.statements[found]

    def trace(self, upstream: Sequence[Any]) -> list[tuple[Key, NDArray]]:
        """All values of the backward for an upstream gradient, up to an exception."""
        hooks = self.copies
        hooks.events, hooks.backward, self.raised = [], True, None
        try:
            self.own(*upstream)
        except Exception as error:  # whatever the reader's code raises
            self.raised = self._statement_of(error)
        events, hooks.events, hooks.backward = hooks.events, None, False
        return events

    def _statement_of(self, error: BaseException) -> int | None:
        """The outermost statement of the reader's that led to an exception."""
        for frame, line in traceback.walk_tb(error.__traceback__):
            for number, statement in enumerate(self.copies.statements):
                if statement.file == frame.f_code.co_filename and statement.line == line:
                    return number
        return None

    def _kinds(self) -> int | None:
        for key, value in self.trace(copies(self.point.upstream)):
            if value.dtype.kind == "f" and value.dtype != np.float64:
                return key[0]
        return self.copies.last  # which returns None, a list, or another number of gradients

    def _changes(self) -> int | None:
        upstream = copies(self.point.upstream)
        for backward in (False, True):
            watched = [a for a in (*self.given, *upstream) if isinstance(a, np.ndarray)]
            if backward:
                watched += [y for y in self.outputs if isinstance(y, np.ndarray)]
            self.copies.watched = [(a, a.copy()) for a in watched]
            try:
                if backward:
                    self.trace(upstream)
                else:
                    given = self.given
                    self.op(*given)
                self.copies.at(self.copies.last)
            finally:
                self.copies.watched = []
            if self.copies.changed is not None:
                return self.copies.changed
        return None

    def _second_call(self) -> int | None:
        dys = self.point.upstream
        first, again = self.trace(copies(dys)), self.trace(copies(dys))
        opposite = self.trace([np.asarray(-dy) for dy in dys])
        found = _deviates(first, again, 1)
        return _deviates(first, opposite, -1) if found is None else found

    def _large(self) -> int | None:
        multiple = [np.asarray(2.0**40 * dy) for dy in self.point.upstream]
        return _deviates(self.trace(copies(self.point.upstream)), self.trace(multiple), 2.0**40)

    def _layouts(self) -> int | None:
        spread = [spread_out(dy) for dy in self.point.upstream]
        return _deviates(self.trace(copies(self.point.upstream)), self.trace(spread), 1)

    def _rounds(self) -> int | None:
        dys = self.point.upstream
        rounded = [dy.astype(np.float32).astype(np.float64) for dy in dys]
        runs = zip(
            self.trace(copies(dys)), self.trace(rounded), self.trace([-dy for dy in dys]), strict=False
        )
        for (key, value), (_, other), (_, opposite) in runs:
            if value.shape == other.shape == opposite.shape and value.dtype.kind == "f":
                depends = np.abs(value - opposite) > 0.01 * np.abs(value)
                if depends.any() and np.all((value == other)[depends]):
                    return key[0]
        return None

    _precision = _rounds

    def _absent(self) -> int | None:
        dys = self.point.upstream
        for k in range(len(dys)):
            nothing = [np.zeros_like(dy) if j == k else dy for j, dy in enumerate(dys)]
            absent = [None if j == k else dy for j, dy in enumerate(dys)]
            usual, found = self.trace(nothing), self.trace(absent)
            if self.raised is not None:
                usual = usual[: len(found)]
            place = _deviates(usual, found, 1)
            if place is not None or self.raised is not None:
                return self.raised if place is None else place
        return None

    # --- edits ----------------------------------------------------------------------------

    def edit(self, number: int) -> tuple[int, str] | None:
        """The statement's expression with a small change that makes all gradients right."""
        expression = self.copies.sources.get(number)
        if expression is None:
            return None
        self.copies.scope, self.copies.edit = {}, (number, None)
        self.gradients(0)
        scope, self.copies.scope = self.copies.scope, None
        names = [n for n, v in scope.items() if as_array(v) is not None or type(v) is int]
        try:
            for rank, new in edits(expression, names):
                try:
                    code = compile(ast.fix_missing_locations(ast.Expression(new)), "<edit>", "eval")
                except (SyntaxError, TypeError, ValueError):
                    continue
                self.copies.edit = number, code
                if all(self.right(self.gradients(k), k) for k in range(3)):
                    return rank, ast.unparse(new)
        finally:
            self.copies.edit = -1, None
        return None


def _is_certain(made: Repair) -> bool:
    """Whether the own value is no slope, and the repaired one is: the fault is not after it."""
    several = made.statement.returns and len(made.wrong) > 1
    return bool(made.wrong) and all(made.nodes) and not any(made.own) and not several


def _target(statement: Statement, key: Key) -> str:
    """The variable that a value is assigned to, or nothing."""
    place = key[1] if len(key) > 1 and isinstance(key[1], int) else 0
    return statement.targets[place] if place < len(statement.targets) else ""


def _forward_names(statement: Statement, key: Key) -> set[str]:
    """The names in the forward that a statement's variable answers: q for dq."""
    target, found = _target(statement, key), set()
    for pattern in (r"d_?(\w+)", r"(\w+)_grad", r"grad_(\w+)", r"g_(\w+)", r"(\w+)_bar"):
        if match := re.fullmatch(pattern, target):
            found |= {match[1], match[1].removesuffix("_t"), match[1].removesuffix("_prev")}
    return found


def _deviates(
    events: list[tuple[Key, NDArray]], others: list[tuple[Key, NDArray]], factor: float
) -> int | None:
    """The first statement whose value in another run is neither the same nor so many times it."""
    for (key, value), (other, new) in zip(events, others, strict=False):
        if key != other:
            return other[0]
        if value.shape != new.shape or value.dtype != new.dtype:
            return key[0]
        near = [np.isclose(new, c * value, rtol=1e-9, atol=1e-13 * _largest(c * value)) for c in {1.0, factor} if value.dtype.kind == "f"]
        if not np.all(np.any(near, axis=0)) if near else not np.array_equal(value, new):
            return key[0]
    longer = events[len(others) :] or others[len(events) :]
    return longer[0][0][0] if longer else None


def _largest(array: NDArray) -> float:
    return float(np.max(np.abs(array), initial=0))


def _cut(x: NDArray, like: Sequence[NDArray]) -> list[NDArray]:
    return np.split(x, np.cumsum([v.size for v in like])[:-1])


def _split(x: NDArray, like: list[Runs]) -> list[Runs]:
    parts = iter(_cut(x, [v for some in like for v in some]))
    made = []
    for some in like:
        runs = [next(parts).reshape(v.shape) for v in some]
        made.append([r > 0.5 if v.dtype.kind == "b" else r for r, v in zip(runs, some, strict=True)])
    return made


def _spread(own: tuple[int, ...], shapes: set[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Shapes that a value may have lost by a sum, or by an axis of a sum."""
    for shape in shapes:
        if own == ():
            yield shape
        elif len(own) == len(shape) and 1 in own:
            for choice in np.ndindex((2,) * len(shape)):
                other = tuple(s if c else 1 for s, c in zip(shape, choice, strict=True))
                if other not in (own, shape):
                    yield other


class Verdict(NamedTuple):
    """The statements that may be wrong, the likeliest first."""

    suspects: list[Statement]
    text: str  # what a message says of them


def locate(point: Point, compared: Sequence[Compared], kind: str, seconds: float = 60) -> Verdict:
    """Find the wrong statement of a backward.

    ``kind`` is "values" where gradients are wrong, "shapes" where their shapes are, and the name of
    a check of ``convention.py`` where all are right.
    """
    try:
        with use_kernels("numpy"), np.errstate(all="ignore"):
            search = Search(point, compared, kind, seconds)
            if kind in BREACHES:
                return _of_breach(search, kind)
            if guess_of_order(compared, point.tolerance):
                return _of_breach(search, "_kinds")
            found = _chosen(list(search.repairs()), search)
            if not found and kind != "values":
                return _of_breach(search, "_kinds" if kind == "shapes" else kind)
            return Verdict([made.statement for made, _ in found], _described(point, found))
    except CannotRewriteError as error:
        return Verdict([], f"no line is named: {error}")
    except OutOfTimeError:
        return Verdict([], f"no line is named within {seconds:g} s")
    except Exception as error:  # whatever the reader's code raises next to its arguments
        return Verdict([], f"no line is named: the op raised {describe_error(error)}")


def _of_breach(search: Search, kind: str) -> Verdict:
    statement = search.breach(kind)
    if statement is None:
        return Verdict([], "no line is named: no statement shows it alone")
    return Verdict([statement], f"{_place(search.point, statement)} is where it shows first")


def _chosen(found: list[Repair], search: Search) -> list[tuple[Repair, str]]:
    """The repairs that tell, the likeliest first, each with an edit of its text or nothing."""
    found = sorted(found, key=lambda made: made.first)
    # Zeros that are filled later: not they are wrong, but what fills them.
    found = [m for m in found if not (m.constant and len(m.wrong) > 1 and not _any(m.start))]
    certain = [made for made in found if _is_certain(made)][:1]
    before = [m for m in found if m not in certain and (not certain or m.first <= certain[0].first)]
    # Values that are right for one node where they should be right for another: the last of a
    # chain of copies lacks a factor or a term.
    chain = [m for m in before if _is_link(m)]
    inner = [m for m in chain if not m.statement.returns] or chain
    link = [m for m in inner if _is_named_link(m)][:1] or inner[-1:]
    rest = [
        m
        for m in before
        if not any(m.own)
        and not (m.nodes and all(m.nodes))
        and len({v.shape for part in m.start for v in part}) == 1
        and not (m.statement.returns and m.statement.passes)
    ]
    kept = [m for m in rest if m.constant and m.joint]
    sure = [m for m in rest if not m.constant and len(m.rows) == m.size]
    loose = [m for m in rest if not m.constant and len(m.rows) < m.size]
    # One value that fits many dy, though a single dy leaves it open, is no coincidence.
    telling = [m for m in kept if len(m.rows) < m.joint and m.ratio is None]
    suspects = telling[:1] or [*kept, *sure, *link, *certain]
    if not suspects:
        returned = [m for m in found if m.statement.returns and m.statement.passes and any(m.own)]
        known = [m for m in found if m.nodes and all(m.nodes) and not m.statement.returns]
        suspects = returned[:1] or known[:1] or loose[-1:]
    edited = [(made, search.edit(made.number)) for made in suspects]
    ranks = [edit[0] for _, edit in edited if edit]
    if ranks:
        best = [(made, edit[1]) for made, edit in edited if edit and edit[0] == min(ranks)]
        in_chain = [(made, text) for made, text in best if made in link]
        return in_chain if in_chain and len(best) == 2 and best[-1][0] in certain else best
    if len(suspects) > 1 and link:
        suspects = [made for made in suspects if made not in certain]
    computed = [m for m in suspects if not _is_read(search.copies.sources.get(m.number))]
    return [(made, "") for made in computed or suspects]


def _any(start: list[Runs]) -> bool:
    return any(v.any() for part in start for v in part)


def _is_read(source: ast.expr | None) -> bool:
    """Whether an expression only reads what was kept."""
    parts = source.elts if isinstance(source, ast.Tuple) else [source]
    return all(isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) for part in parts)


def _is_link(made: Repair) -> bool:
    """Whether each value is right for one node, where it should be right for another."""
    if not (made.wrong and all(made.own) and all(made.nodes)):
        return False
    own, nodes = set().union(*made.own), set().union(*made.nodes)
    names = set().union(*(_forward_names(made.statement, key) for key in made.keys))
    is_exchange = len(made.wrong) > 1 and own == nodes  # which comes later
    return not is_exchange and not (names & own and not names & nodes)


def _is_named_link(made: Repair) -> bool:
    names = set().union(*(_forward_names(made.statement, key) for key in made.keys))
    return not names & set().union(*made.own) and bool(names & set().union(*made.nodes))


# --- messages ---------------------------------------------------------------------------------


def _place(point: Point, statement: Statement) -> str:
    file = Path(statement.file).name
    own = getattr(inspect.unwrap(point.op), "__code__", None)
    where = "" if own is not None and own.co_filename == statement.file else f"{file}, "
    return f"{where}line {statement.line}, `{statement.text}`"


def _described(point: Point, found: list[tuple[Repair, str]]) -> str:
    if not found:
        return "no line is named: no other value of a single statement makes all gradients right"
    lines = []
    for made, edit in found:
        what = "the measured value" if all(made.nodes) else "another value"
        names = [_target(made.statement, made.keys[j]) for j in made.wrong]
        if all(names):
            what = f"{what[:-5]}{' and '.join(names)}"
        change = f", as with `{edit}`" if edit else ""
        lines.append(f"{_place(point, made.statement)}: with {what} all gradients are right{change}")
    if len(lines) == 1:
        return lines[0]
    return "\n".join(["one of these lines, and the gradients cannot tell which:", *lines])
