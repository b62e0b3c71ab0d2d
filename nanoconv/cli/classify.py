"""`nanoconv classify`: what is in photographs."""

from __future__ import annotations

import enum
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .. import config
from ..classify import BATCH, WEIGHTS_NAME, Classifier, classify, load_classifier
from ..data.photographs import find_photographs
from .console import AsJson, Interrupt, Threads, reason

Array = np.ndarray


class Normalize(enum.StrEnum):
    imagenet = enum.auto()
    tensorflow = enum.auto()


Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A network of nanoconv.models: that of the weights if they are known by name, "
        "or else mobilenet_v2.",
        show_default=False,
    ),
]
SamePadding = Annotated[
    bool | None,
    typer.Option(
        "--same-padding/--no-same-padding",
        help="Pad as TensorFlow does: as the weights want it, unless said here.",
        show_default=False,
    ),
]
Normalization = Annotated[
    Normalize | None,
    typer.Option(
        help="Mean and deviation of ImageNet's colours, or −1 to 1: likewise.", show_default=False
    ),
]
Eager = Annotated[bool, typer.Option("--eager", help="Run layer by layer, not compiled.")]
Batch = Annotated[int, typer.Option(min=1, help="Photographs that are computed at once.")]


def run_classify(
    photographs: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO...", help="Photographs, folders of them or quoted globs."),
    ],
    model: Model = None,
    weights: Annotated[
        str, typer.Option(metavar="FILE", help="A checkpoint, or the name of published weights.")
    ] = WEIGHTS_NAME,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each.")] = 5,
    same_padding: SamePadding = None,
    normalize: Normalization = None,
    as_json: AsJson = False,
    eager: Eager = False,
    batch: Batch = BATCH,
    threads: Threads = None,
) -> None:
    """Say what is in photographs: a table on a terminal, otherwise a line of JSON for each."""
    if threads is not None:
        config.set_num_threads(threads)
    paths = find_photographs(photographs)
    classifier = load_classifier(model, weights, same_padding, normalize, eager)
    table = None if as_json or not Console().is_terminal else answer_table(top)
    failed = False
    with bar(len(paths), streaming=table is None) as bars:
        for path, found in classify(classifier, paths, batch):
            if Interrupt.asked:
                raise KeyboardInterrupt
            answer = report(classifier, path, found, top)
            if "error" in answer:
                failed = True
                complain(path, answer["error"])
            if table is None:
                print(json.dumps(answer), flush=True)
            else:
                add(table, answer)
            bars.advance(bars.task_ids[0])
    if table is not None and table.row_count:
        Console().print(table)
    if failed:
        raise typer.Exit(1)


def report(
    classifier: Classifier, path: Path, found: Array | Exception, top: int
) -> dict[str, Any]:
    """The answer for one photograph, as it is printed in JSON."""
    if isinstance(found, Exception):
        return {"photograph": shown(path), "error": why_not(found)}
    best = np.argsort(-found, kind="stable")[:top]
    classes = [
        {
            "index": int(k),
            "class": classifier.class_name(k),
            "probability": round(float(found[k]), 4),
        }
        for k in best
    ]
    return {"photograph": shown(path), "classes": classes}


def answer_table(top: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("photograph", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    return table


def add(table: Table, answer: dict[str, Any]) -> None:
    """A row for each class; the first has the photograph's name."""
    name = answer["photograph"]
    rows = answer.get("classes", [])
    for k, row in enumerate(rows):
        probability = f"{row['probability']:.1%}"
        # Text, for a name may hold what rich would take for markup
        table.add_row(Text(name if k == 0 else ""), Text(row["class"]), probability)
    if len(rows) > 1:
        table.add_section()


# --------------------------------------------------------------------------- also of `evaluate`


@contextmanager
def bar(photographs: int, streaming: bool) -> Iterator[Progress]:
    """A progress bar on standard error: if that is a terminal, and there is more than one to do.

    Not if lines are printed on the same terminal meanwhile, which are progress enough. What Pillow
    warns of is not shown: it reads what it can, and what it cannot is reported.
    """
    console = Console(stderr=True)
    lines_between = streaming and sys.stdout.isatty()
    bars = Progress(
        TextColumn("photographs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=photographs < 2 or lines_between or not console.is_terminal,
        transient=True,
        redirect_stdout=False,  # rich would send it to this console, wherever it should go
    )
    bars.add_task("photographs", total=photographs)
    with warnings.catch_warnings(), bars:
        warnings.simplefilter("ignore")
        yield bars


def complain(path: Path, problem: str) -> None:
    print(f"nanoconv: {shown(path)}: {problem}", file=sys.stderr)


def why_not(problem: Exception) -> str:
    """Why a photograph could not be read, in one line that does not name it."""
    return getattr(problem, "strerror", None) or reason(problem)


def shown(path: Path) -> str:
    """A path that can be printed: what is no UTF-8 in a file's name becomes �."""
    return os.fsencode(path).decode(errors="replace")
