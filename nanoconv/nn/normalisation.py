"""Normalisation layers: the maths is in `nanoconv/ops/`, the parameters and statistics are here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from . import init
from .arguments import Pair, count, parameter
from .layers import Conv2d
from .module import Module


def ones_and_zeros(layer: Module) -> None:
    """Weight 1, bias 0, if there are any."""
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class _Tracking(Module):
    """What batch and instance norm share: weight and bias, and statistics that they may keep."""

    _dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
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
        ones_and_zeros(self)

    def _check_axes(self, input: Tensor) -> None:
        if isinstance(input, Tensor) and input.ndim not in self._dims:
            expected = " or ".join(map(str, self._dims))
            raise ValueError(
                f"{type(self).__name__}: input has shape {list(input.shape)}, "
                f"expected {expected} axes"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Tracking):
    """What BatchNorm1d and BatchNorm2d share: all but the shapes they accept."""

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
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_axes(input)
        mean, var = self.running_mean, self.running_var
        if not self.training and mean is not None:
            return F.batch_norm(input, mean, var, self.weight, self.bias, eps=self.eps)
        learning = self.training and self.track_running_stats
        momentum = self.momentum
        if momentum is None:  # the plain average over all batches, this one included
            momentum = 1 / (int(self.num_batches_tracked) + 1) if learning else 0.0
        if not learning:
            mean = var = None
        y = F.batch_norm(input, mean, var, self.weight, self.bias, True, momentum, self.eps)
        if learning:
            self.num_batches_tracked.add_(1)
        return y


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


# --------------------------------------------------------------------------- by image


class _InstanceNorm(_Tracking):
    """What InstanceNorm1d and InstanceNorm2d share: all but the shapes they accept."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_axes(input)
        alone = isinstance(input, Tensor) and input.ndim == self._dims[0]
        y = F.instance_norm(
            input.unsqueeze(0) if alone else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input_stats=self.training or not self.track_running_stats,
            momentum=0.0 if self.momentum is None else self.momentum,
            eps=self.eps,
        )
        return y.squeeze(0) if alone else y


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each image to mean 0 and variance 1.

        y[n,c] = (x[n,c] − μ[n,c]) / √(σ²[n,c] + eps) · weight[c] + bias[c]

    (N, C, H, W) or (C, H, W) → the same. Weight and bias are there if `affine`. With
    `track_running_stats` the mean statistics of the training images are kept, and used in
    evaluation. Ulyanov et al., arXiv 1607.08022.
    """

    _dims = (3, 4)


class InstanceNorm1d(_InstanceNorm):
    """`InstanceNorm2d` for (N, C, L) and (C, L)."""

    _dims = (2, 3)


class GroupNorm(Module):
    """Normalises each of `num_groups` groups of channels of each image to mean 0, variance 1.

        y[n,c] = (x[n,c] − μ[n,g]) / √(σ²[n,g] + eps) · weight[c] + bias[c]

    (N, C, …) → the same; c belongs to group g. Wu & He, arXiv 1803.08494.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_groups = count("GroupNorm", "num_groups", num_groups)
        self.num_channels = count("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.eps, self.affine = eps, affine
        self.register_parameter("weight", parameter(num_channels) if affine else None)
        self.register_parameter("bias", parameter(num_channels) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        ones_and_zeros(self)

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.ndim > 1 and input.shape[1] != self.num_channels:
            raise ValueError(
                f"GroupNorm: input has shape {list(input.shape)}, expected {self.num_channels} "
                "channels"
            )
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


# --------------------------------------------------------------------------- by row


def sizes(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """One size or several, as a tuple."""
    given = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    return tuple(count(layer, "normalized_shape", size) for size in given)


class LayerNorm(Module):
    """Normalises all numbers of the last axes together to mean 0 and variance 1.

        y = (x − μ) / √(σ² + eps) · weight + bias

    (…, D₁, D₂ …) → the same; (D₁, D₂ …) is `normalized_shape`, or one number, and the shape of
    weight and bias. Ba et al., arXiv 1607.06450.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = sizes(type(self).__name__, normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        affine = elementwise_affine
        self.register_parameter("weight", parameter(*shape) if affine else None)
        self.register_parameter("bias", parameter(*shape) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        ones_and_zeros(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class LayerNorm2d(LayerNorm):
    """`LayerNorm` over the channels of each pixel of images (N, C, H, W), as torchvision's.

    Channels-last images are normalised where they lie; others are copied first.
    """

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.ndim != 4:
            raise ValueError(
                f"LayerNorm2d: input has shape {list(input.shape)}, expected (N, C, H, W)"
            )
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RMSNorm(Module):
    """Divides all numbers of the last axes by the root of their mean square.

        y = x / √(Σ x²/D + eps) · weight

    (…, D₁, D₂ …) → the same; (D₁, D₂ …) is `normalized_shape`, or one number. `eps` None is the
    smallest step from 1 in the input's dtype. Zhang & Sennrich, arXiv 1910.07467.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = sizes("RMSNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", parameter(*shape) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """Divides each number by the mean square of `size` channels around it.

        y[c] = x[c] / (k + alpha/size · Σ_t x[c + t]²)^beta

    (N, C, L …) → the same; channels beyond the first and the last are 0. Krizhevsky et al., 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = count("LocalResponseNorm", "size", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


# --------------------------------------------------------------------------- filters


class StdConv2d(Conv2d):
    """`Conv2d` that standardises its filters on each forward pass (weight standardisation).

        y = conv2d(x, ŵ) + bias,    ŵ[o] = (weight[o] − μ[o]) / √(σ²[o] + eps)

    Shapes, arguments and state dict as `Conv2d`, and `eps`. Qiao et al., arXiv 1903.10520.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | tuple[int, int, int, int] | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        eps: float = 1e-5,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode,
        )  # fmt: skip
        self.eps = eps

    def forward(self, input: Tensor) -> Tensor:
        return self._convolved(input, F.weight_standardization(self.weight, self.eps))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, eps={self.eps}"
