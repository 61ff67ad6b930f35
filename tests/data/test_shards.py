"""A corpus in shards: every token once, the array that was written in parts, named damage."""

import io
import json
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import RandomWindows, Shards, shards, tokenizing, write_shards
from minillm.errors import InputError
from minillm.text import Characters, Words

TEXT = "".join(f"line {k:02} of the text,  with some   more, 50 tokens\n" for k in range(60))
CHARACTERS = Characters.from_text(TEXT)
IDS = CHARACTERS.encode(TEXT)
LETTERS = "abcdefgh"


class WithEos(Words):
    """Words with a token that ends a document."""

    eos = 1


VOCABULARY = WithEos(["<unk>", "<eos>", *LETTERS, "\n"])


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def folder(tmp_path, text_file):
    """Shards of 500 tokens each."""
    write_shards(tmp_path / "shards", [text_file], CHARACTERS, 500, documents="line")
    return tmp_path / "shards"


# --- writing ----------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.sampled_from([*LETTERS, "  ", "\n"]), max_size=60), max_size=4),
    st.integers(1, 90),
    st.integers(1, 40),
    st.sampled_from(["file", "line"]),
)
def test_every_token_once(tmp_path_factory, contents, part, block, kind):
    folder, files, texts = tmp_path_factory.mktemp("corpus"), [], []
    for number, words in enumerate([["a"], *contents]):
        text = "h" + " ".join(words).replace(" \n ", "\n") + "\n"
        files.append(str(folder / str(number)))
        (folder / str(number)).write_text(text)
        own = text.split("\n") if kind == "line" else [text[:-1]]
        texts += [each + "\n" for each in own if each.strip()]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizing, "BLOCK", block)
        shards = write_shards(folder / "out", files, VOCABULARY, part, documents=kind)
    ids = [id for text in texts for id in (*VOCABULARY.encode(text).tolist(), 1)]
    assert shards[:].tolist() == ids
    assert shards.source["documents"] == len(texts)
    assert shards.source["characters"] == shards.source["bytes"] == sum(map(len, texts))
    assert (shards.eos, shards.vocabulary) == (1, len(VOCABULARY))


def test_errors_in_the_input_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizing, "BLOCK", 128)
    for name, data, told in (
        ("bad.jsonl", '{"text": " "}\n', "bad.jsonl: it has no tokens"),
        ("bad.jsonl", '{"text": "\u2026"}\n', r"bad\.jsonl, line 1.*, column 1: the character '…'"),
        ("bad", TEXT + "\u2026\n", r"bad, after line \d+, line \d, column 1: the char"),
    ):
        (tmp_path / name).write_text(data)
        with pytest.raises(InputError, match=told):
            write_shards(tmp_path / "out", [str(tmp_path / name)], CHARACTERS)
    assert not (tmp_path / "out").exists()


def test_the_size_of_standard_input_is_not_known(tmp_path, text_file, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d e f\n")))
    seen = []
    for files in (["-", text_file], [text_file]):
        out = tmp_path / str(len(files))
        write_shards(out, files, VOCABULARY, progress=lambda *counts: seen.append(counts))
    assert Shards(tmp_path / "2")[:5].tolist() == [*VOCABULARY.encode("d e f\n").tolist(), 1]
    assert seen == [(6 + len(TEXT), None), (len(TEXT), len(TEXT))]


def test_a_folder_with_other_files_is_not_overwritten(tmp_path, text_file, folder):
    (tmp_path / "other").write_text("text\ntext\n")
    other = [str(tmp_path / "other")]
    write_shards(folder, other, CHARACTERS, 3, overwrite=True, documents="line")
    np.testing.assert_array_equal(Shards(folder)[:], CHARACTERS.encode("text\ntext\n"))
    assert len(list(folder.glob("*.bin"))) == 2
    with pytest.raises(InputError, match=r"expected shards to overwrite, found other files"):
        write_shards(tmp_path, [text_file], CHARACTERS, overwrite=True)


def test_a_large_vocabulary_takes_four_bytes(tmp_path, text_file):
    vocabulary = Words(["<unk>", *map(str, range(70_000)), "text"])
    opened = write_shards(tmp_path / "out", [text_file], vocabulary)
    assert opened.dtype == np.uint32
    np.testing.assert_array_equal(opened[:], vocabulary.encode(TEXT))


def test_memory_is_flat(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizing, "BLOCK", 1 << 12)
    peaks = []
    for name, times in (("warm", 5), ("short", 25), ("long", 200)):  # to 0.6 MB
        (tmp_path / name).write_text(TEXT * times)
        tracemalloc.start()
        opened = write_shards(tmp_path / f"{name}.out", [str(tmp_path / name)], CHARACTERS, 1 << 20)
        windows = RandomWindows(opened, 8, 64)
        for _ in range(50):
            windows.next()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(opened) > 450_000
    assert peaks[2] < peaks[1] + 10_000


# --- reading ----------------------------------------------------------------------------


def test_shards_are_the_array(folder):
    opened = Shards(folder)
    np.testing.assert_array_equal(opened[:], IDS)
    assert len(list(folder.glob("*.bin"))) == -(-len(IDS) // 500) > 3
    assert opened.dtype == np.uint16
    opened.verify()


@given(st.data())
def test_any_part_equals_the_same_part_of_the_array(tmp_path_factory, data):
    n = data.draw(st.integers(2, 24))
    text = "".join(chr(97 + k) for k in np.random.default_rng(n).integers(0, 9, n - 1)) + "\n"
    folder = tmp_path_factory.mktemp("shards")
    (folder / "text").write_text(text)
    vocabulary = Characters.from_text(text)
    opened = write_shards(
        folder / "out", [str(folder / "text")], vocabulary, data.draw(st.integers(3, 12))
    )
    ids = vocabulary.encode(text)
    start, stop = (data.draw(st.integers(0, n)) for _ in range(2))
    part, expected = opened.part(start, max(start, stop)), ids[start : max(start, stop)]
    assert len(part) == len(expected)
    for places in (
        slice(None),
        slice(None, None, 2),
        data.draw(st.slices(n)),
        np.array(data.draw(st.lists(st.integers(0, max(0, len(part) - 1)), max_size=6)), int),
    ):
        if len(part) or isinstance(places, slice):
            np.testing.assert_array_equal(part[places], expected[places])
    for outside in (len(part), -1):
        with pytest.raises(IndexError):
            part[np.array([outside])]


def test_the_last_tenth_is_held_out(folder, monkeypatch):
    opened = Shards(folder)
    cut = len(opened) * 9 // 10
    training, validation = opened.split()
    np.testing.assert_array_equal(training[:], opened[:cut])
    np.testing.assert_array_equal(validation[:], opened[cut:])
    monkeypatch.setattr(shards, "HELD_OUT", 7)
    assert [len(part) for part in opened.split()] == [len(opened) - 7, 7]


# --- damage -----------------------------------------------------------------------------


def test_a_shard_that_is_deleted_or_cut_short_after_opening_is_named(folder):
    """A memory map of it would end the process."""
    opened, shard = Shards(folder), folder / "00001.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"00001.bin: it has been cut short since it was"):
        opened[500:1500]
    shard.unlink()
    with pytest.raises(InputError, match=r"00001.bin: cannot be read: No such file"):
        opened[500:1500]
    with pytest.raises(InputError, match=r"00001.bin: there is no such file"):
        opened.verify()


def test_damaged_shards_are_named(folder):
    shard = folder / "00002.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"00002\.bin: expected 500 ids .* found 999 bytes: it"):
        Shards(folder)
    V = json.loads((folder / "index.json").read_text())["vocabulary"]
    shard.write_bytes(whole[:14] + V.to_bytes(2, "little") + whole[16:])
    opened = Shards(folder)
    opened[:1007]
    complaint = rf"00002\.bin, token 7: expected an id below {V}, found {V}"
    for places in (slice(990, 1010), np.array([[3, 1007], [4, 5]])):
        with pytest.raises(InputError, match=complaint):
            opened[places]
    with pytest.raises(InputError, match=r"00002\.bin: expected what was written, found other"):
        opened.verify()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("index", None, r"there are no shards in it \(no index.json\)"),
        ("index", b"[" * 100_000, r"index\.json: expected JSON, but it is damaged"),
        ("index", b'{"format_version": 4}', r"expected format version 5, found 4: it was written"),
        (
            "index",
            b'{"format_version": 5, "sha256": "0"}',
            r"expected what `minillm tokenize` wrote, found it",
        ),
        ("vocabulary", None, r"vocabulary\.json: there is no such file"),
        ("vocabulary", b"{}", r"vocabulary\.json: expected the vocabulary that the shards were ma"),
    ],
)
def test_a_damaged_index_or_vocabulary_is_named(folder, name, content, complaint):
    path = folder / f"{name}.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        Shards(folder)
    assert "\n" not in str(error.value)


def test_the_fingerprint_is_that_of_the_contents(folder, tmp_path, text_file):
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert Shards(moved).sha256 == Shards(folder).sha256
    other = write_shards(tmp_path / "words", [text_file], VOCABULARY)
    assert other.sha256 != Shards(folder).sha256
