"""One computation, its ladder of implementations, and the only place where one of them is picked.

    Op       an equation: its forward ladder, its vector-Jacobian product, its cost
    Ladder   one computation: the literal loops, the NumPy reference, and faster `Kernel`s
    Kernel   one row of a ladder: a name, where the body is (a string), and when it applies

A ladder is called like its NumPy reference, with the same arguments and the same result. It runs
the first kernel that `use()` allows, that can compute the arguments, that is the fastest there, and
that is installed; the reference is the last rung and always applies. Bodies are named by strings
such as "im2col_cy:im2col_f32", so that nothing is compiled or imported before a rung is taken.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from . import config

LANGUAGES = ("loops", "numpy", "numba", "cython", "simd")  # slowest first
Array = np.ndarray
FLOAT64 = np.dtype(np.float64)


# --------------------------------------------------------------------------- buffers


SMALL = 1 << 10  # bytes, of which no vector is loaded often
LARGE = 1 << 19  # bytes; what the C library may give back to the system when it is freed
MOST_KEPT = 1 << 27  # bytes
_kept: dict[int, tuple[weakref.ref[Array], Array]] = {}  # arrays and the blocks they lie in
_keys = itertools.count()


def _allocate(size: int, dtype: np.dtype) -> Array:
    nbytes = size * dtype.itemsize + 64
    if nbytes < SMALL:
        return np.empty(size, dtype)
    # From the start of a cache line on: a vector that straddles two is loaded twice.
    keep = LARGE <= nbytes <= MOST_KEPT
    block = _block(nbytes) if keep else np.empty(nbytes, np.uint8)
    skip = -ctypes.addressof(ctypes.c_char.from_buffer(block.data)) % 64
    # Of `block.data`, not of `block`: NumPy lets views keep the first array that has no other array
    # below it, and that must be this one, whose end says that nobody sees the block any more.
    array = np.frombuffer(block.data, dtype, size, skip)
    if keep:
        _kept[next(_keys)] = weakref.ref(array), block
    return array


def _block(nbytes: int) -> Array:
    # The system clears each page of new memory at its first touch, which takes as long as a small
    # op. A network asks for the same sizes again and again, and may have what nobody sees any more.
    for key, (array, block) in list(_kept.items()):
        if len(block) == nbytes and array() is None:
            with contextlib.suppress(KeyError):  # another thread has taken it
                del _kept[key]
                return block
    total = nbytes
    for key, (_, block) in reversed(list(_kept.items())):  # the oldest are given up
        total += len(block)
        if total > MOST_KEPT:
            _kept.pop(key, None)
    return np.empty(nbytes, np.uint8)


class _Scratch(threading.local):
    array = np.empty(0, np.float32)


_scratch = _Scratch()
MOST_LENT = 1 << 22  # floats; what a thread keeps is at most so large


def _lend(size: int) -> Array:
    # The same memory for each call of a thread: it is in the cache, and no page of it is new.
    if size > MOST_LENT:
        return allocate(size, np.dtype(np.float32))
    if len(_scratch.array) < size:
        _scratch.array = allocate(size, np.dtype(np.float32))
    return _scratch.array[:size]


allocate: Callable[[int, np.dtype], Array] = _allocate  # tests put poisoned, guarded memory here
lend: Callable[[int], Array] = _lend  # `size` floats, until the next kernel


def empty(shape: Sequence[int], dtype: Any = np.float32, channels_last: bool = False) -> Array:
    """An uninitialised array; `channels_last` lays a logical NCHW array out as NHWC in memory."""
    flat = allocate(math.prod(shape), np.dtype(dtype))
    if channels_last and len(shape) == 4:
        n, c, h, w = shape
        return flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)
    return flat.reshape(shape)


def nhwc(x: Array) -> Array:
    """Logical NCHW to C-contiguous NHWC: a view if `x` is channels-last already, else a copy."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x: Array) -> Array:
    """NHWC back to logical NCHW: always a view."""
    return x.transpose(0, 3, 1, 2)


def rows(x: Array) -> Array:
    """Logical (N, C, …) to a C-contiguous matrix, one row of C channels per pixel of any image.

    A view if the channel is the last axis in memory already, else a copy.
    """
    pixels = math.prod(x.shape[:1] + x.shape[2:])
    x = x.transpose(0, *range(2, x.ndim), 1)
    return np.ascontiguousarray(x).reshape(pixels, x.shape[-1])


def unrows(matrix: Array, shape: Sequence[int]) -> Array:
    """A matrix of `rows` back to logical `shape` (N, C, …): always a view."""
    N, C, *pixels = shape
    x = matrix.reshape(N, *pixels, C)
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def is_channels_last(x: Array) -> bool:
    """True if the memory of a logical NCHW array is laid out as dense NHWC."""
    return x.ndim == 4 and x.transpose(0, 2, 3, 1).flags.c_contiguous


def is_channel_slice(x: Array) -> bool:
    """True if a logical NCHW array is some of the channels of a dense NHWC image, and many pixels.

    The channels of a pixel are neighbours, and all pixels are equally far apart.
    """
    if x.ndim != 4 or x.shape[2] < 2 or x.shape[3] < 2:
        return False
    n, c, h, w = x.strides
    N, _, H, W = x.shape
    return c == x.itemsize and h == W * w and (n == H * h or N == 1) and w >= x.shape[1] * c


def _transposed(x: Array) -> Array:
    # What nhwc copies, several times as fast.
    try:
        kernel = importlib.import_module("nanoconv._kernels.layout_cy")
    except ImportError:  # a build may lack one module
        return nhwc(x)
    N, C, H, W = x.shape
    y = empty((N, H, W, C))
    sizes, threads = (N, C, H * W), config.get_num_threads()
    kernel.transpose_f32(y.reshape(N, H * W, C), x.reshape(N, C, H * W), sizes, threads)
    return y


# --------------------------------------------------------------------------- kernels


class Body:
    """A loaded kernel: `body(*arrays, sizes=...)` adds the scratch and threads that it wants.

    Compiled bodies take images as C-contiguous NHWC, the literal loops as C-contiguous NCHW;
    `empty` and `image` prepare either, so that a ladder needs one `call` for all of its rungs.
    A body that `takes_slices` has its `input` also as some of the channels of a wider image.
    """

    def __init__(
        self,
        function: Callable,
        scratch: Callable | None = None,
        kind: str = "loops",
        takes_slices: bool = False,
    ) -> None:
        self.function, self.scratch, self.kind = function, scratch, kind
        self.takes_slices = takes_slices

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        """An uninitialised image (N, C, H, W) in the memory format that this body writes."""
        return empty(shape, dtype, channels_last=self.kind != "loops")

    def output(self, shape: Sequence[int], dtype: Any = np.float32) -> tuple[Array, Array]:
        """What `empty` gives, and the same memory as this body indexes it."""
        if self.kind == "loops":
            y = empty(shape, dtype)
            return y, y
        n, c, h, w = shape
        y = empty((n, h, w, c), dtype)
        return y.transpose(0, 3, 1, 2), y

    def image(self, x: Array) -> Array:
        """A logical NCHW array as this body indexes it."""
        if self.kind == "loops":
            return np.ascontiguousarray(x)
        if self.kind != "cython" or x.dtype != np.float32 or not x.flags.c_contiguous:
            return nhwc(x)
        return nhwc(x) if is_channels_last(x) else _transposed(x)

    def input(self, x: Array) -> Array:
        """As `image`, without a copy of a slice of channels if the body takes it as it is."""
        if self.takes_slices:
            last = x.transpose(0, 2, 3, 1)
            if last.flags.c_contiguous or is_channel_slice(x):
                return last
        return self.image(x)

    def __call__(self, *arrays: Any, sizes: tuple[int, ...]) -> None:
        threads = (config.get_num_threads(),) if self.kind == "cython" else ()
        if self.scratch is not None:
            arrays += (lend(self.scratch(sizes, *threads)),)
        self.function(*arrays, sizes, *threads)


def always(*args: Any) -> bool:
    """The predicate of a kernel that takes every shape."""
    return True


def at_least(size: int) -> Callable[..., bool]:
    """The predicate of a kernel whose call costs more than it saves on a smaller first array."""

    def worth_a_call(x: Array, *rest: Any) -> bool:
        return x.size >= size

    worth_a_call.__name__ = f"at least {size:,} numbers"
    return worth_a_call


@dataclass(frozen=True)
class Kernel:
    """One rung: `<language>.<algorithm>`, its body "module:function", and when it applies.

    Fast bodies are float32; float64 always takes the reference. `when` says what the body can
    compute, `auto` where it is the fastest: elsewhere (with `auto=False` everywhere) it runs only
    if `use()` asks for it or its language. Of all kernels only the compiled literal loops ("jit")
    take float64, and they run only by their own name.

    `error` declares that a body loses more digits than a sum of products in any order: a function
    of the ladder's arguments, the R of the bound |error| ≤ 2·K·ε·R for each number of the result.
    Where R is not finite, the result need not be either.
    """

    name: str
    body: str
    when: Callable[..., bool] = always
    auto: Callable[..., bool] | bool = True
    error: Callable[..., Array] | None = None

    @property
    def language(self) -> str:
        return self.name.partition(".")[0]


def _load(body: str, loops: Callable | None) -> Body:
    """Import "module:function" from `_kernels`; "jit" compiles the ladder's own literal loops."""
    if body == "jit":
        assert loops is not None
        jit = importlib.import_module("nanoconv._kernels.jit_nb")
        return Body(jit.compile_loops(loops))
    module_name, _, function = body.partition(":")
    module = importlib.import_module("nanoconv._kernels." + module_name)
    kind = "cython" if module_name.endswith("_cy") else "numba"
    scratch = getattr(module, function + "_scratch", None)
    slices = getattr(module, function + "_takes_slices", False)
    return Body(getattr(module, function), scratch, kind, slices)


class Ladder:
    """All implementations of one computation; calling it runs the one that `choose` picks.

    The first argument is an array, whose dtype is that of all.

    reference   NumPy on plain arrays: `reference(*args)` is the definition of the result
    loops       the same as literal nested loops: `loops(*outputs, *inputs, sizes)`
    kernels     fastest first
    call        `call(body, *args)`: lays the arguments out for a body, runs it, gives the result
    """

    def __init__(
        self,
        name: str,
        reference: Callable,
        kernels: Sequence[Kernel],
        call: Callable,
        loops: Callable | None = None,
    ) -> None:
        self.name, self.reference, self.kernels = name, reference, tuple(kernels)
        self.call, self.loops = call, loops
        self._bodies: dict[str, Body | ImportError] = {}
        self._allowed: dict[str, tuple[Kernel, ...]] = {}  # for each backend asked for so far
        config.rungs.update(kernel.name for kernel in self.kernels)

    @property
    def rungs(self) -> list[str]:
        """The names of all rungs, fastest first; the literal loops and the reference are last."""
        own = [kernel.name for kernel in self.kernels]
        return own + (["loops"] if self.loops else []) + ["numpy"]

    def __call__(self, *args: Any) -> Any:
        return self.run(self.choose(*args), *args)

    def run(self, rung: str, *args: Any) -> Any:
        """Run the rung of this name, whatever `use()` says."""
        body = self._bodies.get(rung)
        if isinstance(body, Body):  # which has been loaded before: every call but the first
            return self.call(body, *args)
        if rung == "numpy":
            with np.errstate(all="ignore"):  # which takes a while, and compiled bodies need it not
                return self.reference(*args)
        if rung == "loops" and self.loops:
            with np.errstate(all="ignore"):
                return self.call(Body(self.loops), *args)
        body = self._body(self._kernel(rung))
        if isinstance(body, ImportError):
            raise body
        return self.call(body, *args)

    def choose(self, *args: Any) -> str:
        """The name of the rung that a call with these arguments runs."""
        backend = config.get_backend()
        if backend == "loops" and self.loops:
            return "loops"
        if backend not in self._allowed:
            allowed = [k for k in self.kernels if not self._forbidden(k, backend)]
            self._allowed[backend] = () if backend == "numpy" else tuple(allowed)
        for kernel in self._allowed[backend]:
            if not self._unfit(kernel, backend, args):
                return kernel.name
        return "numpy"

    def why(self, *args: Any) -> list[tuple[str, str]]:
        """For each rung, fastest first: its name and why it is taken or not."""
        backend, taken, rows = config.get_backend(), self.choose(*args), []
        for kernel in self.kernels:
            verdict = self._verdict(kernel, backend, args)
            rows.append((kernel.name, verdict or "a faster rung is taken"))
        rows += [(rung, "not needed") for rung in self.rungs[len(self.kernels) :]]
        return [(name, "taken" if name == taken else text) for name, text in rows]

    def supports(self, rung: str, *args: Any) -> bool:
        """True if this rung can compute these arguments and is installed."""
        if rung in ("numpy", "loops"):
            return True
        return self._verdict(self._kernel(rung), rung, args) == ""

    def _kernel(self, rung: str) -> Kernel:
        for kernel in self.kernels:
            if kernel.name == rung:
                return kernel
        raise ValueError(f"{self.name}: no rung {rung!r}; expected one of {self.rungs}")

    def _body(self, kernel: Kernel) -> Body | ImportError:
        if kernel.name not in self._bodies:
            try:
                self._bodies[kernel.name] = _load(kernel.body, self.loops)
            except ImportError as error:
                self._bodies[kernel.name] = error
        return self._bodies[kernel.name]

    def _verdict(self, kernel: Kernel, backend: str, args: tuple) -> str:
        """Why `kernel` is not taken, or "" if it may be."""
        return self._forbidden(kernel, backend) or self._unfit(kernel, backend, args)

    def _forbidden(self, kernel: Kernel, backend: str) -> str:
        """Why this backend has no such kernel, whatever the arguments."""
        if backend == kernel.name:
            return ""
        if kernel.body == "jit" or (backend == "auto" and not kernel.auto):
            return "never chosen automatically"
        if backend != "auto" and (
            backend not in LANGUAGES or LANGUAGES.index(kernel.language) > LANGUAGES.index(backend)
        ):
            return f"use({backend!r}) does not allow it"
        return ""

    def _unfit(self, kernel: Kernel, backend: str, args: tuple) -> str:
        """Why these arguments do not suit it."""
        if args[0].dtype == FLOAT64 and kernel.body != "jit":
            return "float64 takes the reference"
        if kernel.when is not always and not kernel.when(*args):
            return f"needs {kernel.when.__name__}"
        if backend == "auto" and callable(kernel.auto) and not kernel.auto(*args):
            return f"chosen automatically only for {kernel.auto.__name__}"
        body = self._body(kernel)
        return f"not installed: {body}" if isinstance(body, ImportError) else ""


# --------------------------------------------------------------------------- ops


class Op:
    """An equation: everything that eager runs, gradients, tests and counters need to know of it.

    forward(*inputs, **attrs)        y, or (y, *extra arrays that the gradient needs)
    vjp(dy, y, *inputs, **attrs)     the vector-Jacobian product: one gradient per input; or a
                                     tuple of such functions, one per input, of which only those
                                     that are needed run. `y` is all that forward returned. For a
                                     gradient that is mostly 0 there is `tape.Part`.
    keeps                            what the tape must hold for `vjp`: "x" all inputs, or the
                                     numbers of some, as "02"; "y" the output. An input that is
                                     not held arrives as a stand-in: its shape and dtype, NaN for
                                     values, no memory; an output that is not held, as None
    macs(y, *inputs, **attrs)        multiply-adds of one run
    is_ladder                        forward is a ladder that computes into memory of its own, and
                                     that keeps NumPy quiet by itself: a call costs less
    """

    registry: ClassVar[dict[str, Op]] = {}

    def __init__(
        self,
        name: str,
        forward: Callable,
        vjp: Callable | tuple[Callable, ...] | None,
        keeps: str = "x",
        macs: Callable[..., int] | None = None,
        is_ladder: bool = False,
    ) -> None:
        self.name, self.forward, self.vjp, self.keeps = name, forward, vjp, keeps
        self.is_ladder = is_ladder
        self.macs = macs or (lambda y, *inputs, **attrs: 0)
        if name in Op.registry:
            raise ValueError(f"Op: the name {name!r} is taken already")
        Op.registry[name] = self

    @staticmethod
    def named(name: str) -> Op | None:
        """The op of this name, None if there is none."""
        if name not in Op.registry:
            importlib.import_module("nanoconv.functional")  # every op of it
        return Op.registry.get(name)

    def keeps_input(self, k: int) -> bool:
        return "x" in self.keeps or str(k) in self.keeps

    def __repr__(self) -> str:
        return f"Op({self.name!r})"
