"""The option of language models for hashed n-grams (:mod:`minillm.layers.hashed_ngrams`)."""

from dataclasses import replace
from typing import Any

from minillm.option import option
from minillm.runs.kind import Job


def ngrams_option(most: int) -> Any:
    """``--ngrams``; ``most`` is the default for characters."""
    return option(
        None,
        "tokens of the longest n-grams with a vector of their own; 1: none",
        "N",
        least=1,
        most=100,
        default_help=f"{most} of characters, otherwise 1",
        of_model=True,
        rare=True,
    )


def with_ngrams(settings: Any, job: Job, most: int) -> Any:
    """The settings with n-grams for a fresh model of characters, unless others are chosen."""
    is_fresh = job.initial is None and job.stored is None
    if settings.ngrams is None and settings.unit == "character" and is_fresh:
        return replace(settings, ngrams=most)
    return replace(settings, ngrams=None) if settings.ngrams == 1 else settings
