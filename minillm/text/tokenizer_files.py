"""Files of tokenizers: GPT-2's, BERT's, Hugging Face's, and ours.

    tokenizer.json              Hugging Face's; with byte-level BPE as in GPT-2, SmolLM or Llama 3,
                                WordPiece as in BERT, or SentencePiece's tokens as in Gemma
    tokenizer.model             SentencePiece's: byte pairs or a unigram model
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocab.txt                   BERT's: a piece a line
    tokenizer_config.json       next to the others: BERT's says whether its pieces are in lower case
                                (without this file, the pieces of a vocab.txt are), one of byte
                                pairs which tokens open and close a text; entries that change the
                                ids in other ways are refused
    vocabulary.json             of one of our runs

The files of GPT-2 spell a byte as one printable character: the visible ones of Latin-1 as
themselves, the others, in their order, from U+0100 on.  A space is "Ġ", a line's end "Ċ".
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json, warn_of_unknown
from minillm.data.lines import read_lines
from minillm.errors import InputError, short
from minillm.text.bpe import BYTES, PATTERN, PATTERNS, Pair
from minillm.text.byte_pairs import BytePairs
from minillm.text.byte_tokens import ByteTokens
from minillm.text.sentence_pieces import SentencePieces
from minillm.text.sentencepiece_files import (
    files_of_pieces,
    is_sentencepiece,
    read_json_pieces,
    read_model,
)
from minillm.text.tokenizer_json import (
    added_of,
    added_token,
    added_tokens,
    frame_of,
    frame_template,
    ids_of,
    json_bytes,
    merges_of,
    steps_of,
    template_of,
    tokenizer_json,
    with_added,
)
from minillm.text.units import vocabulary_from_dict
from minillm.text.vocabulary import Vocabulary, check_texts, flag
from minillm.text.word_pieces import (
    CLS,
    MASK,
    MPNET_CLS,
    MPNET_MASK,
    MPNET_PAD,
    MPNET_SEP,
    PAD,
    SEP,
    WordPieces,
)
from minillm.text.wordpiece import LONGEST, PREFIX, UNKNOWN

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_SPELLED = {value: chr(value) for value in _PRINTABLE} | {
    value: chr(256 + number) for number, value in enumerate(_OTHERS)
}
_VALUES = {character: value for value, character in _SPELLED.items()}

_VERSION_LINE = "#version: 0.2"
_FORMAT_VERSION = 1  # of a run's files


def spell(token: bytes) -> str:
    """A token as the files spell it.

    >>> spell(b" caf\\xc3\\xa9")
    'ĠcafÃ©'
    """
    return "".join(_SPELLED[value] for value in token)


def unspell(text: str) -> bytes:
    """The token of a spelling; ValueError for a character that stands for no byte."""
    for character in text:
        if character not in _VALUES:
            raise ValueError(f"expected characters that stand for bytes, found {short(character)}")
    return bytes([_VALUES[character] for character in text])


# --- reading -------------------------------------------------------------------------------------


def load_tokenizer(path: str | Path) -> Vocabulary:
    """The tokenizer in a file, or in a folder that has one of the files listed above.

    >>> ids = load_tokenizer("gpt2/").encode("text")  # int32 (T,)  # doctest: +SKIP

    InputError, one line with the file, if a file is missing or damaged, or describes a tokenizer
    that is not supported: another kind of model, or other words than GPT-2's or BERT's.
    """
    path = Path(path)
    names = (
        *("tokenizer.json", "vocab.json", "vocab.txt"),
        *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocabulary.json"),
    )
    if path.is_dir():
        files = [path / name for name in names if (path / name).exists()]
        if not files:
            raise InputError(f"{path}: expected one of {', '.join(names)}, found none of them")
        path = files[0]
    config = path.with_name("tokenizer_config.json")
    if path.name.endswith("vocab.txt"):
        return read_bert(path, config)
    if path.suffix == ".model":
        return read_model(path, _read_config(config))
    if path.suffix == ".txt":  # merges.txt, beside which are the ids
        return read_gpt2(path.with_name("vocab.json"), path)
    file = Entries(path, read_json(path))
    with in_file(path):
        if isinstance(model := file.values.get("model"), dict):
            if is_sentencepiece(file.values):
                values = _read_config(config).values
                return read_json_pieces(file, token_texts(config, values, "bos", "eos"))
            read = _read_pieces if model.get("type") == "WordPiece" else _read_byte_pairs
            return read(file, config)
        if isinstance(file.values.get("unit"), str):
            file.check_nested({"format_version": (_FORMAT_VERSION,)})
            return vocabulary_from_dict(file.values)
    return read_gpt2(path, path.with_name("merges.txt"))


# Entries of any tokenizer_config.json that are read, here or elsewhere, or that change no ids.
_KNOWN = {
    "add_bos_token", "add_eos_token", "add_prefix_space", "added_tokens_decoder",
    "additional_special_tokens", "auto_map", "backend", "bos_token", "chat_template",
    "clean_up_tokenization_spaces", "cls_token", "do_basic_tokenize", "do_lower_case", "eos_token",
    "errors", "extra_special_tokens", "from_slow", "is_local", "legacy", "local_files_only",
    "mask_token", "max_len", "max_length", "model_input_names", "model_max_length",
    "model_specific_special_tokens", "name_or_path", "never_split", "pad_to_multiple_of",
    "pad_token", "pad_token_type_id", "padding_side", "processor_class", "response_schema",
    "return_token_type_ids", "sep_token", "sp_model_kwargs", "spaces_between_special_tokens",
    "special_tokens_map_file", "split_special_tokens", "stride", "strip_accents",
    "tokenize_chinese_chars", "tokenizer_class", "tokenizer_file", "trim_offsets",
    "truncation_side", "truncation_strategy", "unk_token", "use_default_system_prompt", "use_fast",
    "vocab_size",
}  # fmt: skip


def _read_config(path: Path, byte_pairs: bool = False) -> Entries:
    """The entries of tokenizer_config.json; none without a file.

    InputError for one that makes other ids than the tokenizer's own files do, a warning of others
    that are not known.
    """
    config = Entries(path, read_json(path) if path.exists() else {})
    refused = {"split_special_tokens": (False, None)}
    heed = (None, "GPT2Tokenizer", "RobertaTokenizer")  # others ignore it
    if byte_pairs and _class_of(config) in heed:
        refused["add_prefix_space"] = (False, None)
    config.check_nested(refused)
    warn_of_unknown(path, config.values, _KNOWN)
    return config


def _class_of(config: Entries) -> Any:
    name = config.values.get("tokenizer_class")
    return name.removesuffix("Fast") if isinstance(name, str) else name


# --- byte pairs ----------------------------------------------------------------------------------


def read_gpt2(vocabulary: Path, merges: Path) -> BytePairs:
    """The tokenizer in GPT-2's two files."""
    _read_config(vocabulary.with_name("tokenizer_config.json"), byte_pairs=True)
    with in_file(vocabulary):
        ids = ids_of(read_json(vocabulary), "an id to each token")
    pairs = _read_merges(merges)
    with in_file(merges):
        return assemble(ids, pairs, {})


def _read_merges(path: Path) -> list[Pair]:
    """The pairs of merges.txt."""
    pairs = []
    for number, (line, place) in enumerate(read_lines(path, regular=True)):
        if line and not (number == 0 and line.startswith("#version")):
            with in_file(place):
                pairs.append(_pair(line.split(" ")))
    return pairs


def _pair(tokens: object) -> Pair:
    match tokens:
        case [str(left), str(right)] if left and right:
            return unspell(left), unspell(right)
    raise ValueError(f"expected two tokens, found {short(tokens)}")


def assemble(
    ids: dict[str, int],
    pairs: list[Pair],
    added: dict[str, int],
    listed: bool = False,
    **options: Any,
) -> BytePairs:
    """Make a tokenizer with the ids of the files, which spell tokens: see :func:`spell`.

    A token that is neither a byte nor merged has to be special: ``added``, or written as <...> or
    [...].  If all special tokens are ``listed`` there, no text becomes another one in brackets; no
    text ever becomes one of the tokens that fill up RoBERTa's vocabulary.  A byte that no merge
    takes may be missing.  The options go to BytePairs.  ValueError if these do not fit together.
    """
    learned = list(dict.fromkeys([*BYTES, *(left + right for left, right in pairs)]))
    spelled = list(map(spell, learned))
    merged = set().union(*pairs)
    for token, text in zip(learned, spelled, strict=True):
        if text not in ids and (len(token) > 1 or token in merged):
            raise ValueError(f"the vocabulary has no id for {short(text)}")
    ordinary = set(spelled)
    specials = {token: ids[token] for token in ids if token not in ordinary}
    unused = []
    for text in specials.keys() - added:
        bracketed = text[:1] + text[-1:] in ("<>", "[]") and len(text) > 2
        filling = _FILLING.fullmatch(text)
        if not bracketed and not filling:
            raise ValueError(f"the token {short(text)} is neither a byte nor made by a merge")
        if filling or listed:
            unused.append(text)
    with_added(ids, added)
    specials = dict(sorted((specials | added).items(), key=lambda entry: entry[1]))
    numbers = [*(ids.get(text, -1) for text in spelled), *specials.values()]
    return BytePairs(pairs, list(specials), numbers, unused=sorted(unused), **options)


_FILLING = re.compile(r"madeupword\d+")


_BYTE_LEVEL = {
    "model.dropout": (None, 0),
    "model.continuing_subword_prefix": (None, ""),
    "model.end_of_word_suffix": (None, ""),
    "model.ignore_merges": (None, False, True),
    "decoder.type": ("ByteLevel", None),
}
_BY_LEVEL = {"pre_tokenizer.type": ("ByteLevel",), "pre_tokenizer.add_prefix_space": (False,)}
_BY_REGEX = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_DIGITS = {"type": "Digits", "individual_digits": True}
_DIGIT = r"\p{N}"  # the expression that does the same


def _read_byte_pairs(file: Entries, config: Path) -> BytePairs:
    """The tokenizer in tokenizer.json; tokenizer_config.json may name BOS and EOS."""
    ends = token_texts(config, _read_config(config, byte_pairs=True).values, "bos", "eos")
    file.check_nested({"model.type": ("BPE", None)})  # first: others have other entries
    file.check_nested(_BYTE_LEVEL)
    model, frame = file.values["model"], frame_of(file)
    ids = ids_of(model.get("vocab"), "model.vocab: an id to each token")
    added = added_of(file.values.get("added_tokens", []))
    return assemble(
        ids,
        [_pair(pair) for pair in merges_of(model)],
        added.ids,
        pattern=_pattern_of(file),
        listed=bool(added.ids),
        whole=bool(model.get("ignore_merges")),
        nfc=_is_composed(file),
        **ends | frame | added.options,
    )


def _is_composed(file: Entries) -> bool:
    """Whether the normalizer composes characters (NFC); InputError for another one."""
    steps = steps_of(file.values.get("normalizer"), "normalizers")
    if steps not in ([], [{"type": "NFC"}]):
        raise file.wrong("normalizer", "null or NFC")
    return bool(steps)


def _pattern_of(file: Entries) -> str:
    """The name of the pattern by which a pre-tokenizer cuts words; InputError for another one."""
    steps: list[Any]
    *steps, last = [{}, *steps_of(file.values.get("pre_tokenizer"), "pretokenizers")]
    Entries(file.path, {"pre_tokenizer": last}).check_nested(_BY_LEVEL)
    expressions = [_expression_of(step) for step in steps[1:]]
    if last.get("use_regex") is not False:
        expressions.append(PATTERN)
    if expressions == [_DIGIT, PATTERN]:
        return "smollm"
    for name, pattern in PATTERNS.items():
        if tuple(expressions) == pattern:
            return name
    known = ", ".join(PATTERNS)
    raise InputError(
        f"{file.path}: pre_tokenizer: expected the words of one of {known}, "
        f"found {short(expressions)}"
    )


def _expression_of(step: Any) -> str:
    """The expression whose matches are parts, as are the texts between them; ValueError."""
    match step:
        case {"type": "Digits", "individual_digits": True}:
            return _DIGIT
        case {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": behavior} if (
            (behavior, step.get("invert", False)) == ("Isolated", False)
            # What does not match is removed, but there is nothing that these do not match.
            or (behavior, step.get("invert"), (expression,) in PATTERNS.values())
            == ("Removed", True, True)
        ):
            return expression.replace("\r", r"\r").replace("\n", r"\n")
    raise ValueError(f"pre_tokenizer: expected Split or Digits, found {short(step)}")


def token_texts(path: Path, values: Mapping[str, Any], *names: str) -> dict[str, str]:
    """The texts of tokens, such as ``bos``, that a tokenizer_config.json names."""
    texts = {}
    for name in names:
        token = _content_of(values.get(f"{name}_token"))
        if token is not None:
            texts[name] = Entries(path, {f"{name}_token": token}).text(f"{name}_token")
    return texts


# --- pieces of words -----------------------------------------------------------------------------

_ROLES = {
    "pad_token": PAD,
    "unk_token": UNKNOWN,
    "cls_token": CLS,
    "sep_token": SEP,
    "mask_token": MASK,
}
_MPNET, _MPNET_ROLES = (
    "MPNetTokenizer",
    {
        "pad_token": MPNET_PAD,
        "unk_token": UNKNOWN,
        "cls_token": MPNET_CLS,
        "sep_token": MPNET_SEP,
        "mask_token": MPNET_MASK,
    },
)
_NORMALIZER = {  # names of tokenizer_config.json, and of tokenizer.json
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_CLASSES = (None, "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", _MPNET)


def read_bert(vocabulary: Path, config: Path) -> WordPieces:
    """The tokenizer in vocab.txt, and in tokenizer_config.json if there is such a file."""
    beside = _read_config(config)
    options = _options_of(beside)
    tokens, roles = _lines_of(vocabulary), {*_roles_of(beside).values()}
    specials = [token for token in tokens if token in roles]
    if beside.values.get("added_tokens_decoder") is not None:
        _check_specials(beside, specials)
    with in_file(vocabulary):
        return WordPieces(tokens, specials=specials, **options)


def _lines_of(path: Path) -> list[str]:
    """The lines of vocab.txt."""
    places: dict[str, int] = {}
    for number, (line, place) in enumerate(read_lines(path, regular=True), start=1):
        if not line:
            raise InputError(f"{place}: expected a token, found nothing")
        if places.setdefault(line, number) != number:
            raise InputError(
                f"{place}: expected each token once, found {short(line)} of line {places[line]}"
            )
    return list(places)


def _options_of(config: Entries) -> dict[str, Any]:
    """The options of tokenizer_config.json; InputError if it is another tokenizer's."""
    if _class_of(config) not in _CLASSES:
        raise config.wrong("tokenizer_class", "'BertTokenizer'")
    values = {role: _content_of(config.values.get(role)) for role in _ROLES}
    roles = {role: (token, None) for role, token in _roles_of(config).items()}
    Entries(config.path, values).check_nested(roles)
    with in_file(config.path):
        return {
            "lower_case": flag(config.values, "do_lower_case", True),
            "strip_accents": flag(config.values, "strip_accents", None),
            "split_ideographs": flag(config.values, "tokenize_chinese_chars", True),
        }


def _roles_of(config: Entries) -> dict[str, str]:
    """The texts of the special tokens, by their names in tokenizer_config.json."""
    named = _class_of(config) or _content_of(config.values.get("cls_token"))
    return _MPNET_ROLES if named in (_MPNET, MPNET_CLS) else _ROLES


def _content_of(token: Any) -> Any:
    """The text of a token, which some files write as an object with flags."""
    return token.get("content") if isinstance(token, dict) else token


def _check_specials(config: Entries, specials: list[str]) -> None:
    """InputError for other special tokens than these: tokenizer.json can have them."""
    decoder = config.values["added_tokens_decoder"]
    if not isinstance(decoder, dict):
        raise config.wrong("added_tokens_decoder", "an object")
    for token in map(_content_of, decoder.values()):
        if token not in specials:
            expected = ", ".join(specials)
            raise Entries(config.path, {"added_tokens_decoder": token}).wrong(
                "added_tokens_decoder", expected
            )


def _read_pieces(file: Entries, config: Path) -> WordPieces:
    """The tokenizer in tokenizer.json; a BERT's tokenizer_config.json overrides its normalizer."""
    beside, normalizer = _read_config(config), file.values.get("normalizer")
    if _class_of(beside) in _CLASSES and isinstance(normalizer, dict):
        named = {
            theirs: beside.values[ours]
            for ours, theirs in _NORMALIZER.items()
            if ours in beside.values
        }
        if named:
            _options_of(beside)
            file = Entries(file.path, {**file.values, "normalizer": normalizer | named})
    file.check_nested(_WORDPIECE)
    _check_template(file.values.get("post_processor"))
    normalizer, entries = file.values["normalizer"], file.values.get("added_tokens", [])
    added = added_of(entries).ids  # white space beside them is dropped anyway
    vocabulary = ids_of(file.values["model"].get("vocab"), "model.vocab: an id to each token")
    ids = with_added(vocabulary, added)
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(
            f"expected as ids each number from 0 to {len(ids) - 1} once, "
            f"found {short(sorted(ids.values()))}"
        )
    return WordPieces(
        check_texts(sorted(ids, key=lambda token: ids[token]), "model.vocab"),
        lower_case=flag(normalizer, "lowercase", True),
        strip_accents=flag(normalizer, "strip_accents", None),
        split_ideographs=flag(normalizer, "handle_chinese_chars", True),
        specials=list(added),
        normalised=[entry["content"] for entry in entries if entry.get("normalized")],
    )


_WORDPIECE = {
    "model.unk_token": (UNKNOWN,),
    "model.continuing_subword_prefix": (PREFIX,),
    "model.max_input_chars_per_word": (LONGEST,),
    "normalizer.type": ("BertNormalizer",),
    "normalizer.clean_text": (True, None),
    "pre_tokenizer.type": ("BertPreTokenizer",),
    "decoder.type": ("WordPiece", None),
    "decoder.prefix": (PREFIX, None),
}


_FRAMES = ((CLS, SEP), (MPNET_CLS, MPNET_SEP))


def _check_template(template: Any) -> None:
    """ValueError unless a text gets [CLS] and [SEP] around it, or MPNet's tokens, or nothing."""
    match template:
        case None:
            return
        case {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": cls}},
                {"Sequence": {"id": "A"}},
                {"SpecialToken": {"id": sep}},
            ],
        } if (cls, sep) in _FRAMES:
            return
        case {
            "type": "BertProcessing" | "RobertaProcessing",
            "cls": [cls, int()],
            "sep": [sep, int()],
        } if (cls, sep) in _FRAMES:
            return
    raise ValueError(f"post_processor: expected {CLS} A {SEP}, found {short(template)}")


# --- writing -------------------------------------------------------------------------------------


def tokenizer_files(tokenizer: ByteTokens | WordPieces) -> dict[str, bytes]:
    """The contents of the files that other programs read, by name.

    For byte pairs tokenizer.json, vocab.json and merges.txt; for pieces of words tokenizer.json,
    vocab.txt and tokenizer_config.json; for SentencePiece's tokens tokenizer.json.
    """
    if isinstance(tokenizer, SentencePieces):
        return files_of_pieces(tokenizer)
    if isinstance(tokenizer, WordPieces):
        return _files_of_wordpieces(tokenizer)
    assert isinstance(tokenizer, BytePairs)
    return _files_of_byte_pairs(tokenizer)


def _files_of_byte_pairs(tokenizer: BytePairs) -> dict[str, bytes]:
    special = {number: text for text, number in tokenizer.ids_of_specials.items()}
    ids = {special.get(n) or spell(token): n for n, token in enumerate(tokenizer.tokens)}
    merges = [f"{spell(left)} {spell(right)}" for left, right in tokenizer.merges]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "fuse_unk": False,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "byte_fallback": False,
        "ignore_merges": tokenizer.whole,
        "vocab": ids,
        "merges": merges,
    }
    whole = tokenizer_json(
        added_tokens(tokenizer),
        normalizer={"type": "NFC"} if tokenizer.nfc else None,
        pre_tokenizer=_pre_tokenizer(tokenizer.pattern),
        post_processor=_post_processor(tokenizer),
        decoder=_BY_REGEX,
        model=model,
    )
    return {
        "tokenizer.json": whole,
        "vocab.json": json_bytes(ids),
        "merges.txt": "\n".join([_VERSION_LINE, *merges, ""]).encode(),
    }


def _post_processor(tokenizer: BytePairs) -> dict[str, Any]:
    """The post-processor, which puts BOS before a text, and EOS after it, if the tokenizer does."""
    plain = {**_BY_REGEX, "trim_offsets": False}
    template = frame_template(tokenizer)
    return {"type": "Sequence", "processors": [plain, template]} if template else plain


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    """The pre-tokenizer that cuts words by a pattern."""
    if pattern == "gpt-2":
        return _BY_REGEX
    if pattern == "smollm":
        return {"type": "Sequence", "pretokenizers": [_DIGITS, _BY_REGEX]}
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    steps = [
        _DIGITS if expression == _DIGIT else {**split, "pattern": {"Regex": expression}}
        for expression in PATTERNS[pattern]
    ]
    return {"type": "Sequence", "pretokenizers": [*steps, {**_BY_REGEX, "use_regex": False}]}


def _files_of_wordpieces(tokenizer: WordPieces) -> dict[str, bytes]:
    for token in tokenizer.tokens:
        if "\n" in token or "\r" in token:
            raise InputError(f"vocab.txt: cannot hold a token with a line's end: {short(token)}")
    ids = {token: number for number, token in enumerate(tokenizer.tokens)}
    mpnet = MPNET_CLS in tokenizer.specials
    roles, cls, sep = (_MPNET_ROLES, MPNET_CLS, MPNET_SEP) if mpnet else (_ROLES, CLS, SEP)
    framed = None not in (tokenizer.cls, tokenizer.sep)
    model = {
        "type": "WordPiece",
        "unk_token": UNKNOWN,
        "continuing_subword_prefix": PREFIX,
        "max_input_chars_per_word": LONGEST,
        "vocab": ids,
    }
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": tokenizer.split_ideographs,
        "strip_accents": tokenizer.strip_accents,
        "lowercase": tokenizer.lower_case,
    }
    added = {
        ids[token]: added_token(token)
        | {"normalized": token in tokenizer.normalised, "lstrip": token == MPNET_MASK}
        for token in sorted(tokenizer.specials, key=lambda t: ids[t])
    }
    tokens = [{"id": n, **token} for n, token in added.items()]
    whole = tokenizer_json(
        tokens,
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template_of(ids, [cls, None, sep], [None, sep]) if framed else None,
        decoder={"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        model=model,
    )
    config = {
        "tokenizer_class": _MPNET if mpnet else "BertTokenizer",
        "do_lower_case": tokenizer.lower_case,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_ideographs,
        **{role: token for role, token in roles.items() if token in ids},
        "added_tokens_decoder": {str(n): token for n, token in added.items()},
    }
    return {
        "tokenizer.json": whole,
        "vocab.txt": "".join(f"{token}\n" for token in tokenizer.tokens).encode(),
        "tokenizer_config.json": json_bytes(config),
    }
