"""The metrics, against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoconv.metrics import class_metrics, confusion_matrix, top_k_accuracy

NAN = float("nan")


@pytest.fixture(scope="module")
def sklearn():
    return pytest.importorskip("sklearn.metrics")


@given(st.integers(2, 7), st.integers(1, 40), st.integers(0, 10**6))
def test_per_class_metrics_equal_sklearn(sklearn, classes, N, seed) -> None:
    rng = np.random.default_rng(seed)
    predictions, labels = rng.integers(0, classes, (2, N))
    matrix = confusion_matrix(predictions, labels, classes)
    every = range(classes)
    np.testing.assert_array_equal(
        matrix, sklearn.confusion_matrix(labels, predictions, labels=every)
    )
    found = class_metrics(matrix)
    expected = sklearn.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=0
    )
    for ours, theirs in zip(
        (found.precision, found.recall, found.f1, found.support), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    macro = sklearn.precision_recall_fscore_support(
        labels, predictions, labels=np.unique(labels), average="macro", zero_division=0
    )
    np.testing.assert_allclose(found.macro(), macro[:3], rtol=1e-12)


@given(st.integers(3, 9), st.integers(1, 30), st.integers(1, 8), st.integers(0, 10**6))
def test_top_k_accuracy_equals_sklearn(sklearn, classes, N, k, seed) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.standard_normal((N, classes)), rng.integers(0, classes, N)
    expected = (
        sklearn.top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
        if k < classes
        else 1.0  # of which sklearn warns
    )
    assert top_k_accuracy(scores, labels, k) == pytest.approx(expected)


def test_equal_scores_do_not_all_count() -> None:
    """A network that always says the same is right as often as chance has it, not always."""
    labels = np.arange(4)
    for k in (1, 2, 3, 4):
        assert top_k_accuracy(np.zeros((4, 4)), labels, k) == k / 4
    scores = np.array([[1.0, 2, 2], [2, 2, 1]])
    assert top_k_accuracy(scores, np.array([1, 1]), 1) == 0.5  # as argmax: the first of equals


def test_nan_is_never_right() -> None:
    scores = np.array([[NAN, 1, 2], [0, NAN, 3]])
    assert top_k_accuracy(scores, np.array([0, 1]), 2) == 0
    assert top_k_accuracy(scores, np.array([2, 2]), 1) == 0
    assert top_k_accuracy(scores, np.array([2, 2]), 2) == 1


def test_of_nothing() -> None:
    none = np.zeros(0, int)
    assert np.isnan(top_k_accuracy(np.zeros((0, 3)), none, 1))
    found = class_metrics(confusion_matrix(none, none, 3))
    assert found.f1.tolist() == [0, 0, 0]
    assert np.isnan(found.macro()).all()


def test_bad_arguments_are_named() -> None:
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"ranks: scores \[2, 3\] and labels \[3\]"):
        top_k_accuracy(scores, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"labels from 0 to 3, expected 0 to 2"):
        top_k_accuracy(scores, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"k=0 must be at least 1"):
        top_k_accuracy(scores, np.array([0, 1]), k=0)
    with pytest.raises(ValueError, match=r"class_metrics: matrix \[2, 3\]"):
        class_metrics(scores)
