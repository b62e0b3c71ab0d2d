"""What the commands share: tables, one-line errors, and an interrupt that cannot get lost."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..graph.summary import aligned

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int | None, typer.Option(min=1, help="For each compiled kernel.")]


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """The first row is the heading. Lines and colours only on a terminal."""
    if not (console := Console()).is_terminal:
        print(aligned(rows))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for k, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if k else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(Text, row))  # never markup: names come from files
    console.print(table)


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


def remember_interrupts() -> None:
    """Let Ctrl-C do what `Interrupt` says, unless somebody handles it already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, Interrupt.handle)
