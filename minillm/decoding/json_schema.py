r"""JSON Schema as a grammar: the texts in JSON that satisfy a schema.

A schema says what a JSON value must look like:

    {"type": "object",
     "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
     "required": ["name"]}

Its grammar has the texts ``{"name": "Ada"}``, ``{"name":"Ada","age":36}`` and so on.  The grammar
is narrower than the schema in five ways, so that a model comes to an end, and each of its texts
still satisfies the schema:

- Properties have the order of the schema, and an object has no others than the schema names.  If it
  names none, it has any, or those that ``additionalProperties`` describes.
- Between values is no white space, one space, or the end of a line and up to 16 spaces.
- Dates have no day after the 28th, which every month has.
- Numbers have at most 16 digits before and after the point, and an exponent of two digits.
- No ``\u`` escape is half of a character.

Keywords: type, enum, const, properties, required, additionalProperties, items, minItems, maxItems,
minLength, maxLength, pattern, format (of those in FORMATS), anyOf, oneOf, allOf of one schema, $ref
within the schema, $defs.  A schema with any other keyword that restricts values is refused.

Sources: RFC 8259 (2017), "The JavaScript Object Notation (JSON) data interchange format"; JSON
Schema, draft 2020-12.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from minillm.decoding.grammar import (
    NOTHING,
    Choice,
    Expression,
    Rule,
    choice,
    literal,
    literals,
    one_of,
    repeat,
    sequence,
)
from minillm.decoding.patterns import pattern_of
from minillm.errors import InputError, one_line, short

LARGEST = 100_000  # characters of a schema
DEEPEST = 50  # schemas in each other
MOST = 200  # alternatives, and optional properties
INDENT = 16  # spaces

# Keywords that restrict no value.
ANNOTATIONS = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    *("$schema", "$id", "$comment", "$defs", "definitions", "discriminator"),
}
# The keywords of each type.
OF_TYPE: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": (),
    "integer": (),
    "boolean": (),
    "null": (),
}
# Formats of strings, as regular expressions.
_DATE = "[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_CLOCK})"
_NAME = "[a-z0-9_-]{1,60}"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "email": rf"{_NAME}(\.{_NAME}){{0,3}}@[a-z0-9]{{1,60}}(\.[a-z]{{2,20}}){{1,3}}",
}
COMBINING = ("anyOf", "oneOf", "allOf", "$ref")


# --- JSON -----------------------------------------------------------------------------------------


def _between(first: int, last: int) -> Expression:
    return one_of(range(first, last + 1))


_SPACE = choice(
    literal(b""), literal(b" "), sequence(literal(b"\n"), repeat(literal(b" "), 0, INDENT))
)
_DIGIT = _between(0x30, 0x39)
_HEX = one_of(b"0123456789abcdefABCDEF")
_MORE = _between(0x80, 0xBF)  # the bytes of a character in UTF-8 after its first
_NOT_ASCII = choice(
    # The well-formed sequences of UTF-8: the Unicode Standard 15.0, table 3-7.
    sequence(_between(0xC2, 0xDF), _MORE),
    sequence(literal(b"\xe0"), _between(0xA0, 0xBF), _MORE),
    sequence(one_of({*range(0xE1, 0xF0)} - {0xED}), _MORE, _MORE),
    sequence(literal(b"\xed"), _between(0x80, 0x9F), _MORE),
    sequence(literal(b"\xf0"), _between(0x90, 0xBF), _MORE, _MORE),
    sequence(_between(0xF1, 0xF3), _MORE, _MORE, _MORE),
    sequence(literal(b"\xf4"), _between(0x80, 0x8F), _MORE, _MORE),
)
_CHARACTER = choice(
    one_of(set(range(0x20, 0x80)) - set(b'"\\')),
    _NOT_ASCII,
    # Escapes; \ud800 to \udfff are halves of characters.
    sequence(literal(b"\\"), one_of(b'"\\/bfnrt')),
    sequence(literal(b"\\u"), one_of(b"0123456789abcefABCEF"), _HEX, _HEX, _HEX),
    sequence(literal(b"\\u"), one_of(b"dD"), _between(0x30, 0x37), _HEX, _HEX),
)
_NATURAL = choice(literal(b"0"), sequence(_between(0x31, 0x39), repeat(_DIGIT, 0, 15)))
_SIGN = choice(literal(b""), literal(b"-"))
_INTEGER = sequence(_SIGN, _NATURAL)
_FRACTION = choice(literal(b""), sequence(literal(b"."), repeat(_DIGIT, 1, 16)))
_EXPONENT = choice(
    literal(b""),
    sequence(one_of(b"eE"), choice(literal(b""), one_of(b"+-")), repeat(_DIGIT, 1, 2)),
)
_NUMBER = sequence(_INTEGER, _FRACTION, _EXPONENT)


def _string(inside: Expression) -> Expression:
    return sequence(literal(b'"'), inside, literal(b'"'))


_ANY_STRING = _string(repeat(_CHARACTER))


def _list(opening: bytes, item: Expression, closing: bytes, least=0, most=None) -> Expression:
    """Items between brackets, with commas."""
    comma = sequence(literal(b","), _SPACE, item)
    fewer = None if most is None else most - 1
    some = sequence(item, repeat(comma, max(0, least - 1), fewer), _SPACE)
    inside = NOTHING if most == 0 else some
    if least == 0:
        inside = choice(literal(b""), inside)
    return sequence(literal(opening), _SPACE, inside, literal(closing))


def _pair(name: Expression, value: Expression) -> Expression:
    return sequence(name, literal(b":"), _SPACE, value)


def _json() -> tuple[Expression, Expression]:
    """Any value, and any object."""
    value = Rule()
    whole = _list(b"{", _pair(_ANY_STRING, value), b"}")
    value.definition = choice(
        whole,
        _list(b"[", value, b"]"),
        _ANY_STRING,
        _NUMBER,
        literals([b"true", b"false", b"null"]),
    )
    return value, whole


ANY, ANY_OBJECT = _json()


# --- schemas --------------------------------------------------------------------------------------


def grammar_of(schema: Any, name: str = "schema") -> Expression:
    """The grammar of the texts in JSON that satisfy a schema.

    InputError, with the path in the schema, for what it cannot express.
    """
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()  # no halves of characters
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{name}: expected a schema in JSON, found {short(schema)}") from None
    if len(text) > LARGEST:
        raise InputError(f"{name}: expected at most {LARGEST:,} characters, found {len(text):,}")
    return _Schemas(schema, name).grammar(schema, name)


class _Schemas:
    """The schemas of a document, and the rules that they refer to."""

    def __init__(self, document: Any, name: str):
        self.document, self.name = document, name
        self._made: dict[str, Expression] = {}  # by reference
        self._open: dict[str, Rule] = {}  # those that are being made
        self._entered: list[str] = []  # the references that are followed without a byte between
        self._depth = 0

    def grammar(self, schema: Any, path: str) -> Expression:
        """The grammar of a schema at a path in the document."""
        if schema is True or schema == {}:
            return ANY
        if not isinstance(schema, dict):
            raise _wrong(path, "a schema", schema)
        _check_keywords(schema, path)
        if self._depth == DEEPEST:
            raise _wrong(path, f"at most {DEEPEST} schemas in each other", schema)
        self._depth += 1
        try:
            combining = [word for word in COMBINING if word in schema]
            if combining:
                return self._combined(combining[0], schema, path)
            types = _types(schema, path)
            if "const" in schema or "enum" in schema:
                return self._one_of_values(schema, types, path)
            return choice(*(self._of_type(kind, schema, path) for kind in types))
        finally:
            self._depth -= 1

    def _combined(self, word: str, schema: Mapping[str, Any], path: str) -> Expression:
        """The grammar of alternatives, or of a reference."""
        path = f"{path}.{word}"
        if word == "$ref":
            return self._referred(schema[word], path)
        parts = schema[word]
        if not isinstance(parts, list) or not parts:
            raise _wrong(path, "a list of schemas", parts)
        if word == "allOf" and len(parts) > 1:
            raise InputError(f"{path}: expected one schema, found {len(parts)}")
        if word == "oneOf":
            self._check_exclusive(parts, path)
        whole = choice(*(self.grammar(part, f"{path}[{at}]") for at, part in enumerate(parts)))
        if isinstance(whole, Choice) and len(whole.parts) > MOST:
            raise _wrong(path, f"at most {MOST} alternatives", len(whole.parts))
        return whole

    def _referred(self, reference: Any, path: str) -> Expression:
        """The grammar of the schema that a reference points to, made once.

        It is a rule where the schema contains the reference to itself, after a bracket.
        """
        if reference in self._entered:
            raise InputError(f"{path}: {short(reference)} refers to itself")
        schema = self._target(reference, path)
        if reference in self._open:
            return self._open[reference]
        if reference not in self._made:
            rule = self._open[reference] = Rule()
            self._entered.append(reference)
            place = f"{self.name}.{_dotted(reference)}".rstrip(".")
            rule.definition = self._made[reference] = self.grammar(schema, place)
            self._entered.pop()
            del self._open[reference]
        return self._made[reference]

    def _target(self, reference: Any, path: str) -> Any:
        """The schema that a reference points to."""
        if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
            raise _wrong(path, 'a reference within the schema, such as "#/$defs/name"', reference)
        found = self.document
        for part in reference.split("/")[1:]:
            key: Any = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                key = int(key)
            elif not isinstance(found, dict) or key not in found:
                raise InputError(f"{path}: {short(reference)} is missing in the schema")
            found = found[key]
        return found

    def _one_of_values(self, schema: Mapping[str, Any], types: list[str], path: str) -> Expression:
        """The grammar of ``const`` and ``enum``."""
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list) or not values:
            raise _wrong(f"{path}.enum", "a list of values", values)
        kept = [value for value in values if any(_has_type(value, kind) for kind in types)]
        if "const" in schema:
            kept = [value for value in kept if _equal(value, schema["const"])]
        if not kept:
            raise InputError(f"{path}: expected a value of its type, found none")
        return literals(text.encode() for value in kept for text in _texts(value))

    def _of_type(self, kind: str, schema: Mapping[str, Any], path: str) -> Expression:
        """The grammar of a schema's values of one type."""
        match kind:
            case "object":
                return self._inside(self._object, schema, path)
            case "array":
                return self._inside(self._array, schema, path)
            case "string":
                return _string(_characters(schema, path))
            case "number":
                return _NUMBER
            case "integer":
                return _INTEGER
            case "boolean":
                return literals([b"true", b"false"])
        return literal(b"null")

    def _inside(self, make: Any, schema: Mapping[str, Any], path: str) -> Expression:
        """The grammar of an object or array, whose bracket is read before any reference in it."""
        entered, self._entered = self._entered, []
        try:
            whole: Expression = make(schema, path)
        finally:
            self._entered = entered
        return whole

    def _array(self, schema: Mapping[str, Any], path: str) -> Expression:
        least, most = _range(schema, "minItems", "maxItems", path)
        item = self.grammar(schema.get("items", True), f"{path}.items")
        return _list(b"[", item, b"]", least, most)

    def _object(self, schema: Mapping[str, Any], path: str) -> Expression:
        """The grammar of an object: its properties in their order, optional ones or not.

        from i on  =  pair i, after i       or  from i + 1 on, if i is optional
        after i    =  comma, from i + 1 on  or  the end, if all after i are optional
        """
        properties, required = _properties(schema, path)
        others = schema.get("additionalProperties", True)
        if not isinstance(others, (bool, dict)):
            raise _wrong(f"{path}.additionalProperties", "a schema", others)
        if missing := [name for name in required if name not in properties]:
            if others is False:
                message = f"expected a property {short(missing[0])}, found none"
                raise InputError(f"{path}.properties: {message}")
            properties = properties | dict.fromkeys(missing, others)
        if not properties and others is not False:
            value = self.grammar(others, f"{path}.additionalProperties")
            return _list(b"{", _pair(_ANY_STRING, value), b"}")
        beginning: Expression = NOTHING  # from i on
        optional = True  # all of these
        end = sequence(_SPACE, literal(b"}"))
        for name, inner in reversed(properties.items()):
            value = self.grammar(inner, f"{path}.properties.{one_line(name, 60)}")
            rest = sequence(literal(b","), _SPACE, beginning)
            name_text = literals(text.encode() for text in _texts(name))
            pair = sequence(_pair(name_text, value), choice(rest, end) if optional else rest)
            is_optional = name not in required
            beginning = choice(pair, beginning) if is_optional else pair
            optional = optional and is_optional
        empty = literal(b"}") if optional else NOTHING
        return sequence(literal(b"{"), _SPACE, choice(beginning, empty))

    # --- oneOf

    def _check_exclusive(self, parts: list[Any], path: str) -> None:
        """InputError unless no value satisfies two of the schemas, as far as can be seen."""
        for at, part in enumerate(parts):
            for before in range(at):
                if not self._exclude(part, parts[before], path):
                    raise InputError(
                        f"{path}: expected schemas that exclude each other by type, const or a "
                        f"required property (otherwise use anyOf), found {before} and {at}"
                    )

    def _exclude(self, one: Any, other: Any, path: str, deep: bool = True) -> bool:
        """Whether it can be seen that no value satisfies both schemas."""
        one, other = (self._resolved(each, path) for each in (one, other))
        values = [_values(each) for each in (one, other)]
        if values[0] is not None and values[1] is not None:
            return not any(_equal(a, b) for a in values[0] for b in values[1])
        kinds = [set(_types(each, path)) for each in (one, other)]
        for mine, theirs in (values, kinds), (values[::-1], kinds[::-1]):
            if mine[0] is not None:
                return not any(_has_type(value, kind) for value in mine[0] for kind in theirs[1])
        common = kinds[0] & kinds[1]
        if {"integer", "number"} <= kinds[0] | kinds[1]:
            common.add("number")
        if common != {"object"} or not deep:
            return not common
        properties, required = zip(*(_properties(each, path) for each in (one, other)), strict=True)
        return any(
            self._exclude(properties[0][name], properties[1][name], path, deep=False)
            for name in set(required[0]) & set(required[1])
            if name in properties[0] and name in properties[1]
        )

    def _resolved(self, schema: Any, path: str) -> Mapping[str, Any]:
        """The schema that a chain of references ends in."""
        for _ in range(DEEPEST):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._target(schema["$ref"], path)
        return schema if isinstance(schema, dict) else {}


def _check_keywords(schema: Mapping[str, Any], path: str) -> None:
    """InputError for keywords that are unknown, or that cannot be combined."""
    words = [word for word in schema if word not in ANNOTATIONS]
    known = {"type", "enum", "const", *COMBINING, *(w for of in OF_TYPE.values() for w in of)}
    for word in words:
        if word not in known:
            raise InputError(f"{path}.{one_line(word, 60)}: this keyword is not supported")
    combining = [word for word in words if word in COMBINING]
    if combining and len(words) > 1:
        others = [word for word in words if word != combining[0]]
        raise InputError(f"{path}.{combining[0]}: expected no other keyword, found {others[0]}")


def _types(schema: Mapping[str, Any], path: str) -> list[str]:
    """The types that a schema allows: its ``type``, or what its keywords imply, or all."""
    if "type" not in schema:
        named = [kind for kind, words in OF_TYPE.items() if any(word in schema for word in words)]
        return named or list(OF_TYPE)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    for kind in types:
        if not isinstance(kind, str) or kind not in OF_TYPE:
            raise _wrong(f"{path}.type", f"one of {', '.join(OF_TYPE)}", kind)
    if not types:
        raise _wrong(f"{path}.type", "a type", types)
    return types


def _properties(schema: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    """The schemas of the properties, and the names that are required."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict):
        raise _wrong(f"{path}.properties", "an object of schemas", properties)
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _wrong(f"{path}.required", "a list of names", required)
    if (optional := len(properties.keys() - set(required))) > MOST:
        raise _wrong(f"{path}.properties", f"at most {MOST} optional ones", optional)
    return properties, required


def _characters(schema: Mapping[str, Any], path: str) -> Expression:
    """The grammar of the characters of a string."""
    least, most = _range(schema, "minLength", "maxLength", path)
    words = [word for word in ("pattern", "format") if word in schema]
    if not words:
        return repeat(_CHARACTER, least, most)
    word, path = words[0], f"{path}.{words[0]}"
    if len(words) > 1 or least or most is not None:
        raise _wrong(path, "no other keyword for the characters", sorted(schema))
    pattern = schema[word]
    if not isinstance(pattern, str):
        raise _wrong(path, "a text", pattern)
    if word == "format":
        if pattern not in FORMATS:
            raise _wrong(path, f"one of {', '.join(FORMATS)}", pattern)
        pattern = f"^{FORMATS[pattern]}$"
    return pattern_of(pattern, path, _written, _NOT_ASCII)


def _written(character: str) -> bytes:
    """A character as JSON writes it."""
    return json.dumps(character, ensure_ascii=False)[1:-1].encode()


def _range(schema: Mapping[str, Any], least: str, most: str, path: str) -> tuple[int, int | None]:
    """The values of two keywords for a number of items or characters."""
    for word in (least, most):
        if word in schema and (type(schema[word]) is not int or schema[word] < 0):
            raise _wrong(f"{path}.{word}", "a whole number from 0 up", schema[word])
    low, high = schema.get(least, 0), schema.get(most)
    if high is not None and high < low:
        raise _wrong(f"{path}.{most}", f"{low} or more", high)
    return low, high


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    """The values of ``const`` or ``enum``."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _has_type(value: Any, kind: str) -> bool:
    """Whether a value is of a type of JSON Schema: 1.0 is an integer, too."""
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, (int, float)):
        return kind == "number" or (kind == "integer" and float(value).is_integer())
    classes = {"string": str, "array": list, "object": dict}
    return kind in classes and isinstance(value, classes[kind])


def _equal(one: Any, other: Any) -> bool:
    """Whether two values in JSON are equal; true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True) or (
        one == other and not isinstance(one, bool) and not isinstance(other, bool)
    )


def _texts(value: Any) -> Iterator[str]:
    """The ways to write a value: compact, with spaces, and with or without escapes."""
    for separators in ((",", ":"), (", ", ": ")):
        for escapes in (False, True):
            yield json.dumps(value, separators=separators, ensure_ascii=escapes)


def _dotted(reference: str) -> str:
    return ".".join(reference.split("/")[1:])


def _wrong(path: str, expected: str, found: object) -> InputError:
    return InputError(f"{path}: expected {expected}, found {short(found)}")
