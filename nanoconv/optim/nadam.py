"""NAdam: Adam that looks one step of its momentum ahead, as Nesterov's method does.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0])
>>> optimizer = NAdam([w], lr=0.25)
>>> w.grad = nc.tensor([100.0])
>>> optimizer.step()
>>> round(w.item(), 4)
0.7359
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class NAdam(Optimizer):
    """Adam whose numerator holds the gradient itself and the momentum of the next step.

        g ← g + weight_decay · p                 decoupled: p ← (1 − lr · weight_decay) · p
        μₜ = β₁ · (1 − ½ · 0.96^(t · momentum_decay))
        m ← β₁ · m + (1 − β₁) · g
        v ← β₂ · v + (1 − β₂) · g²
        m̂ = (1 − μₜ) · g / (1 − Π_{k≤t} μₖ) + μₜ₊₁ · m / (1 − Π_{k≤t+1} μₖ)
        v̂ = v / (1 − β₂ᵗ)
        p ← p − lr · m̂ / (√v̂ + eps)

    p parameter, g gradient (−g if `maximize`), m "exp_avg", v "exp_avg_sq", Π μₖ "mu_product"; t
    counts the steps of the parameter. `foreach` and `capturable` change nothing. Dozat,
    Incorporating Nesterov Momentum into Adam, ICLR workshop 2016.
    """

    not_negative = (*Optimizer.not_negative, "momentum_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["momentum_decay"]
        if not state:
            state.update(step=0, mu_product=1.0)
            state.update(exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            p *= 1 - lr * group["weight_decay"]
        elif group["weight_decay"]:
            g = g + group["weight_decay"] * p

        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in (t, t + 1))
        state["mu_product"] *= mu
        product = state["mu_product"]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        root = np.sqrt(v / (1 - beta2**t)) + group["eps"]
        ahead = (1 - mu) / (1 - product) * g + mu_next / (1 - product * mu_next) * m
        p -= lr * ahead / root
