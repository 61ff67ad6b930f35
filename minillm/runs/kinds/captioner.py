"""A description of an image in words (2015)."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import metrics
from minillm.data import Minibatches, Sequences, registry
from minillm.data.digits import caption
from minillm.decoding import beam_search
from minillm.layers.recurrent import CELLS
from minillm.metrics import frequency_loss
from minillm.models.captioner import Captioner, CaptionerConfig
from minillm.option import option
from minillm.runs.kind import Given, Job, Kind, Parts, Results
from minillm.runs.kinds.image_classifier import ImageSettings, held_out_images
from minillm.runs.run import Run
from minillm.runs.settings import (
    Facts,
    SearchEvaluation,
    TrainingSettings,
    config_from,
    search_options,
    size,
)
from minillm.text import build_vocabulary
from minillm.training.minibatches import MinibatchTask

EXAMPLES = 5  # shown after a training


@dataclass(frozen=True)
class CaptionerSettings(ImageSettings, TrainingSettings):
    """The settings of a captioner."""

    cell: str = size(CaptionerConfig, "cell", choices=tuple(CELLS))
    hidden: int = size(CaptionerConfig, "hidden")
    embedding: int = size(CaptionerConfig, "embedding")
    dropout: float = size(CaptionerConfig, "dropout")
    minutes: float | None = 0.3


@dataclass(frozen=True, kw_only=True)
class CaptionFacts(Facts):
    """Facts about the captions."""

    longest: int = option(MISSING, "tokens of the longest caption, with EOS", least=1, most=10_000)


class CaptionerKind(Kind):
    """A recurrent language model that begins with an image."""

    name = "captioner"
    description = """\
Train a captioner: it reads a handwritten digit of 8 by 8 pixels and writes a caption, character by
character, such as "a seven, which is odd". The digits are scikit-learn's bundled set (it needs the
package scikit-learn)."""
    examples = """\
  minillm train captioner digits --out runs/captions
  minillm eval runs/captions --part test"""
    model = Captioner
    config = CaptionerConfig
    settings = CaptionerSettings
    facts = CaptionFacts
    evaluation = SearchEvaluation

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """The images for training and validation with their captions, in minibatches."""
        settings = job.settings
        digits = registry.open_images(job.data["data"])
        tokenizer = build_vocabulary(digits.captions, "character")
        config = config_from(
            settings, CaptionerConfig, pixels=digits.images.shape[1], vocabulary=len(tokenizer)
        )
        batches: list[Minibatches] = []
        captions: list[Sequences] = []
        for part in ("training", "validation"):
            images, classes = digits.part(part)
            captions.append(
                Sequences([*tokenizer.encode(digits.captions[c]), config.eos] for c in classes)
            )
            batches.append(Minibatches((images, captions[-1]), settings.batch, settings.seed))
        model = Captioner(config, rng)
        return Parts(
            model=model,
            task=MinibatchTask(model, batches[0], batches[1], lambda batch: int(batch[2].sum())),
            unit="character",
            vocabularies={"tokenizer": tokenizer},
            baseline=frequency_loss(captions[0].ids, captions[1].ids),
            facts=CaptionFacts(longest=max(map(len, digits.captions)) + 1),  # with EOS
        )

    def sample(self, run: Run) -> Iterator[str]:
        """The captions of some held-out images."""
        images, classes = registry.open_images(run.data["data"]).part("validation")
        yield "held-out examples:\n"
        for digit, text in zip(classes, captions_of(run, images[:EXAMPLES], beam=1), strict=False):
            yield f"  {digit}: {text}\n"

    def evaluate(self, run: Run, given: Given, options: SearchEvaluation) -> Results:
        """The share of exact captions, and the character error rate."""
        name, (images, classes) = held_out_images(run, given, options.part)
        outputs = captions_of(run, images, **search_options(options))
        known = [[caption(digit)] for digit in classes]
        return {
            "data": name,
            "images": len(images),
            "beam": options.beam,
            "exact_match": metrics.exact_match(outputs, known),
            "character_error_rate": metrics.token_error_rate(outputs, known),
        }


def captions_of(run: Run, images: NDArray, **search: Any) -> list[str]:
    """The best caption for each image (N, pixels)."""
    lengths = np.ones(len(images), np.int64)
    results = beam_search(run.model, images, lengths, limit=run.data["longest"], **search)
    return [run.tokenizer.decode(hypotheses[0].ids) for hypotheses in results]
