"""How good predictions are, counted from what was right and what was taken for what.

For each class k, with M[i, j] the number of examples of class i that were taken for class j:

    true positives    TP = M[k, k]             of class k, and taken for it
    false positives   FP = Σᵢ M[i, k] − TP     taken for it, but of another class
    false negatives   FN = Σⱼ M[k, j] − TP     of class k, but taken for another
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


def accuracy(predictions: Array, labels: Array) -> float:
    """The part of the predictions (N,) that are right; NaN of none.

    >>> accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]))
    0.75
    """
    predictions, labels = pair("accuracy", predictions, labels)
    return float(np.mean(predictions == labels)) if labels.size else float("nan")


def top_k_accuracy(scores: Array, labels: Array, k: int = 5) -> float:
    """The part of the examples whose label is among the k classes of highest score; NaN of none.

    scores (N, classes), labels (N,): see `ranks`.

    >>> scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    >>> top_k_accuracy(scores, np.array([1, 2]), k=1), top_k_accuracy(scores, np.array([1, 2]), k=2)
    (0.5, 1.0)
    """
    if k < 1:
        raise ValueError(f"top_k_accuracy: k={k} must be at least 1")
    places = ranks(scores, labels)
    return float(np.mean(places < k)) if places.size else float("nan")


def ranks(scores: Array, labels: Array) -> Array:
    """How many classes each example's scores put before its label: (N, classes), (N,) → (N,).

    0 is right, and what is below k is right in k guesses. Of equal scores the class of lower number
    comes first, as in `scores.argmax(1)`. NaN comes before every number, but the label comes after
    all other classes where its own score is NaN: such a guess is none.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"ranks: scores {list(scores.shape)} and labels {list(labels.shape)} "
            "must be (N, classes) and (N,)"
        )
    classes = scores.shape[1]
    in_range("ranks", "labels", labels, classes)
    own = scores[np.arange(len(labels)), labels][:, None]  # (N, 1)
    equal = (scores == own) & (np.arange(classes) < labels[:, None])
    return (~(scores <= own) | equal).sum(1)  # NaN ≤ x is false: it counts as above


def confusion_matrix(predictions: Array, labels: Array, classes: int) -> Array:
    """(classes, classes): how many examples of each label (row) were taken for each class (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    predictions, labels = pair("confusion_matrix", predictions, labels)
    for name, values in (("predictions", predictions), ("labels", labels)):
        in_range("confusion_matrix", name, values, classes)
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, -1)


@dataclass(frozen=True)
class ClassMetrics:
    """What `class_metrics` finds: an array (classes,) of each; 0 where it would be 0 / 0.

    precision   TP / (TP + FP)   how much of what was taken for the class is of it
    recall      TP / (TP + FN)   how much of the class was found
    f1          2·TP / (2·TP + FP + FN), the harmonic mean of the two
    support     TP + FN, the examples of the class
    """

    precision: Array
    recall: Array
    f1: Array
    support: Array

    def macro(self) -> tuple[float, float, float]:
        """Mean precision, recall and F1 of the classes that have examples, each counted alike.

        NaN of none. Of a class without examples nothing can be found, whatever the network can do.
        """
        there = self.support > 0
        if not there.any():
            return float("nan"), float("nan"), float("nan")
        precision, recall, f1 = (
            float(values[there].mean()) for values in (self.precision, self.recall, self.f1)
        )
        return precision, recall, f1


def class_metrics(matrix: Array) -> ClassMetrics:
    """Precision, recall and F1 of each class from a confusion matrix (classes, classes).

    >>> found = class_metrics(np.array([[1, 1], [0, 2]]))
    >>> found.precision.round(3), found.recall, found.f1.round(3)
    (array([1.   , 0.667]), array([0.5, 1. ]), array([0.667, 0.8  ]))
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"class_metrics: matrix {list(matrix.shape)} must be (classes, classes), "
            "as confusion_matrix returns it"
        )
    right, taken, support = matrix.diagonal(), matrix.sum(0), matrix.sum(1)
    return ClassMetrics(
        ratio(right, taken), ratio(right, support), ratio(2 * right, taken + support), support
    )


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def in_range(function: str, name: str, values: Array, classes: int) -> None:
    if values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"{function}: {name} from {values.min()} to {values.max()}, expected 0 to {classes - 1}"
        )


def pair(function: str, predictions: Array, labels: Array) -> tuple[Array, Array]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or labels.ndim != 1:
        raise ValueError(
            f"{function}: predictions {list(predictions.shape)} and labels {list(labels.shape)} "
            "must both be (N,)"
        )
    return predictions, labels
