"""Shuffling is a permutation of the documents, the same for each seed on any number of ranks."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks_in_threads import on_ranks

from minillm.data import Shards, shuffling, tokenizing, write_shards
from minillm.data.shuffling import shuffled
from minillm.errors import InputError
from minillm.text import Words


class WithEos(Words):
    """Words with a token that ends a document."""

    eos = 1


VOCABULARY = WithEos(["<unk>", "<eos>", *"abcdefgh", "\n"])


def documents_of(ids):
    """Tuples of ids, each of which ends with EOS."""
    return [tuple(d.tolist()) for d in np.split(ids, np.flatnonzero(ids == 1) + 1)[:-1]]


def shards_of(folder, lines):
    (folder / "text").write_text("\n".join(lines))
    return write_shards(folder / "shards", [str(folder / "text")], VOCABULARY, 60, documents="line")


def read(folder, entries):
    return np.concatenate([np.fromfile(folder / entry["file"], "<u2") for entry in entries])


@given(
    st.lists(st.text(st.sampled_from("abcdefgh "), max_size=9), min_size=1, max_size=40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 5),
)
def test_it_is_a_permutation_whatever_the_number_of_ranks(
    tmp_path_factory, lines, block, bucket, seed
):
    folder = tmp_path_factory.mktemp("shards")
    shards = shards_of(folder, ["a", *lines])
    results = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shuffling, "BLOCK", block)
        patched.setattr(shuffling, "BUCKET", bucket)
        for size in (1, 2, 3):
            out = folder / str(size)
            out.mkdir()

            def work(ranks, out=out):
                return shuffled(shards, out, out / "scratch", seed, ranks)

            entries = on_ranks(size, work)
            assert all(entry == entries[0] for entry in entries)
            results.append((entries[0], read(out, entries[0]).tolist()))
    assert results[0] == results[1] == results[2]
    result = documents_of(np.array(results[0][1]))
    assert Counter(result) == Counter(documents_of(shards[:]))


def test_all_orders_are_equally_likely(tmp_path, monkeypatch):
    """The 6 orders of three documents, of 300 seeds: chi-squared with 5 degrees of freedom."""
    monkeypatch.setattr(shuffling, "BLOCK", 5)
    monkeypatch.setattr(shuffling, "BUCKET", 4)

    def write_shard(path, pieces, dtype):
        return {"file": path.name, "ids": np.concatenate(pieces).tolist()}

    monkeypatch.setattr(shuffling, "write_shard", write_shard)
    shards = shards_of(tmp_path, list("abc"))
    counts = Counter()
    for seed in range(300):
        (parts,) = on_ranks(
            1, lambda job, s=seed: shuffled(shards, tmp_path, tmp_path / "x", s, job)
        )
        counts[tuple(np.concatenate([part["ids"] for part in parts])[::3].tolist())] += 1
    assert len(counts) == 6
    assert sum((count - 50) ** 2 / 50 for count in counts.values()) < 20.5  # p = 0.001


def test_a_document_that_is_too_long_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffling, "BLOCK", 5)
    shards = shards_of(tmp_path, ["a b c d e f g h" * 4, "a"])
    for longest, size, fails in ((20, 1, True), (20, 3, True), (40, 1, False), (40, 3, False)):
        monkeypatch.setattr(shuffling, "LONGEST", longest)

        def work(job):
            return shuffled(shards, tmp_path, tmp_path / "x", 0, job)

        if fails:
            with pytest.raises(InputError, match=r"shuffle: expected documents of at most 20 t"):
                on_ranks(size, work)
        else:
            on_ranks(size, work)


def test_a_vocabulary_must_have_an_end_of_documents(tmp_path):
    (tmp_path / "text").write_text("a b\n")
    with pytest.raises(InputError, match="shuffle: expected a vocabulary with a token that ends"):
        write_shards(tmp_path / "out", [str(tmp_path / "text")], Words(["<unk>", "a"]), shuffle=1)
    assert not (tmp_path / "out").exists()


def test_a_shuffling_that_was_killed_begins_again(tmp_path, monkeypatch):
    lines = [" ".join("abcdefgh"[: k % 9]) for k in range(1, 60)]
    (tmp_path / "text").write_text("\n".join(lines))
    files, options = [str(tmp_path / "text")], {"documents": "line", "shuffle": 7}
    monkeypatch.setattr(shuffling, "BUCKET", 40)
    monkeypatch.setattr(shuffling, "BLOCK", 30)
    whole = write_shards(tmp_path / "whole", files, VOCABULARY, 50, **options)

    class Killed(Exception):
        pass

    for stop in (0, 3):
        written = []

        def dies(path, *arguments, stop=stop, written=written):
            written.append(path)
            if len(written) > stop:
                raise Killed
            return real(path, *arguments)

        real = shuffling.write_shard
        monkeypatch.setattr(shuffling, "write_shard", dies)
        with pytest.raises(Killed):
            write_shards(tmp_path / "out", files, VOCABULARY, 50, **options)
        monkeypatch.setattr(shuffling, "write_shard", real)
        with pytest.raises(InputError, match="the shards are not complete"):
            Shards(tmp_path / "out")
    encoded = []
    monkeypatch.setattr(
        tokenizing, "write_shard", lambda *arguments: encoded.append(arguments)
    )  # what was encoded is kept
    again = write_shards(tmp_path / "out", files, VOCABULARY, 50, **options)
    assert not encoded
    for path in whole.path.iterdir():
        assert (again.path / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in again.path.iterdir()} == {p.name for p in whole.path.iterdir()}
