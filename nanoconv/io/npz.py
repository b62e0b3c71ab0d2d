"""NumPy's .npz: a zip archive with one .npy for each array.

A .npy file (numpy.lib.format) is a header in text, then the bare numbers:

    0   93 "NUMPY"   the magic
    6   version u8, 0 u8: 1, 2 or 3
    8   length of the header, u16 (version 1) or u32, little-endian
    …   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }  and spaces up to a line feed
    …   the numbers; in Fortran order the first axis is the one whose neighbours lie together

The header is a Python expression. It is matched against the one form that NumPy writes, never
evaluated; arrays of Python objects, which would need a pickle, are refused.
"""

from __future__ import annotations

import re
import zlib
from typing import BinaryIO

import numpy as np

from .contents import Contents, Run, Stored, c_strides, check_count, checked
from .safely import shown
from .zips import Entry

OBJECTS = re.compile(r"'\|?O")
LONGEST_HEADER = 4096  # of an array with 64 axes: under 1500
HEADER = re.compile(
    r"\{'descr': '([<>|=])([biufcSU])(\d{1,6})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?)\),? ?\} *\n"
)


def contents(file: BinaryIO, table: dict[str, Entry]) -> Contents:
    """What is in the archive with this table."""
    check_count(len(table))
    return Contents("NumPy (.npz)", [array(file, entry) for entry in table.values()])


def array(file: BinaryIO, entry: Entry) -> Stored:
    """The array in one entry, whose size its header must explain to the last byte."""
    text, skip = header(entry.name, opening(file, entry))
    found = HEADER.fullmatch(text)
    if not found:
        what = "an array of Python objects" if OBJECTS.search(text) else "no array, by its header"
        raise ValueError(f"{shown(entry.name)} is {what} {shown(text.strip())}")
    order, kind, width, fortran, axes = found.groups()
    dtype = known(f"{kind}{width}", entry.name)
    shape = [int(axis.rstrip("L")) for axis in re.split(r", ?", axes) if axis]
    strides = c_strides(shape[::-1])[::-1] if fortran == "True" else c_strides(shape)
    count, rest = divmod(entry.size - skip, dtype.itemsize)
    run = Run(
        key=entry.name,
        dtype=dtype.str[1:] if dtype.kind in "US" else dtype.name,
        count=count,
        start=entry.start,
        packed=entry.packed,
        skip=skip,
        deflated=entry.deflated,
        crc=entry.crc if entry.checked else None,
        big_endian=order == ">",
    )
    stored = checked(entry.name.removesuffix(".npy"), run, 0, shape, strides)
    if rest or stored.size != count:
        raise ValueError(
            f"{shown(entry.name)} has {entry.size - skip} bytes of numbers, "
            f"expected {stored.nbytes}"
        )
    return stored


def header(name: str, start: bytes) -> tuple[str, int]:
    """The header of an array, and where its numbers begin, from its first bytes."""
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        raise ValueError(f"{shown(name)} is not a NumPy array")
    width = 2 if start[6] == 1 else 4
    skip = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if skip > min(len(start), LONGEST_HEADER):
        raise ValueError(f"{shown(name)} has a header of {skip} bytes")
    return start[8 + width : skip].decode("latin1"), skip


def objects(raw: bytes) -> bytes:
    """The pickle in an array of Python objects; empty for any other."""
    text, skip = header("", raw)
    return raw[skip:] if OBJECTS.search(text) else b""


def opening(file: BinaryIO, entry: Entry) -> bytes:
    """The first bytes of an entry, unpacked."""
    file.seek(entry.start)
    raw = file.read(min(entry.packed, LONGEST_HEADER))
    if not entry.deflated:
        return raw
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(raw, LONGEST_HEADER)
    except zlib.error as error:
        raise ValueError(f"{shown(entry.name)} is damaged: {error}") from None


def known(code: str, name: str) -> np.dtype:
    """A type by NumPy's code for it; texts are types too."""
    try:
        dtype = np.dtype(code)
    except TypeError:
        dtype = None
    if dtype is None or dtype.itemsize == 0 or code == "f16":
        raise ValueError(f"{shown(name)} has numbers of type {code!r}")
    return dtype
