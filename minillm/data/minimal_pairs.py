"""Minimal pairs: a good and a bad sentence that differ in one word, for measuring a language model.

The built-in set is made from frames, each with two alternations whose words belong together:

    The {function|functions} {returns|return} a value.

A frame yields two pairs, one for each good combination; in the bad sentence, one of the two words
is exchanged.  So each word is right once and wrong once, and a model that knows only how frequent
words are has one half of the pairs right.

Source: Warstadt et al. (2020), "BLiMP: the benchmark of linguistic minimal pairs for English".
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from minillm.data.lines import is_json_lines, read_lines, read_objects
from minillm.errors import InputError

NAME = "minimal-pairs"  # of the built-in set

# The group, the alternation that is exchanged, and the frames.
FRAMES = {
    "agreement": (
        1,
        """\
The {function|functions} {returns|return} a value.
The {method|methods} {takes|take} two arguments.
The {statement|statements} {is|are} executed.
The {object|objects} {was|were} created.
The {module|modules} {has|have} a name.
The {class|classes} {does|do} not define it.""",
    ),
    "agreement at a distance": (
        1,
        """\
The {name|names} of the module {is|are} bound.
The {value|values} of the expressions {is|are} used.
The {type|types} of the object {does|do} not change.
The {method|methods} of the class {was|were} called.
The {argument|arguments} of the functions {has|have} a default.
The {item|items} in the list {is|are} replaced.""",
    ),
    "article": (
        0,
        """\
This is {a|an} {function|object}.
This is {a|an} {value|argument}.
This is {a|an} {list|iterator}.
This is {a|an} {string|integer}.
This is {a|an} {name|attribute}.
This is {a|an} {statement|expression}.""",
    ),
    "this and these": (
        0,
        """\
It is used for {this|these} {value|values}.
It is used for {that|those} {name|names}.
It is called with {this|these} {argument|arguments}.
It is called by {that|those} {method|methods}.
It depends on {this|these} {object|objects}.
It depends on {that|those} {type|types}.""",
    ),
}


class MinimalPair(NamedTuple):
    """A good and a bad sentence, the group they belong to, and their place for error messages."""

    good: str
    bad: str
    group: str
    place: str


class _Line(msgspec.Struct):
    """A line of JSON lines; the long names are BLiMP's."""

    good: str = ""
    bad: str = ""
    group: str = ""
    sentence_good: str = ""
    sentence_bad: str = ""
    UID: str = ""


def read(name: str | Path) -> list[MinimalPair]:
    """The built-in set, by its name, or the pairs of a UTF-8 file.

    A file named ``.jsonl`` has lines ``{"good": "...", "bad": "...", "group": "..."}``, or BLiMP's;
    any other file has lines ``good<TAB>bad`` or ``good<TAB>bad<TAB>group``.  InputError names the
    line of a pair without two different sentences, or a file without any.
    """
    pairs = list(_built_in() if name == NAME else _read(name))
    for good, bad, _, place in pairs:
        if not good or not bad or good == bad:
            found = "two equal ones" if good == bad != "" else f"no {'bad' if good else 'good'} one"
            raise InputError(f"{place}: expected a good and a bad sentence, found {found}")
    if not pairs:
        raise InputError(f"{name}: expected pairs of sentences, found none")
    return pairs


def _read(path: str | Path) -> Iterator[MinimalPair]:
    if is_json_lines(path):
        for line, place in read_objects(path, _Line):
            good, bad = line.good or line.sentence_good, line.bad or line.sentence_bad
            yield MinimalPair(good.strip(), bad.strip(), (line.group or line.UID).strip(), place)
        return
    for line, place in read_lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) not in (2, 3):
            found = "no tab" if len(columns) == 1 else f"{len(columns) - 1} tabs"
            raise InputError(
                f"{place}: expected good<TAB>bad or good<TAB>bad<TAB>group, found {found}"
            )
        good, bad, group = [*columns, ""][:3]
        yield MinimalPair(good, bad, group, place)


def _built_in() -> Iterator[MinimalPair]:
    for group, (exchanged, frames) in FRAMES.items():
        for frame in frames.splitlines():
            start, *pieces = re.split(r"\{(.*?)\|(.*?)\}", frame)
            one, between, other, end = pieces[:2], pieces[2], pieces[3:5], pieces[5]
            for k in (0, 1):
                words, wrong = (one[k], other[k]), [one[k], other[k]]
                wrong[exchanged] = (one, other)[exchanged][1 - k]
                good, bad = (f"{start}{a}{between}{b}{end}" for a, b in (words, wrong))
                yield MinimalPair(good, bad, group, NAME)
