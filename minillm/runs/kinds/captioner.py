"""``captioner``: what an image shows, in words."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any

from minillm.runs.kind import Evaluation, Kind, Parts, Results
from minillm.runs.settings import Facts, RecurrenceSettings, TrainingSettings, option, with_default

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run

EXAMPLES = 5  # shown after a training


@dataclass(frozen=True)
class Settings(TrainingSettings):
    """The settings of a captioner."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )
    cell: str = with_default(RecurrenceSettings, "cell", "gru")
    hidden: int = with_default(RecurrenceSettings, "hidden", 128, help="width of the recurrence")
    embedding: int = option(32, "width of a character's embedding", "D", least=1, most=65536)
    dropout: float = with_default(
        RecurrenceSettings,
        "dropout",
        0.5,
        help="fraction of the image's features zeroed in training",
    )
    minutes: float | None = with_default(TrainingSettings, "minutes", 0.3)


@dataclass(frozen=True, kw_only=True)
class CaptionFacts(Facts):
    """What is stored about the captions."""

    longest: int = option(MISSING, "tokens of the longest caption, with EOS", least=1, most=10_000)


class CaptionerKind(Kind):
    """A recurrent language model that begins with an image."""

    name = "captioner"
    year = 2015
    help = "what an image shows, in words"
    description = """\
Train a captioner: it reads a handwritten digit of 8 by 8 pixels and writes, character by
character, what it shows, as "a seven, which is odd". The digits are scikit-learn's bundled
set (it needs the package scikit-learn)."""
    examples = """\
  minillm train captioner digits --out runs/captions
  minillm eval runs/captions --part test"""
    settings = Settings
    facts = CaptionFacts

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.captioner import Captioner, CaptionerConfig

        return Captioner, CaptionerConfig

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """The images for training and validation with their captions, in minibatches."""
        from minillm.data import Minibatches, Sequences, registry
        from minillm.metrics import frequency_loss
        from minillm.text import build_vocabulary
        from minillm.training.minibatches import MinibatchTask

        digits = registry.open_images(data["data"])
        tokenizer = build_vocabulary(digits.captions, "character")
        data["longest"] = max(map(len, digits.captions)) + 1  # with EOS
        Model, _ = self.types()
        config = self.new_config(
            pixels=digits.images.shape[1],
            vocabulary=len(tokenizer),
            embedding=settings.embedding,
            hidden=settings.hidden,
            cell=settings.cell,
            dropout=settings.dropout,
        )
        batches: list[Minibatches] = []
        for part in ("training", "validation"):
            images, classes = digits.part(part)
            ids = Sequences([*tokenizer.encode(digits.captions[c]), config.eos] for c in classes)
            batches.append(Minibatches((images, ids), settings.batch, settings.seed))
        model = Model(config, rng)
        training, validation = batches
        task = MinibatchTask(model, training, validation, count=lambda batch: int(batch[2].sum()))
        known, held_out = (batches.columns[1].ids for batches in (training, validation))  # type: ignore[union-attr]
        baseline = frequency_loss(known, held_out)
        return Parts(model, task, "character", {"tokenizer": tokenizer}, baseline=baseline)

    def sample(self, folder: "RunFolder") -> Iterator[str]:
        """The captions of some held-out images."""
        from minillm.data import registry
        from minillm.runs.run import load

        run = load(folder.path)
        images, classes = registry.open_images(run.data["data"]).part("validation")
        yield "held-out examples:\n"
        for digit, text in zip(classes, captions_of(run, images[:EXAMPLES]), strict=False):
            yield f"  {digit}: {text}\n"

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Exact captions, and character errors."""
        from minillm import metrics
        from minillm.data.digits import caption
        from minillm.runs.kinds.image_classifier import held_out_images

        name, (images, classes) = held_out_images(run, asked)
        outputs = captions_of(run, images, asked.beam, asked.length_exponent)
        known = [[caption(digit)] for digit in classes]
        return {
            "data": name,
            "images": len(images),
            "beam": asked.beam,
            "exact_match": metrics.exact_match(outputs, known),
            "character_error_rate": metrics.token_error_rate(outputs, known),
        }


def captions_of(
    run: "Run", images: "NDArray", beam: int = 1, length_exponent: float = 1.0
) -> list[str]:
    """The best caption for each image (N, pixels)."""
    import numpy as np

    from minillm.decoding import beam_search

    lengths = np.ones(len(images), np.int64)
    limit = run.data["longest"]
    found = beam_search(run.model, images, lengths, beam, limit, length_exponent)
    return [run.tokenizer.decode(hypotheses[0].ids) for hypotheses in found]
