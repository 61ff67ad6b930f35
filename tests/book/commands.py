"""The commands ``minillm ...`` that stand in the book and in the README."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

FENCE = re.compile(r"^ *(`{3,}|:{3,}) *(.*)$")
BEFORE = re.compile(r"^(\$|!|\w+=\S*|mpiexec|srun|-n|-f|--?[\w-]+(=\S+)?|\d+|hosts)$")
INDENT = "    "
PROGRAM = "minillm"


def commands_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the arguments of each command of a page, or of a kept output."""
    if path.suffix == ".txt":
        lines = [(1, path.read_text().split("\n", 1)[0])]
    else:
        lines = list(joined(blocks(path.read_text())))
    for number, line in lines:
        for arguments in arguments_of(line):
            yield number, arguments


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of the blocks of code, whether fenced or indented."""
    fence, indented, blank = "", False, True
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2]:
                fence = ""
            else:
                yield number, line
        elif match:
            fence = match[1]
        else:
            indented = line.startswith(INDENT) and (blank or indented)
            if indented:
                yield number, line
            blank = not line.strip()


def joined(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join a line that ends with a backslash with the next one."""
    begin, text = 0, ""
    for number, line in lines:
        begin = begin or number
        if line.endswith("\\"):
            text += line[:-1] + " "
            continue
        yield begin, text + line
        begin, text = 0, ""


def arguments_of(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of the program in a line of a shell.

    Words before the program, such as ``mpiexec -n 2``, and redirections are no part of them.
    """
    if not re.search(rf"\b{PROGRAM} ", line):
        return
    lexer = shlex.shlex(line.replace("!", "! ", 1), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a quotation that does not end: this is no line of a shell
        return
    calls: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|&;"):
            calls.append([])
        else:
            calls[-1].append(word)
    for call in calls:
        if PROGRAM not in call:
            continue
        place = call.index(PROGRAM)
        if all(BEFORE.match(word) for word in call[:place]):
            yield list(until_redirection(call[place + 1 :]))


def until_redirection(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if not skip and set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            yield word
