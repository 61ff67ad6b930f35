"""Tokenizers that others have trained, as the package tokenizers runs them.

Hugging Face's tokenizer.json describes all of them: the steps that change a text (``normalizer``),
cut it into words (``pre_tokenizer``), and cut words into tokens (``model``), and the added tokens
that are looked for first.  Other files are translated into this form: see
:mod:`minillm.text.tokenizer_json`.

The package finds the ids.  The texts of tokens are read here, since an answer is written token by
token, and a token may be a part of a character.  Files spell them in three ways:

    bytes         one printable character for each byte, "Ġ" for a space: GPT-2, Llama 3, Qwen
    "▁"           in place of a space, and <0x0A> for a byte: SentencePiece's, as in Llama 2 and T5
    "##"          before a piece that continues a word: BERT's WordPiece
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import missing_extra, one_line, short
from minillm.text.byte_tokens import MASK, ByteTokens
from minillm.text.vocabulary import SpecialTokens, check_texts, flag, parts_between, visible
from minillm.text.word_pieces import CLOSING, check_known
from minillm.text.wordpiece import PREFIX
from minillm.unicode import check_encodable

SPACE = "▁"
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_SPELLED = {value: chr(value) for value in _PRINTABLE} | {
    value: chr(256 + number) for number, value in enumerate(_OTHERS)
}
_VALUES = {character: value for value, character in _SPELLED.items()}
_BYTE = re.compile("<0x([0-9A-F]{2})>")
# The names of special tokens, in the order in which they are looked for.
_ROLES = {
    "bos": ("<|endoftext|>", "[CLS]", "<s>"),
    "eos": ("<|endoftext|>", "[SEP]", "</s>"),
    "mask": ("[MASK]", MASK),
}
_TAKEN = "\ufdd0"  # no character of Unicode
_NOTHING = {"type": "BPE", "vocab": {}, "merges": []}
PUBLISHED = "published"


def spell(token: bytes) -> str:
    """A token of bytes as GPT-2's files spell it.

    >>> spell(b" caf\\xc3\\xa9")
    'ĠcafÃ©'
    """
    return "".join(_SPELLED[value] for value in token)


def is_byte(text: str) -> bool:
    """Whether SentencePiece spells a byte so.

    >>> is_byte("<0x0A>")
    True
    """
    return _BYTE.fullmatch(text) is not None


def unspell(text: str) -> bytes:
    """The token of a spelling; ValueError for a character that stands for no byte."""
    for character in text:
        if character not in _VALUES:
            raise ValueError(f"expected characters that stand for bytes, found {short(character)}")
    return bytes([_VALUES[character] for character in text])


def steps_of(part: Any) -> list[dict[str, Any]]:
    """The steps of a part of tokenizer.json, which may be a sequence of them, or null."""
    if not isinstance(part, dict):
        return []
    names = ("normalizers", "pretokenizers", "processors", "decoders")
    inner = next((part[name] for name in names if isinstance(part.get(name), list)), None)
    return [part] if inner is None else [step for one in inner for step in steps_of(one)]


def in_library(content: str) -> Any:
    """The content of a tokenizer.json as an object of the package tokenizers.

    ValueError for what the package refuses, InputError if it is missing.
    """
    try:
        import tokenizers  # the extra: 70 ms
    except ImportError:
        raise missing_extra("this tokenizer", "hf") from None
    with _refusals():
        return tokenizers.Tokenizer.from_str(content)


@contextmanager
def _refusals() -> Iterator[None]:
    """Let what the package tokenizers refuses become a ValueError."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        reason = one_line(str(error), 300)
        raise ValueError(f"expected a tokenizer, found by tokenizers: {reason}") from None


class _AddedTokens(SpecialTokens):
    """Added tokens, which the package looks for: some take the white space beside them."""

    def __init__(self, ids: Mapping[str, int], values: Mapping[str, Any]):
        self.ids, self._library = dict(ids), in_library(json.dumps(values))

    def places(self, text: str) -> list[tuple[str, int]]:
        """The parts of a text, and where each begins; a model without tokens finds no others."""
        found = self._library.encode(text, add_special_tokens=False)
        tokens = map(self._library.id_to_token, found.ids)
        places = zip(tokens, found.offsets, strict=True)
        return parts_between(text, ((token, *place) for token, place in places))


class PublishedTokenizer(ByteTokens):
    """A tokenizer.json: its ids are those of the package tokenizers.

    ``tokens`` are the bytes of the tokens, by id, and ``texts`` their spellings.  ``encode`` makes
    special tokens of their texts, as the package does; ``encode_ordinary`` does not.
    """

    def __init__(
        self,
        values: object,
        bos: str | None = None,
        eos: str | None = None,
        *,
        add_bos: bool | None = None,
        add_eos: bool | None = None,
    ):
        """``values`` are the content of a tokenizer.json.

        bos, eos: texts of special tokens; None: the usual ones.
        add_bos, add_eos: whether ``encode`` puts them around a text; None: as the file says, but
        not for WordPiece, whose models put [CLS] and [SEP] around texts themselves.

        ValueError for a tokenizer of another kind.
        """
        whole = _complete(values)
        model, added = whole["model"], whole["added_tokens"]
        self._json = json.dumps(whole)  # which takes less memory than the objects
        self._steps = whole | {"added_tokens": [], "model": _NOTHING}
        self._unigram, self.opens = model["type"] == "Unigram", _opens(whole)
        self.spelling = _spelling(whole)
        self._library = in_library(self._json)
        self.unit = "wordpiece" if self.spelling == PREFIX else "bpe"
        self.texts = _texts(self._library, added)
        self.tokens = [self._bytes(text) for text in self.texts]
        for token in added:
            before = " " * (self.spelling == PREFIX)
            self.tokens[token["id"]] = f"{before}{token['content']}".encode()
        self.line_end = self.tokens.index(b"\n") if b"\n" in self.tokens else None
        ids = {token["content"]: token["id"] for token in added}
        self.special = _AddedTokens(ids, whole | {"model": _NOTHING, "normalizer": None})
        self.shown = [token["content"] for token in added if not token["special"]]
        self.hidden = frozenset(ids.values()) - {ids[text] for text in self.shown}
        if self.spelling != "bytes":
            unknown = model.get("unk_token")
            self.unknown = model.get("unk_id", self._library.token_to_id(unknown or ""))
            self.hidden |= {self.unknown} - {None}
        first, last = _frame(self._library)
        self.bos, self.eos = self._role("bos", bos, first), self._role("eos", eos, last)
        self.mask = self._role("mask", None, None)
        if self.unit == "wordpiece":
            self.pad = self.padding = ids.get("[PAD]", ids.get("<pad>"))
            first = last = None
        self.add_bos = first is not None if add_bos is None else add_bos
        self.add_eos = last is not None if add_eos is None else add_eos

    def _bytes(self, text: str) -> bytes:
        """The bytes that a token of the model stands for."""
        if self.spelling == PREFIX:
            joined = text in CLOSING or text.startswith(PREFIX)
            return (text.removeprefix(PREFIX) if joined else f" {text}").encode()
        if self.spelling == "bytes":
            return unspell(text) if _VALUES.keys() >= {*text} else text.encode()
        found = _BYTE.fullmatch(text)
        return bytes([int(found[1], 16)]) if found else text.replace(SPACE, " ").encode()

    def _role(self, name: str, text: str | None, default: int | None) -> int | None:
        """The id of a special token: of a text, of a frame, or of a usual name."""
        ids = self.special.ids
        if text is not None or default is not None:
            return default if text is None else ids.get(text)
        return next((ids[usual] for usual in _ROLES[name] if usual in ids), None)

    @property
    def values(self) -> dict[str, Any]:
        """The content of the tokenizer.json."""
        return json.loads(self._json)

    @property
    def cls(self) -> int | None:
        """The id of [CLS], or of the token in its place."""
        return self.bos

    @property
    def sep(self) -> int | None:
        """The id of [SEP], or of the token in its place."""
        return self.eos

    # --- encoding --------------------------------------------------------------------------------

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts, without BOS."""
        for text, name in zip(texts, names, strict=True):
            check_encodable(text, name)
        with _refusals():
            found = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in found]

    def encode_known(self, text: str, name: str = "text") -> NDArray[np.int32]:
        """Like :meth:`encode`, without BOS and EOS.

        InputError, with ``name``, for a word that is not made of pieces.
        """
        (ids,) = self.encode_each([text], [name])
        if self.unit == "wordpiece":
            check_known(self, ids, text, name)
        return ids

    def encode_ordinary(self, text: str, first: bool = True) -> NDArray[np.int32]:
        """Like :meth:`encode_known`, but the text of a special token is split like any other."""
        check_encodable(text, "text")
        library = self._ordinary if first else self._later
        text = text.replace(_TAKEN, "\ufffd") if self._unigram else text
        with _refusals():
            found = library.encode_batch_fast([text], add_special_tokens=False)
        return np.array(found[0].ids, np.int32)

    @cached_property
    def _ordinary(self) -> Any:
        """The tokenizer without special tokens.

        A unigram model, which would still find them, has them under names that no text contains.
        """
        if not self._unigram:
            library = in_library(json.dumps(self._steps))
            library.model = self._library.model
            return library
        values = self.values | {"added_tokens": []}
        for token in self.values["added_tokens"]:
            if token["id"] < len(values["model"]["vocab"]):
                values["model"]["vocab"][token["id"]][0] = _TAKEN + token["content"]
        return in_library(json.dumps(values))

    @cached_property
    def _later(self) -> Any:
        """The same for a text that follows another one, before which some put no space."""
        steps = steps_of(self._steps["pre_tokenizer"])
        if not any(step.get("prepend_scheme") == "first" for step in steps):
            return self._ordinary
        steps = [
            {**step, "prepend_scheme": "never"} if step.get("type") == "Metaspace" else step
            for step in steps
        ]
        parts = self._steps | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
        library = in_library(json.dumps(parts))
        library.model = self._ordinary.model
        return library

    def encode_with_offsets(
        self, text: str, name: str = "text"
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of the tokens of ``text``, (T,), and their places in it, (T, 2)."""
        check_encodable(text, name)
        with _refusals():
            found = self._library.encode(text, add_special_tokens=False)
        offsets = np.array(found.offsets, np.int64).reshape(-1, 2)
        return np.array(found.ids, np.int32), offsets

    # --- decoding and files ----------------------------------------------------------------------

    def begun(self, data: bytes) -> bytes:
        """The bytes of a text without the space that ``encode`` has put before it."""
        return data.removeprefix(b" ") if self.opens else data

    def show(self, number: int) -> str:
        """A token as a label of a plot; a piece of a word as BERT spells it."""
        if self.spelling != PREFIX:
            return super().show(number)
        self.token(number)
        return visible(self.texts[number])

    def cut(self, size: int) -> "PublishedTokenizer":
        """The tokenizer without the tokens from the id ``size`` on.

        ValueError unless they are added ones, and neither BOS nor EOS.
        """
        values, stored = self.values, self.to_dict()
        rest = {*range(size, len(self))}
        if not rest <= {*self.special.ids.values()} - {self.bos, self.eos}:
            raise ValueError(f"expected {size:,} tokens, found {len(self):,}")
        values["added_tokens"] = [token for token in values["added_tokens"] if token["id"] < size]
        vocab = values["model"]["vocab"]
        values["model"]["vocab"] = (
            vocab[:size]
            if isinstance(vocab, list)
            else {text: number for text, number in vocab.items() if number < size}
        )
        return self.from_dict(stored | {"tokenizer": values})

    def to_dict(self) -> dict:
        """The JSON form, with the tokenizer.json in it."""
        ends = {"bos": self.bos, "eos": self.eos}
        texts = {name: None if at is None else self.texts[at] for name, at in ends.items()}
        added = {"add_bos": self.add_bos, "add_eos": self.add_eos}
        return {"unit": PUBLISHED, "tokenizer": self.values, **texts, **added}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PublishedTokenizer":
        """The tokenizer that ``to_dict`` described; ValueError if it is damaged."""
        texts = ["" if values.get(name) is None else values[name] for name in ("bos", "eos")]
        bos, eos = check_texts(texts, "bos, eos")
        added = {name: flag(values, name) for name in ("add_bos", "add_eos")}
        return cls(values.get("tokenizer"), bos, eos, **added)


def _complete(values: Any) -> dict[str, Any]:
    """The content of a tokenizer.json without cutting and padding, and with all flags of tokens.

    ValueError for a model whose tokens are not read here, or whose ids depend on chance.
    """
    model: Any = values.get("model") if isinstance(values, dict) else None
    kind = model.get("type", "BPE") if isinstance(model, dict) else None
    if kind not in ("BPE", "Unigram", "WordPiece"):
        raise ValueError(f"model.type: expected BPE, Unigram or WordPiece, found {short(kind)}")
    refused = ["dropout", "end_of_word_suffix"]
    refused += ["continuing_subword_prefix"] if kind == "BPE" else []
    for name in refused:
        if model.get(name):
            raise ValueError(f"model.{name}: expected none, found {short(model[name])}")
    for step in steps_of(values.get("normalizer")):
        if step.get("type") == "Precompiled":
            _check_table(step.get("precompiled_charsmap"))
    added = values.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and type(token.get("id")) is int
        for token in added
    ):
        raise ValueError(f"added_tokens: expected tokens with ids, found {short(added)}")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    first = ("id", "content")  # the order that others write
    added = [
        {**{name: token[name] for name in first}, **flags, "special": True, **token}
        for token in added
    ]
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        **{name: values.get(name) for name in parts}, "model": {**model, "type": kind},
    }  # fmt: skip


def _check_table(text: Any) -> None:
    """ValueError for a table of replacements in base64 that would make the package panic."""
    data = b64decode(text, validate=True) if isinstance(text, str) else b""
    size = int.from_bytes(data[:4], "little")
    if size % 4 or not 1024 <= size <= len(data) - 4:
        raise ValueError(f"expected a table of characters, found {len(data):,} bytes of others")


def _spelling(values: Mapping[str, Any]) -> str:
    """The way in which tokens are spelled: "bytes", "▁" or "##"; ValueError for another one."""
    model = values["model"]
    if model["type"] == "WordPiece":
        if model.get("continuing_subword_prefix") != PREFIX:
            raise ValueError(f"model.continuing_subword_prefix: expected {PREFIX}, found another")
        return PREFIX
    parts = [values[name] for name in ("normalizer", "pre_tokenizer", "decoder")]
    steps = [step for part in parts for step in steps_of(part)]
    if any(step.get("type") == "ByteLevel" for step in steps):
        return "bytes"
    names = ("content", "prepend", "replacement", "pattern")
    found = [step.get(name) for step in steps for name in names]
    if model["type"] == "Unigram" or SPACE in found or {"String": SPACE} in found:
        return SPACE
    part = short(values["pre_tokenizer"])
    raise ValueError(f"pre_tokenizer: expected ByteLevel, or ▁ for spaces, found {part}")


def _texts(library: Any, added: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of all tokens, by id; ValueError unless each number is the id of one."""
    ids = library.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"expected as ids each number from 0 to {len(ids) - 1} once, found others")
    for token in added:
        if ids[token["content"]] != token["id"]:
            raise ValueError(
                f"expected the id {ids[token['content']]} of {short(token['content'])}, "
                f"found {token['id']}"
            )
    return sorted(ids, key=ids.__getitem__)


def _frame(library: Any) -> tuple[int | None, int | None]:
    """The ids of the tokens that a file puts before a text, and after it; ValueError for more."""
    with _refusals():
        plain = len(library.encode("a", add_special_tokens=False).ids)
        around = library.encode("a")
    before = around.special_tokens_mask.index(0) if plain else 0
    after = len(around.ids) - before - plain
    if before > 1 or after > 1:
        raise ValueError(
            "post_processor: expected one token at most before a text, and after it, found more"
        )
    return around.ids[0] if before else None, around.ids[-1] if after else None


def _opens(values: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    steps = [*steps_of(values["normalizer"]), *steps_of(values["pre_tokenizer"])]
    return any(
        step.get("type") == "Prepend"
        or step.get("prepend_scheme", "never") != "never"
        or ("prepend_scheme" not in step and step.get("add_prefix_space", False))
        or step.get("type") == "BertPreTokenizer"
        for step in steps
    )
