"""The digit that an image shows (1986)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import registry
from minillm.errors import InputError
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.option import option
from minillm.runs.kind import Given, Job, Kind, Parts, Results
from minillm.runs.kinds._labelled import class_results, classification_parts, classified
from minillm.runs.run import Classified, Run
from minillm.runs.settings import Evaluation, LabelFacts, LabelledSettings, config_from, size


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
        digits = registry.open_images(job.data["data"])
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
    return f"{name}, {part}", registry.open_images(name).part(part)


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
