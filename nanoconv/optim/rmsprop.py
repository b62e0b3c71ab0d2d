"""RMSprop: the gradient over its root mean square of late.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0])
>>> optimizer = RMSprop([w], lr=0.25, alpha=0.75)
>>> w.grad = nc.tensor([100.0])
>>> optimizer.step()  # by lr / √(1 − alpha)
>>> round(w.item(), 4)
0.5
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class RMSprop(Optimizer):
    """The gradient over its root mean square, or over its standard deviation if `centered`.

        g ← g + weight_decay · p
        v ← alpha · v + (1 − alpha) · g²
        a ← alpha · a + (1 − alpha) · g          centered: σ = √(v − a²), else σ = √v
        b ← momentum · b + g / (σ + eps)
        p ← p − lr · b                           without momentum p ← p − lr · g / (σ + eps)

    p parameter, g gradient (−g if `maximize`), v "square_avg", a "grad_avg", b "momentum_buffer".
    `capturable` and `foreach` change nothing. Tieleman & Hinton, Neural Networks for Machine
    Learning, lecture 6.5, 2012; Graves, arXiv 1308.0850 (centered).
    """

    not_negative = (*Optimizer.not_negative, "alpha")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        alpha, momentum = group["alpha"], group["momentum"]
        if not state:
            state.update(step=0, square_avg=np.zeros_like(p))
            if momentum:
                state["momentum_buffer"] = np.zeros_like(p)
            if group["centered"]:
                state["grad_avg"] = np.zeros_like(p)
        state["step"] += 1
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        v = state["square_avg"]
        v *= alpha
        v += (1 - alpha) * g * g
        if group["centered"]:
            a = state["grad_avg"]
            a *= alpha
            a += (1 - alpha) * g
            v = v - a * a
        step = g / (np.sqrt(v) + group["eps"])
        if momentum:
            b = state["momentum_buffer"]
            b *= momentum
            b += step
            step = b
        p -= group["lr"] * step
