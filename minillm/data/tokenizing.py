"""Encoding a corpus into shards.

The text is read, encoded and written in blocks, so that memory stays constant.  A shard ends after
some number of bytes of text, and has its name only when it is complete:

    00003.bin           the fourth shard
    unfinished-KEY      a mark, which stands until the index is written

KEY is a fingerprint of the files, the vocabulary and the options.  After a kill, the same call
finds the mark of its key, keeps the shards that are there, and makes the others.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data import documents as corpus
from minillm.data.documents import Piece, blocks_of
from minillm.data.files import file_digest, read_once, remove_temporaries, replacing, shown
from minillm.data.python_texts import DEFAULT_TEXT, TEXTS
from minillm.data.shards import (
    FORMAT_VERSION,
    UNFINISHED,
    Shards,
    digest_of,
    read_index,
    write_json,
)
from minillm.errors import InputError

SHARD_BYTES = 1 << 25  # of text


def write_shards(
    out: str | Path,
    files: Sequence[str],
    tokenizer: Any,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Callable[[int, int | None, int], None] = lambda read, total, tokens: None,
    *,
    documents: str = "file",
) -> Shards:
    """Encode texts into the folder ``out``, a block at a time, and open the shards.

    ``files`` are paths, built-in texts and ``-``.  Each is a document or, with
    ``documents="line"``, each of its lines is.  ``tokenizer`` is a
    :class:`minillm.text.Vocabulary`; its EOS follows each document, if there is one.  A shard has
    the tokens of about ``shard_bytes`` of text.

    ``progress`` is called with the bytes of text that have been read, the size of the files, if
    known, and the tokens that have been made.

    Called again after a kill, it keeps the shards that are complete and continues; the files are
    byte for byte the same as without the interruption.  InputError if the folder has anything else
    in it, unless ``overwrite`` replaces its shards.
    """
    folder = Path(out)
    names = [str(file) for file in files] or [DEFAULT_TEXT]
    if not str(out):
        raise InputError("expected a folder, found an empty name", "out")
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
    mark = folder / f"{UNFINISHED}{index['key'][:16]}"
    begun = _is_begun(folder, mark, overwrite)
    if not begun and not overwrite and (folder / "index.json").exists():
        return Shards(folder)

    dtype = np.dtype(index["dtype"]).newbyteorder("<")
    total = None if any(map(read_once, names)) else sum(map(_size, names))
    counts: Counter[str] = Counter()
    made, shards = 0, []
    blocks = blocks_of(names, documents, min(corpus.BLOCK, -(-shard_bytes // 8)))
    for number, part in enumerate(_parts(blocks, shard_bytes, counts)):
        shard = folder / f"{number:05}.bin"
        if not (begun and shard.exists()):
            ids = (encoded for block in part if len(encoded := _encoded(block, tokenizer)))
            first = list(islice(ids, 1))  # its errors are reported before anything is written
            if not first:
                continue
            if not begun:
                _remove_shards(folder)
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
                begun = True
            with replacing(shard) as file:
                for piece in chain(first, ids):
                    file.write(np.ascontiguousarray(piece, dtype).data)
                    made += len(piece)
                    progress(counts["bytes"], total, made)
        tokens = shard.stat().st_size // dtype.itemsize
        shards.append({"file": shard.name, "tokens": tokens, "sha256": file_digest(shard)})
    if not shards:
        raise InputError(f"{', '.join(map(shown, names))}: it has no tokens"[:300])
    index["source"] |= counts
    write_json(folder / "vocabulary.json", vocabulary)
    index["shards"] = shards
    write_json(folder / "index.json", index | {"sha256": digest_of(index)})
    mark.unlink()
    remove_temporaries(folder)
    return Shards(folder)


# --- the text -----------------------------------------------------------------------------


def _parts(
    blocks: Iterable[list[Piece]], size: int, counts: Counter[str]
) -> Iterator[Iterator[list[Piece]]]:
    """The blocks of each shard; ``counts`` says how much has been read.

    A block belongs to shard k if it begins in the bytes k * size to (k + 1) * size of the text.
    """

    def numbered() -> Iterator[tuple[int, list[Piece]]]:
        for block in blocks:
            number = counts["bytes"] // size
            texts = [text for _, text in block if text is not None]
            counts["bytes"] += sum(len(text.encode()) for text in texts)
            counts["characters"] += sum(map(len, texts))
            counts["documents"] += len(block) - len(texts)
            yield number, block

    for _, part in groupby(numbered(), key=lambda numbered: numbered[0]):
        yield (block for _, block in part)


def _encoded(block: list[Piece], tokenizer: Any) -> NDArray:
    """The ids of a block, with EOS after each document."""
    end = np.array([] if tokenizer.eos is None else [tokenizer.eos], np.int32)
    places = [place for place, text in block if text is not None]
    texts = [text for _, text in block if text is not None]
    encoded = iter(tokenizer.encode_each(texts, places))
    return np.concatenate([end if text is None else next(encoded) for _, text in block])


def _fingerprint(names: Sequence[str]) -> str:
    """The fingerprint of the files.

    It is random if one of them can be read only once, because nothing can be continued then.
    """
    if any(map(read_once, names)):
        return os.urandom(32).hex()
    return digest_of(
        {
            "files": [
                hashlib.sha256(TEXTS[name]().encode()).hexdigest()
                if name in TEXTS
                else file_digest(name)
                for name in names
            ]
        }
    )


def _size(name: str) -> int:
    return len(TEXTS[name]().encode()) if name in TEXTS else os.path.getsize(name)


# --- the folder -------------------------------------------------------------------------


def _is_begun(folder: Path, mark: Path, overwrite: bool) -> bool:
    """Whether an earlier call with the same key was interrupted in this folder.

    InputError if the folder has anything but the shards of this key, finished or not, unless
    ``overwrite`` may replace them.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, found a file")
    found = sorted(entry.name for entry in folder.glob("[!.]*"))
    if found and not any(name == "index.json" or name.startswith(UNFINISHED) for name in found):
        raise InputError(f"{folder}: expected a new or empty folder, found {found[0]!r} in it")
    if overwrite or not found or mark.exists():
        return not overwrite and mark.exists()
    if "index.json" not in found or not mark.name.endswith(read_index(folder)["key"][:16]):
        raise InputError(
            f"{folder}: expected the shards of this text, vocabulary and options, found others: "
            "give overwrite to replace them"
        )
    return False


def _remove_shards(folder: Path) -> None:
    """Remove all shards, and the marks of other calls."""
    (folder / "index.json").unlink(missing_ok=True)
    for entry in folder.glob("*"):
        if entry.name.startswith(UNFINISHED) or re.fullmatch(r"\d{5,}\.bin", entry.name):
            entry.unlink()
