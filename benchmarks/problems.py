"""What is timed: every ladder call that a layer makes, going forward and back, as plain arrays.

Nobody writes these calls down. A layer runs once on the NumPy reference, and what its op asks of
which ladder, with which arguments, is noted; a new op, gradient or rung is timed without a line
here. Where one direction of an op climbs several ladders (batch norm: statistics, then scaling),
it is also timed as a whole, because that is what PyTorch can be compared with.

A result is right if it is as near to the reference in float64 as rounding allows:

    multilinear     |error| ≤ 2·K·ε·R    R: the reference on absolute values, K: the longest sum
    all others      |error| ≤ 2·K·(ε·|y| + |Δy|)    Δy: what relative changes ε of the inputs do
"""

from __future__ import annotations

import contextlib
import importlib
import math
import pkgutil
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import nanoconv as nc
from nanoconv import ops
from nanoconv.dispatch import Ladder, Op
from nanoconv.tape import observe

from .layers import Layer

EPS = float(np.finfo(np.float32).eps)
GRADIENTS = ("input_grad", "weight_grad", "bias_grad")
MULTILINEAR = (
    "conv2d", "depthwise_conv2d", "conv_transpose2d", "im2col", "linear", "adaptive_avg_pool2d",
    "avg_pool2d",
)  # fmt: skip
NORMS = ("batch_norm", "batch_norm_eval", "group_norm", "layer_norm")
SUMMED = (*MULTILINEAR, *NORMS, "prelu")  # all others add up no more than a few numbers
SAME = {"gelu_tanh": "gelu"}  # the function of an op that shares it with another
RECORDED = {"batch_norm_eval": "batch_norm"}  # what the tape calls an op that is timed two ways


# --------------------------------------------------------------------------- calling an op


def call(functional: Any, layer: Layer, x: Any, w: Any, b: Any) -> Any:
    """The layer's op, in nanoconv.functional or torch.nn.functional: the names are the same."""
    if layer.op == "batch_norm":
        return functional.batch_norm(x, None, None, w, b, training=True)
    if layer.op == "batch_norm_eval":  # b and w are the statistics, too
        return functional.batch_norm(x, b.detach(), w.detach(), w, b)
    if layer.op == "depthwise_conv2d" and not hasattr(functional, "depthwise_conv2d"):
        return functional.conv2d(x, w, b, **layer.attrs, groups=layer.x[1])
    if layer.op == "im2col" and not hasattr(functional, "im2col"):
        return unfold(functional, layer, x)
    if layer.op in ("group_norm", "layer_norm"):
        return getattr(functional, layer.op)(x, weight=w, bias=b, **layer.attrs)
    if layer.op == "cat":  # a function of the whole package: nanoconv.cat, torch.cat
        return sys.modules[functional.__name__.partition(".")[0]].cat((x, w), 1)
    inputs = (x,) if w is None else (x, w) if b is None else (x, w, b)
    return getattr(functional, SAME.get(layer.op, layer.op))(*inputs, **layer.attrs)


def unfold(functional: Any, layer: Layer, x: Any) -> Any:
    """What PyTorch calls im2col, seen (no copy) in the order of axes that nanoconv's result has."""
    window = {name: layer.attrs[name] for name in ("kernel_size", "stride", "padding")}
    n, c, k, g = *layer.x[:2], layer.kernel, layer.attrs["groups"]
    cols = functional.unfold(x, **window).view(n, g, c // g, k, k, layer.side, layer.side)
    return cols.permute(0, 5, 6, 1, 3, 4, 2)  # (N, OH, OW, G, KH, KW, C/G)


def arrays_of(layer: Layer) -> tuple[np.ndarray | None, ...]:
    """Normal random x, w and b, the same in every run; for max_unpool2d x and the positions."""
    rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
    if layer.op == "max_unpool2d":
        x = rng.standard_normal(layer.x, np.float32)
        return x, places(layer, rng), None
    shapes = (layer.x, layer.w, layer.w[:1] if layer.bias and layer.w else None)
    x, w, b = (None if s is None else rng.standard_normal(s, np.float32) for s in shapes)
    return x, np.abs(w) + np.float32(0.1) if layer.op == "batch_norm_eval" else w, b


def places(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    """A random pixel of each window as the position h·W + w of its maximum."""
    k = layer.kernel
    h, w = (k * np.arange(side) for side in layer.x[2:])
    u, v = rng.integers(0, k, (2, *layer.x))
    return (h[:, None] + u) * (k * layer.x[3]) + w + v


# --------------------------------------------------------------------------- problems


@dataclass
class Problem:
    """One computation with its arguments: `run(rung, *args)`.

    choose     the rung that `auto` takes for these arguments
    refusal    (rung, *args): why a rung does not take them, or ""
    declared   (rung, *args): the R of the error bound, of a rung that has its own, or None
    gradient   the inputs (0 x, 1 w, 2 b) by which this is the gradient, for `dy`
    alone      the direction consists of nothing else, so PyTorch can be compared
    """

    layer: Layer
    name: str
    rungs: list[str]
    run: Callable[..., Any]
    choose: Callable[..., str]
    refusal: Callable[..., str]
    declared: Callable[..., np.ndarray | None]
    args: tuple
    gradient: tuple[int, ...] = ()
    dy: np.ndarray | None = None
    alone: bool = True

    def arguments(self, how: Callable[[np.ndarray], np.ndarray]) -> tuple:
        """The arguments with `how` applied to each array, inside tuples too."""
        return mapped(self.args, how)


def mapped(value: Any, how: Callable[[np.ndarray], np.ndarray]) -> Any:
    if isinstance(value, tuple):
        return tuple(mapped(v, how) for v in value)
    return how(value) if isinstance(value, np.ndarray) else value


def arrays_in(value: Any) -> list[np.ndarray]:
    """All arrays of a result or of arguments, inside tuples too."""
    if isinstance(value, tuple):
        return [array for part in value for array in arrays_in(part)]
    return [value] if isinstance(value, np.ndarray) else []


@contextlib.contextmanager
def ladder_calls() -> Iterator[dict[str, tuple[Ladder, tuple]]]:
    """Notes the first call of each ladder inside."""
    calls: dict[str, tuple[Ladder, tuple]] = {}
    original = Ladder.__call__

    def note(self: Ladder, *args: Any) -> Any:
        calls.setdefault(self.name, (self, args))
        return original(self, *args)

    Ladder.__call__ = note  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        Ladder.__call__ = original  # type: ignore[method-assign]


def problems_of(layer: Layer) -> list[Problem]:
    """Everything to time for a layer: forward first, then each gradient.

    An op that keeps something for its gradient (the places of maxima) goes forward in two ways, and
    both are timed.
    """
    tensors = [None if a is None else nc.from_numpy(a) for a in arrays_of(layer)]
    alone = recorded(layer, tensors)
    for tensor in tensors:
        if tensor is not None and tensor.dtype.kind == "f":
            tensor.requires_grad_()
    op, inputs, attrs = recorded(layer, tensors)
    arrays = tuple(None if t is None else t.detach().numpy() for t in inputs)
    with nc.use("numpy"):
        y, *extra = one_or_more(op.forward(*arrays, **attrs))
        found = climb(layer, "forward", partial(op.forward, **attrs), arrays)
        if alone[2] != attrs:
            found += climb(layer, "forward", partial(op.forward, **alone[2]), arrays)
        dy = np.random.default_rng(1).standard_normal(y.shape, np.float32)
        outputs = (y, *extra) if extra else y
        if isinstance(op.vjp, tuple):
            rules = [
                (name, rule, (k,))
                for k, name, rule in zip(range(3), GRADIENTS, op.vjp, strict=False)
            ]
        else:
            given = tuple(k for k, tensor in enumerate(tensors) if tensor is not None)
            rules = [("backward", op.vjp, given)]
        for direction, rule, gradient in rules:
            found += climb(
                layer, direction, partial(rule, **attrs), (dy, outputs, *arrays), gradient, dy
            )
    return found


def recorded(layer: Layer, tensors: list[Any]) -> tuple[Op, tuple, dict[str, Any]]:
    """The layer's op, and its inputs and attributes, when it is called with these tensors."""
    seen: list[tuple] = []
    with nc.use("numpy"), observe(lambda *record: seen.append(record[:3])):
        call(nc.functional, layer, *tensors)
    name = RECORDED.get(layer.op, layer.op)
    return next(record for record in seen if record[0].name == name)


def one_or_more(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def climb(
    layer: Layer,
    direction: str,
    whole: Callable,
    args: tuple,
    gradient: tuple[int, ...] = (),
    dy: np.ndarray | None = None,
) -> list[Problem]:
    """The problems of one direction: each ladder that it climbs; if several, also the whole."""
    with ladder_calls() as calls:
        whole(*args)
    parts = [
        Problem(
            layer,
            f"{name}.{direction}" if name == layer.op and direction != "forward" else name,
            ladder.rungs,
            ladder.run,
            ladder.choose,
            partial(refusal, ladder),
            partial(declared, ladder),
            ladder_args,
            gradient,
            dy,
            alone=len(calls) == 1,
        )
        for name, (ladder, ladder_args) in calls.items()
    ]
    if len(parts) < 2:
        return parts

    def run(rung: str, *args: Any) -> Any:
        with nc.use(rung):
            return whole(*args)

    def choose(*args: Any) -> str:
        return parts[0].choose(*parts[0].args)

    def refuse(rung: str, *args: Any) -> str:
        return next(filter(None, (part.refusal(rung, *part.args) for part in parts)), "")

    shared = [r for r in parts[0].rungs if r != "loops" and all(r in p.rungs for p in parts)]
    name = f"{layer.op}.{direction}"
    none = partial(declared, None)
    return [*parts, Problem(layer, name, shared, run, choose, refuse, none, args, gradient, dy)]


def refusal(ladder: Ladder, rung: str, *args: Any) -> str:
    """Why this rung does not take these arguments, or ""."""
    with nc.use(rung):
        why = dict(ladder.why(*args))[rung]
    return "" if why == "taken" else why


def declared(ladder: Ladder | None, rung: str, *args: Any) -> np.ndarray | None:
    """The R that a kernel declares because it loses more digits than a sum does."""
    kernels = ladder.kernels if ladder else ()
    (error,) = [kernel.error for kernel in kernels if kernel.name == rung] or [None]
    return error(*args) if error else None


def all_ladders() -> dict[str, Ladder]:
    """Every ladder of every op file, by name."""
    found: dict[str, Ladder] = {}
    for module in pkgutil.iter_modules(ops.__path__, ops.__name__ + "."):
        for value in vars(importlib.import_module(module.name)).values():
            for ladder in value.values() if isinstance(value, dict) else (value,):
                if isinstance(ladder, Ladder):
                    found[ladder.name] = ladder
    return found


# --------------------------------------------------------------------------- memory formats
#
# Of images, which here are the arrays (1, C, H, W). All others stay as the op passes them: a rung
# that wants a transposed view in another order has to pay for the copy.


def contiguous(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array) if array.ndim == 4 and len(array) == 1 else array


def channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4 and len(array) == 1:
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return array


# --------------------------------------------------------------------------- is it right?

Bounds = list[tuple[np.ndarray, np.ndarray]]  # the true arrays, and how far off a rung may be


def longest_sum(layer: Layer) -> int:
    """K: how many numbers meet in one result, in whichever direction takes most."""
    if layer.op == "im2col":
        return layer.kernel**2
    if layer.op == "interpolate":
        return 16  # bicubic: 4×4 taps
    if layer.op not in SUMMED:
        return 8  # no sum: the operations of a smooth activation's gradient, one after the other
    pixels, w = math.prod(layer.x[2:]), layer.w or (1,)
    return max(pixels, math.prod(w[1:]), w[0] * math.prod(w[2:]))


def truth_and_bounds(problem: Problem) -> Bounds:
    """Each array of the float64 reference's result, and how far a float32 rung may be from it."""

    def reference(how: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        wide = problem.arguments(lambda a: how(a.astype(np.float64)) if a.dtype.kind == "f" else a)
        return arrays_in(problem.run("numpy", *wide))

    truth, length = reference(lambda a: a), longest_sum(problem.layer)
    if problem.layer.op in MULTILINEAR:
        return [(t, 2 * length * EPS * r) for t, r in zip(truth, reference(np.abs), strict=True)]
    rng = np.random.default_rng(2)
    allowed = [EPS * np.abs(t) + 1e-3 * EPS for t in truth]
    for _ in range(4):
        moved = reference(lambda a: a * (1 + EPS * rng.choice((-1.0, 1.0), a.shape)))
        for limit, m, t in zip(allowed, moved, truth, strict=True):
            np.maximum(limit, np.abs(m - t) + EPS * np.abs(t), out=limit)
    return [(t, 2 * length * limit) for t, limit in zip(truth, allowed, strict=True)]


def bounds_of(problem: Problem, rung: str, expected: Bounds) -> Bounds:
    """The bounds of one rung: wider where it declares that it loses more."""
    own = problem.declared(rung, *problem.args)
    if own is None:
        return expected
    return [(expected[0][0], 2 * longest_sum(problem.layer) * EPS * own)]


def complaint(result: Any, expected: Bounds) -> str:
    """Where a result is wrong, or "" if it is right."""
    results = arrays_in(result)
    if [a.shape for a in results] != [truth.shape for truth, _ in expected]:
        return f"shapes {[a.shape for a in results]} for {[t.shape for t, _ in expected]}"
    for array, (truth, limit) in zip(results, expected, strict=True):
        floating = truth.dtype.kind == "f"
        wrong = ~(np.abs(array - truth) <= limit) if floating else array != truth
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            return f"{wrong.sum()} of {wrong.size} wrong, first {at}: {array[at]} for {truth[at]}"
    return ""


def mismatch(result: Any, expected: Bounds) -> str:
    """Why another library's result is not the same computation, or "" if it is.

    It may round as it likes, if half of all digits are right, and leave out what we return beside
    y (batch statistics, the places of maxima).
    """
    results = arrays_in(result)
    for k, (array, (truth, _)) in enumerate(zip(results, expected, strict=False)):
        if array.shape != truth.shape:
            return f"shape {array.shape} for {truth.shape}"
        error = np.linalg.norm(array.astype(np.float64) - truth)
        if not error <= math.sqrt(EPS) * np.linalg.norm(truth):
            return f"array {k} differs by {error:.2g} of {np.linalg.norm(truth):.2g}"
    return "" if results else "no arrays"


def traffic(problem: Problem, expected: Bounds) -> int:
    """How many bytes any rung must at least read and write: arguments and results in float32."""
    written = (t.nbytes // 2 if t.dtype == np.float64 else t.nbytes for t, _ in expected)
    return sum(array.nbytes for array in arrays_in(problem.args)) + sum(written)
