"""Lion: only the sign of a mixture of momentum and gradient, found by a search over programs.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0, 1.0])
>>> optimizer = Lion([w], lr=0.25)
>>> w.grad = nc.tensor([100.0, -0.01])
>>> optimizer.step()  # every step of every parameter is ± lr
>>> w.detach()
tensor([0.75, 1.25])
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class Lion(Optimizer):
    """Steps of size lr in every parameter, in the direction of the sign of u.

        u = β₁ · m + (1 − β₁) · g
        p ← p − lr · (sign(u) + weight_decay · p)
        m ← β₂ · m + (1 − β₂) · g

    p parameter, g gradient (−g if `maximize`), m "exp_avg"; the weight decay is decoupled as in
    AdamW. It needs half of Adam's memory. Its lr should be 3 to 10 times smaller than Adam's, and
    its weight_decay as many times larger, for the sign makes every step a full one. Chen et al.,
    Symbolic Discovery of Optimization Algorithms, arXiv 2302.06675, algorithm 2; PyTorch has none.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize},
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state["exp_avg"] = np.zeros_like(p)
        m = state["exp_avg"]
        u = np.sign(beta1 * m + (1 - beta1) * g)
        if group["weight_decay"]:
            u = u + group["weight_decay"] * p
        p -= group["lr"] * u
        m *= beta2
        m += (1 - beta2) * g
