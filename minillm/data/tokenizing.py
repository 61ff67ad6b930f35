"""Encoding a corpus into shards.

The corpus is cut into parts (:mod:`minillm.data.documents`), which are encoded one after the other,
in blocks, so that memory stays constant:

    00003.bin                      the shard of part 3
    unfinished-KEY/00003.json      its entry of the index, written when the shard is complete

When all are done, the index is written, in the order of the parts, and the entries are removed.

KEY is a fingerprint of the files, the vocabulary and the options.  After a kill, the same call
finds the folder of its key, keeps the shards that have an entry, and makes the others again.
"""

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.documents import Part, Piece, blocks_of, parts_of, size_of
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
    write_sealed,
    write_shard,
)
from minillm.errors import InputError

SHARD_BYTES = 1 << 25  # of text

Report = Callable[[int, int | None, int], None]  # see write_shards


def write_shards(
    out: str | Path,
    files: Sequence[str],
    tokenizer: Any,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Report = lambda read, total, tokens: None,
    *,
    documents: str = "file",
) -> Shards:
    """Encode texts into the folder ``out``, a block at a time, and open the shards.

    ``files`` are paths, built-in texts and ``-``.  Each is a document or, with
    ``documents="line"``, each of its lines is.  ``tokenizer`` is a
    :class:`minillm.text.Vocabulary`; its EOS follows each document, if there is one.  A shard has
    the tokens of about ``shard_bytes`` of files.

    ``progress`` is called with the bytes of text that have been read, the bytes to read, if known,
    and the tokens that have been made.

    Called again after a kill, it keeps the shards that are complete and continues; the files are
    byte for byte the same as without the interruption.  InputError if the folder has anything else
    in it, unless ``overwrite`` replaces its shards.
    """
    folder = Path(out)
    names = [str(file) for file in files] or [DEFAULT_TEXT]
    if not str(out):
        raise InputError("out: expected a folder, found an empty name")
    vocabulary = {"format_version": 1, **tokenizer.to_dict()}
    index: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "dtype": "uint16" if len(tokenizer) <= 1 << 16 else "uint32",
        "vocabulary": len(tokenizer),
        "eos": tokenizer.eos,
        "tokenizer_sha256": digest_of(vocabulary),
        "shard_bytes": shard_bytes,
        "documents": documents,
        "source": {"files": list(map(str, files)), "sha256": _fingerprint(names)},
    }
    index["key"] = digest_of(index | {"source": index["source"]["sha256"]})
    work = folder / f"{UNFINISHED}{index['key'][:16]}"
    if _is_complete(folder, index["key"], work, overwrite):
        shutil.rmtree(work, ignore_errors=True)
        return Shards(folder)

    parts, encoder = parts_of(names, shard_bytes), _Encoder(tokenizer, documents, progress)
    begun = work.exists() and not overwrite
    missing = [k for k in range(len(parts)) if not (begun and _entry(work, k).exists())]
    encoder.set_total([parts[k] for k in missing])
    # An error in the first block of a text is reported before anything is written.
    ahead = encoder.ids(parts[missing[0]]) if missing else iter(())
    first = list(islice(ahead, 1))
    if not first and not begun:
        raise InputError(f"{', '.join(map(shown, names))}: it has no tokens"[:300])
    if not begun:
        _remove_shards(folder)
    work.mkdir(parents=True, exist_ok=True)
    dtype = np.dtype(index["dtype"]).newbyteorder("<")
    for k in missing:
        blocks = chain(first, ahead) if k == missing[0] else encoder.ids(parts[k])
        shard = write_shard(folder / f"{k:05}.bin", blocks, dtype)
        write_sealed(_entry(work, k), {"shard": shard, "counts": encoder.counted()})
    _complete(folder, work, len(parts), index, vocabulary)
    return Shards(folder)


def _entry(work: Path, part: int) -> Path:
    """The file that says that the shard of a part is complete."""
    return work / f"{part:05}.json"


def _complete(
    folder: Path, work: Path, parts: int, index: dict[str, Any], vocabulary: dict[str, Any]
) -> None:
    """Write the index from the entries of all parts, and remove them.  InputError for damage."""
    paths = [_entry(work, k) for k in range(parts)]
    entries = [unsealed(read_json(path), path) for path in paths]
    index["shards"] = [entry["shard"] for entry in entries]
    index["source"] |= sum((Counter(entry["counts"]) for entry in entries), Counter())
    write_json(folder / "vocabulary.json", vocabulary)
    write_sealed(folder / "index.json", index)
    shutil.rmtree(work)
    remove_temporaries(folder)


def _fingerprint(names: Sequence[str]) -> str:
    """The fingerprint of the files.

    It is random if one of them can be read only once, because nothing can be continued then.
    """
    if any(map(read_once, names)):
        return os.urandom(32).hex()
    return digest_of({"files": list(map(_digest, names))})


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


def _remove_shards(folder: Path) -> None:
    """Remove all shards, and what other calls left unfinished."""
    (folder / "index.json").unlink(missing_ok=True)
    for entry in folder.glob("*"):
        if entry.name.startswith(UNFINISHED):
            shutil.rmtree(entry)
        elif re.fullmatch(r"\d{5,}\.bin", entry.name):
            entry.unlink()


# --- the parts ---------------------------------------------------------------------------


class _Encoder:
    """An encoder of the parts, one after the other, which reports its progress."""

    def __init__(self, tokenizer: Any, documents: str, progress: Report):
        self.tokenizer, self.documents, self.progress = tokenizer, documents, progress
        self.end = np.array([] if tokenizer.eos is None else [tokenizer.eos], np.int32)
        self.read = self.tokens = 0
        self.total: int | None = None
        self._counts: Counter[str] = Counter()

    def set_total(self, parts: Sequence[Part]) -> None:
        """Set the bytes to read; those of standard input are not known."""
        sizes = list(map(size_of, parts))
        self.total = sum(sizes) if all(sizes) else None

    def counted(self) -> dict[str, int]:
        """The counts of the text since the last call."""
        counts, self._counts = self._counts, Counter()
        return dict(counts)

    def ids(self, part: Part) -> Iterator[NDArray[np.int32]]:
        """The ids of a part in blocks, with EOS after each document."""
        for block in blocks_of(part, self.documents):
            ids = self._encoded(block)
            texts = [text for _, text in block if text is not None]
            size = sum(len(text.encode()) for text in texts)
            self._counts["bytes"] += size
            self._counts["characters"] += sum(map(len, texts))
            self._counts["documents"] += len(block) - len(texts)
            self.read, self.tokens = self.read + size, self.tokens + len(ids)
            self.progress(self.read, self.total, self.tokens)
            if len(ids):
                yield ids

    def _encoded(self, pieces: Sequence[Piece]) -> NDArray[np.int32]:
        places = [place for place, text in pieces if text is not None]
        texts = [text for _, text in pieces if text is not None]
        encoded = iter(self.tokenizer.encode_each(texts, places))
        ids = [self.end if text is None else next(encoded) for _, text in pieces]
        return np.concatenate(ids)
