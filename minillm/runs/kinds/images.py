"""The digit that an image shows (1986)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import metrics, ops
from minillm.data import Minibatches, Sequences, registry
from minillm.data.digits import caption
from minillm.decoding import beam_search
from minillm.errors import InputError
from minillm.layers.recurrent import CELLS
from minillm.metrics import frequency_loss
from minillm.models.captioner import Captioner, CaptionerConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.option import option
from minillm.runs.kind import Given, Job, Kind, Parts, Results
from minillm.runs.kinds.labels import class_results, classification_parts, classified
from minillm.runs.run import Classified, Run
from minillm.runs.settings import (
    Evaluation,
    Facts,
    LabelFacts,
    LabelledSettings,
    SearchEvaluation,
    TrainingSettings,
    config_from,
    search_options,
    size,
)
from minillm.text import build_vocabulary
from minillm.training.minibatches import MinibatchTask


@dataclass(frozen=True)
class ImageSettings:
    """The setting of every model of images."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )


@dataclass(frozen=True)
class ImageClassifierSettings(ImageSettings, LabelledSettings):
    """The settings of an image classifier."""

    hidden: int = size(ImageClassifierConfig, "hidden")
    dropout: float = size(ImageClassifierConfig, "dropout")


class ImageClassifierKind(Kind):
    """A feed-forward network over the pixels of an image."""

    name = "image-classifier"
    description = """\
Train a feed-forward network to recognise handwritten digits of 8 by 8 pixels, from
scikit-learn's bundled set (it needs the package scikit-learn)."""
    examples = """\
  minillm train image-classifier digits --out runs/digits
  minillm eval runs/digits --part test"""
    model = ImageClassifier
    config = ImageClassifierConfig
    settings = ImageClassifierSettings
    facts = LabelFacts
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {}

    def prepare(self, job: Job, rng: np.random.Generator) -> Parts:
        """The images for training and validation, in minibatches."""
        digits = registry.open_data("images", job.data["data"])
        config = config_from(
            job.settings,
            ImageClassifierConfig,
            pixels=digits.images.shape[1],
            classes=len(digits.labels),
        )
        columns = {part: digits.part(part) for part in ("training", "validation")}
        parts = classification_parts(ImageClassifier(config, rng), columns, job.settings, "image")
        return replace(parts, facts=LabelFacts(labels=tuple(digits.labels)))

    def classify(
        self, run: Run, items: Sequence[str | Sequence[float]], places: Sequence[str] | None
    ) -> list[Classified]:
        """See :meth:`minillm.runs.run.Run.classify`: an image is its pixels, or a line of them."""
        pixels = run.model.config.pixels
        names = places or [f"image {number}" for number in range(1, len(items) + 1)]
        images = [read_image(item, place, pixels) for item, place in zip(items, names, strict=True)]
        logits, _ = run.model.forward(np.array(images, run.model.dtype))
        probabilities, _ = ops.softmax(logits)
        return classified(probabilities, run.data["labels"])

    def evaluate(self, run: Run, given: Given, options: Evaluation) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        name, (images, classes) = held_out_images(run, given, options.part)
        probabilities, _ = ops.softmax(run.model.forward(images)[0])
        return class_results(name, probabilities, classes, run.data["labels"])


def held_out_images(
    run: Run, given: Given, part: str | None
) -> tuple[str, tuple[NDArray, NDArray[np.integer]]]:
    """The name, images and classes of the data to measure on."""
    if given.title:
        raise InputError("FILE: images are measured on the built-in set only (part)")
    part, name = part or "validation", run.data["data"]
    return f"{name}, {part}", registry.open_data("images", name).part(part)


def read_image(item: str | Iterable[float], place: str, pixels: int) -> list[float]:
    """The pixels of an image: numbers, or a line of them.

    InputError, with its place, for anything else.
    """
    try:
        image = [float(number) for number in (item.split() if isinstance(item, str) else item)]
    except (TypeError, ValueError):
        image = []
    if len(image) != pixels or not all(0 <= pixel <= 1 for pixel in image):
        raise InputError(f"{place}: expected an image: {pixels} numbers from 0 to 1")
    return image


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
        digits = registry.open_data("images", job.data["data"])
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
        images, classes = registry.open_data("images", run.data["data"]).part("validation")
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
