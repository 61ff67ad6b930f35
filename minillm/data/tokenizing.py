"""Encoding a corpus into shards.

The text is read, encoded and written in blocks, so that memory stays constant.  The folder is
renamed to ``out`` when it is complete; after an interruption, nothing is left.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data import documents as corpus
from minillm.data.documents import Piece, blocks_of
from minillm.data.files import new_folder, shown
from minillm.data.python_texts import DEFAULT_TEXT
from minillm.data.shards import FORMAT_VERSION, Shards, digest_of, write_json
from minillm.errors import InputError

SHARD_BYTES = 1 << 25  # of text


def write_shards(
    out: str | Path,
    files: Sequence[str],
    tokenizer: Any,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda read, total: None,
    *,
    documents: str = "file",
) -> Shards:
    """Encode texts into the new folder ``out``, a block at a time, and open the shards.

    ``files`` are paths, built-in texts and ``-``.  Each is a document or, with
    ``documents="line"``, each of its lines is.  ``tokenizer`` is a
    :class:`minillm.text.Vocabulary`; its EOS follows each document, if there is one.  A shard has
    the tokens of about ``shard_bytes`` of text.

    ``progress`` is called with the bytes of text that have been read, and the size of the files,
    if known.  ``overwrite`` replaces shards that are in ``out``.
    """
    folder, names = Path(out), [str(file) for file in files] or [DEFAULT_TEXT]
    if overwrite and any(folder.glob("*")) and not (folder / "index.json").exists():
        raise InputError(f"{folder}: expected shards to overwrite, found other files")
    vocabulary = {"format_version": 1, **tokenizer.to_dict()}
    dtype = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")
    total = sum(map(os.path.getsize, names)) if all(map(os.path.isfile, names)) else None
    counts: Counter[str] = Counter()
    shards: list[dict[str, Any]] = []
    blocks = blocks_of(names, documents, min(corpus.BLOCK, -(-shard_bytes // 8)))
    with new_folder(out, overwrite) as new:
        for part in _parts(blocks, shard_bytes, counts):
            path, digest = new / f"{len(shards):05}.bin", hashlib.sha256()
            with open(path, "wb") as file:
                for block in part:
                    ids = _encoded(block, tokenizer).astype(dtype)
                    file.write(ids.data)
                    digest.update(ids.data)
                    progress(counts["bytes"], total)
            if tokens := path.stat().st_size // dtype.itemsize:
                entry = {"file": path.name, "tokens": tokens, "sha256": digest.hexdigest()}
                shards.append(entry)
            else:
                path.unlink()
        if not shards:
            raise InputError(f"{', '.join(map(shown, names))}: it has no tokens"[:300])
        write_json(new / "vocabulary.json", vocabulary)
        index = {
            "format_version": FORMAT_VERSION,
            "dtype": dtype.name,
            "vocabulary": len(tokenizer),
            "eos": tokenizer.eos,
            "tokenizer_sha256": digest_of(vocabulary),
            "source": {"files": list(map(str, files)), **counts},
            "shards": shards,
        }
        write_json(new / "index.json", index | {"sha256": digest_of(index)})
    return Shards(folder)


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
