"""How many photographs of known classes a network gets right: the work of `nanoconv evaluate`.

Several networks are measured in one pass: each photograph is decoded once, and resized once for
all networks that want it of the same size.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .classify import BATCH, Classifier, Problem, read_ahead
from .data.photographs import photographs_in
from .data.preprocessing import HALF
from .metrics import ClassMetrics, class_metrics, confusion_matrix, ranks

Array = np.ndarray
INDEX = "index.csv"


# --------------------------------------------------------------------------- the photographs


@dataclass(frozen=True)
class Example:
    """A photograph and what is in it: a WordNet id, a name or a number, or two that agree."""

    path: Path
    shows: tuple[str, ...]

    def label(self, classifier: Classifier) -> int:
        """The class that is shown; ValueError if the classifier has no such class."""
        found = {text: classifier.index_of(text) for text in self.shows}
        if classifier.labels is None:  # only numbers say anything then
            found = {text: k for text, k in found.items() if text.isdecimal()} or found
        classes = set(found.values())
        if None in classes or len(classes) != 1:
            is_none = "is none" if len(found) == 1 else "is not one"
            raise ValueError(
                f"{self.path}: {' = '.join(found)} {is_none} of the {classifier.classes} classes "
                f"of {classifier.name}"
            )
        (label,) = classes
        return int(label or 0)


def find_examples(folder: Path) -> list[Example]:
    """The photographs in a folder and what they show, from `index.csv` or the subfolders' names.

    index.csv has a heading with `filename` and `class_index`, `wnid` or both. Without it there is
    a subfolder for each class, called by WordNet id, name or number. ValueError for a folder that
    has neither or no photographs, OSError for one that cannot be read.
    """
    found = list(indexed(folder) if (folder / INDEX).exists() else by_subfolder(folder))
    if not found:
        raise ValueError(
            f"{folder}: neither an {INDEX} that names photographs nor a subfolder for each class "
            "with photographs in it"
        )
    return found


def indexed(folder: Path) -> Iterator[Example]:
    path = folder / INDEX
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a table of comma-separated values ({error})") from error
    for number, row in enumerate(rows, 1):
        shows = tuple(row[key].strip() for key in ("class_index", "wnid") if row.get(key))
        if not row.get("filename") or not shows:
            raise ValueError(
                f"{path}: photograph {number} has {row}, expected filename and class_index or wnid"
            )
        yield Example(folder / row["filename"], shows)


def by_subfolder(folder: Path) -> Iterator[Example]:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            for path in photographs_in(inner):
                yield Example(path, (inner.name,))


# --------------------------------------------------------------------------- the measurement


@dataclass
class Evaluation:
    """What one classifier made of the photographs that could be read.

    labels, predictions, places   of each: its class, the class it was taken for, and how many
                                  classes were put before its own
    seconds                       in the network, without reading the photographs
    """

    classifier: Classifier
    labels: Array
    predictions: Array
    places: Array
    seconds: float

    def __len__(self) -> int:
        return len(self.labels)

    def top(self, k: int) -> float:
        """The part of the photographs whose class was among the first k."""
        return float(np.mean(self.places < k)) if len(self) else float("nan")

    def by_class(self) -> ClassMetrics:
        """Precision, recall and F1 of every class."""
        classes = self.classifier.classes
        return class_metrics(confusion_matrix(self.predictions, self.labels, classes))


@dataclass
class Run:
    """The evaluations, the photographs that could not be read, and how long it all took."""

    evaluations: list[Evaluation]
    skipped: list[tuple[Path, Problem]]
    seconds: float


def evaluate(
    classifiers: Sequence[Classifier],
    examples: Sequence[Example],
    batch: int = BATCH,
    on_photograph: Callable[[Path, Problem | None], None] = lambda path, problem: None,
) -> Run:
    """Let every classifier look at every photograph; `on_photograph` is called after each.

    ValueError, before anything is computed, where a classifier does not have the class of one.
    """
    begin = time.perf_counter()
    labels = np.array([[example.label(c) for example in examples] for c in classifiers])
    recipes = list(dict.fromkeys(map(geometry, classifiers)))
    predictions, places = np.zeros_like(labels), np.zeros_like(labels)
    seconds = np.zeros(len(classifiers))
    skipped, good, start = [], np.ones(len(examples), bool), 0
    for some in read_ahead([example.path for example in examples], recipes, batch):
        there = slice(start, start := start + len(some))
        good[there] = [isinstance(found, list) for _, found in some]
        which = np.arange(there.start, there.stop)[good[there]]
        read = [found for _, found in some if isinstance(found, list)]
        for k, classifier in enumerate(classifiers):
            if not read:
                break
            pixels = [found[recipes.index(geometry(classifier))] for found in read]
            since = time.perf_counter()
            probabilities = classifier(pixels)
            seconds[k] += time.perf_counter() - since
            predictions[k, which] = probabilities.argmax(1)
            places[k, which] = ranks(probabilities, labels[k, which])
        for path, found in some:
            problem = None if isinstance(found, list) else found
            if problem is not None:
                skipped.append((path, problem))
            on_photograph(path, problem)
    evaluations = [
        Evaluation(c, labels[k][good], predictions[k][good], places[k][good], float(seconds[k]))
        for k, c in enumerate(classifiers)
    ]
    return Run(evaluations, skipped, time.perf_counter() - begin)


def geometry(classifier: Classifier) -> Any:
    """What of the preprocessing happens to the pixels before they are normalised."""
    return replace(classifier.preprocessing, mean=HALF, std=HALF)
