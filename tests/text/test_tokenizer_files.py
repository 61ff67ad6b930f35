"""Files of tokenizers: read, written, and refused."""

import json
import os

import pytest
from waiting import deadline

from minillm.errors import InputError, InputWarning
from minillm.text import (
    BytePairs,
    Characters,
    WordPieces,
    load_tokenizer,
    tokenizer_files,
    word_pieces,
)
from minillm.text.bpe import PATTERNS
from minillm.text.byte_pairs import train
from minillm.text.tokenizer_files import spell, unspell
from minillm.text.units import vocabulary_from_dict

TEXT = (
    "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure. é😀é😀"
)


@pytest.fixture(scope="module")
def tokenizer():
    return train([TEXT * 2], 300)


def write(folder, files):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def damage(folder, name, change):
    """The file with its values changed in place."""
    values = json.loads((folder / name).read_bytes())
    change(values)
    (folder / name).write_text(json.dumps(values))
    return folder / name


def fails(path):
    with pytest.raises(InputError) as error:
        load_tokenizer(path)
    message = str(error.value)
    for reason in error.value.args:
        assert "\n" not in reason
        assert len(reason) < 500
    return message


def test_bytes_are_spelled_as_gpt2_does():
    assert spell(b" a\n\xe9\x00\xad\xff") == "ĠaĊéĀŃÿ"
    assert unspell("ĠaĊéĀŃÿ") == b" a\n\xe9\x00\xad\xff"
    every = bytes(range(256))
    assert unspell(spell(every)) == every
    assert spell(every).isprintable()
    with pytest.raises(ValueError, match="' '"):
        unspell("a b")


@pytest.mark.parametrize(
    "names", [["tokenizer.json"], ["vocab.json", "merges.txt"], ["vocabulary.json"]]
)
@pytest.mark.parametrize("permuted", [False, True])
def test_written_files_are_read_back(tokenizer, tmp_path, names, permuted):
    if permuted:  # the specials first, as other programs number them
        count = len(tokenizer)
        ids = [(number + 1) % count for number in range(count)]
        tokenizer = BytePairs(tokenizer.merges, tokenizer.specials, ids)
    files = tokenizer_files(tokenizer)
    run = {"format_version": 1, **tokenizer.to_dict()}
    files["vocabulary.json"] = json.dumps(run).encode()
    write(tmp_path, {name: files[name] for name in names})
    for place in (tmp_path, str(tmp_path / names[0]), tmp_path / names[-1]):
        again = load_tokenizer(place)
        assert again.tokens == tokenizer.tokens
        assert again.merges == tokenizer.merges
        assert again.bos == tokenizer.bos
        text = TEXT + "<|endoftext|>"
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert {**tokenizer_files(again)} == {**tokenizer_files(tokenizer)}


@pytest.mark.parametrize("names", [["tokenizer.json"], ["vocab.json", "merges.txt"]])
def test_a_config_that_makes_other_ids_is_refused(tokenizer, tmp_path, names):
    """A space before a text, which transformers' class of GPT-2 adds, and no special tokens."""
    files = tokenizer_files(tokenizer)
    write(tmp_path, {name: files[name] for name in names})
    config = tmp_path / "tokenizer_config.json"
    for name in ("GPT2Tokenizer", "GPT2TokenizerFast", None):
        config.write_text(json.dumps({"add_prefix_space": True, "tokenizer_class": name}))
        complaint = "tokenizer_config.json: add_prefix_space: expected False, found True"
        assert complaint in fails(tmp_path)
    for name in ("PreTrainedTokenizerFast", "TokenizersBackend"):  # they ignore it
        config.write_text(json.dumps({"add_prefix_space": True, "tokenizer_class": name}))
        assert load_tokenizer(tmp_path).tokens == tokenizer.tokens
        config.write_text(json.dumps({"split_special_tokens": True, "tokenizer_class": name}))
        assert "split_special_tokens: expected False, found True" in fails(tmp_path)
    config.write_text(json.dumps({"model_max_length": 8, "more": 3}))
    with pytest.warns(InputWarning, match=r"tokenizer_config.json: ignored.*here: 'more'$"):
        load_tokenizer(tmp_path)


def test_vocabularies_of_other_kinds(tmp_path):
    run = {"format_version": 1, **Characters("ab").to_dict()}
    write(tmp_path, {"vocabulary.json": json.dumps(run).encode()})
    assert load_tokenizer(tmp_path).encode("ba").tolist() == [1, 0]


def test_a_tokenizer_as_other_programs_write_it(tmp_path):
    """Merges as pairs, an added token beyond the vocabulary, no flags that have defaults."""
    vocabulary = {spell(bytes([value])): value + 1 for value in range(256)}
    vocabulary |= {"<pad>": 0, "Ġt": 257, "he": 258, "Ġthe": 259}
    values = {
        "version": "1.0",
        "truncation": {"max_length": 5},
        "added_tokens": [
            {"id": 0, "content": "<pad>", "special": True},
            {"id": 260, "content": "two words", "special": False},
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": [["Ġ", "t"], ["h", "e"], ["Ġt", "he"]],
        },
    }
    write(tmp_path, {"tokenizer.json": json.dumps(values).encode()})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("he two words the<pad>").tolist() == [258, 33, 260, 259, 0]
    assert tokenizer.specials == ["<pad>", "two words"]
    assert tokenizer.bos is None


def test_line_ends_of_windows_and_no_version(tokenizer, tmp_path):
    files = tokenizer_files(tokenizer)
    lines = files["merges.txt"].decode().split("\n")[1:]
    files["merges.txt"] = "\r\n".join(lines).encode()
    write(tmp_path, {name: files[name] for name in ("vocab.json", "merges.txt")})
    assert load_tokenizer(tmp_path).merges == tokenizer.merges


def test_missing_files_are_named(tmp_path):
    assert "expected one of tokenizer.json, vocab.json" in fails(tmp_path)
    assert "there is no such file" in fails(tmp_path / "none")
    write(tmp_path, {"vocab.json": b"{}"})
    assert f"{tmp_path / 'merges.txt'}: there is no such file" == fails(tmp_path)
    (tmp_path / "vocab.json").unlink()
    write(tmp_path, {"vocab.txt": b"[PAD]\n"})
    complaint = "tokens: expected [UNK] among them, found ['[PAD]']"
    assert f"{tmp_path / 'vocab.txt'}: {complaint}" == fails(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize(
    "names",
    [
        ["tokenizer.json"],
        ["vocab.json", "merges.txt"],
        ["merges.txt", "vocab.json"],
        ["vocabulary.json"],
        ["vocab.txt"],
    ],
)
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(tokenizer, tmp_path, names):
    pipe, *others = names
    write(tmp_path, {name: tokenizer_files(tokenizer)[name] for name in others})
    os.mkfifo(tmp_path / pipe)
    with deadline():
        assert f"{pipe}: expected a regular file, found a pipe" in fails(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "vocabulary.json"])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "expected JSON, but it is damaged"),
        (b"{", "expected JSON, but it is damaged"),
        (b"\xff{}", "expected JSON, but it is damaged"),
        (b"[1]", "expected a JSON object, found list"),
        (b"[" * 100_000, "expected JSON, but it is damaged"),
        (b'{"a": ' + b"9" * 5000 + b"}", "expected JSON, but it is damaged"),
    ],
)
def test_files_that_are_not_json(tmp_path, name, data, complaint):
    write(tmp_path, {name: data, "merges.txt": b"#version: 0.2\n"})
    message = fails(tmp_path)
    assert message.startswith(f"{tmp_path / name}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda v: v["model"].update(type="WordLevel"), "model.type: expected 'BPE', found"),
        (lambda v: v["model"].update(type="Unigram"), "model.vocab: a list of texts with scores"),
        (lambda v: v["model"].update(type="WordPiece"), "model.unk_token: expected '[UNK]', found"),
        (lambda v: v["model"].update(dropout=0.1), "model.dropout: expected None, found 0.1"),
        (lambda v: v["model"].update(ignore_merges=1.5), "model.ignore_merges"),
        (lambda v: v["model"].update(end_of_word_suffix="</w>"), "model.end_of_word_suffix"),
        (
            lambda v: v.update(normalizer={"type": "NFD"}),
            "normalizer: expected null or NFC, found {",
        ),
        (lambda v: v.pop("pre_tokenizer"), "pre_tokenizer.type: expected 'ByteLevel', found None"),
        (lambda v: v["pre_tokenizer"].update(type="Metaspace"), "found 'Metaspace'"),
        (
            lambda v: v["pre_tokenizer"].pop("add_prefix_space"),
            "add_prefix_space: expected False, found None",
        ),
        (
            lambda v: v["pre_tokenizer"].update(use_regex=False),
            "expected the words of one of gpt-2",
        ),
        (lambda v: v.update(decoder={"type": "WordPiece"}), "decoder.type: expected 'ByteLevel'"),
        (
            lambda v: v.update(post_processor={"type": "TemplateProcessing"}),
            "post_processor.type: ",
        ),
        (lambda v: v["model"].update(vocab=[]), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(a="1"), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(a=2), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].update(a=10**30), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].pop("a"), "the vocabulary has no id for 'a'"),
        (lambda v: v["model"]["vocab"].update(qqq=300), "'qqq' is neither a byte nor made by"),
        (lambda v: v["model"].update(merges=3), "model.merges: a list of pairs"),
        (lambda v: v["model"].update(merges=[["a"]]), "expected two tokens, found ['a']"),
        (lambda v: v["model"].update(merges=["a b c"]), "expected two tokens"),
        (lambda v: v["model"].update(merges=[["a", 3]]), "expected two tokens"),
        (
            lambda v: v["model"]["merges"].insert(0, "Ġz e"),
            "the vocabulary has no id for 'Ġze'",
        ),
        (lambda v: v["model"]["merges"].append("Ġ s"), "b' ' and b's' are merged already"),
        (lambda v: v["model"]["merges"].append("\u4e00 s"), "stand for bytes, found '\u4e00'"),
        (lambda v: v.update(added_tokens={}), "added_tokens: expected a list"),
        (lambda v: v.update(added_tokens=[3]), "added_tokens: expected distinct tokens with ids"),
        (
            lambda v: v["added_tokens"].append(v["added_tokens"][0]),
            "expected distinct tokens with ids",
        ),
        (lambda v: v["added_tokens"][0].update(id=5), "expected the id 2"),
        (
            lambda v: v["added_tokens"][0].update(single_word=True),
            "single_word of '<|endoftext|>' cannot",
        ),
    ],
)
def test_an_unsupported_tokenizer_json_is_refused(tokenizer, tmp_path, change, complaint):
    write(tmp_path, tokenizer_files(tokenizer))
    path = damage(tmp_path, "tokenizer.json", change)
    message = fails(tmp_path)
    assert message.startswith(f"{path}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("merges.txt", "#version: 0.2\nĠ s\nĠ\n".encode(), "line 3: expected two tokens"),
        ("merges.txt", b"#version: 0.2\n\xff\n", "merges.txt, line 2: expected UTF-8"),
        ("merges.txt", "Ġ 漢\n".encode(), "line 1: expected characters that stand for bytes"),
        ("merges.txt", b"a b\n", "merges.txt: the vocabulary has no id for 'ab'"),
        ("merges.txt", b"", "expected lines of text, found an empty file"),
        ("merges.txt", b"#version: 0.2\n", "is neither a byte nor made by a merge"),
        ("vocab.json", b'{"a": "b"}', "vocab.json: expected an id to each token"),
    ],
)
def test_damaged_files_of_gpt2(tokenizer, tmp_path, name, data, complaint):
    files = tokenizer_files(tokenizer)
    files.pop("tokenizer.json")
    write(tmp_path, {**files, name: data})
    assert complaint in fails(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda v: v.update(format_version=2), "format_version: expected 1, found 2"),
        (lambda v: v.pop("format_version"), "format_version: expected 1, found None"),
        (
            lambda v: v.update(unit="syllable"),
            "one of character, word, bpe, wordpiece, open word, sentencepiece, found 'syllable'",
        ),
        (lambda v: v.update(merges=[[0, 999]]), "merge 1: expected two of the 256 tokens"),
    ],
)
def test_damaged_vocabularies_of_runs(tokenizer, tmp_path, change, complaint):
    run = {"format_version": 1, **tokenizer.to_dict()}
    write(tmp_path, {"vocabulary.json": json.dumps(run).encode()})
    path = damage(tmp_path, "vocabulary.json", change)
    message = fails(tmp_path)
    assert message.startswith(f"{path}: ")
    assert complaint in message


# --- WordPiece


@pytest.fixture(scope="module")
def pieces():
    return word_pieces.train([TEXT * 2], 50)


def bert(folder, files, config=None):
    """vocab.txt and, if there is a config, tokenizer_config.json."""
    written = {"vocab.txt": files["vocab.txt"]}
    if config is not None:
        written["tokenizer_config.json"] = json.dumps(config).encode()
    return write(folder, written)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "vocabulary.json"])
@pytest.mark.parametrize("options", [(True, None, True), (False, True, False), (True, False, True)])
def test_pieces_that_are_written_are_read(pieces, tmp_path, name, options):
    more = [] if name == "vocab.txt" else ["the"]  # beside which BERT's are the special tokens
    tokenizer = WordPieces(pieces.tokens, *options, specials=[*pieces.specials, *more])
    files = tokenizer_files(tokenizer)
    files["vocabulary.json"] = json.dumps({"format_version": 1, **tokenizer.to_dict()}).encode()
    names = (name, "tokenizer_config.json") if name == "vocab.txt" else (name,)
    write(tmp_path, {name: files[name] for name in names})
    for place in (tmp_path, str(tmp_path / name)):
        again = load_tokenizer(place)
        assert again.tokens == tokenizer.tokens
        assert set(again.specials) == set(tokenizer.specials)
        assert {**again.to_dict(), "specials": 0} == {**tokenizer.to_dict(), "specials": 0}
        text = TEXT + "[MASK] \u00c9t\u00e9 The the"
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert {**tokenizer_files(again)} == {**tokenizer_files(tokenizer)}


def test_pieces_as_berts_own_files_have_them(pieces, tmp_path):
    """Without a configuration, as released in 2018; and with what later programs say there."""
    files = tokenizer_files(pieces)
    result = load_tokenizer(bert(tmp_path, files))
    assert (result.lower_case, result.strip_accents, result.split_ideographs) == (True, True, True)
    assert result.specials == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    config = {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast", "strip_accents": None}
    config |= {"mask_token": {"content": "[MASK]", "lstrip": False}, "model_max_length": 512}
    result = load_tokenizer(bert(tmp_path, files, config))
    assert (result.lower_case, result.strip_accents, result.split_ideographs) == (
        False,
        False,
        True,
    )
    windows = files["vocab.txt"].replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert load_tokenizer(bert(tmp_path, {"vocab.txt": windows})).tokens == pieces.tokens


def test_pieces_as_other_programs_write_them(pieces, tmp_path):
    values = json.loads(tokenizer_files(pieces)["tokenizer.json"])
    values["truncation"] = {"max_length": 128}
    values["added_tokens"].append({"id": len(pieces), "content": "new one", "special": False})
    values["normalizer"] |= {"strip_accents": None}
    write(tmp_path, {"tokenizer.json": json.dumps(values).encode()})
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.strip_accents
    assert tokenizer.tokens[-1] == "new one"
    assert tokenizer.encode("a new one").tolist()[-1] == len(pieces)
    values["post_processor"] = None
    values.pop("decoder")
    write(tmp_path, {"tokenizer.json": json.dumps(values).encode()})
    assert load_tokenizer(tmp_path).tokens == tokenizer.tokens


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", ": expected lines of text, found an empty file"),
        (b"a\n", ": tokens: expected [UNK] among them"),
        (b"[UNK]\na\n\nb\n", ", line 3: expected a token, found nothing"),
        (b"[UNK]\na\nb\na\n", ", line 4: expected each token once, found 'a' of line 2"),
        (b"[UNK]\n\xff\n", ", line 2: expected UTF-8 text, found the byte 0xff"),
    ],
)
def test_damaged_vocab_txt(tmp_path, data, complaint):
    write(tmp_path, {"vocab.txt": data})
    assert fails(tmp_path).startswith(f"{tmp_path / 'vocab.txt'}{complaint}")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ([], "expected a JSON object, found list"),
        ({"do_lower_case": 1}, "do_lower_case: expected true or false, found 1"),
        ({"strip_accents": "no"}, "strip_accents: expected true or false, found 'no'"),
        ({"tokenize_chinese_chars": []}, "tokenize_chinese_chars: expected true or false"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "expected 'BertTokenizer', found 'BertJ"),
        ({"tokenizer_class": []}, "tokenizer_class: expected 'BertTokenizer', found []"),
        ({"unk_token": "<unk>"}, "unk_token: expected '[UNK]', found '<unk>'"),
        ({"mask_token": {"content": "<mask>"}}, "mask_token: expected '[MASK]', found '<mask>'"),
        ({"added_tokens_decoder": 3}, "added_tokens_decoder: expected an object, found 3"),
        ({"added_tokens_decoder": {"0": 3}}, "[SEP], [MASK], found 3"),
        ({"added_tokens_decoder": {"9": {"content": "x"}}}, "[SEP], [MASK], found 'x'"),
    ],
)
def test_damaged_tokenizer_config(pieces, tmp_path, config, complaint):
    message = fails(bert(tmp_path, tokenizer_files(pieces), config))
    assert message.startswith(f"{tmp_path / 'tokenizer_config.json'}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda v: v["model"].update(unk_token="<unk>"), "model.unk_token: expected '[UNK]'"),
        (lambda v: v["model"].pop("unk_token"), "model.unk_token: expected '[UNK]', found None"),
        (lambda v: v["model"].update(continuing_subword_prefix=""), "expected '##', found ''"),
        (lambda v: v["model"].update(max_input_chars_per_word=9), "expected 100, found 9"),
        (
            lambda v: v.update(normalizer=None),
            "normalizer.type: expected 'BertNormalizer', found None",
        ),
        (lambda v: v["normalizer"].update(type="NFC"), "expected 'BertNormalizer', found 'NFC'"),
        (lambda v: v["normalizer"].update(clean_text=False), "clean_text: expected True, found"),
        (lambda v: v["normalizer"].update(lowercase="a"), "lowercase: expected true or false"),
        (lambda v: v["pre_tokenizer"].update(type="Whitespace"), "expected 'BertPreTokenizer'"),
        (lambda v: v["decoder"].update(prefix="@@"), "decoder.prefix: expected '##', found '@@'"),
        (lambda v: v["decoder"].update(type="BPE"), "decoder.type: expected 'WordPiece'"),
        (lambda v: v.update(post_processor=[]), "post_processor: expected [CLS] A [SEP], found []"),
        (
            lambda v: v["post_processor"]["single"].pop(),
            "post_processor: expected [CLS] A [SEP], found {",
        ),
        (
            lambda v: v.update(post_processor={"type": "BertProcessing"}),
            "post_processor: expected [CLS] A [SEP], found {'type': 'BertProcessing'}",
        ),
        (lambda v: v["model"].update(vocab=[]), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(x="1"), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(xyz=3), "expected as ids each number from 0 to"),
        (lambda v: v["model"]["vocab"].update({"": 50}), "expected texts that are not empty"),
        (lambda v: v["model"]["vocab"].update({"\ud800": 50}), "half of a character"),
        (lambda v: v["added_tokens"][0].update(id=5), "expected the id 0 of '[PAD]', found 5"),
        (lambda v: v["added_tokens"][0].update(single_word=True), "single_word of '[PAD]' cannot"),
        (lambda v: v.update(added_tokens=3), "added_tokens: expected a list"),
    ],
)
def test_an_unsupported_tokenizer_json_of_pieces_is_refused(pieces, tmp_path, change, complaint):
    assert len(pieces) == 50
    write(tmp_path, {"tokenizer.json": tokenizer_files(pieces)["tokenizer.json"]})
    path = damage(tmp_path, "tokenizer.json", change)
    message = fails(tmp_path)
    assert message.startswith(f"{path}: ")
    assert complaint in message


def test_a_line_end_in_a_token_is_not_written():
    with pytest.raises(InputError, match=r"vocab.txt: cannot hold a token with a line's end: 'a"):
        tokenizer_files(WordPieces(["[UNK]", "a\nb"]))


# --- words of SmolLM and Llama 3 ------------------------------------------------------------------


@pytest.mark.parametrize("pattern", list(PATTERNS)[1:])
def test_other_patterns_are_written_and_read_back(tokenizer, tmp_path, pattern):
    lacking = [-1 if value == 0 else value - 1 for value in range(len(tokenizer) + 1)]
    specials = ["<|begin|>", "<|end|>"]
    tokenizer = BytePairs(
        tokenizer.merges, specials, lacking, pattern=pattern, whole=pattern == "llama-bpe",
        bos="<|begin|>", eos="<|end|>",
    )  # fmt: skip
    config = {"bos_token": {"content": "<|begin|>"}, "eos_token": "<|end|>"}
    files = {"tokenizer.json": tokenizer_files(tokenizer)["tokenizer.json"]}
    write(tmp_path, files | {"tokenizer_config.json": json.dumps(config).encode()})
    assert load_tokenizer(tmp_path).to_dict() == tokenizer.to_dict()
    (tmp_path / "tokenizer_config.json").unlink()

    def with_bos(values):
        template = [{"SpecialToken": {"id": "<|begin|>"}}, {"Sequence": {"id": "A"}}]
        after = {"type": "TemplateProcessing", "single": template, "special_tokens": {"a": {}}}
        values["post_processor"] = {
            "type": "Sequence",
            "processors": [{"type": "ByteLevel"}, after],
        }

    damage(tmp_path, "tokenizer.json", with_bos)
    again = load_tokenizer(tmp_path)
    assert (again.bos, again.eos, again.add_bos) == (tokenizer.bos, None, True)

    def turned(values):
        first = values["pre_tokenizer"]["pretokenizers"][0]
        first.update(behavior="Removed", invert=True)

    if len(PATTERNS[pattern]) == 1 and pattern != "smollm":  # what does not match is nothing
        damage(tmp_path, "tokenizer.json", turned)
        assert load_tokenizer(tmp_path).pattern == pattern


HARD = (
    *(
        "I'LL say  1234.)\n\n(yes)",
        "HTTPServer camelCase's été e\u0301a a\u0301",
        "漢字かな ab한국 ①½",
    ),
    *(
        "a\t\n \r\n  b  ",
        " \u00a0\u3000x\u2028",
        "ab12 -345,6 $x+=y`z`",
        "😀👍🏽 \u0378\u0558\U0001e5d0 x",
    ),
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_words_are_those_of_the_library(tmp_path, pattern):
    library = pytest.importorskip("tokenizers")
    merges = train(HARD, 330).merges
    tokenizer = BytePairs(merges, ["<x>"], pattern=pattern, nfc=pattern.startswith("qwen"))
    write(tmp_path, tokenizer_files(tokenizer))
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in HARD:
        assert tokenizer.encode(text).tolist() == theirs.encode(text).ids


@pytest.mark.parametrize(("add_bos", "add_eos"), [(True, False), (False, True), (True, True)])
def test_the_frame_of_a_text_is_written_and_read_back(tokenizer, tmp_path, add_bos, add_eos):
    names = {"bos": "<|begin|>" if add_bos else "", "eos": "<|end|>" if add_eos else ""}
    tokenizer = BytePairs(
        tokenizer.merges, ["<|begin|>", "<|end|>"], add_bos=add_bos, add_eos=add_eos, **names
    )
    write(tmp_path, tokenizer_files(tokenizer))
    again = load_tokenizer(tmp_path)
    assert (again.add_bos, again.add_eos) == (add_bos, add_eos)
    assert again.to_dict() == tokenizer.to_dict()
    assert len(again.encode("the cat")) == len(again.encode_known("the cat")) + add_bos + add_eos
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("the cat", ""):
        assert theirs.encode(text).ids == again.encode(text).tolist()


def test_flags_of_added_tokens_are_written_and_read_back(tokenizer, tmp_path):
    """The white space beside a token is its own if its flags say so; NFC composes characters."""
    names = ["<a>", "<b>", "<c>"]
    tokenizer = BytePairs(
        tokenizer.merges, names, nfc=True, shown=["<a>"], lstrip=["<b>", "<c>"], rstrip=["<b>"]
    )
    write(tmp_path, tokenizer_files(tokenizer))
    again = load_tokenizer(tmp_path)
    assert again.to_dict() == tokenizer.to_dict()
    assert again.hidden == {tokenizer.special.ids[name] for name in names[1:]}
    assert again.encode("x \n<b>\t\u3000y").tolist() == again.encode("x<b>y").tolist()
    assert again.encode("x <a> <c> <b>").tolist() == again.encode("x <a><c><b>").tolist()
    assert again.encode("\x1c<b>").tolist() == again.encode("\x1c <b>").tolist()  # no white space
    assert again.encode("e\u0301").tolist() == again.encode("\xe9").tolist()
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (
        "x \n<b>\t\u3000y",
        " <c> <b> <a> ",
        "\x1c<b>\x1c",
        "e\u0301\u212b",
        "<b> <b> <c>",
    ):
        assert again.encode(text).tolist() == theirs.encode(text).ids
    for flag in ("shown", "lstrip", "rstrip"):
        with pytest.raises(ValueError, match=f"{flag}: expected special tokens, found '<d>'"):
            BytePairs([], names, **{flag: ["<d>"]})


def test_white_space_that_is_both_merged_and_added(tmp_path):
    """As in the files of GPT-NeoX, which Mamba uses, too: each has an id of its own."""
    merges = [(b" ", b" "), (b"  ", b"  "), (b"a", b"b")]
    names = ["<|endoftext|>", "    ", "  "]
    tokenizer = BytePairs(merges, names, nfc=True, shown=names[1:])
    assert tokenizer.tokens.count(b"  ") == tokenizer.tokens.count(b"    ") == 2
    write(tmp_path, tokenizer_files(tokenizer))
    texts = {"a  b": [97, 261, 98], " ab     \n": [32, 258, 260, 32, 10], "   ": [261, 32]}
    read, stored = load_tokenizer(tmp_path), vocabulary_from_dict(tokenizer.to_dict())
    assert read.to_dict() == stored.to_dict() == tokenizer.to_dict()
    for again in (tokenizer, read, stored):
        for text, ids in texts.items():
            assert again.encode(text).tolist() == ids
            assert again.decode(ids) == text
    library = pytest.importorskip("tokenizers")
    theirs = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, ids in texts.items():
        assert theirs.encode(text).ids == ids


@pytest.mark.parametrize(
    ("pattern", "change", "complaint"),
    [
        ("smollm", lambda a, b: a.update(individual_digits=False), "expected Split or Digits"),
        ("smollm", lambda a, b: b.update(use_regex=False), "expected the words of one of"),
        ("smollm", lambda a, b: a.update(type="Punctuation"), "expected Split or Digits"),
        ("llama-bpe", lambda a, b: a.update(pattern={"Regex": "x"}), "expected the words of one"),
        ("llama-bpe", lambda a, b: b.update(type="Metaspace"), "found 'Metaspace'"),
        ("qwen2", lambda a, b: a.update(behavior="Removed"), "expected Split or Digits"),
    ],
)
def test_other_words_are_refused(tmp_path, pattern, change, complaint):
    write(tmp_path, tokenizer_files(BytePairs([], ["<x>"], pattern=pattern)))
    damage(tmp_path, "tokenizer.json", lambda v: change(*v["pre_tokenizer"]["pretokenizers"]))
    assert complaint in fails(tmp_path)
