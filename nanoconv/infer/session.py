"""`nc.compile`: a model as a plan that runs it, without Python between the layers.

    graph = capture(model, example)      what the model did, op by op
    graph = optimise(graph)              passes that compute the same with less
    plan  = make_plan(graph)             which kernel, where in memory
    program                              C structs, run again and again

A plan computes one image; a batch is many runs of it (plan_cy.pyx says how threads share them).
Nodes that no kernel computes are run as eager does, between two programs (segments.py): such a
session is right, but not as fast, and `explain()` says which nodes these are. Where no compiled
kernels are installed, all are.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from ..graph.ir import Graph, leaves, mapped, owner
from .segments import eager_segments, segments
from .steps import kernels_missing

if TYPE_CHECKING:  # what a session that was loaded does without is imported where it is needed
    from .explain import Explanation

Array = np.ndarray
CHOICES = ("winograd", "bands")  # what a plan may go without, beside the passes

# --------------------------------------------------------------------------- the session


class Session:
    """A compiled model: call it with arrays, as the model is called with tensors.

    It may be called from several threads at once; each call has memory of its own. The result has
    the same bits for any number of threads and for any batch.
    """

    def __init__(
        self,
        graph: Graph,
        batch: int | None,
        threads: int,
        without: frozenset[str] = frozenset(),
        packed: Sequence[Array] | None = None,
        together: str = "",
    ) -> None:
        """`graph` is that of one image, optimised; `batch` None takes any number of images.

        `together`: why images may not be computed one by one; then `graph` is that of the batch.
        """
        self.graph, self.batch, self.threads, self.without = graph, batch, threads, without
        self.alone = not together
        if together:
            self.segments = eager_segments(graph, together)
        elif missing := kernels_missing():
            self.segments = eager_segments(graph, missing)
        else:
            self.segments = segments(graph, threads, without, packed)
        self.held = {id(owner(array)) for array in graph.constants.values()}
        self.wanted = [
            (k, shape, graph.dtypes[k])
            for k, shape in zip(graph.inputs, self.input_shapes, strict=True)
        ]
        # Where programs compute all, nobody asks for constants, and each result is a new array. To
        # know that beforehand saves a tenth of the time that a small network takes.
        compiled = {k for segment in self.segments if segment.plan for k in segment.outputs}
        self.simple = all(segment.plan for segment in self.segments) and compiled >= {
            *graph.output_ids()
        }
        self.simple &= len({*leaves(graph.outputs)}) == len([*leaves(graph.outputs)])
        self.unread: dict[str, int] = {}  # checksums of constants in a file that nothing reads

    def __repr__(self) -> str:
        inputs = ", ".join(map(self.expected, self.graph.inputs))
        plans = [segment.plan for segment in self.segments]
        steps, eager = sum(len(plan.steps) for plan in plans if plan), plans.count(None)
        return f"Session({inputs}: {steps} steps, {eager} eager nodes, threads={self.threads})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a session is not pickled and not copied; use session.save and nc.Session.load"
        )

    @property
    def input_shapes(self) -> list[tuple[int | None, ...]]:
        """The shape of each input; None stands for any number of images."""
        shapes = [self.graph.shapes[k] for k in self.graph.inputs]
        if self.batch is not None and not self.alone:
            return [*shapes]
        return [(self.batch, *shape[1:]) for shape in shapes]

    def expected(self, k: int) -> str:
        """The input with number k of the graph, in words."""
        shape, dtype = next(wanted[1:] for wanted in self.wanted if wanted[0] == k)
        return f"{dtype}[{', '.join('N' if n is None else str(n) for n in shape)}]"

    def programs(self) -> list[int]:
        """The numbers of the segments that are compiled."""
        return [n for n, segment in enumerate(self.segments) if segment.plan is not None]

    def eager_values(self) -> set[int | None]:
        """The numbers of the values that nodes without a kernel read."""
        nodes = [segment.node for segment in self.segments if segment.plan is None]
        return {k for node in nodes for k in node.inputs} | {*self.graph.output_ids()}

    def __call__(self, *inputs: Any) -> Any:
        """The model's result for these arrays, of arrays; ValueError for other shapes or dtypes.

        Each has memory of its own: nothing else is changed by writing to it.
        """
        values, N = self.given(inputs)
        graph = self.graph
        if self.alone and N == 0:
            return mapped(
                graph.outputs, lambda k: np.empty((0, *graph.shapes[k][1:]), graph.dtypes[k])
            )
        threads = min(self.threads, config.get_num_threads())
        for segment in self.segments:
            segment.run(values, N if self.alone else 1, threads)
        if self.simple:
            result = graph.outputs
            return values[result] if type(result) is int else mapped(result, values.__getitem__)
        taken = {id(owner(values[k])) for k in graph.inputs}

        def of_its_own(k: int) -> Array:
            memory = id(owner(values[k]))
            if memory in taken or memory in self.held:
                return values[k].copy()
            taken.add(memory)
            return values[k]

        return mapped(graph.outputs, of_its_own)

    def given(self, inputs: Sequence[Any]) -> tuple[dict[int, Array], int]:
        """The inputs by their numbers in the graph, beside the constants; and how many images."""
        wanted = self.wanted
        if len(inputs) != len(wanted):
            raise ValueError(f"session: got {len(inputs)} inputs, expected {len(wanted)}")
        values = {} if self.simple else dict(self.graph.constants)
        N = self.batch
        for x, (k, shape, dtype) in zip(inputs, wanted, strict=True):
            array = x if type(x) is np.ndarray else self.array_of(x, k)
            if N is None:
                N = array.shape[0] if array.ndim else 0
            fits = array.shape == (shape if self.batch is not None else (N, *shape[1:]))
            if not fits or array.dtype != dtype:
                raise ValueError(
                    f"session: input {self.graph.inputs.index(k)} is "
                    f"{array.dtype}{list(array.shape)}, expected {self.expected(k)}"
                )
            values[k] = array
        return values, 1 if N is None else N

    def array_of(self, x: Any, k: int) -> Array:
        """What is given as input k, if it is an array of any kind."""
        if hasattr(x, "__array__") or hasattr(x, "__array_interface__"):
            return np.asarray(x)
        raise ValueError(
            f"session: input {self.graph.inputs.index(k)} is of type {type(x).__name__}, "
            f"expected an array {self.expected(k)}"
        )

    def trace(self, *inputs: Any) -> dict[str, Array]:
        """The inputs and every value that the session computes, by name, as NCHW arrays.

        They are those of a run, bit for bit: what bands of rows do not keep is computed once more
        without bands, which are the same sums. A value has the name of the module that computed it,
        or else of its op; what passes fused into one step has that of the first, a convolution with
        its batch norm, residual and activation that of the convolution.
        """
        from .tracing import traced

        return traced(self, inputs)

    def explain(self, seconds: float = 0.5) -> Explanation:
        """What each step computes, with which kernel and why, how fast, and what is in its way.

        Prints as a table. It runs the session for about `seconds` to time it, on one image.
        """
        from .explain import explained

        return explained(self, seconds)

    def save(self, path: str | Path) -> None:
        """Write the graph, its weights and the packed weights to a file that `Session.load` opens.

        Plans are made anew there. The weights are in the file twice, as the model has them for
        machines with other vectors and as this one's kernels read them.
        """
        from .saving import save

        save(self, path)

    @staticmethod
    def load(path: str | Path, threads: int | None = None) -> Session:
        """The session of a file that `save` wrote; its weights are read as they are needed.

        ValueError if the file is damaged, or no session of nanoconv; no code in it is run. On a
        machine with other vectors the weights are packed again. `threads` is as in `compile`.
        """
        from .saving import load

        return load(path, checked_threads("load", threads))


# --------------------------------------------------------------------------- compile


def compile(
    model: Any,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    *,
    dynamic_batch: bool = False,
    threads: int | None = None,
    skip: Collection[str] = (),
) -> Session:
    """A session that computes what `model` computes in evaluation mode, as fast as this CPU can.

    model           a Module in evaluation mode, any function of tensors, or a captured Graph
    input_shape     (N, C, H, W), or a list of such shapes for a model with several inputs; the
                    inputs are float32. A Graph has its shapes already
    dynamic_batch   take any number of images in a call; N is then only an example
    threads         that a call may use; default `nc.get_num_threads()`. A single image uses fewer
                    while something else has the cores (team.py)
    skip            names of passes, and "winograd" or "bands", to go without

    The weights are those of now: what changes in the model later does not reach the session. (Only
    a function, no Module, whose images depend on each other is run again for each batch size that
    was not seen before, with what it reads then.) With a backend below "simd", or without compiled
    kernels, the session runs its graph as eager does; without passes, too, it has the bits of
    eager. An infinity or NaN in the input makes NaN of whole tiles of 2×2 or 4×4 pixels where
    Winograd computes a convolution, not only where a window sees it; skip=["winograd"] keeps it
    there.
    Raises CaptureError (a RuntimeError) that names the line if what the model does depends on the
    values of its input, ValueError for arguments that do not fit.

    >>> import numpy as np
    >>> from nanoconv import nn
    >>> session = compile(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), (1, 3, 8, 8))
    >>> session(np.zeros((1, 3, 8, 8), np.float32)).shape
    (1, 8, 6, 6)
    """
    from ..graph.batch import why_together
    from ..graph.capture import capture, check_evaluating
    from ..graph.passes import PASSES

    threads = checked_threads("compile", threads)
    if not (isinstance(model, Graph) or callable(model)):
        raise TypeError(f"compile: model={model!r}, expected a Module, a function or a Graph")
    if not isinstance(dynamic_batch, bool):
        raise TypeError(f"compile: dynamic_batch={dynamic_batch!r}, expected True or False")
    if isinstance(skip, str):
        raise ValueError(f"compile: skip={skip!r}, expected a list of names")
    unknown = set(skip) - {*PASSES, *CHOICES}
    if unknown:
        known = ", ".join([*PASSES, *CHOICES])
        raise ValueError(f"compile: skip={sorted(unknown)}, expected any of {known}")
    without = frozenset(skip) & frozenset(CHOICES)
    passes = frozenset(skip) - without
    if isinstance(model, Graph):
        shapes = [model.shapes[k] for k in model.inputs]
        if dynamic_batch:
            raise ValueError("compile: a Graph has a fixed batch; dynamic_batch=True needs a model")
        if input_shape is not None and checked_shapes(input_shape) != shapes:
            raise ValueError(f"compile: input_shape={input_shape!r}, but the graph has {shapes}")
        if all(shape[:1] == (1,) for shape in shapes):
            return Session(optimised(model, passes), 1, threads, without)
        N, why = (*shapes[0], 1)[0], "the graph is that of a batch, not of an image"
        return Session(optimised(model, passes), N, threads, without, together=why)
    if input_shape is None:
        raise ValueError("compile: input_shape is missing, expected (N, C, H, W)")
    check_evaluating(model)
    shapes = checked_shapes(input_shape)
    N = shapes[0][0]
    try:
        graph = capture(model, *examples(shapes, 1))
    except ValueError as error:
        if all(len(shape) == 4 for shape in shapes):
            raise
        raise ValueError(
            f"compile: input_shape={input_shape!r} does not fit the model, expected (N, C, H, W), "
            f"of which the first is the number of images: {error}"
        ) from error
    if N == 1 and not dynamic_batch:
        return Session(optimised(graph, passes), 1, threads, without)
    why = why_together(graph, capture(model, *examples(shapes, max(N, 2))))
    if not why:
        batch = None if dynamic_batch else N
        return Session(optimised(graph, passes), batch, threads, without)
    if dynamic_batch:
        return AnyBatch(model, shapes, threads, passes, without, why)
    whole = optimised(capture(model, *examples(shapes, N)), passes)
    return Session(whole, N, threads, without, together=why)


def optimised(graph: Graph, passes: frozenset[str]) -> Graph:
    """After all passes but these, with constants that share no memory with those of `graph`."""
    from ..graph.passes import optimise

    theirs = {id(owner(array)) for array in graph.constants.values()}
    found = optimise(graph, passes)
    constants = {
        k: array.copy("K") if id(owner(array)) in theirs else array
        for k, array in found.constants.items()
    }
    return replace(found, constants=constants)


def checked_threads(function: str, threads: int | None) -> int:
    """So many, or as many as nanoconv uses; never more than there can be."""
    if threads is None:
        return config.get_num_threads()
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"{function}: threads={threads!r}, expected a positive integer")
    return min(threads, config.max_threads())


def checked_shapes(given: Any) -> list[tuple[int, ...]]:
    """One shape or several as a list; all have the same N."""
    try:
        several = [*given]
        one = isinstance(several[0], (int, np.integer))
        shapes = [tuple(map(checked_size, shape)) for shape in ([several] if one else several)]
        good = all(shapes) and len({shape[0] for shape in shapes}) == 1
    except (TypeError, IndexError):
        good = False
    if not good or min(map(min, shapes)) < 1:
        raise ValueError(
            f"compile: input_shape={given!r}, expected positive sizes (N, C, H, W), or a list of "
            "such shapes with the same N"
        )
    return shapes


def checked_size(size: Any) -> int:
    """TypeError if it is no integer."""
    if isinstance(size, bool):
        raise TypeError("a bool is no size")
    return operator.index(size)


def examples(shapes: Sequence[tuple[int, ...]], N: int) -> list[Array]:
    return [np.zeros((N, *shape[1:]), np.float32) for shape in shapes]


class AnyBatch(Session):
    """A model whose images depend on each other, as a session for each batch size seen.

    A Module is copied, so that what changes in it later does not reach sizes seen later, either.
    """

    def __init__(
        self,
        model: Any,
        shapes: list[tuple[int, ...]],
        threads: int,
        passes: frozenset[str],
        without: frozenset[str],
        why: str,
    ) -> None:
        self.model = copy.deepcopy(model) if hasattr(model, "named_modules") else model
        self.shapes, self.passes, self.why = shapes, passes, why
        self.by_batch: dict[int, Session] = {}
        first = self.of_batch(shapes[0][0], threads, without)
        super().__init__(first.graph, None, threads, without, together=why)

    def of_batch(self, N: int, threads: int, without: frozenset[str]) -> Session:
        from ..graph.capture import capture

        if N not in self.by_batch:
            graph = optimised(capture(self.model, *examples(self.shapes, N)), self.passes)
            made = Session(graph, N, threads, without, together=self.why)
            self.by_batch.setdefault(N, made)  # another thread may have been quicker
        return self.by_batch[N]

    def __call__(self, *inputs: Any) -> Any:
        return self.of_given(inputs)(*inputs)

    def trace(self, *inputs: Any) -> dict[str, Array]:
        return self.of_given(inputs).trace(*inputs)

    def of_given(self, inputs: Sequence[Any]) -> Session:
        """The session of these inputs, made now if their batch size was not seen before."""
        _, N = self.given(inputs)
        try:
            return self.of_batch(N, self.threads, self.without)
        except (ValueError, RuntimeError) as error:  # of a function, for instance, of a Module
            kind = ValueError if isinstance(error, ValueError) else RuntimeError
            raise kind(
                f"session: the images of a batch depend on each other, so one of {N} images, the "
                f"first of this size, needs another run of the model: {error}"
            ) from error
