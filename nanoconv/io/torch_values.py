"""What the calls in PyTorch's pickles mean: the few that make up a state dict, and no others.

    torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)
    torch._utils._rebuild_tensor_v3(…, dtype)           of bytes without a type
    torch._utils._rebuild_tensor(storage, offset, shape, strides)           before 0.4
    torch._utils._rebuild_parameter(tensor, requires_grad, hooks)
    torch.nn.parameter.Parameter(tensor, requires_grad)                     before 0.4
    collections.OrderedDict()                           filled by SETITEMS; Python 2: (pairs)
    persistent("storage", torch.FloatStorage, key, device, how many numbers)

Everything in `ALLOWED` may be named; what is not above is there because it stands beside the
weights in the checkpoints of a training: options, epochs, accuracies. It is left out.
Sources: torch/_utils.py and torch/serialization.py of PyTorch.
"""

from __future__ import annotations

from dataclasses import replace

from .contents import Run, Stored, checked
from .pickled_values import Call, Global, Pairs, Persistent, Value
from .safely import shown

STORAGES = {
    "torch.DoubleStorage": "float64", "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16", "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64", "torch.IntStorage": "int32", "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8", "torch.ByteStorage": "uint8", "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "uint8",  # bytes: the tensor says of what
}  # fmt: skip
DTYPES = {
    f"torch.{name}": name
    for name in (*STORAGES.values(), "uint16", "uint32", "uint64")  # these have no storages
}
# How many arguments each takes that matter here.
TENSORS = {
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 4,
    "torch._utils._rebuild_tensor_v3": 7,
}
METADATA = {"torch._utils._rebuild_tensor_v2": 6, "torch._utils._rebuild_tensor_v3": 7}
PARAMETERS = {"torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter"}
MADE_BY = {*TENSORS, *PARAMETERS}
DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
SIZE = "torch.Size"
BESIDE = {
    "argparse.Namespace", "torch.device", "numpy.dtype",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "_codecs.encode", "__builtin__.dict", "__builtin__.set", "builtins.dict", "builtins.set",
}  # fmt: skip
ALLOWED = frozenset({*STORAGES, *DTYPES, *TENSORS, *PARAMETERS, *DICTS, *BESIDE, SIZE})

Runs = dict[str, Run]


def called(value: Value) -> str:
    """The full name of the function that makes this value; empty if no call does."""
    function = value.function if isinstance(value, Call) else None
    return function.full if isinstance(function, Global) else ""


def is_tensor(value: Value) -> bool:
    return called(value) in MADE_BY


def pairs_of(value: Value) -> Pairs | None:
    """The pairs of a dict or of an OrderedDict; None for anything else."""
    if isinstance(value, Pairs):
        return value
    if called(value) not in DICTS:
        return None
    given = value.arguments
    if called(value) == "collections.OrderedDict" and isinstance(given, tuple) and len(given) == 1:
        (given,) = given  # as Python 2 wrote it
    elif called(value) != "collections.OrderedDict":
        given = ()
    if not isinstance(given, (list, tuple)) or not all(map(is_pair, given)):
        raise ValueError("an OrderedDict that is not made of pairs")
    return Pairs([*((key, item) for key, item in given), *value.pairs])


def is_pair(value: Value) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def storages(persistents: list[Persistent]) -> dict[str, tuple[str, int]]:
    """Type and number of numbers of each storage, by its key, which must always be told alike."""
    found: dict[str, tuple[str, int]] = {}
    for value in persistents:
        key, dtype, count = storage(value)
        if found.setdefault(key, (dtype, count)) != (dtype, count):
            raise ValueError(
                f"the storage {shown(key)} is {count} {dtype}, and elsewhere {{1}} {{0}}".format(
                    *found[key]
                )
            )
    return found


def storage(value: Value) -> tuple[str, str, int]:
    """Key, type and number of numbers of a storage, from its persistent id."""
    id = value.id if isinstance(value, Persistent) else None
    if not isinstance(id, tuple) or len(id) not in (5, 6) or id[0] != "storage":
        raise ValueError("a storage that is not told by type, key, device and size")
    _, kind, key, _, count, *view = id
    name = kind.full if isinstance(kind, Global) else ""
    if name not in STORAGES or not isinstance(key, str):
        raise ValueError(f"a storage of type {shown(name)}, expected one of {', '.join(STORAGES)}")
    if type(count) is not int or not 0 <= count < 1 << 48:
        raise ValueError(f"the storage {shown(key)} does not say how many numbers it has")
    if view and view[0] is not None:
        raise ValueError(f"the storage {shown(key)} is a view of another, as in PyTorch 0.1")
    return key, STORAGES[name], count


def tensor(name: str, value: Value, runs: Runs) -> Stored:
    """The tensor that a call describes, all of whose numbers lie inside its storage."""
    if called(value) in PARAMETERS:
        value = value.arguments[0] if isinstance(value.arguments, tuple) and value.arguments else 0
    function = called(value)
    arguments = value.arguments if function in TENSORS else ()
    if not isinstance(arguments, tuple) or len(arguments) < TENSORS.get(function, 1):
        raise ValueError(f"{shown(name)} is no tensor that can be made of its arguments")
    source, offset, shape, strides = arguments[:4]
    if called(shape) == SIZE and isinstance(shape.arguments, tuple) and len(shape.arguments) == 1:
        (shape,) = shape.arguments
    key, _, _ = storage(source)
    run = runs[key]
    if TENSORS[function] == 7:
        run = typed(name, run, arguments[6])
    if any(arguments[METADATA.get(function, len(arguments)) :]):
        raise ValueError(f"{shown(name)} is conjugated or negated when it is read")
    return checked(name, run, offset, shape, strides)


def typed(name: str, run: Run, dtype: Value) -> Run:
    """A run of bytes as numbers of the type that the call names."""
    full = dtype.full if isinstance(dtype, Global) else ""
    if run.dtype != "uint8" or full not in DTYPES:
        raise ValueError(f"{shown(name)} is made of {run.dtype}, as type {shown(full)}")
    wide = replace(run, key=(run.key, full), dtype=DTYPES[full], count=0)
    return replace(wide, count=run.count // wide.layout.itemsize)
