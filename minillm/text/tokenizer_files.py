"""Files of tokenizers: GPT-2's, BERT's, Hugging Face's, and ours.

    tokenizer.json              Hugging Face's; of it, byte-level BPE as GPT-2 has it, and WordPiece
                                as BERT has it
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocab.txt                   BERT's: a piece a line
    tokenizer_config.json       beside these two: whether a BERT's pieces are in lower case (beside
                                vocab.txt, if it is not there, they are)
    vocabulary.json             of one of our runs

The files of GPT-2 spell a byte as one printable character: those of Latin-1 that are visible as
themselves, the others, in their order, as U+0100 and the following.  A space is "Ġ", a line's end
"Ċ".
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minillm.errors import InputError, short
from minillm.text.bpe import BYTES, BytePairs, Pair
from minillm.text.vocabulary import Vocabulary, check_texts
from minillm.text.wordpiece import (
    CLS,
    LONGEST,
    MASK,
    PAD,
    PREFIX,
    SEP,
    SPECIALS,
    UNKNOWN,
    WordPieces,
)

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
    that cannot be done here: another kind of model, other words than GPT-2's or BERT's.
    """
    path = Path(path)
    names = ("tokenizer.json", "vocab.json", "vocab.txt", "vocabulary.json")
    if path.is_dir():
        found = next((path / name for name in names if (path / name).exists()), None)
        if found is None:
            raise InputError(f"{path}: expected one of {', '.join(names)}, found none of them")
        path = found
    if path.name.endswith("vocab.txt"):
        return read_bert(path, path.with_name("tokenizer_config.json"))
    if path.suffix == ".txt":  # merges.txt, whose ids stand beside it
        return read_gpt2(path.with_name("vocab.json"), path)
    values = _read_json(path)
    if isinstance(values.get("model"), dict):
        if values["model"].get("type") == "WordPiece":
            return _read_wordpieces(path, values, path.with_name("tokenizer_config.json"))
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


def _read_lines(path: Path) -> list[str]:
    """The lines of a text; the last one is empty, if the text ends with a line's end."""
    try:
        text = _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
        ) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _read_merges(path: Path) -> list[Pair]:
    """The pairs of merges.txt."""
    pairs = []
    for number, line in enumerate(_read_lines(path), start=1):
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


def _added(entries: object, *refused: str) -> dict[str, int]:
    """The added tokens and their ids; ValueError where one has a flag that is refused."""
    if not isinstance(entries, list):
        raise ValueError("added_tokens: expected a list")
    added: dict[str, int] = {}
    for entry in entries:
        token = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(token, str) or type(entry.get("id")) is not int or token in added:
            raise ValueError(
                f"added_tokens: expected distinct tokens with ids, found {short(entry)}"
            )
        for flag in ("single_word", "lstrip", "rstrip", *refused):
            if entry.get(flag):
                raise ValueError(f"added_tokens: {flag} of {short(token)} cannot be done here")
        added[token] = entry["id"]
    return added


# --- reading WordPiece ---------------------------------------------------------------------------

_ROLES = {
    "pad_token": PAD,
    "unk_token": UNKNOWN,
    "cls_token": CLS,
    "sep_token": SEP,
    "mask_token": MASK,
}
_NORMALIZER = {  # names of tokenizer_config.json, and of tokenizer.json
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_CLASSES = (None, "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")


def read_bert(vocabulary: Path, config: Path) -> WordPieces:
    """The tokenizer in vocab.txt, and in tokenizer_config.json if there is such a file."""
    values = _read_json(config) if config.exists() else {}
    options = _checked(config, lambda: _options_of(values))
    tokens = _checked(vocabulary, lambda: _read_pieces(vocabulary))
    specials = _checked(config, lambda: _specials_of(values, tokens))
    return _checked(vocabulary, lambda: WordPieces(tokens, specials=specials, **options))


def _read_pieces(path: Path) -> list[str]:
    """The lines of vocab.txt."""
    lines = _read_lines(path)
    if lines[-1] == "":
        lines.pop()
    places: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            raise ValueError(f"line {number}: expected a token, found nothing")
        if places.setdefault(line, number) != number:
            raise ValueError(f"line {number}: {short(line)} stands in line {places[line]} already")
    return lines


def _options_of(values: dict[str, Any]) -> dict[str, Any]:
    """What tokenizer_config.json says of the words; ValueError for another tokenizer's."""
    if _class_of(values) not in _CLASSES:
        name = short(values["tokenizer_class"])
        raise ValueError(f"tokenizer_class: expected 'BertTokenizer', found {name}")
    for role, token in _ROLES.items():
        found = values.get(role)
        found = found.get("content") if isinstance(found, dict) else found
        if found not in (None, token):
            raise ValueError(f"{role}: expected {token!r}, found {short(found)}")
    return {
        "lower_case": _flag(values, "do_lower_case", True),
        "strip_accents": _flag(values, "strip_accents", None),
        "split_ideographs": _flag(values, "tokenize_chinese_chars", True),
    }


def _class_of(values: dict[str, Any]) -> Any:
    name = values.get("tokenizer_class")
    return name.removesuffix("Fast") if isinstance(name, str) else name


def _flag(values: dict[str, Any], name: str, default: Any) -> Any:
    found = values.get(name)
    if found is not None and not isinstance(found, bool):
        raise ValueError(f"{name}: expected true or false, found {short(found)}")
    return default if found is None else found


def _specials_of(values: dict[str, Any], tokens: list[str]) -> list[str]:
    """The special tokens that tokenizer_config.json names; BERT's, if it names none."""
    if values.get("added_tokens_decoder") is None:
        return list(SPECIALS)
    entries = _object(values, "added_tokens_decoder")
    added = _added(
        [
            {**entry, "id": int(id) if id.isdecimal() else None}
            if isinstance(entry, dict)
            else entry
            for id, entry in entries.items()
        ],
        "normalized",
    )
    for token, id in added.items():
        if id >= len(tokens) or tokens[id] != token:
            raise ValueError(
                f"added_tokens_decoder: expected tokens of the vocabulary with their ids, found "
                f"{short(token)} with {short(id)}"
            )
    return list(added)


def _read_wordpieces(path: Path, values: dict[str, Any], config: Path) -> WordPieces:
    """The tokenizer in tokenizer.json; of its words, a BERT's tokenizer_config.json is right."""
    beside = _read_json(config) if config.exists() else {}
    if _class_of(beside) in _CLASSES:
        normalizer = values.get("normalizer")
        named = {theirs: beside[name] for name, theirs in _NORMALIZER.items() if name in beside}
        if isinstance(normalizer, dict) and named:
            _checked(config, lambda: _options_of(beside))
            values = {**values, "normalizer": normalizer | named}
    return _checked(path, lambda: _wordpieces_from_hugging_face(values))


def _wordpieces_from_hugging_face(values: dict[str, Any]) -> WordPieces:
    model, normalizer = _object(values, "model"), _object(values, "normalizer")
    words = _object(values, "pre_tokenizer")
    decoder = _object(values, "decoder") if values.get("decoder") is not None else {}
    for where, owner, name, allowed in (
        ("model.", model, "unk_token", (UNKNOWN,)),
        ("model.", model, "continuing_subword_prefix", (PREFIX,)),
        ("model.", model, "max_input_chars_per_word", (LONGEST,)),
        ("normalizer.", normalizer, "type", ("BertNormalizer",)),
        ("normalizer.", normalizer, "clean_text", (True, None)),
        ("pre_tokenizer.", words, "type", ("BertPreTokenizer",)),
        ("decoder.", decoder, "type", ("WordPiece", None)),
        ("decoder.", decoder, "prefix", (PREFIX, None)),
    ):
        if owner.get(name) not in allowed:
            raise ValueError(
                f"{where}{name}: expected {short(allowed[0])}, found {short(owner.get(name))}"
            )
    _check_template(values.get("post_processor"))
    ids = _ids_of(model.get("vocab"), "model.vocab: an id to each token")
    added = _added(values.get("added_tokens", []), "normalized")
    for token, id in added.items():
        if ids.setdefault(token, id) != id:
            raise ValueError(f"expected the id {ids[token]} of {short(token)}, found {short(id)}")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"expected as ids each number from 0 to {len(ids) - 1} once")
    return WordPieces(
        check_texts(sorted(ids, key=lambda token: ids[token]), "model.vocab"),
        _flag(normalizer, "lowercase", True),
        _flag(normalizer, "strip_accents", None),
        _flag(normalizer, "handle_chinese_chars", True),
        list(added),
    )


def _check_template(found: Any) -> None:
    """ValueError unless what is put around a text is [CLS] and [SEP], or nothing."""
    match found:
        case None:
            return
        case {"type": "BertProcessing", "sep": [str(sep), int()], "cls": [str(cls), int()]}:
            added = [cls, "A", sep]
        case {"type": "TemplateProcessing", "single": [*parts]}:
            added = [_part_of_template(part) for part in parts]
        case _:
            added = [short(found)]
    if added not in ([CLS, "A", SEP], ["A"]):
        raise ValueError(f"post_processor: expected {CLS} A {SEP}, found {' '.join(added)[:80]}")


def _part_of_template(part: Any) -> str:
    match part:
        case {"SpecialToken": {"id": str(token)}}:
            return token
        case {"Sequence": {"id": "A"}}:
            return "A"
    return short(part)


# --- writing -------------------------------------------------------------------------------------


def tokenizer_files(tokenizer: BytePairs | WordPieces) -> dict[str, bytes]:
    """The contents of the files that other programs read, by name.

    Of byte pairs tokenizer.json, vocab.json and merges.txt; of pieces of words tokenizer.json,
    vocab.txt and tokenizer_config.json.
    """
    if isinstance(tokenizer, WordPieces):
        return _files_of_wordpieces(tokenizer)
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


def _files_of_wordpieces(tokenizer: WordPieces) -> dict[str, bytes]:
    for token in tokenizer.tokens:
        if "\n" in token or "\r" in token:
            raise InputError(f"vocab.txt: cannot hold a token with a line's end: {short(token)}")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    ids = {token: id for id, token in enumerate(tokenizer.tokens)}
    added = {
        ids[token]: {"content": token, **flags, "special": True} for token in tokenizer.specials
    }
    normalizer = {"type": "BertNormalizer", "clean_text": True}
    normalizer |= {"handle_chinese_chars": tokenizer.split_ideographs}
    normalizer |= {"strip_accents": tokenizer.strip_accents, "lowercase": tokenizer.lower_case}
    model = {"type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": PREFIX}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id, **entry} for id, entry in sorted(added.items())],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _template(ids) if CLS in ids and SEP in ids else None,
        "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        "model": {**model, "max_input_chars_per_word": LONGEST, "vocab": ids},
    }
    config: dict[str, Any] = {"tokenizer_class": "BertTokenizer"}
    config |= {"do_lower_case": tokenizer.lower_case, "strip_accents": tokenizer.strip_accents}
    config |= {"tokenize_chinese_chars": tokenizer.split_ideographs}
    config |= {role: token for role, token in _ROLES.items() if token in ids}
    config |= {"added_tokens_decoder": {str(id): entry for id, entry in sorted(added.items())}}
    return {
        "tokenizer.json": _json(whole),
        "vocab.txt": "".join(f"{token}\n" for token in tokenizer.tokens).encode(),
        "tokenizer_config.json": _json(config),
    }


def _template(ids: dict[str, int]) -> dict[str, Any]:
    """[CLS] A [SEP], and [CLS] A [SEP] B [SEP], whose second text is of another segment."""

    def special(token: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": segment}}

    first, second = ({"Sequence": {"id": "AB"[n], "type_id": n}} for n in (0, 1))
    single = [special(CLS, 0), first, special(SEP, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, second, special(SEP, 1)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (CLS, SEP)
        },
    }


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode()
