"""Activations: from any shape to the same; only PReLU has a parameter, only GLU halves an axis."""

from __future__ import annotations

from .. import functional as F
from ..ops.rrelu import check_bounds
from ..tensor import Tensor
from . import init as initial
from .arguments import count, parameter
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

    def _with_inplace(self, text: str) -> str:
        """What `extra_repr` shows of a layer that has other attributes, too."""
        return text + ", inplace=True" if self.inplace else text


class ReLU(_InPlace):
    """y = max(x, 0); `inplace` is accepted, but the input always stays as it was."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class ReLU6(_InPlace):
    """y = min(max(x, 0), 6), of which PyTorch makes the attributes `min_val` and `max_val`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.min_val, self.max_val = 0.0, 6.0

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
        return self._with_inplace(f"negative_slope={self.negative_slope}")


class RReLU(_InPlace):
    """y = x where x > 0, else a · x, a drawn from [lower, upper) in training, later their mean.

    Each number has an a of its own. Xu et al., arXiv 1505.00853.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__(inplace)
        check_bounds("RReLU", lower, upper)
        self.lower, self.upper = lower, upper

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return self._with_inplace(f"lower={self.lower}, upper={self.upper}")


class PReLU(Module):
    """y = x where x > 0, else weight · x, with one weight for all or one for each channel.

    (N, C, …) → the same. `weight` (num_parameters,) begins as `init` and is learned.
    He et al., arXiv 1502.01852.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = count("PReLU", "num_parameters", num_parameters)
        self.init = init
        self.weight = parameter(self.num_parameters)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The weight as it begins."""
        initial.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Hardtanh(_InPlace):
    """y = min(max(x, min_val), max_val). Collobert, thesis, 2004.

    Unlike PyTorch: there are no deprecated `min_value` and `max_value`.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val={min_val} must be below max_val={max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return self._with_inplace(f"min_val={self.min_val}, max_val={self.max_val}")


class Threshold(_InPlace):
    """y = x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return self._with_inplace(f"threshold={self.threshold}, value={self.value}")


class _Shrink(Module):
    """What Hardshrink and Softshrink share."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(_Shrink):
    """y = x where |x| > lambd, else 0. Donoho & Johnstone, Biometrika 1994."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """y = x − lambd where x > lambd, x + lambd where x < −lambd, else 0; see `Hardshrink`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)


class Tanhshrink(Module):
    """y = x − tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


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

    def extra_repr(self) -> str:
        return ""  # as in PyTorch, unlike all others


class Hardswish(_InPlace):
    """y = x · min(max(x + 3, 0), 6) / 6. Howard et al., MobileNetV3, arXiv 1905.02244."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input)


class SiLU(_InPlace):
    """y = x / (1 + e⁻ˣ), also called swish. Ramachandran et al., arXiv 1710.05941."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)


class GELU(Module):
    """y = x · Φ(x), Φ the normal distribution. Hendrycks & Gimpel, arXiv 1606.08415.

    With approximate="tanh", y = x · (1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2, almost the same.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Mish(_InPlace):
    """y = x · tanh(log(1 + eˣ)). Misra, arXiv 1908.08681."""

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input)


class Softplus(Module):
    """y = log(1 + e^(beta·x)) / beta, and x where beta·x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class LogSigmoid(Module):
    """y = −log(1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Softsign(Module):
    """y = x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class _Exponential(_InPlace):
    """What ELU and CELU share."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def extra_repr(self) -> str:
        return self._with_inplace(f"alpha={self.alpha}")


class ELU(_Exponential):
    """y = x where x > 0, else alpha · (eˣ − 1). Clevert et al., arXiv 1511.07289."""

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha)


class CELU(_Exponential):
    """y = x where x > 0, else alpha · (e^(x/alpha) − 1). Barron, arXiv 1704.07483."""

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha)


class SELU(_InPlace):
    """ELU with α ≈ 1.67, times ≈ 1.05. Klambauer et al., arXiv 1706.02515."""

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input)


class GLU(Module):
    """y = a · σ(b), where a and b are the halves of the axis `dim`. Dauphin et al., 1612.08083."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class _AlongAxis(Module):
    """What Softmax, Softmin and LogSoftmax share: an axis that must be named."""

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


class Softmin(_AlongAxis):
    """`Softmax` of −x."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class LogSoftmax(_AlongAxis):
    """y[k] = x[k] − log Σ_j eˣ⁽ʲ⁾ along the axis `dim`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)
