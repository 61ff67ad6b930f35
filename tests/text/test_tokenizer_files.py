"""Files of tokenizers: read, written, and refused."""

import json

import pytest

from minillm.errors import InputError
from minillm.text import BytePairs, Characters, load_tokenizer, tokenizer_files
from minillm.text.bpe import train
from minillm.text.tokenizer_files import spell, unspell

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
    assert "\n" not in message
    assert len(message) < 500
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
def test_what_is_written_is_read(tokenizer, tmp_path, names, permuted):
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


def test_what_is_missing(tmp_path):
    assert "expected one of tokenizer.json, vocab.json" in fails(tmp_path)
    assert "there is no such file" in fails(tmp_path / "none")
    write(tmp_path, {"vocab.json": b"{}"})
    assert f"{tmp_path / 'merges.txt'}: there is no such file" == fails(tmp_path)
    (tmp_path / "vocab.json").unlink()
    write(tmp_path, {"vocab.txt": b"[PAD]\n"})
    assert f"{tmp_path / 'vocab.txt'}: tokens: expected [UNK] among them" == fails(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "vocabulary.json"])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "expected JSON, but it is damaged"),
        (b"{", "expected JSON, but it is damaged"),
        (b"\xff{}", "expected JSON, but it is damaged"),
        (b"[1]", "expected a JSON object, found list"),
        (b"[" * 100_000, "expected JSON, but it is damaged"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' stands there twice"),
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
        (lambda v: v["model"].update(type="Unigram"), "model.type: expected 'BPE', found"),
        (lambda v: v["model"].update(type="WordPiece"), "normalizer: expected an object"),
        (lambda v: v["model"].update(type=["BPE"]), "model.type: expected 'BPE', found"),
        (lambda v: v["model"].update(dropout=0.1), "model.dropout: expected None, found 0.1"),
        (lambda v: v["model"].update(ignore_merges=True), "model.ignore_merges"),
        (lambda v: v["model"].update(end_of_word_suffix="</w>"), "model.end_of_word_suffix"),
        (lambda v: v.update(normalizer={"type": "NFC"}), "normalizer: expected None, found {"),
        (lambda v: v.pop("pre_tokenizer"), "pre_tokenizer: expected type 'ByteLevel', found None"),
        (lambda v: v.update(pre_tokenizer=3), "pre_tokenizer: expected an object, found int"),
        (lambda v: v["pre_tokenizer"].update(type="Metaspace"), "found 'Metaspace'"),
        (lambda v: v["pre_tokenizer"].pop("add_prefix_space"), "expected false, found true"),
        (lambda v: v["pre_tokenizer"].update(use_regex=False), "use_regex: expected true"),
        (lambda v: v.update(decoder={"type": "WordPiece"}), "decoder: expected type 'ByteLevel'"),
        (lambda v: v.update(post_processor={"type": "TemplateProcessing"}), "post_processor: "),
        (lambda v: v["model"].update(vocab=[]), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(a="1"), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(a=True), "model.vocab: an id to each token"),
        (lambda v: v["model"]["vocab"].update(a=2), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].update(a=-1), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].update(a=10**30), "each number from 0 to"),
        (lambda v: v["model"]["vocab"].pop("a"), "the vocabulary has no id for 'a'"),
        (lambda v: v["model"]["vocab"].pop("Ġs"), "the vocabulary has no id for 'Ġs'"),
        (lambda v: v["model"]["vocab"].update(qqq=300), "'qqq' is neither a byte nor made by"),
        (lambda v: v["model"].update(merges=3), "model.merges: a list of pairs"),
        (lambda v: v["model"].update(merges=[["a"]]), "expected two tokens, found ['a']"),
        (lambda v: v["model"].update(merges=["a b c"]), "expected two tokens"),
        (lambda v: v["model"].update(merges=[["a", 3]]), "expected two tokens"),
        (
            lambda v: v["model"]["merges"].insert(0, "Ġs e"),
            "merge 1: no merge before it makes b' s'",
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
        (lambda v: v["added_tokens"][0].update(lstrip=True), "lstrip of '<|endoftext|>' cannot"),
    ],
)
def test_what_a_tokenizer_json_may_not_say(tokenizer, tmp_path, change, complaint):
    write(tmp_path, tokenizer_files(tokenizer))
    path = damage(tmp_path, "tokenizer.json", change)
    message = fails(tmp_path)
    assert message.startswith(f"{path}: ")
    assert complaint in message


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("merges.txt", b"#version: 9\n", "line 1: expected '#version: 0.2', found '#version: 9'"),
        ("merges.txt", "#version: 0.2\nĠ s\nĠ\n".encode(), "line 3: expected two tokens"),
        ("merges.txt", b"#version: 0.2\n\xff\n", "merges.txt: expected UTF-8"),
        ("merges.txt", "Ġ 漢\n".encode(), "line 1: expected characters that stand for bytes"),
        ("merges.txt", b"a b\n", "merges.txt: the vocabulary has no id for 'ab'"),
        ("merges.txt", b"", "is neither a byte nor made by a merge"),
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
        (lambda v: v.update(format_version=2), "expected format version 1, found 2"),
        (lambda v: v.pop("format_version"), "expected format version 1, found None"),
        (lambda v: v.update(unit="syllable"), "a list of strings"),
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
