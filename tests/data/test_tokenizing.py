"""A corpus in shards: every token once, whatever the files."""

import gzip
import json
import os
import random
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import tokenizing, write_shards
from minillm.errors import InputError
from minillm.text import Words

LETTERS = "abcdefgh"


class WithEos(Words):
    """Words with a token that ends a document."""

    eos = 1


VOCABULARY = WithEos(["<unk>", "<eos>", *LETTERS, "\n"])


class Killed(Exception):
    """A kill, for a test."""


class Dying:
    """A vocabulary that encodes so many pieces, and then raises."""

    def __init__(self, pieces):
        self.left, self.eos = pieces, VOCABULARY.eos

    def __len__(self):
        return len(VOCABULARY)

    def to_dict(self):
        return VOCABULARY.to_dict()

    def encode_each(self, texts, names):
        self.left -= len(texts)
        if self.left < 0:
            raise Killed
        return VOCABULARY.encode_each(texts, names)


@pytest.fixture
def small(monkeypatch):
    """Blocks of a few bytes."""
    monkeypatch.setattr(tokenizing, "BLOCK", 16)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def documents_of(shards):
    """The count of each document."""
    ids = shards[:]
    ends = np.flatnonzero(ids == 1) + 1
    assert ends[-1] == len(ids)
    return Counter(tuple(d.tolist()) for d in np.split(ids, ends)[:-1])


def expected(texts):
    return Counter((*VOCABULARY.encode(text).tolist(), 1) for text in texts)


def corpus(folder, seed=0, count=40):
    """Files of many kinds, and the documents in them."""
    rng, texts = random.Random(seed), []

    def text(most):
        words = [rng.choice(LETTERS) for _ in range(rng.randint(1, most))]
        return "".join(word + rng.choice("  \n") for word in words).strip() + "\n"

    def save(name, data):
        (folder / name).write_bytes(data)
        return str(folder / name)

    files = []
    for number in range(3):
        texts.append(text(90))
        files.append(save(f"{number}.txt", texts[-1].encode()))
    own = [text(8) for _ in range(count)]
    own += rng.choices(own, k=count // 2)
    lines = "".join(json.dumps({"text": each}) + "\n" for each in own).encode()
    files.append(save("a.jsonl", lines))
    files.append(save("b.jsonl.gz", gzip.compress(lines)))
    texts += own + own + own[:1]
    files.append(save("again.txt.gz", gzip.compress(own[0].encode())))
    return files, texts


def test_shards_hold_the_documents_in_their_order(tmp_path, small):
    files, texts = corpus(tmp_path)
    one = write_shards(tmp_path / "out", files, VOCABULARY, 60)
    assert len(list(one.path.glob("*.bin"))) > 8
    assert documents_of(one) == expected(texts)
    found = one.source
    assert found["documents"] == len(texts)
    assert found["characters"] == found["bytes"] == sum(map(len, texts))


def test_a_file_in_several_shards_is_one_document(tmp_path, small):
    for name, start in (("x", "a b c\n"), ("y", "b b c\n"), ("z", "a b c\n")):
        (tmp_path / name).write_text(start + "d e f g\n" * 20)
    files = [str(tmp_path / name) for name in "xyz"]
    shards = write_shards(tmp_path / "out", files, VOCABULARY, 60)
    assert len(list(shards.path.glob("*.bin"))) > 6
    assert (shards[:] == 1).sum() == shards.source["documents"] == 3


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


def test_an_interruption_leaves_nothing_or_the_earlier_shards(tmp_path, small):
    files, _ = corpus(tmp_path)
    out = tmp_path / "out"
    for overwrite in (False, True):
        before = {path.name for path in tmp_path.iterdir()}, files_of(out)
        with pytest.raises(Killed):
            write_shards(out, files, Dying(40), 60, overwrite)
        assert ({path.name for path in tmp_path.iterdir()}, files_of(out)) == before
        write_shards(out, files, VOCABULARY, 60, overwrite)
    with pytest.raises(InputError, match="expected the name of a new folder, but it exists"):
        write_shards(out, files, VOCABULARY, 60)


def test_errors_in_the_input_write_nothing(tmp_path, small):
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n')
    for named, told in (
        (["nothing"], "nothing: there is no such file"),
        (["binary"], "binary, line 1: expected UTF-8 text"),
        (["blank.jsonl"], r"blank.jsonl: it has no tokens"),
    ):
        with pytest.raises(InputError, match=told):
            write_shards(tmp_path / "out", [str(tmp_path / name) for name in named], VOCABULARY)
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_read_once(tmp_path, small):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("a b c\n" * 30)

    def feed():
        (tmp_path / "pipe").write_text("d e f\n" * 30)

    feeding = threading.Thread(target=feed)
    feeding.start()
    files = [str(tmp_path / "pipe"), str(tmp_path / "text")]
    shards = write_shards(tmp_path / "out", files, VOCABULARY, 60)
    feeding.join()
    assert documents_of(shards) == expected(["d e f\n" * 30, "a b c\n" * 30])
