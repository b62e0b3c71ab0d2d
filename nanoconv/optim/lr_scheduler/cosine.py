"""Schedules along half a cosine: slow at first, steep in the middle, slow at the end.

>>> import nanoconv as nc
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0)
>>> schedule = CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
>>> rates = []
>>> for epoch in range(8):
...     rates += schedule.get_last_lr()
...     schedule.step()
>>> [round(rate, 2) for rate in rates]
[1.0, 0.5, 1.0, 0.85, 0.5, 0.15, 1.0, 0.96]
"""

from __future__ import annotations

import math

from ..optimizer import Optimizer
from .schedule import LRScheduler, check_count, check_positive


def half_cosine(x: float) -> float:
    """From 1 at x = 0 down to 0 at x = 1."""
    return (1 + math.cos(math.pi * x)) / 2


class CosineAnnealingLR(LRScheduler):
    """lr(t) = eta_min + (base − eta_min) · (1 + cos(π · t / T_max)) / 2.

    Down in T_max epochs, and up again in as many if it goes on. `step()` computes lr(t) from
    lr(t − 1), by the ratio of the cosines. Loshchilov & Hutter, SGDR, arXiv 1608.03983 (one period,
    no restart).

    Unlike PyTorch: a negative T_max is refused.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: float,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_positive("CosineAnnealingLR", "T_max", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def first_lr(self, lr: float, t: int, k: int) -> float:
        return lr

    def next_lr(self, lr: float, t: int, k: int) -> float:
        now, before = (half_cosine(s / self.T_max) for s in (t, t - 1))
        if (t - 1) % (2 * self.T_max) == self.T_max:  # from the lowest point up: `before` is 0
            return lr + (self.base_lrs[k] - self.eta_min) * now
        return self.eta_min + (lr - self.eta_min) * (now / before)

    def lr_at(self, t: int, k: int) -> float:
        return self.eta_min + (self.base_lrs[k] - self.eta_min) * half_cosine(t / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine down from base to eta_min, again and again, each T_mult times longer than the last.

        lr = eta_min + (base − eta_min) · (1 + cos(π · T_cur / T_i)) / 2

    T_cur counts the epochs since the last restart and T_i is the length of the period: T_0, then
    T_0·T_mult, T_0·T_mult², …. `step(epoch)` takes fractions of an epoch too: with n batches in
    each, `step(epoch + k / n)` after batch k. Loshchilov & Hutter, SGDR, arXiv 1608.03983.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_count("CosineAnnealingWarmRestarts", "T_0", T_0)
        check_count("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_i: float = T_0
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: float, k: int) -> float:
        part = half_cosine(self.T_cur / self.T_i)
        return self.eta_min + (self.base_lrs[k] - self.eta_min) * part

    def begin(self) -> None:
        """Begin the first epoch."""
        self.step(0 if self.last_epoch < 0 else None)

    def step(self, epoch: float | None = None) -> None:
        """Begin the next epoch, or jump to `epoch`, which may be between two."""
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        elif not epoch >= 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epoch={epoch} must be from 0 up")
        else:
            self.T_cur, self.T_i = epoch, self.T_0
            if self.T_mult == 1:
                self.T_cur %= self.T_i
            while self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.next_lr)
