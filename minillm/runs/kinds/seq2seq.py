"""An encoder-decoder: translation, pronunciation, summaries (2014)."""

from collections.abc import Mapping
from dataclasses import dataclass

from minillm.data.pairs import PairData
from minillm.errors import InputError
from minillm.layers import attention
from minillm.layers.recurrent import CELLS
from minillm.look.measurements import read_encoder_decoder
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.option import option
from minillm.runs.kind import Data, Job, sizes_of
from minillm.runs.kinds._pairs import BUILT_IN, PairKind, PairSettings, vocabulary_of
from minillm.runs.run import Run
from minillm.runs.settings import size
from minillm.text import Vocabulary


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

    # --- a run of lm becomes the encoder ---

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of seq2seq; or of an lm, which becomes the encoder."""
        if initial.kind.name != "lm":
            only = not getattr(initial.model.config, "bidirectional", True)
            return super().init_defaults(initial, given) | {"forward_only": only}
        if not initial.model.config.embedding:
            raise InputError(f"init: expected an embedding in {initial.path}, found one-hot input")
        sizes = sizes_of(initial, self.settings)
        names = ("hidden", "layers", "cell", "embedding")
        return {name: sizes[name] for name in names} | {"forward_only": True}

    def tokenizer_options(self, initial: Run) -> tuple[str, ...]:
        """The options of both sides; with an lm, --unit sets the target's alone."""
        return super().tokenizer_options(initial) if initial.kind is self else ()

    def names_from(self, initial: Run, data: Data) -> dict[str, str]:
        """The same names; of an lm, the embedding and the layers become the encoder."""
        if initial.kind is self:
            return super().names_from(initial, data)
        layers = [name for name in initial.model.params if name.startswith("layers.")]
        return {n: n.replace("layers", "encoder", 1) for n in layers} | {"embedding.E": "source.E"}

    def new_vocabularies(self, pairs: PairData, job: Job) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies; an lm brings the source's."""
        if job.initial is None or job.initial.kind is self:
            return super().new_vocabularies(pairs, job)
        target = vocabulary_of(pairs, job, 1)
        return job.initial.tokenizer, target
