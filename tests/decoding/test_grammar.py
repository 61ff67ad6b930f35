"""Answers by a schema: each text satisfies it, whatever the logits are, and no schema stalls."""

import contextlib
import json
import time

import chatting
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("llguidance")

from minillm.decoding.batch import write
from minillm.decoding.continuation import Continuation
from minillm.decoding.grammar import ANY_OBJECT, LARGEST, Grammar, json_rules, tokens_of
from minillm.errors import InputError
from minillm.text import byte_pairs

TOKENIZER = chatting.TOKENIZER
END = TOKENIZER.eos
TOKENS = tokens_of(TOKENIZER, [END])
BYTES = [TOKENIZER.token(number) for number in range(len(TOKENIZER))]
CLOSING = [number for number, text in enumerate(BYTES) if text in (b'"', b"}", b"]")]


def grammar_of(schema, name="schema", tokens=TOKENS):
    return Grammar(tokens, json_rules(schema, name), name)


def allowed(grammar, text):
    """What may come after a text whose bytes are its tokens."""
    one = grammar.start()
    mask = one.adjust(np.zeros(len(BYTES)), [BYTES.index(bytes([byte])) for byte in text])
    return {BYTES[number] for number in np.flatnonzero(np.isfinite(mask))}


def has(schema, text):
    try:
        return b"<|endoftext|>" in allowed(grammar_of(schema), text.encode())
    except InputError:
        return False


def written(grammar, seed, most=600):
    """A text by random logits in which what closes is probable."""
    rng, one, ids = np.random.default_rng(seed), grammar.start(), []
    while END not in ids:
        assert len(ids) < most
        logits = rng.normal(size=len(BYTES))
        logits[CLOSING] += 3
        adjusted = one.adjust(logits, ids)
        possible = np.isfinite(adjusted)
        np.testing.assert_array_equal(adjusted[possible], logits[possible])
        ids.append(int(adjusted.argmax()))
    return b"".join(BYTES[number] for number in ids[:-1]).decode()


TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#/$defs/tree"}, "n": {"type": "integer", "maximum": 12}},
    "required": ["n"],
}
LEAVES = [
    *({"type": "boolean"}, {"enum": ["é\n", -9, None]}, {"type": "string", "format": "date"}),
    *({"type": "string", "pattern": "^[a-c]+$"}, {"type": "string", "maxLength": 3}),
]
SCHEMAS = [
    ANY_OBJECT,
    {"$ref": "#/$defs/tree", "$defs": {"tree": TREE}},
    {"type": "array", "items": {"anyOf": LEAVES}, "maxItems": 5},
    {"anyOf": [{"properties": {"é": leaf, "b": True}, "required": ["b"]} for leaf in LEAVES]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_text_satisfies_its_schema(schema, seed):
    value = json.loads(written(grammar_of(schema), seed))
    jsonschema.Draft202012Validator(schema).validate(value)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (PERSON, '{"name": "é", "age": 36}', True),
        (PERSON, '{\n  "name": "a\\n"\n}', True),
        (PERSON, '{"name":  "Ada"}', False),  # two spaces
        (PERSON, '{"age":36}', False),
        (PERSON, '{"name":"Ada","more":1}', False),
        (PERSON, '{"name":"Ada"} ', False),
        (True, '[1, "a", null]', True),
        ({"properties": {"a": True}}, '{"a":1}', True),
        ({"properties": {"a": True}}, '{"b":1}', False),
        ({"properties": {"a": True}, "additionalProperties": True}, '{"b":1}', True),
        ({"properties": {"a": True}, "required": ["b"]}, '{"b":1}', True),
        ({"anyOf": [{"properties": {"a": True}}]}, '{"b":1}', False),
        ({"properties": {"a": True}, "allOf": [{"required": ["b"]}]}, '{"b":1}', True),
        ({"x-guidance": {"lenient": True, "whitespace_pattern": "x"}}, "[x]", False),
    ],
)
def test_texts_of_a_schema(schema, text, expected):
    assert has(schema, text) == expected


def test_special_tokens_and_rows_past_the_tokens_are_no_text():
    tokenizer = byte_pairs.train(["yes yes"], 258, ["<end>", "<hidden>"])
    ends = [tokenizer.id_of(b"<end>")]
    grammar = grammar_of({"type": "string"}, tokens=tokens_of(tokenizer, ends))
    one, inside = grammar.start(), [tokenizer.id_of(b'"')]
    mask = np.isfinite(one.adjust(np.zeros(len(tokenizer) + 5), inside))
    assert mask[tokenizer.id_of(b"y")]
    assert not mask[tokenizer.special_ids].any()
    assert not mask[len(tokenizer) :].any()


def test_a_text_ends_with_an_error_if_no_token_may_come_next():
    """The vocabulary lacks a byte of the grammar."""

    class Even:
        def zero_state(self, B):
            return None

        def read(self, ids, state):
            return np.zeros((len(ids), 256)), state

    class Lacking:
        """All bytes but y."""

        hidden = frozenset([0])

        def __len__(self):
            return 256

        def token(self, number):
            return b"<end>" if number == 0 else bytes([number]) if number != ord("y") else b""

    grammar = grammar_of({"const": "hey"}, tokens=tokens_of(Lacking(), [0]))
    text = Continuation([1], 20, stop=frozenset([0]), adjustments=[grammar.start().adjust])
    with pytest.raises(InputError, match=r"^schema: expected a token that may come n"):
        list(write(Even(), text))
    assert bytes(text.ids[1:]) == b'"he'


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (False, "schema: expected a schema, found False"),
        (object, "schema: expected a schema, found <class 'object'>"),
        ({"const": float("nan")}, "schema: expected a schema in JSON, found {'const': nan}"),
        ({"title": "x" * LARGEST}, "schema: expected at most 100,000 characters, found 100,"),
        ({"not": {}}, 'schema: Unimplemented keys: ["not"]'),
        ({"pattern": "("}, "schema: regex parse error:"),
        ({"$ref": "https://x"}, "schema: Resource 'https://x' is not present"),
        ({"anyOf": [{"$ref": "#"}]}, "schema: expected a token that may come next, found none"),
    ],
)
def test_what_is_refused_is_named(schema, message):
    with pytest.raises(InputError) as error:
        grammar_of(schema)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


NESTED = {"type": "null"}
for _ in range(900):
    NESTED = {"type": "array", "items": NESTED}
A = {"anyOf": [{"properties": {f"{i}p{j}": True for j in range(20)}} for i in range(100)]}
HOSTILE = [
    *({"type": "string", "pattern": pattern} for pattern in (
        "^" + "a?" * 800 + "$", "a*" * 2000, ".*" * 300, ".*a.{400}", "((a{1,100}){1,100}){1,100}",
        "(.*a){12}b.{20}", "(?:" * 300 + ")" * 300, "(a|a?)+$" * 50,
    )),
    {"allOf": [A, A]},
    {"anyOf": [{"type": "null"}, {"$ref": "#/anyOf/" + "9" * 5000}]},
    NESTED,
    {"properties": {str(n): True for n in range(2000)}},
    {"items": {"anyOf": [{"pattern": f".*{chr(97 + n % 26)}.{{{n}}}"} for n in range(200)]}},
    {"$ref": "#/$defs/a30", "$defs": {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{max(0, n - 1)}"}] * 2} for n in range(31)
    }},
]  # fmt: skip


@pytest.mark.parametrize("schema", HOSTILE)
def test_a_hostile_schema_is_refused_or_takes_little_time(schema):
    """Seconds would be a stall: all answers of a server wait for a mask."""
    times = [time.process_time()]
    with contextlib.suppress(InputError):
        one = grammar_of(schema).start()
        times.append(time.process_time())
        rng, ids = np.random.default_rng(0), []
        while END not in ids and len(ids) < 40:
            ids.append(int(one.adjust(rng.normal(size=len(BYTES)), ids).argmax()))
            times.append(time.process_time())
    assert max(np.diff([*times, time.process_time()])) < 3
