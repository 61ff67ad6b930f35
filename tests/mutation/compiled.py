"""Mutants of the compiled kernels: of every line that computes, in Cython and in C.

``+`` becomes ``-`` and the reverse, a product or quotient loses its right side, ``+=`` becomes
``-=`` and ``*=`` becomes ``/=`` and the reverse, and a minus sign is dropped.  Both languages are
read as text, where an operator of two sides stands between spaces: ``a * b``, but ``float *b``.

Text that cannot change a number is left out: declarations (also those of sizes), comments,
prefetches, and the sizes of memory that a function takes.
"""

import random
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from .mutant import Mutant

NOT_C = re.compile(
    r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\\$'
    # A directive of one line: an include, a condition, a constant.
    r"|^[ \t]*#[ \t]*(?:include|if|elif|else|endif|error|define \w+ (?!\\))[^\n\\]*$",
    re.DOTALL | re.MULTILINE,
)
NOT_CYTHON = re.compile(
    r'"""(?s:.*?)"""|"(?:\\.|[^"\\\n])*"|#[^\n]*'
    # A block of foreign declarations, of constants, or a struct: its line and what is indented.
    r"|^(?:cdef extern|cdef enum|cdef struct)\b[^\n]*\n(?:(?:[ \t][^\n]*)?\n)*"
    # A function that returns the memory that another one needs.
    r"|^cdef [^\n]*\b\w*(?:scratch|_size|state_stride)\((?s:.*?)\n(?=\n\n)",
    re.MULTILINE,
)
DECLARES = re.compile(r"(?:cdef|cpdef|ctypedef|def|class|include|import|from|@)\b|@")
NO_NUMBERS = re.compile(r"\b(?:prefetch|PREFETCH|fetch|Workspace|take)\(")  # the cache, and memory

BINARY = re.compile(r"(?<=[\w)\]] )([-+*/])(?=\s)")
AUGMENTED = re.compile(r"(?<= )([-+*/])=(?= )")
UNARY = re.compile(r"(?:(?<=[(\[])|(?<=[-=?:,*/+<>] )|(?<=return ))-(?=[\w(&])")
PREFIX = re.compile(r"\s*(?:[-*&]|<[\w *]+>\s?)*")  # signs, and casts in Cython
ATOM = re.compile(r"\d[\w.]*(?:(?<=e)-\d+\w*)?|[\w#]+")
CAST = re.compile(r"\((?:const )?[\w#]+ ?\**(?: const\*)?\)(?=[\w(*&])")

SWAPPED = {"+": "-", "-": "+", "*": "/", "/": "*"}


def mutants(path: Path, source: str) -> list[Mutant]:
    """All mutants of one file, in the order of its lines."""
    code = computing_text(path.suffix, source)
    found = []
    for match in BINARY.finditer(code):
        begin, end, sign = match.start(1), match.end(1), match[1]
        if sign in "+-":
            found.append((begin, end, SWAPPED[sign], f"{sign} becomes {SWAPPED[sign]}"))
        else:
            end = operand_end(code, end)
            found.append((begin - 1, end, "", f"'{source[begin:end]}' dropped"))
    for match in AUGMENTED.finditer(code):
        sign = SWAPPED[match[1]]
        found.append((match.start(1), match.end(1), sign, f"{match[1]}= becomes {sign}="))
    found += [(m.start(), m.end(), "", "minus dropped") for m in UNARY.finditer(code)]
    return [
        Mutant(path, source, begin, end, new, f"{line_at(source, begin)}: {what}")
        for begin, end, new, what in sorted(found)
    ]


def sample(found: list[Mutant], most: int) -> list[Mutant]:
    """At most `most` mutants: one of each stretch, the same ones each time."""
    if len(found) <= most:
        return found
    rng = random.Random(found[0].path.name)
    edges = [len(found) * i // most for i in range(most + 1)]
    return [found[rng.randrange(low, high)] for low, high in pairwise(edges)]


def line_at(source: str, place: int) -> str:
    """The line of a place, with a mark at the place."""
    begin, end = source.rfind("\n", 0, place) + 1, source.find("\n", place)
    line = f"{source[begin:place]} >>{source[place:end].lstrip()}"
    return " ".join(line.rstrip("\\ ").split())


def computing_text(suffix: str, source: str) -> str:
    """The source with blanks over all that does not compute."""
    code = (NOT_C if suffix == ".h" else NOT_CYTHON).sub(blank, source)
    hidden = list(calls(code))
    if suffix != ".h":
        hidden += [span for span in statements(code) if DECLARES.match(code[slice(*span)].lstrip())]
    for begin, end in hidden:
        code = code[:begin] + blank(code[begin:end]) + code[end:]
    return code


def blank(text: str | re.Match) -> str:
    return re.sub(r"\S", " ", text if isinstance(text, str) else text[0])


def calls(code: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges of calls that fetch into the cache or take memory."""
    for match in NO_NUMBERS.finditer(code):
        yield match.start(), bracket_end(code, match.end() - 1)


def statements(code: str) -> Iterator[tuple[int, int]]:
    """Yield the ranges of Cython's statements: a line, and more lines until brackets close."""
    begin = 0
    while begin < len(code):
        end = begin
        while end < len(code) and code[end] != "\n":
            end = bracket_end(code, end) if code[end] in "([{" else end + 1
        yield begin, end
        begin = end + 1


def bracket_end(code: str, begin: int) -> int:
    """The place behind the bracket that closes the one at `begin`."""
    depth = 0
    for place in range(begin, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if depth == 0:
            return place + 1
    return len(code)


def operand_end(code: str, begin: int) -> int:
    """The place behind the operand that follows an operator."""
    place = PREFIX.match(code, begin).end()
    while cast := CAST.match(code, place):
        place = PREFIX.match(code, cast.end()).end()
    if code[place] == "(":
        place = bracket_end(code, place)
    elif atom := ATOM.match(code, place):
        place = atom.end()
    while place < len(code):
        if code[place] in "([":
            place = bracket_end(code, place)
        elif member := re.compile(r"(?:\.|->)[\w#]+").match(code, place):
            place = member.end()
        else:
            break
    return place
