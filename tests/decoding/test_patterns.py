"""Regular expressions as grammars, against Python's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding.grammar import choice, one_of, read, sequence
from minillm.decoding.patterns import pattern_of
from minillm.errors import InputError

MORE = one_of(range(0x80, 0xC0))
OTHERS = choice(
    sequence(one_of(range(0xC2, 0xE0)), MORE), sequence(one_of(range(0xE1, 0xED)), MORE, MORE)
)
ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "[a-c_]", r"\d", r"\W", r"\.", "é", r"[^\s]"]
)


def nested(inner):
    quantifiers = st.sampled_from(["", "?", "*", "+", "{2}", "{1,}", "{0,2}"])
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|(?:{both[1]}))"),
        st.tuples(ATOMS, quantifiers).map("".join),
        st.tuples(ATOMS, ATOMS, quantifiers).map(lambda all_: f"({all_[0]}{all_[1]}){all_[2]}"),
    )


EXPRESSIONS = st.recursive(ATOMS, nested, max_leaves=5)
TEXTS = st.lists(st.text("abc_.1 -é\n", max_size=6), min_size=1, max_size=8)


def grammar(pattern):
    return pattern_of(pattern, "pattern", str.encode, OTHERS)


@given(EXPRESSIONS, st.sampled_from(["", "^"]), st.sampled_from(["", "$"]), TEXTS)
def test_it_has_the_texts_of_the_regular_expression(inner, begin, end, texts):
    pattern = begin + inner + end
    found = grammar(pattern)
    python = re.compile(begin + inner + (r"\Z" if end else ""), re.ASCII)
    for text in texts:
        mine, expected = read(found, text.encode()).has_empty, bool(python.search(text))
        ascii_only = text.isascii() or not re.search(r"\\W|\\s", pattern)
        assert mine == expected if ascii_only else mine <= expected, (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        ("^a{b$", ["a{b"], ["ab"]),  # no quantifier
        (r"^\$\^\\$", ["$^\\"], ["$^"]),
        (r"^[\]\-^]$", ["]", "-", "^"], ["\\", "a"]),
        ("^[a-]$", ["a", "-"], ["b"]),
        ("^é$", ["é"], ["e"]),
        ("^[aé]{2}$", ["éa", "éé"], ["é"]),
        ("^$", [""], ["a"]),
        ("", ["", "abc"], []),
        ("a|b", ["xb", "ax"], ["x"]),
        ("^(a|b)$", ["a", "b"], ["ab"]),
        (r"^\n\t$", ["\n\t"], ["nt"]),
        ("^.$", ["é", "a"], ["\n", "ab"]),
    ],
)
def test_signs(pattern, texts, others):
    for text in texts:
        assert read(grammar(pattern), text.encode()).has_empty, text
    for text in others:
        assert not read(grammar(pattern), text.encode()).has_empty, text


@pytest.mark.parametrize(
    ("pattern", "at", "message"),
    [
        ("(a", 3, "expected ), found the end"),
        ("a)", 2, "expected the end, found ')'"),
        ("[a", 3, "expected ], found the end"),
        ("*a", 1, "expected a character, found '*a'"),
        ("a$b", 2, "expected a character, found '$b'"),
        ("(a$)", 3, "expected a character, found '$)'"),
        ("^a|b$", 1, "expected a group around alternatives between ^ and $, found '^a|b$'"),
        ("a*?", 3, "expected one quantifier, found '?'"),
        ("(a*)*", 5, "expected no quantifier of a part that may be empty, found '*'"),
        ("a{2,1}", 2, "expected a quantifier whose second number is not below the first, found"),
        ("(?=a)", 2, "expected a group without options, found '?=a)'"),
        (r"(a)\1", 5, "expected a class d, w or s, n, t, r, f, v or a sign, found '1'"),
        (r"\bx", 2, "expected a class d, w or s, n, t, r, f, v or a sign, found 'bx'"),
        ("a\\", 3, "expected a class d, w or s, n, t, r, f, v or a sign, found the end"),
        ("[b-a]", 5, "expected a range whose second character is not before the first, found ']'"),
        ("[a-é]", 5, "expected a range of characters of ASCII, found ']'"),
        ("[éà]", 4, "expected at most one character that is not in ASCII, found ']'"),
        ("[^é]", 4, "expected at most one character that is not in ASCII, found ']'"),
        ("(" * 51, 52, "expected at most 50 groups in each other, found the end"),
    ],
)
def test_what_is_refused_is_named(pattern, at, message):
    with pytest.raises(InputError) as error:
        grammar(pattern)
    assert str(error.value).startswith(f"pattern: character {at}: {message}")
