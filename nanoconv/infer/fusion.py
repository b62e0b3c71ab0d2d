"""Which steps become one, that goes down the image a band of rows at a time.

A chain of steps each of which is the only reader of the one before: convolutions 1×1 and depthwise
ones, the first of any window. It pays where what lies between is too large for the second-level
cache (_kernels/band_steps.h).
"""

from __future__ import annotations

from .layout import NO_HALO, Buffer
from .plan import Lowering, Plan  # noqa: F401
from .steps import Draft

LARGE = 150_000  # floats of an image between two steps: with the others', more than L2 holds
LEAST_HEIGHT = 24  # rows of the last part: below, bands are half of the image
MOST_WEIGHTS = 100_000  # floats of all parts: they must stay in L2 beside the bands
MOST_PARTS = 6
MOST_SLIDING = 2  # depthwise parts: where bands of two threads meet, each adds to what both compute


def bands(low: Lowering) -> list[Draft]:
    """The drafts with chains as one."""
    readers: dict[Buffer, int] = {}
    for draft in low.drafts:
        for view in (draft.x, draft.r):
            for run in view.runs if view is not None else ():
                root = run.buffer.root()[0]
                readers[root] = readers.get(root, 0) + 1
    found: list[Draft] = []
    chain: list[Draft] = []
    for draft in low.drafts:
        if chain and continues(chain, draft, readers):
            chain.append(draft)
            continue
        found += closed(chain)
        chain = [draft] if begins(draft) else []
        found += [] if chain else [draft]
    return found + closed(chain)


def weights(draft: Draft) -> int:
    KH, KW = draft.window[:2]
    if draft.kernel == "max_pool":
        return 0
    return draft.y.C * KH * KW * (1 if draft.kernel == "depthwise" else draft.K // KW)


def begins(draft: Draft) -> bool:
    """True if this step can be the first part of a chain."""
    return draft.kernel == "depthwise" or (draft.kernel == "conv" and draft.window[-1] == 1)


def continues(chain: list[Draft], draft: Draft, readers: dict[Buffer, int]) -> bool:
    """True if this step can be the next part of a chain."""
    last, buffer = chain[-1], chain[-1].y.buffer
    pointwise = draft.kernel == "conv" and draft.gather is None and draft.window[:4] == (1, 1, 1, 1)
    pointwise = pointwise and draft.window[-1] == 1 and draft.window[4:6] == (0, 0)
    sliding = draft.kernel == "depthwise"
    maximum = draft.kernel == "max_pool" and draft.window[:2] == (3, 3) and draft.window[3] <= 2
    maximum = maximum and draft.window[6:8] == (1, 1)
    small_window = draft.window[0] <= 5 and draft.window[6] == 1
    own = draft.x == last.y and last.y.whole() and buffer.parent is None
    return (
        ((sliding and small_window) or pointwise or maximum)
        and own
        and readers.get(buffer) == 1
        and last.r is None
        and last.y.H * last.y.W * last.y.C >= LARGE
        and draft.y.H >= LEAST_HEIGHT
        and len(chain) < MOST_PARTS
        and sum(part.kernel in ("depthwise", "max_pool") for part in (*chain, draft))
        <= MOST_SLIDING
        and sum(map(weights, (*chain, draft))) <= MOST_WEIGHTS
    )


def closed(chain: list[Draft]) -> list[Draft]:
    """A chain as one step, if it is one."""
    if len(chain) < 2:
        return chain
    first, last = chain[0], chain[-1]
    for part in chain[:-1]:
        part.y.buffer.region = ("scratch", 0)
    step = Draft("band", first.x, last.y, last.r, parts=chain, name=first.name)
    step.op = " → ".join(part.op for part in chain)
    step.why = "in bands of rows: " + ", then ".join(part.why.partition(",")[0] for part in chain)
    step.macs = sum(part.macs for part in chain)
    step.value = last.value
    step.extra["bands"] = True
    return [step]


__all__ = ["NO_HALO", "bands"]
