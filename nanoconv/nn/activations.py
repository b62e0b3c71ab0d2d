"""Activations: layers without parameters, from any shape to the same."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .module import Module


class _InPlace(Module):
    """What activations share that PyTorch can compute in place.

    `inplace` is accepted and shown in `repr`, so that PyTorch's models can be written down as they
    are, but the result is always a new tensor: the same values, and the input stays as it was.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """y = max(x, 0); `inplace` is accepted, but the input always stays as it was."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class ReLU6(_InPlace):
    """y = min(max(x, 0), 6)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)


class LeakyReLU(_InPlace):
    """y = x where x > 0, else negative_slope · x. Maas et al., ICML 2013."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        text = f"negative_slope={self.negative_slope}"
        return text + ", inplace=True" if self.inplace else text


class Sigmoid(Module):
    """y = 1 / (1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """y = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Hardsigmoid(_InPlace):
    """y = min(max(x + 3, 0), 6) / 6."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input)


class Hardswish(_InPlace):
    """y = x · min(max(x + 3, 0), 6) / 6. Howard et al., MobileNetV3, arXiv 1905.02244."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input)


class SiLU(_InPlace):
    """y = x / (1 + e⁻ˣ), also called swish. Ramachandran et al., arXiv 1710.05941."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)


class _AlongAxis(Module):
    """What Softmax and LogSoftmax share: an axis that must be named."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        if dim is None:
            raise TypeError(
                f"{type(self).__name__}: dim=None must be the number of an axis; "
                "that PyTorch guesses one is deprecated there"
            )
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """y[k] = eˣ⁽ᵏ⁾ / Σ_j eˣ⁽ʲ⁾ along the axis `dim`: scores become probabilities."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongAxis):
    """y[k] = x[k] − log Σ_j eˣ⁽ʲ⁾ along the axis `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)
