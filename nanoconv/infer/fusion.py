"""Which steps become one, that goes down the image a band of rows at a time.

A chain of steps each of which is the only reader of the one before: convolutions 1×1, depthwise
ones and maxima, the first a convolution of any window; before it may stand the step that makes
pixels of the input's planes. It pays where what lies between is too large for the second-level
cache (_kernels/band_steps.h).
"""

from __future__ import annotations

from .layout import Buffer
from .plan import Lowering
from .steps import ONE_BY_ONE, Draft

LARGE = 150_000  # floats of an image between two steps: with the others', more than L2 holds
LEAST_HEIGHT = 24  # rows of the last part: below, bands are half of the image
MOST_WEIGHTS = 100_000  # floats of all parts: they must stay in L2 beside the bands
MOST_PARTS = 7  # band_steps.h takes 8
SLIDING = ("depthwise", "max_pool")
MOST_SLIDING = 2  # of these: where bands of two threads meet, each adds to what both compute


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
    """The floats of a part's weights."""
    KH, KW = draft.window[:2]
    if draft.kernel == "conv":
        return draft.y.C * KH * draft.K
    return draft.y.C * KH * KW if draft.kernel == "depthwise" else 0


def begins(draft: Draft) -> bool:
    """True if this step can be the first part of a chain."""
    if draft.kernel == "conv":
        return draft.window[-1] == 1
    whole = draft.kernel == "depthwise" and draft.gather is None
    return whole or draft.kernel == "planes_to_image"


def continues(chain: list[Draft], draft: Draft, readers: dict[Buffer, int]) -> bool:
    """True if this step can be the next part of a chain."""
    last, buffer = chain[-1], chain[-1].y.buffer
    KH, KW, _, sw, _, _, dh, dw, G = draft.window
    of_planes = last.kernel == "planes_to_image" and draft.kernel == "conv" and G == 1
    fits = {
        "conv": of_planes or (draft.window == ONE_BY_ONE and draft.gather is None),
        "depthwise": KH <= 5 and dh == 1,
        "max_pool": (KH, KW, dh, dw) == (3, 3, 1, 1) and sw <= 2,
    }
    return (
        fits.get(draft.kernel, False)
        and (of_planes or last.kernel != "planes_to_image")
        and draft.x == last.y
        and last.y.whole()
        and buffer.parent is None
        and readers.get(buffer) == 1
        and last.r is None
        and (of_planes or last.y.H * last.y.W * last.y.C >= LARGE)
        and draft.y.H >= LEAST_HEIGHT
        and len(chain) < MOST_PARTS
        and sum(part.kernel in SLIDING for part in (*chain, draft)) <= MOST_SLIDING
        and sum(map(weights, (*chain, draft))) <= MOST_WEIGHTS
    )


def closed(chain: list[Draft]) -> list[Draft]:
    """A chain as one step, if it is one."""
    if len(chain) < 2 or [part.kernel for part in chain] == ["planes_to_image", "conv"]:
        return chain
    first, last = chain[0], chain[-1]
    for part in chain[:-1]:
        part.y.buffer.region = ("scratch", 0)
    step = Draft("band", first.x, last.y, last.r, parts=chain, name=first.name)
    step.op = " → ".join(part.op for part in chain)
    step.why = "in bands of rows: " + ", then ".join(part.why.partition(",")[0] for part in chain)
    step.macs = sum(part.macs for part in chain)
    step.value = last.value
    return [step]
