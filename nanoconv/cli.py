"""The command line: reads arguments, shows progress and prints results; the work is done elsewhere.

    nanoconv demo                     train four small nets on digits and compare them
    nanoconv predict MODEL IMAGE...   read digits in pictures with the model that the demo saved
    nanoconv config                   versions, threads, kernels; what is missing and why

Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted. Errors are one line each.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

try:
    import PIL  # noqa: F401 (missed here, not halfway through a command)
    import typer
    from rich import box
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
    from rich.table import Table
except ImportError as error:
    sys.exit(f'nanoconv: the command line needs {error.name}: pip install "nanoconv[cli]"')

from . import __version__, config, demo, plots
from .data import read_digit
from .graph.summary import aligned
from .models.digits import BLOCKS, load_digit_net
from .train import Epoch, probabilities

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
INTERRUPTED = 128 + 2  # as shells say of a process that signal 2 has ended
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


# --------------------------------------------------------------------------- demo


@app.command("demo")
def run_demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = demo.EPOCHS,
    quick: Annotated[bool, typer.Option("--quick", help="Three passes only.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal bits.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="For each compiled kernel.")] = None,
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


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """The first row is the heading. Lines and colours only on a terminal."""
    if not (console := Console()).is_terminal:
        print(aligned(rows))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for k, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if k else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


# --------------------------------------------------------------------------- predict


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that the demo saved.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One digit in each.")],
    as_json: AsJson = False,
) -> None:
    """Read the digits in pictures of any size, dark on light or light on dark."""
    net, _ = load_digit_net(model)
    answers: list[dict[str, Any]] = []
    for path in images:
        answer: dict[str, Any] = {"image": str(path)}
        try:
            thought = probabilities(net, read_digit(path)[None])[0]  # (10,)
        except (OSError, ValueError) as error:
            answer["error"] = reason(error)
            print(f"nanoconv: {path}: {reason(error)}", file=sys.stderr)
        else:
            first, second = (int(k) for k in thought.argsort()[:-3:-1])
            answer |= {"digit": first, "probability": round(float(thought[first]), 4)}
            answer |= {"runner_up": second, "its_probability": round(float(thought[second]), 4)}
            if not as_json:
                verdict = f"{first} ({thought[first]:.1%}), or {second} ({thought[second]:.1%})"
                print(f"{path}: {verdict}")
        answers.append(answer)
    if as_json:
        print(json.dumps(answers, indent=2))
    if any("error" in answer for answer in answers):
        raise typer.Exit(1)


# --------------------------------------------------------------------------- the rest


@app.command("config")
def show_config() -> None:
    """Show versions, backend, threads and kernels; what is missing and why."""
    config.show_config()


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"nanoconv {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """A CNN engine from scratch, readable from the equation to the machine code."""


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return error.strerror + named
    return " ".join(str(error).split())


class Interrupt:
    """Ctrl-C raises KeyboardInterrupt, and is remembered.

    Python drops an exception that arrives while C calls back into Python: in a weak reference's
    callback, or in `abc.register` when a compiled module is imported. Long work asks `asked`.
    """

    asked = False

    @classmethod
    def handle(cls, signum: int, frame: FrameType | None) -> None:
        cls.asked = True
        raise KeyboardInterrupt


def main() -> NoReturn:
    """Run the command line and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, Interrupt.handle)
    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):  # newer versions of Typer return 130 instead
        status = INTERRUPTED
    except (ImportError, OSError, ValueError) as error:
        print(f"nanoconv: {reason(error)}", file=sys.stderr)
        status = 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # what Typer has against the arguments
            raise
        print(f"nanoconv: {reason(ValueError(error.format_message()))}", file=sys.stderr)
        status = 2
    if status == INTERRUPTED:
        print("nanoconv: interrupted", file=sys.stderr)
    sys.exit(status)
