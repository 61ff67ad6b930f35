"""Classifiers of texts as transformers stores them: a hidden layer, an output, and the labels.

    BertForSequenceClassification, RobertaForSequenceClassification and so on

    id2label        in config.json: the name of each class, by its number
    problem_type    single_label_classification, or missing: one label is right

The vector of the first token goes through a hidden layer and the output, as in
:mod:`minillm.models.fine_tuned`.  A BERT's hidden layer is its pooler.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minillm.data.entries import Entries
from minillm.errors import InputError, short
from minillm.models.fine_tuned import PREFIX, FineTunedConfig


class Classifier(NamedTuple):
    """The parts of a classifier in the files of a family."""

    architecture: str  # the class of transformers
    hidden: str  # the beginning of the names of the tensors of the hidden layer
    output: str  # of the output's
    activation: str  # of the hidden layer
    dropout: str = "classifier_dropout"  # the entry of config.json; null: as inside the encoder

    def names(self, of_encoder: Mapping[str, Any]) -> dict[str, Any]:
        """The names of all parameters: ours, theirs."""
        names = {f"{PREFIX}{ours}": theirs for ours, theirs in of_encoder.items()}
        for ours, theirs in (("head", self.hidden), ("output", self.output)):
            names |= {f"{ours}.W": f"{theirs}.weight", f"{ours}.b": f"{theirs}.bias"}
        return names

    def entries(self, config: FineTunedConfig, labels: Sequence[str]) -> dict[str, Any]:
        """The entries of config.json."""
        return {
            "architectures": [self.architecture],
            self.dropout: config.dropout,
            "id2label": {str(number): label for number, label in enumerate(labels)},
            "label2id": {label: number for number, label in enumerate(labels)},
        }

    def fits(self, config: FineTunedConfig) -> bool:
        """Whether a classifier has this hidden layer, on its first token."""
        return (config.pooling, config.head) == ("first", self.activation)


def labels_of(file: Entries) -> tuple[str, ...]:
    """The labels in config.json, in the order of the classes.

    InputError unless they are two or more, with different names, and one of them is right.
    """
    file.check("problem_type", (None, "single_label_classification"))
    values = file.values.get("id2label")
    if values is None:
        count = 2 if file.values.get("num_labels") is None else file.size("num_labels")
        values = {str(number): f"LABEL_{number}" for number in range(count)}
    expected = "a name for each number from 0 up, two or more, all different"
    if not isinstance(values, dict) or {*values} != {str(n) for n in range(len(values))}:
        raise file.wrong("id2label", expected)
    labels = tuple(values[str(number)] for number in range(len(values)))
    if len({*map(str, labels)}) < max(2, len(labels)) or not all(
        isinstance(label, str) for label in labels
    ):
        raise InputError(f"{file.path}: id2label: expected {expected}, found {short([*labels])}")
    return labels
