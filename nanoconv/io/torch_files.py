"""What torch.save writes, read without PyTorch and without running anything: .pth, .pt, .th.

The objects are a pickle (see pickles.py), in which a tensor is a call that takes its storage, the
run of numbers that it sees, by a persistent id:

    torch._utils._rebuild_tensor_v2(
        persistent("storage", torch.FloatStorage, key, "cpu", how many numbers),
        offset, shape, strides, requires_grad, hooks)

Since PyTorch 1.6 the file is a zip archive (see zips.py), whose entries are not compressed:

    name/data.pkl      the pickle
    name/byteorder     "little" or "big"; absent in older files, which are little-endian
    name/data/0        the numbers of the storage with the key "0", and so on
    name/version       "3", and other small entries that say nothing about the tensors

Before (`_use_new_zipfile_serialization=False`) it was five pickles, one after the other:

    119547037146038801333356, the magic number     80 02 8a 0a 6c fc 9c 46 f9 20 6a a8 50 19 2e
    1001, the version of the format
    {"protocol_version": 1001, "little_endian": True, "type_sizes": {...}}
    the objects
    [key, key, ...], the storages in the order that follows
    for each of them: how many numbers it has, i64, then the numbers

Source: torch/serialization.py. What the calls mean is in torch_values.py, which of the tensors are
the weights in state_dicts.py.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

from .contents import Contents, Run, check_count, fill
from .pickled_values import RefusedError, Value
from .pickles import MOST_BYTES, Machine
from .safely import shown
from .state_dicts import short_names, state_dict
from .torch_values import ALLOWED, Runs, pairs_of, storages, tensor
from .zips import Entry

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def contents(
    file: BinaryIO,
    length: int,
    table: dict[str, Entry] | None,
    key: str | None = None,
    strip: bool = True,
) -> Contents:
    """What is in a file: in an archive with this table, or in the old format if that is None."""
    if table is None:
        kind, (objects, runs) = "PyTorch (before 1.6)", old_objects(file, length)
    else:
        kind, (objects, runs) = "PyTorch (zip)", zip_objects(file, table)
    weights, notes = state_dict(objects, key)
    if strip:
        weights, more = short_names(weights)
        notes += more
    check_count(len(weights))
    found = [tensor(name, value, runs) for name, value in weights.items()]
    return Contents(kind, found, notes=notes)


# ---------------------------------------------------------------------------- the zip format


def zip_objects(file: BinaryIO, table: dict[str, Entry]) -> tuple[Value, Runs]:
    """The objects in an archive, and the run of each storage by its key."""
    root = root_of(table)
    if f"{root}constants.pkl" in table:
        raise RefusedError("it is a TorchScript program; save its state_dict() instead")
    raw = unpacked(file, table[f"{root}data.pkl"], MOST_BYTES)
    machine = Machine(io.BytesIO(raw), len(raw), ALLOWED)
    objects = machine.run()
    order = table.get(f"{root}byteorder")
    big_endian = order is not None and unpacked(file, order, 16) == b"big"
    runs = {}
    for key, (dtype, count) in storages(machine.persistents).items():
        entry = table.get(f"{root}data/{key}")
        if entry is None:
            raise ValueError(f"the storage {shown(key)} is missing")
        run = replace(run_of(entry), key=key, dtype=dtype, count=count, big_endian=big_endian)
        if run.nbytes != entry.size:
            raise ValueError(
                f"the storage {shown(key)} of {count} {dtype} has {entry.size} bytes, "
                f"expected {run.nbytes}"
            )
        runs[key] = run
    return objects, runs


def root_of(table: dict[str, Entry]) -> str:
    """The folder of everything in an archive, with a slash."""
    roots = [name.removesuffix("data.pkl") for name in table if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} entries named data.pkl, expected one")
    return roots[0]


def run_of(entry: Entry) -> Run:
    """An entry's bytes."""
    crc = entry.crc if entry.checked else None
    return Run(
        entry.name, "uint8", entry.size, entry.start, entry.packed, 0, entry.deflated, crc
    )  # fmt: skip


def unpacked(file: BinaryIO, entry: Entry, most: int) -> bytes:
    """All bytes of an entry of at most so many."""
    if entry.size > most:
        raise ValueError(f"{shown(entry.name)} has {entry.size} bytes, expected at most {most}")
    room = bytearray(entry.size)
    fill(file, run_of(entry), memoryview(room))
    return bytes(room)


# ---------------------------------------------------------------------------- the old format


def old_objects(file: BinaryIO, length: int) -> tuple[Value, Runs]:
    """The objects in a file of the old format, and the run of each storage by its key."""
    file.seek(0)
    magic, version, system = (next_pickle(file, length)[0] for _ in range(3))
    if not (type(magic) is type(version) is int and (magic, version) == (MAGIC, VERSION)):
        raise ValueError("it does not begin with PyTorch's magic number and version 1001")
    if ("little_endian", True) not in [
        pair for pair in pairs_of(system) or [] if isinstance(pair[1], bool)
    ]:
        raise RefusedError("it was written by a big-endian machine; save it anew with torch.save")
    objects, machine = next_pickle(file, length)
    found = storages(machine.persistents)
    order, _ = next_pickle(file, length)
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise ValueError("its list of storages is no list of keys")
    if len(order) != len(found) or set(order) != found.keys():
        raise ValueError(f"it lists {len(order)} storages, expected the {len(found)} in its pickle")
    runs = {}
    position = file.tell()
    for key in order:
        dtype, count = found[key]
        file.seek(position)
        said = int.from_bytes(file.read(8), "little", signed=True)
        run = Run(key, dtype, count, position + 8, 0)
        runs[key] = run = replace(run, packed=run.nbytes)
        position = run.start + run.packed
        if said != count or position > length:
            raise ValueError(
                f"the storage {shown(key)} of {count} {dtype} has {said}, "
                f"and {length - run.start} bytes are left"
            )
    if position != length:
        raise ValueError(f"{length - position} bytes after its last storage")
    return objects, runs


def next_pickle(file: BinaryIO, length: int) -> tuple[Value, Machine]:
    """The value of the pickle that begins here, and the machine that has read it."""
    machine = Machine(file, length - file.tell(), ALLOWED)
    return machine.run(), machine
