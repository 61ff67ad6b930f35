"""Image classifiers and captioners: loading a run."""

import numpy as np

from minillm.errors import InputError
from minillm.models.captioner import Captioner, CaptionerConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.text import Vocabulary, vocabulary_from_dict
from minillm.training.checkpoints import RunFolder


def load_image_classifier(folder: RunFolder) -> ImageClassifier:
    """The best model of a run."""
    stored = folder.load_json("config.json")
    try:
        config = ImageClassifierConfig(**stored["model"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder.path}: its configuration is damaged: {error}") from None
    model = ImageClassifier(config, np.random.default_rng(0))
    folder.load_model(model.params)
    return model


def load_captioner(folder: RunFolder) -> tuple[Captioner, Vocabulary]:
    """The best model of a run, and its vocabulary."""
    stored = folder.load_json("config.json")
    try:
        config = CaptionerConfig(**stored["model"])
        vocabulary = vocabulary_from_dict(folder.load_json("vocabulary.json"))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder.path}: its configuration is damaged: {error}") from None
    if len(vocabulary) != config.vocabulary:
        raise InputError(
            f"{folder.path}: the model knows {config.vocabulary} tokens, "
            f"but the vocabulary has {len(vocabulary)}"
        )
    model = Captioner(config, np.random.default_rng(0))
    folder.load_model(model.params)
    return model, vocabulary
