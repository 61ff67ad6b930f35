"""A text classifier that reads a text word by word (2014)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from minillm.data.labelled import LabelledData
from minillm.errors import InputError
from minillm.formats.word2vec import read_vectors
from minillm.layers.recurrent import CELLS
from minillm.models.classifier import CLASSIFIER_POOLINGS, Classifier, ClassifierConfig
from minillm.models.vectors import Vectors
from minillm.option import option
from minillm.runs.kind import Job, Vocabularies
from minillm.runs.kinds._labelled import Read, TextClassifierKind, TextClassifierSettings
from minillm.runs.kinds._vocabulary import vocabulary_for
from minillm.runs.load import load
from minillm.runs.settings import VocabularySettings, config_from, of_text, size
from minillm.text import UNITS, Vocabulary, build_vocabulary


@dataclass(frozen=True)
class RecurrentClassifierSettings(VocabularySettings, TextClassifierSettings):
    """The settings of a recurrent classifier."""

    unit: str = of_text(
        "word",
        "the tokens of a text: character, word, token (between spaces), bpe or wordpiece",
        choices=tuple(UNITS),
    )
    vectors: str | None = option(
        None,
        "initialise the embedding with word vectors: a file in word2vec's format, or a run of "
        "word2vec",
        "FILE",
        default_help="",
    )
    cell: str = size(ClassifierConfig, "cell", choices=tuple(CELLS))
    layers: int = size(ClassifierConfig, "layers", most=64)
    hidden: int = size(ClassifierConfig, "hidden", "width of a layer, in each direction")
    embedding: int = size(
        ClassifierConfig, "embedding", default_help="128, or the width of the --vectors"
    )
    forward_only: bool = option(False, "read in one direction, not in both", rare=True)
    pooling: str = size(
        ClassifierConfig,
        "pooling",
        "the pooling of all steps' outputs to one vector",
        choices=CLASSIFIER_POOLINGS,
    )
    dropout: float = size(ClassifierConfig, "dropout")
    learning_rate: float = 2e-3


class RecurrentClassifierKind(TextClassifierKind):
    """A recurrence over words, whose outputs are pooled."""

    name = "recurrent-classifier"
    description = """\
Train a recurrent network to label texts: a file of lines label<TAB>text, or a folder with a
subfolder of text files for each label. Every tenth text of each label is held out. If the order of
many words or characters matters, it may be better than minillm train classifier."""
    examples = """\
  minillm train recurrent-classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train recurrent-classifier reviews.tsv --out runs/reviews --vectors vectors.bin
  minillm train recurrent-classifier topics/ --out runs/topics --pooling attention --patience 10

then: minillm classify DIR, minillm eval DIR"""
    model = Classifier
    config = ClassifierConfig
    settings = RecurrentClassifierSettings

    def complete(
        self, settings: RecurrentClassifierSettings, given: Mapping[str, object], job: Job
    ) -> RecurrentClassifierSettings:
        """The settings with an embedding as wide as the word vectors.

        InputError for another width.
        """
        settings = super().complete(settings, given, job)
        if not settings.vectors:
            return settings
        width = open_vectors(settings.vectors).vectors.shape[1]
        if given.get("embedding") not in (None, width):
            raise InputError(
                f"embedding: the vectors of {settings.vectors} have {width} numbers each, "
                f"found {settings.embedding}"
            )
        return replace(settings, embedding=width)

    def new_model(
        self, job: Job, texts: LabelledData, rng: np.random.Generator
    ) -> tuple[Classifier, Vocabularies]:
        """A model of the words of the texts; a run to resume has had the word vectors."""
        settings: RecurrentClassifierSettings = job.settings
        tokenizer = vocabulary_for(
            job,
            settings.unit,
            lambda: build_vocabulary(
                (text for _, text in texts.texts("training")),
                settings.unit,
                settings.minimum_count,
                settings.vocabulary,
                held_out=(text for _, text in texts.texts("validation")),
            ),
        )
        sizes = {"vocabulary": len(tokenizer), "classes": len(texts.labels)}
        config = config_from(
            settings, ClassifierConfig, bidirectional=not settings.forward_only, **sizes
        )
        model = Classifier(config, rng)
        if settings.vectors and job.stored is None:
            job.report(start_from_vectors(model, tokenizer, settings.vectors))
        return model, {"tokenizer": tokenizer}

    def reader(
        self,
        config: ClassifierConfig,
        settings: RecurrentClassifierSettings,
        vocabularies: Vocabularies,
    ) -> Read:
        """A function from a text to the ids of its first tokens."""
        encode = vocabularies["tokenizer"].encode
        return lambda text, place: encode(text, place)[: settings.max_length].tolist()


@cache
def open_vectors(path: str) -> Vectors:
    """The word vectors of a file in word2vec's format, or of a run of word2vec."""
    return load(path).vectors if Path(path).is_dir() else Vectors(*read_vectors(path))


def start_from_vectors(model: Classifier, tokenizer: Vocabulary, path: str) -> str:
    """Put the vectors of known words into a fresh model's embedding; return a line about them.

    All are scaled by one factor, so that they have the variance of the fresh embeddings.
    """
    vectors, E = open_vectors(path), model.params["embedding.E"]
    size = max(np.sqrt(np.mean(np.square(vectors.vectors))), np.finfo(vectors.vectors.dtype).tiny)
    known = {
        token: vectors.ids[word]
        for token in range(len(tokenizer))
        if (word := tokenizer.show(token)) in vectors.ids
    }
    scale = E.std() / size
    for token, row in known.items():
        E[token] = scale * vectors.vectors[row]
    return f"{len(known):,} of {len(tokenizer):,} words have a vector in {path}"
