"""Encoding a corpus into shards, by one process or by all ranks of a job.

The corpus is cut into parts (:mod:`minillm.data.documents`), which are dealt to the ranks.  Each
rank encodes its parts one after the other, in blocks, so its memory stays constant:

    00003-00000.bin, 00003-00001.bin, ...   the shards of part 3
    unfinished-KEY/00003.json               the list of them, written when the part is complete

When all parts are done, rank 0 writes the index, in the order of the parts, and removes the lists.
So the shards are byte for byte the same for any number of ranks.

KEY is a fingerprint of the files, the vocabulary and the options.  After a kill, the same call
finds the folder of its key, keeps the parts that have a list, and makes the others again.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.data import documents as corpus
from minillm.data.documents import Piece
from minillm.data.files import file_digest, read_json, read_once, remove_temporaries, shown
from minillm.data.python_texts import DEFAULT_TEXT, TEXTS
from minillm.data.shards import (
    FORMAT_VERSION,
    UNFINISHED,
    Shards,
    digest_of,
    read_index,
    unsealed,
    write_json,
    write_part,
    write_sealed,
)
from minillm.data.shuffling import shuffled
from minillm.errors import InputError
from minillm.mpi import Ranks, ranks

SHARD_TOKENS = 1 << 26
COUNTS = ("bytes", "characters", "documents", "duplicates")  # of the text of a part
_RETURNED = 4 * corpus.BLOCK  # bytes of text after which free memory is given back

Report = Callable[[int, int | None, int], None]  # see write_shards


class Tokenizer(Protocol):
    """The attributes of a :class:`minillm.text.Vocabulary` that are used here."""

    eos: int | None

    def __len__(self) -> int: ...

    def encode_each(self, texts: Sequence[str], names: Sequence[str]) -> list[NDArray]: ...

    def to_dict(self) -> dict: ...


def write_shards(
    out: str | Path,
    files: Sequence[str],
    tokenizer: Tokenizer,
    shard_tokens: int = SHARD_TOKENS,
    overwrite: bool = False,
    progress: Report | None = None,
    *,
    documents: str = "file",
    deduplicate: bool = False,
    shuffle: int | None = None,
) -> Shards:
    """Encode texts into the folder ``out``, a block at a time, and open the shards.

    ``files`` are paths, built-in texts and ``-``.  Each is a document or, with
    ``documents="line"``, each of its lines is.  EOS follows each document if the vocabulary has it.
    With ``deduplicate``, only the first of equal documents is kept.  ``shuffle`` is the seed of a
    random order of the documents.  A shard has at most ``shard_tokens``.

    ``progress`` is called with the bytes of text that this rank has read, the bytes that it has to
    read, if known, and the tokens that it has made.

    All ranks of a job call this.  Called again after a kill, it keeps the parts that are complete
    and continues; the files are byte for byte the same as without the interruption.  InputError if
    the folder has anything else in it, unless ``overwrite`` replaces its shards.
    """
    if not str(out):
        raise InputError("out: expected a folder, found an empty name")
    if shuffle is not None and tokenizer.eos is None:
        raise InputError(
            "shuffle: expected a vocabulary with a token that ends a document, as byte pairs "
            "have it, found one without"
        )
    folder, job = Path(out), ranks()
    vocabulary = {"format_version": 1, **tokenizer.to_dict()}
    names = [str(file) for file in files] or [DEFAULT_TEXT]
    index: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "dtype": "uint16" if len(tokenizer) <= 1 << 16 else "uint32",
        "vocabulary": len(tokenizer),
        "eos": tokenizer.eos,
        "tokenizer_sha256": digest_of(vocabulary),
        "shard_tokens": shard_tokens,
        "documents": documents,
        "deduplicate": deduplicate,
        "shuffle": shuffle,
        "source": {"files": list(map(str, files)), "sha256": _fingerprint(names, job)},
    }
    index["key"] = digest_of(index | {"source": index["source"]["sha256"]})
    work = folder / f"{UNFINISHED}{index['key'][:16]}"
    if _is_complete(folder, index["key"], work, overwrite):
        shutil.rmtree(work, ignore_errors=True)
        return Shards(folder)

    records = _encode_parts(names, index, folder, work, tokenizer, overwrite, progress)
    index["shards"] = [shard for record in records for shard in record["shards"]]
    index["source"] |= {name: sum(record[name] for record in records) for name in COUNTS}
    if shuffle is not None:
        _write_index(work, index, vocabulary, job)
        buckets = work / "buckets"
        index["shards"] = shuffled(Shards(work), folder, buckets, shuffle, shard_tokens, job)
    _write_index(folder, index, vocabulary, job)
    if job.rank == 0:
        shutil.rmtree(work)
        remove_temporaries(folder)
    return Shards(folder)


def _encode_parts(
    names: Sequence[str],
    index: Mapping[str, Any],
    folder: Path,
    work: Path,
    tokenizer: Tokenizer,
    overwrite: bool,
    progress: Report | None,
) -> list[dict[str, Any]]:
    """Write the shards of all parts that have no list yet; return all lists.

    Documents that will be shuffled are written into ``work``, others into ``folder``.
    """
    job, deduplicate = ranks(), index["deduplicate"]
    parts = corpus.parts_of(names, documents=index["documents"], whole=deduplicate)
    own = corpus.dealt(parts, job.size)[job.rank]
    begun = work.exists() and not overwrite
    records = _records(work, own) if begun else {}
    missing = [number for number in own if number not in records]
    to_read = [*own * deduplicate, *missing]
    reader = _Reader(parts, to_read, index["documents"], tokenizer, progress)
    repeated = _repeated_ones(reader, own, job) if deduplicate else {}
    counts = {number: dict.fromkeys(COUNTS, 0) for number in missing}
    ids = {number: reader.ids(number, counts[number], repeated.get(number)) for number in missing}
    # An error in the first block of a text is reported before anything is written.
    first = list(islice(ids[missing[0]], 1)) if missing else []
    if all(job.gather(not first and not records)):
        raise InputError(f"{', '.join(map(shown, names))}: it has no tokens"[:300])
    if job.rank == 0:
        if not begun:
            _remove_shards(folder)
        work.mkdir(parents=True, exist_ok=True)
    job.wait()
    encoded = folder if index["shuffle"] is None else work
    dtype = np.dtype(index["dtype"]).newbyteorder("<")
    for number in missing:
        blocks, first = chain(first, ids[number]), []
        shards = write_part(encoded, number, blocks, index["shard_tokens"], dtype)
        records[number] = {"shards": shards, **counts[number]}
        write_sealed(work / f"{number:05}.json", records[number])
    return _of_all(job, records)


def _of_all(job: Ranks, values: Mapping[int, Any]) -> list[Any]:
    """The values of the parts of all ranks, in the order of the parts."""
    joined = {number: value for of_rank in job.gather(values) for number, value in of_rank.items()}
    return [joined[number] for number in sorted(joined)]


def _fingerprint(names: Sequence[str], job: Ranks) -> str:
    """The fingerprint of the files; each rank reads some.

    It is random if one of them can be read only once, because nothing can be continued then.
    """
    if any(map(read_once, names)):
        return job.broadcast(os.urandom(32).hex())
    own = {name: _digest(name) for name in names[job.rank :: job.size]}
    digests = {name: digest for of_rank in job.gather(own) for name, digest in of_rank.items()}
    return digest_of({"files": [digests[name] for name in names]})


def _digest(name: str) -> str:
    if name in TEXTS:
        return hashlib.sha256(TEXTS[name]().encode()).hexdigest()
    return file_digest(name)


# --- the folder -------------------------------------------------------------------------


def _is_complete(folder: Path, key: str, work: Path, overwrite: bool) -> bool:
    """Whether the folder has the shards of this key already.

    InputError if it has anything else in it, unless ``overwrite`` may replace other shards.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    found = sorted(entry.name for entry in folder.glob("[!.]*"))
    has_index = "index.json" in found
    if found and not has_index and not any(name.startswith(UNFINISHED) for name in found):
        raise InputError(f"{folder}: expected a new or empty folder, found {found[0]!r} in it")
    if overwrite or not found or (work.exists() and not has_index):
        return False
    if not has_index or read_index(folder).get("key") != key:
        raise InputError(
            f"{folder}: expected the shards of this text, vocabulary and options, found others: "
            "give overwrite to replace them"
        )
    return True


def _records(folder: Path, parts: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The lists of the parts that are complete.  InputError for a damaged list."""
    paths = {number: folder / f"{number:05}.json" for number in parts}
    return {
        number: unsealed(read_json(path), path) for number, path in paths.items() if path.exists()
    }


def _write_index(
    folder: Path, index: Mapping[str, Any], vocabulary: Mapping[str, Any], job: Ranks
) -> None:
    """Complete the folder; all ranks wait for it."""
    if job.rank == 0:
        write_json(folder / "vocabulary.json", vocabulary)
        write_sealed(folder / "index.json", index)
    job.wait()


def _remove_shards(folder: Path) -> None:
    """Remove all shards, and what other calls left unfinished."""
    (folder / "index.json").unlink(missing_ok=True)
    for entry in folder.glob("*"):
        if entry.name.startswith(UNFINISHED):
            shutil.rmtree(entry)
        elif re.fullmatch(r"\d{5,}-\d{5,}\.bin", entry.name):
            entry.unlink()


# --- the parts of a rank ----------------------------------------------------------------


class _Reader:
    """A reader and encoder of the parts of this rank, which reports its progress."""

    def __init__(
        self,
        parts: Sequence[corpus.Part],
        to_read: Sequence[int],
        documents: str,
        tokenizer: Tokenizer,
        progress: Report | None,
    ):
        """to_read: the numbers of the parts that will be read, for the progress."""
        self.parts, self.documents = parts, documents
        self.tokenizer, self.progress = tokenizer, progress
        sizes = [parts[number].size for number in to_read]
        self.total = sum(sizes) if all(sizes) else None
        self.read = self.tokens = 0

    def pieces(self, number: int) -> Iterator[tuple[str, str | None, bytes]]:
        """The pieces of a part, each with its text in UTF-8."""
        for place, text in corpus.pieces_of(self.parts[number], self.documents):
            data = (text or "").encode()
            if self.read // _RETURNED < (self.read + len(data)) // _RETURNED:
                _return_memory()
            self.read += len(data)
            self._report()
            yield place, text, data

    def digests(self, number: int) -> NDArray[np.uint64]:
        """The first 16 bytes of the SHA-256 of each document of a part, (N, 2)."""
        if self.parts[number].once:
            raise InputError(
                "deduplicate: it reads a text twice: expected files, found standard input or a pipe"
            )
        digests, digest = bytearray(), hashlib.sha256()
        for _, text, data in self.pieces(number):
            digest.update(data)
            if text is None:
                digests += digest.digest()[:16]
                digest = hashlib.sha256()
        return np.frombuffer(digests, np.uint64).reshape(-1, 2)

    def ids(
        self, number: int, counts: dict[str, int], is_dropped: NDArray[np.bool_] | None
    ) -> Iterator[NDArray[np.int32]]:
        """The ids of a part in blocks, with EOS after each document; ``counts`` grow.

        is_dropped: for each document, whether it equals an earlier one; None: all stay.
        """
        group: list[Piece] = []  # because encoding short documents one by one is slow
        characters = 0
        for place, text, data in self.pieces(number):
            dropped = is_dropped is not None and bool(is_dropped[counts["documents"]])
            counts["bytes"] += len(data)
            counts["characters"] += len(text or "")
            counts["documents"] += text is None
            counts["duplicates"] += dropped and text is None
            if not dropped:
                group.append((place, text))
                characters += len(text or "")
            if characters >= corpus.BLOCK:
                yield self._encoded(group)
                group, characters = [], 0
        ids = self._encoded(group)
        if len(ids):
            yield ids

    def _encoded(self, pieces: Sequence[Piece]) -> NDArray[np.int32]:
        eos = self.tokenizer.eos
        end = np.array([] if eos is None else [eos], np.int32)
        places = [place for place, text in pieces if text is not None]
        texts = [text for _, text in pieces if text is not None]
        encoded = iter(self.tokenizer.encode_each(texts, places))
        ids = [end if text is None else next(encoded) for _, text in pieces]
        joined = np.concatenate([end[:0], *ids])
        self.tokens += len(joined)
        self._report()
        return joined

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(self.read, self.total, self.tokens)


def _repeated_ones(reader: _Reader, own: Sequence[int], job: Ranks) -> dict[int, NDArray[np.bool_]]:
    """For each document of each part, whether it equals an earlier one of the corpus."""
    of_parts = _of_all(job, {number: reader.digests(number) for number in own})
    ends = np.cumsum([len(digests) for digests in of_parts])
    return dict(enumerate(np.split(repeated(np.concatenate(of_parts)), ends[:-1])))


def repeated(digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each digest, (N, 2) -> (N,), whether an earlier one is equal.

    >>> repeated(np.array([[1, 2], [3, 4], [1, 2], [1, 4]], np.uint64)).tolist()
    [False, False, True, False]
    """
    order = np.lexsort(digests.T)  # equal ones stay in their order
    ordered = digests[order]
    later = np.zeros(len(digests), bool)
    later[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return later


def _return_memory() -> None:
    """Give free memory back to the system, because glibc keeps it.

    Blocks of text differ a little in length, so the next one often does not fit into the memory of
    the last.  While 2 GB of text were read, the heap grew to 700 MB, almost all of it free.
    """
    with suppress(ImportError, AttributeError, OSError, TypeError):  # no libffi; not glibc
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
