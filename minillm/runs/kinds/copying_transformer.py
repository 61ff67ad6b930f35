"""A Transformer that copies from its source: summaries (2018)."""

from collections.abc import Mapping
from dataclasses import dataclass

from minillm.errors import InputError
from minillm.look.measurements import read_copying_transformer
from minillm.models.copying_transformer import CopyingTransformer, CopyingTransformerConfig
from minillm.models.transformer import Transformer
from minillm.option import option_of
from minillm.runs.kinds._copying import CopyingKind, CopyingSettings
from minillm.runs.kinds.transformer import TransformerTraining
from minillm.runs.run import Run
from minillm.runs.settings import size


@dataclass(frozen=True)
class CopyingTransformerSettings(TransformerTraining, CopyingSettings):
    """The settings of a Transformer that copies."""

    coverage: float = size(CopyingTransformerConfig, "coverage")


class CopyingTransformerKind(CopyingKind):
    """A Transformer that copies, on pairs of a text and its summary."""

    name = "copying-transformer"
    description = """\
Train a Transformer that copies on pairs of a text and its summary: a file of lines
text<TAB>summary, or of {"source": "...", "target": "..."} in a .jsonl file ("target" may be a
list); its last tenth is held out.  The model writes words of its vocabulary, or copies words of the
text: also unknown names.  It can begin with a Transformer whose source and target have one
vocabulary: pre-trained on texts (--denoise), or trained on pairs (--joint)."""
    examples = """\
  minillm train copying-transformer emails.tsv --out runs/emails
  minillm train transformer emails.tsv --copying --out runs/emails
        the same
  minillm train transformer my_text.txt --denoise --out runs/pre --minutes 60
  minillm train transformer emails.tsv --copying --init runs/pre --out runs/emails

then: minillm summarise DIR report.txt, minillm eval DIR, minillm plot attention DIR "a text\""""
    model = CopyingTransformer
    config = CopyingTransformerConfig
    settings = CopyingTransformerSettings
    reading = staticmethod(read_copying_transformer)

    def begins_with(self, initial: Run) -> bool:
        """Whether it is a run of this kind, or a Transformer with one vocabulary."""
        return super().begins_with(initial) or isinstance(initial.model, Transformer)

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of the run.  InputError for a Transformer with another sort of vocabulary."""
        defaults = super().init_defaults(initial, given)
        if not getattr(initial.model.config, "shared", True):
            raise InputError(
                f"--init {initial.path}: expected a Transformer with one vocabulary (--joint), "
                "found one with two"
            )
        units = option_of(self.settings, "unit").choices
        if defaults.get("unit", units[0]) not in units:
            raise InputError(
                f"--init {initial.path}: expected a vocabulary of unit {' or '.join(units)}, "
                f"found {initial.source.unit}"
            )
        return defaults
