"""One cycle: up to a rate that would be too large to stay at, and far down from there.

>>> import nanoconv as nc
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0, momentum=0.9)
>>> schedule = OneCycleLR(optimizer, 1.0, total_steps=8, pct_start=0.5, anneal_strategy="linear")
>>> rates, momenta = [], []
>>> for batch in range(8):
...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
...     momenta.append(round(optimizer.param_groups[0]["momentum"], 3))
...     schedule.step()
>>> rates
[0.04, 0.36, 0.68, 1.0, 0.75, 0.5, 0.25, 0.0]
>>> momenta
[0.95, 0.917, 0.883, 0.85, 0.875, 0.9, 0.925, 0.95]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..optimizer import Group, Optimizer
from .cosine import half_cosine
from .schedule import LRScheduler, check_count, check_factor, check_optimizer, per_group


class OneCycleLR(LRScheduler):
    """From max_lr / div_factor up to max_lr, then down to a tiny rate; to be stepped after a batch.

        phase               ends at step                lr                      momentum
        up                  pct_start · S − 1           initial_lr → max_lr     max → base
        down                S − 1                       max_lr → min_lr         base → max

        three_phase:  up    pct_start · S − 1           initial_lr → max_lr     max → base
                      down  2 · pct_start · S − 2       max_lr → initial_lr     base → max
                      out   S − 1                       initial_lr → min_lr     max

    S = total_steps or epochs · steps_per_epoch; initial_lr = max_lr / div_factor, min_lr =
    initial_lr / final_div_factor. Within a phase the values follow half a cosine ("cos") or a line
    ("linear"). The momentum (β₁ where there are betas) goes the other way, unless
    `cycle_momentum=False`. Lists hold one value for each group. Smith & Topin, Super-Convergence,
    arXiv 1708.07120.
    """

    one_setting_per_group = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 10000.0,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("OneCycleLR", optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            check_count("OneCycleLR", "epochs", epochs)
            check_count("OneCycleLR", "steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        check_count("OneCycleLR", "total_steps", total_steps)
        check_factor("OneCycleLR", "pct_start", pct_start)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy={anneal_strategy!r} must be 'cos' or 'linear'"
            )
        defaults = optimizer.defaults
        if cycle_momentum and "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(
                f"OneCycleLR: cycle_momentum=True, but {type(optimizer).__name__} has neither "
                "momentum nor betas"
            )
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        self.cycle_momentum, self.use_beta1 = cycle_momentum, "betas" in defaults
        up_ends, end = pct_start * total_steps - 1, total_steps - 1
        # (its last step, lr from, lr to, momentum from, momentum to): names of the group's entries
        self.phases = [(up_ends, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            self.phases += [
                (2 * up_ends, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (end, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self.phases += [(end, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        tops = per_group("OneCycleLR", "max_lr", max_lr, optimizer)
        momenta = zip(
            per_group("OneCycleLR", "max_momentum", max_momentum, optimizer),
            per_group("OneCycleLR", "base_momentum", base_momentum, optimizer),
            strict=True,
        )
        if last_epoch == -1:
            for group, top, (high, low) in zip(optimizer.param_groups, tops, momenta, strict=True):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"], group["base_momentum"] = high, low
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, k: int) -> float:
        if t > self.total_steps:  # the step after the last batch is allowed: loops do it
            raise ValueError(
                f"OneCycleLR: step {t} is after the end, total_steps={self.total_steps}"
            )
        ends = [0.0, *(phase[0] for phase in self.phases)]
        now = sum(t > end for end in ends[1:-1])  # the number of the phase
        length = ends[now + 1] - ends[now]
        part = (t - ends[now]) / length if length else 1.0
        _, start, stop, from_momentum, to_momentum = self.phases[now]
        group = self.optimizer.param_groups[k]
        if self.cycle_momentum:
            self._set_momentum(group, self._between(group, from_momentum, to_momentum, part))
        return self._between(group, start, stop, part)

    def _between(self, group: Group, start: str, stop: str, part: float) -> float:
        if self.anneal_strategy == "cos":
            part = 1 - half_cosine(part)
        return group[start] + (group[stop] - group[start]) * part

    def _set_momentum(self, group: Group, momentum: Any) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum
