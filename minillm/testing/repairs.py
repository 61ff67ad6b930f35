"""The statements of a backward, and the values with which they make all gradients right.

See ``lines.py``, which chooses among them.
"""

import ast
import copy
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing.calls import as_tuple, copies, equal, flat
from minillm.testing.edits import edits
from minillm.testing.point import Compared, Point
from minillm.testing.rewriting import CannotRewriteError, Hooks, Statement, as_array, is_tensor

MOST = 400  # numbers in the values of a statement that are solved for
DRAWS = 20  # of upstream gradients, the point's own included
FEW_RUNS, MOST_RUNS = 5_000, 1_000_000  # of the op or its backward
SECONDS = 2  # of a processor, for few runs: of a slow op there are fewer
Key = tuple[Any, ...]  # the number of a statement, and the place in its tuple
Runs = list[NDArray]  # the values of a statement, one for each time that it ran
# Before and after a repair; a basis of the directions that count; how many of the values do.
Solution = tuple[list[Runs], list[Runs], NDArray, int]


class TooManyRunsError(Exception):
    """The search was given fewer runs of the op than it needs."""


class Copies(Hooks):
    """The copies of an op and its backward: they note values, or put others in their place."""

    def __init__(self, lean: set[tuple[str, int]] | None = None) -> None:
        super().__init__(lean)
        self.backward = False
        self.of_forward: set[int] = set()  # functions
        self.events: list[tuple[Key, NDArray]] | None = None
        self.repairs: dict[Key, Runs] = {}
        self.repaired: set[int] = set()  # the numbers of their statements
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
        """Note the functions of the forward, and what has changed since the last statement."""
        if self.changed is None and not all(equal(a, b) for a, b in self.watched):
            self.changed = self.last
        self.last = number
        if not self.backward:
            self.of_forward.add(self.statements[number].function)
            if self.shapes is not None:
                self.frames[self.statements[number].function] = sys._getframe(1)

    def node(self, number: int, value: Any) -> Any:
        """Note the shape of a node, or move it."""
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
        """Note a value of the backward, repair it, or compute another expression."""
        quiet = self.events is None and number not in self.repaired
        if not self.backward or (quiet and number != self.edit[0]):
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
        """Keep what may change."""
        if self.backward:
            self.kept[number] = copies(values)

    def arrays(self, number: int, *values: Any) -> None:
        """Arrays that changed are values of the statement, too."""
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


@dataclass(eq=False)
class Repair:
    """Values of a statement with which all gradients are right."""

    statement: Statement
    number: int
    keys: list[Key]
    start: list[Runs]  # its own values
    values: list[Runs]
    rows: NDArray  # a basis of the directions in which the gradients depend on the values
    used: int  # how many of the values the gradients depend on
    first: int  # when it first is wrong, in the order of all values
    wrong: list[int]  # the places of the keys whose values are wrong
    own: list[set[str]]  # for each of them: the nodes whose slope its own value is
    nodes: list[set[str]]  # and those whose slope the repaired one is
    constant: bool  # whether its own values do not depend on dy
    joint: int  # if one repair fits all dy then: in how many directions they depend on it; else 0

    @property
    def size(self) -> int:
        """The count of the numbers in its values."""
        return sum(v.size for part in self.start for v in part)

    def any(self) -> bool:
        """Whether an own value is not zero."""
        return any(v.any() for part in self.start for v in part)

    @property
    def is_slope(self) -> bool:
        """Whether the repaired values are slopes, and the own ones are not."""
        several = self.statement.returns and len(self.wrong) > 1
        return bool(self.wrong) and all(self.nodes) and not any(self.own) and not several

    @property
    def is_certain(self) -> bool:
        """Whether the fault cannot be after it: a slope depends on dy, or was forgotten."""
        computed = self.constant and self.any() and not self.statement.passes
        return self.is_slope and not computed

    @property
    def is_link(self) -> bool:
        """Whether each value is the slope by one node, where it should be that by another."""
        if not (self.wrong and all(self.own) and all(self.nodes)):
            return False
        own, nodes, names = self._names()
        is_exchange = len(self.wrong) > 1 and own == nodes  # which comes later
        return not is_exchange and not (names & own and not names & nodes)

    @property
    def is_named_link(self) -> bool:
        """Whether the name of the variable says that it should be the other node's."""
        own, nodes, names = self._names()
        return not names & own and bool(names & nodes)

    def _names(self) -> tuple[set[str], set[str], set[str]]:
        names = set().union(*(forward_names(self.statement.target(key)) for key in self.keys))
        return set().union(*self.own), set().union(*self.nodes), names

    @property
    def ratio(self) -> float | None:
        """The number by which the own values become right, if there is one."""
        old, new = (
            self.rows @ flat([v for part in values for v in part])
            for values in (self.start, self.values)
        )
        ratio = float(old @ new / (old @ old)) if old.any() else 0.0
        return ratio if np.allclose(new, ratio * old, rtol=0, atol=1e-6 * largest(new)) else None


class Search:
    """The search at one point."""

    def __init__(self, point: Point, compared: Sequence[Compared], kind: str, runs: int) -> None:
        self.left, self.kind = runs, kind
        self.point, self.compared = point, compared
        self.copies = Copies()
        self.op = self.copies.call(point.op)
        self._forward()
        # Once more, now that it is known what the forward is: with fewer hooks, and faster.
        places = {self.copies.places[function] for function in self.copies.of_forward}
        self.copies = Copies(lean=places)
        self.op = self.copies.call(point.op)
        self.copies.shapes = {}
        outputs, self.own = self._forward()
        self.shapes, self.copies.shapes = self.copies.shapes, None
        if not np.allclose(flat(outputs), flat(point.outputs), equal_nan=True):
            raise CannotRewriteError("a copy of the op: expected the same outputs, found others")
        self.rng = np.random.default_rng(0)
        self.upstream = [list(point.upstream)]
        for _ in range(DRAWS - 1):
            self.upstream.append([self.rng.standard_normal(y.shape) for y in point.outputs])
        self.base = self.gradients(0) or []
        start = time.thread_time()
        self.gradients(0)
        if runs == FEW_RUNS:
            self.left = min(runs, int(SECONDS / max(time.thread_time() - start, 1e-6)))
        self.jacobian = self._jacobian()
        self.wanted = [[gradient.numeric for gradient in compared]]
        self.wanted += [self._wanted(upstream) for upstream in self.upstream[1:]]
        # Before its repair, each statement's values for two upstream gradients.
        self.order: dict[tuple[Key, int], int] = {}
        self.events = [self._events(k) for k in range(2)]
        self.wrong: set[int] = set()  # the places of the gradients that are
        self.reach: dict[Key, set[int]] = {}  # the places of the gradients that depend on a value

    # --- runs -----------------------------------------------------------------------------

    def _spend(self, runs: int = 1) -> None:
        self.left -= runs
        if self.left < 0:
            raise TooManyRunsError

    def _forward(self) -> tuple[Any, Any]:
        self._spend()
        self.copies.backward = False
        self.copies.visits = {}
        result, backward = self.op(*copies(self.point.args))
        return as_tuple(result), self.copies.call(backward)

    def gradients(self, k: int, repairs: dict[Key, Runs] | None = None) -> list[NDArray] | None:
        """The gradients for an upstream gradient, with repairs; None if the backward fails."""
        self._spend()
        hooks = self.copies
        hooks.repairs, hooks.ran, hooks.backward = repairs or {}, {}, True
        hooks.repaired = {key[0] for key in hooks.repairs}
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
                        wide, half = (
                            self._change(array, index, h),
                            self._change(array, index, h / 2),
                        )
                    slopes[i] = (4 * half - wide) / 3
            found.append(slopes)
        return found

    def _change(self, array: NDArray, index: Any, h: float) -> NDArray:
        self._spend(2)
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
            rounding = max(1e-9 * largest(wanted), 4 * largest(compared.rounding))
            size = np.maximum(np.abs(g), np.abs(wanted))
            if (
                g.dtype != np.float64
                or np.any(np.isfinite(wanted) & ~np.isfinite(g))
                or not np.all(np.abs(g - wanted) <= 1e-6 * size + rounding)
            ):
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
    ) -> Solution | None:
        """Values of a statement that make all gradients right, or None.

        Returns its own values, in another shape if one is given; the repaired values; the basis of
        the directions; and how many values are used.
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
        size = max(largest(x), 1e-3)
        # One random change tells whether all wrong gradients depend on the statement.
        other = 1 - x if truths else x + size * self.rng.uniform(0.5, 1, len(x))
        moved, gap = all_of(other), np.abs(goal - base)
        if moved is None or np.any(gap[moved == base] > 1e-5 * largest(goal)):
            return None
        step = size
        for _ in range(6):
            matrix = np.empty((len(goal), len(x)))
            for i in range(len(x)):
                bumped = x.copy()
                bumped[i] = 1 - x[i] if truths else x[i] + step
                found = all_of(bumped)
                if found is None:
                    return None
                matrix[:, i] = (found - base) / (bumped[i] - x[i])
            if not np.isfinite(matrix).all():
                return None
            try:
                change, *_ = np.linalg.lstsq(matrix, goal - base, rcond=1e-10)
            except np.linalg.LinAlgError:
                return None
            better = np.round(x + change).clip(0, 1) if truths else x + change
            if all(self.right(found, k) for found, k in zip(run(better), ks, strict=True)):
                _, s, rows = np.linalg.svd(matrix, full_matrices=False)
                used = int(np.count_nonzero(np.abs(matrix).max(axis=0) > 0))
                return start, _split(better, start), rows[s > 1e-9 * s[0]], used
            straight = base + matrix @ (other - x)
            if truths or np.allclose(straight, moved, rtol=0, atol=1e-6 * largest(moved)):
                return None  # the gradients are affine in the value, and there is no solution
            nearer = all_of(better)
            if nearer is not None and largest(goal - nearer) < 0.5 * largest(goal - base):
                x, base = better, nearer
            elif step < size:
                return None
            step = 1e-4 * size  # as narrow as a curve needs it
        return None

    def repairs(self) -> Iterator[Repair]:
        """All repairs, up to the first statement that certainly is wrong.

        A fault in a statement would show in every gradient that depends on it.  So those come
        first on which only wrong gradients depend, then the others, and what only returns names.
        """
        wrong = {k for k, c in enumerate(self.compared) if c.wrong.any()}
        if self.kind != "values":  # right values of a wrong dtype, or in a wrong shape
            pairs = list(zip(self.base, self.wanted[0], strict=False))
            bad = {k for k, (g, w) in enumerate(pairs) if (g.shape, g.dtype) != (w.shape, w.dtype)}
            wrong = bad or wrong
        self.wrong = wrong
        self.reach = {key: self._reach(key) for _, keys in self.statements() for key in keys}
        any_found = False
        for exact, returns in ((True, False), (False, False), (True, True)):
            found = list(self._first(exact, returns))
            yield from found
            any_found = any_found or bool(found)
            if any(made.is_certain for made in found) or (any_found and not exact):
                return

    def _first(self, exact: bool, returns: bool) -> Iterator[Repair]:
        """The repairs of statements of one sort, up to the first that certainly is wrong."""
        end = float("inf")
        for number, keys in self.statements():
            statement = self.copies.statements[number]
            if self.order[keys[0], 0] > end:
                return
            if returns == (statement.passes and statement.returns and len(keys) > 1):
                for some, found in self._tried(keys, exact):
                    made = self._judged(number, some, *found)
                    yield made
                    if made.is_certain:
                        end = min(end, made.first)

    def _tried(self, keys: list[Key], exact: bool) -> Iterator[tuple[list[Key], Solution]]:
        """The values of a statement alone, or together, or in other shapes, that are a repair."""

        def may(reached: set[int]) -> bool:
            return reached == self.wrong if exact else reached > self.wrong

        single = [key for key in keys if may(self.reach[key])]
        unnamed = [key for key in single if not self.is_named(key)]
        found = [([key], made) for key in unnamed if (made := self.repair([key]))]
        several = len(keys) > 1 and (unnamed or not single)
        if not found and several and may(set().union(*(self.reach[key] for key in keys))):
            found = [(keys, made)] if (made := self.repair(keys)) else []
        if not found and len(keys) == 1 and unnamed:
            own = {v.shape for v in self.events[0][keys[0]]}
            shapes: Iterable[tuple[int, ...]] = {self.compared[k].numeric.shape for k in self.wrong}
            if self.kind != "shapes":
                shapes = _spread(own.pop(), shapes) if len(own) == 1 and exact else ()
            found = [(keys, made) for shape in shapes if (made := self.repair(keys, shape=shape))]
        yield from found

    def _reach(self, key: Key) -> set[int]:
        """The places of the gradients that depend on a value; none if it cannot be changed."""
        values = self.events[0][key]
        size = max(max(map(largest, values)), 1e-3)
        moved = [
            ~v if v.dtype.kind == "b" else v + size * self.rng.uniform(0.5, 1, v.shape)
            for v in values
        ]
        found = self.gradients(0, {key: moved})
        if found is None or len(found) != len(self.base):
            return set()
        return {k for k, (a, b) in enumerate(zip(found, self.base, strict=True)) if not equal(a, b)}

    def is_named(self, key: Key) -> bool:
        """Whether a value is the slope by the variable of the forward that its name answers."""
        statement, values = self.copies.statements[key[0]], self.events[0][key]
        names = forward_names(statement.target(key))
        around = self.copies.around[statement.function]
        if not names or any(v.dtype != np.float64 for v in values):
            return False
        r = [self.rng.uniform(-1, 1, v.shape) for v in values]
        goal = sum(float(np.sum(v * part)) for v, part in zip(values, r, strict=True))
        size = sum(float(np.sum(np.abs(v * part))) for v, part in zip(values, r, strict=True))
        for number, order in self._places([v.shape for v in values]):
            node = self.copies.nodes[number]
            if node.name in names and node.reads < 0 and (not around or node.function == around):
                slope = self.slope(number, dict(zip(order, r, strict=True)))
                if abs(slope - goal) <= 1e-7 * size:
                    return True
        return False

    def _judged(
        self,
        number: int,
        keys: list[Key],
        start: list[Runs],
        values: list[Runs],
        rows: NDArray,
        used: int,
    ) -> Repair:
        statement = self.copies.statements[number]
        wrong, gaps = [], {}
        for j, (old, fixed) in enumerate(zip(start, values, strict=True)):
            size = max(map(largest, fixed)) or 1.0
            far = [
                t
                for t, (a, b) in enumerate(zip(old, fixed, strict=True))
                if largest(a - 1.0 * b) > 1e-7 * size
            ]
            if far:
                wrong.append(j)
                gaps[j] = far[0]
        first = (
            min(self.order[keys[j], gaps[j]] for j in wrong) if wrong else self.order[keys[0], 0]
        )
        parts = [(j, t, v.size) for j, runs in enumerate(start) for t, v in enumerate(runs)]
        place_j = np.repeat([j for j, _, _ in parts], [n for *_, n in parts])
        place_t = np.repeat([t for _, t, _ in parts], [n for *_, n in parts])
        own, nodes = [], []
        for j in wrong:
            names, inside = forward_names(statement.target(keys[j])), place_j == j
            nodes.append(self._match(rows, inside, values[j], names))
            # What follows a fault in a loop is wrong in the next steps: only its first counts.
            t = gaps[j]
            before = self._match(
                rows, inside & (place_t == t), [start[j][t]], names, t, len(start[j])
            )
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
            statement=statement,
            number=number,
            keys=keys,
            start=start,
            values=values,
            rows=rows,
            used=used,
            first=first,
            wrong=wrong,
            own=own,
            nodes=nodes,
            constant=constant,
            joint=joint,
        )

    # --- nodes ----------------------------------------------------------------------------

    def _match(
        self,
        rows: NDArray,
        inside: NDArray,
        values: Runs,
        names: set[str],
        run: int = 0,
        runs: int = 0,
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
        if not len(rows) or largest(rows) < 1e-9 or not v.any() or values[0].dtype.kind == "b":
            return found
        r = rows.T @ self.rng.standard_normal(len(rows))
        r /= largest(r)
        parts = [part.reshape(v.shape) for part, v in zip(_cut(r, values), values, strict=True)]
        goal, size = float(v @ r), float(np.abs(v) @ np.abs(r))
        sums: dict[Any, list[float]] = {}
        nodes = self.copies.nodes
        places = self._places([v.shape for v in values], run, runs)
        for number, order in sorted(places, key=lambda place: nodes[place[0]].name not in names):
            node, slope = nodes[number], self.slope(number, dict(zip(order, parts, strict=True)))
            slopes = [slope]
            if node.reads >= 0:  # a variable that is read several times has the sum of their slopes
                several = sums.setdefault((node._replace(line=0), tuple(order)), [])
                several.append(slope)
                if len(several) > 1:
                    slopes.append(sum(several))
            if size and any(abs(s - goal) <= 1e-7 * size for s in slopes):
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
            except TooManyRunsError:
                raise
            except Exception:  # whatever the reader's code raises
                return np.nan
            finally:
                self.copies.moves = {}

        return (loss(h) - loss(-h)) / (2 * h)

    def before(self, place: int) -> list[int]:
        """The statements before a place in the order on which all wrong gradients depend."""
        first = [key[0] for key in self.reach if self.order[key, 0] < place]
        reached = {
            n: set[int]().union(*(self.reach[k] for k in self.reach if k[0] == n)) for n in first
        }
        return [number for number, places in reached.items() if places >= self.wrong]

    def after(self, made: Repair) -> list[int]:
        """The statements after a repair that may have made its value wrong again.

        They set the same variable anew, or call the function that the statement stands in.
        """
        statement = made.statement
        found: list[int] = []
        names = {statement.target(key) for key in made.keys} - {""}
        is_helper = not self.copies.around[statement.function]
        for (key, _), place in sorted(self.order.items(), key=lambda item: item[1]):
            other = self.copies.statements[key[0]]
            if place <= made.first or other == statement or key[0] in found:
                continue
            same = other.function == statement.function and names & set(other.targets)
            if is_helper and self.copies.around[other.function]:
                return [*found, key[0]]
            if same:
                found.append(key[0])
        return found

    # --- edits ----------------------------------------------------------------------------

    def edit(self, number: int) -> tuple[int, str] | None:
        """The statement's expression with a small change that makes all gradients right."""
        expression = self.copies.sources.get(number)
        if expression is None:
            return None
        self.copies.scope, self.copies.edit = {}, (number, None)
        self.gradients(0)
        scope, self.copies.scope = self.copies.scope, None
        names = [n for n, v in scope.items() if _is_number(v)]
        try:
            for rank, new in edits(expression, names):
                try:
                    code = compile(ast.fix_missing_locations(ast.Expression(new)), "<edit>", "eval")
                except (SyntaxError, TypeError, ValueError):
                    continue
                self.copies.edit = number, code
                if all(self.right(self.gradients(k), k) for k in range(3)):
                    return rank, ast.unparse(new)
        except TooManyRunsError:
            return None
        finally:
            self.copies.edit = -1, None
        return None


def _is_number(value: Any) -> bool:
    """Whether a value may stand in a product."""
    whole = isinstance(value, np.ndarray) and value.dtype.kind in "iu"
    return whole or type(value) is int or as_array(value) is not None


def forward_names(target: str) -> set[str]:
    """The names in the forward that a variable of the backward answers: q for dq."""
    found: set[str] = set()
    for pattern in (r"d_?(\w+)", r"(\w+)_grad", r"grad_(\w+)", r"g_(\w+)", r"(\w+)_bar"):
        if match := re.fullmatch(pattern, target):
            found |= {match[1], match[1].removesuffix("_t"), match[1].removesuffix("_prev")}
    return found


def largest(array: NDArray) -> float:
    """The largest absolute value; 0 of an empty array."""
    return float(np.max(np.abs(array), initial=0))


def _cut(x: NDArray, like: Sequence[NDArray]) -> list[NDArray]:
    return np.split(x, np.cumsum([v.size for v in like])[:-1])


def _split(x: NDArray, like: list[Runs]) -> list[Runs]:
    parts = iter(_cut(x, [v for some in like for v in some]))
    made = []
    for some in like:
        runs = [next(parts).reshape(v.shape) for v in some]
        made.append(
            [r > 0.5 if v.dtype.kind == "b" else r for r, v in zip(runs, some, strict=True)]
        )
    return made


def _spread(own: tuple[int, ...], shapes: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Shapes that a value may have lost by a sum, or by an axis of a sum."""
    for shape in shapes:
        if own == ():
            yield shape
        elif len(own) == len(shape) and 1 in own:
            for choice in np.ndindex((2,) * len(shape)):
                other = tuple(s if c else 1 for s, c in zip(shape, choice, strict=True))
                if other not in (own, shape):
                    yield other
