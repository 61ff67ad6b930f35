"""Transformers that predict the next token: GPT, Llama and its variants."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from minillm.data import RandomWindows
from minillm.decoding import Sampling
from minillm.decoding.summaries import Length, summaries
from minillm.errors import InputError, InputWarning
from minillm.formats.format import Contents
from minillm.look.inside import MOST, Inside
from minillm.look.measurements import read_gpt
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.variants import FAMILIES, Variant, VariantConfig
from minillm.option import option_of
from minillm.runs.folder import RunFolder
from minillm.runs.kind import (
    Given,
    Job,
    Parts,
    Results,
)
from minillm.runs.kinds._answering import AnswerEvaluation, results_of
from minillm.runs.kinds._look import inside_of, text_ids
from minillm.runs.kinds._text_data import (
    TextOfRun,
    check_longer,
)
from minillm.runs.kinds.language import (
    TextKind,
    WritingKind,
    save_imported,
    with_rate,
    written,
)
from minillm.runs.run import Run
from minillm.runs.settings import (
    AdaptationSettings,
    ShardSettings,
    TextSettings,
    TrainingSettings,
    size,
    with_default,
)
from minillm.training import Summary
from minillm.training.language_model import (
    WindowTask,
)
from minillm.training.progress import progress_bar

SAMPLE = 60  # tokens shown after each validation  # tokens shown after each validation


@dataclass(frozen=True)
class CausalSettings(ShardSettings, TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a GPT; other kinds change them."""

    layers: int = size(GPTConfig, "layers", "number of blocks")
    heads: int = size(GPTConfig, "heads")
    width: int = size(GPTConfig, "width")
    context: int = size(GPTConfig, "context")
    dropout: float = size(GPTConfig, "dropout")
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings, "learning_rate", None, default_help="0.4 / width; with --init 0.3 of it"
    )
    batch: int = 16
    beta2: float = 0.99
    weight_decay: float = 0.1


class CausalAbilities(WritingKind):
    """The abilities of a stack of Transformer blocks that predicts the next token."""

    padded = True

    def summaries(
        self,
        run: Run,
        texts: Sequence[str],
        places: Sequence[str],
        length: Length,
        report: Callable[[str], None],
        **search: Any,
    ) -> Iterator[str | InputError]:
        """See :meth:`minillm.runs.run.Run.summaries`; InputError for options of beam search."""
        for name in search:
            raise InputError(
                f"expected a run that was trained on pairs, found one of {run.kind.name}", name
            )
        if run.chat_template() is None:
            raise InputError(f"{run.path}: expected a run with a chat template, found none")
        progress = partial(progress_bar, unit=" parts")
        return summaries(run.answering, texts, places, length, report, progress)

    def look(self, run: Run, text: str) -> Inside:
        """See :meth:`minillm.runs.run.Run.look`: with the attention of all heads."""
        most = min(run.model.config.context, MOST)
        _, ids, notes = text_ids(run.tokenizer, text, most)
        return inside_of(run, run.tokenizer, ids, notes=notes, **read_gpt(run.model, ids))


class CausalKind(CausalAbilities, TextKind):
    """A stack of Transformer blocks over characters, words or byte pairs."""

    rate: ClassVar[float] = 0.4  # the learning rate of a model of width 1

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate: the best falls with the width (Yang 2022)."""
        return with_rate(settings, job, self.rate / settings.width)

    def task(self, settings: Any, model: Any, text: TextOfRun) -> Any:
        """The training on passages of the length of the context, which do not read on."""
        documents, sampling = bool(text.facts.documents), Sampling(seed=0)
        check_longer(text.training, settings.context)

        def sample() -> str:
            pieces = written(model, text.tokenizer, "", SAMPLE, sampling, documents=documents)
            return " ".join("".join(pieces).split())

        batch, most = settings.batch, settings.validation_tokens
        windows = RandomWindows(text.training, batch, settings.context, settings.seed)
        return WindowTask(model, windows, text.validation, batch, most, sample)

    def closing(self, job: Job, parts: Parts, summary: Summary) -> Iterator[str]:
        """Yield what every language model reports, and the speed of the training."""
        yield from super().closing(job, parts, summary)
        rate = summary.tokens / max(1e-9, summary.seconds - summary.validation_seconds)
        yield f"{rate:,.0f} tokens per second"

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`."""
        return save_imported(self, contents, file, folder)


class GPTKind(CausalKind):
    """A stack of Transformer blocks over characters, words or byte pairs."""

    name = "gpt"
    description = """\
Train a GPT: it reads a text, attends to all tokens before each, and learns to predict the next.
The last tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train gpt --out runs/gpt --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train gpt shakespeare.txt --out runs/shakespeare --layers 6 --width 192 --heads 6
        on a text of your own, over characters
  minillm train gpt python-source --out runs/source --context 256 --batch 16
        on the source of Python's standard library
  minillm tokenize big.txt --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big --minutes 600
        on a text larger than memory
  minillm train gpt my_text.txt --init runs/gpt --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = GPT
    config = GPTConfig
    settings = CausalSettings


@dataclass(frozen=True)
class LlamaSettings(CausalSettings):
    """The settings of a Llama."""

    layers: int = size(LlamaConfig, "layers", "number of blocks")
    heads: int = size(LlamaConfig, "heads", "heads of queries in each block")
    key_heads: int | None = size(LlamaConfig, "key_heads", default_help="N")
    width: int = size(LlamaConfig, "width")
    feed_forward: int | None = size(LlamaConfig, "feed_forward", default_help="8/3 D", rare=True)
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
        """The defaults with AdamW, which has trained the published models."""
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


NGRAMS = 4  # characters of the longest n-gram with a vector of its own; short texts overfit with 6


@dataclass(frozen=True)
class VariantSettings(LlamaSettings):
    """The settings of a variant."""

    family: str = size(
        VariantConfig, "family", "the family whose changes it has", choices=tuple(FAMILIES)
    )
    window: int | None = size(VariantConfig, "window", default_help="all before it")
    sinks: int = size(VariantConfig, "sinks", "first tokens in sight of all windows", "N", least=0)
    ngrams: int | None = size(
        VariantConfig, "ngrams", default_help=f"{NGRAMS} of characters, otherwise 1"
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
