"""A text classifier that begins with a model of many texts (2018)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minillm.data.labelled import LabelledData
from minillm.data.registry import absolute
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.models.fine_tuned import (
    ENCODER_POOLINGS,
    ENCODERS,
    PREFIX,
    FineTuned,
    FineTunedConfig,
)
from minillm.option import option
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Data, Job, Stored, Vocabularies, described
from minillm.runs.kinds._labelled import Read, TextClassifierKind, TextClassifierSettings
from minillm.runs.kinds._vocabulary import recorded
from minillm.runs.run import Run
from minillm.runs.settings import LoRASettings, size, with_default

# Learning rates: large models need smaller ones, and LoRA, which trains few weights, larger ones.
RATE, LORA_FACTOR = 0.04, 10  # of a Transformer of width 1: divided by its width
RECURRENT_RATE, RECURRENT_LORA_FACTOR = 0.005, 2
LONGEST = 400  # tokens of a text, where the model to begin with sets no limit


@dataclass(frozen=True)
class FineTunedSettings(TextClassifierSettings, LoRASettings):
    """The settings of fine-tuning."""

    init: str | None = with_default(
        LoRASettings,
        "init",
        None,
        help=f"the run to begin with: of {', '.join(ENCODERS)} or finetuned",
        metavar="RUN",
        positional=True,
    )
    max_length: int | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings, "max_length", None, default_help="400, or what RUN can read"
    )
    pooling: str | None = option(
        None,
        "the pooling of all tokens' outputs to one vector",
        choices=tuple(ENCODER_POOLINGS),
        of_model=True,
        default_help="last of a gpt or llama, max of an lm, mean of a bert or encoder",
    )
    dropout: float = size(FineTunedConfig, "dropout")
    label_smoothing: float = size(FineTunedConfig, "label_smoothing")
    batch: int | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings, "batch", None, default_help="16, of a recurrent RUN 32"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TextClassifierSettings,
        "learning_rate",
        None,
        default_help="0.04 / width, with LoRA 0.4 / width; of a recurrent RUN 0.005 and 0.01",
    )
    epochs: int | None = with_default(
        TextClassifierSettings, "epochs", 4, default_help="4; for few texts, enough for 400 steps"
    )
    warmup: float = 0.1


class FineTunedKind(TextClassifierKind):
    """An encoder that was trained without labels, and a new output layer."""

    name = "finetuned"
    description = """\
Fine-tune a model to label texts. RUN is a bert, an encoder, a gpt, a llama or an lm, which was
trained on texts without labels, or a classifier made from one. DATA is a file of lines
label<TAB>text, or a folder with a subfolder of text files for each label; every tenth text of each
label is held out. All weights are trained, or with --freeze only the upper layers, or with
--lora-rank only small updates to the matrices; then only these are saved. `minillm train chat` has
the options for conversations."""
    examples = """\
  minillm finetune runs/bert reviews.tsv --out runs/reviews
  minillm finetune runs/gpt reviews.tsv --out runs/reviews2 --lora-rank 8
  minillm finetune runs/lm few.tsv --out runs/few --freeze encoder

then: minillm classify DIR, minillm eval DIR, minillm merge DIR --out DIR2 (of LoRA)"""
    padded = True
    model = FineTuned
    config = FineTunedConfig
    settings = FineTunedSettings

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The settings that depend on the pre-trained model.

        InputError for a run that neither is an encoder nor has one.
        """
        if initial.kind.name not in (*ENCODERS, self.name):
            raise InputError(
                f"RUN: expected a run of {', '.join(ENCODERS)} or {self.name}, found one of "
                f"{initial.kind.name} in {initial.path}"
            )
        name, encoder = _encoder_of(initial)
        lora = given.get("lora_rank") is not None
        defaults: dict[str, object]
        if not hasattr(encoder, "context"):  # recurrent
            rate = RECURRENT_RATE * (RECURRENT_LORA_FACTOR if lora else 1)
            defaults = {"learning_rate": rate, "batch": 32}
        else:
            rate = RATE * (LORA_FACTOR if lora else 1) / encoder.width
            defaults = {"learning_rate": rate, "batch": 16}
        if initial.kind is self:
            defaults["pooling"] = initial.model.config.pooling
            return defaults | {"max_length": initial.settings.max_length}
        defaults["pooling"] = initial.data.get("pooling") or ENCODERS[name].pooling
        read = [initial.data.get("longest"), getattr(encoder, "context", None), LONGEST]
        return defaults | {"max_length": min(length for length in read if length is not None)}

    def complete(
        self, settings: FineTunedSettings, given: Mapping[str, object], job: Job
    ) -> FineTunedSettings:
        """The settings with a length that fits the data.  InputError without a run."""
        if not job.data.get("init"):
            raise InputError("RUN: expected the folder of a run to begin with, found none")
        return super().complete(settings, given, job)

    def tokenizer_options(self, initial: Run) -> tuple[str, ...]:
        """No option: the run brings its tokenizer."""
        return ()

    def names_from(self, initial: Run, data: Data) -> dict[str, str]:
        """The encoder's weights; with the same labels, the last layer, too."""
        if initial.kind is not self:
            return {name: f"{PREFIX}{name}" for name in initial.model.params}
        same = list(initial.data["labels"]) == list(data["labels"])
        kept = (PREFIX, "head.")
        return {n: n for n in initial.model.params if same or n.startswith(kept)}

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[FineTuned, Vocabularies]:
        """A model with the encoder's sizes; its weights are taken later."""
        settings, initial = job.settings, job.initial
        assert initial is not None
        name, encoder = _encoder_of(initial)
        encoder = replace(encoder, dropout=settings.dropout, **ENCODERS[name].headless)
        try:
            config = FineTunedConfig(
                kind=name,
                encoder=encoder,
                classes=len(texts.labels),
                pooling=settings.pooling,
                head=getattr(initial.model.config, "head", None),
                dropout=settings.dropout,
                label_smoothing=settings.label_smoothing,
            )
        except ValueError as error:
            raise InputError(f"{initial.path}: {error}") from None
        tokenizer = recorded(job, initial.tokenizer, job.data["init"])
        return FineTuned(config, rng), {"tokenizer": tokenizer}

    def reader(
        self,
        config: FineTunedConfig,
        settings: FineTunedSettings,
        vocabularies: Vocabularies,
    ) -> Read:
        """A function from a text to the ids of its first tokens.

        For a BERT or an encoder, they are between [CLS] and [SEP]; for a GPT or a Llama, EOS
        follows if the vocabulary has it.
        """
        tokenizer = vocabularies["tokenizer"]
        encoder = ENCODERS[config.kind]
        ends = (getattr(tokenizer, name, None) for name in (encoder.opened_by, encoder.closed_by))
        front, behind = ([] if token is None else [token] for token in ends)
        longest = settings.max_length or LONGEST
        most = min(longest, getattr(config.encoder, "context", longest)) - len(front) - len(behind)

        def read(text: str, place: str) -> list[int]:
            return [*front, *tokenizer.encode(text, place)[:most].tolist(), *behind]

        return read

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`: a classifier of another program."""
        model, config = contents.model, contents.model.config
        settings = FineTunedSettings(
            max_length=contents.facts["longest"] or config.encoder.context,
            pooling=config.pooling,
            batch=16,
            learning_rate=RATE / config.encoder.width,
        )
        data = {"imported": absolute(file), "labels": list(contents.facts["labels"])}
        save_run(
            folder,
            Stored(self, config, settings, data),
            model.params,
            {"tokenizer": contents.tokenizer},
        )
        return described(model, contents.tokenizer) + f", {config.classes} labels"


def _encoder_of(run: Run) -> tuple[str, Any]:
    """The kind and the config of a run's encoder, which may be the whole run."""
    config = run.model.config
    if isinstance(config, FineTunedConfig):
        return config.kind, config.encoder
    return run.kind.name, config
