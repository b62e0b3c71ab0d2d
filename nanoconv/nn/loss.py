"""Losses: layers that compare a network's output with the truth.

Each holds the arguments of a function of the same meaning, whose file tells the equation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .. import functional as F
from ..tensor import Tensor
from .module import Module


class Loss(Module):
    """_function(input, target), with the other `_arguments` from the attributes of that name.

    Unlike PyTorch: there are no deprecated `size_average` and `reduce`, and what follows them in
    its order is given by name.
    """

    _function: ClassVar[Callable[..., Tensor]]
    _arguments: ClassVar[tuple[str, ...]] = ("reduction",)
    _reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")

    def __init__(self, reduction: str) -> None:
        super().__init__()
        if reduction not in self._reductions:
            raise ValueError(
                f"{type(self).__name__}: reduction={reduction!r} must be one of "
                f"{', '.join(self._reductions)}"
            )
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        held = {name: getattr(self, name) for name in self._arguments}
        return type(self)._function(input, target, **held)


class WeightedLoss(Loss):
    """A loss with a `weight`, which is a buffer, as in PyTorch."""

    _arguments: ClassVar[tuple[str, ...]] = ("weight", "reduction")
    weight: Tensor | None

    def __init__(self, weight: Tensor | None, reduction: str) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(WeightedLoss):
    """−log of the probability that softmax gives the true class (see `functional.cross_entropy`).

        L = mean_n −log softmax(x[n])[target[n]]

    Scores (N, K), class numbers (N,) → scalar; also (K,), and (N, K, …) with targets (N, …).
    `weight` (K,) weighs the classes and is a buffer, as in PyTorch.
    """

    _function = F.cross_entropy
    _arguments = ("weight", "ignore_index", "reduction", "label_smoothing")

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing={label_smoothing!r} must be between 0 and 1"
            )
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing


class NLLLoss(WeightedLoss):
    """−x[n, target[n]] of log-probabilities x (see `functional.nll_loss`); shapes as above."""

    _function = F.nll_loss
    _arguments = ("weight", "ignore_index", "reduction")

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index


class MSELoss(Loss):
    """The mean of (x − t)² (see `functional.mse_loss`). Input and target alike → scalar."""

    _function = F.mse_loss

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class L1Loss(Loss):
    """The mean of |x − t| (see `functional.l1_loss`). Input and target alike → scalar."""

    _function = F.l1_loss

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)


class SmoothL1Loss(Loss):
    """The mean of |x − t|, round below `beta` (see `functional.smooth_l1_loss`).

    l = (x − t)² / (2·beta) where |x − t| < beta, else |x − t| − beta/2
    """

    _function = F.smooth_l1_loss
    _arguments = ("reduction", "beta")

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta


class HuberLoss(Loss):
    """The mean of (x − t)²/2, straight above `delta` (see `functional.huber_loss`).

    l = (x − t)² / 2 where |x − t| ≤ delta, else delta·(|x − t| − delta/2)
    """

    _function = F.huber_loss
    _arguments = ("reduction", "delta")

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta


class KLDivLoss(Loss):
    """The mean of t·(log t − x), x log-probabilities (see `functional.kl_div`)."""

    _function = F.kl_div
    _arguments = ("reduction", "log_target")
    _reductions = (*Loss._reductions, "batchmean")

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target


class BCELoss(WeightedLoss):
    """−t·log x − (1 − t)·log(1 − x), x probabilities (see `functional.binary_cross_entropy`)."""

    _function = F.binary_cross_entropy

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """The same of scores (see `functional.binary_cross_entropy_with_logits`)."""

    _function = F.binary_cross_entropy_with_logits
    _arguments = ("weight", "reduction", "pos_weight")
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)


class FocalLoss(Loss):
    """−α_t·(1 − p_t)^gamma·log p_t of scores (see `functional.sigmoid_focal_loss`).

    Scores and answers, 0 to 1, alike → scalar. Lin et al., arXiv 1708.02002.
    """

    _function = F.sigmoid_focal_loss
    _arguments = ("alpha", "gamma", "reduction")

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.alpha, self.gamma = alpha, gamma


class DiceLoss(Loss):
    """1 − (2·Σ p·t + s) / (Σ p² + Σ t² + s) by image and class (see `functional.dice_loss`).

    (N, C, …) and the same, or classes (N, …) → scalar. Milletari et al., arXiv 1606.04797.
    """

    _function = F.dice_loss
    _arguments = ("smooth", "reduction", "activation")

    def __init__(
        self, smooth: float = 1.0, reduction: str = "mean", activation: str | None = None
    ) -> None:
        super().__init__(reduction)
        self.smooth, self.activation = smooth, activation


class CosineSimilarity(Module):
    """The cosine of the angle between two tensors along `dim` (see `functional`)."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class CosineEmbeddingLoss(Loss):
    """1 − cos where the target is 1, max(cos − margin, 0) where it is −1 (see `functional`).

    Vectors (N, K) twice, and targets (N,) → scalar.
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(  # type: ignore[override]
        self, input1: Tensor, input2: Tensor, target: Tensor
    ) -> Tensor:
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )
