"""An encoder-decoder: translation, pronunciation, summaries (2014)."""

from collections.abc import Mapping
from dataclasses import dataclass

from minillm.layers import attention
from minillm.layers.recurrent import CELLS
from minillm.look.measurements import read_encoder_decoder
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.option import option
from minillm.runs.kinds._pairs import BUILT_IN, PairKind, PairSettings
from minillm.runs.run import Run
from minillm.runs.settings import size


@dataclass(frozen=True)
class Seq2SeqSettings(PairSettings):
    """The settings of a recurrent encoder-decoder."""

    attention: str = size(
        EncoderDecoderConfig,
        "attention",
        "attention to the source",
        choices=tuple(attention.KINDS),
    )
    cell: str = size(EncoderDecoderConfig, "cell", choices=tuple(CELLS))
    layers: int = size(
        EncoderDecoderConfig, "layers", "layers of the encoder, and of the decoder", most=64
    )
    hidden: int = size(
        EncoderDecoderConfig, "hidden", "width of the decoder, and of each direction of the encoder"
    )
    embedding: int = size(EncoderDecoderConfig, "embedding")
    forward_only: bool = option(
        False, "an encoder that reads in one direction, not in both", rare=True
    )
    dropout: float = size(EncoderDecoderConfig, "dropout")
    label_smoothing: float = size(EncoderDecoderConfig, "label_smoothing")
    learning_rate: float = 2e-3


class Seq2SeqKind(PairKind):
    """A recurrent encoder-decoder on pairs of texts."""

    name = "seq2seq"
    description = f"""\
Train an encoder-decoder, which reads one sequence and writes another, on pairs of texts: a file of
lines source<TAB>target, whose last tenth is held out; or a built-in set:
{BUILT_IN}
With --attention none, the decoder sees the source as one vector, as in 2014; with the other
kinds of attention it sees all positions of the source at each step, as since 2015."""
    examples = """\
  minillm train seq2seq numbers-en-fr --out runs/numbers --minutes 3
  minillm train seq2seq cmudict --out runs/vector --minutes 20 --attention none
  minillm train seq2seq train.tsv --validation val.tsv --unit token --out runs/multi30k
        for texts with spaces around punctuation already

then: minillm translate DIR, minillm eval DIR, minillm plot attention DIR "a source text\""""
    model = EncoderDecoder
    config = EncoderDecoderConfig
    settings = Seq2SeqSettings
    reading = staticmethod(read_encoder_decoder)

    def sizes(self, settings: Seq2SeqSettings) -> dict[str, object]:  # type: ignore[override]
        """The direction of the encoder."""
        return {"bidirectional": not settings.forward_only}

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of seq2seq."""
        only = not getattr(initial.model.config, "bidirectional", True)
        return super().init_defaults(initial, given) | {"forward_only": only}
