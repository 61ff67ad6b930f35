"""A description of an image in words (2015)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import metrics
from minillm.data import Minibatches, Sequences, registry
from minillm.data.digits import caption
from minillm.decoding import beam_search
from minillm.metrics import frequency_loss
from minillm.models.captioner import Captioner, CaptionerConfig
from minillm.runs.kind import EvalData, Kind, Results, Training
from minillm.runs.kinds.images import ImageSettings, held_out_images
from minillm.runs.run import Run
from minillm.runs.settings import (
    SEARCH,
    EvalOptions,
    TrainingSettings,
    config_from,
    search_options,
    settings,
)
from minillm.text import Vocabulary, build_vocabulary
from minillm.training.minibatches import MinibatchTask

EXAMPLES = 5  # shown after a training


def prepare(training: Training) -> None:
    """The images for training and validation with their captions, in minibatches."""
    settings, digits = training.settings, registry.open_data("images", training.data["data"])
    tokenizer = build_vocabulary(digits.captions, "character")
    sizes = {"pixels": digits.images.shape[1], "vocabulary": len(tokenizer)}
    config = config_from(settings, CaptionerConfig, **sizes)
    batches, captions = [], []
    for part in ("training", "validation"):
        images, classes = digits.part(part)
        captions.append(
            Sequences([*tokenizer.encode(digits.captions[c]), config.eos] for c in classes)
        )
        batches.append(Minibatches((images, captions[-1]), settings.batch, settings.seed))
    training.model = Captioner(config, training.rng)
    training.task = MinibatchTask(
        training.model, batches[0], batches[1], lambda batch: int(batch[2].sum())
    )
    training.unit, training.item = "character", "image"
    training.vocabularies = {"tokenizer": tokenizer}
    training.baseline = frequency_loss(captions[0].ids, captions[1].ids)
    training.info["longest"] = max(map(len, digits.captions)) + 1  # with EOS


class CaptionerRun(Run):
    """A run that describes images."""

    tokenizer: Vocabulary

    def captions(self, images: NDArray, **search: Any) -> list[str]:
        """The best caption for each image (N, pixels), by beam search.

        For the options see :func:`minillm.decoding.beam.beam_search`.
        """
        lengths = np.ones(len(images), np.int64)
        results = beam_search(self.model, images, lengths, limit=self.data["longest"], **search)
        return [self.tokenizer.decode(best.ids) for best, *_ in results]

    def sample(self) -> Iterator[str]:
        """Yield the captions of some held-out images."""
        images, classes = registry.open_data("images", self.data["data"]).part("validation")
        yield "held-out examples:\n"
        for digit, text in zip(classes, self.captions(images[:EXAMPLES], beam=1), strict=False):
            yield f"  {digit}: {text}\n"

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The share of exact captions, and the character error rate."""
        name, (images, classes) = held_out_images(self, data, options.part)
        outputs = self.captions(images, **search_options(options))
        known = [[caption(digit)] for digit in classes]
        return {
            "data": name,
            "images": len(images),
            "beam": options.beam,
            "exact_match": metrics.exact_match(outputs, known),
            "character_error_rate": metrics.token_error_rate(outputs, known),
        }


CAPTIONER = Kind(
    name="captioner",
    description="""\
Train a captioner: it reads a handwritten digit of 8 by 8 pixels and writes a caption, character by
character, such as "a seven, which is odd". The digits are scikit-learn's bundled set (it needs the
package scikit-learn).""",
    examples="""\
  minillm train captioner digits --out runs/captions
  minillm eval runs/captions --part test""",
    run=CaptionerRun,
    model=Captioner,
    config=CaptionerConfig,
    prepare=prepare,
    info=("longest",),
    eval_options=(*SEARCH, "part"),
    settings=settings(
        ImageSettings,
        TrainingSettings,
        config=CaptionerConfig,
        sizes="cell hidden embedding dropout",
        minutes=0.3,
    ),
)
