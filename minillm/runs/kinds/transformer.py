"""``transformer``: an encoder-decoder of attention alone, from one text to another."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kinds.seq2seq import PairSettings, Seq2SeqKind, vocabulary_of
from minillm.runs.settings import TrainingSettings, option, with_default

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data.pairs import PairData
    from minillm.runs.kind import Parts
    from minillm.runs.run import Run
    from minillm.text import Vocabulary


@dataclass(frozen=True)
class Settings(PairSettings):
    """The settings of a Transformer."""

    joint: bool = option(
        False,
        "one vocabulary for source and target, and one embedding, which is the output layer too",
        group="the text",
    )
    vocabulary: int = with_default(PairSettings, "vocabulary", 8000)
    layers: int = option(4, "blocks of the encoder, and of the decoder", "L", least=1, most=256)
    heads: int = option(4, "heads of attention in each block", "N", least=1, most=65536)
    width: int = option(
        128, "width of a block: even, a multiple of the heads", "D", least=2, most=65536
    )
    feed_forward: int = option(
        512, "width of the feed-forward layers inside", "F", least=1, most=2**20
    )
    post_norm: bool = option(False, "norms after the sums, as published, not inside the branches")
    dropout: float = option(
        0.1, "fraction of activations zeroed in training", "RATE", least=0, below=1
    )
    schedule: str = option(
        "cosine",
        "how the learning rate falls; as published, as 1 / sqrt(t), which does not reach zero",
        choices=("cosine", "inverse-sqrt"),
        group="gradient descent",
    )
    learning_rate: float = with_default(TrainingSettings, "learning_rate", 2e-3)
    warmup: float = with_default(TrainingSettings, "warmup", 0.05)
    batch: int = with_default(PairSettings, "batch", 64)
    beta2: float = with_default(TrainingSettings, "beta2", 0.98)


class TransformerKind(Seq2SeqKind):
    """A Transformer on pairs of texts."""

    name = "transformer"
    year = 2017
    help = "an encoder-decoder of attention alone: translation, pronunciation"
    description = """\
Train a Transformer, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, of which the last tenth is held out; or a built-in set:
  cmudict        English words to phonemes (cmudict-stress: with the vowels' stress)
  numbers-en-fr  numbers in words, English to French; and between other languages
  docstrings     the body of a docstring to its summary line
It is the model of "Attention is all you need" (2017), in the place of the recurrent one of
minillm train seq2seq."""
    examples = """\
  minillm train transformer numbers-en-fr --out runs/numbers --minutes 3
  minillm train transformer cmudict --out runs/cmudict --minutes 20
  minillm train transformer train.tsv --validation val.tsv --unit bpe --joint --pretokenised \\
      --vocabulary 6000 --feed-forward 256 --dropout 0.3 --out runs/multi30k --minutes 60

then: minillm translate DIR, minillm eval DIR,
      minillm plot attention DIR "a source text" --layer 2 --head 0"""
    settings = Settings

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.transformer import Transformer, TransformerConfig

        return Transformer, TransformerConfig

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> "Parts":
        """As for the recurrent encoder-decoder; the sizes are checked before the data are read."""
        self.new_config(source_vocabulary=1, target_vocabulary=1, **self.sizes(settings))
        if settings.joint and settings.source_unit != settings.target_unit:
            raise InputError("--joint: expected the same --source-unit and --target-unit")
        return super().prepare(settings, data, rng)

    def new_vocabularies(
        self, pairs: "PairData", data: dict[str, Any], settings: Settings
    ) -> "tuple[Vocabulary, Vocabulary]":
        """Those of source and target; or twice one of both."""
        if not settings.joint or data.get("init"):
            return super().new_vocabularies(pairs, data, settings)
        both = vocabulary_of(pairs, data, settings, 0, 1)
        return both, both

    def sizes(self, settings: Settings) -> dict[str, Any]:
        """The fields of the model's config that the settings say."""
        names = [entry.name for entry in fields(self.types()[1]) if hasattr(settings, entry.name)]
        return {name: getattr(settings, name) for name in names} | {"shared": settings.joint}

    def cross_attention(
        self, run: "Run", text: str, ids: Sequence[int], layer: int | None, head: int | None
    ) -> "NDArray":
        """See :meth:`minillm.runs.run.Run.cross_attention`."""
        import numpy as np

        config = run.model.config
        for name, value, count in (("layer", layer, config.layers), ("head", head, config.heads)):
            if value is not None and not 0 <= value < count:
                raise InputError(f"--{name}: expected 0 to {count - 1}, found {value}")
        source = run.source.encode(text)
        shown = max(config.layers - 2, 0) if layer is None else layer
        weights = run.model.attention_weights(
            source[None], np.array([len(source)]), np.array([ids]), shown
        )[0]  # (N, T, S)
        return weights.mean(axis=0) if head is None else weights[head]
