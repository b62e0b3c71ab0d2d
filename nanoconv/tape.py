"""The tape: what ran, on what, and how to walk it back.

Every op that runs on a tensor that wants a gradient leaves a `Node`: the op, what it computed and
where its inputs came from. `backward` walks these nodes in reverse topological order and multiplies
vectors by Jacobians:

    dL/dx = Σ over uses of x:  vjp(dL/dy)         (reverse-mode chain rule; uses add up)

A gradient needs what its op saw. `Saved` holds such an array and notices if it was changed since;
`Storage` is what tells it. `tensor.py` has the Tensor, and `apply`, which writes the tape.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .dispatch import Op

if TYPE_CHECKING:
    from .tensor import Tensor

Array = np.ndarray
Hooks = dict[int, Callable[[Array], Array]]  # each makes a gradient of the one it is given

# --------------------------------------------------------------------------- recording or not


class State(threading.local):
    grad_enabled = True
    observers: tuple[Callable, ...] = ()
    reader: Callable[[Tensor, str], None] | None = None


state = State()


def is_grad_enabled() -> bool:
    """True unless the calling thread is inside `no_grad`."""
    return state.grad_enabled


class no_grad(contextlib.ContextDecorator):  # noqa: N801 (PyTorch's name)
    """Context manager and decorator: nothing inside is recorded for gradients (per thread)."""

    _enabled = False

    def __init__(self) -> None:
        self._before: list[bool] = []  # one entry for each `with` that this object is inside of

    def __enter__(self) -> None:
        self._before.append(state.grad_enabled)
        state.grad_enabled = self._enabled

    def __exit__(self, *exc: object) -> None:
        state.grad_enabled = self._before.pop()

    def _recreate_cm(self) -> no_grad:
        return type(self)()


class enable_grad(no_grad):  # noqa: N801 (PyTorch's name)
    """Context manager and decorator: records again inside a `no_grad`."""

    _enabled = True


@contextlib.contextmanager
def observe(observer: Callable[[Op, tuple, dict, Tensor, tuple], None]) -> Iterator[None]:
    """Call `observer(op, inputs, attrs, output, extra)` after every op of this thread inside.

    `extra` is what the op's forward returned beside the output, as plain arrays.
    """
    before, state.observers = state.observers, (*state.observers, observer)
    try:
        yield
    finally:
        state.observers = before


@contextlib.contextmanager
def watch(reader: Callable[[Tensor, str], None]) -> Iterator[None]:
    """Call `reader(tensor, how)` inside, before this thread does what no observer hears of.

    That is reading the numbers of a tensor (`how` is "item", "data", …) and changing them
    ("in-place add_", …); of such a change also the tensors that it was computed from are told.
    """
    before, state.reader = state.reader, reader
    try:
        yield
    finally:
        state.reader = before


def told(tensor: Tensor, how: str) -> None:
    """Tell whoever watches."""
    if state.reader is not None:
        state.reader(tensor, how)


# --------------------------------------------------------------------------- hooks


class RemovableHandle:
    """What registering a hook returns: `remove()` unregisters it, as does leaving a `with`."""

    _next_key = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks, self.key = hooks, next(self._next_key)
        hooks[self.key] = hook

    def remove(self) -> None:
        """Unregister the hook; a second time does nothing."""
        self.hooks.pop(self.key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


# --------------------------------------------------------------------------- what the tape holds


class Storage:
    """What tensors that share memory share: how often that memory was changed.

    Changes made through a Tensor (`x.zero_()`, `x[0] = 1`) bump `version`. Changes to the bare
    ndarray cannot be counted, so from the moment that `.data` or `.numpy()` lets it out, what the
    tape holds of it is checked by checksums. Without both, a tape and a bare ndarray, none is made.
    """

    __slots__ = ("array", "checksum", "escaped", "saved", "shared", "version")

    def __init__(self, array: Array) -> None:
        self.array, self.version = array, 0
        self.saved = self.escaped = self.shared = False  # shared: by a second tensor, ever
        self.checksum: int | None = None  # of the whole array, as a tape held it when it got out

    def escape(self) -> None:
        if self.saved and not self.escaped:
            self.checksum = checksum(self.array)
        self.escaped = True


ODD = (2 * np.arange(1024, dtype=np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)


def checksum(array: Array) -> int:
    """A number that tells if an array was changed, whatever its memory format.

    Of a large one, blocks of words are added up first, each times an odd number of its place, so
    that no change of a word is lost, nor are two that change places. It is several times as fast.
    """
    memory = array.ravel("K").view(np.uint8)
    if memory.size < 8 * ODD.nbytes:
        return zlib.crc32(memory.data)
    whole = memory.size // ODD.nbytes * ODD.nbytes
    sums = np.einsum("ij,j->i", memory[:whole].view(np.uint64).reshape(-1, ODD.size), ODD)
    return zlib.crc32(memory[whole:].data, zlib.crc32(sums.data))


class Saved:
    """An array that the tape holds for a gradient, able to tell whether it was changed since."""

    __slots__ = ("array", "checksum", "storage", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.array, self.storage = tensor._data, tensor._storage
        self.version, self.storage.saved = self.storage.version, True
        self.checksum = checksum(self.array) if self.storage.escaped else None

    def changed(self) -> bool:
        if self.version != self.storage.version:
            return True
        if self.checksum is not None:
            return self.checksum != checksum(self.array)
        # Saved before the array got out, and nothing can have changed until then.
        return self.storage.escaped and self.storage.checksum != checksum(self.storage.array)

    def unpack(self, op: Op) -> Array:
        if self.changed():
            raise RuntimeError(
                f"backward: an array of shape {self.array.shape} that {op.name} saved for its "
                "gradient was changed in place after the forward pass; change a copy instead"
            )
        return self.array


class Forgotten:
    """The shape and dtype of an array that the tape does not hold; its values read as NaN."""

    __slots__ = ("dtype", "shape")

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def unpack(self, op: Op) -> Array:
        nan = b"\xff" * 8  # every element is this one, so the array takes no memory
        return np.ndarray(self.shape, self.dtype, nan, 0, (0,) * len(self.shape))


class Node:
    """One recorded run of an op: what it computed, and with what.

    `sources` says where each input's gradient goes: to another Node, to a leaf Tensor, or nowhere.
    """

    __slots__ = (
        "attrs", "extra", "hooks", "inputs", "op", "output", "retained", "sources", "spent",
    )  # fmt: skip

    def __init__(
        self, op: Op, inputs: tuple[Tensor | None, ...], attrs: dict, y: Tensor, extra: tuple
    ) -> None:
        self.op, self.attrs, self.extra, self.spent = op, attrs, extra, False
        self.sources = tuple(
            None if t is None or not t.requires_grad else (t._node or t) for t in inputs
        )
        self.inputs = tuple(
            None if t is None else Saved(t) if op.keeps_input(k) else Forgotten(t)
            for k, t in enumerate(inputs)
        )
        self.output = Saved(y) if "y" in op.keeps else None
        self.retained: weakref.ref[Tensor] | None = None
        self.hooks: Hooks | None = None  # of what was computed, not of the tensor that holds it
        for array in extra:  # the caller gets it too, and must not change it
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def check(self) -> None:
        if self.spent:
            raise RuntimeError(
                f"backward: the tape of {self.op.name} was freed by an earlier backward(); "
                "pass retain_graph=True to the first call to go through it twice"
            )
        if self.op.vjp is None:
            raise RuntimeError(f"backward: {self.op.name} has no gradient")

    def gradients(self, dy: Array) -> list[tuple[Node | Tensor, Array | Part]]:
        """Where each input's gradient goes, and the gradient."""
        arrays = tuple(None if held is None else held.unpack(self.op) for held in self.inputs)
        output: Any = None if self.output is None else self.output.unpack(self.op)
        if self.extra:
            output = (output, *self.extra)
        if isinstance(self.op.vjp, tuple):
            grads = tuple(
                None if source is None else rule(dy, output, *arrays, **self.attrs)
                for rule, source in zip(self.op.vjp, self.sources, strict=False)
            )
        else:
            assert self.op.vjp is not None
            grads = self.op.vjp(dy, output, *arrays, **self.attrs)
            grads = grads if isinstance(grads, tuple) else (grads,)
        return [
            (source, grad if isinstance(grad, Part) else fit(grad, array.shape))
            for source, grad, array in zip(self.sources, grads, arrays, strict=False)
            if source is not None and grad is not None and array is not None
        ]

    def retain(self, output: Tensor) -> None:
        """Give `output`, which is what was computed, a gradient of its own in backward()."""
        self.retained = weakref.ref(output)

    def free(self) -> None:
        self.inputs, self.output, self.extra, self.sources, self.spent = (), None, (), (), True


# --------------------------------------------------------------------------- walking back


@dataclass(frozen=True)
class Part:
    """The gradient of x where only y = x[views] was used: dy there, and 0 elsewhere.

    A `vjp` may give it in place of an array, so that an x that is split into many pieces gets one
    array for the gradients of all of them, not one full of zeros for each.
    """

    dy: Array
    shape: tuple[int, ...]
    views: Any


class Total:
    """The sum of the gradients that reach one place, and whether its array is no one else's."""

    __slots__ = ("array", "own")

    def __init__(self) -> None:
        self.array: Any = None
        self.own = False

    def add(self, grad: Array | Part) -> None:
        if isinstance(grad, Part):
            if self.array is None:
                self.array = np.zeros_like(grad.dy, shape=grad.shape)
            elif not self.own:
                self.array = self.array.copy()
            self.array[grad.views] += grad.dy
            self.own = True
        elif self.array is None:
            self.array = grad
        elif self.own:
            self.array += grad
        else:
            self.array, self.own = self.array + grad, True


def fit(grad: Array, shape: tuple[int, ...]) -> Array:
    """A gradient in the shape of its input.

    What was broadcast going forward is summed going back, and what was summed is broadcast.
    """
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(k for k, size in enumerate(shape) if size == 1 and grad.shape[k] != 1)
    return np.broadcast_to(grad.sum(axis=stretched, keepdims=True), shape)


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


def hooked(grad: Array, hooks: Hooks | None) -> Array:
    """What the hooks of a tensor make of its gradient, one after the other."""
    for hook in tuple(hooks.values()) if hooks else ():
        grad = hook(grad)
    return grad


@np.errstate(all="ignore")
def backward(root: Tensor, gradient: Array, retain_graph: bool) -> None:
    """Add vjp(gradient) to the `.grad` of every leaf that `root` was computed from."""
    if root._node is None:
        root._accumulate(hooked(gradient, root._hooks))
        return
    order = topological_order(root._node)
    for node in order:
        node.check()
    totals: defaultdict[Any, Total] = defaultdict(Total)  # of nodes, and of leaves
    totals[root._node].add(gradient)
    for node in order:
        if node in totals:
            dy = hooked(totals.pop(node).array, node.hooks)
            retained = node.retained() if node.retained else None
            if retained is not None:
                retained._accumulate(dy)
            for source, grad in node.gradients(dy):
                totals[source].add(grad)
        if not retain_graph:
            node.free()
    while totals:
        leaf, total = totals.popitem()
        leaf._accumulate(hooked(total.array, leaf._hooks))
