"""Adam and AdamW: steps of nearly equal size for all parameters.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([1.0, 1.0])
>>> optimizer = Adam([w], lr=0.25)
>>> w.grad = nc.tensor([100.0, -0.01])  # the first step is lr, whatever the gradient's magnitude
>>> optimizer.step()
>>> [round(x, 4) for x in w.tolist()]
[0.75, 1.25]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Array
from .optimizer import Group, Optimizer


class Adam(Optimizer):
    """Steps of nearly equal size for all parameters: the mean gradient over its own magnitude.

        g ← g + weight_decay · p                 maximize: −g in the place of g, first of all
        m ← β₁ · m + (1 − β₁) · g                m̂ = m / (1 − β₁ᵗ)
        v ← β₂ · v + (1 − β₂) · g²               v̂ = v / (1 − β₂ᵗ)
        p ← p − lr · m̂ / (√v̂ + eps)

    p parameter, g gradient, m "exp_avg", v "exp_avg_sq"; t counts the steps of the parameter.
    `amsgrad` takes the largest v so far (Reddi et al., arXiv 1904.09237). `decoupled_weight_decay`
    makes it AdamW. `foreach`, `capturable` and `fused` change nothing. Kingma & Ba, arXiv
    1412.6980.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = np.zeros_like(p)
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            p *= 1 - group["lr"] * group["weight_decay"]
        elif group["weight_decay"]:
            g = g + group["weight_decay"] * p

        # One temporary, s, takes every intermediate result: these are passes over memory.
        s = np.multiply(g, 1 - beta1, out=np.empty_like(p))
        m *= beta1
        m += s
        np.multiply(g, g, out=s)
        s *= 1 - beta2
        v *= beta2
        v += s
        if group["amsgrad"]:
            v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        np.sqrt(v, out=s)
        s /= math.sqrt(1 - beta2**t)
        s += group["eps"]  # √v̂ + eps
        np.divide(m, s, out=s)
        s *= group["lr"] / (1 - beta1**t)
        p -= s


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments: p ← (1 − lr · weight_decay) · p.

    Then the equations of Adam with weight_decay = 0. In Adam itself the decay is divided by √v̂ like
    the rest of the gradient: weights with large gradients hardly decay there. Loshchilov & Hutter,
    arXiv 1711.05101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
