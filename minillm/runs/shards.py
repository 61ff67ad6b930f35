"""Shards in place of files: what a run is trained and measured on where a text exceeds memory."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kind import Evaluation
from minillm.runs.text import (
    check_fingerprint,
    check_kept,
    evaluation_ids,
    open_text,
    vocabulary_for,
)

if TYPE_CHECKING:
    from minillm.data import Shards
    from minillm.data.windows import Ids
    from minillm.runs.run import Run
    from minillm.text import Vocabulary


def open_text_or_shards(
    settings: Any, data: dict[str, Any], verify: bool = True
) -> "tuple[Vocabulary, Ids, Ids]":
    """As :func:`minillm.runs.text.open_text`; shards have a vocabulary, and may have documents.

    All of the shards are read once, to find what is damaged before it is trained on (``verify``).
    """
    shards = open_shards(data["files"])
    if shards is None:
        return open_text(settings, data)
    tokenizer = vocabulary_for(settings, data, "", lambda: tokenizer_of(shards))
    check_same_vocabulary(shards, tokenizer, "--tokenizer")
    check_fingerprint(data, shards.sha256)
    if verify:
        _verify(shards)
    data["documents"] = shards.eos is not None
    return (tokenizer, *shards.split())


def _verify(shards: "Shards") -> None:
    """Reads the shards, of several ranks each its share; InputError where they are damaged."""
    from tqdm import tqdm

    from minillm.mpi import ranks

    job = ranks()
    quiet = True if job.rank else None  # None: where there is no terminal
    with tqdm(desc="checking", unit="B", unit_scale=True, leave=False, disable=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        shards.verify(progress, job.rank, job.size)


def evaluation_text_or_shards(run: "Run", asked: Evaluation) -> "tuple[str, Ids]":
    """As :func:`minillm.runs.text.evaluation_ids`, of shards the end that was held out."""
    shards = open_shards(asked.files or run.data.get("files", ()))
    if shards is None or asked.part == "test":
        return evaluation_ids(run, asked)
    check_same_vocabulary(shards, run.tokenizer, str(run.path))
    if asked.files:
        return str(shards.path), shards
    check_kept(run)
    check_fingerprint(run.data, shards.sha256)
    return f"the held-out end of {shards.path}", shards.split()[1]


def open_shards(files: Sequence[str]) -> "Shards | None":
    """The shards, if ``files`` is the name of one folder of them; None: texts."""
    from minillm.data import Shards
    from minillm.data.shards import is_shards

    folders = [name for name in files if is_shards(name)]
    if not folders:
        return None
    if len(files) > 1:
        raise InputError(f"{folders[0]}: expected a folder of shards alone, or FILEs of text")
    return Shards(folders[0])


def tokenizer_of(shards: "Shards") -> "Vocabulary":
    """The vocabulary that the shards were made with."""
    from minillm.text import load_tokenizer

    tokenizer = load_tokenizer(shards.path / "vocabulary.json")
    if len(tokenizer) != shards.vocabulary:
        raise InputError(
            f"{shards.path / 'index.json'}: vocabulary: expected {len(tokenizer)}, the size of "
            f"vocabulary.json, found {shards.vocabulary}"
        )
    return tokenizer


def check_same_vocabulary(shards: "Shards", tokenizer: "Vocabulary", whose: str) -> None:
    """InputError if the ids of the shards are those of another vocabulary."""
    own = tokenizer_of(shards)
    if own.to_dict() != tokenizer.to_dict():
        raise InputError(
            f"{shards.path}: expected shards of the vocabulary of {whose} ({len(tokenizer)} "
            f"tokens, unit {tokenizer.unit}), found those of another ({len(own)} tokens, "
            f"unit {own.unit})"
        )
