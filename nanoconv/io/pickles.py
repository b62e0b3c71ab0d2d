"""Pickles, read without running them: a closed machine that knows the opcodes and nothing else.

A pickle is a program for a machine with a stack and a memo: a list of values put aside. Each opcode
is one byte, followed by its argument; STOP ends the program, the top of the stack is the result.
`{"a": (1, 2)}` is

    80 02         PROTO 2        the version of the language
    7d            EMPTY_DICT     {}
    71 00         BINPUT 0       memo[0] = the top of the stack
    58 01 00 00 00 61  BINUNICODE  "a", after its length in four bytes
    4b 01 4b 02   BININT1        1, then 2
    86            TUPLE2         (1, 2)
    73            SETITEM        the dict below gets the two on top as key and value
    2e            STOP

GLOBAL (63, two lines of text) names something in a Python module, and REDUCE (52) calls it. That is
how `pickle.load` makes objects of any class, and how a file can run any code: GLOBAL os system,
"rm -rf /", TUPLE1, REDUCE. This machine imports nothing and calls nothing. A global is its two
names, a call is the record of a function and its arguments (`Call`), and whoever reads the result
decides what it means. For a dict there is a list of its pairs (`Pairs`): keys are never hashed, so
that none can be chosen to collide.

The opcodes are those of protocols 0 to 5 (Lib/pickletools.py in CPython describes each). Bounds:
the length of the pickle, of a text, the number of opcodes and with it the size of stack and memo.
Nothing here recurses, however deep values lie in each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from struct import Struct
from typing import Any, BinaryIO

from .pickled_values import Call, Global, Items, Pairs, Persistent, RefusedError, Value
from .safely import shown

MOST_BYTES = 8_000_000  # of one pickle: a tensor takes about 150
MOST_OPCODES = 200_000  # of one pickle: a tensor takes about 35
MOST_GLOBALS = 1000
LONGEST_LINE = 1000  # names and numbers that are written as text
LONGEST_INTEGER = 256  # bytes

Step = Callable[["Machine"], None]
OPCODES: dict[bytes, Step] = {}


def opcode(code: bytes) -> Callable[[Step], Step]:
    def register(step: Step) -> Step:
        OPCODES[code] = step
        return step

    return register


class Machine:
    """Reads one pickle from `file`, of which `length` bytes are left.

    allowed   full names of the globals that may appear; any other is `RefusedError`. None: all may
    globals   those that appeared, in order
    calls     the calls it asks for, in order
    persistents  what it keeps elsewhere, in order
    """

    def __init__(self, file: BinaryIO, length: int, allowed: Collection[str] | None = None) -> None:
        self.file = file
        self.left = min(length, MOST_BYTES)
        self.too_long = "the pickle ends too early"
        if length > MOST_BYTES:
            self.too_long += f", or has more than {MOST_BYTES} bytes"
        self.allowed = allowed
        self.stack: list[Value] = []
        self.marks: list[int] = []  # how high the stack was at each mark
        self.memo: dict[int, Value] = {}
        self.globals: dict[str, None] = {}
        self.calls: list[Call] = []
        self.persistents: list[Persistent] = []

    def run(self) -> Value:
        """The value on top of the stack at STOP; ValueError for what is no pickle."""
        read = self.file.read
        for _ in range(MOST_OPCODES):
            code = read(1) if self.left else b""
            self.left -= 1
            if code == STOP:
                return self.pop()
            step = OPCODES.get(code)
            if step is None:
                raise ValueError(f"0x{code.hex()} is no opcode" if code else self.too_long)
            step(self)
        raise ValueError(f"a pickle of more than {MOST_OPCODES} opcodes")

    # ------------------------------------------------------------------------ reading bytes

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            raise ValueError(self.too_long)
        self.left -= size
        found = self.file.read(size)
        if len(found) != size:
            raise ValueError(self.too_long)
        return found

    def number(self, layout: Struct) -> Any:
        return layout.unpack(self.read(layout.size))[0]

    def raw_line(self) -> bytes:
        found = self.file.readline(min(LONGEST_LINE, self.left))
        self.left -= len(found)
        if not found.endswith(b"\n"):
            raise ValueError("a line in the pickle does not end")
        return found[:-1]

    def line(self) -> str:
        return decoded(self.raw_line())

    def text(self, layout: Struct) -> str:
        return decoded(self.read(self.number(layout)))

    # ------------------------------------------------------------------------ the stack

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def top(self) -> Value:
        self.need(1)
        return self.stack[-1]

    def pop(self) -> Value:
        self.need(1)
        return self.stack.pop()

    def pops(self, count: int) -> tuple[Value, ...]:
        self.need(count)
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        return found

    def need(self, count: int) -> None:
        """So many values must lie above the last mark."""
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise ValueError("the pickle takes a value from an empty stack")

    def pop_to_mark(self) -> list[Value]:
        if not self.marks:
            raise ValueError("the pickle looks for a mark that it has not set")
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def put(self, index: int) -> None:
        if not 0 <= index < 1 << 32:
            raise ValueError(f"place {shown(str(index))} of the memo, expected one below 2³²")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"nothing is at place {shown(str(index))} of the memo")
        self.push(self.memo[index])

    # ------------------------------------------------------------------------ what would be run

    def name(self, module: Value, name: Value) -> Global:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a global whose name is not text")
        found = Global(f"{module}.{name}")
        self.globals[found.full] = None
        if len(self.globals) > MOST_GLOBALS:
            raise ValueError(f"a pickle that names more than {MOST_GLOBALS} globals")
        if self.allowed is not None and found.full not in self.allowed:
            raise RefusedError(
                f"its pickle names {found}, which no state dict needs; nothing was run"
            )
        return found

    def call(self, function: Value, arguments: Value) -> None:
        self.calls.append(Call(function, arguments))
        self.push(self.calls[-1])

    def persistent(self, id: Value) -> None:
        self.persistents.append(Persistent(id))
        self.push(self.persistents[-1])


def decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{shown(raw)} is not UTF-8") from None


def numeral(line: str, kind: type[int] | type[float] = int) -> Any:
    try:
        return kind(line)
    except ValueError:
        raise ValueError(f"{shown(line)} is no number") from None


def paired(values: list[Value]) -> Pairs:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return Pairs(zip(values[::2], values[1::2], strict=True))


# ---------------------------------------------------------------------------- opcodes with numbers

STOP = b"."
CONSTANTS: dict[bytes, Callable[[], Value]] = {
    b"N": lambda: None, b"\x88": lambda: True, b"\x89": lambda: False,
    b")": tuple, b"]": list, b"}": Pairs, b"\x8f": Items,
}  # fmt: skip
# What follows these opcodes, in the letters of `struct`. A float is the only big-endian number.
NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
LONGS = {b"\x8a": "<B", b"\x8b": "<i"}  # how many bytes the integer has, then these
TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q", b"T": "<i", b"U": "<B"}  # the same of a text
BYTES = {b"B": "<I", b"C": "<B", b"\x8e": "<Q", b"\x96": "<Q"}
TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
PUTS, GETS = {b"q": "<B", b"r": "<I"}, {b"h": "<B", b"j": "<I"}
EXTENSIONS = {b"\x82": "<B", b"\x83": "<H", b"\x84": "<i"}


def push_constant(make: Callable[[], Value], m: Machine) -> None:
    m.push(make())


def push_number(layout: Struct, m: Machine) -> None:
    m.push(m.number(layout))


def push_long(layout: Struct, m: Machine) -> None:
    size = m.number(layout)
    if size > LONGEST_INTEGER:
        raise ValueError(f"an integer of {size} bytes, expected at most {LONGEST_INTEGER}")
    m.push(int.from_bytes(m.read(size), "little", signed=True))


def push_text(layout: Struct, m: Machine) -> None:
    m.push(m.text(layout))


def push_bytes(layout: Struct, m: Machine) -> None:
    m.push(m.read(m.number(layout)))


def push_tuple(count: int, m: Machine) -> None:
    m.push(m.pops(count))


def put(layout: Struct, m: Machine) -> None:
    m.put(m.number(layout))


def get(layout: Struct, m: Machine) -> None:
    m.get(m.number(layout))


def push_extension(layout: Struct, m: Machine) -> None:
    m.push(m.name("copyreg", f"extension {m.number(layout)}"))  # a global by its registered number


def register(table: dict[bytes, Any], step: Callable[[Any, Machine], None]) -> None:
    for code, argument in table.items():
        OPCODES[code] = partial(step, Struct(argument) if isinstance(argument, str) else argument)


register(CONSTANTS, push_constant)
register(NUMBERS, push_number)
register(LONGS, push_long)
register(TEXTS, push_text)
register(BYTES, push_bytes)
register(TUPLES, push_tuple)
register(PUTS, put)
register(GETS, get)
register(EXTENSIONS, push_extension)


# ---------------------------------------------------------------------------- one opcode each


@opcode(b"\x80")
def proto(m: Machine) -> None:
    if (version := m.read(1)[0]) > 5:
        raise ValueError(f"a pickle of protocol {version}, expected at most 5")


@opcode(b"\x95")
def frame(m: Machine) -> None:
    m.read(8)  # how many bytes to read at once


@opcode(b"I")
def integer(m: Machine) -> None:
    line = m.line()
    m.push({"00": False, "01": True}[line] if line in ("00", "01") else numeral(line))


@opcode(b"L")
def long_integer(m: Machine) -> None:
    m.push(numeral(m.line().removesuffix("L")))


@opcode(b"F")
def floating(m: Machine) -> None:
    m.push(numeral(m.line(), float))


@opcode(b"S")
def string(m: Machine) -> None:
    line = m.raw_line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError(f"{shown(line)} has no quotes")
    m.push(decoded(line[1:-1]))  # escapes stay as they are: no name in a state dict has any


@opcode(b"V")
def unicode(m: Machine) -> None:
    m.push(m.raw_line().decode("raw_unicode_escape"))


@opcode(b"(")
def mark(m: Machine) -> None:
    m.marks.append(len(m.stack))


@opcode(b"0")
def pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


@opcode(b"1")
def pop_mark(m: Machine) -> None:
    m.pop_to_mark()


@opcode(b"2")
def dup(m: Machine) -> None:
    m.push(m.top())


@opcode(b"p")
def put_line(m: Machine) -> None:
    m.put(numeral(m.line()))


@opcode(b"g")
def get_line(m: Machine) -> None:
    m.get(numeral(m.line()))


@opcode(b"\x94")
def memoize(m: Machine) -> None:
    m.put(len(m.memo))


@opcode(b"t")
def tuple_to_mark(m: Machine) -> None:
    m.push(tuple(m.pop_to_mark()))


@opcode(b"l")
def list_to_mark(m: Machine) -> None:
    m.push(m.pop_to_mark())


@opcode(b"d")
def dict_to_mark(m: Machine) -> None:
    m.push(paired(m.pop_to_mark()))


@opcode(b"\x91")
def frozenset_to_mark(m: Machine) -> None:
    m.push(Items(m.pop_to_mark()))


def add(m: Machine, values: list[Value]) -> None:
    target = m.top()
    if isinstance(target, Call):
        target.added.extend(values)
    elif isinstance(target, list) and not isinstance(target, Pairs):
        target.extend(values)
    else:
        raise ValueError(f"something is appended to {type(target).__name__}")


def set_pairs(m: Machine, values: list[Value]) -> None:
    target = m.top()
    if isinstance(target, Call):
        target = target.pairs
    if not isinstance(target, Pairs):
        raise ValueError(f"a key is set in {type(target).__name__}")
    target.extend(paired(values))


@opcode(b"a")
def append(m: Machine) -> None:
    value = m.pop()
    add(m, [value])


@opcode(b"e")
@opcode(b"\x90")
def append_to_mark(m: Machine) -> None:
    values = m.pop_to_mark()
    add(m, values)


@opcode(b"s")
def set_item(m: Machine) -> None:
    values = m.pops(2)
    set_pairs(m, list(values))


@opcode(b"u")
def set_items_to_mark(m: Machine) -> None:
    values = m.pop_to_mark()
    set_pairs(m, values)


@opcode(b"c")
def global_name(m: Machine) -> None:
    module, name = m.line(), m.line()
    m.push(m.name(module, name))


@opcode(b"\x93")
def stack_global(m: Machine) -> None:
    m.push(m.name(*m.pops(2)))


@opcode(b"R")
@opcode(b"\x81")
def reduce(m: Machine) -> None:
    m.call(*m.pops(2))  # \x81 is NEWOBJ: cls.__new__(cls, *arguments)


@opcode(b"\x92")
def new_with_keywords(m: Machine) -> None:
    function, arguments, keywords = m.pops(3)
    m.call(function, (arguments, keywords))


@opcode(b"i")
def instance(m: Machine) -> None:
    module, name = m.line(), m.line()
    function = m.name(module, name)
    m.call(function, tuple(m.pop_to_mark()))


@opcode(b"o")
def object_to_mark(m: Machine) -> None:
    values = m.pop_to_mark()
    if not values:
        raise ValueError("an object without a class")
    m.call(values[0], tuple(values[1:]))


@opcode(b"b")
def build(m: Machine) -> None:
    state = m.pop()
    target = m.top()
    if not isinstance(target, Call):
        raise ValueError(f"{type(target).__name__} is given a state")
    target.state = state


@opcode(b"P")
def persistent_line(m: Machine) -> None:
    m.persistent(m.line())


@opcode(b"Q")
def persistent(m: Machine) -> None:
    m.persistent(m.pop())
