"""Token shards: a corpus as ids on the disk, which may be larger than memory.

A folder of raw integers, a vocabulary and an index:

    00000.bin, 00001.bin, ...   the ids, little-endian, without any header
    vocabulary.json             the vocabulary that made them, in the form of a run's
    index.json                  what the shards are:

    {"format_version": 1,
     "dtype": "uint16",                   or uint32, where the vocabulary is larger than 65,536
     "vocabulary": 50257, "eos": 50256,   its size; the id that stands after each document, or null
     "tokenizer_sha256": "...",
     "shard_tokens": 67108864,            in each shard but the last
     "block": 4194304,                    bytes of text that were encoded at a time
     "source": {"files": [...], "sha256": "...", "characters": ..., "bytes": ...},
     "shards": [{"tokens": ..., "sha256": "..."}, ...],
     "next": null}                        while it is being written: where the next shard begins

:class:`Shards` reads such a folder through memory maps: what is not looked at is never read.
:func:`write_shards` makes one in blocks, so that its memory is flat, too.  Each shard is written
whole or not at all, then the index: after a kill, the same call goes on with the next shard.
"""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import read_json, replacing, shown, write_file
from minillm.data.registry import DEFAULT_TEXT
from minillm.data.streams import TextStream
from minillm.errors import InputError

FORMAT_VERSION = 1
SHARD_TOKENS = 1 << 26
BLOCK = 1 << 22  # bytes of text that are encoded at a time
HELD_OUT = 10_000_000  # tokens that are held out at most

_SPACES = frozenset(" \t\n\r\f\v")  # what every definition of white space agrees on
_LONGEST = 1 << 24  # characters without any space, after which a text is cut all the same


class Shards:
    """The ids of a folder of shards as one long array, of which parts are read on demand.

    >>> shards = Shards("corpus")  # doctest: +SKIP
    >>> len(shards), shards[10:20], shards[np.array([[0, 1], [7, 8]])]  # doctest: +SKIP

    ``path``; ``dtype`` of the ids; ``vocabulary``, its size; ``tokenizer``, its JSON form;
    ``eos``; ``sha256``, a fingerprint of ids and vocabulary; ``source``, what is known of the text.

    Opening checks the index and the shards' sizes, reading checks the ids, :meth:`verify` reads
    everything.  InputError names the file, and the place of an id past the vocabulary.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        index = _read_index(self.path)
        if index["next"] is not None:
            raise InputError(
                f"{self.path / 'index.json'}: the shards are not complete: "
                "run the same `minillm tokenize` again to go on"
            )
        self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self.vocabulary, self.eos, self.source = (
            index[name] for name in ("vocabulary", "eos", "source")
        )
        self._digests = [shard["sha256"] for shard in index["shards"]]
        known = json.dumps([index["tokenizer_sha256"], self._digests])
        self.sha256 = hashlib.sha256(known.encode()).hexdigest()
        self.tokenizer = read_json(self.path / "vocabulary.json")
        if _digest_of(self.tokenizer) != index["tokenizer_sha256"]:
            raise InputError(
                f"{self.path / 'vocabulary.json'}: expected the vocabulary that the shards were "
                "made with, found another"
            )
        self._ends = np.cumsum([shard["tokens"] for shard in index["shards"]])
        self._maps = [
            _mapped(self._file(number), self.dtype, shard["tokens"])
            for number, shard in enumerate(index["shards"])
        ]
        self._start, self._stop = 0, int(self._ends[-1])

    def __len__(self) -> int:
        return self._stop - self._start

    def __repr__(self) -> str:
        return f"<Shards {self.path}: {len(self):,} of {self._ends[-1]:,} tokens>"

    def part(self, start: int, stop: int) -> "Shards":
        """The tokens from ``start`` to ``stop``, as shards of their own; nothing is copied."""
        part = copy.copy(self)
        part._start, part._stop = self._start + start, self._start + min(stop, len(self))
        return part

    def split(self) -> "tuple[Shards, Shards]":
        """What to train on; and the last tenth, at most HELD_OUT tokens, to measure on."""
        cut = len(self) - min(len(self) - len(self) * 9 // 10, HELD_OUT)
        return self.part(0, cut), self.part(cut, len(self))

    def __getitem__(self, places: slice | NDArray[np.integer]) -> NDArray:
        """The ids of a slice, or those at an array of places, of any shape."""
        if not isinstance(places, slice):
            return self._gather(np.asarray(places))
        start, stop, step = places.indices(len(self))
        if step != 1:
            return self._gather(np.arange(start, stop, step))
        pieces = [np.empty(0, self.dtype)]
        at, stop = start + self._start, stop + self._start
        while at < stop:
            number = int(np.searchsorted(self._ends, at, side="right"))
            begin = self._begin(number)
            piece = self._maps[number][at - begin : stop - begin]
            pieces.append(self._checked(piece, at))
            at += len(piece)
        return np.concatenate(pieces)

    def _gather(self, places: NDArray[np.integer]) -> NDArray:
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"places: expected 0 to {len(self) - 1}, found {places}")
        places = places.astype(np.int64) + self._start
        numbers = np.searchsorted(self._ends, places, side="right")
        ids = np.empty(places.shape, self.dtype)
        for number in np.unique(numbers):
            here = numbers == number
            ids[here] = self._maps[number][places[here] - self._begin(number)]
        if ids.size and ids.max() >= self.vocabulary:
            at = np.argmax(ids.ravel() >= self.vocabulary)
            self._checked(ids.ravel()[at : at + 1], int(places.ravel()[at]))
        return ids

    def verify(self) -> None:
        """Reads every shard once: InputError at an id past the vocabulary or at a changed file."""
        for number in range(len(self._maps)):
            self._verify(number)

    def _verify(self, number: int) -> None:
        digest = hashlib.sha256()
        for piece in _in_pieces(self._maps[number]):
            digest.update(piece.tobytes())
        if digest.hexdigest() != self._digests[number]:
            self._checked(self._maps[number], self._begin(number))
            raise _changed(self._file(number))

    def _checked(self, ids: NDArray, at: int) -> NDArray:
        """The ids, which stand from token ``at`` on; InputError where one is past the vocabulary.

        All of them stand in one shard.
        """
        if len(ids) and ids.max() >= self.vocabulary:
            first = int(np.argmax(ids >= self.vocabulary))
            number = int(np.searchsorted(self._ends, at + first, side="right"))
            raise InputError(
                f"{self._file(number)}, token {at + first - self._begin(number)}: expected an id "
                f"below {self.vocabulary}, found {ids[first]}"
            )
        return ids

    def _begin(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0

    def _file(self, number: int) -> Path:
        return self.path / _name(number)


def _name(number: int) -> str:
    return f"{number:05}.bin"


def _in_pieces(array: NDArray, length: int = 1 << 20) -> Iterator[NDArray]:
    return (array[start : start + length] for start in range(0, len(array), length))


def _mapped(path: Path, dtype: np.dtype, tokens: int) -> NDArray:
    """The array in a file, whose size is checked."""
    try:
        size = path.stat().st_size
        if size != tokens * dtype.itemsize:
            raise InputError(
                f"{path}: expected {tokens:,} ids of {dtype.itemsize} bytes, found a file of "
                f"{size:,} bytes: it is truncated or damaged"
            )
        return np.memmap(path, dtype, "r", shape=(tokens,)).view(np.ndarray)
    except FileNotFoundError:
        raise InputError(f"{path}: the shard is missing") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: expected what was written, found other bytes: it is damaged")


# --- the index --------------------------------------------------------------------------


def is_shards(path: str | Path) -> bool:
    """Whether ``path`` is a folder: texts are files."""
    return Path(path).is_dir()


def _read_index(folder: Path) -> dict[str, Any]:
    """The index, whose entries are checked."""
    path = folder / "index.json"
    if not path.exists():
        raise InputError(f"{folder}: there are no shards in it (no index.json)")
    index = read_json(path)
    if index.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found "
            f"{index.get('format_version')!r}: it was written by another version of minillm"[:200]
        )
    size, eos, shards = index.get("vocabulary"), index.get("eos"), index.get("shards")
    size = size if type(size) is int else 0
    dtype, then = index.get("dtype"), index.get("next")
    wanted: dict[str, tuple[bool, str]] = {
        "dtype": (dtype in ("uint16", "uint32"), "uint16 or uint32"),
        "vocabulary": (_is_count(size, 1, 1 << 32), "a size from 1"),
        "eos": (eos is None or _is_count(eos, 0, size - 1), "an id"),
        "tokenizer_sha256": (isinstance(index.get("tokenizer_sha256"), str), "a fingerprint"),
        "shard_tokens": (_is_count(index.get("shard_tokens"), 1), "a number of tokens"),
        "block": (_is_count(index.get("block"), 1), "a number of bytes"),
        "source": (isinstance(index.get("source"), dict), "an object"),
        "shards": (isinstance(shards, list) and all(map(_is_shard, shards)), "a list of shards"),
        "next": (then is None or _is_position(then), "null or a position"),
    }
    for name, (right, expected) in wanted.items():
        if name not in index or not right:
            raise InputError(
                f"{path}: {name}: expected {expected}, found {index.get(name)!r}"[:300]
            )
    if then is None and not shards:
        raise InputError(f"{path}: shards: expected at least one")
    return index


def _is_count(value: Any, least: int, most: int = 1 << 62) -> bool:
    return type(value) is int and least <= value <= most


def _is_shard(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_count(value.get("tokens"), 1, 1 << 48)
        and isinstance(value.get("sha256"), str)
    )


def _is_position(value: Any) -> bool:
    names = ("piece", "used")
    return isinstance(value, dict) and all(_is_count(value.get(name), 0) for name in names)


def _digest_of(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# --- writing ----------------------------------------------------------------------------


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
    progress: Callable[[int, int], None] | None = None,
) -> Shards:
    """Encodes texts into the folder ``out``, a block at a time, and opens the shards.

    ``files`` are paths, built-in texts and ``-``; each is a document, after which EOS stands where
    the vocabulary has it.  ``progress`` is called with the characters read so far, and all.

    Called again after a kill, it keeps the shards that are complete and goes on: the files are
    byte for byte those of a call that was not interrupted.  InputError if the folder holds
    anything else, unless shards are to be replaced (``overwrite``).
    """
    if not str(out):
        raise InputError("--out: expected a folder, found an empty name")
    folder = Path(out)
    streams = [TextStream([name], BLOCK) for name in files or [DEFAULT_TEXT]]
    total = sum(stream.characters for stream in streams)
    digest = hashlib.sha256("".join(stream.sha256 for stream in streams).encode()).hexdigest()
    values = {"format_version": 1, **tokenizer.to_dict()}
    index: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "dtype": "uint16" if len(tokenizer) <= 1 << 16 else "uint32",
        "vocabulary": len(tokenizer),
        "eos": tokenizer.eos,
        "tokenizer_sha256": _digest_of(values),
        "shard_tokens": shard_tokens,
        "block": BLOCK,
        "source": {"files": list(map(str, files)), "sha256": digest, "characters": total},
        "shards": [],
        "next": {"piece": 0, "used": 0},
    }
    index = _found(folder, index, overwrite)
    if index["next"] is not None:
        source = _Source(_pieces(streams), tokenizer, index["next"], progress or _silent, total)
        if source.position() is None:  # the first piece is encoded before anything is written
            raise InputError(
                f"{', '.join(stream.files[0] for stream in streams)}: it has no tokens"
            )
        _begin(folder, index, values)
        while index["next"] is not None:
            _write_next(folder, index, source)
    return Shards(folder)


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


def _found(folder: Path, index: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """The index to go on with: the one that the folder has, or ``index``, of no shards yet."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    if (folder / "index.json").exists():
        return index if overwrite else _resumed(folder, index)
    others = [entry.name for entry in folder.glob("[!.]*")]
    if others:
        raise InputError(f"{folder}: expected a new or empty folder, found {min(others)!r} in it")
    return index


def _begin(folder: Path, index: dict[str, Any], tokenizer: Mapping[str, Any]) -> None:
    """Makes the folder ready: only the shards that the index knows are left."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "index.json", index)  # first: a folder without one is not ours
    _write_json(folder / "vocabulary.json", tokenizer)
    known = {_name(number) for number in range(len(index["shards"]))}
    for entry in folder.iterdir():
        if re.fullmatch(r"\d{5,}\.bin", entry.name) and entry.name not in known:
            entry.unlink()


def _resumed(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The stored index, if it is of the same text, and its shards are as they were written."""
    stored = _read_index(folder)
    if not stored["shards"]:
        return index
    names = ("dtype", "vocabulary", "eos", "tokenizer_sha256", "shard_tokens", "block")
    what = next((name for name in names if stored[name] != index[name]), None)
    if stored["source"].get("sha256") != index["source"]["sha256"]:
        what = "text"
    if what is not None:
        raise InputError(
            f"{folder}: it holds shards of another {what.replace('_sha256', '')}: "
            "give --overwrite to replace them"
        )
    dtype = np.dtype(stored["dtype"]).newbyteorder("<")
    for number, shard in enumerate(stored["shards"]):
        digest = hashlib.sha256()
        for piece in _in_pieces(_mapped(folder / _name(number), dtype, shard["tokens"])):
            digest.update(piece.tobytes())
        if digest.hexdigest() != shard["sha256"]:
            raise _changed(folder / _name(number))
    return stored


def _write_next(folder: Path, index: dict[str, Any], source: "_Source") -> None:
    """Writes one more shard, then the index."""
    digest, tokens = hashlib.sha256(), 0
    dtype = np.dtype(index["dtype"]).newbyteorder("<")
    with replacing(folder / _name(len(index["shards"]))) as file:
        while tokens < index["shard_tokens"] and source.position() is not None:
            ids = source.take(index["shard_tokens"] - tokens)
            data = ids.astype(dtype).tobytes()
            file.write(data)
            digest.update(data)
            tokens += len(ids)
    index["shards"].append({"tokens": tokens, "sha256": digest.hexdigest()})
    index["next"] = source.position()
    if index["next"] is None:
        index["source"]["bytes"] = source.bytes
    _write_json(folder / "index.json", index)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_file(path, text.encode("utf-8", "surrogatepass"))


class _Source:
    """The ids of a row of pieces, from a position on; a position is JSON."""

    def __init__(
        self,
        pieces: Iterable[tuple[str, str | None]],
        tokenizer: Tokenizer,
        position: Mapping[str, int],
        progress: Callable[[int, int], None],
        total: int,
    ):
        self._pieces, self._tokenizer = iter(pieces), tokenizer
        self._progress, self._total = progress, total
        self._skip, self._used = position["piece"], position["used"]
        self._piece, self._ids = -1, np.empty(0, np.int32)
        self.characters, self.bytes = 0, 0

    def position(self) -> dict[str, int] | None:
        """Where the next id stands; None: there is no more."""
        while self._piece < self._skip or self._used >= len(self._ids):
            name, text = next(self._pieces, (None, None))
            if name is None:
                return None
            if self._piece >= self._skip:
                self._used = 0
            self._piece += 1
            if self._piece >= self._skip:
                self._ids = self._encoded(name, text)
            self.characters += len(text or "")
            self.bytes += len((text or "").encode("utf-8", "surrogatepass"))
            self._progress(self.characters, self._total)
        return {"piece": self._piece, "used": self._used}

    def take(self, most: int) -> NDArray[np.int32]:
        """The next ids, at least one and at most ``most``, where there is a position."""
        ids = self._ids[self._used : self._used + most]
        self._used += len(ids)
        return ids

    def _encoded(self, name: str, text: str | None) -> NDArray[np.int32]:
        if text is None:  # a document ends
            eos = self._tokenizer.eos
            return np.array([] if eos is None else [eos], np.int32)
        return self._tokenizer.encode(text, name)


def _pieces(streams: Iterable[TextStream]) -> Iterator[tuple[str, str | None]]:
    """The texts in pieces, each with its place for messages; None where a document ends."""
    for stream in streams:
        name, lines = shown(stream.files[0]), 0
        for text in cut_at_spaces(stream.blocks()):
            yield (f"{name}, after line {lines}" if lines else name), text
            lines += text.count("\n")
        yield name, None


def cut_at_spaces(blocks: Iterable[str], longest: int = _LONGEST) -> Iterator[str]:
    """The same text, cut only before white space that follows something else.

    There no token begins before the cut and ends after it, in any of our vocabularies, and none
    depends on what stands on the other side: the pieces have the tokens of the whole.
    """
    held = ""
    for block in blocks:
        held += block
        cut = len(held.rstrip())
        if 0 < cut < len(held) and held[cut] in _SPACES:
            yield held[:cut]
            held = held[cut:]
        elif len(held) > longest:
            yield held
            held = ""
    if held:
        yield held
