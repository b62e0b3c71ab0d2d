"""`nanoconv evaluate`: how many photographs of known classes networks get right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import config
from ..classify import BATCH, WEIGHTS_NAME, Classifier, load_classifier
from ..evaluate import Evaluation, Example, Run, evaluate, find_examples
from ..models.weights import SUFFIXES
from .classify import (
    Batch,
    Eager,
    Model,
    Normalization,
    SamePadding,
    bar,
    complain,
    shown,
    why_not,
)
from .console import AsJson, Interrupt, Threads, print_table, reason

HEADING = ["weights", "network", "top-1", "top-5", "precision", "recall", "F1", "photographs/s"]
NOTE = """Precision, recall and F1 are means over the classes that photographs show.
Photographs/s is of the network alone, without the reading."""


def run_evaluate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="With an index.csv, or a folder for each class.", file_okay=False
        ),
    ],
    model: Model = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="A checkpoint, a folder of them or a published name; may be repeated.",
            show_default=False,
        ),
    ] = None,
    same_padding: SamePadding = None,
    normalize: Normalization = None,
    classes: Annotated[bool, typer.Option("--classes", help="Also a table of classes.")] = False,
    as_json: AsJson = False,
    eager: Eager = False,
    batch: Batch = BATCH,
    threads: Threads = None,
) -> None:
    """Measure networks on photographs of known classes: a folder's index.csv or subfolders."""
    if threads is not None:
        config.set_num_threads(threads)
    examples = find_examples(folder)
    classifiers = [
        classifier
        for name in weights or [WEIGHTS_NAME]
        for classifier in load_all(name, examples, model, same_padding, normalize, eager)
    ]
    with bar(len(examples), streaming=False) as bars:

        def on_photograph(path: Path, problem: Exception | None) -> None:
            if Interrupt.asked:
                raise KeyboardInterrupt
            if problem is not None:
                complain(path, why_not(problem))
            bars.advance(bars.task_ids[0])

        run = evaluate(classifiers, examples, batch, on_photograph)
    if len(run.skipped) == len(examples):
        raise ValueError(f"{shown(folder)}: no photograph could be read")
    if as_json:
        print(json.dumps(report(folder, run, classes), indent=2))
    else:
        show(run, classes)
    if run.skipped:
        raise typer.Exit(1)


def load_all(
    weights: str,
    examples: list[Example],
    model: str | None,
    same_padding: bool | None,
    normalize: str | None,
    eager: bool,
) -> list[Classifier]:
    """One classifier, or one for each file of a folder, but for those that know other classes."""
    if not Path(weights).is_dir():
        return [load_classifier(model, weights, same_padding, normalize, eager)]
    found = []
    for file in sorted(path for path in Path(weights).iterdir() if path.suffix in SUFFIXES):
        try:
            classifier = load_classifier(model, str(file), same_padding, normalize, eager)
            for example in examples:
                example.label(classifier)
        except ValueError as error:
            print(f"nanoconv: left out {shown(file)}: {reason(error)}", file=sys.stderr)
        else:
            found.append(classifier)
    if not found:
        raise ValueError(f"{weights}: no weights of a network that knows these classes")
    return found


def show(run: Run, classes: bool) -> None:
    rows = [HEADING]
    for found in run.evaluations:
        figures = (found.top(1), found.top(5), *found.by_class().macro())
        speed = f"{len(found) / found.seconds:.1f}"
        names = [found.classifier.name, found.classifier.builder]
        rows.append([*names, *(f"{figure:.1%}" for figure in figures), speed])
    print_table(rows)
    photographs = len(run.evaluations[0])
    print(f"\n{photographs} photographs in {run.seconds:.1f} s.\n{NOTE}")
    if classes:
        for found in run.evaluations:
            print(f"\n{found.classifier.name}")
            print_table([["class", "photographs", "precision", "recall", "F1"], *class_rows(found)])


def class_rows(found: Evaluation) -> list[list[str]]:
    """The classes that photographs show, or that some were taken for."""
    return [
        [row["class"], str(row["photographs"]), *(f"{row[key]:.1%}" for key in PER_CLASS)]
        for row in class_report(found)
    ]


PER_CLASS = ("precision", "recall", "f1")


def class_report(found: Evaluation) -> list[dict[str, Any]]:
    metrics = found.by_class()
    return [
        {
            "index": int(k),
            "class": found.classifier.class_name(k),
            "photographs": int(metrics.support[k]),
            **{key: round(float(getattr(metrics, key)[k]), 4) for key in PER_CLASS},
        }
        for k in np.union1d(found.labels, found.predictions)
    ]


def report(folder: Path, run: Run, classes: bool) -> dict[str, Any]:
    rows = []
    for found in run.evaluations:
        macro = dict(zip(PER_CLASS, found.by_class().macro(), strict=True))
        rows.append(
            {
                "weights": found.classifier.name,
                "network": found.classifier.builder,
                "top1": round(found.top(1), 4),
                "top5": round(found.top(5), 4),
                **{key: round(value, 4) for key, value in macro.items()},
                "photographs_per_second": round(len(found) / found.seconds, 1),
                **({"classes": class_report(found)} if classes else {}),
            }
        )
    skipped = [{"photograph": shown(path), "error": why_not(e)} for path, e in run.skipped]
    return {
        "folder": shown(folder),
        "photographs": len(run.evaluations[0]),
        "seconds": round(run.seconds, 2),
        "skipped": skipped,
        "weights": rows,
    }
