"""Published tokenizers for tests: small ones, made of what the files of others say."""

import json

from minillm.formats.gguf_tokenizer import _WORDS, _pre_tokenizer
from minillm.text import PublishedTokenizer, tokenizer_json
from minillm.text.bpe import BYTES
from minillm.text.published import spell
from minillm.text.tokenizer_json import BYTE, CONTROL, DEFINED, NORMAL

WORDS = {words.names[0]: words for words in _WORDS}


def of_pairs(
    merges, specials, words="gpt-2", shown=(), bos=None, eos=None, framed=(), nfc=False,
    whole=False, unused=(), **flags
):  # fmt: skip
    """Byte pairs.  framed: "bos" and "eos", if they are put around a text; unused: tokens alone."""
    made = dict.fromkeys([*map(spell, BYTES), *(spell(a + b) for a, b in merges)])
    ids = {text: at for at, text in enumerate(dict.fromkeys([*made, *specials, *unused]))}
    added = tokenizer_json.added_tokens({text: ids[text] for text in specials})
    for token in added:
        token["special"] = token["content"] not in shown
        token |= {name: token["content"] in texts for name, texts in flags.items()}
    frame = tokenizer_json.template(
        ids, bos if "bos" in framed else None, eos if "eos" in framed else None
    )
    values = tokenizer_json.byte_pairs(
        ids,
        [[spell(a), spell(b)] for a, b in merges],
        added,
        words=_pre_tokenizer(WORDS[words].expressions),
        nfc=nfc,
        whole=whole,
        template=frame,
    )
    return PublishedTokenizer(values, bos, eos)


BYTE_TEXTS = [f"<0x{value:02X}>" for value in range(256)]


def of_pieces(
    scores, specials=(), shown=(), bytes_too=True, framed=(), unigram=False, **options
):  # fmt: skip
    """SentencePiece's tokens: <unk>, <s>, </s>, the bytes, those with scores, and the specials."""
    texts = ["<unk>", "<s>", "</s>", *(BYTE_TEXTS if bytes_too else ()), *scores, *specials]
    types = dict.fromkeys(texts, NORMAL) | dict.fromkeys(("<s>", "</s>", *specials), CONTROL)
    types |= dict.fromkeys(shown, DEFINED) | (dict.fromkeys(BYTE_TEXTS, BYTE) if bytes_too else {})
    ids = {text: at for at, text in enumerate(texts)}
    frame = tokenizer_json.template(
        ids, "<s>" if "bos" in framed else None, "</s>" if "eos" in framed else None
    )
    options = {"template": frame, **options}
    numbers = [float(scores.get(text, 0.0)) for text in texts]
    values = tokenizer_json.sentence_pieces(texts, numbers, [types[t] for t in texts], **options)
    return PublishedTokenizer(with_unigrams(values, texts, numbers) if unigram else values)


def with_unigrams(values, texts, scores):
    """A tokenizer.json whose model is a unigram model."""
    model = {"type": "Unigram", "unk_id": texts.index("<unk>"), "byte_fallback": "<0x0A>" in texts}
    vocab = [list(pair) for pair in zip(texts, scores, strict=True)]
    return values | {"model": model | {"vocab": vocab}}


def of_words(tokens, specials, **options):
    """WordPiece."""
    ids = {token: at for at, token in enumerate(tokens)}
    special = {text: ids[text] for text in specials if text in ids}
    added = tokenizer_json.added_tokens(special)
    ends = next((e for e in (("[CLS]", "[SEP]"), ("<s>", "</s>")) if {*e} <= {*special}), None)
    frame = tokenizer_json.template(ids, *ends) if ends else None
    return PublishedTokenizer(tokenizer_json.word_pieces(ids, added, template=frame, **options))


def old_files(tokenizer):
    """vocab.json and merges.txt, or vocab.txt, of a tokenizer."""
    values = (
        tokenizer.values
        if isinstance(tokenizer, PublishedTokenizer)
        else tokenizer_json.of_ours(tokenizer)
    )
    vocab = values["model"]["vocab"]
    if tokenizer.unit == "wordpiece":
        return {"vocab.txt": "".join(f"{token}\n" for token in vocab).encode()}
    merges = ["#version: 0.2", *map(" ".join, values["model"]["merges"]), ""]
    return {"vocab.json": json.dumps(vocab).encode(), "merges.txt": "\n".join(merges).encode()}
