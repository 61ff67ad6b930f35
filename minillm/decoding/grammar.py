"""Grammars: sets of texts in which an answer must be, such as the JSON that satisfies a schema.

    rules = json_rules(schema)                    the grammar, in the notation of llguidance
    grammar = Grammar(tokens, rules)              compiled for the tokens of a vocabulary
    logits = grammar.start().adjust(logits, ids)  minus infinity for tokens that may not come next

The library llguidance knows JSON schemas and finds the tokens: it reads the vocabulary, a trie,
with an Earley parser over the derivatives of regular expressions.  Here are the limits of its work,
and the rule of sampling.  Its texts satisfy the schema.  They are narrower in three ways, so that a
model comes to an end: properties have the order of the schema, an object has no others than the
schema names (if it names any), and white space is short.

Sources: Willard and Louf (2023), "Efficient guided generation for large language models"; Moskal et
al. (2024), "llguidance"; JSON Schema, draft 2020-12.
"""

import json
import re
from collections.abc import Collection, Sequence
from copy import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, missing_extra, one_line, short
from minillm.text.byte_tokens import ByteTokens

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

LARGEST = 100_000  # characters of a schema

# Between values is no white space, one space, or the end of a line and up to 16 spaces.
OPTIONS = {"whitespace_pattern": r"( |\n {0,16})?"}
ANY_OBJECT = {"type": "object"}

# Keywords with schemas by name, with one or a list of them, and of schemas beside each other.
NAMED = {"properties", "$defs", "definitions"}
INNER = {"items", "additionalProperties", "anyOf", "oneOf"}
BESIDE = {"anyOf", "oneOf", "$ref", "patternProperties", "unevaluatedProperties"}


def json_rules(schema: Any, name: str = "schema", rule: str = "start") -> str:
    """A rule of a grammar: the texts in JSON that satisfy a schema.

    InputError, which begins with ``name``, for what is no schema.  What the library cannot express
    is found by :class:`Grammar`.
    """
    schema = {} if schema is True else schema
    if not isinstance(schema, dict):
        raise InputError(f"expected a schema, found {short(schema)}", name)
    try:
        closed = schema if '"allOf"' in json.dumps(schema) else _closed(schema)
        text = json.dumps({**closed, "x-guidance": OPTIONS}, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"expected a schema in JSON, found {short(schema)}", name) from None
    if len(text) > LARGEST:
        raise InputError(f"expected at most {LARGEST:,} characters, found {len(text):,}", name)
    return f"{rule}: %json {text}\n"


def _closed(schema: Any) -> Any:
    """A schema whose objects have no properties but those that it names, if it names any.

    A schema next to others has a part of the properties only, and is left as it is.
    """
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed, named = dict(schema), schema.get("properties")
    for word in NAMED & schema.keys():
        if isinstance(schema[word], dict):
            closed[word] = {name: _closed(inner) for name, inner in schema[word].items()}
    for word in INNER & schema.keys():
        closed[word] = _closed(schema[word])
    if named and BESIDE & schema.keys():
        return schema
    if named and all(name in named for name in schema.get("required", [])):
        closed.setdefault("additionalProperties", False)
    return closed


def tokens_of(tokenizer: ByteTokens, ends: Collection[int]) -> "LLTokenizer":
    """The tokens of a tokenizer: ``ends`` end a text, and other special tokens are no text."""
    try:  # 5 ms, and an extra
        from llguidance import LLTokenizer
    except ImportError:
        raise missing_extra("an answer by a schema", "json") from None
    tokens: Any = SimpleNamespace(
        is_tokenizer_wrapper=True,
        tokens=[tokenizer.token(number) for number in range(len(tokenizer))],
        special_token_ids=sorted({*tokenizer.hidden, *ends}),
        eos_token_id=min(ends),
        bos_token_id=None,
    )
    return LLTokenizer(tokens, eos_token=sorted(ends))


class Grammar:
    """A grammar compiled for the tokens of a vocabulary, and how far it has read a text.

    ``rules`` are in the notation of llguidance, Lark's, with JSON schemas in it; the first one is
    ``start``.  It is an adjustment of one text; the tokens that end a text are allowed where it is
    complete.  InputError, which begins with ``name``, for rules that it cannot express or that
    need too much work, and if no token can begin a text.
    """

    def __init__(self, tokens: "LLTokenizer", rules: str, name: str = "schema"):
        from llguidance import LLMatcher, LLParserLimits  # 5 ms, as above

        limits = LLParserLimits(verbose_errors=False)
        # Otherwise a text that has one continuation must have the tokens of its usual encoding.
        rules = f'%llguidance {{"no_forcing": true}}\n{rules}'
        self._matcher, self.name = LLMatcher(tokens, rules, limits=limits, log_level=0), name
        self._read = 0  # tokens
        self.start().allowed()

    def start(self) -> "Grammar":
        """The same grammar, for a new text."""
        new = copy(self)
        new._matcher = self._matcher.deep_copy()
        return new

    def adjust(self, logits: NDArray[np.float64], written: Sequence[int]) -> NDArray[np.float64]:
        """The logits (V,), with minus infinity for tokens that are not allowed: a new array.

        A padded vocabulary has rows past the tokens; these are not allowed either.  InputError if
        the vocabulary lacks a byte that the grammar needs, or a mask needs too much work.
        """
        self._matcher.consume_tokens(list(written[self._read :]))
        self._read = len(written)
        mask = self.allowed()
        adjusted = np.full_like(logits, -np.inf)
        adjusted[: len(mask)][mask] = logits[: len(mask)][mask]
        return adjusted

    def allowed(self) -> NDArray[np.bool_]:
        """Whether each token may come next (V,)."""
        bits = np.frombuffer(self._matcher.compute_logit_bias(), np.uint8)  # 200 or 0
        if self._matcher.is_error():  # the library would end the text
            raise InputError(_reason(self._matcher), self.name)
        return bits > 0


def _reason(matcher: "LLMatcher") -> str:
    """Why the library goes no further, in a line."""
    reason = re.split(r"\n +\d+ \| |\n?<non-verbose/>", matcher.get_error())[0]  # no listing of it
    if reason == "NoExtensionBias":
        return "expected a token that may come next, found none"
    return one_line(reason.rpartition("failed to compile JSON schema: ")[2], 300)
