"""Shards of a text that exceeds memory, in place of its files."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from minillm.data import Shards
from minillm.errors import InputError
from minillm.mpi import ranks
from minillm.text import Vocabulary, load_tokenizer


def open_shards(files: Sequence[str]) -> Shards | None:
    """Return the shards, if ``files`` is the name of one folder of them; None: texts."""
    folders = [name for name in files if Path(name).is_dir()]  # texts are files
    if not folders:
        return None
    if len(files) > 1:
        raise InputError(f"{folders[0]}: expected a folder of shards alone, or FILEs of text")
    return Shards(folders[0])


def verify(shards: Shards) -> None:
    """Read the shards, of several ranks each its share; InputError where they are damaged."""
    job = ranks()
    quiet = True if job.rank else None  # None: where there is no terminal
    with tqdm(desc="checking", unit="B", unit_scale=True, leave=False, disable=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards.verify(progress, job.rank, job.size)


def tokenizer_of(shards: Shards) -> Vocabulary:
    """Return the vocabulary that the shards were made with."""
    tokenizer = load_tokenizer(shards.path / "vocabulary.json")
    if len(tokenizer) != shards.vocabulary:
        raise InputError(
            f"{shards.path / 'index.json'}: vocabulary: expected {len(tokenizer)}, the size of "
            f"vocabulary.json, found {shards.vocabulary}"
        )
    return tokenizer


def check_same_vocabulary(shards: Shards, tokenizer: Vocabulary, whose: str) -> None:
    """InputError if the ids of the shards are those of another vocabulary."""
    own = tokenizer_of(shards)
    if own.to_dict() != tokenizer.to_dict():
        raise InputError(
            f"{shards.path}: expected shards of the vocabulary of {whose} ({len(tokenizer)} "
            f"tokens, unit {tokenizer.unit}), found those of another ({len(own)} tokens, "
            f"unit {own.unit})"
        )
