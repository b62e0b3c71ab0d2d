"""Learning-rate schedules: large steps while far away, small ones to settle.

    steps                StepLR, MultiStepLR, ExponentialLR, ConstantLR, LambdaLR
    ramps                LinearLR (warm-up), PolynomialLR
    cosines              CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycleLR
    one after another    SequentialLR
    on demand            ReduceLROnPlateau

Names, arguments and rates are PyTorch's. The usual schedule of today's papers, warm-up and cosine:

>>> import nanoconv as nc
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0)
>>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=3)
>>> cosine = CosineAnnealingLR(optimizer, T_max=4)
>>> schedule = SequentialLR(optimizer, [warm_up, cosine], milestones=[3])
>>> rates = []
>>> for epoch in range(8):
...     rates += schedule.get_last_lr()
...     schedule.step()
>>> [round(rate, 2) for rate in rates]
[0.25, 0.5, 0.75, 1.0, 0.85, 0.5, 0.15, 0.0]
"""

from .combined import ReduceLROnPlateau, SequentialLR
from .cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from .one_cycle import OneCycleLR
from .schedule import LRScheduler
from .steps import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
