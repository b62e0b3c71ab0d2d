"""What a pickle's opcodes put on the stack, as data that nothing can be done with but looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .safely import shown

Value = Any  # None, bool, int, float, str, bytes, tuple, list or one of these classes


class Pairs(list[tuple[Value, Value]]):
    """A dict, as a list of (key, value)."""

    __slots__ = ()


class Items(list[Value]):
    """A set, as a list."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Global:
    """A function or class in a Python module, by its full name; never looked up."""

    full: str  # "os.system"

    def __str__(self) -> str:
        return shown(self.full)[1:-1]


@dataclass(slots=True, eq=False)
class Call:
    """A call that `pickle.load` would make, and what it would do with the result."""

    function: Value
    arguments: Value
    state: Value = None  # what BUILD hands to __setstate__
    pairs: Pairs = field(default_factory=Pairs)  # what SETITEM puts into it
    added: list[Value] = field(default_factory=list)  # what APPEND adds to it


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """What the file's own format keeps outside the pickle: in PyTorch's, a storage."""

    id: Value


class RefusedError(ValueError):
    """A pickle that names a global which is not on the list."""


LONGEST_TEXT = 300


def described(value: Value, depth: int = 4) -> str:
    """A value as Python would write it, as far as `depth` levels and eight items each."""
    if isinstance(value, (str, bytes)):
        return shown(value, LONGEST_TEXT)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Global):
        return str(value)
    if depth == 0:
        return "…"
    if isinstance(value, Call):
        arguments = value.arguments if isinstance(value.arguments, tuple) else (value.arguments,)
        text = f"{described(value.function, depth - 1)}({listed(arguments, depth)})"
        if value.state is not None:
            text += f".__setstate__({described(value.state, depth - 1)})"
        return text
    if isinstance(value, Persistent):
        return f"persistent({described(value.id, depth - 1)})"
    if isinstance(value, Pairs):
        pairs = (f"{described(k, depth - 1)}: {described(v, depth - 1)}" for k, v in value[:8])
        return "{" + ", ".join([*pairs, *["…"] * (len(value) > 8)]) + "}"
    if isinstance(value, tuple):
        return f"({listed(value, depth)}{',' * (len(value) == 1)})"
    return f"[{listed(value, depth)}]"


def listed(values: Sequence[Value], depth: int) -> str:
    texts = [described(value, depth - 1) for value in values[:8]]
    return ", ".join([*texts, *["…"] * (len(values) > 8)])
