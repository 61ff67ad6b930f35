"""A feed-forward language model over the last few tokens (2003)."""

from dataclasses import dataclass

from minillm.look.measurements import read_windows
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.option import option
from minillm.runs.kinds._look import look_by
from minillm.runs.kinds._text import TextKind
from minillm.runs.settings import TextSettings, TrainingSettings, size


@dataclass(frozen=True)
class NeuralNGramSettings(TextSettings, TrainingSettings):
    """The settings of a neural n-gram model."""

    order: int = size(
        NeuralNGramConfig,
        "order",
        "number of tokens in an n-gram: the model sees N - 1",
        "N",
        least=2,
        most=1000,
    )
    embedding: int = size(NeuralNGramConfig, "embedding", "width of a token's embedding")
    hidden: int = size(NeuralNGramConfig, "hidden", "width of the hidden layer")
    window: int = option(64, "tokens of each row of a batch", "T", least=1, most=65536)


class NeuralNGramKind(TextKind):
    """The embeddings of the last tokens, and one hidden layer that predicts the next token."""

    name = "neural-ngram"
    description = """\
Train the neural n-gram model of Bengio et al. (2003): it sees as many tokens as an n-gram model,
but learns their similarities. The last tenth of the text is held out."""
    examples = """\
  minillm train neural-ngram --out runs/bengio --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train neural-ngram text.txt --out runs/words --unit word --order 5 --embedding 60

then: minillm generate DIR, minillm eval DIR"""
    settings = NeuralNGramSettings
    model = NeuralNGram
    config = NeuralNGramConfig
    look = look_by(read_windows)
