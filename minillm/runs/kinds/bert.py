"""A Transformer that fills gaps, from both sides: BERT (2018)."""

from dataclasses import dataclass
from typing import Any

from minillm.models.bert import BERT, BERTConfig
from minillm.runs.kinds._masked import MaskedKind, MaskedSettings
from minillm.runs.settings import size


@dataclass(frozen=True)
class BERTSettings(MaskedSettings):
    """The settings of a BERT."""

    next_sentence: bool = size(
        BERTConfig,
        "next_sentence",
        "also learn whether the two parts of a passage follow each other; half of them do not",
        rare=True,
    )


class BERTKind(MaskedKind):
    """A stack of Transformer blocks over pieces of words, which sees the whole text."""

    name = "bert"
    description = """\
Train a BERT: some tokens of each passage are hidden, and it learns to predict them from all others.
Its vectors can then be used to compare or classify texts.  Tokens are pieces of words.  The last
tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train bert --out runs/bert --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train bert my_text.txt --out runs/mine --vocabulary 8000 --width 256
        on a text of your own
  minillm train bert python-source --out runs/source --minutes 20
        on the source of Python's standard library
  minillm train bert my_text.txt --init runs/bert --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm fill DIR "the [MASK] statement", minillm embed DIR < lines.txt,
      minillm similar DIR "a sentence" --among lines.txt, minillm eval DIR"""
    model = BERT
    config = BERTConfig
    settings = BERTSettings

    def heads(self, settings: BERTSettings, initial: Any) -> dict[str, bool]:
        """The head for masked words, and a pooler for the next sentence."""
        pooler = settings.next_sentence or (initial is not None and initial.pooler)
        return super().heads(settings, initial) | {"pooler": pooler}
