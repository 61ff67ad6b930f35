"""Grammars by derivatives, and the masks of tokens, against the plain definitions."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding import token_masks
from minillm.decoding.grammar import (
    EMPTY,
    NOTHING,
    Rule,
    allowed,
    choice,
    literal,
    literals,
    one_of,
    read,
    repeat,
    sequence,
)
from minillm.decoding.token_masks import Constrained, TokenMasks, Trie, trie_of
from minillm.errors import InputError
from minillm.text import byte_pairs

WORDS = st.lists(st.text("abc", max_size=4).map(str.encode), max_size=6)


def has(grammar, text):
    return read(grammar, text).has_empty


def brackets():
    """The texts of brackets that match, such as b"[[][]]"."""
    rule = Rule()
    rule.definition = sequence(literal(b"["), repeat(rule), literal(b"]"))
    return rule


@st.composite
def expressions(draw, depth=3):
    """A grammar, and the regular expression for the same texts."""
    if depth == 0 or draw(st.booleans()):
        byte = draw(st.sampled_from(["a", "b", "[ab]"]))
        return one_of(byte.strip("[]").encode()), byte
    kind = draw(st.sampled_from(["sequence", "choice", "repeat"]))
    one, pattern = draw(expressions(depth - 1))
    if kind == "repeat":
        least = draw(st.integers(0, 2))
        most = draw(st.none() | st.integers(least, 3))
        if one.has_empty:
            return one, pattern
        return repeat(one, least, most), f"(?:{pattern}){{{least},{'' if most is None else most}}}"
    other, beside = draw(expressions(depth - 1))
    if kind == "choice":
        return choice(one, other), f"(?:{pattern}|{beside})"
    return sequence(one, other), pattern + beside


# --- texts ---------------------------------------------------------------------------------------


def test_a_grammar_has_its_texts_only():
    date = sequence(
        repeat(one_of(b"0123456789"), 1, 2), literal(b"."), literals([b"May", b"March"])
    )
    assert [
        has(date, t) for t in (b"1.May", b"31.March", b"311.May", b".May", b"1.Ma", b"1.Mays")
    ] == [
        *(True, True),
        *(False,) * 4,
    ]
    assert read(date, b"1.Ma") is not NOTHING
    assert read(date, b"1.Mays") is NOTHING


@given(expressions(), st.lists(st.text("abc", max_size=6), min_size=1))
def test_it_has_the_texts_of_the_regular_expression(both, texts):
    expression, pattern = both
    for text in texts:
        assert has(expression, text.encode()) == bool(re.fullmatch(pattern, text))


@given(expressions(), st.text("abc", max_size=6))
def test_bytes_of_a_class_have_the_same_derivative(both, text):
    state = read(both[0], text.encode())
    for byte in b"abcx":
        same = np.flatnonzero(state.classes == state.classes[byte]).tolist()
        assert {state.derivative(other) for other in same} == {state.derivative(byte)}


def test_rules_nest_brackets():
    for text, expected in ((b"[]", True), (b"[[][[]]]", True), (b"[[]", False), (b"[]]", False)):
        assert has(brackets(), text) == expected
    deep = b"[" * 3000
    assert has(brackets(), deep + b"]" * 3000)
    assert read(brackets(), deep) is not NOTHING


def test_equal_expressions_are_one():
    a, b, c = (literal(text) for text in (b"a", b"b", b"c"))
    assert sequence(sequence(a, b), c) is sequence(a, sequence(b, c)) is literal(b"abc")
    assert choice(a, choice(b, c)) is choice(c, b, a, NOTHING, a)
    assert choice(a, a) is a is sequence(EMPTY, a, EMPTY)
    assert NOTHING is choice() is sequence(a, NOTHING) is repeat(NOTHING, 1) is one_of(b"")
    assert EMPTY is literal(b"") is repeat(a, 0, 0) is repeat(NOTHING)


@given(WORDS, WORDS)
def test_literals_are_these_texts(words, others):
    grammar = literals(words)
    for text in words + others:
        assert has(grammar, text) == (text in words)


def test_literals_may_be_long():
    long = b"x" * 20_000
    assert has(literals([long, long + b"y", long + b"z"]), long + b"z")


# --- tokens --------------------------------------------------------------------------------------


@given(expressions(), WORDS, WORDS)
def test_masks_equal_the_definition(both, tokens, texts):
    masks = TokenMasks(Trie(tokens))
    for text in [b"", *texts]:
        state = read(both[0], text)
        for _ in range(2):  # the second one is remembered
            assert masks.allowed(state).tolist() == allowed(state, tokens)


def test_masks_of_rules_equal_the_definition(monkeypatch):
    monkeypatch.setattr(token_masks, "MOST_STATES", 5)  # states are forgotten
    tokens = [b"[", b"]", b"[]", b"[[", b"]]", b"]][[", b"", b"[", b"[[[]]]x"]
    masks, state = TokenMasks(Trie(tokens)), brackets()
    for byte in b"[[][[]]]":
        assert masks.allowed(state).tolist() == allowed(state, tokens)
        state = state.derivative(byte)
    assert not masks.allowed(state).any()


def nested(depth):
    """Brackets in brackets, with a state of its own for each depth."""
    inner = literal(b"x")
    for at in range(depth):
        inner = choice(
            *(sequence(literal(b"["), inner, repeat(literal(b"]"), 1, at + k)) for k in (1, 2))
        )
    return inner


def test_masks_that_need_too_much_work_allow_fewer_tokens(monkeypatch):
    tokens = [b"[" * n for n in range(1, 20)] + [b"y"]
    full = TokenMasks(Trie(tokens)).allowed(nested(12))
    assert full.tolist() == [True] * 12 + [False] * 8
    monkeypatch.setattr(token_masks, "MOST_WORK", 20)
    masks = TokenMasks(Trie(tokens))
    some = masks.allowed(nested(12))
    assert 0 < some.sum() < 12
    assert not (some & ~full).any()
    state = nested(12)
    for _ in range(12):  # tokens of one byte lead on
        assert masks.allowed(state)[0]
        state = read(state, b"[")


def test_special_tokens_are_no_text():
    tokenizer = byte_pairs.train(["yes yes <end>"], 262, ["<end>"])
    trie, end = trie_of(tokenizer), tokenizer.id_of(b"<end>")
    assert trie.tokens[end] == b""
    assert trie.tokens[:end] == tokenizer.tokens[:end]
    assert not TokenMasks(trie).allowed(repeat(one_of(range(256))))[end]


@given(st.integers(0, 2**32 - 1))
def test_a_constrained_text_belongs_to_the_grammar(seed):
    """Whatever the logits are; and it ends only where it is complete."""
    rng, tokens = np.random.default_rng(seed), [b"y", b"e", b"s", b"ye", b"no", b"n", b"<end>"]
    grammar, end = literals([b"yes", b"no", b"yesno"]), 6
    one = Constrained(TokenMasks(Trie([*tokens[:end], b"", b"o"])), grammar, [end])
    ids = []
    while end not in ids:
        logits = rng.normal(size=8)
        adjusted = one.adjust(logits, ids)
        finite = np.isfinite(adjusted)
        assert np.array_equal(adjusted[finite], logits[finite])
        assert not finite[:end].any() or not finite[end] or ids
        ids.append(int(adjusted.argmax()))
    written = b"".join([*tokens[:end], b"", b"o"][token] for token in ids)
    assert has(grammar, written)


def test_rows_past_the_tokens_are_not_allowed():
    one = Constrained(TokenMasks(Trie([b"y", b"n", b""])), literal(b"y"), [2])
    assert one.adjust(np.array([1.0, 2, 3, 4, 5]), []).tolist() == [1, *[-np.inf] * 4]


def test_a_vocabulary_without_a_byte_of_the_grammar():
    one = Constrained(TokenMasks(Trie([b"y", b"n", b""])), literal(b"yes"), [2])
    assert np.isfinite(one.adjust(np.zeros(3), [])).tolist() == [True, False, False]
    with pytest.raises(
        InputError, match=r"^the grammar: expected a token that may come next, found none$"
    ):
        one.adjust(np.zeros(3), [0])
