"""Passes: functions Graph → Graph, each of which says in its docstring by which algebra.

A pass changes neither the graph that it is given nor the model; it may compute constants anew. What
a graph computes stays the same, up to the rounding of those constants and of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...dispatch import Op
from ..ir import Graph
from .channel_views import channel_views
from .fold import fold_batch_norm
from .fuse import fuse_activation, fuse_residual, split_activation
from .simplify import drop_identity, fold_constants, fold_pad, remove_dead

PASSES: dict[str, Callable[[Graph], Graph]] = {  # in this order
    "drop_identity": drop_identity,
    "fold_constants": fold_constants,
    "remove_dead": remove_dead,
    "fold_pad": fold_pad,
    "fold_batch_norm": fold_batch_norm,
    "fuse_residual": fuse_residual,
    "split_activation": split_activation,
    "fuse_activation": fuse_activation,
    "channel_views": channel_views,
}


def optimise(graph: Graph, skip: Collection[str] = ()) -> Graph:
    """The graph after all passes but those in `skip`, and again, until they find nothing more.

    ValueError for a name in `skip` that no pass has.
    """
    skip = (skip,) if isinstance(skip, str) else skip
    for name in skip:
        if name not in PASSES:
            names = ", ".join(PASSES)
            raise ValueError(f"optimise: skip has no pass {name!r}; expected any of {names}")
    ops: list[Op] = []
    while ops != (ops := [node.op for node in graph.nodes]):
        for name, change in PASSES.items():
            if name not in skip:
                graph = change(graph)
    return graph
