"""A summariser: an encoder-decoder that copies from its source (2017)."""

from dataclasses import dataclass

from minillm.layers.recurrent import CELLS
from minillm.look.measurements import read_pointer_generator
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.runs.kinds._copying import CopyingKind, CopyingSettings
from minillm.runs.settings import size


@dataclass(frozen=True)
class SummariserSettings(CopyingSettings):
    """The settings of a summariser."""

    layers: int = size(
        PointerGeneratorConfig, "layers", "layers of the encoder, and of the decoder", most=64
    )
    cell: str = size(PointerGeneratorConfig, "cell", choices=tuple(CELLS))
    hidden: int = size(
        PointerGeneratorConfig,
        "hidden",
        "width of the decoder, and of each direction of the encoder",
    )
    embedding: int = size(PointerGeneratorConfig, "embedding")
    coverage: float = size(PointerGeneratorConfig, "coverage")
    dropout: float = size(PointerGeneratorConfig, "dropout")
    learning_rate: float = 2e-3


class SummariserKind(CopyingKind):
    """A pointer-generator on pairs of a text and its summary."""

    name = "summariser"
    description = """\
Train a summariser on pairs of a text and its summary: a file of lines text<TAB>summary, or of
{"source": "...", "target": "..."} in a .jsonl file ("target" may be a list); its last tenth is held
out.  The model writes words of its vocabulary, or copies words of the text: also unknown names."""
    examples = """\
  minillm train summariser emails.tsv --out runs/emails
  minillm train summariser train.tsv --validation val.tsv --out runs/papers --minutes 30

then: minillm summarise DIR report.txt, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = PointerGenerator
    config = PointerGeneratorConfig
    settings = SummariserSettings
    reading = staticmethod(read_pointer_generator)
