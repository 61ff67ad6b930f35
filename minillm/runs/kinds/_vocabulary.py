"""The vocabulary of a run: a new one, or the one of another run or tokenizer."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from minillm.data.shards import digest_of
from minillm.errors import InputError
from minillm.runs.kind import Job
from minillm.text import (
    PublishedTokenizer,
    Vocabulary,
    WordPieces,
    load_tokenizer,
    vocabulary_from_dict,
)

Made = TypeVar("Made")

LEAST_BYTE_PAIRS = 257  # the bytes, and the end of a text
LEAST_WORD_PIECES = 7  # the special tokens, and a character


def vocabulary_for(job: Job, unit: str, make: Callable[[], Made]) -> Vocabulary | Made:
    """The vocabulary of ``--init`` or ``--tokenizer``, or else make a new one.

    InputError if a run to resume had another one.
    """
    if job.initial is not None:
        return recorded(job, job.initial.tokenizer, job.data["init"])
    if path := job.data.get("tokenizer"):
        return recorded(job, load_tokenizer(path), path)
    check_size(unit, job.settings.vocabulary)
    return make()


def recorded(job: Job, tokenizer: Vocabulary, path: str) -> Vocabulary:
    """The vocabulary, after its fingerprint is recorded.

    InputError if a run to resume has another fingerprint, because the tokenizer has changed.
    """
    sha256 = digest_of(tokenizer.to_dict())
    job.record(sha256, path, "the vocabulary has", key="vocabulary_sha256")
    return tokenizer


def check_size(unit: str, size: int | None) -> None:
    """InputError for a size that is too small for the unit."""
    least, name = {
        "bpe": (LEAST_BYTE_PAIRS, "byte pairs"),
        "wordpiece": (LEAST_WORD_PIECES, "wordpieces"),
    }.get(unit, (0, ""))
    if size is not None and size < least:
        raise InputError(f"vocabulary: expected at least {least} {name}, found {size}")


# --- the special tokens that an encoder needs: for BERT [CLS], [SEP], [MASK] ---------------------


class Frame(NamedTuple):
    """The ids of the special tokens."""

    cls: int  # opens a text
    sep: int  # closes it
    mask: int


def framing_vocabulary(values: Mapping[str, object]) -> Vocabulary:
    """A vocabulary with the special tokens; ValueError for any other."""
    tokenizer = vocabulary_from_dict(values)
    if not has_frame(tokenizer):
        raise ValueError("expected a vocabulary with [CLS], [SEP] and [MASK], found one without")
    return tokenizer


def has_frame(tokenizer: Vocabulary) -> bool:
    """Whether a vocabulary is one of an encoder, with the special tokens."""
    tokens = tokenizer.bos, tokenizer.eos, tokenizer.mask
    return isinstance(tokenizer, WordPieces | PublishedTokenizer) and None not in tokens


def with_frame(tokenizer: Vocabulary, source: str) -> Vocabulary:
    """The vocabulary.  InputError, with its ``source``, if it lacks the special tokens."""
    if not has_frame(tokenizer):
        raise InputError(
            f"{source}: expected a vocabulary of unit wordpiece, with [CLS], [SEP] and [MASK], "
            f"found one of unit {tokenizer.unit}"
        )
    return tokenizer


def frame_of(tokenizer: Vocabulary) -> Frame:
    """The special tokens of a vocabulary that has them."""
    ids = tokenizer.bos, tokenizer.eos, tokenizer.mask
    return Frame(*(number for number in ids if number is not None))
