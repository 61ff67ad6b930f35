"""The grammar of a JSON schema: its texts satisfy the schema, whatever the logits are."""

import contextlib
import importlib.util
import json
import re

import chatting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding.grammar import read
from minillm.decoding.json_schema import (
    ANY,
    ANY_OBJECT,
    DEEPEST,
    FORMATS,
    LARGEST,
    OF_TYPE,
    grammar_of,
)
from minillm.decoding.token_masks import Constrained, TokenMasks, trie_of
from minillm.errors import InputError

MASKS = TokenMasks(trie_of(chatting.TOKENIZER))
END = chatting.TOKENIZER.eos
CLOSING = [token for token, text in enumerate(MASKS.trie.tokens) if text in (b'"', b"}", b"]")]

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
            "required": ["n"],
        }
    },
}


def has(schema, text):
    return read(grammar_of(schema), text.encode()).has_empty


def satisfies(value, schema, document):
    """Whether a value satisfies a schema: the definition of each keyword."""
    if schema is True:
        return True
    if "$ref" in schema:
        found = document
        for part in schema["$ref"].split("/")[1:]:
            found = found[part]
        return satisfies(value, found, document)
    if "anyOf" in schema or "oneOf" in schema:
        parts = schema.get("anyOf") or schema["oneOf"]
        count = sum(satisfies(value, part, document) for part in parts)
        return count == 1 if "oneOf" in schema else count > 0
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    types = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "number": is_number,
        "integer": is_number and float(value).is_integer(),
        "boolean": isinstance(value, bool),
        "null": value is None,
    }
    kinds = schema.get("type", list(types))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(types[kind] for kind in kinds):
        return False
    if "enum" in schema and all(json.dumps(value) != json.dumps(one) for one in schema["enum"]):
        return False
    if "const" in schema and json.dumps(value) != json.dumps(schema["const"]):
        return False
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if not set(schema.get("required", [])) <= value.keys():
            return False
        for name, inner in value.items():
            of_name = properties.get(name, others)
            if of_name is False or not satisfies(inner, of_name, document):
                return False
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9):
            return False
        return all(satisfies(item, schema.get("items", True), document) for item in value)
    if isinstance(value, str):
        pattern = schema.get("pattern") or f"^{FORMATS.get(schema.get('format'), '.*')}$"
        if not re.search(pattern, value, re.DOTALL):
            return False
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
    return True


def bounds(low, high):
    return st.tuples(st.integers(0, 2), st.integers(2, 4)).flatmap(
        lambda both: st.sampled_from(
            [{}, {low: both[0]}, {high: both[1]}, {low: both[0], high: both[1]}]
        )
    )


LEAVES = st.one_of(
    st.sampled_from([*FORMATS, "^[a-c]+$", "^x"]).map(
        lambda name: {"type": "string", "format" if name in FORMATS else "pattern": name}
    ),
    bounds("minLength", "maxLength").map(lambda limits: {"type": "string", **limits}),
    st.sampled_from(["integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.lists(st.text(max_size=3) | st.integers(-9, 9) | st.none(), min_size=1, max_size=3).map(
        lambda values: {"enum": values}
    ),
    st.text(max_size=3).map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just({"$ref": "#/$defs/tree"}),
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=3)


def nested(inner):
    properties = st.dictionaries(NAMES, inner, max_size=4)
    return st.one_of(
        properties.flatmap(
            lambda of: st.lists(
                st.sampled_from(sorted(of)) if of else st.nothing(), unique=True
            ).map(lambda required: {"type": "object", "properties": of, "required": required})
        ),
        inner.map(lambda schema: {"type": "object", "additionalProperties": schema}),
        st.tuples(inner, bounds("minItems", "maxItems")).map(
            lambda both: {"type": "array", "items": both[0], **both[1]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
    )


DEFS = {"tree": {**TREE["$defs"]["node"]}}
DEFS["tree"]["properties"] = {"left": {"$ref": "#/$defs/tree"}, "n": {"type": "integer"}}
SCHEMAS = st.recursive(LEAVES, nested, max_leaves=8).map(lambda schema: {**schema, "$defs": DEFS})


def written(grammar, seed, most=600):
    """A text by random logits in which what closes is probable."""
    rng, one, ids = np.random.default_rng(seed), Constrained(MASKS, grammar, [END]), []
    while END not in ids:
        assert len(ids) < most
        logits = rng.normal(size=len(MASKS.trie.tokens))
        logits[CLOSING] += 3
        ids.append(int(one.adjust(logits, ids).argmax()))
    return b"".join(MASKS.trie.tokens[token] for token in ids).decode()


@given(SCHEMAS, st.integers(0, 2**32 - 1))
def test_every_text_satisfies_its_schema(schema, seed):
    text = written(grammar_of(schema), seed)
    value = json.loads(text)
    assert satisfies(value, schema, schema)
    if importlib.util.find_spec("jsonschema"):
        import jsonschema

        jsonschema.Draft202012Validator(schema).validate(value)
    if "number" not in json.dumps(schema):  # which Python may write with more digits
        for separators in ((",", ":"), (", ", ": ")):
            again = json.dumps(value, separators=separators, ensure_ascii=False)
            assert has(schema, again)


@given(st.integers(0, 2**32 - 1))
def test_any_object_is_json(seed):
    assert isinstance(json.loads(written(ANY_OBJECT, seed)), dict)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)
def test_json_that_programs_write_is_in_the_grammar(value, indent, escapes):
    text = json.dumps(value, indent=indent, ensure_ascii=escapes)
    if "\\ud" not in text:  # halves of characters
        assert read(ANY, text.encode()).has_empty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name":"Ada"}', True),
        ('{"name": "Ada", "age": 36}', True),
        ('{\n  "name": "é\\n\\u00e9",\n  "tags": ["a", "b"]\n}', True),
        ('{"age":36,"name":"Ada"}', False),  # another order
        ('{"age":36}', False),
        ('{"name":"Ada","tags":[]}', False),
        ('{"name":"Ada","tags":["a","b","a"]}', False),
        ('{"name":"Ada","tags":["c"]}', False),
        ('{"name":"Ada","more":1}', False),
        ('{"name":"Ada",}', False),
        ('{"name":"a\nb"}', False),
        ('{"name":"\\ud800"}', False),
        ('{"name":  "Ada"}', False),  # two spaces
        ('{"name":"Ada","age":036}', False),
        ('{"name":"Ada","age":3.5}', False),
        ('{"name":"Ada"} ', False),
    ],
)
def test_texts_of_a_schema(text, expected):
    assert has(PERSON, text) == expected


def test_recursion():
    assert has(TREE, '{"n":1}')
    assert has(TREE, '{"left":{"left":{"n":3},"n":2},"n":1}')
    assert not has(TREE, '{"left":{"left":{"n":3}},"n":1}')
    assert has(
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}, "[[],[null]]"
    )


@pytest.mark.parametrize(
    ("schema", "texts", "others"),
    [
        (
            {"type": "number"},
            ["0", "-1.50", "2e-3", "1E+10"],
            ["01", ".5", "1.", "+1", "1e999", "-"],
        ),
        ({"type": "integer"}, ["0", "-12"], ["-0.5", "1e3", "1" * 17]),
        (
            {"type": "string", "minLength": 1, "maxLength": 2},
            ['"é"', '"\\u00e9\\n"'],
            ['""', '"abc"'],
        ),
        (
            {"type": "string", "pattern": '^[a"é]\\\\n$'},
            ['"\\"\\\\n"', '"é\\\\n"'],
            ['"a\\n"', '"b"'],
        ),
        ({"pattern": "b"}, ['"abc"', '"b"'], ['"ac"', "1"]),
        ({"format": "date"}, ['"2026-11-28"'], ['"2026-13-01"', '"2026-1-1"']),
        ({"format": "date-time"}, ['"2026-11-28T23:59:59.5Z"'], ['"2026-11-28T24:00:00Z"']),
        ({"format": "email"}, ['"a.b@c.org"'], ['"a@b"', '"a b@c.org"']),
        ({"enum": [1, "1", None, [1, 2]]}, ["1", '"1"', "null", "[1,2]", "[1, 2]"], ["2", "[1]"]),
        ({"const": {"a": "ä"}}, ['{"a":"ä"}', '{"a": "\\u00e4"}'], ["{}"]),
        ({"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
        ({"type": ["boolean", "null"]}, ["true", "null"], ["0", '"true"']),
        ({"type": "object"}, ["{}", '{"a":[1,{"b":null}]}'], ["[]"]),
        ({"type": "object", "additionalProperties": False}, ["{}", "{ }"], ['{"a":1}']),
        ({"type": "object", "additionalProperties": {"type": "null"}}, ['{"a":null}'], ['{"a":1}']),
        ({"type": "object", "required": ["a"]}, ['{"a":[]}'], ["{}", '{"b":1}']),
        ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
        ({"properties": {"a": True}}, ["{}", '{"a":1}'], ["1", '{"b":1}']),
        ({"allOf": [{"type": "null"}], "title": "x"}, ["null"], ["1"]),
        (True, ["1", "{}"], ["x"]),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null"]),
        (
            {
                "oneOf": [
                    {"type": "object", "properties": {"k": {"const": c}}, "required": ["k"]}
                    for c in "ab"
                ]
            },
            ['{"k":"a"}', '{"k":"b"}'],
            ["{}"],
        ),
        (
            {"$ref": "#/definitions/a~1b%20c", "definitions": {"a/b c": {"type": "null"}}},
            ["null"],
            ["1"],
        ),
    ],
)
def test_keywords(schema, texts, others):
    for text in texts:
        json.loads(text)
        assert has(schema, text), text
    for text in others:
        assert not has(schema, text), text


WORDS = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "title", "a"]
SOUP = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "a", "#", "object"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*OF_TYPE["object"], *OF_TYPE["array"], *OF_TYPE["string"], *WORDS]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(SOUP)
def test_anything_is_a_grammar_or_is_refused_in_a_line(schema):
    with contextlib.suppress(InputError):
        grammar = grammar_of(schema)
        assert MASKS.allowed(grammar).any()


def nests(depth):
    return {"type": "array", "items": nests(depth - 1)} if depth else {"type": "null"}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (1, "schema: expected a schema, found 1"),
        (False, "schema: expected a schema, found False"),
        ({"const": "\ud800"}, "schema: expected a schema in JSON, found {'const': '.*'}"),
        ({"const": float("nan")}, "schema: expected a schema in JSON, found {'const': nan}"),
        (object, "schema: expected a schema in JSON, found <class 'object'>"),
        (
            {"properties": {"a": {"items": {"multipleOf": 2}}}},
            "schema.properties.a.items.multipleOf: this keyword is not supported",
        ),
        ({"colour": 1}, "schema.colour: this keyword is not supported"),
        (
            {"type": "object", "anyOf": [{}]},
            "schema.anyOf: expected no other keyword, found type",
        ),
        ({"anyOf": []}, r"schema.anyOf: expected a list of schemas, found \[\]"),
        (
            {"anyOf": [{"anyOf": [{"minLength": n} for n in range(k, k + 150)]} for k in (0, 60)]},
            "schema.anyOf: expected at most 200 alternatives, found 210",
        ),
        ({"anyOf": [{}, {"not": {}}]}, r"schema.anyOf\[1\].not: this keyword is not supported"),
        ({"allOf": [{}, {}]}, "schema.allOf: expected one schema, found 2"),
        (
            {"oneOf": [{"type": "integer"}, {"type": "number"}]},
            "schema.oneOf: expected schemas that exclude each other by type, const or a required "
            r"property \(otherwise use anyOf\), found 0 and 1",
        ),
        ({"$ref": "#/$defs/a"}, "schema.\\$ref: '#/\\$defs/a' is missing in the schema"),
        (
            {"$ref": "https://x"},
            'schema.\\$ref: expected a reference within the schema, such as "#/\\$defs/name", '
            "found 'https://x'",
        ),
        ({"$ref": "#"}, r"schema.\$ref: '#' refers to itself"),
        ({"anyOf": [{"$ref": "#"}]}, r"schema.anyOf\[0\].\$ref: '#' refers to itself"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"minimum": 0}}},
            r"schema.\$defs.a.minimum: this keyword is not supported",
        ),
        ({"type": "text"}, "schema.type: expected one of object, .*, null, found 'text'"),
        ({"type": []}, r"schema.type: expected a type, found \[\]"),
        ({"enum": []}, r"schema.enum: expected a list of values, found \[\]"),
        ({"type": "string", "const": 1}, "schema: expected a value of its type, found none"),
        ({"minItems": 2, "maxItems": 1}, "schema.maxItems: expected 2 or more, found 1"),
        ({"minLength": "1"}, "schema.minLength: expected a whole number from 0 up, found '1'"),
        ({"properties": []}, r"schema.properties: expected an object of schemas, found \[\]"),
        ({"pattern": 1}, "schema.pattern: expected a text, found 1"),
        ({"pattern": "("}, r"schema.pattern: character 2: expected \), found the end"),
        ({"format": "uri"}, "schema.format: expected one of date, .*, email, found 'uri'"),
        (
            {"pattern": "a", "maxLength": 3},
            "schema.pattern: expected no other keyword for the characters, found .*",
        ),
        ({"required": "a"}, "schema.required: expected a list of names, found 'a'"),
        (
            {"required": ["a"], "additionalProperties": False},
            "schema.properties: expected a property 'a', found none",
        ),
        ({"title": "x" * LARGEST}, "schema: expected at most 100,000 characters, found 100,013"),
        (
            nests(DEEPEST),
            "schema(.items){50}: expected at most 50 schemas in each other, found {'type': 'null'}",
        ),
        (
            {"properties": {str(n): True for n in range(211)}, "required": ["0", "1"]},
            "schema.properties: expected at most 200 optional ones, found 209",
        ),
    ],
)
def test_what_is_refused_is_named(schema, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        grammar_of(schema)
