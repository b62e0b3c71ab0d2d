"""SGD: down the gradient of a batch, with momentum.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0])
>>> optimizer = SGD([w], lr=0.5, momentum=0.5)
>>> for _ in range(2):
...     w.grad = nc.tensor([1.0])
...     optimizer.step()
...     w.item()
0.5
-0.25
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum m and Nesterov's variant of it.

        g ← g + weight_decay · p                 maximize: −g in the place of g, first of all
        b ← m · b + (1 − dampening) · g          b ← g in the first step
        p ← p − lr · b                           Nesterov: p ← p − lr · (g + m · b)

    p parameter, g gradient, b "momentum_buffer", m momentum. `foreach` and `fused` change nothing.
    Sutskever et al., On the importance of initialization and momentum, ICML 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov=True needs momentum > 0 and dampening = 0, "
                f"got momentum={group['momentum']} and dampening={group['dampening']}"
            )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if momentum:
            b = state.get("momentum_buffer")
            if b is None:
                b = state["momentum_buffer"] = np.array(g)
            else:
                b *= momentum
                b += (1 - group["dampening"]) * g if group["dampening"] else g
            g = g + momentum * b if group["nesterov"] else b
        p -= group["lr"] * g
