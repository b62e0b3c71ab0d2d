"""How good predictions are."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def accuracy(predictions: Array, labels: Array) -> float:
    """The part of the predictions (N,) that are right; NaN of none.

    >>> accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]))
    0.75
    """
    predictions, labels = pair("accuracy", predictions, labels)
    return float(np.mean(predictions == labels)) if labels.size else float("nan")


def confusion_matrix(predictions: Array, labels: Array, classes: int) -> Array:
    """(classes, classes): how many examples of each label (row) were taken for each class (column).

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    predictions, labels = pair("confusion_matrix", predictions, labels)
    for name, values in (("predictions", predictions), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(
                f"confusion_matrix: {name} from {values.min()} to {values.max()}, "
                f"expected 0 to {classes - 1}"
            )
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, -1)


def pair(function: str, predictions: Array, labels: Array) -> tuple[Array, Array]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or labels.ndim != 1:
        raise ValueError(
            f"{function}: predictions {list(predictions.shape)} and labels {list(labels.shape)} "
            "must both be (N,)"
        )
    return predictions, labels
