"""`nanoconv demo`: train four small nets on digits and compare them."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .. import __version__, config, demo, plots
from ..models.digits import BLOCKS
from ..train import Epoch
from .console import AsJson, Interrupt, Threads, print_table


def run_demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = demo.EPOCHS,
    quick: Annotated[bool, typer.Option("--quick", help="Three passes only.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal bits.")] = 0,
    threads: Threads = None,
    output: Annotated[
        Path, typer.Option(file_okay=False, help="The folder for the best model and the pictures.")
    ] = Path("nanoconv-demo"),
    as_json: AsJson = False,
) -> None:
    """Train four small nets on handwritten digits; compare what they cost and what they can do."""
    if threads is not None:
        config.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    results = train_all(seed, 3 if quick else epochs)
    files = demo.save_all(results, seed, output, __version__)
    if as_json:
        run = {"nanoconv": __version__, "seed": seed, "files": [str(file) for file in files]}
        print(json.dumps(run | demo.report(results), indent=2))
        return
    print("saved " + ", ".join(map(str, files)))
    if not plots.available():
        print('for learning curves and the misread digits: pip install "nanoconv[plot]"')
    print()
    print_table(demo.table(results))
    print(demo.EXPLANATION)


def train_all(seed: int, epochs: int) -> list[demo.Result]:
    """Train every net, with progress on standard error."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )

    def show(task: TaskID, epoch: Epoch) -> None:
        note = f"epoch {epoch.number}, test accuracy {epoch.test_accuracy:.1%}"
        bars.update(task, note=note)

    def advance(task: TaskID) -> None:
        if Interrupt.asked:
            raise KeyboardInterrupt
        bars.advance(task)

    results = []
    with bars:
        total = demo.batches(epochs)
        tasks = {net: bars.add_task(net, start=False, total=total, note="") for net in BLOCKS}
        for net, task in tasks.items():
            bars.start_task(task)
            on_epoch, on_batch = (functools.partial(f, task) for f in (show, advance))
            results.append(demo.train_net(net, seed, epochs, on_epoch, on_batch))
            if not console.is_terminal:
                accuracy = f"{results[-1].accuracy:.1%}"
                print(f"trained {net}: test accuracy {accuracy}", file=sys.stderr, flush=True)
    return results
