"""The GPT of today: Llama (2023)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from minillm.errors import InputWarning
from minillm.formats.format import Contents
from minillm.models.llama import Llama, LlamaConfig
from minillm.option import option, option_of
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Given, Results
from minillm.runs.kinds._answering import AnswerEvaluation, results_of
from minillm.runs.kinds._causal import CausalKind, CausalSettings
from minillm.runs.run import Run
from minillm.runs.settings import TrainingSettings, size, with_default


@dataclass(frozen=True)
class LlamaSettings(CausalSettings):
    """The settings of a Llama."""

    layers: int = size(LlamaConfig, "layers", "number of blocks")
    heads: int = size(LlamaConfig, "heads", "heads of queries in each block")
    key_heads: int | None = option(
        None,
        "heads of keys and values in each block, a divisor of N",
        "M",
        least=1,
        most=65536,
        default_help="N",
        of_model=True,
    )
    width: int = size(LlamaConfig, "width")
    feed_forward: int | None = option(
        None,
        "width inside the feed-forward layers",
        "F",
        least=1,
        most=1 << 20,
        default_help="8/3 D",
        of_model=True,
        rare=True,
    )
    context: int = size(LlamaConfig, "context")
    optimiser: str = with_default(
        TrainingSettings, "optimiser", "muon", default_help="muon; with --init adamw"
    )


class LlamaKind(CausalKind):
    """A stack of the Transformer blocks of today over characters, words or byte pairs."""

    name = "llama"
    description = """\
Train a Llama, the GPT of today: RMS norms, rotary positions, gated feed-forward layers, queries
that may share keys, and no biases. It learns from the same texts as a GPT, as `train gpt` does."""
    examples = """\
  minillm train llama --out runs/llama --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train llama shakespeare.txt --out runs/shakespeare --heads 8 --key-heads 2
        on a text of your own, over characters, with a cache of a quarter of the size
  minillm train llama my_text.txt --init runs/llama --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    model: ClassVar[type] = Llama
    config: ClassVar[type] = LlamaConfig
    settings = LlamaSettings
    evaluation = AnswerEvaluation

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The defaults with AdamW, which has trained the published models.

        Muon would take as long as the gradient for a large matrix, and LoRA's matrices are thin.
        """
        return super().init_defaults(initial, given) | {"optimiser": "adamw"}

    def evaluate(self, run: Run, given: Given, options: AnswerEvaluation) -> Results:  # type: ignore[override]
        """Figures on a text or on conversations, as the file has it."""
        return results_of(run, given, options) or super().evaluate(run, given, options)

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`; a longer context than the largest one is cut."""
        model, most = contents.model, int(option_of(LlamaSettings, "context").most or 0)
        if model.config.context > most:
            warnings.warn(
                f"{file}: its context of {model.config.context:,} tokens is cut to {most:,}",
                InputWarning,
                stacklevel=2,
            )
            model = self.model(replace(model.config, context=most), params=model.params)
        return super().import_model(replace(contents, model=model), file, folder)
