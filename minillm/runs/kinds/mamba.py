"""A language model whose state has a fixed size: Mamba (2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from minillm.formats.format import Contents
from minillm.look.measurements import read_mamba
from minillm.models.mamba import Mamba, MambaConfig
from minillm.option import option
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Job
from minillm.runs.kinds._adaptation import with_rate
from minillm.runs.kinds._look import look_by
from minillm.runs.kinds._text import TextKind, save_imported
from minillm.runs.run import Run
from minillm.runs.settings import (
    AdaptationSettings,
    TextSettings,
    TrainingSettings,
    size,
    with_default,
)

RATE = 1.3  # the learning rate of a model of width 1, with Muon


@dataclass(frozen=True)
class MambaSettings(TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a Mamba."""

    layers: int = size(MambaConfig, "layers")
    width: int = size(MambaConfig, "width")
    state: int = size(
        MambaConfig, "state", "numbers that each column of a layer remembers", "N", most=65536
    )
    inner: int | None = option(
        None,
        "width inside a layer",
        "E",
        least=1,
        most=1 << 20,
        default_help="2 D",
        of_model=True,
        rare=True,
    )
    convolution: int = size(
        MambaConfig,
        "convolution",
        "tokens that the convolution sees: this one and those before it",
        "K",
        least=2,
        most=1000,
        rare=True,
    )
    rank: int | None = option(
        None,
        "rank of the matrix that decides how long each step takes",
        "R",
        least=1,
        most=65536,
        default_help="D / 16",
        of_model=True,
        rare=True,
    )
    dropout: float = size(MambaConfig, "dropout")
    window: int = option(
        64,
        "tokens of a window, which begins with the state of the one before",
        "T",
        least=1,
        most=65536,
    )
    optimiser: str = with_default(
        TrainingSettings, "optimiser", "muon", default_help="muon; with --init adamw"
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help=f"{RATE} / width; with --init 0.3 of it",
    )
    batch: int = 16


class MambaKind(TextKind):
    """A linear recurrence over characters, words or byte pairs that selects what it keeps."""

    name = "mamba"
    description = """\
Train a Mamba: a recurrent language model whose gates do not read its state, so that the products
of a whole window are computed at once. Writing takes no more time or memory at the end of a long
text than at its beginning. The last tenth of the text is held out, to measure the model on it."""
    examples = """\
  minillm train mamba --out runs/mamba --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train mamba shakespeare.txt --out runs/shakespeare --layers 6 --width 192
        on a text of your own, over characters, with a larger model
  minillm train mamba my_text.txt --init runs/mamba --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm look DIR "a text", minillm export DIR"""
    model: ClassVar[type] = Mamba
    config: ClassVar[type] = MambaConfig
    settings = MambaSettings
    look = look_by(read_mamba)
    padded = True

    def complete(
        self, settings: MambaSettings, given: Mapping[str, object], job: Job
    ) -> MambaSettings:
        """The settings with a learning rate, which falls with the width."""
        return with_rate(settings, job, RATE / settings.width)

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The defaults with AdamW, which has trained the published models."""
        return super().init_defaults(initial, given) | {"optimiser": "adamw"}

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`."""
        return save_imported(self, contents, file, folder)
