"""A text classifier: sentiment, topic, language (2016)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minillm.data.labelled import LabelledData
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.runs.kind import Job, Vocabularies
from minillm.runs.kinds._labelled import Read, TextClassifierKind, TextClassifierSettings
from minillm.runs.settings import config_from, size, with_default
from minillm.text import split_words
from minillm.text.ngrams import GROUPS, hashed_ngrams


@dataclass(frozen=True)
class ClassifierSettings(TextClassifierSettings):
    """The settings of a bag of n-grams."""

    max_length: int = with_default(
        TextClassifierSettings, "max_length", 2000, help="read the first N words of a text"
    )
    buckets: int = size(
        BagConfig,
        "buckets",
        f"buckets for the n-grams, a multiple of {GROUPS}",
        "N",
        least=GROUPS,
        most=10**8,
        rare=True,
    )
    learning_rate: float = 0.02


class ClassifierKind(TextClassifierKind):
    """A linear classifier of words, pairs and triples of words, and parts of words."""

    name = "classifier"
    description = """\
Train a classifier to label texts: a file of lines label<TAB>text, or a folder with a subfolder of
text files for each label. Every tenth text of each label is held out. The classifier reads n-grams
of words and of characters, trains in seconds, and is hard to beat. To begin with a pre-trained
model, see minillm finetune; for a recurrent network, minillm train recurrent-classifier."""
    examples = """\
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --class-weights balanced

then: minillm classify DIR, minillm eval DIR"""
    model = Bag
    config = BagConfig
    settings = ClassifierSettings
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {}

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[Bag, Vocabularies]:
        """A bag of zeros: hashed n-grams need no vocabulary."""
        return Bag(config_from(job.settings, BagConfig, classes=len(texts.labels)), rng), {}

    def reader(
        self,
        config: BagConfig,
        settings: ClassifierSettings,
        vocabularies: Vocabularies,
    ) -> Read:
        """A function from a text to the buckets of its n-grams."""
        return lambda text, place: hashed_ngrams(
            split_words(text)[: settings.max_length], config.buckets
        )
