"""A baseline for classifiers of texts: TF-IDF with logistic regression, by scikit-learn."""

from collections.abc import Sequence
from importlib.util import find_spec

from minillm.data.labelled import Labelled

MOST = 100_000  # training texts: more of them take minutes
MISSING = "not measured: it needs the package scikit-learn"


def has_sklearn() -> bool:
    """Return whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def by_tfidf(part: Sequence[Labelled], held_out: Sequence[Labelled]) -> dict[str, float]:
    """Return the accuracy of logistic regression on the TF-IDF of words and pairs of words."""
    # Here, because it is optional, and takes 1,500 ms.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for _, text in part], [label for label, _ in part])
    texts, labels = [text for _, text in held_out], [label for label, _ in held_out]
    return {"accuracy": float(model.score(texts, labels))}
