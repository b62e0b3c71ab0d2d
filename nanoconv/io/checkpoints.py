"""Checkpoints: the arrays of a model by name, from a file that may be anybody's.

A .safetensors file is a table of names, types and places, then the bare numbers; a .npz file is a
zip archive of NumPy arrays. Neither can carry code. PyTorch's .pth files can: their objects are a
program for Python's pickle. Nothing of it is run here; see pickles.py. What a file is, its first
bytes say, not its name.

>>> import tempfile
>>> path = tempfile.mkdtemp() + "/model.safetensors"
>>> save({"weight": np.ones((2, 2), np.float32)}, path, metadata={"epoch": "3"})
>>> load(path)["weight"].shape, load_metadata(path)
((2, 2), {'epoch': '3'})
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from ..tensor import Tensor
from . import npz, safetensors_files, torch_files
from .contents import Array, Contents, check_total, read
from .files import replacing
from .pickled_values import RefusedError
from .suspicions import suspicions as tell_suspicions
from .zips import Entry, entries

StrPath = str | os.PathLike[str]


def save(
    state_dict: Mapping[str, Any], path: StrPath, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays (or tensors) by name, and texts by name, to a .safetensors file.

    Equal arguments give equal bytes. The file is complete or not there: see `replacing`. ValueError
    for another suffix, TypeError for what is no array, OSError where the file cannot be written.
    """
    path = checked("save", path, (".safetensors",))
    metadata = dict(metadata or {})
    for name, value in metadata.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"save: metadata {name!r}: {value!r} must be text")
    blob = with_metadata(safetensors.numpy.save(arrays(state_dict)), metadata)
    with replacing(path) as file:
        file.write(blob)


def arrays(state_dict: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays in C order, which is how safetensors reads their memory, without asking."""
    found = {}
    for name, value in state_dict.items():
        array = value._data if isinstance(value, Tensor) else np.asarray(value)
        if not isinstance(name, str) or array.dtype.kind not in "fiub":
            raise TypeError(f"save: {name!r} is {array.dtype}, expected an array of numbers")
        found[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return found


def with_metadata(blob: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file with these texts in its header, sorted.

    The library takes them too, but writes them in another order in every process.
    """
    if not metadata:
        return blob
    (size,) = struct.unpack("<Q", blob[:8])
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(blob[8 : 8 + size])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text + blob[8 + size :]


def load(path: StrPath, key: str | None = None, *, strip: bool = True) -> dict[str, Array]:
    """The arrays of a checkpoint by name: .safetensors, .npz, or PyTorch's .pth, .pt, .th.

    key     of a PyTorch file with several state dicts, which one; the rule is in state_dicts.py
    strip   take `module.`, `model.` and `_orig_mod.` off the names in a PyTorch file if all have
            it. Names in the other files stay as they are: what `save` has written comes back, and
            a network that is called `model` may be in it. `nc.models` takes prefixes off them too.

    bfloat16 becomes float32, everything else keeps its type. The arrays are C-contiguous and can be
    written to, but where PyTorch saved a strided view they are such views; tensors that shared
    memory when they were saved share it again. All are views of one buffer: who keeps one of them
    for long copies it.

    No code in the file is run, and every size in it is checked against the file before memory is
    taken: what would become more than a hundred times the file is refused. OSError where there is
    no file to read, ValueError for one that is damaged, hostile or something else.
    """
    with opened("load", path) as source:
        tensors = source.contents(key, strip).tensors
        return read(source.file, tensors)


def load_metadata(path: StrPath) -> dict[str, str]:
    """The texts in a .safetensors file's header; errors as for `load`."""
    with opened("load_metadata", checked("load_metadata", path, (".safetensors",))) as source:
        return source.contents().metadata


def contents(path: StrPath, key: str | None = None, *, strip: bool = True) -> Contents:
    """What `load` would return, without the numbers; arguments and errors as there."""
    with opened("contents", path) as source:
        return source.contents(key, strip)


def suspicions(path: StrPath) -> list[str]:
    """What `pickle.load` would have done of this file that no state dict needs, a line each.

    OSError where there is no file to read, ValueError where nothing in it can be found.
    """
    with opened("suspicions", path) as source:
        if source.kind == "safetensors":
            return []
        return tell_suspicions(source.file, source.length, source.table())


@dataclass
class Source:
    """An open file, and what its first bytes say it is: zip, safetensors or pickle."""

    file: BinaryIO
    length: int
    kind: str

    def table(self) -> dict[str, Entry] | None:
        """Of an archive, its entries."""
        return entries(self.file, self.length) if self.kind == "zip" else None

    def contents(self, key: str | None = None, strip: bool = True) -> Contents:
        table = self.table()
        if self.kind == "safetensors":
            found = safetensors_files.contents(self.file, self.length)
        elif table is not None and all(name.endswith(".npy") for name in table):
            found = npz.contents(self.file, table)
        else:
            found = torch_files.contents(self.file, self.length, table, key, strip)
        check_total(found, self.length)
        return found


@contextlib.contextmanager
def opened(function: str, path: StrPath) -> Iterator[Source]:
    """The file, opened; a ValueError that leaves the block names function and file."""
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ValueError(f"{function}: {path} is not a file that can be read twice")
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        kind = kind_of(path, file)
        try:
            yield Source(file, length, kind)
        except RefusedError as error:
            raise ValueError(f"{function}: {path}: {error}") from None
        except ValueError as error:
            form = FORMATS.get(path.suffix, "PyTorch")
            raise ValueError(
                f"{function}: {path} is not a {form} file, or a damaged one ({error})"
            ) from error


FORMATS = {".safetensors": "safetensors", ".npz": "NumPy .npz"}  # else PyTorch's


def kind_of(path: Path, file: BinaryIO) -> str:
    """What the first bytes say, or, if they say nothing, the name."""
    file.seek(0)
    start = file.read(9)
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        return "zip"
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40:
        return "safetensors"
    if start[:1] == b"\x80":  # PROTO
        return "pickle"
    return {".safetensors": "safetensors", ".npz": "zip"}.get(path.suffix, "pickle")


def checked(function: str, path: StrPath, suffixes: tuple[str, ...]) -> Path:
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"{function}: path={str(path)!r} must end in {' or '.join(suffixes)}")
    return path
