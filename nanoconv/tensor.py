"""Tensor: an array that remembers how it was computed, and can therefore be differentiated.

Every computation goes through one funnel, `apply(op, *inputs, **attrs)`. It runs the op on plain
arrays and, if a gradient may be asked for, records it on the tape of `tape.py`:

    y = apply(op, x)    computes  y = op.forward(x)    and remembers  dL/dx = op.vjp(dL/dy)

Here is the Tensor around an array. What can be computed is in `ops/`: elementary ops, a value and a
gradient in two lines each, in `arithmetic.py`, `reductions.py` and `shaping.py`, which attach them
to Tensor as methods; one layer per file in the others.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from .dispatch import Op
from .tape import Hooks, Node, RemovableHandle, Storage, backward, no_grad, state, told

if TYPE_CHECKING:
    from .methods import Methods
else:  # the modules in ops/ attach the methods, with `method`
    Methods = object

Array = np.ndarray
DTYPES = tuple(
    np.dtype(name) for name in ("float32", "float64", "int64", "int32", "int8", "uint8", "bool")
)

# --------------------------------------------------------------------------- the funnel


def apply(op: Op, *inputs: Tensor | None, **attrs: Any) -> Any:
    """y = op(inputs; attrs): the one funnel through which every computation goes.

    Returns a Tensor, or (Tensor, *extra arrays) where the op's forward returns extras.
    """
    arrays: list[Array | None] = []
    for t in inputs:
        if t is not None and not isinstance(t, Tensor):
            raise TypeError(f"{op.name}: expected a nanoconv Tensor, got {type(t).__name__}")
        arrays.append(None if t is None else t._data)
    try:
        if op.is_ladder:
            result = op.forward(*arrays, **attrs)
        else:
            with np.errstate(all="ignore"):  # 1/0 is inf and log(-1) is NaN, as in PyTorch
                result = op.forward(*arrays, **attrs)
    except MemoryError as error:
        raise MemoryError(f"{op.name}: {error}") from None
    array, extra = (result[0], result[1:]) if isinstance(result, tuple) else (result, ())
    y = wrap(array)
    for t in () if op.is_ladder else inputs:
        # A view shares its source's memory, and so its changes.
        if t is not None and np.may_share_memory(y._data, t._data):
            y._storage = t._storage
            y._storage.shared = True
    recorded = state.grad_enabled and y._data.dtype.kind == "f"
    if recorded and any(t is not None and t.requires_grad for t in inputs):
        y._node, y._requires_grad = Node(op, inputs, attrs, y, extra), True
    for observer in state.observers:
        observer(op, inputs, attrs, y, extra)
    return (y, *extra) if extra else y


# --------------------------------------------------------------------------- the Tensor


def as_array(value: Any, dtype: Any = None) -> Array:
    """An ndarray of a supported dtype; Python floats (and lists of them) become float32."""
    if isinstance(value, (bool, int, float)) and -1e38 < value < 1e38:
        array = _converted(value, dtype)  # quickly: `errstate` takes longer than all the rest
    else:
        if isinstance(value, Tensor):
            told(value, "tensor")
        with np.errstate(all="ignore"):  # 1e300 is inf in float32, as in PyTorch
            array = _converted(value._data if isinstance(value, Tensor) else value, dtype)
    if array.dtype not in DTYPES or not array.dtype.isnative:
        names = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"tensor: dtype {array.dtype} is not supported; expected one of {names}")
    return array


def _converted(value: Any, dtype: Any) -> Array:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value) if dtype is None else np.asarray(value).astype(dtype)
    try:
        array = np.asarray(value, dtype)
    except OverflowError as error:
        raise ValueError(f"tensor: {error}") from None
    return array.astype(np.float32) if dtype is None and array.dtype == np.float64 else array


class Tensor(Methods):
    """An n-dimensional array with a gradient; make one with `nc.tensor`, as in PyTorch.

    `Tensor(data)` shares the memory of a Tensor, and copies anything else.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_data", "_hooks", "_node", "_requires_grad", "_storage", "grad")
    __array_ufunc__ = None  # ndarray + Tensor asks Tensor.__radd__

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            self._hold(data._data, data._storage)
            self._storage.shared = True
        else:  # a copy, which nobody else can change
            array = np.array(as_array(data), order="K")
            self._hold(array, Storage(array))
        if requires_grad:
            self.requires_grad = True

    def _hold(self, array: Array, storage: Storage) -> None:
        self._data: Array = array
        self._storage = storage
        self._node: Node | None = None
        self._hooks: Hooks | None = None  # of a leaf; a node has its own
        self._requires_grad = False
        self.grad: Tensor | None = None

    # ---- what it is

    @property
    def data(self) -> Array:
        """The array itself; changing it changes the tensor."""
        told(self, "data")
        self._storage.escape()
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        t = value if isinstance(value, Tensor) else from_numpy(as_array(value))
        if self._node is not None:
            raise RuntimeError("data: only a leaf tensor's data may be replaced")
        if self.requires_grad and t.dtype.kind != "f":
            raise TypeError(f"data: a tensor that requires a gradient cannot become {t.dtype}")
        self._data, self._storage = t._data, t._storage

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected a floating tensor, got {self.dtype}")
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

    @property
    def T(self) -> Tensor:  # noqa: N802 (PyTorch's name)
        """The transposed matrix."""
        return self.t()

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
        told(self, "item")
        return self._data.item()

    def tolist(self) -> Any:
        told(self, "tolist")
        return self._data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.numel() == 1 and spec else str(self)

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
        return Tensor(self)

    def __reduce__(self) -> tuple:
        """Leaves can be copied and pickled, with their gradient; a history cannot."""
        if self._node is not None:
            raise RuntimeError("copy: an op computed this tensor; detach() it from its history")
        told(self, "copy")
        args = (type(self), self._data.copy("K"), self._requires_grad)
        return _restored, args, (None, {"grad": self.grad})

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
        backward(self, dy, retain_graph)

    def _accumulate(self, grad: Array) -> None:
        """grad is added: laid out in memory as the tensor is, in an array that nobody else has."""
        total = np.empty_like(self._data)
        if self.grad is None:
            np.copyto(total, grad, casting="no")
        else:
            np.add(self.grad._data, grad, out=total, casting="no")
        self.grad = wrap(total)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` in backward(), once the gradient of this tensor is complete.

        If it returns a tensor, that is the gradient from there on, for the hooks registered later,
        for `.grad` and for what this tensor was computed from. The gradient that a hook is given
        cannot be changed in place. A hook stays with the value: after an in-place change of a
        recorded tensor it still gets the gradient of what was there before.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: the tensor does not require a gradient")
        hooks = self._hooks if self._node is None else self._node.hooks
        if hooks is None:
            hooks = {}
            if self._node is None:
                self._hooks = hooks
            else:
                self._node.hooks = hooks
        return RemovableHandle(hooks, functools.partial(_replaced, hook))

    def retain_grad(self) -> None:
        """Keep `.grad` of this tensor in backward() although it is not a leaf."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self._node is not None:
            self._node.retain(self)

    # ---- changes in place, for leaves outside of the tape (an optimiser's step, an initialiser)

    def _written(self, *sources: Tensor, op: str = "change") -> Array:
        """The array, about to be changed in place, to a value computed from `sources`."""
        for source in sources:
            told(source, op)
        told(self, f"in-place {op}")
        if state.grad_enabled and any(t.requires_grad for t in (self, *sources)):
            raise RuntimeError(
                "in-place change of or by a tensor that requires a gradient: use no_grad(), "
                "or compute a new tensor"
            )
        if not self._data.flags.writeable:
            raise ValueError(
                f"{op}: the tensor is read-only, as what expand() gives and what is made of a "
                "read-only array; change a clone()"
            )
        self._storage.version += 1
        return self._data

    def _check_fits(self, other: Tensor, op: str) -> None:
        """`other` broadcasts to the shape of this tensor, which is about to be changed by it."""
        sizes = zip(reversed(other.shape), reversed(self.shape), strict=False)
        if other.ndim > self.ndim or any(a not in (1, b) for a, b in sizes):
            raise ValueError(
                f"{op}: other has shape {list(other.shape)}, which does not broadcast to the "
                f"shape {list(self.shape)} of the tensor that it changes"
            )

    def _become(self, new: Tensor) -> Tensor:
        """Go on as `new`, which an op computed from this recorded tensor and recorded."""
        if self._storage.shared or self._storage.escaped:
            raise RuntimeError(
                "in-place change of a recorded tensor that shares its memory with a view, a "
                "detached tensor or an array, which would not change: compute a new tensor"
            )
        assert self._node is not None
        assert new._node is not None
        if self._node.retained is not None:
            new._node.retain(self)
            self._node.retained = None
        self._data, self._storage, self._node = new._data, new._storage, new._node
        return self

    def _assign(self, op: str, index: Any, value: Any) -> None:
        value, parts = operand(value, self, op), plain_index(index, self.ndim)
        target = self._data[parts.views]
        self._written(value, op=op)
        try:
            target[parts.arrays or ...] = value._data
        except ValueError as error:
            raise ValueError(f"{op}: {error}") from None

    def __setitem__(self, index: Any, value: Any) -> None:
        self._assign("setitem", index, value)

    def copy_(self, src: Any) -> Tensor:
        """self ← src, broadcast."""
        self._assign("copy_", ..., src)
        return self

    def fill_(self, value: float) -> Tensor:
        """self ← value."""
        self._assign("fill_", ..., value)
        return self

    def zero_(self) -> Tensor:
        """self ← 0."""
        return self.fill_(False)

    def add_(self, other: Any, alpha: float = 1) -> Tensor:
        """self ← self + alpha·other."""
        other, scale = operand(other, self, "add_"), operand(alpha, self, "add_")
        self._check_fits(other, "add_")
        array = self._written(other, op="add_")
        with np.errstate(all="ignore"):
            array += other._data if alpha == 1 else scale._data * other._data
        return self

    def mul_(self, other: Any) -> Tensor:
        """self ← self · other."""
        other = operand(other, self, "mul_")
        self._check_fits(other, "mul_")
        array = self._written(other, op="mul_")
        with np.errstate(all="ignore"):
            array *= other._data
        return self


def wrap(array: Any, requires_grad: bool = False) -> Tensor:
    """A Tensor around an array of a supported dtype that nobody else has, as an op computes it."""
    t = Tensor.__new__(Tensor)
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    t._hold(array, Storage(array))
    if requires_grad:
        t.requires_grad = True
    return t


def beside(y: Tensor, array: Array) -> Tensor:
    """What an op returned beside y as a tensor: a copy, if the tape of y needs the original."""
    return wrap(array if y._node is None else array.copy(order="K"))


def _replaced(hook: Callable[[Tensor], Tensor | None], grad: Array) -> Array:
    """`grad`, or what a hook of `Tensor.register_hook` returns in its place."""
    shown = grad.view()
    shown.flags.writeable = False  # others may have the same array
    with no_grad():
        new = hook(wrap(shown))
    if new is None:
        return grad
    if not isinstance(new, Tensor):
        raise TypeError(
            f"register_hook: the hook returned a {type(new).__name__}, expected None or a Tensor"
        )
    if new.shape != grad.shape or new.dtype != grad.dtype:
        raise ValueError(
            f"register_hook: the hook returned {new.dtype}{list(new.shape)}, expected "
            f"{grad.dtype}{list(grad.shape)}, as it was given"
        )
    return new._data


def _restored(kind: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    return kind(wrap(array), requires_grad)


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that holds a copy of `data` (number, nested list, ndarray or Tensor).

    Python floats become float32, Python integers int64; an ndarray keeps its dtype.
    """
    return wrap(np.array(as_array(data, dtype), order="K"), requires_grad)


def from_numpy(ndarray: Array) -> Tensor:
    """A tensor that shares the memory of an ndarray."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected an ndarray, got {type(ndarray).__name__}")
    if not ndarray.flags.aligned:  # a field of packed records, or bytes at an odd address
        raise ValueError("from_numpy: the array is not aligned in memory; tensor() copies it")
    t = wrap(as_array(ndarray))
    t._storage.escape()
    return t


class Index(NamedTuple):
    """x[index] as x[views][arrays]: integers, slices and None first, then masks and positions.

    That is PyTorch's order. NumPy takes an integer beside an array for an array too, and so puts
    the axes of x[0, :, [0, 1]] in another order.
    """

    views: tuple  # always with a `...`, with which NumPy makes a view even of a single element
    arrays: tuple  # empty if there is no array


def plain_index(index: Any, ndim: int) -> Index:
    """The index of a tensor with `ndim` axes, with copies of its arrays: nobody can change them."""
    parts = [_plain_part(k) for k in (index if isinstance(index, tuple) else (index,))]
    if not any(isinstance(k, np.ndarray) for k in parts):
        return Index(tuple(parts) if ... in parts else (*parts, ...), ())
    used = sum(_axes_used(k) for k in parts)
    views: list[Any] = []
    arrays: list[Any] = []
    for k in parts:
        if isinstance(k, np.ndarray):
            views += [slice(None)] * _axes_used(k)
            arrays.append(k)
        else:
            views.append(k)
            if k is ...:
                arrays += [slice(None)] * (ndim - used)
            elif not isinstance(k, int):
                arrays.append(slice(None))
    return Index(tuple(views) if ... in views else (*views, ...), tuple(arrays))


def _axes_used(k: Any) -> int:
    if isinstance(k, np.ndarray):
        return k.ndim if k.dtype.kind == "b" else 1
    return 0 if k is None or k is ... else 1


def _plain_part(k: Any) -> Any:
    if k is None or k is ... or isinstance(k, slice):
        return k
    if not isinstance(k, bool) and hasattr(k, "__index__") and not hasattr(k, "__array__"):
        return operator.index(k)
    if not isinstance(k, (bool, Sequence)) and not hasattr(k, "__array__"):
        raise IndexError(
            "index: only integers, slices, None, ..., masks and positions are valid indices, "
            f"got {type(k).__name__}"
        )
    if isinstance(k, Tensor):
        told(k, "index")
    array = np.array(k._data if isinstance(k, Tensor) else k)
    if array.size == 0 and isinstance(k, Sequence):
        array = array.astype(np.int64)
    if array.dtype.kind not in "bi":
        raise TypeError(
            f"index: a {array.dtype} array is neither a mask (bool) nor positions (int64, int32)"
        )
    return array.item() if array.ndim == 0 and array.dtype.kind == "i" else array


def operand(value: Any, like: Tensor, name: str) -> Tensor:
    """`value` as a tensor that may meet `like` in one op; dtypes are never promoted silently."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Tensor):
        other = value
    elif isinstance(value, (bool, int, float)):
        kinds = "biuf" if isinstance(value, bool) else "iuf" if isinstance(value, int) else "f"
        if like.dtype.kind not in kinds:
            raise TypeError(
                f"{name}: the {type(value).__name__} {value} does not fit a {like.dtype} tensor; "
                "convert it first, for example with .float()"
            )
        return wrap(as_array(value, like.dtype))
    elif isinstance(value, (np.ndarray, list, tuple)):
        other = tensor(value)  # a copy: nobody else can change what the tape may hold
    else:
        raise TypeError(f"{name}: expected a tensor or a number, got {type(value).__name__}")
    if other.dtype != like.dtype:
        raise TypeError(
            f"{name}: dtypes differ, {like.dtype} and {other.dtype}; convert one explicitly "
            "with .float(), .double() or .to(dtype)"
        )
    return other


F = TypeVar("F", bound=Callable)


def method(function: F) -> F:
    """Attach a function to Tensor under its own name, as PyTorch has most in both forms."""
    setattr(Tensor, function.__name__, function)
    return function
