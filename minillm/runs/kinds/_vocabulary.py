"""The vocabulary of a new run: a new one, or that of another run or tokenizer."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard, TypeVar

from minillm.data.shards import digest_of
from minillm.errors import InputError
from minillm.runs.config import record_fingerprint
from minillm.runs.kind import Data, Job
from minillm.text import Vocabulary, WordPieces, load_tokenizer, vocabulary_from_dict

Made = TypeVar("Made")

LEAST_BYTE_PAIRS = 257  # the bytes, and the end of a text
LEAST_WORD_PIECES = 7  # the special tokens, and a character


def vocabulary_for(job: Job, unit: str, make: Callable[[], Made]) -> Vocabulary | Made:
    """The vocabulary of ``--init`` or ``--tokenizer``, or else make a new one.

    The fingerprint of an existing vocabulary is stored in the job's data.  InputError if they have
    another one.
    """
    if job.initial is not None:
        return kept(job.data, job.initial.tokenizer, job.data["init"])
    if path := job.data.get("tokenizer"):
        return kept(job.data, load_tokenizer(path), path)
    check_size(unit, job.settings.vocabulary)
    return make()


def kept(data: Data, tokenizer: Vocabulary, path: str) -> Vocabulary:
    """Store the vocabulary's fingerprint in ``data``, and return the vocabulary.

    InputError if ``data`` has another fingerprint, because the tokenizer has changed.
    """
    sha256 = digest_of(tokenizer.to_dict())
    record_fingerprint(data, sha256, path, "the vocabulary has", key="vocabulary_sha256")
    return tokenizer


def check_size(unit: str, size: int | None) -> None:
    """InputError for a size that is too small for the unit."""
    least, name = {
        "bpe": (LEAST_BYTE_PAIRS, "byte pairs"),
        "wordpiece": (LEAST_WORD_PIECES, "wordpieces"),
    }.get(unit, (0, ""))
    if size is not None and size < least:
        raise InputError(f"--vocabulary: expected at least {least} {name}, found {size}")


# --- the special tokens that BERT needs: [CLS], [SEP], [MASK] -----------------------------------


class Frame(NamedTuple):
    """The ids of the special tokens."""

    cls: int
    sep: int
    mask: int


def framing_vocabulary(values: dict[str, Any]) -> WordPieces:
    """A vocabulary with the special tokens; ValueError for any other."""
    tokenizer = vocabulary_from_dict(values)
    if not has_frame(tokenizer):
        raise ValueError("expected a vocabulary with [CLS], [SEP] and [MASK], found one without")
    return tokenizer


def has_frame(tokenizer: Vocabulary) -> TypeGuard[WordPieces]:
    """Whether a vocabulary has the special tokens."""
    if not isinstance(tokenizer, WordPieces):
        return False
    return None not in (tokenizer.cls, tokenizer.sep, tokenizer.mask)


def with_frame(tokenizer: Vocabulary, source: str) -> WordPieces:
    """The vocabulary.  InputError, with its ``source``, if it lacks the special tokens."""
    if not has_frame(tokenizer):
        raise InputError(
            f"{source}: expected a vocabulary of unit wordpiece, with [CLS], [SEP] and [MASK], "
            f"found one of unit {tokenizer.unit}"
        )
    return tokenizer


def frame_of(tokenizer: WordPieces) -> Frame:
    """The special tokens of a vocabulary that has them."""
    return Frame(*(id for id in (tokenizer.cls, tokenizer.sep, tokenizer.mask) if id is not None))
