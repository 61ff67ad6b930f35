"""A corpus is encoded into shards: by one process or by all ranks of a job.

The corpus is cut into parts (:mod:`minillm.data.documents`), which are dealt to the ranks.  Each
rank encodes its parts one after the other, in blocks, so that its memory is flat:

    00003-00000.bin, 00003-00001.bin, ...   the shards of part 3, each written whole or not at all
    00003.json                              which of them there are, and where the next one begins

When all parts are done, rank 0 writes the index, in the order of the parts, and removes what was
kept for going on.  So the shards are byte for byte the same whatever the number of ranks.

After a kill the same call goes on.  It reads again the text of the shards that are there, without
encoding it, and compares its fingerprint: another text is not added to them.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.data import documents as corpus
from minillm.data.duplicates import Digests, repeated
from minillm.data.files import read_json, return_memory
from minillm.data.registry import DEFAULT_TEXT
from minillm.data.shards import (
    FORMAT_VERSION,
    Shards,
    changed,
    check_size,
    digest_of,
    is_shard,
    read_index,
    write_json,
    write_shard,
)
from minillm.data.shuffling import shuffled
from minillm.errors import InputError
from minillm.mpi import Ranks, ranks

SHARD_TOKENS = 1 << 26
_RETURNED = 4 * corpus.BLOCK  # bytes of text after which free memory is given back

UNSHUFFLED, BUCKETS = "unshuffled", "buckets"  # folders that are there while it works

Progress = Callable[[int, int | None, int], None]
Piece = tuple[str, str | None]


class Tokenizer(Protocol):
    """What writing needs of a :class:`minillm.text.Vocabulary`."""

    eos: int | None

    def __len__(self) -> int: ...

    def encode(self, text: str, name: str = "text") -> NDArray[np.int32]: ...

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
    """Encodes texts into the folder ``out``, a block at a time, and opens the shards.

    ``files`` are paths, built-in texts and ``-``; each is a document, or each line of them
    (``documents="line"``).  EOS stands after a document where the vocabulary has it.  Of equal
    documents only the first stays (``deduplicate``); the others are in random order, if there is
    a seed to draw it (``shuffle``).  A shard has at most ``shard_tokens``.

    ``progress`` is called with the bytes of text that this rank has read, those that it is to
    read, if known, and the tokens it has made.

    All ranks of a job call it.  Called again after a kill, it keeps the shards that are complete
    and goes on: the files are byte for byte those of a call that was not interrupted.  InputError
    if the folder holds anything else, unless shards are to be replaced (``overwrite``).
    """
    if not str(out):
        raise InputError("--out: expected a folder, found an empty name")
    folder, job = Path(out), ranks()
    index: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "dtype": "uint16" if len(tokenizer) <= 1 << 16 else "uint32",
        "vocabulary": len(tokenizer),
        "eos": tokenizer.eos,
        "tokenizer_sha256": digest_of({"format_version": 1, **tokenizer.to_dict()}),
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
    if shuffle is not None and tokenizer.eos is None:
        raise InputError(
            "--shuffle: expected a vocabulary with a token that ends a document, as byte pairs "
            "have it, found one without"
        )
    stored = _found(folder, index, overwrite)
    names = list(map(str, files)) or [DEFAULT_TEXT]
    parts = corpus.parts_of(names, documents=documents, whole=deduplicate)
    work = _Work(parts, index, tokenizer, job, progress or _silent)
    if stored is not None and stored["complete"]:
        if work.read_all() != stored["source"].get("sha256"):
            raise _of_another("text", folder)
        complete = Shards(folder)
        complete.verify(None, job.rank, job.size)
        return complete
    work.begin()
    if job.rank == 0:
        _make_ready(folder, index, tokenizer, keep=stored is not None)
    job.wait()
    if shuffle is None:
        index["shards"], counts = work.encode(folder)
    else:
        ordered = folder / UNSHUFFLED
        shards, counts = work.encode(ordered)
        if job.rank == 0:
            write_json(ordered / "vocabulary.json", {"format_version": 1, **tokenizer.to_dict()})
            write_json(ordered / "index.json", {**index, "shards": shards, "complete": True})
        job.wait()
        index["shards"] = shuffled(
            Shards(ordered), folder, folder / BUCKETS, shuffle, shard_tokens, job
        )
    index["source"].update(counts)
    index["complete"] = True
    if job.rank == 0:
        write_json(folder / "index.json", index)
        _remove_what_is_not_of(folder, index)
    job.wait()
    return Shards(folder)


def _silent(done: int, total: int | None, tokens: int) -> None:
    """No progress is shown."""


# --- the folder -------------------------------------------------------------------------


def _found(folder: Path, index: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """The index of a folder that is to be gone on with; None: it begins anew."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    if (folder / "index.json").exists():
        if overwrite:
            return None
        stored = read_index(folder)
        names = ("format_version", "dtype", "vocabulary", "eos", "tokenizer_sha256", "part")
        options = ("shard_tokens", "block", "documents", "deduplicate", "shuffle")
        for name in (*names, *options):
            if stored.get(name) != index[name]:
                raise _of_another(name.replace("_sha256", ""), folder)
        return stored
    others = [entry.name for entry in folder.glob("[!.]*")]
    if others:
        raise InputError(f"{folder}: expected a new or empty folder, found {min(others)!r} in it")
    return None


def _of_another(what: str, folder: Path) -> InputError:
    return InputError(
        f"{folder}: it holds shards of another {what}: give --overwrite to replace them"
    )


def _make_ready(folder: Path, index: dict[str, Any], tokenizer: Tokenizer, keep: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "index.json", index)  # first: a folder without one is not ours
    if not keep:
        _remove_what_is_not_of(folder, index)
    write_json(folder / "vocabulary.json", {"format_version": 1, **tokenizer.to_dict()})


def _remove_what_is_not_of(folder: Path, index: Mapping[str, Any]) -> None:
    """Only the shards that the index knows are left."""
    known = {shard["file"] for shard in index["shards"]}
    for entry in folder.iterdir():
        ours = re.fullmatch(r"\d{5,}(-\d{5,})?\.bin|\d{5,}\.json", entry.name)
        if ours and entry.name not in known:
            entry.unlink()
    for name in (UNSHUFFLED, BUCKETS):
        shutil.rmtree(folder / name, ignore_errors=True)


# --- the parts of a rank ----------------------------------------------------------------


class _Work:
    """What one rank does of a corpus: it reads, counts and encodes the parts dealt to it."""

    def __init__(
        self,
        parts: list[corpus.Part],
        index: Mapping[str, Any],
        tokenizer: Tokenizer,
        job: Ranks,
        progress: Progress,
    ):
        self.parts, self.index, self.tokenizer, self.job = parts, index, tokenizer, job
        self.mine = corpus.dealt(parts, job.size)[job.rank]
        self._progress, self._bytes, self._tokens = progress, 0, 0
        sizes = [parts[number].bytes for number in self.mine]
        self._total = sum(sizes) * (1 + index["deduplicate"]) if all(sizes) else None
        self._dropped: dict[int, NDArray[np.bool_]] = {}
        self._begun: dict[int, Iterator[Piece]] = {}

    def read_all(self) -> str:
        """The fingerprint of the corpus, which is read for it."""
        prints = []
        for number in self.mine:
            text = _Text(self._read)
            for _, piece in self._pieces(number):
                text.add(piece)
            prints.append((number, text.sha256()))
        return _joint(prints, self.job)

    def begin(self) -> None:
        """Finds the duplicates, if they are to be dropped, and encodes what comes first.

        So what is wrong with either is told before anything is written.
        """
        if self.index["deduplicate"]:
            self._find_duplicates()
        empty = True
        for number in self.mine[:1]:
            pieces, seen = self._pieces(number), []
            for place, piece in pieces:
                seen.append((place, piece))
                if piece is not None and len(self.tokenizer.encode(piece, place)):
                    empty = False
                    break
            self._begun[number] = chain(seen, pieces)
        if all(self.job.gather(empty)):
            names = dict.fromkeys(s.name for part in self.parts for s in part.stretches)
            raise InputError(f"{', '.join(names)}: it has no tokens"[:300])

    def encode(self, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Writes what is lacking of the shards; those of all ranks, and what was counted."""
        folder.mkdir(parents=True, exist_ok=True)
        counts, records, prints = np.zeros(4, np.int64), [], []
        with Digests() as digests:
            for number in self.mine:
                text = self._text(number, digests)
                records.append((number, self._encode_part(folder, number, text)))
                counts += (text.bytes, text.characters, text.documents, text.dropped)
                prints.append((number, text.sha256()))
            self._read(0)  # the last tokens, too, are told
            if not self.index["deduplicate"]:
                counts[3] = np.count_nonzero(repeated(digests, self.job))
        ordered = sorted(chain(*self.job.gather(records)))
        total = sum(self.job.gather(counts)).tolist()
        names = ("bytes", "characters", "documents", "duplicates")
        source = {"sha256": _joint(prints, self.job), **dict(zip(names, total, strict=True))}
        return [shard for _, shards in ordered for shard in shards], source

    def _encode_part(self, folder: Path, number: int, text: "_Text") -> list[dict[str, Any]]:
        path, dtype = folder / f"{number:05}.json", np.dtype(self.index["dtype"]).newbyteorder("<")
        record = _read_record(path, dtype)
        source = _Source(self._pieces(number), self._encoded, text, record["next"])
        position = source.position()
        if record["shards"] and text.sha256() != record["sha256"]:
            raise _of_another("text", folder)
        while position is not None:
            name = f"{number:05}-{len(record['shards']):05}.bin"
            pieces = source.take(self.index["shard_tokens"])
            record["shards"].append(write_shard(folder / name, pieces, dtype))
            position = source.position()
            record.update(next=position, sha256=text.sha256())
            write_json(path, record)
        return record["shards"]

    def _find_duplicates(self) -> None:
        counts = []
        with Digests() as digests:
            for number in self.mine:
                if self.parts[number].once:
                    raise InputError(
                        "--deduplicate: it reads a text twice: expected files, found standard "
                        "input or a pipe"
                    )
                text = self._text(number, digests)
                for _, piece in self._pieces(number):
                    text.add(piece)
                counts.append(text.documents)
            later = repeated(digests, self.job)
        arrays = np.split(later, np.cumsum(counts)[:-1]) if counts else []
        self._dropped = dict(zip(self.mine, arrays, strict=True))

    def _pieces(self, number: int) -> "Iterator[Piece]":
        begun = self._begun.pop(number, None)
        return begun or corpus.pieces_of(self.parts[number], self.index["documents"])

    def _text(self, number: int, digests: Digests) -> "_Text":
        inside = corpus.begins_inside(self.parts[number], self.index["documents"])
        return _Text(self._read, number, inside, digests, self._dropped.get(number))

    def _read(self, size: int) -> None:
        if self._bytes // _RETURNED < (self._bytes + size) // _RETURNED:
            return_memory()
        self._bytes += size
        self._progress(self._bytes, self._total, self._tokens)

    def _encoded(self, pieces: "list[Piece]") -> NDArray[np.int32]:
        """The ids of pieces of text, and EOS where a document ends."""
        eos = self.tokenizer.eos
        end = np.array([] if eos is None else [eos], np.int32)
        places, texts = [], []
        for place, piece in pieces:
            if piece is not None:
                places.append(place)
                texts.append(piece)
        encode_each = getattr(self.tokenizer, "encode_each", None)  # byte pairs have a quicker way
        if encode_each is not None:
            found = encode_each(texts, places)
        else:
            found = list(map(self.tokenizer.encode, texts, places))
        self._tokens += sum(map(len, found))
        each = iter(found)
        ids = [end if piece is None else next(each) for _, piece in pieces]
        return np.concatenate([end[:0], *ids])


class _Text:
    """What is counted of a part's text, its documents' digests, and its fingerprint."""

    def __init__(
        self,
        read: Callable[[int], None],
        number: int = 0,
        inside: bool = False,
        digests: Digests | None = None,
        later: NDArray[np.bool_] | None = None,
    ):
        """number: of the part, which may begin inside a document; later: what is dropped."""
        self.bytes = self.characters = self.documents = self.dropped = 0
        self._read, self._number, self._inside = read, number, inside
        self._digests, self._later = digests, later
        self._whole, self._document = hashlib.sha256(), hashlib.sha256()

    def add(self, piece: str | None) -> bool:
        """Counts a piece, or the end of a document; whether it stays."""
        stays = self._later is None or not self._later[self.documents]
        if piece is not None:
            data = piece.encode("utf-8", "surrogatepass")
            self._document.update(data)
            self.bytes += len(data)
            self.characters += len(piece)
            self._read(len(data))
            return stays
        digest, place = self._document.digest(), self._number << 40 | self.documents
        self._whole.update(digest)
        if self._digests is not None:
            if self._inside and not self.documents:  # its beginning was not seen: like no other
                digest = hashlib.sha256(digest + place.to_bytes(8)).digest()
            self._digests.add(digest, place)
        self.documents += 1
        self.dropped += not stays
        self._document = hashlib.sha256()
        return stays

    def sha256(self) -> str:
        """The fingerprint of what was added so far, and of where documents ended."""
        whole = self._whole.copy()
        whole.update(self._document.digest())
        return whole.hexdigest()


class _Source:
    """The ids of a part, from a position on.  A position is JSON; None is the end.

    Pieces are encoded together, as many as have BLOCK characters: documents are often short.
    """

    def __init__(
        self,
        pieces: "Iterable[Piece]",
        encode: "Callable[[list[Piece]], NDArray[np.int32]]",
        text: _Text,
        position: Mapping[str, int] | None,
    ):
        self._pieces, self._encode, self._text = iter(pieces), encode, text
        position = position or {"piece": 1 << 62, "used": 0}
        self._skip, self._begin_at = position["piece"], position["used"]
        self._read = self._first = self._used = 0
        self._ids = np.empty(0, np.int32)

    def position(self) -> dict[str, int] | None:
        """Where the next id stands: the first of the pieces that were encoded with it, and how
        many of their ids come before it.
        """
        while self._used >= len(self._ids):
            pieces = self._next_pieces()
            if self._read == self._first:
                return None
            self._ids = self._encode(pieces)
            self._used, self._begin_at = self._begin_at, 0
        return {"piece": self._first, "used": self._used}

    def _next_pieces(self) -> "list[Piece]":
        """Those that stay, of the pieces from ``first`` to before ``read``."""
        self._first = self._read
        found: list[Piece] = []
        characters = 0
        for place, piece in self._pieces:
            stays = self._text.add(piece)
            self._read += 1
            if self._read <= self._skip:
                self._first = self._read
            elif stays:
                found.append((place, piece))
                characters += len(piece or "")
                if characters >= corpus.BLOCK:
                    break
        return found

    def take(self, most: int) -> Iterator[NDArray[np.int32]]:
        """The next ids, ``most`` of them where there are so many."""
        while most and self.position() is not None:
            ids = self._ids[self._used : self._used + most]
            self._used += len(ids)
            most -= len(ids)
            yield ids


def _joint(prints: list[tuple[int, str]], job: Ranks) -> str:
    """The fingerprint of all parts, by those that each rank has."""
    ordered = sorted(chain(*job.gather(prints)))
    return hashlib.sha256("".join(sha256 for _, sha256 in ordered).encode()).hexdigest()


def _read_record(path: Path, dtype: np.dtype) -> dict[str, Any]:
    """What there is of a part; InputError where its shards are not as they were written."""
    if not path.exists():
        return {"shards": [], "next": {"piece": 0, "used": 0}, "sha256": ""}
    record = read_json(path)
    shards, position = record.get("shards"), record.get("next", 0)
    if not (
        isinstance(shards, list)
        and all(map(is_shard, shards))
        and (position is None or _is_position(position))
        and isinstance(record.get("sha256"), str)
    ):
        raise InputError(f"{path}: expected what was written, found it damaged")
    for shard in shards:
        file = path.parent / shard["file"]
        check_size(file, dtype, shard["tokens"])
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != shard["sha256"]:
                raise changed(file)
    return record


def _is_position(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(value.get(name)) is int and value[name] >= 0 for name in ("piece", "used")
    )
