"""Zip archives, as .npz and .pth files are: where each entry lies, checked before it is believed.

A zip archive is read from its end (PKWARE's APPNOTE.TXT, sections 4.3 and 4.4; little-endian):

    entry 0       "PK\\3\\4" … name, extra field, then the bytes, stored or deflated
    entry 1       …
    directory     for each entry "PK\\1\\2" … sizes, checksum, name, where the entry begins
    end, 64 bit   "PK\\6\\6" … and a locator "PK\\6\\7": only where numbers need more than 32 bits
    end           "PK\\5\\6" … how many entries, where the directory begins and how long it is

    end        0 "PK\\5\\6"    4 2× disk u16    8 2× entries u16   12 size, offset of directory u32
    directory  0 "PK\\1\\2"    8 flags u16     10 method u16       16 CRC-32 u32
              20 packed size u32   24 size u32   28 lengths of name, extra field, comment 3× u16
              42 where the entry begins u32   46 name, extra field, comment
    entry      0 "PK\\3\\4"    6 flags u16      8 method u16       14 CRC-32 u32
              18 packed size u32   22 size u32   26 lengths of name, extra field 2× u16   30 name

A size of 0xFFFFFFFF stands in the extra field instead, with 64 bits. With flag 8 the entry itself
does not know its sizes, because they were known only after its bytes were written.

The format says many things twice, and lets entries overlap: 42 kB of directory can promise 5 GB
(D. Fifield, "A better zip bomb", WOOT 2019). Here both places must agree, entries may not overlap,
and what an entry unpacks to is bounded by what deflate can do.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from .safely import shown

STORED, DEFLATED = 0, 8
ENCRYPTED, SIZES_FOLLOW, UTF8 = 1, 8, 0x800
MOST_ENTRIES = 11_000  # some more than `contents.MOST_TENSORS`
LONGEST_DIRECTORY = 4_000_000
MOST_DEFLATED = 1032  # bytes out of one byte: deflate has no shorter code for 258 equal bytes

END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
DIRECTORY = struct.Struct("<4s6H3L5H2L")
ENTRY = struct.Struct("<4s5H3L2H")
IN_EXTRA_16, IN_EXTRA_32 = 0xFFFF, 0xFFFFFFFF


class Entry(NamedTuple):
    """One file inside: `packed` bytes at `start` in the archive, which make `size` bytes."""

    name: str
    header: int  # where its header begins
    start: int
    packed: int
    size: int
    deflated: bool
    crc: int
    checked: bool  # PyTorch can be told to leave the checksums out


def entries(file: BinaryIO, length: int) -> dict[str, Entry]:
    """The table of an archive of `length` bytes by name; ValueError for anything odd in it."""
    directory, size, count, end = find_directory(file, length)
    if count > MOST_ENTRIES:
        raise ValueError(f"{count} entries, expected at most {MOST_ENTRIES}")
    if size > LONGEST_DIRECTORY:
        raise ValueError(f"a directory of {size} bytes, expected at most {LONGEST_DIRECTORY}")
    if size < count * DIRECTORY.size or directory + size != end:
        raise ValueError(f"a directory of {size} bytes for {count} entries before byte {end}")
    file.seek(directory)
    table = file.read(size)
    found: dict[str, Entry] = {}
    position = 0
    for _ in range(count):
        entry, position = read_entry(file, table, position, directory)
        if entry.name in found:
            raise ValueError(f"two entries named {shown(entry.name)}")
        found[entry.name] = entry
    if position != size:
        raise ValueError(f"{size - position} bytes after the last entry of the directory")
    for a, b in pairwise(sorted(found.values(), key=lambda entry: entry.header)):
        if a.start + a.packed > b.header:
            raise ValueError(f"the entries {shown(a.name)} and {shown(b.name)} overlap")
    if found and all(entry.crc == 0 for entry in found.values()):  # torch's set_crc32_options
        found = {name: entry._replace(checked=False) for name, entry in found.items()}
    return found


def find_directory(file: BinaryIO, length: int) -> tuple[int, int, int, int]:
    """Where the directory begins, its size, the number of its entries, and where it must end."""
    tail_start = max(0, length - END.size - IN_EXTRA_16)  # a comment may follow the end record
    file.seek(tail_start)
    tail = file.read(length - tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise ValueError("no directory at its end: it was cut off")
    _, disk, first, here, count, size, directory, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail):
        raise ValueError(f"{len(tail) - at - END.size} bytes after its end, expected {comment}")
    end = tail_start + at
    locator = end - LOCATOR.size
    if locator >= END_64.size:
        file.seek(locator)
        magic, disk_64, at_64, _ = LOCATOR.unpack(file.read(LOCATOR.size))
        if magic == b"PK\6\7":
            if at_64 + END_64.size != locator:
                raise ValueError(f"its 64-bit end is said to be at byte {at_64}")
            file.seek(at_64)
            record = END_64.unpack(file.read(END_64.size))
            magic, _, _, _, disk, first, here, count, size, directory = record
            if magic != b"PK\6\6":
                raise ValueError(f"no 64-bit end at byte {at_64}")
            end, disk = at_64, disk | disk_64
    if disk or first or here != count:
        raise ValueError("it is one part of several")
    return directory, size, count, end


def read_entry(file: BinaryIO, table: bytes, position: int, limit: int) -> tuple[Entry, int]:
    """The entry whose line in the directory begins at `position`, and where the next one does."""
    if position + DIRECTORY.size > len(table):
        raise ValueError("its directory is shorter than its entries")
    (magic, _, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, _, header) = (
        DIRECTORY.unpack_from(table, position)
    )
    name_length, extra_length, comment_length = lengths
    at = position + DIRECTORY.size
    after = at + name_length + extra_length + comment_length
    if magic != b"PK\1\2" or after > len(table) or disk:
        raise ValueError(f"a damaged directory at byte {position}")
    raw = table[at : at + name_length]
    name = checked_name(raw, flags)
    extra = table[at + name_length : at + name_length + extra_length]
    size, packed, header = from_extra(name, extra, size, packed, header)
    if method not in (STORED, DEFLATED) or flags & ENCRYPTED:
        raise ValueError(f"{shown(name)} is packed by method {method}, expected stored or deflated")
    if method == STORED and packed != size:
        raise ValueError(f"{shown(name)} is stored, but {packed} bytes are said to make {size}")
    if size > packed * MOST_DEFLATED:
        raise ValueError(f"{shown(name)}: {packed} bytes cannot make {size}")
    start = checked_header(file, header, limit, name, raw, (flags, method, crc, packed, size))
    if start + packed > limit:
        raise ValueError(
            f"{shown(name)} ends at byte {start + packed}, the directory is at {limit}"
        )
    return Entry(name, header, start, packed, size, method == DEFLATED, crc, True), after


def from_extra(
    name: str, extra: bytes, size: int, packed: int, header: int
) -> tuple[int, int, int]:
    """The three numbers, from the extra field (kind u16, length u16, bytes; kind 1) if too long."""
    values = [size, packed, header]
    wanted = [k for k, value in enumerate(values) if value == IN_EXTRA_32]
    while wanted and len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and len(extra) >= 4 + length >= 4 + 8 * len(wanted):
            for place, k in enumerate(wanted):
                (values[k],) = struct.unpack_from("<Q", extra, 4 + 8 * place)
            wanted = []
        extra = extra[4 + length :]
    if wanted:
        raise ValueError(f"{shown(name)} lacks its 64-bit sizes")
    return values[0], values[1], values[2]


def checked_header(
    file: BinaryIO,
    header: int,
    limit: int,
    name: str,
    raw: bytes,
    expected: tuple[int, int, int, int, int],
) -> int:
    """Where the bytes of an entry begin; its own header must agree with the directory."""
    if header + ENTRY.size > limit:
        raise ValueError(f"{shown(name)} begins at byte {header}, the directory is at {limit}")
    file.seek(header)
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = ENTRY.unpack(
        file.read(ENTRY.size)
    )
    agree = magic == b"PK\3\4" and file.read(name_length) == raw and method == expected[1]
    if agree and not flags & SIZES_FOLLOW:
        extra = file.read(extra_length) if IN_EXTRA_32 in (size, packed) else b""
        size, packed, _ = from_extra(name, extra, size, packed, 0)
        agree = (crc, packed, size) == expected[2:]
    if not agree:
        raise ValueError(f"{shown(name)}: the entry and the directory say different things")
    return header + ENTRY.size + name_length + extra_length


def checked_name(raw: bytes, flags: int) -> str:
    """The name of an entry, which must be a plain relative path, although nothing is unpacked."""
    try:
        name = raw.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise ValueError(f"an entry named {shown(raw)}, which is no text") from None
    if not name.isprintable() or re.search(r"^$|^/|\\|^[A-Za-z]:|(^|/)\.\.(/|$)", name):
        raise ValueError(f"an entry named {shown(name)}: a path that leads elsewhere")
    return name
