"""What a classifier is set beside: TF-IDF with logistic regression, as scikit-learn has it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minillm.data.labelled import Labelled

MOST = 100_000  # training texts: beyond, it takes minutes
MISSING = "not measured: it needs the package scikit-learn"


def has_sklearn() -> bool:
    """Whether scikit-learn is installed."""
    from importlib.util import find_spec

    return find_spec("sklearn") is not None


def by_tfidf(part: "Sequence[Labelled]", held_out: "Sequence[Labelled]") -> dict[str, float]:
    """The accuracy of logistic regression on the TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for _, text in part], [label for label, _ in part])
    texts, labels = [text for _, text in held_out], [label for label, _ in held_out]
    return {"accuracy": float(model.score(texts, labels))}
