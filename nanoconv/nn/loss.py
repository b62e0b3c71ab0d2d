"""Losses: layers that compare a network's output with the truth."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .module import Module


def checked(layer: str, reduction: str, *more: str) -> str:
    names = ("mean", "sum", "none", *more)
    if reduction not in names:
        raise ValueError(f"{layer}: reduction={reduction!r} must be one of {', '.join(names)}")
    return reduction


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
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing={label_smoothing!r} must be between 0 and 1"
            )
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, checked("CrossEntropyLoss", reduction)
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


class NLLLoss(Module):
    """−x[n, target[n]] of log-probabilities x (see `functional.nll_loss`); shapes as above."""

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, checked("NLLLoss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class MSELoss(Module):
    """The mean of (x − t)² (see `functional.mse_loss`). Input and target alike → scalar."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = checked("MSELoss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Module):
    """The mean of |x − t| (see `functional.l1_loss`). Input and target alike → scalar."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = checked("L1Loss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Module):
    """The mean of |x − t|, round below `beta` (see `functional.smooth_l1_loss`)."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__()
        self.reduction, self.beta = checked("SmoothL1Loss", reduction), beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Module):
    """The mean of (x − t)²/2, straight above `delta` (see `functional.huber_loss`)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__()
        self.reduction, self.delta = checked("HuberLoss", reduction), delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(Module):
    """The mean of t·(log t − x), x log-probabilities (see `functional.kl_div`)."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        self.reduction = checked("KLDivLoss", reduction, "batchmean")
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class BCELoss(Module):
    """−t·log x − (1 − t)·log(1 − x), x probabilities (see `functional.binary_cross_entropy`)."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = checked("BCELoss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """The same of scores (see `functional.binary_cross_entropy_with_logits`)."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = checked("BCEWithLogitsLoss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class FocalLoss(Module):
    """−α_t·(1 − p_t)^gamma·log p_t of scores (see `functional.sigmoid_focal_loss`).

    Scores and answers, 0 to 1, alike → scalar. Lin et al., arXiv 1708.02002.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma
        self.reduction = checked("FocalLoss", reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)


class DiceLoss(Module):
    """1 − (2·Σ p·t + s) / (Σ p² + Σ t² + s) by image and class (see `functional.dice_loss`).

    (N, C, …) and the same, or classes (N, …) → scalar. Milletari et al., arXiv 1606.04797.
    """

    def __init__(
        self, smooth: float = 1.0, reduction: str = "mean", activation: str | None = None
    ) -> None:
        super().__init__()
        self.smooth, self.reduction = smooth, checked("DiceLoss", reduction)
        self.activation = activation

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.dice_loss(input, target, self.smooth, self.reduction, self.activation)


class CosineSimilarity(Module):
    """The cosine of the angle between two tensors along `dim` (see `functional`)."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class CosineEmbeddingLoss(Module):
    """1 − cos where the target is 1, max(cos − margin, 0) where it is −1 (see `functional`).

    Vectors (N, K) twice, and targets (N,) → scalar.
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__()
        self.margin, self.reduction = margin, checked("CosineEmbeddingLoss", reduction)

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )
