"""Losses: layers that compare a network's output with the truth."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .module import Module


class CrossEntropyLoss(Module):
    """−log of the probability that softmax gives the true class (see `functional.cross_entropy`).

        L = mean_n −log softmax(x[n])[target[n]]

    Scores (N, K), class numbers (N,) → scalar; also (K,), and (N, K, …) with targets (N, …).
    `weight` (K,) weighs the classes and is a buffer, as in PyTorch.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"CrossEntropyLoss: reduction={reduction!r} must be 'mean', 'sum' or 'none'"
            )
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing={label_smoothing!r} must be between 0 and 1"
            )
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
