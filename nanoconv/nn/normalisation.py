"""Normalisation layers: the maths is in `nanoconv/ops/`, the parameters and statistics are here."""

from __future__ import annotations

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from . import init
from .arguments import count, parameter
from .module import Module


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share: all but the shapes they accept."""

    _dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = count(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape, track = (self.num_features,), track_running_stats
        self.register_parameter("weight", parameter(*shape) if affine else None)
        self.register_parameter("bias", parameter(*shape) if affine and bias else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, Tensor(np.empty(shape, np.float32)) if track else None)
        self.register_buffer("num_batches_tracked", Tensor(np.array(0)) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen: mean 0, variance 1."""
        if self.running_mean is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, no batches seen."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.ndim not in self._dims:
            expected = " or ".join(map(str, self._dims))
            raise ValueError(
                f"{type(self).__name__}: input has shape {list(input.shape)}, "
                f"expected {expected} axes"
            )
        learning = self.training and self.track_running_stats
        momentum = self.momentum
        if momentum is None:  # the plain average over all batches, this one included
            momentum = 1 / (int(self.num_batches_tracked) + 1) if learning else 0.0
        y = F.batch_norm(
            input,
            self.running_mean if learning or not self.training else None,
            self.running_var if learning or not self.training else None,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=momentum,
            eps=self.eps,
        )
        if learning:
            self.num_batches_tracked.add_(1)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(_BatchNorm):
    """Normalises each channel to mean 0 and variance 1, then scales and shifts it.

        y[n,c] = (x[n,c] − μ[c]) / √(σ²[c] + eps) · weight[c] + bias[c]

    (N, C, H, W) → the same. In training μ and σ² are the batch's, and the running ones move a
    part `momentum` towards them (None: their plain average over all batches); in evaluation μ and
    σ² are the running ones, or the batch's without `track_running_stats`. Ioffe & Szegedy,
    arXiv 1502.03167.
    """

    _dims = (4,)


class BatchNorm1d(_BatchNorm):
    """`BatchNorm2d` for (N, C) and (N, C, L)."""

    _dims = (2, 3)
