"""An encoder after BERT: DistilBERT, RoBERTa, MPNet or ELECTRA (2019)."""

from dataclasses import dataclass

from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig
from minillm.runs.kinds._masked import MaskedKind, MaskedSettings
from minillm.runs.settings import size


@dataclass(frozen=True)
class EncoderSettings(MaskedSettings):
    """The settings of an encoder."""

    family: str = size(
        EncoderConfig, "family", "the family whose changes it has", choices=tuple(FAMILIES)
    )


class EncoderKind(MaskedKind):
    """A BERT with the changes of a family that followed it."""

    name = "encoder"
    description = """\
Train an encoder in the form of DistilBERT, RoBERTa or MPNet. A family changes a BERT's embeddings
or its attention: no segments, other positions, a bias for each distance. Most such models are
imported, ELECTRA too; then they embed texts, or are fine-tuned. It learns from the same texts as a
BERT, as `train bert` does."""
    examples = """\
  minillm import distilroberta-base --out runs/roberta
  minillm train encoder my_text.txt --init runs/roberta --out runs/adapted
        from one text to another, with the tokenizer of the first
  minillm train encoder --family mpnet --out runs/small --minutes 5
        on the Python language reference, which ships with every CPython

then: minillm fill DIR "the <mask> statement", minillm embed DIR < lines.txt, minillm eval DIR,
      minillm export DIR"""
    model = Encoder
    config = EncoderConfig
    settings = EncoderSettings
