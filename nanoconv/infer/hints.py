"""In words, what keeps a step from its limit: what is known of its kernel and its shape.

Each function says why steps of its kind are slower than the machine; `explain.py` asks for those
that lose most. Nothing here is measured but the time of the step and the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .packing import Machine
from .steps import Draft, Step

if TYPE_CHECKING:
    from .explain import Limits, Line

SHORT = 3  # microseconds
FEW_TERMS = 64  # of a sum: below, starting and storing it is seen
FEW_PIXELS = 64  # of an image: below, weights are used too seldom


def hint(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> str:
    """What keeps a step from its limit; `weights` in bytes."""
    if line.microseconds < SHORT:
        wait = " and waiting for the other threads" if limits.threads > 1 else ""
        return f"so short that starting it{wait} is most of it"
    causes = KINDS.get(draft.kernel, moving)(draft, step, line, weights, limits, vectors)
    return "; ".join(causes)


def idle(C: int, vectors: Machine) -> list[str]:
    share = C / vectors.whole(C)
    if share > 0.9:
        return []
    return [f"{C} channels fill {share:.0%} of vectors of {vectors.lanes}, the rest is idle"]


def stream(line: Line, weights: int, limits: Limits) -> str:
    rate = weights / line.microseconds / 1e3
    return f"{weights / 1e6:.2f} MB of weights come at {rate:.1f} of {limits.memory:.0f} GB/s"


def conv(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    KH, KW, *_, G = draft.window
    pixels, terms = draft.y.H * draft.y.W, draft.x.C // G * KH * KW
    causes = idle(draft.y.C // G, vectors)
    if terms < FEW_TERMS:
        causes.append(f"sums of {terms} terms are short beside starting and storing them")
    if pixels <= FEW_PIXELS:
        causes.append(
            f"each weight serves {pixels} pixel{'s' * (pixels > 1)}: "
            + stream(line, weights, limits)
        )
    if draft.gather is not None:
        causes.append("its channels are read through a table, an address for each")
    return causes or ["loads and stores of its tiles, and tiles at the edge, take the rest"]


def winograd(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    m = int(draft.kernel[-1])
    tiles = -(-draft.y.H // m) * -(-draft.y.W // m)
    numbers = tiles * (m + 2) ** 2 * (draft.x.C + draft.y.C)
    products = tiles * (m + 2) ** 2 * draft.x.C * draft.y.C
    over = tiles * m**2 / (draft.y.H * draft.y.W) - 1
    causes = [
        f"its transforms write {numbers / 1e6:.2f} M numbers for {products / 1e6:.0f} M products"
    ]
    if over > 0.05:
        causes.append(f"tiles of {m}×{m} reach {over:.0%} over the edge of the image")
    if tiles <= FEW_PIXELS:
        causes.append(f"each weight serves {tiles} tiles: " + stream(line, weights, limits))
    return causes + idle(draft.y.C, vectors)


def depthwise(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    KH, KW = draft.window[:2]
    if line.bound == "compute":
        return [f"{KH * KW} multiply-adds for each number are few beside its loads and stores"]
    return [*moving(draft, step, line, weights, limits, vectors), *idle(draft.y.C, vectors)]


def linear(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    return ["every weight is read for one product: " + stream(line, weights, limits)]


def band(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    """The parts, with their multiply-adds; their times are those of a session without bands."""
    parts = [
        f"{'depthwise ' * (part.kernel == 'depthwise')}{part.why.partition(',')[0]} to "
        f"{part.y.C} × {part.y.H} × {part.y.W} ({part.macs / draft.macs:.0%})"
        for part in draft.parts
    ]
    few = sum(part.macs for part in draft.parts if part.kernel == "depthwise") / draft.macs
    causes = [f"its multiply-adds are in {', '.join(parts)}"]
    if few > 0.1:
        causes.append("the depthwise ones have few for each number that they load")
    short = [
        part.K * part.window[0]
        for part in draft.parts
        if part.kernel == "conv" and part.K * part.window[0] < FEW_TERMS
    ]
    if short:
        causes.append(f"sums of {min(short)} terms are short")
    return [*causes, "skip=('bands',) shows each by itself"]


def moving(
    draft: Draft, step: Step, line: Line, weights: int, limits: Limits, vectors: Machine
) -> list[str]:
    """Of a step that only moves numbers."""
    if line.bound == "compute":
        return ["loads and stores take slots beside its multiply-adds"]
    where = limits.cache if line.bound == "cache" else limits.memory
    causes = [f"it moves numbers, at {line.gbytes:.1f} of {where:.0f} GB/s that reading reaches"]
    if draft.kernel in ("planes_to_image", "image_to_planes"):
        causes.append("between planes and pixels vectors have to be turned")
    return causes


KINDS: dict[str, Callable[[Draft, Step, Line, int, Limits, Machine], list[str]]] = {
    "conv": conv,
    "winograd2": winograd,
    "winograd4": winograd,
    "depthwise": depthwise,
    "linear": linear,
    "band": band,
}
