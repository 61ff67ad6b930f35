"""The digit that an image shows (1986), and what all models of images share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.data import registry
from minillm.errors import InputError
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.option import option
from minillm.runs.kind import EvalData, Kind, Results, Training
from minillm.runs.kinds.labels import LabelRun, set_task
from minillm.runs.run import Run
from minillm.runs.settings import EvalOptions, LabelledSettings, config_from, settings


@dataclass(frozen=True)
class ImageSettings:
    """The setting of every model of images."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )


def held_out_images(
    run: Run, data: EvalData, part: str | None
) -> tuple[str, tuple[NDArray, NDArray[np.integer]]]:
    """The name, images and classes of the data to measure on."""
    if data.title:
        raise InputError("FILE: images are measured on the built-in set only (part)")
    part, name = part or "validation", run.data["data"]
    return f"{name}, {part}", registry.open_data("images", name).part(part)


class ImageRun(LabelRun):
    """A run that labels images."""

    item = "image"

    def inputs(self, items: Sequence[Any], places: Sequence[str]) -> NDArray:
        """The images (N, pixels): each is numbers, or a line of them."""
        pixels = self.config.pixels
        images = [
            read_image(item, place, pixels) for item, place in zip(items, places, strict=True)
        ]
        return np.array(images, self.model.dtype).reshape(-1, pixels)

    def probabilities(self, inputs: NDArray) -> NDArray:
        """P(label | image) of each image, (N, classes)."""
        return ops.softmax(self.model.forward(inputs)[0])[0]

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        name, (images, classes) = held_out_images(self, data, options.part)
        return self.results(name, images, classes)


def read_image(item: Any, place: str, pixels: int) -> list[float]:
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


def prepare(training: Training) -> None:
    """The images for training and validation, in minibatches."""
    digits = registry.open_data("images", training.data["data"])
    sizes = {"pixels": digits.images.shape[1], "classes": len(digits.labels)}
    config = config_from(training.settings, ImageClassifierConfig, **sizes)
    training.model = ImageClassifier(config, training.rng)
    training.info["labels"] = tuple(digits.labels)
    set_task(training, digits.part("training"), digits.part("validation"), "image")


IMAGE_CLASSIFIER = Kind(
    name="image-classifier",
    description="""\
Train a feed-forward network to recognise handwritten digits of 8 by 8 pixels, from
scikit-learn's bundled set (it needs the package scikit-learn).""",
    examples="""\
  minillm train image-classifier digits --out runs/digits
  minillm eval runs/digits --part test""",
    model=ImageClassifier,
    config=ImageClassifierConfig,
    settings=settings(
        ImageSettings, LabelledSettings, config=ImageClassifierConfig, sizes="hidden dropout"
    ),
    run=ImageRun,
    prepare=prepare,
    vocabularies={},
    info=("labels",),
    eval_options=("part",),
)
