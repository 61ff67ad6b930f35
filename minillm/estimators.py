"""A classifier of texts in scikit-learn's manner.

    model = TextClassifier().fit(texts, labels)
    model.predict(["a fine film"]), model.predict_proba(["a fine film"])

It works like scikit-learn's own classifiers: in ``cross_val_score(TextClassifier(), texts,
labels)``, in ``GridSearchCV``, or at the end of a ``Pipeline``.  It needs the package scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minillm.errors import InputError, short
from minillm.runs.train import train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError("minillm.estimators needs the package scikit-learn") from error


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A model that gives each text a label, as ``minillm train classifier`` trains it.

    ``kind`` is "classifier", a bag of n-grams, or "recurrent-classifier".  ``settings`` are other
    options of ``minillm train KIND --help`` by name, such as ``{"hidden": 64}``.  A parameter that
    is None has the default of the kind.

    After ``fit``, ``classes_`` has the sorted labels, and ``run_`` the run.  ``run_.save(folder)``
    saves it for the command line.
    """

    def __init__(
        self,
        kind: str = "classifier",
        learning_rate: float | None = None,
        batch: int | None = None,
        epochs: int | None = None,
        class_weights: str | None = None,
        settings: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.kind = kind
        self.learning_rate = learning_rate
        self.batch = batch
        self.epochs = epochs
        self.class_weights = class_weights
        self.settings = settings
        self.seed = seed

    def fit(self, X: Sequence[str], y: ArrayLike) -> "TextClassifier":
        """Train on texts and their labels, of any type; every tenth text is for validation."""
        labels = np.asarray(y)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        names = ("learning_rate", "batch", "epochs", "class_weights", "seed")
        settings = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        self.run_ = train(
            self.kind,
            texts=_texts(X),
            labels=[str(number) for number in numbers],
            quiet=True,
            **settings,
            **(self.settings or {}),
        )
        return self

    def predict(self, X: Sequence[str]) -> NDArray:
        """The most probable label of each text, (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: Sequence[str]) -> NDArray:
        """The probability of each label, in the order of ``classes_``: (n, classes)."""
        check_is_fitted(self)
        names = [str(number) for number in range(len(self.classes_))]
        results = self.run_.classify(_texts(X))
        rows = [[result.probabilities[name] for name in names] for result in results]
        return np.array(rows).reshape(len(rows), len(names))

    def __sklearn_tags__(self) -> Any:
        """The tags that tell scikit-learn that X are texts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _texts(X: Sequence[str]) -> list[str]:
    """The texts as a list.  InputError for one text, or for anything else."""
    if isinstance(X, str):
        raise InputError("X: expected a list of texts, found one text")
    texts = list(X)
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise InputError(f"X: expected texts, found {short(text)} as number {number}")
    return [str(text) for text in texts]  # without NumPy's own type
