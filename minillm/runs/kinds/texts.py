"""The text of a run, or its shards: training data, evaluation data, figures and looks."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data import Shards, read_text, split_text
from minillm.data.corpora import TextStream
from minillm.data.files import MOST_IN_MEMORY, STANDARD_INPUT
from minillm.data.shards import digest_of
from minillm.data.windows import Ids
from minillm.decoding import Reader
from minillm.errors import InputError, short
from minillm.look.trace import MOST, Trace
from minillm.metrics import bits, perplexity
from minillm.models.sizes import sizes_in_words
from minillm.runs.kind import Data, EvalData, Results, Training, check_fingerprint
from minillm.runs.run import Run
from minillm.text import Vocabulary, build_vocabulary, load_tokenizer, unit_name

BLOCK = 1 << 16  # tokens that are decoded at a time


def name_of(data: Data) -> str:
    """The files of a text, for messages."""
    return ", ".join(data["files"]) or "the built-in corpus"


class OwnText:
    """The text of a run, files or shards; its last tenth is held out.

    ``shards``: None for files; ``sha256``: a fingerprint; ``parts``: texts or Shards, to train on
    and held out.
    """

    def __init__(self, data: Data):
        self.name, self.shards = name_of(data), open_shards(data["files"])
        self.parts: tuple[Any, Any]
        if self.shards is not None:
            self.sha256, self.parts = self.shards.sha256, self.shards.split()
        else:
            text = read_text(data["files"])
            self.sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            self.parts = split_text(text)

    def ids(self, part: int, tokenizer: Vocabulary, whose: str) -> Ids:
        """A part in ids.  InputError for shards of another vocabulary than the one of ``whose``."""
        if self.shards is None:
            return tokenizer.encode(self.parts[part], self.name)
        check_same_vocabulary(self.shards, tokenizer, whose)
        return self.parts[part]


class TextOfRun(NamedTuple):
    """The text of a run in ids, and its vocabulary."""

    tokenizer: Vocabulary
    training: Ids
    validation: Ids  # the held-out last tenth


def open_text(training: Training) -> TextOfRun:
    """The text to train on, and the text to validate on.

    For files, the vocabulary is learned from the training text, unless there is ``--tokenizer`` or
    ``--init``.  The text consists of documents if EOS occurs in it.  Shards have a vocabulary; all
    are read once, to detect damage early.
    """
    own = OwnText(training.data)
    training.record(own.sha256, own.name)
    if own.shards is not None:
        tokenizer = given_vocabulary(training) or tokenizer_of(own.shards)
    else:
        first, held_out = own.parts
        tokenizer = vocabulary_for(training, training.settings.split_into, [first], [held_out])
    ids, validation = (own.ids(part, tokenizer, "tokenizer") for part in (0, 1))
    if own.shards is not None:
        own.shards.verify()
        training.info["documents"] = own.shards.eos is not None
    else:
        ends = tokenizer.eos is not None and bool(np.any(ids == tokenizer.eos))
        training.info["documents"] = ends
    return TextOfRun(tokenizer, ids, validation)


def training_ids(run: Run) -> Ids:
    """The ids that a run was trained on.  InputError if they cannot be read again."""
    return _ids_of(run, 0)


def held_out_ids(run: Run) -> Ids:
    """The ids that a run was validated on.  InputError if they cannot be read again."""
    return _ids_of(run, 1)


def _ids_of(run: Run, part: int) -> Ids:
    check_kept(run)
    own = OwnText(run.data)
    check_fingerprint(run.data, own.sha256, own.name)
    return own.ids(part, run.tokenizer, str(run.path))


def evaluation_ids(run: Run, data: EvalData | None = None) -> tuple[str, Ids]:
    """The name and the ids of the text to measure on; for shards, their held-out end."""
    if data is None or not data.title:
        return f"the held-out end of {name_of(run.data)}", held_out_ids(run)
    name, shards = data.title, open_shards(data.files)
    if shards is None:
        return name, run.tokenizer.encode("".join(data.blocks(MOST_IN_MEMORY)), name)
    check_same_vocabulary(shards, run.tokenizer, str(run.path))
    return name, shards


def evaluation_blocks(run: Run, data: EvalData, held_out: bool) -> tuple[str, Iterator[str]]:
    """The name of the text to measure on, and its blocks."""
    if data.title:
        return data.title, data.blocks()
    check_kept(run)
    text = TextStream(run.data["files"])
    check_fingerprint(run.data, text.sha256, name_of(run.data))
    if not held_out:
        return name_of(run.data), text.blocks()
    start = text.characters * 9 // 10
    return f"the held-out end of {name_of(run.data)}", text.blocks(start)


def check_kept(run: Run) -> None:
    """InputError if the text that the run was made from cannot be read again."""
    if "imported" in run.data or STANDARD_INPUT in run.data["files"]:
        source = run.data.get("imported", "standard input, which is not stored")
        raise InputError(
            f"{run.path}: it comes from {source}: give the text to measure it on as FILE"
        )


# --- shards of a text that exceeds memory ---------------------------------------------------------


def open_shards(files: Sequence[str]) -> Shards | None:
    """The shards, if ``files`` is the name of one folder of them; None: texts."""
    folders = [name for name in files if Path(name).is_dir()]  # texts are files
    if not folders:
        return None
    if len(files) > 1:
        raise InputError(f"{folders[0]}: expected a folder of shards alone, or FILEs of text")
    return Shards(folders[0])


def tokenizer_of(shards: Shards) -> Vocabulary:
    """The vocabulary that the shards were made with."""
    tokenizer = load_tokenizer(shards.path / "vocabulary.json")
    if len(tokenizer) != shards.vocabulary:
        raise InputError(
            f"{shards.path / 'index.json'}: vocabulary: expected {len(tokenizer)}, "
            f"found {shards.vocabulary}"
        )
    return tokenizer


def check_same_vocabulary(shards: Shards, tokenizer: Vocabulary, whose: str) -> None:
    """InputError if the ids of the shards belong to another vocabulary."""
    made_with = tokenizer_of(shards)
    if made_with.to_dict() != tokenizer.to_dict():
        raise InputError(
            f"{shards.path}: expected shards of the vocabulary of {whose} ({len(tokenizer)} "
            f"tokens), found another one's ({len(made_with)} tokens)"
        )


# --- vocabularies ---------------------------------------------------------------------------------

LEAST_BYTE_PAIRS = 257  # the bytes, and the end of a text
LEAST_WORD_PIECES = 7  # the special tokens, and a character


def given_vocabulary(training: Training) -> Vocabulary | None:
    """The vocabulary of ``--init`` or ``--tokenizer``, if there is one.

    InputError if a run to resume had another one.
    """
    if training.initial is not None:
        return recorded(training, training.initial.tokenizer, training.data["init"])
    path = training.data.get("tokenizer")
    return recorded(training, load_tokenizer(path), path) if path else None


def vocabulary_for(
    training: Training, unit: str, texts: Iterable[str], held_out: Iterable[str] = ()
) -> Vocabulary:
    """The vocabulary of ``--init`` or ``--tokenizer``, or else one that is learned from texts."""
    given, settings = given_vocabulary(training), training.settings
    if given is not None:
        return given
    check_size(unit, settings.vocabulary)
    least = getattr(settings, "minimum_count", 1)
    return build_vocabulary(texts, unit, least, settings.vocabulary, held_out=held_out)


def recorded(training: Training, tokenizer: Vocabulary, path: str) -> Vocabulary:
    """The vocabulary, whose fingerprint is recorded, so that it cannot change before a resume."""
    sha256 = digest_of(tokenizer.to_dict())
    training.record(sha256, path, "the vocabulary has", key="vocabulary_sha256")
    return tokenizer


def check_size(unit: str, size: int | None) -> None:
    """InputError for a size that is too small for the unit."""
    pieces = LEAST_WORD_PIECES, "wordpieces"
    least, name = {"bpe": (LEAST_BYTE_PAIRS, "byte pairs"), "wordpiece": pieces}.get(unit, (0, ""))
    if size is not None and size < least:
        raise InputError(f"expected at least {least} {name}, found {size}", "vocabulary")


# --- figures --------------------------------------------------------------------------------------


def language_results(name: str, tokenizer: Vocabulary, nats: float, tokens: int) -> Results:
    """The figures that every language model has."""
    return {
        "text": name,
        "unit": tokenizer.unit,
        "tokens": tokens,
        "nats_per_token": nats,
        "bits_per_token": bits(nats),
        "perplexity": perplexity(nats),
    }


def results_on(name: str, tokenizer: Vocabulary, ids: Ids, nats: float, tokens: int) -> Results:
    """The figures of a model that has predicted ``ids`` from the second on.

    Words have a share of unknown ones, and no figure per byte: a model that does not predict how a
    word is spelled does not compare with one that does.
    """
    results = language_results(name, tokenizer, nats, tokens)
    blocks = (ids[start : min(start + BLOCK, 1 + tokens)] for start in range(1, 1 + tokens, BLOCK))
    if tokenizer.unknown is not None:
        unknown = sum(int((block == tokenizer.unknown).sum()) for block in blocks)
        return results | {"unknown_share": unknown / tokens}
    known = (token for block in blocks for token in block.tolist() if token != tokenizer.eos)
    return results | per_byte_and_character(nats * tokens, tokenizer.stream(known))


def figures_of(name: str, tokenizer: Vocabulary, ids: Ids, nats: float, tokens: int) -> Results:
    """The figures of another model on the same text, next to the run's own."""
    figures = results_on("", tokenizer, ids, nats, tokens)
    kept = ("nats", "bits", "perplexity")
    return {f"{name}_{key}": value for key, value in figures.items() if key.startswith(kept)}


def per_byte_and_character(nats: float, blocks: Iterable[str]) -> Results:
    """A sum of nats over the bytes and the characters of a text, which no vocabulary changes."""
    size, characters = size_of(blocks)
    results: Results = {}
    for name, count in (("byte", size), ("character", characters)):
        if count:
            results[f"nats_per_{name}"] = nats / count
            results[f"bits_per_{name}"] = bits(nats / count)
    return results


def size_of(blocks: Iterable[str]) -> tuple[int, int]:
    """The bytes in UTF-8 and the characters of a text."""
    size = characters = 0
    for block in blocks:
        size += len(block.encode("utf-8", "surrogatepass"))
        characters += len(block)
    return size, characters


# --- a look at a text -----------------------------------------------------------------------------


def text_ids(vocabulary: Vocabulary, text: str, most: int = MOST) -> tuple[NDArray, NDArray, list]:
    """The ids of a text that are not shown, the ids that are, and notes.

    At most ``most`` are shown, the last ones.  InputError for a text without a token.
    """
    ids = vocabulary.encode(text, "TEXT")
    if not len(ids):
        raise InputError(f"TEXT: expected one token or more, found none in {short(text)}")
    notes, cut, unit = [], max(0, len(ids) - most), unit_name(vocabulary)
    if cut:
        notes.append(f"the last {most} of {len(ids):,} {unit}s are shown")
    unknown = 0 if vocabulary.unknown is None else int((ids == vocabulary.unknown).sum())
    if unknown:
        notes.append(f"{unknown} {unit}{'s are' if unknown > 1 else ' is'} unknown to the model")
    return ids[:cut], ids[cut:], notes


def trace_of(run: Run, vocabulary: Vocabulary, shown: NDArray, **parts: Any) -> Trace:
    """The measurements of a run, with names for the page."""

    def label(number: int) -> str:
        return vocabulary.show(number) if number < len(vocabulary) else f"[PAD{number}]"

    names = {
        "model": f"{run.kind.name}: {sizes_in_words(run.model.config)}",
        "name": run.path.name,
        "unit": unit_name(vocabulary),
        "tokens": [vocabulary.show(int(token)) for token in shown],
        "label": label,
    }
    return Trace(**{**names, "ids": np.asarray(shown, np.int64), **parts})


def inside_by(
    read: Callable[..., Mapping[str, Any]], run: Run, text: str, other: Any = None, **names: str
) -> Trace:
    """A look at a model that reads on from a state: the run's own, or another one.

    ``read(model, ids, state)`` measures: see :mod:`minillm.look.measurements`.
    """
    before, ids, notes = text_ids(run.tokenizer, text)
    model = run.model if other is None else other
    reader = Reader(model)
    state = reader.zero_state(1)
    if len(before):
        state = reader.read(before[None], state)[1]
    return trace_of(run, run.tokenizer, ids, notes=notes, **names, **read(model, ids, state))
