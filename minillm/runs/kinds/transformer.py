"""An encoder-decoder of attention alone: translation, pronunciation (2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minillm.data.pairs import PairData
from minillm.look.measurements import read_transformer
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.option import option
from minillm.runs.kind import Job
from minillm.runs.kinds._adaptation import with_rate
from minillm.runs.kinds._pairs import BUILT_IN, PairKind, PairSettings, vocabulary_of
from minillm.runs.run import Run
from minillm.runs.settings import TrainingSettings, size, with_default
from minillm.text import Vocabulary
from minillm.training.schedules import SCHEDULES

ADAM_RATE, MUON_RATE = 2e-3, 8e-3  # of a model 128 wide


@dataclass(frozen=True)
class TransformerSettings(PairSettings):
    """The settings of a Transformer on pairs."""

    layers: int = size(
        TransformerConfig, "layers", "blocks of the encoder, and of the decoder", most=256
    )
    heads: int = size(TransformerConfig, "heads")
    width: int = size(
        TransformerConfig, "width", "width of a block: even, a multiple of the heads", least=2
    )
    feed_forward: int = size(
        TransformerConfig, "feed_forward", "width of the feed-forward layers", "F", most=2**20
    )
    post_norm: bool = size(
        TransformerConfig,
        "post_norm",
        "norm after each sum, as published, not inside the branch",
        rare=True,
    )
    dropout: float = size(TransformerConfig, "dropout")
    schedule: str = option(
        "cosine",
        "shape of the learning rate over the run; inverse-sqrt as published",
        choices=tuple(SCHEDULES),
        group="gradient descent",
        rare=True,
    )
    warmup: float = 0.05
    batch: int = 64
    beta2: float = 0.98
    label_smoothing: float = size(TransformerConfig, "label_smoothing")
    joint: bool = option(
        False,
        "one vocabulary for both sides, one matrix for embeddings and output",
        group="the text",
    )
    vocabulary: int = 8000
    optimiser: str = with_default(
        TrainingSettings, "optimiser", "muon", default_help="muon; with --init adamw"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help="8e-3; with adamw and sgd 2e-3; with --init 0.3 of it",
    )
    momentum: float = 0.95


class TransformerKind(PairKind):
    """A Transformer on pairs of texts."""

    name = "transformer"
    description = f"""\
Train a Transformer, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, whose last tenth is held out; or a built-in set:
{BUILT_IN}
It is the model of "Attention is all you need" (2017); train seq2seq trains a recurrent one."""
    examples = """\
  minillm train transformer numbers-en-fr --out runs/numbers --minutes 3
  minillm train transformer train.tsv --validation val.tsv --unit bpe --joint --pretokenised \\
      --vocabulary 6000 --feed-forward 256 --dropout 0.3 --out runs/multi30k --minutes 60

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = Transformer
    config = TransformerConfig
    settings = TransformerSettings
    reading = staticmethod(read_transformer)

    def sizes(self, settings: TransformerSettings) -> dict[str, object]:  # type: ignore[override]
        """Whether the embeddings are shared."""
        return {"shared": settings.joint}

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of transformer, and AdamW: LoRA's matrices are thin."""
        joint = getattr(initial.model.config, "shared", False)
        return super().init_defaults(initial, given) | {"joint": joint, "optimiser": "adamw"}

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with a learning rate, and with a unit where too many words are unknown."""
        rate = MUON_RATE if settings.optimiser == "muon" else ADAM_RATE
        return super().complete(with_rate(settings, job, rate), given, job)

    def new_vocabularies(self, pairs: PairData, job: Job) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of source and target, which may be the same."""
        if not job.settings.joint or job.initial:
            return super().new_vocabularies(pairs, job)
        joint = vocabulary_of(pairs, job, 0, 1)
        return joint, joint
