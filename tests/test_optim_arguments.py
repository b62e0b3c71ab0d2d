"""Every optimiser and schedule with odd arguments: as PyTorch's, or refused as documented."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import torch

import nanoconv as nc

NAN = math.nan


def constant(t: int) -> float:
    return 0.5


def falling(t: int) -> float:
    return 0.5**t


# The values of each argument, and the classes whose docstring says that a value is refused.
SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [1, 3]},
    "ExponentialLR": {"gamma": 0.5},
    "ConstantLR": {},
    "LinearLR": {},
    "PolynomialLR": {},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "OneCycleLR": {"max_lr": 1.0, "total_steps": 10},
    "LambdaLR": {"lr_lambda": falling},
    "ReduceLROnPlateau": {},
}
SCHEDULE_VALUES: dict[str, tuple] = {
    "step_size": (1, 3, 2.5, 0, -1, True),
    "gamma": (0.1, 0, -1, 2, NAN),
    "milestones": ([3, 1], [1, 1], [2.5], [], (2,), [-1]),
    "factor": (0.5, 1, 0, 2, -1, NAN),
    "total_iters": (3, 1, 0, -1, 2.5),
    "start_factor": (0.5, 1, 0, 2, NAN),
    "end_factor": (1, 0, 0.5, 2, -0.1),
    "power": (1, 2, 0, -1, 0.5),
    "T_max": (3, 1, 2.5, 0.75, 0, -1),
    "eta_min": (0, 0.1, 1, -1),
    "T_0": (2, 1, 0, 2.5, -1),
    "T_mult": (1, 2, 0, 1.5, -1),
    "last_epoch": (-1, 0, 2, -2),
    "mode": ("min", "max", "x"),
    "patience": (0, 1, 2.5, -1),
    "threshold": (0, 1e-4, -1),
    "threshold_mode": ("rel", "abs", "z"),
    "cooldown": (0, 1, -1, 1.5),
    "min_lr": (0, 0.1, [0.1], [0.1, 0.2], -1),
    "eps": (0, 1e-8, 1, -1),
    "max_lr": (1.0, 0, [1.0], [1.0, 2.0], -1),
    "total_steps": (10, 8, 0, -1, 8.5, None),
    "epochs": (None, 2, 0, 2.5),
    "steps_per_epoch": (None, 5, 0, 2.5),
    "pct_start": (0.3, 0.0, 1.0, 1.5, -0.1),
    "anneal_strategy": ("cos", "linear", "x"),
    "cycle_momentum": (True, False),
    "base_momentum": (0.85, [0.8]),
    "max_momentum": (0.95, [0.9]),
    "div_factor": (25.0, 1, -1),
    "final_div_factor": (1e4, 1, -1),
    "three_phase": (True, False),
    "lr_lambda": (falling, [constant], [constant, falling], 3),
}
OPTIMISERS = ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "NAdam")
OPTIMISER_VALUES: dict[str, tuple] = {
    "lr": (0.1, 0, -1, NAN, 1, None, "x"),
    "momentum": (0, 0.9, -0.1, 1, NAN),
    "dampening": (0, 0.5, 1, -1),
    "weight_decay": (0, 0.1, -0.1, 1),
    "nesterov": (True, False),
    "maximize": (True, False),
    "foreach": (None, False, True),
    "differentiable": (False,),
    "fused": (None, False),
    "capturable": (False,),
    "betas": ((0.9, 0.999), (0.0, 0.0), (1, 0.9), (0.9, 1.0), [0.5, 0.5], (0.9,), (-0.1, 0.9)),
    "eps": (1e-8, 0, -1, 1),
    "amsgrad": (True, False),
    "decoupled_weight_decay": (True, False),
    "lr_decay": (0, 0.1, -1),
    "initial_accumulator_value": (0, 1, -1),
    "alpha": (0.99, 0, 1, 1.5, -1),
    "centered": (True, False),
    "momentum_decay": (0, 0.004, -1),
}


def refused(name: str, argument: str, value: Any) -> bool:
    """Whether a docstring says so."""
    if isinstance(value, float) and math.isnan(value):
        return True
    if argument in ("step_size", "total_iters") and name != "ConstantLR":
        return not (isinstance(value, int) and value >= 1)
    return argument == "T_max" and value <= 0


def rates(lib: Any, name: str, arguments: dict[str, Any]) -> list[float]:
    optimizer = lib.optim.SGD([lib.nn.Parameter(lib.tensor([1.0]))], lr=0.5, momentum=0.9)
    schedule = getattr(lib.optim.lr_scheduler, name)(optimizer, **arguments)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(7):
        optimizer.step()
        schedule.step(1.0) if name == "ReduceLROnPlateau" else schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def trajectory(lib: Any, name: str, arguments: dict[str, Any]) -> list[list[float]]:
    p = lib.nn.Parameter(lib.tensor([1.0, 2.0, -3.0], dtype=lib.float64))
    optimizer, found = getattr(lib.optim, name)([p], **arguments), []
    for k in range(4):
        p.grad = lib.tensor([0.5, k - 1.0, 2.0], dtype=lib.float64)
        optimizer.step()
        found.append(p.detach().tolist())
    return found


def compare(run: Callable, name: str, arguments: dict[str, Any], may_refuse: bool) -> str | None:
    """What is wrong, if anything is. That nanoconv takes more is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = run(torch, name, arguments)
        except Exception:
            return None
    try:
        with np.errstate(invalid="ignore"):  # alpha = 1.5 gives the root of a negative number
            found = run(nc, name, arguments)
    except (ValueError, TypeError) as error:
        return None if may_refuse and name in str(error) else f"{arguments}: {error}"
    # PyTorch keeps NAdam's product of all μ in float32.
    if not np.allclose(found, expected, rtol=1e-6, atol=1e-12, equal_nan=True):
        return f"{arguments}: {found} for {expected}"
    return None


def arguments_of(cls: type) -> list[str]:
    return [n for n in inspect.signature(cls).parameters if n not in ("params", "optimizer")]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    problems = [
        compare(rates, name, {**SCHEDULES[name], argument: value}, refused(name, argument, value))
        for argument in arguments_of(getattr(torch.optim.lr_scheduler, name))
        for value in SCHEDULE_VALUES[argument]
    ]
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name: str) -> None:
    known = arguments_of(getattr(torch.optim, name))
    problems = [
        compare(trajectory, name, {"lr": 0.1, **more, argument: value}, refused(name, "", value))
        for argument in known
        for value in OPTIMISER_VALUES[argument]
        for more in ({}, {"momentum": 0.9}, {"weight_decay": 0.1})
        if set(more) <= set(known)
    ]
    assert not any(problems), "\n".join(filter(None, problems))


@pytest.mark.parametrize("name", [*SCHEDULES, *OPTIMISERS])
def test_names_order_and_defaults_are_pytorchs(name: str) -> None:
    ours, theirs = (
        [(p.name, p.default, p.kind) for p in inspect.signature(cls).parameters.values()]
        for lib in (nc, torch)
        for cls in [getattr(lib.optim, name, None) or getattr(lib.optim.lr_scheduler, name)]
    )
    assert ours == theirs


@pytest.mark.parametrize(
    "name", ["StepLR", "LinearLR", "PolynomialLR", "CosineAnnealingLR", "LRScheduler", "Optimizer"]
)
def test_refusals_are_documented(name: str) -> None:
    assert "Unlike PyTorch: " in inspect.getdoc(getattr(nc.optim, name))


# --------------------------------------------------------------------------- named parameters


def test_names_are_kept_in_groups_and_state_dicts() -> None:
    states = []
    for lib in (nc, torch):
        layer = lib.nn.Linear(2, 1)
        optimizer = lib.optim.SGD(layer.named_parameters(), lr=0.1)
        assert optimizer.param_groups[0]["params"][1] is layer.bias
        optimizer.add_param_group({"params": [("w", lib.nn.Parameter(lib.tensor([1.0])))]})
        states.append(optimizer.state_dict()["param_groups"])
        assert "param_names: ['weight', 'bias']" in repr(optimizer)
    for ours, theirs in zip(*states, strict=True):
        assert ours["param_names"] == theirs["param_names"]
        assert ours["params"] == theirs["params"]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (lambda p, q: [("p", p), q], TypeError, "holds a Parameter beside pairs"),
        (lambda p, q: [p, ("q", q)], TypeError, "holds a Parameter beside pairs"),
        (lambda p, q: [(p, "p")], TypeError, "holds a tuple beside pairs"),
        (
            lambda p, q: [{"params": [("p", p)]}, {"params": [q]}],
            ValueError,
            "some groups name their tensors, expected all or none",
        ),
        (lambda p, q: [("p", 3)], TypeError, "params holds a int, not a tensor"),
    ],
)
def test_some_names_are_refused(groups: Callable, error: type, message: str) -> None:
    p, q = (nc.nn.Parameter([k]) for k in (1.0, 2.0))
    with pytest.raises(error, match=f"SGD: .*{message}"):
        nc.optim.SGD(groups(p, q), lr=0.1)
