"""Tokenizers as a tokenizer.json, from what other files say of them, and from our own.

The file is Hugging Face's.  Its parts are objects with a "type", and several of one kind are the
steps of a "Sequence".
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minillm.text.byte_pairs import BytePairs
from minillm.text.published import SPACE, spell
from minillm.text.word_pieces import WordPieces
from minillm.text.wordpiece import LONGEST, PREFIX, UNKNOWN

NORMAL, UNKNOWN_TYPE, CONTROL, DEFINED, UNUSED, BYTE = range(1, 7)  # of SentencePiece

BY_REGEX = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "never", "split": True}


def byte_pairs(
    ids: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    added: Iterable[Mapping[str, Any]],
    *,
    words: Mapping[str, Any] = BY_REGEX,
    whole: bool = False,
    nfc: bool = False,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Byte pairs, which files spell by :func:`minillm.text.published.spell`.

    words: the pre-tokenizer, GPT-2's by default.  whole: a word that is a token is not merged.
    """
    model = {"type": "BPE", "vocab": dict(ids), "merges": merges, "ignore_merges": whole}
    return _tokenizer_json(
        added,
        normalizer={"type": "NFC"} if nfc else None,
        pre_tokenizer=words,
        post_processor=template,
        decoder=BY_REGEX,
        model=model,
    )


def sentence_pieces(
    texts: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    *,
    unigram: bool,
    table: bytes = b"",
    squeeze: bool = False,
    prefix: bool = True,
    unknown: str = "<unk>",
    flags: Mapping[str, dict[str, bool]] | None = None,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """SentencePiece's tokens: pairs of the best score are merged first, or a unigram model.

    A pair has no rank there: two neighbours are merged if together they are a token.  So all pairs
    that make a token are merges here, in the order of its score.

    types: NORMAL and so on, of each token.  table: the replacements of the normaliser.  squeeze:
    several spaces are one.  prefix: a space is put before a text.  flags: more of added tokens.

    Source: Kudo and Richardson (2018), "SentencePiece: a simple and language independent subword
    tokenizer and detokenizer for neural text processing".
    """
    ids = {text: number for number, text in enumerate(texts)}
    if len(ids) < len(texts):
        raise ValueError("expected distinct tokens, found one twice")
    fallback = BYTE in types
    special = (UNKNOWN_TYPE, CONTROL, DEFINED, UNUSED)
    added = [
        {"id": number, "content": text, "special": kind != DEFINED, **(flags or {}).get(text, {})}
        for number, (text, kind) in enumerate(zip(texts, types, strict=True))
        if kind in special or text == unknown
    ]
    if unigram:
        vocab = [[text, float(score)] for text, score in zip(texts, scores, strict=True)]
        model: dict[str, Any] = {"type": "Unigram", "unk_id": ids.get(unknown), "vocab": vocab}
    else:
        pieces = {text: at for text, at in ids.items() if types[at] in (NORMAL, DEFINED)}
        pairs = [
            (-scores[at], pieces[text[:n]], pieces[text[n:]])
            for text, at in pieces.items()
            for n in range(1, len(text))
            if text[:n] in pieces and text[n:] in pieces
        ]
        merges = [[texts[a], texts[b]] for _, a, b in sorted(pairs)]
        model = {"type": "BPE", "unk_token": unknown if unknown in ids else None, "fuse_unk": True}
        model |= {"vocab": ids, "merges": merges}
    steps: list[dict[str, Any]] = []
    if table:
        steps.append({"type": "Precompiled", "precompiled_charsmap": b64encode(table).decode()})
    if squeeze:
        steps += [_replace({"Regex": r"\A +| +\z"}, ""), _replace({"Regex": " {2,}"}, " ")]
    if prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(_replace({"String": " "}, SPACE))
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    decoders = [_replace({"String": SPACE}, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    # Words are remembered; they may be cut where no token reaches across the beginning of one.
    reaching = any(SPACE in text.lstrip(SPACE) for text, at in ids.items() if types[at] == NORMAL)
    words = {"type": "Split", "pattern": {"Regex": f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+"}}
    return _tokenizer_json(
        added,
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer=None if reaching else words | {"behavior": "Isolated", "invert": False},
        post_processor=template,
        decoder={"type": "Sequence", "decoders": decoders + strip},
        model=model | {"byte_fallback": fallback},
    )


def word_pieces(
    ids: Mapping[str, int],
    added: Iterable[Mapping[str, Any]],
    lower_case: bool = True,
    strip_accents: bool | None = None,
    split_ideographs: bool = True,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """BERT's WordPiece.  strip_accents: None means the value of lower_case."""
    return _tokenizer_json(
        added,
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": split_ideographs,
            "strip_accents": strip_accents,
            "lowercase": lower_case,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template,
        decoder={"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        model={
            "type": "WordPiece",
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": LONGEST,
            "vocab": dict(ids),
        },
    )


def of_ours(tokenizer: BytePairs | WordPieces) -> dict[str, Any]:
    """The tokenizer.json of a tokenizer that was learned here."""
    if isinstance(tokenizer, WordPieces):
        ids = {token: number for number, token in enumerate(tokenizer.tokens)}
        specials = {text: ids[text] for text in tokenizer.specials}
        frame = template(ids, "[CLS]", "[SEP]") if {"[CLS]", "[SEP]"} <= specials.keys() else None
        return word_pieces(ids, added_tokens(specials), tokenizer.lower_case, template=frame)
    specials = tokenizer.special.ids
    special = {number: text for text, number in specials.items()}
    ids = {special.get(n) or spell(token): n for n, token in enumerate(tokenizer.tokens)}
    merges = [[spell(left), spell(right)] for left, right in tokenizer.merges]
    return byte_pairs(ids, merges, added_tokens(specials))


def added_tokens(ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """Special tokens, in the order of their ids."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": number, "content": text, **flags, "special": True}
        for text, number in sorted(ids.items(), key=lambda entry: entry[1])
    ]


def template(ids: Mapping[str, int], first: str | None, last: str | None) -> dict[str, Any] | None:
    """The post-processor that puts special tokens around a text, and after a second one."""

    def pieces(names: Sequence[str | None], at: int) -> list[dict[str, Any]]:
        text = {"Sequence": {"id": "AB"[at], "type_id": at}}
        around = [{"SpecialToken": {"id": name, "type_id": at}} if name else None for name in names]
        return [piece for piece in (*around[:-1], text, around[-1]) if piece]

    if first is None and last is None:
        return None
    return {
        "type": "TemplateProcessing",
        "single": pieces([first, last], 0),
        "pair": [*pieces([first, last], 0), *pieces([last], 1)],
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]}
            for name in (first, last)
            if name
        },
    }


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _tokenizer_json(added: Iterable[Mapping[str, Any]], **parts: Any) -> dict[str, Any]:
    head = {"version": "1.0", "truncation": None, "padding": None}
    return {**head, "added_tokens": list(map(dict, added)), **parts}
