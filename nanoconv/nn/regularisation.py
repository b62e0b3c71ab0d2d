"""Layers that disturb what they see, in training only."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .module import Module


class Dropout(Module):
    """In training zeroes each value with probability p and scales the rest by 1 / (1 − p).

    Any shape → the same; in evaluation y = x. `inplace` is as in `nn.ReLU`. Srivastava et al.,
    JMLR 15, 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not (isinstance(p, (int, float)) and 0 <= p <= 1):
            raise ValueError(f"Dropout: p={p!r} must be a probability between 0 and 1")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
