"""The parts of a tokenizer.json that all kinds of tokenizers share: added tokens, steps, a frame.

The file is Hugging Face's.  Its parts are objects with a "type", and several of one kind are the
steps of a "Sequence".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.data.entries import Entries
from minillm.errors import short
from minillm.text.byte_tokens import ByteTokens
from minillm.text.vocabulary import flag

# --- reading -------------------------------------------------------------------------------------


def ids_of(values: object, expected: str) -> dict[str, int]:
    if not isinstance(values, dict) or not {*map(type, values.values())} <= {int}:
        raise ValueError(f"expected {expected}")
    return values


@dataclass(frozen=True)
class Added:
    """The added tokens of a tokenizer.json: their ids, and those with flags."""

    ids: dict[str, int]
    shown: list[str]
    lstrip: list[str]
    rstrip: list[str]

    @property
    def options(self) -> dict[str, list[str]]:
        """The options of :class:`minillm.text.byte_tokens.ByteTokens` that follow from them."""
        return {"shown": self.shown, "lstrip": self.lstrip, "rstrip": self.rstrip}


def added_of(entries: object, *refused: str) -> Added:
    """The added tokens; ValueError for one with a flag that is refused."""
    if not isinstance(entries, list):
        raise ValueError(f"added_tokens: expected a list, found {short(entries)}")
    added = Added({}, [], [], [])
    for entry in entries:
        token = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(token, str) or type(entry.get("id")) is not int or token in added.ids:
            raise ValueError(
                f"added_tokens: expected distinct tokens with ids, found {short(entry)}"
            )
        for name in ("single_word", *refused):
            if flag(entry, name, False):
                raise ValueError(f"added_tokens: {name} of {short(token)} cannot be done here")
        added.ids[token] = entry["id"]
        if not flag(entry, "special", True):
            added.shown.append(token)
        for name, texts in (("lstrip", added.lstrip), ("rstrip", added.rstrip)):
            if flag(entry, name, False):
                texts.append(token)
    return added


def with_added(ids: dict[str, int], added: dict[str, int]) -> dict[str, int]:
    """All tokens and their ids; ValueError for an added token that has another id."""
    for token, number in added.items():
        if ids.get(token, number) != number:
            raise ValueError(f"expected the id {ids[token]} of {short(token)}, found {number}")
    return ids | added


def merges_of(model: Mapping[str, Any]) -> list[Any]:
    """The merges of a model in tokenizer.json; each should be two texts."""
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError(f"expected model.merges: a list of pairs, found {short(merges)}")
    if str not in {*map(type, merges)}:
        return merges
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]


def steps_of(part: Any, name: str) -> list[Any]:
    """The steps of a part of tokenizer.json, which may be a sequence of them, or null.

    name: of the list in a sequence, such as "normalizers".
    """
    match part:
        case None:
            return []
        case {"type": "Sequence"} if isinstance(part.get(name), list):
            return [step for one in part[name] for step in steps_of(one, name)]
    return [part]


def frame_of(file: Entries) -> dict[str, Any]:
    """The options that say what a post-processor puts around a text; InputError for other things.

    They are bos and add_bos, eos and add_eos.
    """
    steps = steps_of(file.values.get("post_processor"), "processors")
    frame: dict[str, Any] = {}
    for step in steps:
        match step:
            case {"type": "ByteLevel"}:
                pass  # changes no ids
            case {"type": "TemplateProcessing", "special_tokens": {**specials}} if not specials:
                pass  # transformers 5 writes a template that adds nothing
            case {"type": "TemplateProcessing", "single": [*pieces]} if not frame:
                frame = _frame_in(pieces)
            case {
                "type": "RobertaProcessing",
                "cls": [str(bos), int()],
                "sep": [str(eos), int()],
            } if not frame and not step.get("add_prefix_space"):
                frame = {"bos": bos, "add_bos": True, "eos": eos, "add_eos": True}
            case _:
                Entries(file.path, {"post_processor": step}).check_nested(
                    {"post_processor.type": ("ByteLevel", None)}
                )
                raise file.wrong("post_processor", "a single template")
    return frame


def _frame_in(pieces: list[Any]) -> dict[str, Any]:
    match pieces:
        case [{"SpecialToken": {"id": str(bos)}}, {"Sequence": {"id": "A"}}]:
            return {"bos": bos, "add_bos": True}
        case [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": str(eos)}}]:
            return {"eos": eos, "add_eos": True}
        case [
            {"SpecialToken": {"id": str(bos)}},
            {"Sequence": {"id": "A"}},
            {"SpecialToken": {"id": str(eos)}},
        ]:
            return {"bos": bos, "add_bos": True, "eos": eos, "add_eos": True}
        case [{"Sequence": {"id": "A"}}]:
            return {}
    raise ValueError(
        f"post_processor: expected BOS at most before a text and EOS after it, "
        f"found {short(pieces)}"
    )


# --- writing -------------------------------------------------------------------------------------


def tokenizer_json(added: list[dict[str, Any]], **parts: Any) -> bytes:
    """The content of tokenizer.json."""
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return json_bytes({**head, **parts})


def added_tokens(tokenizer: ByteTokens) -> list[dict[str, Any]]:
    """The special tokens of a tokenizer, by id, as tokenizer.json has them."""
    return [
        {"id": number, **added_token(text)}
        | {
            "lstrip": text in tokenizer.lstrip,
            "rstrip": text in tokenizer.rstrip,
            "special": text not in tokenizer.shown,
        }
        for text, number in sorted(tokenizer.special.ids.items(), key=lambda entry: entry[1])
    ]


def added_token(text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": text, **flags, "special": True}


def frame_template(tokenizer: ByteTokens) -> dict[str, Any] | None:
    """The template that puts BOS before a text, and EOS after it; None if there is neither."""
    ids: dict[str, int] = {}
    frame: list[str | None] = [None]
    for number, adds, at in (
        (tokenizer.bos, tokenizer.add_bos, 0),
        (tokenizer.eos, tokenizer.add_eos, len(frame) + 1),
    ):
        if adds and number is not None:
            text = tokenizer.tokens[number].decode()
            ids[text] = number
            frame.insert(at, text)
    return template_of(ids, frame, frame) if ids else None


def template_of(
    ids: Mapping[str, int], first: Sequence[str | None], second: Sequence[str | None]
) -> dict[str, Any]:
    """The post-processor that puts special tokens around a text, and around a second one.

    The texts, which are None here, are of segments 0 and 1.
    """

    def pieces(names: Sequence[str | None], n: int) -> list[dict[str, Any]]:
        text = {"Sequence": {"id": "AB"[n], "type_id": n}}
        return [{"SpecialToken": {"id": name, "type_id": n}} if name else text for name in names]

    return {
        "type": "TemplateProcessing",
        "single": pieces(first, 0),
        "pair": [*pieces(first, 0), *pieces(second, 1)],
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in first if name
        },
    }


def json_bytes(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode()
