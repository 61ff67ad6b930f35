"""Encoding a corpus into shards, in blocks, so that memory stays constant.

A document is a whole file, or a line of it; in a file named ``.jsonl`` it is the ``text`` of a
line's JSON object.  The text of a document always ends with a line's end.  The folder is renamed to
``out`` when it is complete; after an interruption, nothing is left.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from minillm.data.corpora import opened, text_blocks
from minillm.data.files import from_json, new_folder, shown
from minillm.data.lines import is_json_lines, lines_of
from minillm.data.python_texts import DEFAULT_TEXT
from minillm.data.shards import FORMAT_VERSION, Shards, digest_of, write_json
from minillm.errors import InputError

SHARD_BYTES = 1 << 25  # of text
BLOCK = 1 << 21  # bytes of text that are encoded at a time

_SPACES = frozenset(" \t\n\r\f\v")  # white space by every definition
_LONGEST = 1 << 24  # characters without any space, after which a text is cut anyway

Piece = tuple[str, str | None]  # its place for messages, and its text; None: a document ends


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
    blocks = blocks_of(names, documents, min(BLOCK, -(-shard_bytes // 8)))
    with new_folder(out, overwrite) as new:
        # A block belongs to shard k if k times the bytes of a shard are before it.
        for _, part in groupby(blocks, lambda _: counts["bytes"] // shard_bytes):
            path, digest = new / f"{len(shards):05}.bin", hashlib.sha256()
            with open(path, "wb") as file:
                for block in part:
                    ids = _encoded(block, tokenizer, counts).astype(dtype)
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


def _encoded(block: list[Piece], tokenizer: Any, counts: Counter[str]) -> NDArray:
    """The ids of a block, with EOS after each document; ``counts`` grow by what is in it."""
    end = np.array([] if tokenizer.eos is None else [tokenizer.eos], np.int32)
    places = [place for place, text in block if text is not None]
    texts = [text for _, text in block if text is not None]
    counts["bytes"] += sum(len(text.encode()) for text in texts)
    counts["characters"] += sum(map(len, texts))
    counts["documents"] += len(block) - len(texts)
    encoded = iter(tokenizer.encode_each(texts, places))
    return np.concatenate([end if text is None else next(encoded) for _, text in block])


# --- documents ------------------------------------------------------------------------------


class Document(Struct):
    """A line of JSON lines; what else it holds is not read."""

    text: str


def blocks_of(files: Sequence[str], documents: str, size: int) -> Iterator[list[Piece]]:
    """The pieces of a corpus, up to ``size`` characters at a time: to encode each singly is slow.

    documents: "file" or "line".
    """
    block: list[Piece] = []
    length = 0
    for file in files:
        by_line = documents == "line" or is_json_lines(file)
        for place, text in _of_lines(file) if by_line else _of_whole(file, size):
            if block and length + len(text or "") > size:
                yield block
                block, length = [], 0
            block.append((place, text))
            length += len(text or "")
    if block:
        yield block


def _of_whole(file: str, size: int) -> Iterator[Piece]:
    """A file as one document, in pieces."""
    name, lines = shown(file), 0
    for text in cut_at_spaces(text_blocks(file, size)):
        yield (f"{name}, after line {lines}" if lines else name), text
        lines += text.count("\n")
    yield name, None


def _of_lines(file: str) -> Iterator[Piece]:
    """A document of each line that is not blank."""
    objects = is_json_lines(file)
    with opened(file) as contents:
        for line, place in lines_of(contents, shown(file)):
            text = (
                from_json(line, place, Document, strict=True).text
                if objects and line.strip()
                else line
            )
            if text.strip():
                yield place, text if text.endswith("\n") else text + "\n"
                yield place, None


def cut_at_spaces(blocks: Iterable[str], longest: int = _LONGEST) -> Iterator[str]:
    """The same text, cut only before white space that follows something else.

    In all of our vocabularies, no token reaches across such a cut, and none depends on the text on
    the other side.  So the pieces have the same tokens as the whole text.
    """
    rest = ""
    for block in blocks:
        rest += block
        cut = len(rest.rstrip())
        if 0 < cut < len(rest) and rest[cut] in _SPACES:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > longest:
            yield rest
            rest = ""
    if rest:
        yield rest
