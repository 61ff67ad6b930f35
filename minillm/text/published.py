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
BYTE_TEXT = re.compile("<0x([0-9A-F]{2})>")  # a byte, as SentencePiece spells it
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_SPELLED = {value: chr(value) for value in _PRINTABLE} | {
    value: chr(256 + number) for number, value in enumerate(_OTHERS)
}
_VALUES = {character: value for value, character in _SPELLED.items()}
# The names of special tokens, in the order in which they are looked for.
_ROLES = {
    "bos": ("<|endoftext|>", "[CLS]", "<s>"),
    "eos": ("<|endoftext|>", "[SEP]", "</s>"),
    "mask": ("[MASK]", MASK),
}
_NOTHING = {"type": "BPE", "vocab": {}, "merges": []}
PUBLISHED = "published"


def spell(token: bytes) -> str:
    """A token of bytes as GPT-2's files spell it.

    >>> spell(b" caf\\xc3\\xa9")
    'ĠcafÃ©'
    """
    return "".join(_SPELLED[value] for value in token)


def unspell(text: str) -> bytes:
    """The token of a spelling; KeyError for a character that stands for no byte."""
    return bytes([_VALUES[character] for character in text])


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

    def __init__(self, added: Sequence[Mapping[str, Any]]):
        self.ids = {token["content"]: token["id"] for token in added}
        self._library = in_library(json.dumps({"added_tokens": added, "model": _NOTHING}))

    def places(self, text: str) -> list[tuple[str, int]]:
        """The parts of a text, and where each begins; a model without tokens finds no others."""
        found = self._library.encode(text, add_special_tokens=False)
        tokens = map(self._library.id_to_token, found.ids)
        places = zip(tokens, found.offsets, strict=True)
        return parts_between(text, ((token, *place) for token, place in places))


class PublishedTokenizer(ByteTokens):
    """A tokenizer.json: the package tokenizers gives the same ids.

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
        self._library = in_library(json.dumps(values))
        self._library.no_padding()
        self._library.no_truncation()
        self.texts = _texts(self._library)  # first: to_str lists every id that is missing
        whole = self.values
        model, added = whole["model"], whole["added_tokens"]
        self.spelling = _spelling(whole)
        self.unit = "wordpiece" if self.spelling == PREFIX else "bpe"
        self.tokens = [self._bytes(text) for text in self.texts]
        for token in added:
            before = " " * (self.spelling == PREFIX)
            self.tokens[token["id"]] = f"{before}{token['content']}".encode()
        self.line_end = self.tokens.index(b"\n") if b"\n" in self.tokens else None
        self.special = _AddedTokens(added)
        ids: Any = self.special.ids
        given: Any = values
        for token in given.get("added_tokens") or []:
            if ids[token["content"]] != token["id"]:
                raise ValueError(
                    f"added_tokens: expected the id {ids[token['content']]} of "
                    f"{short(token['content'])}, found {token['id']}"
                )
        self.shown = [token["content"] for token in added if not token["special"]]
        self.hidden = frozenset(ids.values()) - {ids[text] for text in self.shown}
        if self.spelling != "bytes":
            unknown = model.get("unk_token")
            self.unknown = model.get("unk_id", self._library.token_to_id(unknown or ""))
            self.hidden |= {self.unknown} - {None}
        first, plain, last = self._frame()
        # Whether a space is put before a text.
        self.opens = self.spelling == PREFIX or self.tokens[plain].startswith(b" ")
        self.bos, self.eos = self._role("bos", bos, first), self._role("eos", eos, last)
        self.mask = self._role("mask", None, None)
        if self.unit == "wordpiece":
            self.padding = ids.get("[PAD]", ids.get("<pad>"))
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
        found = BYTE_TEXT.fullmatch(text)
        return bytes([int(found[1], 16)]) if found else text.replace(SPACE, " ").encode()

    def _frame(self) -> tuple[int | None, int, int | None]:
        """The ids that a file puts before a text and after it, and the first of the text "a"."""
        with _refusals():
            plain = self._library.encode("a", add_special_tokens=False).ids
            ids, mask = (found := self._library.encode("a")).ids, found.special_tokens_mask
        before = mask.index(0) if plain else 0
        after = len(ids) - before - len(plain)
        if before > 1 or after > 1:
            raise ValueError(
                "post_processor: expected one token at most before a text, and after it, found more"
            )
        first, last = ids[0] if before else None, ids[-1] if after else None
        return first, plain[0] if plain else 0, last

    def _role(self, name: str, text: str | None, default: int | None) -> int | None:
        """The id of a special token: of a text, of a frame, or of a usual name."""
        ids = self.special.ids
        if text is not None or default is not None:
            return default if text is None else ids.get(text)
        return next((ids[usual] for usual in _ROLES[name] if usual in ids), None)

    @property
    def values(self) -> dict[str, Any]:
        """The content of the tokenizer.json, with all of its defaults."""
        return json.loads(self._library.to_str())

    # --- encoding --------------------------------------------------------------------------------

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each of several texts, without BOS."""
        for text, name in zip(texts, names, strict=True):
            check_encodable(text, name)
        return _ids(self._library, list(texts))

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
        return _ids(self._ordinary[first], [text])[0]

    @cached_property
    def _ordinary(self) -> tuple[Any, Any]:
        """The tokenizer without special tokens, for a text after others and for a first one.

        Some put a space before a first text only.  Only a unigram model, which chats do not have,
        still finds special tokens.
        """
        first = json.dumps(self.values | {"added_tokens": [], "model": _NOTHING})
        later = first.replace('"prepend_scheme": "first"', '"prepend_scheme": "never"')
        libraries = in_library(later), in_library(first)
        for library in libraries:
            library.model = self._library.model
        return libraries

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
        stored, rest = self.to_dict(), {*range(size, len(self))}
        if not rest <= {*self.special.ids.values()} - {self.bos, self.eos}:
            raise ValueError(f"expected {size:,} tokens, found {len(self):,}")
        values = stored["tokenizer"]
        values["added_tokens"] = [t for t in values["added_tokens"] if t["id"] < size]
        if isinstance(vocab := values["model"]["vocab"], dict):
            values["model"]["vocab"] = {text: at for text, at in vocab.items() if at < size}
        return self.from_dict(stored)

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


def _ids(library: Any, texts: list[str]) -> list[NDArray[np.int32]]:
    """The ids of each text, without the tokens around it."""
    with _refusals():
        found = library.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(one.ids, np.int32) for one in found]


def _spelling(values: Mapping[str, Any]) -> str:
    """The way in which tokens are spelled: "bytes", "▁" or "##".

    ValueError for another way, or if the ids depend on chance.
    """
    model = values["model"]
    kind = model["type"]
    if kind not in ("BPE", "Unigram", "WordPiece"):
        raise ValueError(f"model.type: expected BPE, Unigram or WordPiece, found {short(kind)}")
    prefix = PREFIX if kind == "WordPiece" else None
    expected = {"continuing_subword_prefix": prefix, "end_of_word_suffix": None, "dropout": None}
    for name, value in expected.items():
        if (model.get(name) or None) != value:
            raise ValueError(f"model.{name}: expected {value}, found {short(model.get(name))}")
    if prefix and model["unk_token"] not in model["vocab"]:
        raise ValueError(f"model.vocab: expected {short(model['unk_token'])} in it, found none")
    steps = [values[name] for name in ("normalizer", "pre_tokenizer", "decoder")]
    text = json.dumps(steps, ensure_ascii=False)
    if prefix or '"ByteLevel"' in text:
        return prefix or "bytes"
    if kind == "Unigram" or f'"{SPACE}"' in text:
        return SPACE
    part = short(values["pre_tokenizer"])
    raise ValueError(f"pre_tokenizer: expected ByteLevel, or ▁ for spaces, found {part}")


def _texts(library: Any) -> list[str]:
    """The texts of all tokens, by id; ValueError unless each number is the id of one."""
    ids = library.get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"expected as ids each number from 0 to {len(ids) - 1} once, found others")
    return sorted(ids, key=ids.__getitem__)
