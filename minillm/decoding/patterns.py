r"""Regular expressions as grammars.

A regular expression is a short way to write a grammar of :mod:`minillm.decoding.grammar`:

    ab   sequence        a|b   choice        a* a+ a? a{2,3}   repeat        [a-z0-9]   one of

There are no others here than these, ``.``, groups, and the classes ``\d``, ``\w`` and ``\s`` with
their complements, within ASCII.  A text satisfies an expression if a part of it does: ``^`` and
``$`` at its ends stand for the ends of the text.  Anything else, such as a back reference, is
refused.

Source: Thompson (1968), "Regular expression search algorithm", for the notation; ECMA-262, whose
subset JSON Schema recommends.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from minillm.decoding.grammar import (
    EMPTY,
    NOTHING,
    Expression,
    choice,
    literal,
    literals,
    one_of,
    repeat,
    sequence,
)
from minillm.errors import InputError, short

DEEPEST = 50  # groups in each other

ASCII = frozenset(map(chr, range(128)))
_CLASSES = {
    "d": frozenset("0123456789"),
    "w": frozenset(c for c in ASCII if c.isalnum() or c == "_"),
    "s": frozenset(" \t\n\r\f\v"),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_QUANTIFIER = re.compile(r"([*+?])|\{(\d{1,9})(,(\d{1,9})?)?\}", re.ASCII)


class Characters(NamedTuple):
    """A set of characters: some of ASCII, one other, or all others."""

    ascii: frozenset[str]
    other: str = ""
    all_others: bool = False


def pattern_of(
    pattern: str, path: str, written: Callable[[str], bytes], others: Expression
) -> Expression:
    """The grammar of a regular expression.

    written: the bytes of a character in a text.  others: the grammar of one character that is not
    in ASCII.  InputError, with the path, for what is not supported.
    """
    return _Parser(pattern, path, written, others).whole()


class _Parser:
    """A regular expression, and the place up to which it has been read."""

    def __init__(
        self, pattern: str, path: str, written: Callable[[str], bytes], others: Expression
    ):
        self.path, self.written, self.others = path, written, others
        self.text, self.at, self.depth = pattern, 0, 0

    def whole(self) -> Expression:
        """Any text, the expression, any text; without the first or last if it has an anchor."""
        anything = repeat(self._one(Characters(ASCII, all_others=True)))
        begin = self._take("^")
        branches = self._branches()
        end = self._take("$")
        if self.at < len(self.text):
            raise self._wrong("the end")
        if len(branches) > 1 and (begin or end):
            self.at = 0
            raise self._wrong("a group around alternatives between ^ and $")
        before, after = (EMPTY if anchor else anything for anchor in (begin, end))
        return sequence(before, choice(*branches), after)

    def _branches(self) -> list[Expression]:
        """a|b|c, up to a closing bracket, a final $ or the end."""
        branches = [self._parts()]
        while self._take("|"):
            branches.append(self._parts())
        return branches

    def _parts(self) -> Expression:
        """ab*c"""
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if self.text[self.at :] == "$" and self.depth == 0:
                break
            parts.append(self._repeated(self._atom()))
        return sequence(*parts)

    def _repeated(self, part: Expression) -> Expression:
        """A part and its quantifier."""
        found = _QUANTIFIER.match(self.text, self.at)
        if found is None:
            return part
        sign, low, comma, high = found.groups()
        least = int(low) if low else sign == "+"
        most = {"*": None, "+": None, "?": 1}.get(sign, int(high) if high else None)
        if low and not comma:
            most = least
        if most is not None and most < least:
            raise self._wrong("a quantifier whose second number is not below the first")
        if part.has_empty and most != 1:
            raise self._wrong("no quantifier of a part that may be empty")
        self.at = found.end()
        if _QUANTIFIER.match(self.text, self.at):
            raise self._wrong("one quantifier")
        return choice(EMPTY, part) if (least, most) == (0, 1) else repeat(part, int(least), most)

    def _atom(self) -> Expression:
        """A group, a class or a character."""
        if self._take("("):
            if self.text[self.at : self.at + 1] == "?" and not self._take("?:"):
                raise self._wrong("a group without options")
            self.depth += 1
            if self.depth > DEEPEST:
                raise self._wrong(f"at most {DEEPEST} groups in each other")
            inner = choice(*self._branches())
            self.depth -= 1
            if not self._take(")"):
                raise self._wrong(")")
            return inner
        if self._take("["):
            return self._one(self._class())
        if self._take("."):
            return self._one(Characters(ASCII - {"\n", "\r"}, all_others=True))
        if self.text[self.at] in "^$*+?":
            raise self._wrong("a character")
        return self._one(self._character())

    def _class(self) -> Characters:
        """[a-z_] or [^a-z], after its bracket."""
        complement = self._take("^")
        found, classes = Characters(frozenset()), False
        while not self._take("]"):
            classes = classes or self.text[self.at : self.at + 2].lower() in ("\\d", "\\w", "\\s")
            first = self._character(in_class=True)
            if self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 :][:1] != "]":
                self.at += 1
                last = self._character(in_class=True)
                first = self._range(first, last)
            if first.other and (found.other or complement):
                raise self._wrong("at most one character that is not in ASCII")
            found = Characters(found.ascii | first.ascii, found.other or first.other)
        # Programs differ in the classes of characters that are not in ASCII.
        return Characters(ASCII - found.ascii, all_others=not classes) if complement else found

    def _range(self, first: Characters, last: Characters) -> Characters:
        """The characters from one to another."""
        if len(first.ascii) != 1 or len(last.ascii) != 1:
            raise self._wrong("a range of characters of ASCII")
        low, high = ord(*first.ascii), ord(*last.ascii)
        if high < low:
            raise self._wrong("a range whose second character is not before the first")
        return Characters(frozenset(map(chr, range(low, high + 1))))

    def _character(self, in_class: bool = False) -> Characters:
        """A character, or a class such as \\d."""
        if self.at == len(self.text):
            raise self._wrong("]" if in_class else "a character")
        one = self.text[self.at]
        self.at += 1
        if one == "\\":
            kind = self.text[self.at : self.at + 1]
            if kind.lower() in _CLASSES:
                self.at += 1
                known = _CLASSES[kind.lower()]
                return Characters(known if kind.islower() else ASCII - known)
            if kind in _ESCAPES:
                one = _ESCAPES[kind]
            elif kind and not kind.isalnum():
                one = kind
            else:
                raise self._wrong("a class d, w or s, n, t, r, f, v or a sign")
            self.at += 1
        return Characters(frozenset(one)) if one in ASCII else Characters(frozenset(), one)

    def _one(self, characters: Characters) -> Expression:
        """A text of one of some characters."""
        texts = list(map(self.written, sorted(characters.ascii)))
        single = one_of(text[0] for text in texts if len(text) == 1)
        longer = literals(text for text in texts if len(text) > 1)
        other = literal(self.written(characters.other)) if characters.other else NOTHING
        return choice(single, longer, other, *([self.others] if characters.all_others else []))

    def _take(self, sign: str) -> bool:
        """Whether a sign comes next; it is read then."""
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) * found
        return found

    def _wrong(self, expected: str) -> InputError:
        found = short(self.text[self.at :]) if self.at < len(self.text) else "the end"
        return InputError(
            f"{self.path}: character {self.at + 1}: expected {expected}, found {found}"
        )
