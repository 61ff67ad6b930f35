# ruff: noqa: RUF001
"""Published tokenizers: ids of the libraries, files that are read and written, what is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from published import BYTE_TEXTS, WORDS, of_pairs, of_pieces, of_words
from waiting import deadline

from minillm.decoding.continuation import Pieces
from minillm.errors import InputError
from minillm.text import (
    BytePairs,
    Characters,
    PublishedTokenizer,
    WordPieces,
    load_tokenizer,
    tokenizer_files,
    vocabulary_from_dict,
    word_pieces,
)
from minillm.text.byte_pairs import train
from minillm.text.published import spell, unspell
from minillm.text.tokenizer_json import of_ours, sentence_pieces

library = pytest.importorskip("tokenizers")

TEXT = (
    "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure. é😀é😀"
)
HARD = (
    "I'LL say  1234.)\n\n(yes)", "HTTPServer camelCase's été e\u0301a a\u0301",
    "漢字かな ab한국 ①½", "a\t\n \r\n  b  ", " \u00a0\u3000x\u2028", "ab12 -345,6 $x+=y`z`",
    "😀👍🏽 \u0378\u0558 x", "",
)  # fmt: skip
PAIRS = train([TEXT * 2], 300)
SCRIPTS = (
    "İstanbul, ıI, ŒUVRE Ёж ΟΔΥΣΣΕΥΣ 漢字とカタカナ。ガガ שָׁלוֹם مَرحَبًا १२३ Ելენა ሰላም ᏣᎳᎩ ꮳꮃꭹ 𐐀𐐨",
    "\u2029paragraph\u1680ogham\u200djoin\u200enon\u2060word\u00adhyphen\x0bv\x0cf\x7fdel",
    "$1 £2 €3 ¥4 a^b a≠b ≤≥ «q» „d“ ‘s’ … – — ¡no! ¿qué? 「日本」 §5 ©®™ ΄ ` \u1fef",
    " ".join(["a" * 100, "b" * 101, "é" * 100, "e\u0301" * 101]),
    "[CLS] The [MASK] x[MASK]y[UNK][PAD] [mask] [ MASK ] [MASK [[MASK]] ## un##able # # a##b",
    "\ufffd \ue000private\uf8ff \uf900更 \U0002f800丽 가\u1100\u1161 각 \u0344 \u212b \u2126",
    "a".join(map(chr, [0x33FF, 0x3400, 0x4DBF, 0x4DC0, 0x4E00, 0x9FFF, 0xA000, 0xF900, 0xFAFF])),
    "a".join(map(chr, [0x20000, 0x2A6DF, 0x2A700, 0x2B73F, 0x2B740, 0x2B81F, 0x2F800, 0x2FA1F])),
    "Dž ǅ ǆ ẞ ß ŉ ΐ ﷺ ㎏ ﬃ Å \u0345ι ᾳ ᾼ",
)
GPT2 = json.loads(Path(__file__).with_name("gpt2_vectors.json").read_text())
VECTORS = json.loads(Path(__file__).with_name("sentencepiece_vectors.json").read_text())
MODELS = VECTORS["models"]
SMALL = {"▁": -9.0, "▁s": -1.0, "s": -9.0, "e": -9.0, "a": -9.0, "ea": -2.0}


def write(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def tokenizer_config(folder, **values):
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def fails(path):
    with pytest.raises(InputError) as error:
        load_tokenizer(path)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def same_ids(one, other, texts=(TEXT, *HARD)):
    return all(one.encode(text).tolist() == other.encode(text).tolist() for text in texts)


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_sentencepiece(name):
    model = MODELS[name]
    tokens = (model[part] for part in ("texts", "scores", "types"))
    tokenizer = PublishedTokenizer(sentence_pieces(*tokens, prefix=model["prefix"]))
    for text, expected in zip(VECTORS["texts"], model["ids"], strict=True):
        assert tokenizer.encode_known(text).tolist() == expected, text
        assert tokenizer.encode_ordinary(text).tolist() == expected, text
        ids = tokenizer.encode_known(text)
        if "▁" not in text and (text.strip(" ") == text):
            assert tokenizer.decode(ids) == "".join(tokenizer.stream(ids)) == text


@pytest.mark.parametrize("words", WORDS)
def test_ids_are_those_of_the_library(words):
    """Of the same tokenizer.json, which we have written; and so are they after a JSON form."""
    names = ["<|begin|>", "<|end|>", "<think>"]
    tokenizer = of_pairs(
        train(HARD, 330).merges, names, words, names[2:], *names[:2], ["bos"], nfc=words == "qwen2"
    )
    theirs = library.Tokenizer.from_str(json.dumps(tokenizer.values))
    again = vocabulary_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    for text in (*HARD, "a<|end|> <think>"):
        ids = tokenizer.encode(text)
        assert ids.tolist() == theirs.encode(text).ids == again.encode(text).tolist()
        assert ids.dtype == np.int32
        if words != "qwen2":
            assert tokenizer.decode(tokenizer.encode_known(text)) == text
    assert (again.to_dict(), again.tokens) == (tokenizer.to_dict(), tokenizer.tokens)
    assert (again.bos, again.add_bos, again.add_eos) == (tokenizer.bos, True, False)


@pytest.mark.parametrize("lower_case", [True, False])
def test_ids_of_pieces_of_words(lower_case):
    """Ids, offsets and decoded texts of the library, where many words are in pieces or unknown."""
    texts = [*SCRIPTS, *(text for text, _ in GPT2["texts"])]
    learned = word_pieces.train(texts * 2, 900, lower_case).tokens[5:]
    short = [token for token in learned if len(token.removeprefix("##")) <= 3]
    kept = [token for at, token in enumerate(short) if token.isascii() or at % 9]
    ours = WordPieces([*word_pieces.SPECIALS, *kept], lower_case)
    theirs = PublishedTokenizer(of_ours(ours))
    for text in texts:
        (ids, offsets), expected = ours.encode_with_offsets(text), theirs.encode_with_offsets(text)
        assert ids.tolist() == ours.encode(text).tolist() == expected[0].tolist(), text
        assert offsets.tolist() == expected[1].tolist(), text
        assert ours.decode(ids) == theirs.decode(ids)
    assert all(theirs.show(n) == ours.show(n) for n in range(len(ours)))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, ["e", "漢", "字"]),
        ({"strip_accents": False, "tokenize_chinese_chars": False}, ["é", "漢字"]),
        ({"do_lower_case": False, "strip_accents": True}, ["E", "漢", "字"]),
    ],
)
def test_flags_of_pieces_of_words(tmp_path, flags, expected):
    tokens = [*word_pieces.SPECIALS, "e", "é", "E", "漢", "字", "漢字"]
    write(tmp_path, {"vocab.txt": "\n".join([*tokens, ""]).encode()})
    tokenizer_config(tmp_path, **flags)
    tokenizer = load_tokenizer(tmp_path)
    assert [tokenizer.texts[n] for n in tokenizer.encode("É 漢字")] == expected


def test_a_word_that_cannot_be_made_of_pieces():
    tokens = [*word_pieces.SPECIALS, "a", "##b"]
    tokenizer = of_words(tokens, word_pieces.SPECIALS, split_ideographs=False)
    with pytest.raises(InputError, match="X: the word '漢漢' cannot be made of the 7 pieces"):
        tokenizer.encode_known("ab [UNK] 漢漢", "X")


# --- texts and special tokens --------------------------------------------------------------------


def test_the_text_of_a_special_token_may_stay_text():
    pairs = of_pairs(PAIRS.merges, ["<s>", "<|im_end|>"])
    for tokenizer in (pairs, of_pieces(SMALL, ["<|im_end|>"])):
        for text in ("<s>", "a<|im_end|>", "</s>ea<s>"):
            ids = tokenizer.encode_ordinary(text)
            assert not {*ids.tolist()} & {*tokenizer.special.ids.values()} - {tokenizer.unknown}
            assert tokenizer.decode(ids) == text
        assert tokenizer.special.ids["<|im_end|>"] in tokenizer.encode("a<|im_end|>")
        with pytest.raises(InputError, match="NAME, line 1, column 2: expected text, found a lone"):
            tokenizer.encode_each(["a", "a\ud800"], ["", "NAME"])


def test_bytes_of_tokens_and_characters_in_parts():
    tokenizer = of_pieces(SMALL)
    ids = tokenizer.encode("sea éea")
    assert [tokenizer.texts[n] for n in ids] == ["▁s", "ea", "▁", "<0xC3>", "<0xA9>", "ea"]
    assert [tokenizer.tokens[n] for n in ids[:5]] == [b" s", b"ea", b" ", b"\xc3", b"\xa9"]
    assert tokenizer.decode(ids) == "sea éea"
    assert list(tokenizer.stream(ids)) == ["s", "ea", " ", "é", "ea"]
    assert tokenizer.show(int(ids[3])) == "\\xc3"
    assert tokenizer.tokens[tokenizer.line_end] == b"\n"
    end = tokenizer.special.ids["</s>"]
    for after, expected in ((end, "sea éea"), (None, "sea éea"), (ids[0], " sea éea")):
        pieces = Pieces(tokenizer, after=after)
        assert "".join(pieces.add(n) for n in [*ids.tolist(), end]) + pieces.end() == expected
    without = of_pieces({"▁": -1.0, "a": -2.0}, bytes_too=False)
    assert without.encode("aéèa é").tolist() == [3, 4, 0, 4, 3, 0]
    assert (without.unknown, 0 in without.hidden) == (0, True)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"prepend_scheme": "always"}, "▁a<s>▁a<s>▁a"),
        ({"prepend_scheme": "first", "split": False}, "▁a<s>a<s>▁a"),
        ({"prepend_scheme": "never", "split": False}, "a<s>a<s>▁a"),
        ({"add_prefix_space": True}, "▁a<s>▁a<s>▁a"),
    ],
)
def test_where_a_space_is_put_before_a_text(step, expected):
    """Between special tokens, too, as in a chat, where a part is known to be the first or not."""
    values = of_pieces({"▁": -1.0, "a": -2.0}).values
    values |= {"normalizer": None}
    values["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", **step}
    tokenizer = PublishedTokenizer(values)
    assert "".join(tokenizer.texts[n] for n in tokenizer.encode("a<s>a<s> a")) == expected
    for first, part in ((True, expected.split("<s>")[0]), (False, expected.split("<s>")[1])):
        ids = tokenizer.encode_ordinary("a", first=first)
        assert "".join(tokenizer.texts[n] for n in ids) == part
    assert tokenizer.decode(tokenizer.encode_known("a a")) == "a a"


@pytest.mark.parametrize("framed", [["bos"], ["eos"], ["bos", "eos"], []])
def test_the_frame_of_a_text(framed):
    names = ["<s>", "</s>", "<|endoftext|>"]
    tokenizer = of_pairs(PAIRS.merges, names, bos="<s>", eos="</s>", framed=framed)
    assert (tokenizer.add_bos, tokenizer.add_eos) == ("bos" in framed, "eos" in framed)
    theirs = library.Tokenizer.from_str(json.dumps(tokenizer.values))
    for text in (TEXT, "", "<s>"):
        assert tokenizer.encode(text).tolist() == theirs.encode(text).ids
    again = vocabulary_from_dict(tokenizer.to_dict() | {"add_bos": False, "add_eos": False})
    assert (again.add_bos, again.add_eos) == (False, False)
    assert PublishedTokenizer(of_pairs([], names).values).bos == 258  # the usual name


def test_flags_of_added_tokens():
    """The white space beside a token is its own if its flags say so; NFC composes characters."""
    names = ["<a>", "<b>", "<c>", "  "]
    tokenizer = of_pairs(
        PAIRS.merges, names, nfc=True, shown=["<a>", "  "], lstrip=["<b>", "<c>"], rstrip=["<b>"]
    )
    theirs = library.Tokenizer.from_str(json.dumps(tokenizer.values))
    assert tokenizer.hidden == {tokenizer.special.ids[name] for name in names[1:3]}
    assert tokenizer.encode("x \n<b>\t\u3000y").tolist() == tokenizer.encode("x<b>y").tolist()
    assert tokenizer.encode("e\u0301").tolist() == tokenizer.encode("\xe9").tolist()
    for text in (
        "x \n<b>\t\u3000y",
        " <c> <b> <a> ",
        "\x1c<b>\x1c",
        "e\u0301\u212b",
        "<b> <b> <c>",
        "x<b>  y  <b>   <a>   z",
    ):
        ids = []
        for part, start in tokenizer.special.places(text):  # as chat templates cut a text
            if part in tokenizer.special.ids:
                ids.append(tokenizer.special.ids[part])
            else:
                ids += tokenizer.encode_ordinary(part, start == 0).tolist()
        assert ids == tokenizer.encode(text).tolist() == theirs.encode(text).ids


def test_added_tokens_at_the_end_may_be_cut():
    """Gemma 3 has a token for images, and its text models have no row for it."""
    whole = of_pieces({"a": -1, "▁a": -2})
    longer = of_pieces({"a": -1, "▁a": -2}, ["<image>", "<end>"])
    assert longer.cut(len(whole)).values == whole.values
    assert longer.cut(99999).to_dict() == longer.to_dict()
    for size in (260, 1):
        with pytest.raises(ValueError, match=f"expected {size} tokens, found 263"):
            longer.cut(size)


# --- files ---------------------------------------------------------------------------------------


def test_bytes_are_spelled_as_gpt2_does():
    assert spell(b" a\n\xe9\x00\xad\xff") == "ĠaĊéĀŃÿ"
    assert unspell("ĠaĊéĀŃÿ") == b" a\n\xe9\x00\xad\xff"
    every = bytes(range(256))
    assert unspell(spell(every)) == every
    with pytest.raises(KeyError, match="' '"):
        unspell("a b")


def test_the_files_of_gpt2_and_of_runs(tmp_path):
    values = json.loads(tokenizer_files(PAIRS)["tokenizer.json"])
    merges = [" ".join(pair) for pair in values["model"]["merges"]]
    lines = "\r\n".join(["#version: 0.2", *merges, ""]).encode()
    write(
        tmp_path, {"vocab.json": json.dumps(values["model"]["vocab"]).encode(), "merges.txt": lines}
    )
    for place in (tmp_path, str(tmp_path / "vocab.json"), tmp_path / "merges.txt"):
        read = load_tokenizer(place)
        assert read.tokens == PAIRS.tokens
        assert (read.bos, read.eos) == (PAIRS.bos, PAIRS.eos)
        assert same_ids(read, PAIRS, [TEXT + "<|endoftext|>", *HARD])
    for one in (PAIRS, read, Characters("".join(sorted(set(TEXT))))):
        run = {"format_version": 1, **one.to_dict()}
        write(tmp_path, {"vocabulary.json": json.dumps(run).encode()})
        assert same_ids(load_tokenizer(tmp_path / "vocabulary.json"), one, [TEXT])


def test_a_tokenizer_as_other_programs_write_it(tmp_path):
    """Merges as pairs, an added token beyond the vocabulary, texts that are cut, no type."""
    vocabulary = {spell(bytes([value])): value + 1 for value in range(256)}
    vocabulary |= {"<pad>": 0, "Ġt": 257, "he": 258, "Ġthe": 259}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    values = {
        "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0}
        | {"direction": "Right"},
        "added_tokens": [
            {"id": 0, "content": "<pad>", "special": True, **flags},
            {"id": 260, "content": "two words", "special": False, **flags},
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "model": {"vocab": vocabulary, "merges": [["Ġ", "t"], ["h", "e"], ["Ġt", "he"]]},
    }
    write(tmp_path, {"tokenizer.json": json.dumps(values).encode()})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("he two words the<pad>").tolist() == [258, 33, 260, 259, 0]
    assert (tokenizer.special_ids, tokenizer.bos) == ([0, 260], None)


@pytest.mark.parametrize("lower_case", [True, False])
def test_the_files_of_bert(tmp_path, lower_case):
    pieces = word_pieces.train([TEXT * 2], 80, lower_case)
    files = tokenizer_files(pieces)
    vocab = "".join(f"{token}\n" for token in pieces.tokens).encode()
    texts = [TEXT + "[MASK] \u00c9t\u00e9 The the", *HARD]
    for name, data in (("vocab.txt", vocab), ("tokenizer.json", files["tokenizer.json"])):
        folder = tmp_path / name.replace(".", "")
        folder.mkdir()
        write(folder, {name: data})
        tokenizer_config(folder, do_lower_case=lower_case)
        read = load_tokenizer(folder)
        assert (read.texts, read.unit) == (pieces.tokens, "wordpiece")
        assert same_ids(read, pieces, texts)
        assert (read.bos, read.eos, read.mask, read.add_bos) == (2, 3, 4, False)
    (tmp_path / "vocabtxt/tokenizer_config.json").unlink()  # as released in 2018
    lower = load_tokenizer(tmp_path / "vocabtxt")
    assert lower.encode("SHE").tolist() == lower.encode("she").tolist()


def test_a_configuration_names_the_ends(tmp_path):
    pieces = of_pieces(SMALL)
    write(tmp_path, tokenizer_files(pieces))
    assert load_tokenizer(tmp_path).eos == 2
    tokenizer_config(tmp_path, eos_token={"content": "<s>"}, bos_token="</s>")
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.bos, tokenizer.eos) == (2, 1)


# --- what is refused -----------------------------------------------------------------------------


def test_missing_files_are_named(tmp_path):
    assert "expected one of vocabulary.json, tokenizer.json, vocab.json" in fails(tmp_path)
    assert "there is no such file" in fails(tmp_path / "none")
    write(tmp_path, {"vocab.json": b"{}"})
    assert f"{tmp_path / 'merges.txt'}: there is no such file" == fails(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "vocabulary.json", "vocab.txt"])
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with deadline():
        assert f"{name}: expected a regular file, found a pipe" in fails(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        *((name, data, "expected JSON, but it is damaged")
          for name in ("tokenizer.json", "vocab.json", "vocabulary.json")
          for data in (b"{", b"\xff{}")),
        ("tokenizer.json", b"[1]", "expected a JSON object, found"),
        ("merges.txt", "#version: 0.2\nĠ s\nĠ\n".encode(), "found by tokenizers: "),
        ("merges.txt", b"#version: 0.2\n\xff\n", "merges.txt, line 2: expected UTF-8"),
        ("merges.txt", b"a b\n", "vocab.json: expected a tokenizer, found by tokenizers: "),
        ("vocab.txt", b"", ": expected lines of text, found an empty file"),
        ("vocab.txt", b"[UNK]\na\nb\na\n", "expected as ids each number from 0 to 2 once"),
        ("vocab.txt", b"[PAD]\n[CLS]\n", "vocab.txt: model.vocab: expected '[UNK]' in it"),
        ("vocab.txt", b"[UNK]\n\xff\n", ", line 2: expected UTF-8 text, found the byte 0xff"),
        ("vocabulary.json", b'{"unit": "bpe"}', "format_version: expected 1, found None"),
        ("vocabulary.json", b'{"unit": "x", "format_version": 1}', "open word, published, found"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, name, data, complaint):
    vocab = json.dumps({spell(bytes([n])): n for n in range(256)}).encode()
    write(tmp_path, {"vocab.json": vocab, "merges.txt": b"#version: 0.2\n", name: data})
    assert complaint in fails(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda v: v["model"].update(type="WordLevel", unk_token="a"), "model.type: expected BPE"),
        (lambda v: v["model"].update(type="Unigram"), "found by tokenizers: "),
        (lambda v: v["model"].update(type="WordPiece", max_input_chars_per_word=9, unk_token="a"),
         "found by tokenizers: "),
        (lambda v: v["model"].update(continuing_subword_prefix="@", merges=[]),
         "expected None, found '@'"),
        (lambda v: v["model"].update(dropout=0.1), "model.dropout: expected None, found 0.1"),
        (lambda v: v["model"].update(end_of_word_suffix="</w>"), "model.end_of_word_suffix"),
        (lambda v: v.update(pre_tokenizer={"type": "Nothing"}), "found by tokenizers: "),
        (lambda v: v.update(pre_tokenizer=None, decoder=None), "pre_tokenizer: expected ByteLevel"),
        (lambda v: v["model"].update(vocab=[]), "found by tokenizers: "),
        (lambda v: v["model"]["vocab"].update(a=2), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].update(qqq=2**32 - 1), "each number from 0 to"),
        (lambda v: v["model"].update(merges=[["a"]]), "found by tokenizers: "),
        (lambda v: v["model"]["merges"].append(["漢", "s"]), "found by tokenizers: "),
        (lambda v: v.update(added_tokens={}), "found by tokenizers: "),
        (lambda v: v["added_tokens"][0].update(id=5), "expected the id 285 of '<|endoftext|>'"),
        (lambda v: v.update(post_processor={
            "type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}] * 2
            + [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [285],
                                                 "tokens": ["<|endoftext|>"]}}}),
         "expected one token at most before a text"),
    ],
)  # fmt: skip
def test_an_unsupported_tokenizer_json_is_refused(tmp_path, change, complaint):
    values = json.loads(tokenizer_files(PAIRS)["tokenizer.json"])
    change(values)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(values))
    message = fails(tmp_path)
    assert message.startswith(f"{path}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("name", "kind", "usual", "way"),
    [
        ("tokenizer.model", "bpe", "LlamaTokenizer", "PreTrainedTokenizerFast"),
        ("tokenizer.model", "unigram", "LlamaTokenizer", "PreTrainedTokenizerFast"),
        ("sentencepiece.bpe.model", "unigram", "XLMRobertaTokenizer", "AutoTokenizer"),
    ],
)
def test_the_file_of_sentencepiece_is_refused_with_the_way_out(tmp_path, name, kind, usual, way):
    """Its ids are then sentencepiece's, in an XLM-R moved by its other special tokens."""
    (tmp_path / name).touch()
    message = fails(tmp_path)
    assert message.endswith(f"as tokenizer.json, with save_pretrained of transformers' {way}")
    assert f"found {name}: save it" in message
    transformers, pieces = map(pytest.importorskip, ("transformers", "sentencepiece"))
    with (tmp_path / name).open("wb") as file:
        pieces.SentencePieceTrainer.train(
            sentence_iterator=iter([*VECTORS["texts"], TEXT] * 3), model_writer=file,
            model_type=kind, vocab_size=400, hard_vocab_limit=False, minloglevel=2,
            byte_fallback=way != "AutoTokenizer",
        )  # fmt: skip
    tokenizer_config(tmp_path, tokenizer_class=usual, add_bos_token=True)
    getattr(transformers, way).from_pretrained(tmp_path).save_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path)
    theirs = pieces.SentencePieceProcessor(model_file=str(tmp_path / name))
    for text in (TEXT, *VECTORS["texts"]):
        ids = theirs.encode(text)
        moved = [0, *(n + 1 if n else 3 for n in ids), 2]
        expected = moved if way == "AutoTokenizer" else [1, *ids]
        assert ours.encode(text).tolist() == expected, text


def test_a_damaged_vocabulary_of_a_run_is_refused():
    values = of_pieces(SMALL).to_dict()
    for change, complaint in (
        ({"tokenizer": 3}, "found by tokenizers: "),
        ({"bos": 3}, "bos, eos"),
        ({"add_bos": None}, "add_bos: expected true or false"),
    ):
        with pytest.raises(ValueError, match=complaint):
            vocabulary_from_dict(values | change)


def test_what_other_programs_load(tmp_path):
    """A folder with our tokenizers, by transformers; and what it writes, here."""
    transformers = pytest.importorskip("transformers")
    pieces = word_pieces.train([TEXT * 2], 80)
    for name, ours in (("pieces", pieces), ("pairs", PAIRS)):
        folder = tmp_path / name
        folder.mkdir()
        files = {"tokenizer_config.json": b'{"tokenizer_class": "GPT2Tokenizer"}'}
        write(folder, files | tokenizer_files(ours))
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        for text in (TEXT, *HARD):
            assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text).tolist()
        theirs.save_pretrained(folder / "saved")
        assert same_ids(load_tokenizer(folder / "saved"), ours)
    assert BytePairs.from_dict(PAIRS.to_dict()).tokens == PAIRS.tokens
    assert len(BYTE_TEXTS) == 256
