"""What a hostile file would have had `pickle.load` do: told, not done.

Each pickle in the file goes through the machine of pickles.py once more, which this time lets it
name whatever it likes and goes on. Pickles are the objects in PyTorch's files, and the arrays of
Python objects in .npz files.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

from .npz import objects
from .pickled_values import described
from .pickles import MOST_BYTES, Machine
from .safely import shown
from .torch_files import unpacked
from .torch_values import ALLOWED, called
from .zips import Entry

MOST_SHOWN = 20  # of the forbidden globals, and of the calls, in a pickle
MOST_PICKLES = 5  # as many as the old format of PyTorch has


def suspicions(file: BinaryIO, length: int, table: dict[str, Entry] | None) -> list[str]:
    """A line for each forbidden global that is named, and for each call that would be made of one.

    The file is an archive with this table, or begins with a pickle if that is None. What is damaged
    ends the list.
    """
    found: list[str] = []
    with contextlib.suppress(ValueError):
        for machine in machines(file, length, table):
            try:
                machine.run()
            finally:
                found += told(machine)
    return found


def machines(file: BinaryIO, length: int, table: dict[str, Entry] | None) -> Iterator[Machine]:
    """One for each pickle."""
    if table is None:
        file.seek(0)
        for _ in range(MOST_PICKLES):
            yield Machine(file, length - file.tell())
        return
    pickled = [name for name in table if name.endswith((".pkl", ".npy"))]
    for name in pickled[:MOST_PICKLES]:
        raw = unpacked(file, table[name], MOST_BYTES)
        if name.endswith(".npy"):
            raw = objects(raw)
        if raw:
            yield Machine(io.BytesIO(raw), len(raw))


def told(machine: Machine) -> list[str]:
    """What one pickle has named and called."""
    forbidden = [name for name in machine.globals if name not in ALLOWED]
    strange = [call for call in machine.calls if called(call) not in ALLOWED]
    found = [f"names {shown(name)}" for name in forbidden[:MOST_SHOWN]]
    found += [f"calls {described(call)}" for call in strange[:MOST_SHOWN]]
    more = len(forbidden[MOST_SHOWN:]) + len(strange[MOST_SHOWN:])
    return found + [f"and {more} more"] * (more > 0)
