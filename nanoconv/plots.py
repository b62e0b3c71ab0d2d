"""Pictures of a training run, drawn with Matplotlib (the extra `[plot]`)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from .io.files import replacing

Array = np.ndarray
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Tol's bright scheme
MOST = 24  # digits on one sheet


def save_learning_curves(histories: Mapping[str, Sequence[Any]], path: str | PathLike[str]) -> None:
    """Draw per net the training loss (left) and the part of the test set it misreads (right).

    `histories` holds what `train.fit` returned, by name.
    """
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
        epochs = [epoch.number for epoch in history]
        style = {"label": name, "color": colour, "linewidth": 1.8, "marker": "o", "markersize": 3}
        left.plot(epochs, [epoch.loss for epoch in history], **style)
        right.plot(epochs, [100 * (1 - epoch.test_accuracy) for epoch in history], **style)
    left.set_yscale("log")
    right.set_yscale("symlog", linthresh=1)  # none at all is a point, too
    right.set_ylim(bottom=0)
    titles = ((left, "Training loss (cross entropy)"), (right, "Misread test digits, per cent"))
    for axes, title in titles:
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    left.legend(frameon=False)
    write(figure, path)


def save_mistakes(
    images: Array, labels: Array, probabilities: Array, title: str, path: str | PathLike[str]
) -> None:
    """Draw a sheet of digits (M, 1, 8, 8), each with its label and what was thought of it (M, 10).

    The surest mistakes come first, and only `MOST` of them; without any, the sheet says so.
    """
    order = np.argsort(-probabilities.max(1), kind="stable")[:MOST]
    columns = min(6, max(4, len(order)))
    rows = max(1, math.ceil(len(order) / columns))
    figure = new_figure(1.4 * columns, 0.6 + 1.9 * rows)
    figure.suptitle(title, fontsize=11)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()  # the places without a digit
    for axes, k in zip(figure.axes, order, strict=False):
        guess = int(probabilities[k].argmax())
        axes.set(frame_on=True, xticks=[], yticks=[])
        axes.set_axis_on()
        axes.spines[:].set_color("0.8")
        axes.imshow(images[k, 0], cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(
            f"{labels[k]} read as {guess}\n({probabilities[k, guess]:.0%} sure)", fontsize=9
        )
    write(figure, path)


def available() -> bool:
    """True if Matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(width: float, height: float) -> Any:
    """A figure of its own, so that no window, backend or global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('drawing needs Matplotlib: pip install "nanoconv[plot]"') from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def write(figure: Any, path: str | PathLike[str]) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
