"""The steps of a plan: what each kernel is told, first in terms of views, then in numbers.

A `Draft` is a step while a plan is being made: it knows which views it reads and writes, but not
yet where these lie. A `Step` is the same with every place in memory as a number, as the kernels
take it (_kernels/step.h); it knows no arrays and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .. import config
from .layout import View
from .packing import Machine

Array = np.ndarray
ARENA, WEIGHTS, INPUT, OUTPUT = 1, 2, 3, 4  # regions of memory (plan_cy.pyx)
ACTIVATIONS = ("clamp", "leaky_relu", "hardswish", "hardsigmoid", "sigmoid", "silu")  # epilogue.h
IDENTITY = ("clamp", -np.inf, np.inf)
ONE_BY_ONE = (1, 1, 1, 1, 0, 0, 1, 1, 1)  # a window: KH KW sh sw pt pl dh dw G


@dataclass(frozen=True)
class Image:
    """Where an image lies: a region of memory, which of its kind, floats from its start."""

    place: tuple[int, int, int]
    H: int
    W: int
    C: int
    pitch: int
    row: int
    halo: tuple[int, int, int, int]


@dataclass
class Step:
    """One kernel and its numbers; `w`, `b`, `gather` and `scratch` are places, or -1.

    `panel`: the most vectors of a panel of the weights, 0 for as many as fit.
    """

    kernel: str
    x: Image
    r: Image | None
    y: Image
    window: tuple[int, ...]
    K: int
    activation: int
    low: float
    high: float
    w: int = -1
    b: int = -1
    gather: int = -1
    scratch: int = -1
    scratch_floats: int = 0
    panel: int = 0
    parts: tuple[Step, ...] = ()


@dataclass
class Packed:
    """Floats that a kernel reads as they are: how many, and how they are made of the weights."""

    floats: int
    make: Callable[[], Array]
    panel: int = 0  # as in Step


@dataclass
class Draft:
    """A step whose places are not known yet."""

    kernel: str
    x: View
    y: View
    r: View | None = None
    window: tuple[int, ...] = ONE_BY_ONE
    K: int = 0
    act: tuple[str, float, float] = IDENTITY
    w: Callable[[], Packed] | None = None  # asked for when the pitch of x is known
    b: Packed | None = None
    gather: Callable[[], Array | None] | None = None  # int32, when all places are known
    scratch: Callable[[int], int] | None = None  # floats for each of so many threads
    number: int | None = None  # of a function of map_steps.h, in the place of an activation
    parts: list[Draft] = field(default_factory=list)
    # for people
    op: str = ""
    name: str = ""
    why: str = ""
    macs: int = 0
    value: int | None = None  # the value of the graph that it computes
    lanes: list[int] | None = None  # which channel of y is each of the value, if not the same one

    def views(self) -> list[View]:
        """All that it reads or writes, also inside of its parts."""
        own = [view for view in (self.x, self.r, self.y) if view is not None]
        return own + [view for part in self.parts for view in part.views()]


def kernels_missing() -> str:
    """Why no plan is possible: nothing was compiled, or `use` does not allow it; "" if one is."""
    backend = config.get_backend()
    if backend not in ("auto", "simd"):
        return f"use({backend!r}) does not allow compiled steps"
    try:
        from nanoconv._kernels import machine_cy, plan_cy, winograd_cy  # noqa: F401
    except ImportError:
        from nanoconv import _kernels

        return f"no compiled kernels: {_kernels.missing().get('extensions', 'plan_cy is missing')}"
    return ""


def machine() -> Machine:
    """The vectors of the compiled kernels; none, if there are no kernels."""
    if kernels_missing():
        return Machine(0, 0)
    from nanoconv._kernels import machine_cy

    return Machine(machine_cy.lanes(), machine_cy.registers())
