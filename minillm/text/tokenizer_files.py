"""Files of tokenizers: GPT-2's, Hugging Face's, and ours.

    tokenizer.json              Hugging Face's; of it, byte-level BPE as GPT-2 has it
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocabulary.json             of one of our runs

The first two spell a byte as one printable character: those of Latin-1 that are visible as
themselves, the others, in their order, as U+0100 and the following.  A space is "Ġ", a line's end
"Ċ".
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minillm.errors import InputError, short
from minillm.text.bpe import BYTES, BytePairs, Pair
from minillm.text.vocabulary import Vocabulary

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_SPELLED = {value: chr(value) for value in _PRINTABLE} | {
    value: chr(256 + number) for number, value in enumerate(_OTHERS)
}
_VALUES = {character: value for value, character in _SPELLED.items()}

_VERSION_LINE = "#version: 0.2"
_FORMAT_VERSION = 1  # of a run's files


def spell(token: bytes) -> str:
    """A token as files write it.

    >>> spell(b" caf\\xc3\\xa9")
    'ĠcafÃ©'
    """
    return "".join(_SPELLED[value] for value in token)


def unspell(text: str) -> bytes:
    """The token that files write so; ValueError for a character that stands for no byte."""
    for character in text:
        if character not in _VALUES:
            raise ValueError(f"expected characters that stand for bytes, found {short(character)}")
    return bytes([_VALUES[character] for character in text])


# --- reading -------------------------------------------------------------------------------------


def load_tokenizer(path: str | Path) -> Vocabulary:
    """The tokenizer in a file, or in a folder that has one of the files named above.

    >>> ids = load_tokenizer("gpt2/").encode("text")  # int32 (T,)  # doctest: +SKIP

    InputError, a line with the file, for one that is missing or damaged, or that says something
    that cannot be done here: another kind of model, a normalizer, other words than GPT-2's.
    """
    path = Path(path)
    names = ("tokenizer.json", "vocab.json", "vocab.txt", "vocabulary.json")
    if path.is_dir():
        found = next((path / name for name in names if (path / name).exists()), None)
        if found is None:
            raise InputError(f"{path}: expected one of {', '.join(names)}, found none of them")
        path = found
    if path.name == "vocab.txt":
        raise InputError(f"{path}: a vocabulary of WordPiece cannot be read yet")
    if path.suffix == ".txt":  # merges.txt, whose ids stand beside it
        return read_gpt2(path.with_name("vocab.json"), path)
    values = _read_json(path)
    if isinstance(values.get("model"), dict):
        return _checked(path, lambda: _from_hugging_face(values))
    if isinstance(values.get("unit"), str):
        return _checked(path, lambda: _from_run(values))
    return read_gpt2(path, path.with_name("merges.txt"))


def read_gpt2(vocabulary: Path, merges: Path) -> BytePairs:
    """The tokenizer in GPT-2's two files."""
    ids = _checked(vocabulary, lambda: _ids_of(_read_json(vocabulary), "an id to each token"))
    pairs = _checked(merges, lambda: _read_merges(merges))
    return _checked(merges, lambda: _assemble(ids, pairs, {}))


def _checked(path: Path, make: Callable[[], Any]) -> Any:
    """What ``make`` returns; its ValueError as an InputError that names the file."""
    try:
        return make()
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _read_json(path: Path) -> dict[str, Any]:
    def without_repetition(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(entries)
        if len(values) < len(entries):
            names = [name for name, _ in entries]
            twice = next(name for name in values if names.count(name) > 1)
            raise ValueError(f"{short(twice)} stands there twice")
        return values

    data = _read_bytes(path)
    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=without_repetition)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, but it is damaged: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _read_merges(path: Path) -> list[Pair]:
    """The pairs of merges.txt."""
    try:
        text = _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
        ) from None
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            if line not in ("", _VERSION_LINE):
                raise ValueError(f"line 1: expected {_VERSION_LINE!r}, found {short(line)}")
            continue
        try:
            pairs.append(_pair(line.split(" ")))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return pairs


def _pair(tokens: object) -> Pair:
    match tokens:
        case [str(left), str(right)] if left and right:
            return unspell(left), unspell(right)
    raise ValueError(f"expected two tokens, found {short(tokens)}")


def _ids_of(values: object, expected: str) -> dict[str, int]:
    if not isinstance(values, dict) or any(type(id) is not int for id in values.values()):
        raise ValueError(f"expected {expected}")
    return values


def _assemble(ids: dict[str, int], pairs: list[Pair], added: dict[str, int]) -> BytePairs:
    """The tokenizer in which each token has the id that the files give to it.

    What neither is a byte nor is merged has to be a special token: one of ``added``, or one that
    is written as <...> or [...].
    """
    merged = list(dict.fromkeys(left + right for left, right in pairs))
    learned = list(dict.fromkeys([*BYTES, *merged]))
    numbers = []
    for token in learned:
        if spell(token) not in ids:
            raise ValueError(f"the vocabulary has no id for {short(spell(token))}")
        numbers.append(ids[spell(token)])
    known = set(map(spell, learned))
    specials = {token: id for token, id in ids.items() if token not in known}
    for text in specials:
        bracketed = text[:1] + text[-1:] in ("<>", "[]") and len(text) > 2
        if text not in added and not bracketed:
            raise ValueError(f"the token {short(text)} is neither a byte nor made by a merge")
    for text, id in added.items():
        if ids.get(text, id) != id:
            raise ValueError(f"expected the id {ids[text]} of {short(text)}, found {short(id)}")
    specials |= added
    specials = dict(sorted(specials.items(), key=lambda entry: entry[1]))
    return BytePairs(pairs, list(specials), [*numbers, *specials.values()])


def _from_run(values: dict[str, Any]) -> Vocabulary:
    from minillm.text import vocabulary_from_dict

    version = values.get("format_version")
    if version != _FORMAT_VERSION:
        raise ValueError(f"expected format version {_FORMAT_VERSION}, found {short(version)}")
    return vocabulary_from_dict(values)


def _from_hugging_face(values: dict[str, Any]) -> BytePairs:
    model = _object(values, "model")
    for owner, name, allowed in (
        (values, "normalizer", (None,)),
        (model, "type", ("BPE", None)),
        (model, "dropout", (None, 0)),
        (model, "continuing_subword_prefix", (None, "")),
        (model, "end_of_word_suffix", (None, "")),
        (model, "ignore_merges", (None, False)),
    ):
        if owner.get(name) not in allowed:
            where = name if owner is values else f"model.{name}"
            raise ValueError(f"{where}: expected {short(allowed[0])}, found {short(owner[name])}")
    for name in ("pre_tokenizer", "decoder", "post_processor"):
        part = _object(values, name) if values.get(name) is not None else {}
        if name == "post_processor" and _adds_nothing(part):
            continue
        if part.get("type") != "ByteLevel" and (part or name == "pre_tokenizer"):
            raise ValueError(f"{name}: expected type 'ByteLevel', found {short(part.get('type'))}")
    words = _object(values, "pre_tokenizer")
    for name, expected in (("add_prefix_space", False), ("use_regex", True)):
        if words.get(name, True) is not expected:
            found = json.dumps(words.get(name, True))[:60]
            raise ValueError(
                f"pre_tokenizer.{name}: expected {json.dumps(expected)}, found {found}"
            )
    ids = _ids_of(model.get("vocab"), "model.vocab: an id to each token")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise ValueError("expected model.merges: a list of pairs")
    pairs = [_pair(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    return _assemble(ids, pairs, _added(values.get("added_tokens", [])))


def _adds_nothing(template: dict[str, Any]) -> bool:
    """Whether a post-processor is a template without special tokens: transformers 5 writes one."""
    return template.get("type") == "TemplateProcessing" and template.get("special_tokens") == {}


def _object(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected an object, found {type(found).__name__}")
    return found


def _added(entries: object) -> dict[str, int]:
    """The added tokens and their ids."""
    if not isinstance(entries, list):
        raise ValueError("added_tokens: expected a list")
    added: dict[str, int] = {}
    for entry in entries:
        token = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(token, str) or type(entry.get("id")) is not int or token in added:
            raise ValueError(
                f"added_tokens: expected distinct tokens with ids, found {short(entry)}"
            )
        for flag in ("single_word", "lstrip", "rstrip"):
            if entry.get(flag):
                raise ValueError(f"added_tokens: {flag} of {short(token)} cannot be done here")
        added[token] = entry["id"]
    return added


# --- writing -------------------------------------------------------------------------------------


def tokenizer_files(tokenizer: BytePairs) -> dict[str, bytes]:
    """The contents of tokenizer.json, vocab.json and merges.txt, by name."""
    special = {text: tokenizer.id_of(text.encode()) for text in tokenizer.specials}
    learned = {spell(t): id for id, t in enumerate(tokenizer.tokens) if id not in special.values()}
    merges = [f"{spell(left)} {spell(right)}" for left, right in tokenizer.merges]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    byte_level["use_regex"] = True
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False}
    model |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False}
    ordered = dict(sorted({**learned, **special}.items(), key=lambda entry: entry[1]))
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": text, **flags, "special": True} for text, id in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {**byte_level, "trim_offsets": False},
        "decoder": byte_level,
        "model": {**model, "vocab": ordered, "merges": merges},
    }
    return {
        "tokenizer.json": _json(whole),
        "vocab.json": _json(ordered),
        "merges.txt": "\n".join([_VERSION_LINE, *merges, ""]).encode(),
    }


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode()
