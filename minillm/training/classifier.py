"""Classifiers and their texts: encoding for training, loading a run."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from minillm.data import Sequences
from minillm.data.labelled import Labelled
from minillm.errors import InputError
from minillm.models.classifier import Classifier, ClassifierConfig
from minillm.text import Vocabulary, vocabulary_from_dict
from minillm.training.checkpoints import RunFolder


def encode_texts(
    texts: Iterable[Labelled], vocabulary: Vocabulary, labels: Sequence[str], longest: int
) -> tuple[Sequences, NDArray[np.int64]]:
    """The first ``longest`` ids of each text, and the number of its label.

    InputError for a label that is not among ``labels``, or a text without tokens.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    ids, classes = Sequences(), []
    for count, (label, text) in enumerate(texts, start=1):
        if label not in numbers:
            known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise InputError(f"text {count}: expected a label among {known}; found {label!r}")
        encoded = vocabulary.encode(text, f"text {count}")[:longest]
        if len(encoded) == 0:
            raise InputError(f"text {count}: expected at least one {vocabulary.unit}, found none")
        ids.append(encoded)
        classes.append(numbers[label])
    return ids, np.array(classes, np.int64)


def start_from_vectors(
    model: Classifier, vocabulary: Vocabulary, words: Sequence[str], vectors: NDArray
) -> int:
    """Copy the vectors of known words into a fresh model's embedding: -> how many there were.

    All are scaled by one number, so that their variance is 1, as that of the random rows of
    the other words is.
    """
    E = model.params["embedding.E"]
    places = {word: place for place, word in enumerate(words)}
    scale = 1 / np.sqrt(np.mean(np.square(vectors)))
    tokens = (vocabulary.decode([id]) for id in range(len(vocabulary)))
    known = [(id, places[token]) for id, token in enumerate(tokens) if token in places]
    for id, place in known:
        E[id] = scale * vectors[place]
    return len(known)


def load_classifier(folder: RunFolder) -> tuple[Classifier, Vocabulary]:
    """The best model of a run, and its vocabulary."""
    stored = folder.load_json("config.json")
    try:
        config = ClassifierConfig(**stored["model"])
        vocabulary = vocabulary_from_dict(folder.load_json("vocabulary.json"))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder.path}: its configuration is damaged: {error}") from None
    if len(vocabulary) != config.vocabulary:
        raise InputError(
            f"{folder.path}: the model knows {config.vocabulary} tokens, "
            f"but the vocabulary has {len(vocabulary)}"
        )
    model = Classifier(config, np.random.default_rng(0))
    folder.load_model(model.params)
    return model, vocabulary


def class_probabilities(model: Classifier, ids: Sequences, batch: int = 64) -> NDArray[np.floating]:
    """P(label | text) of each text, (N, classes); texts of about one length go together."""
    from minillm import ops

    probabilities = np.empty((len(ids), model.config.classes))
    order = np.argsort(ids.lengths, kind="stable")
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        logits, _ = model.forward(*ids.padded(rows))
        probabilities[rows], _ = ops.softmax(logits)
    return probabilities
