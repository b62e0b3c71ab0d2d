"""`nanoconv bench`: how fast a compiled network runs, step by step and as a whole."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import config
from ..classify import usual_weights
from ..infer.explain import NUMBERS, Explanation
from ..infer.session import Session
from ..infer.session import compile as compile_model
from ..models import builder
from .console import AsJson, Interrupt, Threads
from .summary import LARGEST, image_channels, setting

SESSION = ".safetensors"
LESS = ("op", "offset", "why")  # columns that a narrow terminal goes without


def run_bench(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=f"mobilenet_v2 …, or a saved session, *{SESSION}."),
    ],
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST,
            help="Height and width of the image: those its weights are for, unless said here.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a call.")] = 1,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A checkpoint, or the name of published weights."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the network's builder."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A pass, winograd or bands, to go without."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="To time calls, and steps.")] = 2.0,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Save the session there.")
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Compile a network and time it: each step with its limit, and whole calls."""
    if threads is not None:
        config.set_num_threads(threads)
    begin = time.perf_counter()
    if Path(model).suffix == SESSION:
        given = {"--size": size, "--weights": weights, "--set": settings, "--skip": skip}
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"{option} is for networks by name; {model} is a saved session")
        session = Session.load(model)
        made = f"loaded in {1e3 * (time.perf_counter() - begin):.0f} ms"
    else:
        net = network(model, weights, settings or [])
        side = usual_weights(model).preprocessing.crop if size is None else size
        shape = (batch, image_channels(net), side, side)
        begin = time.perf_counter()
        session = compile_model(net, shape, dynamic_batch=batch > 1, skip=tuple(skip or ()))
        made = f"compiled in {1e3 * (time.perf_counter() - begin):.0f} ms"
    if save is not None:
        session.save(save)
    times = call_times(session, batch, seconds)
    found = replace(session.explain(seconds), batch=batch)
    if as_json:
        print(json.dumps(report(model, session, batch, times, found), indent=2))
        return
    show(found)
    print()
    print("\n".join([calls_in_words(model, session, batch, times, made), *found.words()]))


def network(model: str, weights: str | None, settings: list[str]) -> Any:
    """The network of this name, in evaluation mode."""
    arguments = dict(map(setting, settings))
    if weights is not None:
        arguments["weights"] = weights
    try:
        return builder(model)(**arguments).eval()
    except TypeError as error:  # an argument that this network has not
        raise ValueError(str(error)) from error


def call_times(session: Session, batch: int, seconds: float) -> list[float]:
    """Of calls, one after the other, for so long; three at least."""
    rng = np.random.default_rng(0)
    inputs = []
    graph = session.graph
    if session.batch not in (None, batch):
        raise ValueError(f"--batch {batch}: the session takes batches of {session.batch}")
    for k in graph.inputs:
        inputs.append(rng.random((batch, *graph.shapes[k][1:])).astype(graph.dtypes[k]))
    return timed(lambda: session(*inputs), seconds)


def timed(call: Callable[[], Any], seconds: float) -> list[float]:
    call()  # allocates what later calls find
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        if Interrupt.asked:
            raise KeyboardInterrupt
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def calls_in_words(model: str, session: Session, batch: int, times: list[float], made: str) -> str:
    images = "an image" if batch == 1 else f"{batch} images"
    shapes = " and ".join("×".join(map(str, sizes)) for _, *sizes in session.input_shapes)
    text = f"{model}, {shapes}, {made}. A call with {images}: {1e3 * median(times):.3f} ms median, "
    text += f"{1e3 * min(times):.3f} ms least of {len(times)}"
    return text + f"; {batch / median(times):.1f} images a second."


def report(
    model: str, session: Session, batch: int, times: list[float], found: Explanation
) -> dict[str, Any]:
    return {
        "network": model,
        "inputs": [[batch, *sizes] for _, *sizes in session.input_shapes],
        "calls": {
            "median_ms": 1e3 * median(times),
            "least_ms": 1e3 * min(times),
            "number": len(times),
            "images_per_second": batch / median(times),
        },
        **found.as_dict(),
    }


def show(found: Explanation) -> None:
    """The table of steps: as `explain` prints it, or in columns that fit a terminal."""
    text, console = found.table(), Console()
    if not console.is_terminal:
        print(text)
        return
    heading, *rows = found.rows()
    padding = 2 * len(heading)
    fits = max(map(len, text.splitlines())) + padding <= console.width
    shown = [k for k, name in enumerate(heading) if fits or name not in LESS]
    table = Table(box=box.SIMPLE_HEAD)
    for k in shown:
        right = k in NUMBERS
        table.add_column(heading[k], justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*(Text(row[k]) for k in shown))  # never markup: names come from files
    console.print(table)
    if not fits:
        print(f"A wider terminal shows {', '.join(LESS[:-1])} and {LESS[-1]}, too; so does --json.")
