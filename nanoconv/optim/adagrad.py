"""Adagrad: the gradient over the root of the sum of all its squares so far.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0])
>>> optimizer = Adagrad([w], lr=0.5)
>>> for gradient in (3.0, 4.0):
...     w.grad = nc.tensor([gradient])
...     optimizer.step()
...     round(w.item(), 4)  # 1 − ½ · 3/3, then − ½ · 4/5
0.5
0.1
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class Adagrad(Optimizer):
    """Ever smaller steps, most so for the parameters that have moved most.

        g ← g + weight_decay · p
        s ← s + g²                               initial_accumulator_value at first
        p ← p − lr / (1 + (t − 1) · lr_decay) · g / (√s + eps)

    p parameter, g gradient (−g if `maximize`), s "sum"; t counts the steps of the parameter. Where
    a group has an `initial_accumulator_value` of its own, that counts (PyTorch goes by the
    constructor's). `foreach` and `fused` change nothing. Duchi et al., Adaptive Subgradient
    Methods, JMLR 12, 2011.
    """

    not_negative = (*Optimizer.not_negative, "lr_decay", "initial_accumulator_value")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(step=0, sum=np.full_like(p, group["initial_accumulator_value"]))
        state["step"] += 1
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        s = state["sum"]
        s += g * g
        lr = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        p -= lr * g / (np.sqrt(s) + group["eps"])
