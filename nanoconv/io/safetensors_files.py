"""safetensors: a table of names, types and places in JSON, then the bare numbers.

    0     length of the table u64, little-endian
    8     {"weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, …,
           "__metadata__": {"text": "text", …}}    in UTF-8, begins with "{", may end in spaces
    8+n   the numbers, in C order, little-endian; data_offsets count from here

The numbers must fill the file to its end without gap or overlap, so that nothing can be hidden and
nothing is read twice (github.com/huggingface/safetensors, "Format"). The table is bounded: a
hundred bytes describe a tensor. Python's JSON reader makes at most twenty times its size of it.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from .contents import Contents, Run, Stored, check_count, checked
from .safely import shown

LONGEST_TABLE = 2_000_000
METADATA = "__metadata__"
DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
}  # fmt: skip


def contents(file: BinaryIO, length: int) -> Contents:
    """What is in a file of `length` bytes."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if length < 10 or size > length - 8:
        raise ValueError(f"a table of {size} bytes in a file of {length}")
    if size > LONGEST_TABLE:
        raise ValueError(f"a table of {size} bytes, expected at most {LONGEST_TABLE}")
    table = parsed(file.read(size))
    metadata = table.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(type(v) is str for v in metadata.values()):
        raise ValueError(f"its {METADATA} are not texts by name")
    check_count(len(table))
    found = [stored(name, line, 8 + size) for name, line in table.items()]
    position = 8 + size
    for tensor in sorted(found, key=lambda tensor: (tensor.run.start, tensor.nbytes)):
        if tensor.run.start != position:
            raise ValueError(
                f"{shown(tensor.name)} begins at byte {tensor.run.start}, expected {position}"
            )
        position += tensor.nbytes
    if position != length:
        raise ValueError(f"its numbers end at byte {position} of {length}")
    return Contents("safetensors", sorted(found, key=lambda tensor: tensor.name), metadata)


def stored(name: str, line: Any, first: int) -> Stored:
    """The tensor that one line of the table describes; the numbers begin at byte `first`."""
    if not isinstance(line, dict) or line.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)} is not described by dtype, shape and data_offsets")
    dtype, offsets = line["dtype"], line["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{shown(name)}: dtype {shown(str(dtype))}, expected {', '.join(DTYPES)}")
    if not (isinstance(offsets, list) and [type(k) for k in offsets] == [int, int]):
        raise ValueError(f"{shown(name)}: its data_offsets are not two integers")
    start, end = offsets
    if not 0 <= start <= end < 1 << 62:
        raise ValueError(f"{shown(name)}: data_offsets {shown(str(offsets))}")
    item = Run(None, DTYPES[dtype], 0, 0, 0).layout.itemsize
    run = Run(name, DTYPES[dtype], (end - start) // item, first + start, end - start)
    tensor = checked(name, run, 0, line["shape"])
    if tensor.nbytes != end - start:
        raise ValueError(f"{shown(name)} has {end - start} bytes, expected {tensor.nbytes}")
    return tensor


def parsed(text: bytes) -> dict[str, Any]:
    """The table; what JSON leaves open is refused: NaN, a key twice, text that is not UTF-8."""
    if not text.startswith(b"{"):
        raise ValueError("its table does not begin with {")
    try:
        table = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError("a table of lists in lists in lists") from None
    for name in table:
        name.encode()  # half a character, written as \ud800, is no name
    return table


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} stands in its table twice")
        found[name] = value
    return found


def refuse(constant: str) -> Any:
    raise ValueError(f"{constant} in its table")
