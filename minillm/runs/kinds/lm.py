"""``lm``: a recurrent language model of characters or words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minillm.runs.settings import (
    AdaptationSettings,
    RecurrenceSettings,
    TextSettings,
    TrainingSettings,
    option,
    with_default,
)
from minillm.runs.text import TextKind

if TYPE_CHECKING:
    import numpy as np

    from minillm.runs.run import Run


@dataclass(frozen=True)
class Settings(TextSettings, RecurrenceSettings, TrainingSettings, AdaptationSettings):
    """The settings of a recurrent language model."""

    learning_rate: float = with_default(TrainingSettings, "learning_rate", 6e-3)
    hidden: int = with_default(RecurrenceSettings, "hidden", 512)
    embedding: int | None = option(
        None,
        "width of the embedding; 0: one-hot input, the fastest with few characters",
        "D",
        least=0,
        most=65536,
        default_help="128, or with --tied as --hidden",
    )
    tied: bool = option(False, "the output layer's weights are the embedding's")
    window: int = option(
        64, "steps of truncated backpropagation through time", "T", least=1, most=65536
    )


class LanguageModelKind(TextKind):
    """A recurrence over characters, words or byte pairs that predicts the next one."""

    name = "lm"
    year = 2010
    help = "a recurrent language model of characters or words"
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
  minillm train lm a.txt b.txt --out runs/pairs --unit bpe --vocabulary 2000
        byte pairs: parts of words, learned from the text, so that no word is unknown
  zcat text.gz | minillm train lm - --out runs/piped --cell gru --layers 2 --steps 2000
        from standard input
  minillm train lm --out runs/shakespeare --resume --minutes 10
        go on, to 10 minutes in all

Ctrl-C saves and stops; --resume goes on from there."""
    settings = Settings

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.language_model import LanguageModel, LanguageModelConfig

        return LanguageModel, LanguageModelConfig

    def new_model(self, settings: Settings, vocabulary: int, rng: "np.random.Generator") -> Any:
        """The sizes that the settings say."""
        Model, _ = self.types()
        embedding = settings.embedding
        if embedding is None:
            embedding = settings.hidden if settings.tied else 128
        config = self.new_config(
            vocabulary=vocabulary,
            embedding=embedding,
            hidden=settings.hidden,
            layers=settings.layers,
            cell=settings.cell,
            dropout=settings.dropout,
            tied=settings.tied,
        )
        return Model(config, rng)

    def writing_model(self, run: "Run", length: int) -> Any:
        """E W_x is worth computing where it has fewer rows than there are steps to come."""
        return run.model.one_hot() if len(run.tokenizer) < length else run.model
