"""Every value of a run, for whoever wants to look inside: `Session.trace`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from .segments import Segment, compiled

if TYPE_CHECKING:
    from .session import Session

Array = np.ndarray


def traced(session: Session, inputs: Sequence[Any]) -> dict[str, Array]:
    """The values of a run by their names; see `Session.trace`."""
    graph = session.graph
    given, N = session.given(inputs)
    values = graph.constants | given
    names: dict[str, int] = {f"input {n}": k for n, k in enumerate(graph.inputs)}
    for node in graph.nodes:
        names[name_of(node.name or node.op.name, names)] = node.output
    segments = [unbanded(session, segment) for segment in session.segments]
    threads = min(session.threads, config.get_num_threads())
    if not session.alone:
        images = [one_run(session, segments, values, threads)]
    elif N == 0:
        images = [{k: np.empty((0, *graph.shapes[k][1:]), graph.dtypes[k]) for k in names.values()}]
    else:
        own = [values | {k: values[k][n : n + 1] for k in graph.inputs} for n in range(N)]
        images = [one_run(session, segments, image, threads) for image in own]
    if len(images) == 1:
        return {name: images[0][k].copy() for name, k in names.items()}
    return {name: np.concatenate([image[k] for image in images]) for name, k in names.items()}


def name_of(first: str, taken: Collection[str]) -> str:
    """A name for a value that no other has."""
    if first not in taken:
        return first
    return next(f"{first}.{k}" for k in range(2, len(taken) + 3) if f"{first}.{k}" not in taken)


def unbanded(session: Session, segment: Segment) -> Segment:
    """The same steps with the same weights, each of which writes all of its image to memory."""
    if segment.plan is None:
        return segment
    without = session.without | {"bands"}
    found = compiled(segment.graph, session.threads, without, segment.plan.weights)
    assert found.plan is not None
    assert found.plan.panels == segment.plan.panels  # they read the same weights
    return found


def one_run(
    session: Session, segments: list[Segment], values: dict[int, Array], threads: int
) -> dict[int, Array]:
    """All values of a graph by number."""
    found = dict(values)
    for segment in segments:
        if segment.plan is None:
            segment.run(found, 1, threads)
        else:
            of_steps(segment, found, threads)
            for node in segment.graph.nodes:  # those that are views, for which no step is needed
                if node.output not in found:
                    arrays = (None if k is None else found[k] for k in node.inputs)
                    found[node.output] = node.forward(*arrays)
    return found


def of_steps(segment: Segment, found: dict[int, Array], threads: int) -> None:
    """Add what the steps of a program compute."""
    plan = segment.plan
    assert plan is not None
    seen: dict[int, Array] = {}

    def see(n: int, memory: Any) -> None:
        value, lanes, y = plan.drafts[n].value, plan.drafts[n].lanes, plan.steps[n].y
        if value is None:
            return
        floats, shape = np.asarray(memory), segment.graph.shapes[value]
        if len(shape) == 4:
            strides = (0, 4, 4 * y.row, 4 * y.pitch)
            every = (1, y.C, *shape[2:])
            image = np.lib.stride_tricks.as_strided(floats, every, strides)
            seen[value] = image.copy() if lanes is None else image[:, lanes]
        else:  # one pixel
            seen[value] = floats[: np.prod(shape)].reshape(shape).copy()

    segment.program.trace(*segment.buffers(dict(found), 1), threads, see)
    found.update((k, array) for k, array in seen.items() if k not in found)
