"""The estimator in scikit-learn's manner, and the places where it has to go."""

import random

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import minillm
from minillm.errors import InputError
from minillm.estimators import TextClassifier

WORDS = {"good": ["fine", "sunny", "warm"], "bad": ["rain", "storm", "cold", "grey"]}
SMALL = {"buckets": 4000, "steps": 40}


@pytest.fixture(scope="module")
def data():
    draw = random.Random(0)
    texts, labels = [], []
    for _ in range(40):
        for label, words in WORDS.items():
            texts.append(" ".join(draw.sample(["a", "the", "day", "today", draw.choice(words)], 5)))
            labels.append(label)
    return texts, labels


@pytest.fixture(scope="module")
def fitted(data):
    return TextClassifier(settings=SMALL).fit(*data)


def test_fit_and_predict(data, fitted, tmp_path):
    texts, labels = data
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert fitted.score(texts, labels) == 1
    probabilities = fitted.predict_proba(["a fine day", "cold and grey", ""])
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert fitted.predict(["a fine day", "cold and grey"]).tolist() == ["good", "bad"]
    fitted.run_.save(tmp_path / "run")
    assert minillm.load(tmp_path / "run").classify("a fine day").probability == pytest.approx(
        probabilities[0, 1]
    )


@pytest.mark.parametrize("labels", [[0, 3, 10], [True, False], ["b", "a\tc"]])
def test_labels_of_any_type(labels):
    texts = [f"text {number} of it" for number, _ in enumerate(labels)] * 10
    model = TextClassifier(settings=SMALL).fit(np.array(texts), np.array(labels * 10))
    assert model.classes_.tolist() == sorted(labels)
    assert model.classes_.dtype == np.array(labels).dtype
    assert set(model.predict(texts).tolist()) <= set(labels)
    assert model.predict_proba([]).shape == (0, len(labels))


def test_the_same_seed_gives_the_same_model(data, fitted):
    again = clone(fitted).fit(*data)
    np.testing.assert_array_equal(again.predict_proba(data[0]), fitted.predict_proba(data[0]))


def test_cross_validation_pipelines_and_grids(data):
    texts, labels = data
    assert cross_val_score(TextClassifier(settings=SMALL), texts, labels, cv=3).min() > 0.9
    upper = FunctionTransformer(lambda X: [text.upper() for text in X])
    pipeline = Pipeline([("upper", upper), ("classifier", TextClassifier(settings=SMALL))])
    assert pipeline.fit(texts, labels).predict(["A FINE day"]).tolist() == ["good"]
    grid = GridSearchCV(pipeline, {"classifier__learning_rate": [1e-9, 0.05]}, cv=2)
    grid.fit(texts, labels)
    assert grid.best_params_ == {"classifier__learning_rate": 0.05}
    assert grid.predict(["a grey day"]).tolist() == ["bad"]


def test_a_recurrent_one(data):
    settings = {"hidden": 8, "embedding": 8, "steps": 60}
    model = TextClassifier("recurrent-classifier", learning_rate=0.02, settings=settings)
    assert model.fit(*data).score(*data) > 0.9


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_set_params,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
    ],
)
def test_the_checks_of_scikit_learn_that_need_no_numbers(check):
    check("TextClassifier", TextClassifier())


def test_wrong_input(data, fitted):
    with pytest.raises(NotFittedError):
        TextClassifier().predict(["a"])
    with pytest.raises(InputError, match="expected a list of texts, found one text"):
        fitted.predict("a fine day")
    with pytest.raises(InputError, match="expected texts, found 3 as number 2"):
        fitted.predict(["a", 3])
    with pytest.raises(InputError, match="labels: expected 1, one for each text, found 2"):
        TextClassifier().fit(["a"], ["b", "c"])
    with pytest.raises(ValueError, match="continuous"):
        TextClassifier().fit(["a", "b"], [0.1, 0.7])
    with pytest.raises(InputError, match="colour: there is no such setting"):
        TextClassifier(settings={"colour": 1}).fit(*data)
