"""Checkpoints: the arrays of a model by name, in a file that can hold nothing but arrays.

A .safetensors file is a table of names, types and places, then the bare numbers; a .npz file is a
zip archive of NumPy arrays. Neither can carry code, so both are safe to open, whoever made them.

>>> import tempfile
>>> path = tempfile.mkdtemp() + "/model.safetensors"
>>> save({"weight": np.ones((2, 2), np.float32)}, path, metadata={"epoch": "3"})
>>> load(path)["weight"].shape, load_metadata(path)
((2, 2), {'epoch': '3'})
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from ..tensor import Tensor
from .files import replacing

Array = np.ndarray
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


def load(path: StrPath) -> dict[str, Array]:
    """The arrays of a .safetensors or .npz file by name; no code in the file is ever run.

    FileNotFoundError (or another OSError) where there is no file to read, ValueError for one that
    is damaged or something else.
    """
    path = checked("load", path, (".safetensors", ".npz"))
    blob = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            return dict(sorted(safetensors.numpy.load(blob).items()))  # in no order of its own
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # in a damaged file the readers can stumble over almost anything
        raise damaged(path, error) from error


def load_metadata(path: StrPath) -> dict[str, str]:
    """The texts in a .safetensors file's header; errors as for `load`."""
    path = checked("load_metadata", path, (".safetensors",))
    path.open("rb").close()  # says what is wrong with a path better than the library does
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ValueError:
    kind = path.suffix[1:]
    return ValueError(f"load: {path} is not a {kind} file, or a damaged one ({error})")


def checked(function: str, path: StrPath, suffixes: tuple[str, ...]) -> Path:
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"{function}: path={str(path)!r} must end in {' or '.join(suffixes)}")
    return path
