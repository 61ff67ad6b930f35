"""``neural-ngram``: the feed-forward language model of Bengio et al. (2003)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minillm.runs.settings import TextSettings, TrainingSettings, option
from minillm.runs.text import TextKind

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Settings(TextSettings, TrainingSettings):
    """The settings of a neural n-gram model."""

    order: int = option(
        8, "how many tokens an n-gram has: the model sees N - 1", "N", least=2, most=1000
    )
    embedding: int = option(32, "width of a token's embedding", "D", least=1, most=65536)
    hidden: int = option(512, "width of the hidden layer", "H", least=1, most=65536)
    direct: bool = option(False, "connect the embeddings directly to the output as well")
    window: int = option(64, "tokens of each row of a batch", "T", least=1, most=65536)


class NeuralNGramKind(TextKind):
    """The embeddings of the last tokens and one hidden layer, to predict the next token."""

    name = "neural-ngram"
    year = 2003
    help = "a feed-forward language model over the last few tokens"
    description = """\
Train the neural n-gram model of Bengio et al. (2003): it sees as far as an n-gram model, but
learns what tokens have in common. The last tenth of the text is held out."""
    examples = """\
  minillm train neural-ngram --out runs/bengio --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train neural-ngram text.txt --out runs/words --unit word --order 5 --embedding 60

then: minillm generate DIR, minillm eval DIR"""
    settings = Settings

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig

        return NeuralNGram, NeuralNGramConfig

    def new_model(self, settings: Settings, vocabulary: int, rng: "np.random.Generator") -> Any:
        """The sizes that the settings say."""
        Model, _ = self.types()
        config = self.new_config(
            vocabulary=vocabulary,
            order=settings.order,
            embedding=settings.embedding,
            hidden=settings.hidden,
            direct=settings.direct,
        )
        return Model(config, rng)
