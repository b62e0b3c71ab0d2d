"""What every reader of a file finds: where its numbers lie, and which arrays they make.

A run is numbers in one piece, as they lie in the file. A tensor sees a run through an offset, a
shape and strides: tensor[i, j] = run[offset + i·strides[0] + j·strides[1]], counted in numbers.
Several tensors can see the same run, as a tied weight does, and then their arrays share memory.

`read` takes the runs that are wanted into one buffer (one large allocation is quicker than many
small ones), checks their checksums on the way, and returns views of it: no number is copied twice,
and the peak is what the numbers take. Copied are bfloat16, which becomes float32 (the same bits, 16
zeros after them, so nothing is lost), numbers in another byte order, and tensors that see one
number several times, because writing to one element would change others.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, BinaryIO

import numpy as np

from ..config import get_num_threads
from .safely import shown

Array = np.ndarray

# How the numbers lie in a file, and in which type they are loaded. (A bool can be any byte.)
BFLOAT16, BOOL = "bfloat16", "bool"
LAYOUTS = {BFLOAT16: "<u2", BOOL: "u1"}
ALIGNMENT = 64
CHUNK = 1 << 18  # stays in the cache between being read and being checked
MOST_THREADS, WORTH_THREADS = 4, 1 << 24  # to check one piece while reading another

MOST_TENSORS = 10_000  # ResNet-152 has 932
# What may be made of a file: this many bytes, and a hundred for each of its own. Tensors can see a
# number many times, and deflate packs 1032 zeros into a byte; real weights do nothing like that.
LEAST_ROOM, ROOM = 16_000_000, 100


@dataclass(frozen=True, slots=True)
class Run:
    """`count` numbers in `packed` bytes of the file, `skip` bytes after `start` once unpacked."""

    key: object  # equal for tensors that share memory
    dtype: str  # "float32", as NumPy and PyTorch call it; "bfloat16"
    count: int
    start: int
    packed: int
    skip: int = 0
    deflated: bool = False
    crc: int | None = None  # of all unpacked bytes
    big_endian: bool = False

    @property
    def layout(self) -> np.dtype:
        dtype = np.dtype(LAYOUTS.get(self.dtype, self.dtype))
        return dtype.newbyteorder(">" if self.big_endian else "<")

    @property
    def nbytes(self) -> int:
        """Of the numbers alone, unpacked."""
        return self.count * self.layout.itemsize

    @property
    def loaded(self) -> np.dtype:
        """The type that the numbers have once loaded."""
        return np.dtype("f4" if self.dtype == BFLOAT16 else self.dtype).newbyteorder("=")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor by name: what it sees of a run."""

    name: str
    run: Run
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """In the file's type."""
        return self.size * self.run.layout.itemsize

    @property
    def contiguous(self) -> bool:
        """Numbers in C order without gaps. An axis of one number may have any stride."""
        pairs = zip(self.shape, self.strides, c_strides(self.shape), strict=True)
        return self.size == 0 or all(d == 1 or own == c for d, own, c in pairs)

    @property
    def overlapping(self) -> bool:
        """Whether it may see a number twice: an axis's step is shorter than what lies inside it."""
        reach = 0
        axes = sorted(zip(self.strides, self.shape, strict=True))
        for stride, size in (axis for axis in axes if axis[1] > 1):
            if stride <= reach:
                return True
            reach += (size - 1) * stride
        return False


@dataclass
class Contents:
    """What is in a file, without the numbers.

    format    "PyTorch (zip)" and the like
    tensors   those that `load` returns, in the file's order
    metadata  texts beside them
    notes     what a reader should know: which names were shortened, what was left out
    """

    format: str
    tensors: list[Stored]
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The steps of C order: the last axis is one number after the other."""
    return tuple(prod(shape[k + 1 :]) for k in range(len(shape)))


def integers(values: Any, name: str, what: str) -> tuple[int, ...]:
    """A shape or strides from a file: at most 64 integers that are not negative."""
    if not isinstance(values, (list, tuple)) or len(values) > 64:
        raise ValueError(f"{shown(name)}: its {what} is no list of at most 64 integers")
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 48:  # a bool is no size
            found = shown(str(value)) if isinstance(value, int) else type(value).__name__
            raise ValueError(f"{shown(name)}: its {what} has {found}, expected 0 to 2⁴⁸")
    return tuple(values)


def checked(name: str, run: Run, offset: Any, shape: Any, strides: Any = None) -> Stored:
    """A tensor, all of whose numbers lie inside its run."""
    shape = integers(shape, name, "shape")
    strides = c_strides(shape) if strides is None else integers(strides, name, "strides")
    (offset,) = integers([offset], name, "offset")
    if len(strides) != len(shape):
        raise ValueError(f"{shown(name)} has {len(shape)} axes and {len(strides)} strides")
    last = offset + sum((d - 1) * step for d, step in zip(shape, strides, strict=True))
    if 0 in shape:
        last = -1
        if prod(d for d in shape if d) >= 1 << 56:
            raise ValueError(f"{shown(name)}: its shape is beyond what an array can have")
    if last >= run.count:
        raise ValueError(f"{shown(name)} needs number {last} of {run.count}")
    return Stored(name, run, offset, shape, strides)


def check_count(tensors: int) -> None:
    if tensors > MOST_TENSORS:
        raise ValueError(f"{tensors} tensors, expected at most {MOST_TENSORS}")


def check_total(contents: Contents, length: int) -> None:
    """ValueError if the arrays, or the runs that they see, would be far larger than the file."""
    runs = {tensor.run.key: tensor.run for tensor in contents.tensors}.values()
    seen = sum(tensor.size * tensor.run.loaded.itemsize for tensor in contents.tensors)
    total = max(seen, sum(run.skip + run.count * run.loaded.itemsize for run in runs))
    most = LEAST_ROOM + ROOM * length
    if total > most:
        raise ValueError(
            f"{length:,} bytes would become {total:,} bytes of arrays, expected at most {most:,}"
        )


def read(file: BinaryIO, tensors: Sequence[Stored]) -> dict[str, Array]:
    """The arrays by name; ValueError for a wrong checksum."""
    runs = {tensor.run.key: tensor.run for tensor in tensors}
    places, end = [], 0
    for run in runs.values():
        end += -(end + run.skip) % ALIGNMENT  # its numbers begin at a multiple of that
        places.append(slice(end, end + run.skip + run.nbytes))
        end = places[-1].stop
    buffer = np.empty(end + ALIGNMENT, np.uint8)
    buffer = buffer[-buffer.ctypes.data % ALIGNMENT :]
    rooms = [buffer[place] for place in places]
    from concurrent.futures import ThreadPoolExecutor  # late: it costs as much as this package

    threads = min(get_num_threads(), MOST_THREADS) if end > WORTH_THREADS else 1
    with ThreadPoolExecutor(threads) as pool:
        each = map if threads == 1 else pool.map
        for _ in each(partial(fill, file), runs.values(), [room.data for room in rooms]):
            pass
    numbers = {
        run.key: converted(run, room[run.skip :])
        for run, room in zip(runs.values(), rooms, strict=True)
    }
    return {tensor.name: seen(tensor, numbers[tensor.run.key]) for tensor in tensors}


def fill(file: BinaryIO, run: Run, room: memoryview) -> None:
    """Read a run into memory of its unpacked size. Leaves alone where the file stands."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS) if run.deflated else None
    crc = done = taken = 0
    while done < len(room):
        piece = room[done : done + CHUNK]
        if unpack is None:
            if os.preadv(file.fileno(), [piece], run.start + done) != len(piece):
                raise ValueError("it ended while being read")
        else:
            packed = unpack.unconsumed_tail
            if not packed:
                size = min(CHUNK, run.packed - taken)
                packed = os.pread(file.fileno(), size, run.start + taken)
                taken += len(packed)
            try:
                made = unpack.decompress(packed, len(piece))
            except zlib.error as error:
                raise ValueError(f"deflated bytes are damaged: {error}") from None
            if not made and (unpack.eof or not packed):
                raise ValueError(f"deflated bytes make {done}, expected {len(room)}")
            piece = piece[: len(made)]
            piece[:] = made
        crc = zlib.crc32(piece, crc) if run.crc is not None else 0
        done += len(piece)
    if run.crc is not None and crc != run.crc:
        raise ValueError(f"a checksum is {crc:08x}, expected {run.crc:08x}")


def converted(run: Run, raw: Array) -> Array:
    """The numbers (count,) from their bytes: a view where they lie as they are loaded."""
    numbers = raw.view(run.layout)
    if run.dtype == BOOL:
        np.not_equal(numbers, 0, out=numbers)
        return numbers.view(np.bool_)
    if run.dtype == BFLOAT16:
        wide = numbers.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return numbers.astype(run.loaded, copy=False)


def seen(tensor: Stored, numbers: Array) -> Array:
    """A tensor's array, a view of the numbers unless it would see one twice."""
    if tensor.size == 0:
        return np.zeros(tensor.shape, numbers.dtype)
    if tensor.contiguous:
        return numbers[tensor.offset : tensor.offset + tensor.size].reshape(tensor.shape)
    strides = [step * numbers.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
    return view.copy() if tensor.overlapping else view
