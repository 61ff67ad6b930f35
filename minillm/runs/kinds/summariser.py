"""A summariser: an encoder-decoder that copies from its source (2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from minillm.data.pairs import PairData
from minillm.decoding import Translation
from minillm.layers.recurrent import CELLS
from minillm.look.inside import Inside
from minillm.look.measurements import read_pointer_generator
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.runs.kind import Job
from minillm.runs.kinds._pairs import PairKind, PairSettings, vocabulary_of
from minillm.runs.kinds._vocabulary import vocabulary_for
from minillm.runs.run import Run
from minillm.runs.settings import SummarySearch, of_text, search_options, size
from minillm.text import Vocabulary
from minillm.text.open_words import OpenWords

TARGETS_COUNT = 5  # times, among the words of a vocabulary: a word of a target will be written


@dataclass(frozen=True)
class SummariserSettings(PairSettings):
    """The settings of a summariser."""

    unit: str | None = of_text(
        "word",
        "tokens: word, in lower case, with the words of each source added; or bpe",
        choices=("word", "bpe"),
    )
    vocabulary: int = 10_000
    batch: int = 32
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


class SummariserKind(PairKind):
    """A pointer-generator on pairs of a text and its summary.

    One vocabulary serves both sides, and each source adds its own words to it.
    """

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
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "source": ("vocabulary.json", "vocabulary"),
        "target": ("vocabulary.json", "vocabulary"),
    }

    def vocabulary_sizes(self, source: int, target: int) -> dict[str, object]:
        """The size of the one vocabulary."""
        return {"vocabulary": target}

    def complete(
        self, settings: PairSettings, given: Mapping[str, object], job: Job
    ) -> PairSettings:
        """The settings as they are: unknown words can be copied."""
        return settings

    def task(self, run: Run) -> str:
        """The task of its pairs: summaries, whatever the file."""
        return "summary"

    def new_vocabularies(self, pairs: PairData, job: Job) -> tuple[Vocabulary, Vocabulary]:
        """One vocabulary for both sides, which is the same object twice.

        The words of a target count several times, because a word of a source need not be written,
        and can be copied.
        """
        settings = job.settings
        if job.initial:
            return super().new_vocabularies(pairs, job)
        if settings.unit == "bpe":
            joint = vocabulary_of(pairs, job, 0, 1)
            return joint, joint
        texts = (
            text
            for source, target in pairs.pairs("training")
            for text in (source, *[target] * TARGETS_COUNT)
        )
        words = vocabulary_for(
            job,
            settings.unit,
            lambda: OpenWords.from_texts(texts, settings.minimum_count, settings.vocabulary),
        )
        return words, words

    def hypotheses(self, run: Run, texts: Sequence[str], **options: Any) -> list[list[Translation]]:
        """See :meth:`minillm.runs.run.Run.hypotheses`; by default, it searches for summaries."""
        return super().hypotheses(run, texts, **search_options(SummarySearch()) | options)

    def look(self, run: Run, text: str, target: str | None = None) -> Inside:
        """See :meth:`minillm.runs.run.Run.look`; the words of the source are copied from it."""
        inside = super().look(run, text, target)
        return replace(inside, source=run.source.split(text)[: len(inside.source)])
