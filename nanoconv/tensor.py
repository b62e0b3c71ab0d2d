"""Tensor: an array that remembers how it was computed, and can therefore be differentiated.

Every computation goes through one funnel, `apply(op, *inputs, **attrs)`. It runs the op on plain
arrays and, if a gradient may be asked for, records a `Node`: the op, what it computed and where
its inputs came from. `backward` walks these nodes in reverse topological order and multiplies
vectors by Jacobians:

    dL/dx = Σ over uses of x:  vjp(dL/dy)         (reverse-mode chain rule; uses add up)

Here is the tape and the Tensor around an array. What can be computed is in `ops/`: elementary ops,
a value and a gradient in two lines each, in `arithmetic.py`, `reductions.py` and `shaping.py`,
which attach them to Tensor as methods; one layer per file in the others.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .dispatch import Op

Array = np.ndarray
DTYPES = tuple(
    np.dtype(name) for name in ("float32", "float64", "int64", "int32", "int8", "uint8", "bool")
)

# --------------------------------------------------------------------------- the tape


class _State(threading.local):
    grad_enabled = True
    observers: tuple[Callable, ...] = ()


_state = _State()


def is_grad_enabled() -> bool:
    """True unless the calling thread is inside `no_grad`."""
    return _state.grad_enabled


class no_grad(contextlib.ContextDecorator):  # noqa: N801 (PyTorch's name)
    """Context manager and decorator: nothing inside is recorded for gradients (per thread)."""

    _enabled = False

    def __enter__(self) -> None:
        self._before, _state.grad_enabled = _state.grad_enabled, self._enabled

    def __exit__(self, *exc: object) -> None:
        _state.grad_enabled = self._before

    def _recreate_cm(self) -> no_grad:
        return type(self)()


class enable_grad(no_grad):  # noqa: N801 (PyTorch's name)
    """Context manager and decorator: records again inside a `no_grad`."""

    _enabled = True


@contextlib.contextmanager
def observe(observer: Callable[[Op, tuple, dict, Tensor], None]) -> Iterator[None]:
    """Call `observer(op, inputs, attrs, output)` after every op that this thread runs inside."""
    before, _state.observers = _state.observers, (*_state.observers, observer)
    try:
        yield
    finally:
        _state.observers = before


class Storage:
    """What tensors that share memory share: how often it was changed, and who must know.

    Changes made through a Tensor (`x.zero_()`, `x[0] = 1`) bump `version`. Changes to the bare
    ndarray cannot be counted, so once `.data` or `.numpy()` has let it out (`escaped`), the tape
    remembers a checksum instead. Arrays that never escape, the usual case, cost nothing.
    """

    __slots__ = ("escaped", "version", "watchers")

    def __init__(self) -> None:
        self.version, self.escaped = 0, False
        self.watchers: weakref.WeakSet[Saved] = weakref.WeakSet()

    def escape(self) -> None:
        if not self.escaped:
            self.escaped = True
            for saved in tuple(self.watchers):
                saved.checksum = checksum(saved.array)


def checksum(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


class Saved:
    """An array that the tape holds for a gradient, able to tell whether it was changed since."""

    __slots__ = ("__weakref__", "array", "checksum", "storage", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.array, self.storage = tensor._data, tensor._storage
        self.version = self.storage.version
        self.checksum = checksum(self.array) if self.storage.escaped else None
        self.storage.watchers.add(self)

    def unpack(self, op: Op) -> Array:
        changed = self.version != self.storage.version
        if not changed and self.checksum is not None:
            changed = self.checksum != checksum(self.array)
        if changed:
            raise RuntimeError(
                f"backward: an array of shape {self.array.shape} that {op.name} saved for its "
                "gradient was changed in place after the forward pass; change a copy instead"
            )
        return self.array


class Node:
    """One recorded run of an op.

    `sources` says where each input's gradient goes: to another Node, to a leaf Tensor, or nowhere.
    """

    __slots__ = ("attrs", "inputs", "op", "output", "retained", "shapes", "sources", "spent")

    def __init__(self, op: Op, inputs: tuple[Tensor | None, ...], attrs: dict, output: Any) -> None:
        self.op, self.attrs, self.output, self.spent = op, attrs, output, False
        self.sources = tuple(
            None if t is None or not t.requires_grad else (t._node or t) for t in inputs
        )
        self.shapes = tuple(None if t is None else t.shape for t in inputs)
        keep = "x" in op.keeps
        self.inputs = tuple(None if t is None or not keep else Saved(t) for t in inputs)
        self.retained: weakref.ref[Tensor] | None = None

    def gradients(self, dy: Array) -> list[tuple[Node | Tensor, Array]]:
        """Where each input's gradient goes, and the gradient."""
        if self.spent:
            raise RuntimeError(
                f"backward: the tape of {self.op.name} was freed by an earlier backward(); "
                "pass retain_graph=True to the first call to go through it twice"
            )
        if self.op.vjp is None:
            raise RuntimeError(f"backward: {self.op.name} has no gradient")
        output = self.output
        if isinstance(output, tuple):
            output = tuple(o.unpack(self.op) if isinstance(o, Saved) else o for o in output)
        elif isinstance(output, Saved):
            output = output.unpack(self.op)
        arrays = tuple(None if s is None else s.unpack(self.op) for s in self.inputs)
        if isinstance(self.op.vjp, tuple):
            grads = tuple(
                None if source is None else rule(dy, output, *arrays, **self.attrs)
                for rule, source in zip(self.op.vjp, self.sources, strict=False)
            )
        else:
            grads = self.op.vjp(dy, output, *arrays, **self.attrs)
            grads = grads if isinstance(grads, tuple) else (grads,)
        return [
            (source, unbroadcast(grad, shape))
            for source, grad, shape in zip(self.sources, grads, self.shapes, strict=False)
            if source is not None and grad is not None
        ]

    def free(self) -> None:
        self.inputs, self.output, self.sources, self.spent = (), None, (), True


def apply(op: Op, *inputs: Tensor | None, **attrs: Any) -> Any:
    """y = op(inputs; attrs): the one funnel through which every computation goes.

    Returns a Tensor, or (Tensor, *extra arrays) where the op's forward returns extras.
    """
    result = op.forward(*(None if t is None else t._data for t in inputs), **attrs)
    array, extra = (result[0], result[1:]) if isinstance(result, tuple) else (result, ())
    y = Tensor(array)
    for t in inputs:  # a view shares its source's memory, and so its changes
        if t is not None and np.may_share_memory(array, t._data):
            y._storage = t._storage
    if _state.grad_enabled and any(t is not None and t.requires_grad for t in inputs):
        kept: Any = Saved(y) if "y" in op.keeps else None
        y._node = Node(op, inputs, attrs, (kept, *extra) if extra else kept)
        y._requires_grad = y.dtype.kind == "f"
    for observer in _state.observers:
        observer(op, inputs, attrs, y)
    return (y, *extra) if extra else y


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which its input was broadcast."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(k for k, size in enumerate(shape) if size == 1 and grad.shape[k] != 1)
    return grad.sum(axis=stretched, keepdims=True)


def topological_order(root: Node) -> list[Node]:
    """Every node that `root` depends on, each after all of its users (iterative: any depth)."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(source, False) for source in node.sources if isinstance(source, Node)]
    return order[::-1]


def _backward(root: Tensor, gradient: Array, retain_graph: bool) -> None:
    if root._node is None:
        _accumulate(root, gradient)
        return
    pending: dict[int, Array] = {id(root._node): gradient}
    for node in topological_order(root._node):
        dy = pending.pop(id(node), None)
        if dy is None:
            continue
        retained = node.retained() if node.retained else None
        if retained is not None:
            _accumulate(retained, dy)
        for source, grad in node.gradients(dy):
            if isinstance(source, Tensor):
                _accumulate(source, grad)
            else:  # a value that is used twice gets the sum of both gradients
                before = pending.get(id(source))
                pending[id(source)] = grad if before is None else before + grad
        if not retain_graph:
            node.free()


def _accumulate(leaf: Tensor, grad: Array) -> None:
    # The copy keeps two leaves from sharing one array, as both inputs of x + y would.
    before = None if leaf.grad is None else leaf.grad._data
    leaf.grad = Tensor(np.array(grad, order="K") if before is None else before + grad)


# --------------------------------------------------------------------------- the Tensor


def as_array(value: Any, dtype: Any = None) -> Array:
    """An ndarray of a supported dtype; Python floats (and lists of them) become float32."""
    if isinstance(value, Tensor):
        value = value._data
    array = np.asarray(value)
    if dtype is not None:
        array = array.astype(dtype)
    elif not isinstance(value, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype not in DTYPES or not array.dtype.isnative:
        names = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"tensor: dtype {array.dtype} is not supported; expected one of {names}")
    return array


class Tensor:
    """An n-dimensional array with a gradient; make one with `nc.tensor`, as in PyTorch.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_data", "_node", "_requires_grad", "_storage", "grad")
    __array_ufunc__ = None  # ndarray + Tensor asks Tensor.__radd__

    # Methods that ops/arithmetic.py, ops/reductions.py and ops/shaping.py define and attach.
    add: Callable[..., Tensor]
    sub: Callable[..., Tensor]
    mul: Callable[..., Tensor]
    div: Callable[..., Tensor]
    pow: Callable[..., Tensor]
    matmul: Callable[..., Tensor]
    sum: Callable[..., Tensor]
    reshape: Callable[..., Tensor]

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        self._data: Array = data if isinstance(data, np.ndarray) else np.asarray(data)
        self._node: Node | None = None
        self._requires_grad = False
        self._storage = Storage()
        self.grad: Tensor | None = None
        if requires_grad:
            self.requires_grad = True

    # ---- what it is

    @property
    def data(self) -> Array:
        """The array itself; changing it changes the tensor."""
        self._storage.escape()
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        array = as_array(value)
        if self._node is not None:
            raise RuntimeError("data: only a leaf tensor's data may be replaced")
        self._storage.version += 1
        self._data, self._storage = array, Storage()
        self._storage.escaped = True

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected a float32 or float64 tensor, got {self.dtype}")
        if not value and self._node is not None:
            raise RuntimeError("requires_grad: use detach() on a tensor that an op computed")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """True unless an op computed this tensor and recorded it."""
        return self._node is None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self._data.ndim

    def numel(self) -> int:
        return self._data.size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected a tensor with at least one axis, got a scalar")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix="tensor(")
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        if self._node is not None:
            notes += f", op={self._node.op.name}"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({text}{notes})"

    # ---- out of it

    def numpy(self) -> Array:
        """The array itself, of a tensor that needs no gradient."""
        if self.requires_grad:
            raise RuntimeError("numpy: call detach() first on a tensor that requires a gradient")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self.numel() != 1:
            raise ValueError(f"item: expected a tensor of one element, got shape {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:
        return self._data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ValueError(f"bool: a tensor of shape {self.shape} is neither true nor false")
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"index: expected an integer tensor, got {self.dtype}")
        return self.item()

    def detach(self) -> Tensor:
        """The same array without its history; it shares memory."""
        t = Tensor(self._data)
        t._storage = self._storage
        return t

    # ---- gradients

    def backward(self, gradient: Tensor | Array | None = None, retain_graph: bool = False) -> None:
        """Add dL/dt to the `.grad` of every leaf t that this tensor L was computed from.

        `gradient` is dL/d(self), needed unless self has one element. The tape is freed, unless
        `retain_graph`.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: the tensor does not require a gradient")
        if gradient is None:
            if self.numel() != 1:
                raise ValueError(
                    f"backward: a tensor of shape {self.shape} needs a gradient argument of "
                    "that shape; only one-element tensors go without"
                )
            dy = np.ones(self.shape, self.dtype)
        else:
            dy = as_array(gradient)
            if dy.shape != self.shape or dy.dtype != self.dtype:
                raise ValueError(
                    f"backward: gradient is {dy.dtype}{list(dy.shape)}, "
                    f"expected {self.dtype}{list(self.shape)}"
                )
        _backward(self, dy, retain_graph)

    def retain_grad(self) -> None:
        """Keep `.grad` of this tensor in backward() although it is not a leaf."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self._node is not None:
            self._node.retained = weakref.ref(self)

    # ---- changes in place, for leaves outside of the tape (an optimiser's step, an initialiser)

    def _written(self) -> Array:
        """The array, about to be changed in place."""
        if _state.grad_enabled and self.requires_grad:
            raise RuntimeError(
                "in-place change of a tensor that requires a gradient: use no_grad(), "
                "or compute a new tensor"
            )
        self._storage.version += 1
        return self._data

    def __setitem__(self, index: Any, value: Any) -> None:
        # The index and value are worked out before the version moves: a bad one changes nothing.
        value = operand(value, self, "setitem")._data
        self._written()[plain_index(index)] = value

    def copy_(self, src: Any) -> Tensor:
        """self ← src, broadcast."""
        self[...] = src
        return self

    def fill_(self, value: float) -> Tensor:
        """self ← value."""
        self[...] = value
        return self

    def zero_(self) -> Tensor:
        """self ← 0."""
        return self.fill_(0)

    def add_(self, other: Any, alpha: float = 1) -> Tensor:
        """self ← self + alpha·other."""
        other = operand(other, self, "add_")._data
        array = self._written()
        array += other if alpha == 1 else array.dtype.type(alpha) * other
        return self

    def mul_(self, other: Any) -> Tensor:
        """self ← self · other."""
        other = operand(other, self, "mul_")._data
        array = self._written()
        array *= other
        return self


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that holds a copy of `data` (number, nested list, ndarray or Tensor).

    Python floats become float32, Python integers int64; an ndarray keeps its dtype.
    """
    return Tensor(np.array(as_array(data, dtype), order="K"), requires_grad)


def from_numpy(ndarray: Array) -> Tensor:
    """A tensor that shares the memory of an ndarray."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected an ndarray, got {type(ndarray).__name__}")
    t = Tensor(as_array(ndarray))
    t._storage.escaped = True
    return t


def plain_index(index: Any) -> Any:
    """An index whose Tensors are replaced by their arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(k) for k in index)
    return index._data if isinstance(index, Tensor) else index


def operand(value: Any, like: Tensor, name: str) -> Tensor:
    """`value` as a tensor that may meet `like` in one op; dtypes are never promoted silently."""
    if isinstance(value, Tensor):
        other = value
    elif isinstance(value, (bool, int, float)):
        if isinstance(value, float) and like.dtype.kind != "f":
            raise TypeError(
                f"{name}: the float {value} does not fit a {like.dtype} tensor; "
                "convert it with .float() first"
            )
        return Tensor(np.asarray(value, like.dtype))
    elif isinstance(value, (np.ndarray, np.generic, list, tuple)):
        other = Tensor(as_array(value))
    else:
        raise TypeError(f"{name}: expected a tensor or a number, got {type(value).__name__}")
    if other.dtype != like.dtype:
        raise TypeError(
            f"{name}: dtypes differ, {like.dtype} and {other.dtype}; convert one explicitly "
            "with .float(), .double() or .to(dtype)"
        )
    return other


def method(function: Callable) -> Callable:
    """Attach a function to Tensor under its own name, as PyTorch has most in both forms."""
    setattr(Tensor, function.__name__, function)
    return function
