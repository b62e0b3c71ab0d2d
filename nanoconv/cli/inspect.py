"""`nanoconv inspect`: what is in a checkpoint, without loading or running any of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..io import checkpoints
from ..io.contents import Contents
from ..io.safely import shown
from .console import AsJson, print_table, reason


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".safetensors, .npz, .pth, …")],
    key: Annotated[
        str | None, typer.Option(help="Of several state dicts in a PyTorch file, this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the tensors in a checkpoint, or what a hostile one would have tried."""
    try:
        contents = checkpoints.contents(file, key)
    except ValueError as error:
        refuse(file, reason(error), as_json)
        raise typer.Exit(1) from None
    size = file.stat().st_size
    if as_json:
        print(json.dumps({"file": str(file), "bytes": size, **report(contents)}, indent=2))
        return
    print(f"{file}: {contents.format}, {size:,} bytes")
    for note in contents.notes:
        print(note)
    for name, text in contents.metadata.items():
        print(f"{plain(name)}: {plain(text)}")
    print()
    print_table(table(contents))


def refuse(file: Path, why: str, as_json: bool) -> None:
    """Say why a file cannot be loaded, and what it would have done."""
    try:
        found = checkpoints.suspicions(file)
    except ValueError:
        found = []
    if as_json:
        print(json.dumps({"file": str(file), "error": why, "would_have": found}, indent=2))
    elif found:
        print(f"{file}: what loading it with pickle would have done")
        for line in found:
            print(f"  {line}")
    print(f"nanoconv: {why}", file=sys.stderr)


def plain(text: str) -> str:
    """Without anything that could move the cursor of a terminal."""
    return shown(text)[1:-1]


def shares(contents: Contents) -> dict[str, str]:
    """For each tensor that sees the numbers of an earlier one, the name of that."""
    first: dict[object, str] = {}
    return {
        tensor.name: first[tensor.run.key]
        for tensor in contents.tensors
        if first.setdefault(tensor.run.key, tensor.name) != tensor.name
    }


def report(contents: Contents) -> dict[str, Any]:
    """The contents as JSON tells them."""
    shared = shares(contents)
    return {
        "format": contents.format,
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.run.dtype,
                "shape": list(tensor.shape),
                "bytes": tensor.nbytes,
                "shares_memory_with": shared.get(tensor.name),
            }
            for tensor in contents.tensors
        ],
        "numbers": sum(tensor.size for tensor in contents.tensors),
        "stored_bytes": stored_bytes(contents),
        "metadata": contents.metadata,
        "notes": contents.notes,
    }


def stored_bytes(contents: Contents) -> int:
    """Of all numbers that the tensors see, each counted once."""
    return sum({tensor.run.key: tensor.run.nbytes for tensor in contents.tensors}.values())


def table(contents: Contents) -> list[list[str]]:
    """The contents as a table, with a last row for all."""
    shared = shares(contents)
    rows = [["tensor", "type", "shape", "numbers", "bytes", "shares memory with"]]
    for tensor in contents.tensors:
        rows.append([
            plain(tensor.name),
            tensor.run.dtype,
            " × ".join(map(str, tensor.shape)),
            f"{tensor.size:,}",
            f"{tensor.nbytes:,}",
            plain(shared.get(tensor.name, "")),
        ])  # fmt: skip
    numbers = sum(tensor.size for tensor in contents.tensors)
    total = f"{len(contents.tensors)} tensors"
    rows.append([total, "", "", f"{numbers:,}", f"{stored_bytes(contents):,}", ""])
    if not shared:
        rows = [row[:-1] for row in rows]
    return rows
