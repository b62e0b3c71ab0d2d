"""The same problem in PyTorch, with as little around its kernels as there is around ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .problems import Problem, arrays_of, call


def in_pytorch(problem: Problem, memory_format: str, torch: Any) -> Callable[[], tuple]:
    """Runs the op forward, or its gradients by the inputs that the problem has gradients for."""

    def tensor(array: np.ndarray | None) -> Any:
        if array is None or array.ndim != 4 or memory_format == "contiguous":
            return None if array is None else torch.from_numpy(array)
        return torch.from_numpy(array).contiguous(memory_format=torch.channels_last)

    layer, functional = problem.layer, torch.nn.functional
    tensors = [tensor(array) for array in arrays_of(layer)]

    def forward() -> tuple:
        with torch.no_grad():
            return (call(functional, layer, *tensors).numpy(),)

    if problem.dy is None:
        return forward
    inputs = [tensors[k].requires_grad_() for k in problem.gradient]
    y = call(functional, layer, *tensors)
    dy = torch.empty_like(y).copy_(torch.from_numpy(problem.dy))  # laid out as y is

    def backward() -> tuple:
        if layer.op == "prelu":  # its node leaves the sum over pixels to the engine
            return tuple(g.numpy() for g in torch.autograd.grad(y, inputs, dy, retain_graph=True))
        with torch.no_grad():
            found = gradients(y.grad_fn, dy)
        return tuple(found[id(tensor)].numpy() for tensor in inputs)

    return backward


def gradients(node: Any, dy: Any) -> dict[int, Any]:
    """The gradient of each leaf, by id, for a y that was computed by a few nodes.

    torch.autograd.grad gives the same, but costs as much as a small layer by itself.
    """
    found: dict[int, Any] = {}
    others = [None] * (len(node._input_metadata) - 1)  # group norm has outputs beside y
    grads = node(dy, *others)
    for (source, _), grad in zip(
        node.next_functions, grads if isinstance(grads, tuple) else (grads,), strict=False
    ):
        if source is None or grad is None:
            continue
        leaf = hasattr(source, "variable")
        more = {id(source.variable): grad} if leaf else gradients(source, grad)
        for key, part in more.items():
            found[key] = found[key] + part if key in found else part
    return found
