"""The command line: reads arguments, shows progress and prints results; the work is done elsewhere.

    nanoconv demo                     train four small nets on digits and compare them
    nanoconv predict MODEL IMAGE...   read digits in pictures with the model that the demo saved
    nanoconv download [NAME...]       fetch published weights into the cache
    nanoconv summary MODEL            what a network costs, layer by layer
    nanoconv classify PHOTO...        say what is in photographs
    nanoconv evaluate FOLDER          how many photographs of known classes networks get right
    nanoconv bench MODEL              compile a network; time every step and the whole
    nanoconv inspect FILE             what is in a checkpoint, without loading or running any of it
    nanoconv config                   versions, threads, kernels; what is missing and why

One command a file. Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted. Errors are
one line each.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

try:
    import PIL  # noqa: F401 (missed here, not halfway through a command)
    import rich  # noqa: F401
    import typer
except ImportError as error:
    sys.exit(f'nanoconv: the command line needs {error.name}: pip install "nanoconv[cli]"')

from .. import __version__, config
from .bench import run_bench
from .classify import run_classify
from .console import reason, remember_interrupts
from .demo import run_demo
from .download import download
from .evaluate import run_evaluate
from .inspect import inspect
from .predict import predict
from .summary import run_summary

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
INTERRUPTED = 128 + 2  # as shells say of a process that signal 2 has ended

app.command("demo")(run_demo)
app.command("predict")(predict)
app.command("download")(download)
app.command("summary")(run_summary)
app.command("classify")(run_classify)
app.command("evaluate")(run_evaluate)
app.command("bench")(run_bench)
app.command("inspect")(inspect)


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


def main() -> NoReturn:
    """Run the command line and exit."""
    remember_interrupts()
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
