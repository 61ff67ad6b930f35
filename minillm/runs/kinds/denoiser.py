"""A Transformer pre-trained to restore corrupted texts: BART (2019)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minillm.data import split_text
from minillm.data.denoising import DenoisingBatches, Encode, corrupted, passages
from minillm.data.pairs import Pair
from minillm.decoding import Translation
from minillm.errors import InputError
from minillm.metrics import frequency_loss
from minillm.runs.kind import Given, Job, Kind, Parts
from minillm.runs.kinds._pairs import PairFacts, count_tokens
from minillm.runs.kinds._text_data import (
    evaluation_blocks,
    is_kept,
    name_of,
    read_training_text,
)
from minillm.runs.kinds._vocabulary import vocabulary_for
from minillm.runs.kinds.transformer import SmoothedTraining, TransformerKind
from minillm.runs.run import Run
from minillm.runs.settings import (
    FilesSettings,
    LoRASettings,
    TokenizerSettings,
    VocabularySettings,
    config_from,
    of_text,
    with_default,
)
from minillm.text import Vocabulary, build_vocabulary
from minillm.text.byte_pairs import END_OF_TEXT
from minillm.text.byte_tokens import MASK
from minillm.text.sentences import sentences
from minillm.training.minibatches import MinibatchTask

MEASURED = 512  # passages of the held-out text, evenly spread: writing them takes time
CORRUPTION = 0  # seed of the masks in an evaluation


@dataclass(frozen=True)
class DenoiserSettings(FilesSettings, SmoothedTraining, TokenizerSettings, LoRASettings):
    """The settings of a Transformer on corrupted texts."""

    unit: ClassVar[str] = "bpe"

    tokenizer: str | None = with_default(
        TokenizerSettings,
        "tokenizer",
        None,
        help="use the vocabulary of another run, folder or file, which has a mask",
    )
    vocabulary: int = with_default(
        VocabularySettings, "vocabulary", 4000, help="learn N byte pairs", least=258
    )
    max_source: int = of_text(
        128, "cut the text into passages of at most N tokens", "N", least=8, most=10_000
    )
    batch: int = 32

    @property
    def max_target(self) -> int:
        """The most tokens of a target: it is a passage, too."""
        return self.max_source


class DenoiserKind(TransformerKind):
    """A Transformer that reads a corrupted text, and writes the original."""

    name = "denoiser"
    description = """\
Pre-train a Transformer on text without labels: in each passage, the sentences are shuffled, and
spans of tokens are replaced by a mask; it learns to write the passage as it was.  The tokens are
byte pairs, the same for both sides.  The last tenth of the text is held out.  Then fine-tune the
model on pairs: minillm train transformer PAIRS --init DIR."""
    examples = """\
  minillm train denoiser my_text.txt --out runs/pre --minutes 60
  minillm train transformer my_text.txt --denoise --out runs/pre --minutes 60
        the same
  minillm train transformer pairs.tsv --init runs/pre --out runs/fine-tuned
  minillm train transformer pairs.tsv --copying --init runs/pre --out runs/summaries

then: minillm eval DIR, minillm translate DIR, which fills each <mask> of a text"""
    settings = DenoiserSettings  # type: ignore[assignment]
    variants: ClassVar[dict[str, tuple[str, str]]] = {}
    takes: ClassVar[tuple[str, ...]] = ("text",)
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "tokenizer": ("vocabulary.json", "source_vocabulary"),  # one, by three names
        "source": ("vocabulary.json", "source_vocabulary"),
        "target": ("vocabulary.json", "target_vocabulary"),
    }

    def sizes(self, settings: DenoiserSettings) -> dict[str, object]:  # type: ignore[override]
        """One matrix for all tokens."""
        return {"shared": True}

    def init_defaults(self, initial: Run, given: Mapping[str, object]) -> dict[str, object]:
        """The sizes of a run of denoiser."""
        return Kind.init_defaults(self, initial, given)

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """Cut the text into passages, and hold out the last tenth of it."""
        settings, data, renamed = job.settings, job.data, self.sizes(job.settings)
        one = self.vocabulary_sizes(1, 1)
        config_from(settings, self.config, **one, **renamed)  # before the data are read
        text, sha256 = read_training_text(data)
        job.record(sha256, name_of(data))
        parts = dict(zip(("training", "validation"), map(documents, split_text(text)), strict=True))
        tokenizer = vocabulary_for(
            job,
            settings.unit,
            lambda: build_vocabulary(
                map(" ".join, parts["training"]),
                settings.unit,
                maximum_size=settings.vocabulary,
                always=[MASK],
            ),
        )
        mask = mask_of(tokenizer, f"--tokenizer {data.get('tokenizer')}")
        cut = {
            part: passages_of(texts, tokenizer, settings.max_source, f"{name_of(data)}, {part}")
            for part, texts in parts.items()
        }
        training, validation = (
            DenoisingBatches(
                texts, encoder(tokenizer), mask, len(tokenizer), settings.batch, settings.seed
            )
            for texts in (cut["training"], spread(cut["validation"]))
        )
        lengths = self.vocabulary_sizes(len(tokenizer), len(tokenizer))
        model = self.model(config_from(settings, self.config, **lengths, **renamed), rng)
        return Parts(
            model=model,
            task=MinibatchTask(model, training, validation, count_tokens),
            unit="token",
            vocabularies=dict.fromkeys(self.vocabularies, tokenizer),
            notes=[f"{len(texts):,} {part} passages" for part, texts in cut.items()],
            item="passage",
            baseline=frequency_loss(training.targets.ids, validation.targets.ids),
            facts=PairFacts(longest_target=int(training.targets.lengths.max())),
        )

    def sample(self, run: Run) -> Iterator[str]:
        """Passages as they are restored, if the text can be read again."""
        return super().sample(run) if is_kept(run) else iter(())

    def task(self, run: Run, pairs: Iterable[Pair]) -> str:
        """The measures of the restored passages are a translation's."""
        return "translation"

    def held_out(self, run: Run, given: Given, part: str | None) -> tuple[str, Sequence[Pair]]:
        """Passages of the given text, or of the held-out one: corrupted, and as they were."""
        name, blocks = evaluation_blocks(run, given, part, held_out=True)
        tokenizer, rng = run.tokenizer, np.random.default_rng(CORRUPTION)
        mask, longest = mask_of(tokenizer, str(run.path)), run.settings.max_source
        texts = spread(passages_of(documents("".join(blocks)), tokenizer, longest, name))
        sources = (corrupted(text, encoder(tokenizer), mask, rng) for text in texts)
        return name, [
            (tokenizer.decode(s), " ".join(t)) for s, t in zip(sources, texts, strict=True)
        ]

    def hypotheses(self, run: Run, texts: Sequence[str], **options: Any) -> list[list[Translation]]:
        """See :meth:`minillm.runs.run.Run.hypotheses`; a space before a mask is hidden, too."""
        return super().hypotheses(
            run, [text.replace(f" {MASK}", MASK) for text in texts], **options
        )


def documents(text: str) -> list[list[str]]:
    """The sentences of each document of a text."""
    return [found for document in text.split(END_OF_TEXT) if (found := sentences(document))]


def passages_of(
    texts: Sequence[Sequence[str]], tokenizer: Vocabulary, most: int, name: str
) -> list[list[str]]:
    """The passages of documents, each of which begins a new one.  InputError if there are none."""
    cut = [passage for text in texts for passage in passages(text, encoder(tokenizer), most)]
    if not cut:
        raise InputError(f"{name}: expected a longer text, found no passage")
    return cut


def spread(texts: list[list[str]]) -> list[list[str]]:
    """At most ``MEASURED`` of the passages, at equal distances."""
    return texts[:: max(1, -(-len(texts) // MEASURED))]


def encoder(tokenizer: Vocabulary) -> Encode:
    """The encoding of several texts."""
    return lambda texts: tokenizer.encode_each(texts, ["text"] * len(texts))


def mask_of(tokenizer: Vocabulary, name: str) -> int:
    """The id of the mask.  InputError for a vocabulary that has none."""
    if tokenizer.mask is None:
        raise InputError(f"{name}: expected a vocabulary with the token {MASK}, found one without")
    return tokenizer.mask
