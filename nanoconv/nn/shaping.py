"""Layers that only move numbers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..ops.shaping import flatten
from ..tensor import Tensor
from .arguments import count
from .module import Module


class ChannelShuffle(Module):
    """Reorders the channels so that each group of the next layer sees all groups of the last.

        y[n, k·G + g] = x[n, g·C/G + k]

    (N, C, H, W) → the same. Zhang et al., ShuffleNet, arXiv 1707.01083.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = count("ChannelShuffle", "groups", groups)

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Flatten(Module):
    """Joins the axes start_dim … end_dim into one: (N, C, H, W) → (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """y = x; takes any arguments and ignores them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
