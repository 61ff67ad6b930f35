"""Tokenizers as a tokenizer.json, from what other files say of them, and from our own.

The file is Hugging Face's.  Its parts are objects with a "type", and several of one kind are the
steps of a "Sequence".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from minillm.text.byte_pairs import BytePairs
from minillm.text.published import SPACE, spell
from minillm.text.word_pieces import WordPieces
from minillm.text.wordpiece import LONGEST, PREFIX, UNKNOWN

NORMAL, UNKNOWN_TYPE, CONTROL, DEFINED, UNUSED, BYTE = range(1, 7)  # of SentencePiece

BY_REGEX = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


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
    return {
        "added_tokens": list(added),
        "normalizer": {"type": "NFC"} if nfc else None,
        "pre_tokenizer": words,
        "post_processor": template,
        "decoder": BY_REGEX,
        "model": {"type": "BPE", "vocab": ids, "merges": merges, "ignore_merges": whole},
    }


def sentence_pieces(
    texts: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    *,
    prefix: bool = True,
    unknown: str = "<unk>",
    flags: Mapping[str, dict[str, bool]] | None = None,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """SentencePiece's byte pairs: pairs of the best score are merged first.

    A pair has no rank there: two neighbours are merged if together they are a token.  So all pairs
    that make a token are merges here, in the order of its score.

    types: NORMAL and so on, of each token.  prefix: a space is put before a text.  flags: more of
    added tokens.

    Source: Kudo and Richardson (2018), "SentencePiece: a simple and language independent subword
    tokenizer and detokenizer for neural text processing".
    """
    ids = {text: number for number, text in enumerate(texts)}
    if len(ids) < len(texts):
        raise ValueError("expected distinct tokens, found one twice")
    named = zip(ids.items(), types, strict=True)
    special = {t: n for (t, n), kind in named if kind not in (NORMAL, BYTE) or t == unknown}
    shown = [text for text, kind in zip(texts, types, strict=True) if kind == DEFINED]
    pieces = {text: at for text, at in ids.items() if types[at] in (NORMAL, DEFINED)}
    pairs = [
        (-scores[at], pieces[text[:n]], pieces[text[n:]])
        for text, at in pieces.items()
        for n in range(1, len(text))
        if text[:n] in pieces and text[n:] in pieces
    ]
    steps = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    decoders = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    # Words are remembered; they may be cut where no token reaches across the beginning of one.
    reaching = any(SPACE in text.lstrip(SPACE) for text, at in ids.items() if types[at] == NORMAL)
    return {
        "added_tokens": added_tokens(special, shown, flags),
        "normalizer": {"type": "Sequence", "normalizers": [*steps, _replace(" ", SPACE)]},
        "pre_tokenizer": None if reaching else split(f"{SPACE}+[^{SPACE}]*|[^{SPACE}]+"),
        "post_processor": template,
        "decoder": {"type": "Sequence", "decoders": decoders[: 3 + prefix]},
        "model": {
            "type": "BPE",
            "unk_token": unknown if unknown in ids else None,
            "byte_fallback": BYTE in types,
            "fuse_unk": True,
            "vocab": ids,
            "merges": [[texts[a], texts[b]] for _, a, b in sorted(pairs)],
        },
    }


def split(expression: str) -> dict[str, Any]:
    """The step that makes a word of each match, and of the text between two."""
    pattern = {"Regex": expression}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def word_pieces(
    ids: Mapping[str, int],
    added: Iterable[Mapping[str, Any]],
    lower_case: bool = True,
    strip_accents: bool | None = None,
    split_ideographs: bool = True,
    template: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """BERT's WordPiece.  strip_accents: None means the value of lower_case."""
    return {
        "added_tokens": list(added),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": split_ideographs,
            "strip_accents": strip_accents,
            "lowercase": lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template,
        "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": LONGEST,
            "vocab": ids,
        },
    }


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


def added_tokens(
    ids: Mapping[str, int],
    shown: Collection[str] = (),
    flags: Mapping[str, dict[str, bool]] | None = None,
) -> list[dict[str, Any]]:
    """Added tokens, in the order of their ids: all but the ``shown`` ones are special."""
    none = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [
        {"id": number, "content": text, **none, "special": text not in shown}
        | (flags or {}).get(text, {})
        for text, number in sorted(ids.items(), key=lambda entry: entry[1])
    ]


def template(ids: Mapping[str, int], first: str | None, last: str | None) -> dict[str, Any] | None:
    """The post-processor that puts special tokens around a text, and after a second one."""
    names = [name for name in (first, last) if name]
    if not names:
        return None

    def piece(kind: str, name: str, at: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": at}}

    before, after, second = (
        [piece("SpecialToken", name, at)] if name else []
        for name, at in ((first, 0), (last, 0), (last, 1))
    )
    single = [*before, piece("Sequence", "A", 0), *after]
    tokens = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in names}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, piece("Sequence", "B", 1), *second],
        "special_tokens": tokens,
    }


def _replace(text: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": content}
