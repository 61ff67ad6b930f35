"""A recurrent language model of characters or words (2010)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from minillm.decoding.recurrent import one_hot
from minillm.layers.recurrent import CELLS
from minillm.look.measurements import read_recurrent
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.option import option
from minillm.runs.kind import Job
from minillm.runs.kinds._look import look_by
from minillm.runs.kinds._text import TextKind
from minillm.runs.run import Run
from minillm.runs.settings import (
    AdaptationSettings,
    TextSettings,
    TrainingSettings,
    size,
    with_default,
)

RATE = 6e-3  # at which an LSTM of 512 learns best; a wide rnn or gru diverges


@dataclass(frozen=True)
class LanguageModelSettings(TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a recurrent language model."""

    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help=f"{RATE}; of rnn and gru at most 0.8 / hidden",
    )
    cell: str = size(LanguageModelConfig, "cell", choices=tuple(CELLS))
    layers: int = size(LanguageModelConfig, "layers", most=64)
    hidden: int = size(LanguageModelConfig, "hidden")
    dropout: float = size(LanguageModelConfig, "dropout")
    embedding: int = size(
        LanguageModelConfig,
        "embedding",
        "width of the embedding; 0: one-hot input, the fastest with few characters",
        least=0,
        default_help="128, or with --tied as --hidden",
    )
    tied: bool = size(LanguageModelConfig, "tied", "the output layer's weights are the embedding's")
    window: int = option(
        64, "steps of truncated backpropagation through time", "T", least=1, most=65536
    )


class LanguageModelKind(TextKind):
    """A recurrence over characters, words or byte pairs that predicts the next one."""

    name = "lm"
    description = """\
Train a recurrent language model: it reads a text and learns to predict what comes next.
The last tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train lm --out runs/first --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train lm shakespeare.txt --out runs/shakespeare
        on a text of your own, with the defaults: an LSTM of 512 over characters, 5 minutes
  minillm train lm a.txt b.txt --out runs/words --unit word --hidden 256 --dropout 0.3
        words instead of characters, those seen only once as one unknown word
  minillm train lm --out runs/shakespeare --resume --minutes 10
        continue to 10 minutes in all

Ctrl-C saves and stops; --resume continues."""
    model = LanguageModel
    config = LanguageModelConfig
    settings = LanguageModelSettings
    look = look_by(read_recurrent)

    def complete(
        self, settings: LanguageModelSettings, given: Mapping[str, object], job: Job
    ) -> LanguageModelSettings:
        """The settings with the cell's rate, and a fitting embedding."""
        if settings.learning_rate is None:
            rate = RATE if settings.cell == "lstm" else min(RATE, 0.8 / settings.hidden)
            settings = replace(settings, learning_rate=rate)
        if settings.tied and given.get("embedding") is None:
            settings = replace(settings, embedding=settings.hidden)
        return settings

    def writing_model(self, run: Run, length: int) -> LanguageModel:
        """The model with E W_x computed, if that has fewer rows than there are steps."""
        return one_hot(run.model) if len(run.tokenizer) < length else run.model
