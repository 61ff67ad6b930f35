"""A variant of Llama: the form of Mistral, Qwen, SmolLM, Gemma and Phi (2025)."""

from dataclasses import dataclass

from minillm.models.variants import FAMILIES, Variant, VariantConfig
from minillm.option import option
from minillm.runs.kinds.llama import LlamaKind, LlamaSettings
from minillm.runs.settings import size


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
