"""A variant of Llama: the form of Mistral, Qwen, SmolLM, Gemma and Phi (2025)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from minillm.models.variants import FAMILIES, Variant, VariantConfig
from minillm.option import option
from minillm.runs.kind import Job
from minillm.runs.kinds.llama import LlamaKind, LlamaSettings
from minillm.runs.settings import size

NGRAMS = 4  # characters of the longest n-gram with a vector of its own; short texts overfit with 6


@dataclass(frozen=True)
class VariantSettings(LlamaSettings):
    """The settings of a variant."""

    family: str = size(
        VariantConfig, "family", "the family whose changes it has", choices=tuple(FAMILIES)
    )
    window: int | None = option(
        None,
        "tokens that a token of mistral, gemma3 or phi3 attends to",
        "W",
        least=1,
        most=1 << 20,
        default_help="all before it",
        of_model=True,
    )
    ngrams: int | None = option(
        None,
        "tokens of the longest n-grams with a vector of their own; 1: none",
        "N",
        least=1,
        most=100,
        default_help=f"{NGRAMS} of characters, otherwise 1",
        of_model=True,
        rare=True,
    )


class VariantKind(LlamaKind):
    """A stack of blocks as one of the families that follow Llama has them."""

    name = "variant"
    description = """\
Train a variant of Llama, in the form of Mistral, Qwen, SmolLM, Gemma or Phi. A family changes two
or three things: biases, norms of queries and keys, windows, layers without rotation, four norms,
scaled embeddings, a gated GELU. Most such models are imported, and fine-tuned. It learns from the
same texts as a GPT, as `train gpt` does."""
    examples = """\
  minillm import Qwen3-0.6B-Q4_K_M.gguf --out runs/qwen
        then: minillm chat runs/qwen, minillm finetune runs/qwen chats.jsonl --out runs/mine
  minillm train variant --family qwen3 --out runs/small --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train variant shakespeare.txt --family gemma3 --window 64 --out runs/shakespeare
        on a text of your own: five of six layers see the last 64 tokens

then: minillm generate DIR, minillm eval DIR, minillm export DIR --format gguf"""
    model = Variant
    config = VariantConfig
    settings = VariantSettings

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate, and with n-grams for a fresh model of characters."""
        settings = super().complete(settings, given, job)
        is_fresh = job.initial is None and job.stored is None
        if settings.ngrams is None and settings.unit == "character" and is_fresh:
            return replace(settings, ngrams=NGRAMS)
        return replace(settings, ngrams=None) if settings.ngrams == 1 else settings
