"""Sessions in files: the graph as JSON, its constants and the packed weights as tensors.

A file is a safetensors file. What runs is made anew from the graph when it is loaded, so that no
offset of a plan, only sizes that are checked, comes from the file; but the weights are mapped into
memory as they lie there, if they were packed for vectors like these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dispatch import Op
from ..graph.ir import Graph, Node, mapped
from ..io.safetensors_files import contents
from ..ops.fused import Activation
from ..ops.geometry import Geometry
from ..ops.pool2d import Means
from ..tape import checksum
from ..tensor import Index
from .checking import check_graph
from .packing import Machine
from .steps import kernels_missing, machine

if TYPE_CHECKING:
    from .session import Session

Array = np.ndarray
FORMAT = "nanoconv session 2"
SURPRISES = (  # what reading a description may end in that someone made up
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, ArithmeticError,
    MemoryError, AssertionError,
)  # fmt: skip
TUPLES: dict[str, Any] = {"Activation": Activation, "Index": Index}

# --------------------------------------------------------------------------- attributes as JSON


def encoded(value: Any) -> Any:
    """An attribute of a node as JSON: numbers and strings as they are, else {kind: parts}."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return {"float": float(value).hex(), "kind": type(value).__name__}
    if isinstance(value, np.integer):
        return {"integer": int(value), "kind": type(value).__name__}
    if value is ...:
        return {"ellipsis": None}
    if isinstance(value, slice):
        return {"slice": [encoded(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "kind": value.dtype.name}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, Geometry):
        return {"geometry": [getattr(value, name) for name in Geometry.__dataclass_fields__]}
    if isinstance(value, Means):
        return {"means": [encoded(getattr(value, name)) for name in Means.__dataclass_fields__]}
    if type(value) in (tuple, list, *TUPLES.values()):
        return {type(value).__name__: [encoded(part) for part in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": [[key, encoded(part)] for key, part in value.items()]}
    raise ValueError(f"save: an attribute of type {type(value).__name__} cannot be written")


def scalar(kind: str) -> Callable[[Any], Any]:
    """The type of a number by name; a closed list."""
    kinds = {"float": float, "float32": np.float32, "float64": np.float64, "int32": np.int32,
             "int64": np.int64}  # fmt: skip
    return kinds[kind]


def decoded(value: Any) -> Any:
    """What `encoded` wrote; KeyError, TypeError or ValueError for anything else."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    (kind, parts), *more = value.items()
    if kind == "float":
        return scalar(value["kind"])(float.fromhex(parts))
    if kind == "integer":
        return scalar(value["kind"])(parts)
    if kind == "ellipsis":
        return ...
    if kind == "array":
        return np.array(parts, np.dtype(str(value["kind"])))
    if kind == "dtype":
        return np.dtype(str(parts))
    if more:
        raise ValueError(f"unknown attribute {sorted(value)}")
    if kind == "slice":
        return slice(*map(decoded, parts))
    if kind == "geometry":
        if not all(type(size) is int and 0 <= size < 2**40 for size in parts):
            raise ValueError("a geometry that is none")
        return Geometry(*parts)
    if kind == "means":
        return Means(*map(decoded, parts))
    if kind == "dict":
        return {str(key): decoded(part) for key, part in parts}
    if kind in TUPLES:
        return TUPLES[kind](*map(decoded, parts))
    return {"tuple": tuple, "list": list}[kind](map(decoded, parts))


# --------------------------------------------------------------------------- graphs as JSON


def check_result(outputs: Any) -> None:
    """ValueError unless a file can say how the model nested its result."""
    if type(outputs) is dict and all(type(key) is str for key in outputs):
        outputs = list(outputs.values())
    if type(outputs) in (tuple, list):
        for part in outputs:
            check_result(part)
    elif outputs is not None and type(outputs) is not int:
        kind = "dict with other keys" if type(outputs) is dict else type(outputs).__name__
        raise ValueError(
            f"save: the result is a {kind}; expected tuples, lists and dicts with string keys"
        )


def described(graph: Graph) -> dict[str, Any]:
    """A graph without the numbers of its constants."""
    used = [*graph.inputs, *sorted(graph.constants), *(node.output for node in graph.nodes)]
    return {
        "inputs": list(graph.inputs),
        "outputs": encoded(mapped(graph.outputs, int)),
        "values": [[k, list(graph.shapes[k]), graph.dtypes[k].name] for k in used],
        "nodes": [
            [
                node.op.name,
                list(node.inputs),
                encoded(node.attrs),
                node.output,
                node.name,
                node.line,
            ]
            for node in graph.nodes
        ],
    }


def graph_of(found: dict[str, Any], constants: dict[int, Array]) -> Graph:
    """The graph of a description; every number in it is known, and defined before it is read."""
    shapes = {int(k): tuple(map(int, shape)) for k, shape, _ in found["values"]}
    dtypes = {int(k): np.dtype(str(name)) for k, _, name in found["values"]}
    known = {*found["inputs"], *constants, None}
    nodes = []
    for kind, inputs, attrs, output, name, line in found["nodes"]:
        op = Op.named(str(kind))
        if op is None or not known.issuperset(inputs) or output in known:
            raise ValueError(f"a node {kind!r} that cannot be")
        known.add(output)
        values = decoded(attrs)
        nodes.append(Node(op, tuple(inputs), values, output, str(name), str(line)))
    outputs = decoded(found["outputs"])
    graph = Graph(tuple(found["inputs"]), outputs, tuple(nodes), shapes, dtypes, constants)
    if not graph.output_ids() or not known.issuperset(graph.output_ids()):
        raise ValueError("a result that is not defined")
    if not set(shapes).issuperset(known - {None}):
        raise ValueError("values without a shape")
    for k, array in constants.items():
        if array.shape != shapes[k] or array.dtype != dtypes[k]:
            raise ValueError(f"constant {k} has another shape than the graph says")
    check_graph(graph)
    return graph


# --------------------------------------------------------------------------- files


def save(session: Session, path: str | Path) -> None:
    """Write a session, under a temporary name first."""
    from safetensors.numpy import save as as_bytes

    from ..io.files import replacing

    if not session.alone:
        raise ValueError("save: a session whose images depend on each other cannot be written")
    check_result(session.graph.outputs)
    vectors = machine() if session.programs() else Machine(0, 0)
    tensors: dict[str, Array] = {}
    for n in session.programs():
        plan = session.segments[n].plan
        assert plan is not None
        tensors[f"packed.{n}"] = plan.weights
    for k, array in sorted(session.graph.constants.items()):
        tensors[f"constant.{k}"] = np.asarray(array, order="C")
    checksums = {name: checksum(array) for name, array in tensors.items()}
    for name, wanted in session.unread.items():
        if checksums[name] != wanted:
            raise ValueError(f"save: the file that was loaded is damaged: {name}")
    about = {
        "batch": session.batch,
        "lanes": vectors.lanes,
        "registers": vectors.registers,
        "panels": panels_of(session),
        "without": sorted(session.without),
        "graph": described(session.graph),
        "checksums": checksums,
    }
    text = json.dumps(about, separators=(",", ":"))
    metadata = {"format": FORMAT, "session": text, "checksum": str(checksum_of(text))}
    with replacing(path) as file:
        file.write(as_bytes(tensors, metadata))


def panels_of(session: Session) -> list[Any]:
    """How the weights of each program are packed."""
    plans = (session.segments[n].plan for n in session.programs())
    return [plan.panels for plan in plans if plan]


def checksum_of(text: str) -> int:
    return checksum(np.frombuffer(text.encode(), np.uint8))


def load(path: str | Path, threads: int) -> Session:
    """The session of a file; see `Session.load`."""
    path = Path(path)
    try:
        metadata, tensors = mapped_file(path)
        if metadata.get("format") != FORMAT:
            raise ValueError("is no session of this version of nanoconv")
        text = metadata["session"]
        if str(checksum_of(text)) != metadata["checksum"]:
            raise ValueError("is damaged: its description is not what was written")
        about = json.loads(text)
        return session_of(about, tensors, threads)
    except SURPRISES as error:
        raise ValueError(f"load: {path}: {error or type(error).__name__}") from error


def session_of(about: dict[str, Any], tensors: dict[str, Array], threads: int) -> Session:
    from .session import CHOICES, Session

    if set(about["checksums"]) != set(tensors):
        raise ValueError("is damaged: tensors are missing, or were added")
    vectors = Machine(0, 0) if kernels_missing() else machine()
    fits = (about["lanes"], about["registers"]) == (vectors.lanes, vectors.registers)
    fits = fits and vectors.lanes > 0  # written, or read, where there are no kernels
    if not all(name.startswith(("packed.", "constant.")) for name in tensors):
        raise ValueError("has tensors that a session has not")

    def check(names: Iterable[str]) -> None:
        for name in names:
            if checksum(tensors[name]) != about["checksums"][name]:
                raise ValueError(f"is damaged: {name} is not what was written")

    wanted = [name for name in tensors if name.startswith("packed.") == fits]
    constants = {int(k[9:]): array for k, array in tensors.items() if k.startswith("constant.")}
    check(wanted)
    batch, without = about["batch"], frozenset(about["without"])
    if not (batch is None or (type(batch) is int and batch > 0)) or not without <= {*CHOICES}:
        raise ValueError(f"batch={batch!r}, without={sorted(without)}")
    graph = graph_of(about["graph"], constants)
    programs = sorted(int(name[7:]) for name in wanted) if fits else []
    packed = [tensors[f"packed.{n}"] for n in programs] if fits else None
    session = Session(graph, batch, threads, without, packed)
    if fits and programs != session.programs():
        raise ValueError("has packed weights of other programs")
    if fits and about["panels"] != panels_of(session):
        raise ValueError("has weights packed by rules that this version of nanoconv has not")
    if fits:  # of constants that only packing reads, no page is touched
        eager = {f"constant.{k}" for k in session.eager_values() if k in constants}
        check(eager)
        unread = tensors.keys() - {*wanted, *eager}
        session.unread = {name: about["checksums"][name] for name in unread}
    return session


def mapped_file(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    """The metadata of a safetensors file, and its tensors as views of the file in memory."""
    with path.open("rb") as file:
        found = contents(file, os.fstat(file.fileno()).st_size)
        memory = np.memmap(file, np.uint8, "r")
    tensors = {
        tensor.name: np.ndarray(tensor.shape, tensor.run.layout, memory, tensor.run.start)
        for tensor in found.tensors
    }
    return found.metadata, tensors
