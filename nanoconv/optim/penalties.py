"""Penalties: terms of the loss that keep weights small, or make many of them zero.

    L1    factor · Σ |w|            gradient factor · sign(w), 0 at 0: a constant pull, to exactly 0
    L2    factor / 2 · Σ w²         gradient factor · w: a pull that fades with the weight

An L2 penalty of factor λ and `weight_decay=λ` are the same thing in SGD, RMSprop, Adagrad, Adam and
NAdam: both add λ·w to the gradient. AdamW and Lion decouple the decay: they take lr·λ·w off the
weight itself, past all moments and normalisation, so that it shrinks all weights at the same rate.
Adam divides a penalty's gradient by √v̂ with the rest, which undoes most of it where gradients are
large; with Adam, prefer AdamW's decay to a penalty. Loshchilov & Hutter, arXiv 1711.05101.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([3.0, -4.0])
>>> loss = l1_penalty([w], 0.5) + l2_penalty([w], 0.1)  # 0.5 · 7 + 0.05 · 25
>>> round(loss.item(), 4)
4.75
>>> loss.backward()
>>> [round(g, 4) for g in w.grad.tolist()]
[0.8, -0.9]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..ops.arithmetic import abs as absolute
from ..tensor import Tensor


def l1_penalty(parameters: Tensor | Iterable[Tensor], factor: float) -> Tensor:
    """factor · Σ |w| over all parameters, to be added to a loss. Tibshirani, JRSS B 58, 1996."""
    return _total("l1_penalty", parameters, factor, absolute)


def l2_penalty(parameters: Tensor | Iterable[Tensor], factor: float) -> Tensor:
    """factor / 2 · Σ w² over all parameters, to be added to a loss: its gradient is factor · w.

    Hoerl & Kennard, Ridge Regression, Technometrics 12, 1970.
    """
    return _total("l2_penalty", parameters, factor, lambda w: 0.5 * w * w)


def _total(
    name: str,
    parameters: Tensor | Iterable[Tensor],
    factor: float,
    term: Callable[[Tensor], Tensor],
) -> Tensor:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for w in given:
        if not isinstance(w, Tensor):
            raise TypeError(f"{name}: parameters holds a {type(w).__name__}, not a tensor")
    if not given:
        raise ValueError(f"{name}: parameters is empty")
    if not factor >= 0:
        raise ValueError(f"{name}: factor={factor} must be a number from 0 up")
    total = term(given[0]).sum()
    for w in given[1:]:
        total = total + term(w).sum()
    return factor * total
