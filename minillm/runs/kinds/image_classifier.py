"""``image-classifier``: what digit an image shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Kind, Parts, Results
from minillm.runs.settings import (
    LabelFacts,
    LabelledSettings,
    RecurrenceSettings,
    option,
    with_default,
)

if TYPE_CHECKING:
    import numpy as np

    from minillm.runs.run import Classified, Run


@dataclass(frozen=True)
class Settings(LabelledSettings):
    """The settings of an image classifier."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )
    hidden: int = option(256, "width of the hidden layer", "H", least=1, most=65536)
    dropout: float = with_default(RecurrenceSettings, "dropout", 0.3)


class ImageClassifierKind(Kind):
    """A feed-forward network over the pixels of an image."""

    name = "image-classifier"
    year = 1986
    help = "what digit an image shows"
    description = """\
Train a feed-forward network to recognise handwritten digits of 8 by 8 pixels, from
scikit-learn's bundled set (it needs the package scikit-learn)."""
    examples = """\
  minillm train image-classifier digits --out runs/digits
  minillm eval runs/digits --part test"""
    settings = Settings
    facts = LabelFacts
    vocabularies = {}  # noqa: RUF012

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig

        return ImageClassifier, ImageClassifierConfig

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """The images for training and validation, in minibatches."""
        from minillm.data import Minibatches, registry
        from minillm.metrics import frequency_loss
        from minillm.training.minibatches import ClassificationTask, balanced_weights

        digits = registry.open_images(data["data"])
        parts = [digits.part(part) for part in ("training", "validation")]
        training, validation = (
            Minibatches(columns, settings.batch, settings.seed) for columns in parts
        )
        data["labels"] = digits.labels
        Model, _ = self.types()
        config = self.new_config(
            pixels=digits.images.shape[1],
            classes=len(digits.labels),
            hidden=settings.hidden,
            dropout=settings.dropout,
        )
        model = Model(config, rng)
        task = ClassificationTask(model, training, validation)
        baseline = frequency_loss(*(classes for _, classes in parts))
        if settings.class_weights == "balanced":
            task.class_weights = balanced_weights(parts[0][1], len(data["labels"])).astype(
                model.dtype
            )
            baseline = math.log(len(data["labels"]))
        return Parts(model, task, "image", baseline=baseline)

    def classify(
        self, run: "Run", items: Sequence[Any], places: Sequence[str] | None
    ) -> "list[Classified]":
        """See :meth:`minillm.runs.run.Run.classify`: an image is its pixels, or a line of them."""
        import numpy as np

        from minillm import ops
        from minillm.runs.kinds.classifier import classified

        images = np.empty((len(items), run.model.config.pixels), np.float32)
        for row, item in enumerate(items):
            images[row] = read_image(
                item, places[row] if places else f"image {row + 1}", images.shape[1]
            )
        logits, _ = run.model.forward(images)
        probabilities, _ = ops.softmax(logits)
        return classified(probabilities, run.data["labels"])

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Accuracy, macro-F1 and the confusion matrix."""
        from minillm import ops
        from minillm.runs.kinds.classifier import class_results

        name, (images, classes) = held_out_images(run, asked)
        probabilities, _ = ops.softmax(run.model.forward(images)[0])
        return class_results(name, probabilities, classes, run.data["labels"])


def held_out_images(run: "Run", asked: Evaluation) -> tuple[str, Any]:
    """What to measure on: its name, and images and classes."""
    from minillm.data import registry

    if asked.files:
        raise InputError("FILE: images are measured on the built-in set only (--part)")
    part, name = asked.part or "validation", run.data["data"]
    return f"{name}, {part}", registry.open_images(name).part(part)


def read_image(item: Any, place: str, pixels: int) -> list[float]:
    """The pixels of an image: numbers, or a line of them.  InputError, with its place, if not."""
    try:
        image = [float(number) for number in (item.split() if isinstance(item, str) else item)]
    except (TypeError, ValueError):
        image = []
    if len(image) != pixels or not all(0 <= pixel <= 1 for pixel in image):
        raise InputError(f"{place}: expected an image: {pixels} numbers from 0 to 1")
    return image
