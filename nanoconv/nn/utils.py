"""Clipping of gradients, between `backward()` and an optimiser's step.

One batch in a thousand has a gradient many times larger than the others, and one step along it can
undo an epoch. Clipping bounds the step, by the norm of all gradients together, which keeps its
direction, or number by number, which does not. Pascanu et al., On the difficulty of training
recurrent neural networks, arXiv 1211.5063.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([0.0, 0.0])
>>> w.grad = nc.tensor([30.0, 40.0])
>>> clip_grad_norm_([w], max_norm=5.0)  # the norm that they had
tensor(50.)
>>> [round(g, 4) for g in w.grad.tolist()]
[3.0, 4.0]
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..tape import no_grad
from ..tensor import Array, Tensor, wrap

Tensors = Tensor | Iterable[Tensor]


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients so that their norm is at most `max_norm`; return the norm they had.

        norm = (Σ |g|^norm_type)^(1 / norm_type)            max |g| if norm_type is inf
        g ← g · min(max_norm / (norm + 10⁻⁶), 1)

    The sum is over all numbers of all gradients, as if they were one vector. With a norm that is
    not finite all gradients become 0 or NaN, or with `error_if_nonfinite` a RuntimeError leaves
    them alone. `foreach` changes nothing.
    """
    grads = _gradients("clip_grad_norm_", parameters)
    total = _total("clip_grad_norm_", grads, norm_type, error_if_nonfinite)
    _scale("clip_grad_norm_", grads, max_norm, total)
    return total


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all numbers in the tensors, as if they were one vector."""
    return _total(
        "get_total_norm", _listed("get_total_norm", tensors), norm_type, error_if_nonfinite
    )


def _total(name: str, tensors: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    arrays = [t._data for t in tensors]
    norm_type = float(norm_type)
    if math.isnan(norm_type):
        raise ValueError(f"{name}: norm_type={norm_type} must be a number or inf")
    dtype = np.result_type(*arrays) if arrays else np.dtype(np.float32)
    norms = np.array([_norm(array, norm_type) for array in arrays], dtype)
    total = wrap(np.asarray(_norm(norms, norm_type), dtype))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"{name}: the norm of the gradients is {total.item()}, expected a finite one "
            "(error_if_nonfinite=True)"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale all gradients as `clip_grad_norm_` does, with a norm that is known already."""
    grads = _gradients("clip_grads_with_norm_", parameters)
    _scale("clip_grads_with_norm_", grads, max_norm, total_norm)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every number of every gradient to [−clip_value, clip_value]; NaN stays."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value={clip_value} must be a number from 0 up")
    with no_grad():
        for grad in _gradients("clip_grad_value_", parameters):
            array = grad._written()
            np.clip(array, -clip_value, clip_value, out=array)


def _listed(name: str, tensors: Tensors) -> list[Tensor]:
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for t in given:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: expected tensors, got a {type(t).__name__}")
    return given


def _gradients(name: str, parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _listed(name, parameters) if p.grad is not None]


def _norm(array: Array, p: float) -> float:
    if not array.size:
        return 0.0
    with np.errstate(all="ignore"):  # overflow gives inf, as it should
        return float(np.linalg.norm(array.ravel(), p))


def _scale(name: str, grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    if not max_norm >= 0:
        raise ValueError(f"{name}: max_norm={max_norm} must be a number from 0 up")
    factor = max_norm / (total_norm._data + 1e-6)
    if factor >= 1:
        return
    with no_grad(), np.errstate(all="ignore"):
        for grad in grads:
            array = grad._written()
            array *= factor.astype(array.dtype)
