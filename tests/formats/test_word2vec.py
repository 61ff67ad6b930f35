"""word2vec's formats: round trips, damage, and gensim's files."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minillm
from minillm.cli import main
from minillm.errors import InputError
from minillm.formats.word2vec import read_vectors, write_vectors

WORDS = ["the", "Zürich", "3.14", "日本", "it's"]
LONG = "a" * 5000
VECTORS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def write_binary(path, words, vectors):
    rows = [w.encode() + b" " + v.tobytes() + b"\n" for w, v in zip(words, vectors, strict=True)]
    path.write_bytes(b"%d %d\n" % vectors.shape + b"".join(rows))


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_round_trip_to_the_bit(tmp_path_factory, seed, binary):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("vectors") / "file"
    bits = rng.integers(0, 2**32, (5, 3), dtype=np.uint32)
    vectors = np.where(np.isfinite(bits.view(np.float32)), bits.view(np.float32), np.float32(0.1))
    (write_binary if binary else write_vectors)(path, WORDS, vectors)
    words, again = read_vectors(path)
    assert words == WORDS
    assert np.array_equal(again.view(np.uint32), vectors.view(np.uint32))


@pytest.mark.parametrize("form", ["text", "binary", "glove"])
def test_glove_and_compressed_files(tmp_path, form):
    path, packed = tmp_path / "file", tmp_path / "file.gz"
    (write_binary if form == "binary" else write_vectors)(path, WORDS, VECTORS)
    if form == "glove":
        path.write_bytes(path.read_bytes().partition(b"\n")[2] + b"\n")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        words, vectors = read_vectors(file)
        assert words == WORDS
        assert np.array_equal(vectors, VECTORS)
        run = tmp_path / f"run of {file.name}"
        assert main(["import", str(file), "--out", str(run)]) == 0
        assert np.array_equal(minillm.load(run).vectors["the"], VECTORS[0])
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"file.gz: expected a (whole )?gzip file"):
        read_vectors(packed)


@pytest.mark.parametrize("binary", [True, False])
def test_gensim_reads_ours_and_we_read_theirs(tmp_path, binary):
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors")
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    write_vectors(ours, WORDS, VECTORS)
    loaded = keyedvectors.KeyedVectors.load_word2vec_format(ours)
    assert loaded.index_to_key == WORDS
    assert np.array_equal(loaded.vectors, VECTORS)
    loaded.save_word2vec_format(theirs, binary=binary)
    words, vectors = read_vectors(theirs)
    assert words == WORDS
    assert np.array_equal(vectors, VECTORS)


def test_a_truncated_binary_file(tmp_path):
    path = tmp_path / "v"
    write_binary(path, WORDS, VECTORS)
    whole = path.read_bytes()
    for length in range(4, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_vectors(path)
        assert str(path) in str(caught.value)
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match="word 5 of 5: expected a word, a space and 4 numbers"):
        read_vectors(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the number of words and the vectors' length"),
        ("0 0\n", "line 1: expected the number"),
        ("2 2\na 1 2\nb 1\n", "line 3: expected a word and 2 numbers, 2 times, found b'b 1"),
        ("2 2\na 1 2\nb 1 x\n", "line 3: expected a word and 2 numbers"),
        ("3 2\na 1 2\nb 1 2\n", "expected 3 words, found 2"),
        ("1 2\na 1 2\nb 1 2\n", "line 3: expected a word and 2 numbers, 1 times"),
        ("2 2\na 1 2\na 1 2\n", "expected each word once, found 'a' again"),
        ("2 2\na 1 2\nb 1 nan\n", "'b': expected finite numbers, found others"),
        (f"2 2\n{LONG} 1 nan\nb 1 1\n", "expected finite numbers, found others"),
        # Without a head, as in GloVe's files
        ("a 1 2\nb 1\n", "line 2: expected a word and 2 numbers, found b'b 1"),
        ("a 1 2\na 1 2\n", "expected each word once, found 'a' again"),
        ("a 1 x\nb 1 2\n", "line 1: expected the number of words"),
    ],
)
def test_damaged_text(tmp_path, text, message):
    path = tmp_path / "v"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_vectors(path)
    assert len(str(caught.value)) < len(str(path)) + 150


def test_a_word_with_white_space(tmp_path):
    with pytest.raises(InputError, match="words without white space, found 'a b'"):
        write_vectors(tmp_path / "v", ["a b"], VECTORS[:1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("5 " + "9" * 5000, "line 1: expected the number of words"),
        ("5 100000", "line 1: expected the number of words and the vectors' length, to 65536"),
        (f"{10**11} 4", "expected 100000000000 words|word 6 of 100000000000"),
        ("5 65536", "expected a word and 65536 numbers|word 1 of 5"),
    ],
)
def test_a_head_that_asks_for_more_than_the_file_has(tmp_path, binary, head, message):
    path = tmp_path / "v"
    (write_binary if binary else write_vectors)(path, WORDS, VECTORS)
    path.write_bytes(head.encode() + path.read_bytes()[3:])
    with pytest.raises(InputError, match=message) as caught:
        read_vectors(path)
    assert len(str(caught.value)) < 300
