"""Layers that disturb what they see, in training only. The maths is in `ops/dropout.py`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from .. import functional as F
from ..ops.dropout import check_mode, check_probability
from ..tensor import Tensor
from .module import Module


class Dropout(Module):
    """In training zeroes each value with probability p and scales the rest by 1 / (1 − p).

    Any shape → the same; in evaluation y = x. `inplace` is as in `nn.ReLU`. Srivastava et al.,
    JMLR 15, 2014.
    """

    _function: ClassVar[Callable[..., Tensor]] = staticmethod(F.dropout)

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(type(self).__name__, p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self)._function(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L). Tompson et al., arXiv 1411.4280."""

    _function = staticmethod(F.dropout1d)


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W); three axes are (N, C, L), as in PyTorch.

    Tompson et al., arXiv 1411.4280.
    """

    _function = staticmethod(F.dropout2d)


class Dropout3d(Dropout):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W). arXiv 1411.4280."""

    _function = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """In training sets values to −α·a + b with probability p, and the others to a·x + b.

    a and b keep mean 0 and variance 1 of the input; −α is where selu saturates. Any shape → the
    same. Klambauer et al., Self-Normalizing Neural Networks, arXiv 1706.02515.
    """

    _function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels of (N, C, …). arXiv 1706.02515."""

    _function = staticmethod(F.feature_alpha_dropout)


class StochasticDepth(Module):
    """In training leaves a residual branch out with probability p, else scales it by 1 / (1 − p).

        y = input + StochasticDepth(p, mode)(branch(input))

    Any shape → the same. `mode` "row" decides for each example, "batch" for all at once; the layer
    is torchvision.ops.StochasticDepth. Huang et al., arXiv 1603.09382.
    """

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        check_probability("StochasticDepth", p)
        check_mode("StochasticDepth", mode)
        self.p, self.mode = p, mode

    def forward(self, input: Tensor) -> Tensor:
        return F.stochastic_depth(input, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class DropConnect(Module):
    """In training runs `layer` with some of its weights set to 0, the others times 1 / (1 − p).

        y = layer(x) with w·m / (1 − p) for w,     m[k] = 0 with probability p, else 1

    Dropout drops what a layer puts out, this the connections inside: every output sees another
    part of the input. The layer can be any that computes from tensors of its own, such as Linear
    or a convolution; `names` says which of them are thinned out, by default only the weight. The
    layer keeps its own state: the state dict has its keys behind "layer.", its gradients arrive at
    its parameters, and in evaluation it runs with the mean of the thinned weights, which they are.

    One mask is drawn for a batch. Wan et al., Regularization of Neural Networks using DropConnect,
    ICML 2013, draw one for each example, thin out biases too (`names=("weight", "bias")`), and
    evaluate with a Gaussian approximation of the mean output.

    >>> from nanoconv import nn
    >>> nn.DropConnect(nn.Linear(4, 2), p=0.5)
    DropConnect(
      p=0.5, names=('weight',)
      (layer): Linear(in_features=4, out_features=2, bias=True)
    )
    """

    layer: Module

    def __init__(self, layer: Module, p: float = 0.5, names: Sequence[str] = ("weight",)) -> None:
        super().__init__()
        if not isinstance(layer, Module):
            raise TypeError(f"DropConnect: layer must be a Module, got {type(layer).__name__}")
        check_probability("DropConnect", p)
        self.layer, self.p = layer, p
        self.names = (names,) if isinstance(names, str) else tuple(names)
        for name in self.names:
            if layer._parameters.get(name) is None:
                own = [key for key, value in layer._parameters.items() if value is not None]
                raise ValueError(
                    f"DropConnect: names has {name!r}, expected parameters of "
                    f"{type(layer).__name__}, which are {own}"
                )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.training or self.p == 0:
            return self.layer(*args, **kwargs)
        thinned = copy.copy(self.layer)  # the same layer, but for its table of parameters
        parameters: dict[str, Any] = dict(self.layer._parameters)
        for name in self.names:
            parameters[name] = F.dropout(parameters[name], self.p)
        thinned.__dict__["_parameters"] = parameters
        return thinned(*args, **kwargs)

    def extra_repr(self) -> str:
        return f"p={self.p}, names={self.names}"
