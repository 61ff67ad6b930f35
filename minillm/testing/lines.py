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
import inspect
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minillm.errors import describe_error
from minillm.testing.breaches import first_breach
from minillm.testing.diagnosis import guess_of_order
from minillm.testing.point import Compared, Point
from minillm.testing.repairs import FEW_RUNS, MOST_RUNS, Repair, Search, TooManyRunsError
from minillm.testing.rewriting import CannotRewriteError, Statement

NEAR = 2  # an edit up to here changes a sign, an operator or a name, and adds nothing


class Verdict(NamedTuple):
    """The statements that may be wrong, the likeliest first."""

    suspects: list[Statement]
    text: str  # what a message says of them


def locate(
    point: Point,
    compared: Sequence[Compared],
    kind: str,
    *,
    thorough: bool = True,
    fixes: bool = True,
) -> Verdict:
    """Find the wrong statement of a backward.

    ``kind`` is "values" where gradients are wrong, "shapes" where their shapes are, and the name of
    a check of ``convention.py`` where all are right.  Not ``thorough``: it gives up on an op that
    needs more than a second or so.  ``fixes``: the text may show a statement that would be right.
    """
    runs = MOST_RUNS if thorough else FEW_RUNS
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), _plain_kernels():
            warnings.simplefilter("ignore")  # of values and texts that nobody wrote
            return _located(point, compared, kind, runs, fixes)
    except CannotRewriteError as error:
        reason = str(error)
    except TooManyRunsError:
        reason = "it takes long; locate=True, or --line, looks further"
    except Exception as error:  # whatever the reader's code raises next to its arguments
        reason = f"next to these arguments the op raised {describe_error(error)}"
    return Verdict([], f"no line is named: {reason}")


def _plain_kernels() -> AbstractContextManager:
    """The NumPy originals in place of this package's kernels, if they are in use.

    A kernel trusts its arguments, and a repair changes them.
    """
    kernels = sys.modules.get("minillm._kernels")
    return kernels.use_kernels("numpy") if kernels else nullcontext()


def _located(
    point: Point, compared: Sequence[Compared], kind: str, runs: int, fixes: bool
) -> Verdict:
    reason = "no other value of a single statement makes all gradients right"
    if guess_of_order(compared, point.tolerance):
        kind = "_kinds"
    if kind in ("values", "shapes", "_kinds", "_precision"):
        if kind == "values" and not any(gradient.wrong.any() for gradient in compared):
            return Verdict([], "no line is named: all gradients are right")
        search = Search(point, compared, kind, runs)
        if found := _chosen(list(search.repairs()), search):
            return Verdict(
                [statement for statement, _, _ in found], _described(point, found, fixes)
            )
        if not search.events[0]:
            reason = next(iter(search.copies.opaque), reason)
    if kind != "values":
        shown = first_breach(point, "_kinds" if kind == "shapes" else kind)
        if shown is not None:
            return Verdict([shown], f"{_place(point, shown)} is where it shows first")
    return Verdict([], f"no line is named: {reason}")


def _chosen(found: list[Repair], search: Search) -> list[tuple[Statement, str, str]]:
    """The suspects, the likeliest first; what repairs each; and a right text, or nothing."""
    # Zeros that are filled later: not they are wrong, but what fills them.
    found = [m for m in found if not (m.constant and len(m.wrong) > 1 and not m.any())]
    found = sorted(found, key=lambda made: made.first)
    slopes = [made for made in found if made.is_slope]
    certain = ([made for made in slopes if made.is_certain] or slopes)[:1]
    before = [m for m in found if m not in certain and (not certain or m.first <= certain[0].first)]
    chain = [made for made in before if made.is_link]
    link = _broken(chain)
    others = [m for m in before if not (any(m.own) or (m.nodes and all(m.nodes)))]
    kept = [m for m in others if m.constant and m.joint]
    # No other value would do, as far as values are used at all.
    sure = [m for m in others if not m.constant and len(m.rows) == m.used]
    read = [m for m in found if _is_read(search.copies.sources.get(m.number))]
    # One value that fits many dy, though a single dy leaves it open, is no coincidence.
    telling = [m for m in kept if len(m.rows) < m.joint and m.ratio is None and m not in read]
    suspects = telling[:1] or [*kept, *sure, *link, *certain]
    if not suspects:
        suspects = [m for m in found if m.nodes and all(m.nodes) and not m.statement.returns][:1]
    edited = _edited(search, [*suspects, *chain, *others], certain)
    if edited:
        nearest = min(rank for rank, _ in edited.values())
        chosen = [number for number, (rank, _) in edited.items() if rank == nearest]
        chosen = [made.number for made in link if made.number in chosen] or chosen
    else:
        left = [m for m in suspects if not (link and m in certain)] if suspects[1:] else suspects
        left = [m for m in left if m not in read] or left
        chosen = [made.number for made in left]
    texts = {number: text for number, (_, text) in edited.items()}
    statements = search.copies.statements
    return [(statements[n], _evidence(suspects, n), texts.get(n, "")) for n in chosen]


def _broken(chain: list[Repair]) -> list[Repair]:
    """The link at which a factor or a term was lost.

    Each value of the chain is right for one node, where it should be right for the next.
    """
    named = [made for made in chain if made.is_named_link]
    copied = [m for m in chain if m.statement.passes and not m.statement.returns]
    computed = [made for made in chain if not made.statement.passes]
    return named[:1] or copied[-1:] or computed[-1:] or chain[-1:]


def _edited(
    search: Search, made: list[Repair], certain: list[Repair]
) -> dict[int, tuple[int, str]]:
    """The small changes of statements' texts that make all gradients right, by their numbers.

    They tell most, so that statements are tried which otherwise are no suspects.
    """
    numbers = dict.fromkeys(repair.number for repair in made)
    numbers |= dict.fromkeys(number for repair in certain for number in search.after(repair))
    edited = {number: edit for number in numbers if (edit := search.edit(number))}
    if all(rank > NEAR for rank, _ in edited.values()):
        # What is masked later may be wrong in places that only one of several gradients shows.
        for number in search.before(certain[0].first if certain else len(search.order)):
            if number not in numbers and (edit := search.edit(number)) and edit[0] <= NEAR:
                edited[number] = edit
    return edited


def _evidence(found: list[Repair], number: int) -> str:
    """The evidence: the measured value of a variable, or another one, makes all gradients right."""
    made = next((made for made in found if made.number == number), None)
    if made is None:
        return "another value"
    if not made.wrong:
        return f"{made.statement.target(made.keys[0]) or 'the value'} in float64"
    names = list(dict.fromkeys(made.statement.target(made.keys[j]) for j in made.wrong))
    what = "the measured" if made.nodes and all(made.nodes) else "another"
    return f"{what} {' and '.join(names) if all(names) else 'value'}"


def _is_read(source: ast.expr | None) -> bool:
    """Whether an expression only reads what was kept, such as x, W = cache or g = gates[t]."""
    parts = source.elts if isinstance(source, ast.Tuple) else [source]
    bare = [part.value if isinstance(part, ast.Subscript) else part for part in parts]
    return all(isinstance(part, (ast.Name, ast.Attribute)) for part in bare)


# --- messages ---------------------------------------------------------------------------------


def _place(point: Point, statement: Statement) -> str:
    file = Path(statement.file).name
    own = getattr(inspect.unwrap(point.op), "__code__", None)
    where = "" if own is not None and own.co_filename == statement.file else f"{file}, "
    return f"{where}line {statement.line}, `{statement.text}`"


def _described(point: Point, found: list[tuple[Statement, str, str]], fixes: bool) -> str:
    lines = []
    for statement, what, edit in found:
        change = f", as with `{edit}`" if edit and fixes else ""
        lines.append(f"{_place(point, statement)}: with {what} all gradients are right{change}")
    if len(lines) > 1:
        lines.insert(0, "one of these lines is wrong, and the gradients cannot tell which:")
    return "\n".join(lines)
