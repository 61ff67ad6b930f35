"""Encoding a corpus into shards, by one process or by all ranks of a job.

The corpus is cut into parts (:mod:`minillm.data.documents`), which are dealt to the ranks.  Each
rank encodes its parts one after the other, in blocks, so its memory stays constant:

    00003-00000.bin, 00003-00001.bin, ...   the shards of part 3
    00003.json                              the list of them, written when the part is complete

When all parts are done, rank 0 writes the index, in the order of the parts, and removes the lists.
So the shards are byte for byte the same for any number of ranks.

After a kill, the same call continues: it keeps the parts that are complete.  It reads their text
again, without encoding it, and compares its fingerprint, to make sure that the text is the same.
"""

import ctypes
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.data import documents as corpus
from minillm.data.documents import Piece
from minillm.data.duplicates import Digests, repeated
from minillm.data.files import read_json, reading
from minillm.data.python_texts import DEFAULT_TEXT
from minillm.data.shards import (
    FORMAT_VERSION,
    Shards,
    changed,
    check_size,
    digest_of,
    is_shard,
    read_index,
    write_json,
    write_part,
)
from minillm.data.shuffling import shuffled
from minillm.errors import InputError
from minillm.mpi import Ranks, ranks

SHARD_TOKENS = 1 << 26
_RETURNED = 4 * corpus.BLOCK  # bytes of text after which free memory is given back

UNSHUFFLED, BUCKETS = "unshuffled", "buckets"  # folders that exist only during the work

Progress = Callable[[int, int | None, int], None]


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
    progress: Progress | None = None,
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
        raise InputError("--out: expected a folder, found an empty name")
    if shuffle is not None and tokenizer.eos is None:
        raise InputError(
            "--shuffle: expected a vocabulary with a token that ends a document, as byte pairs "
            "have it, found one without"
        )
    folder, job = Path(out), ranks()
    index: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "dtype": "uint16" if len(tokenizer) <= 1 << 16 else "uint32",
        "vocabulary": len(tokenizer),
        "eos": tokenizer.eos,
        "tokenizer_sha256": digest_of(_vocabulary_file(tokenizer)),
        "shard_tokens": shard_tokens,
        "part": corpus.PART,
        "block": corpus.BLOCK,
        "documents": documents,
        "deduplicate": deduplicate,
        "shuffle": shuffle,
        "source": {"files": list(map(str, files))},
        "shards": [],
        "complete": False,
    }
    stored = _stored_index(folder, index, overwrite)
    names = list(map(str, files)) or [DEFAULT_TEXT]
    parts = corpus.parts_of(names, documents=documents, whole=deduplicate)
    encoder = _Encoder(parts, index, tokenizer, job, progress)
    if stored is not None and stored["complete"]:
        if encoder.fingerprint() != stored["source"].get("sha256"):
            raise _of_another("text", folder)
        complete = Shards(folder)
        complete.verify(None, job.rank, job.size)
        return complete
    encoder.begin()
    if job.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "index.json", index)  # first: a folder without one is not ours
        if stored is None:
            _remove_unlisted(folder, index)
        write_json(folder / "vocabulary.json", _vocabulary_file(tokenizer))
    job.wait()
    if shuffle is None:
        index["shards"], counts = encoder.encode(folder)
    else:
        ordered = folder / UNSHUFFLED
        shards, counts = encoder.encode(ordered)
        if job.rank == 0:
            write_json(ordered / "vocabulary.json", _vocabulary_file(tokenizer))
            write_json(ordered / "index.json", {**index, "shards": shards, "complete": True})
        job.wait()
        index["shards"] = shuffled(
            Shards(ordered), folder, folder / BUCKETS, shuffle, shard_tokens, job
        )
    index["source"].update(counts)
    index["complete"] = True
    if job.rank == 0:
        write_json(folder / "index.json", index)
        _remove_unlisted(folder, index)
    job.wait()
    return Shards(folder)


# --- the folder -------------------------------------------------------------------------


def _vocabulary_file(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"format_version": 1, **tokenizer.to_dict()}


def _stored_index(folder: Path, index: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """The index of a folder that was begun with the same options; None: it begins anew."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    if (folder / "index.json").exists():
        if overwrite:
            return None
        stored = read_index(folder)
        for name, value in index.items():
            if name not in ("source", "shards", "complete") and stored.get(name) != value:
                raise _of_another(name.replace("_sha256", ""), folder)
        return stored
    others = [entry.name for entry in folder.glob("[!.]*")]
    if others:
        raise InputError(f"{folder}: expected a new or empty folder, found {min(others)!r} in it")
    return None


def _of_another(name: str, folder: Path) -> InputError:
    return InputError(
        f"{folder}: it holds shards of another {name}: give --overwrite to replace them"
    )


def _remove_unlisted(folder: Path, index: Mapping[str, Any]) -> None:
    """Remove the shards, lists and folders of ours that are not in the index."""
    listed = {shard["file"] for shard in index["shards"]}
    for entry in folder.iterdir():
        ours = re.fullmatch(r"\d{5,}(-\d{5,})?\.bin|\d{5,}\.json", entry.name)
        if ours and entry.name not in listed:
            entry.unlink()
    for name in (UNSHUFFLED, BUCKETS):
        shutil.rmtree(folder / name, ignore_errors=True)


# --- the parts of a rank ----------------------------------------------------------------


class _Encoder:
    """The parts that one rank reads, counts and encodes."""

    def __init__(
        self,
        parts: list[corpus.Part],
        index: Mapping[str, Any],
        tokenizer: Tokenizer,
        job: Ranks,
        progress: Progress | None,
    ):
        self.parts, self.index, self.tokenizer, self.job = parts, index, tokenizer, job
        self.mine = corpus.dealt(parts, job.size)[job.rank]
        self._progress, self._bytes, self._tokens = progress, 0, 0
        sizes = [parts[number].bytes for number in self.mine]
        self._total = sum(sizes) * (1 + index["deduplicate"]) if all(sizes) else None
        self._dropped: dict[int, NDArray[np.bool_]] = {}
        self._begun: dict[int, Iterator[Piece]] = {}

    def fingerprint(self) -> str:
        """The fingerprint of the whole corpus, which is read once."""
        texts = [(number, self._text(number)) for number in self.mine]
        return self._joint([(number, text.read_all()) for number, text in texts])

    def begin(self) -> None:
        """Find the duplicates, if they are to be dropped, and encode the first piece.

        An error in the files or in the vocabulary is reported before anything is written.
        """
        if self.index["deduplicate"]:
            self._find_duplicates()
        empty = True
        for number in self.mine[:1]:
            pieces, seen = self._pieces(number), []
            for place, piece in pieces:
                seen.append((place, piece))
                if piece is not None and len(self.tokenizer.encode_each([piece], [place])[0]):
                    empty = False
                    break
            self._begun[number] = chain(seen, pieces)
        if all(self.job.gather(empty)):
            names = dict.fromkeys(s.name for part in self.parts for s in part.stretches)
            raise InputError(f"{', '.join(names)}: it has no tokens"[:300])

    def encode(self, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Write the shards that are missing: -> the shards of all ranks, and the counts."""
        folder.mkdir(parents=True, exist_ok=True)
        counts, shards, prints = np.zeros(4, np.int64), [], []
        for number in self.mine:
            text = self._text(number)
            shards.append((number, self._encode_part(folder, number, text)))
            counts += (text.bytes, text.characters, text.documents, text.dropped)
            prints.append((number, text.sha256()))
        self._count_bytes(0)  # reports the last tokens
        ordered = sorted(chain(*self.job.gather(shards)))
        total = sum(self.job.gather(counts)).tolist()
        names = ("bytes", "characters", "documents", "duplicates")
        source = {"sha256": self._joint(prints), **dict(zip(names, total, strict=True))}
        return [shard for _, of_part in ordered for shard in of_part], source

    def _encode_part(self, folder: Path, number: int, text: "_Text") -> list[dict[str, Any]]:
        path, dtype = folder / f"{number:05}.json", np.dtype(self.index["dtype"]).newbyteorder("<")
        if path.exists():
            record = _read_record(path, dtype)
            if text.read_all() != record["sha256"]:
                raise _of_another("text", folder)
            return record["shards"]
        ids = map(self._encoded, _grouped(text.pieces()))
        shards = write_part(folder, number, ids, self.index["shard_tokens"], dtype)
        write_json(path, {"shards": shards, "sha256": text.sha256()})
        return shards

    def _find_duplicates(self) -> None:
        counts = []
        with Digests() as digests:
            for number in self.mine:
                if self.parts[number].once:
                    raise InputError(
                        "--deduplicate: it reads a text twice: expected files, found standard "
                        "input or a pipe"
                    )
                text = self._text(number)
                for _, piece in text.pieces():
                    if piece is None:
                        digests.add(text.digest, number << 40 | text.documents)
                counts.append(text.documents)
            later = repeated(digests, self.job)
        arrays = np.split(later, np.cumsum(counts)[:-1]) if counts else []
        self._dropped = dict(zip(self.mine, arrays, strict=True))

    def _pieces(self, number: int) -> Iterator[Piece]:
        begun = self._begun.pop(number, None)
        return begun or corpus.pieces_of(self.parts[number], self.index["documents"])

    def _text(self, number: int) -> "_Text":
        return _Text(self._pieces(number), self._count_bytes, self._dropped.get(number))

    def _count_bytes(self, size: int) -> None:
        if self._bytes // _RETURNED < (self._bytes + size) // _RETURNED:
            _return_memory()
        self._bytes += size
        if self._progress is not None:
            self._progress(self._bytes, self._total, self._tokens)

    def _encoded(self, pieces: list[Piece]) -> NDArray[np.int32]:
        """The ids of pieces of text, with EOS where a document ends."""
        eos = self.tokenizer.eos
        end = np.array([] if eos is None else [eos], np.int32)
        places = [place for place, text in pieces if text is not None]
        texts = [text for _, text in pieces if text is not None]
        encoded = iter(self.tokenizer.encode_each(texts, places))
        ids = np.concatenate([end if text is None else next(encoded) for _, text in pieces])
        self._tokens += len(ids)
        return ids

    def _joint(self, prints: list[tuple[int, str]]) -> str:
        """The fingerprint of all parts, from those of each rank."""
        ordered = sorted(chain(*self.job.gather(prints)))
        return hashlib.sha256("".join(sha256 for _, sha256 in ordered).encode()).hexdigest()


class _Text:
    """The text of a part, which is counted as it is read."""

    def __init__(
        self,
        pieces: Iterator[Piece],
        count_bytes: Callable[[int], None],
        is_dropped: NDArray[np.bool_] | None,
    ):
        """is_dropped: for each document, whether it equals an earlier one; None: all stay."""
        self.bytes = self.characters = self.documents = self.dropped = 0
        self.digest = b""  # of the document that has just ended
        self._pieces, self._count_bytes, self._is_dropped = pieces, count_bytes, is_dropped
        self._whole, self._document = hashlib.sha256(), hashlib.sha256()

    def pieces(self) -> Iterator[Piece]:
        """The pieces of the documents that are kept."""
        for place, piece in self._pieces:
            dropped = self._is_dropped is not None and self._is_dropped[self.documents]
            if piece is None:
                self.digest = self._document.digest()
                self._whole.update(self.digest)
                self._document = hashlib.sha256()
                self.documents += 1
                self.dropped += dropped
            else:
                data = piece.encode("utf-8", "surrogatepass")
                self._document.update(data)
                self.bytes += len(data)
                self.characters += len(piece)
                self._count_bytes(len(data))
            if not dropped:
                yield place, piece

    def read_all(self) -> str:
        """Read and count all of the text; return its fingerprint."""
        for _ in self.pieces():
            pass
        return self.sha256()

    def sha256(self) -> str:
        """The fingerprint of the text, and of the places where documents end."""
        whole = self._whole.copy()
        whole.update(self._document.digest())
        return whole.hexdigest()


def _grouped(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Group pieces to BLOCK characters, because encoding short documents one by one is slow."""
    group: list[Piece] = []
    characters = 0
    for place, piece in pieces:
        group.append((place, piece))
        characters += len(piece or "")
        if characters >= corpus.BLOCK:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _read_record(path: Path, dtype: np.dtype) -> dict[str, Any]:
    """The list of a part's shards.  InputError if they have changed."""
    record = read_json(path)
    shards = record.get("shards")
    if not isinstance(shards, list) or not all(map(is_shard, shards)) or "sha256" not in record:
        raise InputError(f"{path}: expected a list of shards, found it damaged")
    for shard in shards:
        file = path.parent / shard["file"]
        check_size(file, dtype, shard["tokens"])
        with reading(file, regular=True) as opened:
            digest = hashlib.file_digest(opened, "sha256")  # type: ignore[arg-type]
            if digest.hexdigest() != shard["sha256"]:
                raise changed(file)
    return record


def _return_memory() -> None:
    """Give free memory back to the system, because glibc keeps it.

    Blocks of text differ a little in length, so the next one often does not fit into the memory of
    the last.  While 2 GB of text were read, the heap grew to 700 MB, nearly all of it free.
    """
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
