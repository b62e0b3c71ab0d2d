"""What a session does, step by step, with the time of each and what it could be at best.

FLOPs       two for each multiply-add of the layer, also where Winograd does fewer
bytes       what a step reads and writes if each number is moved once: images and weights
limit       the longer of FLOPs / peak and bytes / bandwidth, both measured on the spot
of limit    that, divided by the time that the step took
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from .layout import View
from .packing import Machine
from .steps import Draft, Step, machine

if TYPE_CHECKING:
    from .session import Segment, Session

SLOWEST = 5  # steps about which something is said in words


@dataclass(frozen=True)
class Limits:
    """What this machine can do with the threads of the session."""

    threads: int
    peak: float  # GFLOP/s of multiply-adds
    bandwidth: float  # GB/s of reading what is in no second-level cache


@dataclass(frozen=True)
class Line:
    """One step of a session."""

    name: str
    op: str
    kernel: str
    why: str
    shape: str  # of what it computes
    microseconds: float
    flops: int
    bytes: int
    bound: str  # "compute" or "memory"
    share: float  # of the limit that it reaches
    hint: str  # what keeps it from its limit

    @property
    def rate(self) -> str:
        """GFLOP/s of what computes, GB/s of what moves."""
        if self.bound == "compute":
            return f"{self.flops / self.microseconds / 1e3:.0f} GFLOP/s"
        return f"{self.bytes / self.microseconds / 1e3:.1f} GB/s"


@dataclass(frozen=True)
class Explanation:
    """The lines of a session, and the limits that they are measured against."""

    lines: list[Line]
    limits: Limits
    milliseconds: float  # of one image, all steps together

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        lines = [asdict(line) | {"rate": line.rate} for line in self.lines]
        return {"limits": asdict(self.limits), "milliseconds": self.milliseconds, "steps": lines}

    def slowest(self) -> list[Line]:
        """The steps that lose most time to their limit, the worst first."""
        lost = sorted(self.lines, key=lambda s: -s.microseconds * (1 - min(s.share, 1)))
        return [line for line in lost[:SLOWEST] if line.hint]

    def __str__(self) -> str:
        heading = ("step", "kernel", "output", "µs", "", "rate", "of limit", "bound", "why")
        total = sum(line.microseconds for line in self.lines)
        rows = [heading] + [
            (
                line.name, line.kernel, line.shape, f"{line.microseconds:.1f}",
                f"{line.microseconds / total:.0%}", line.rate, f"{line.share:.0%}", line.bound,
                line.why,
            )
            for line in self.lines
        ]  # fmt: skip
        widths = [max(len(row[k]) for row in rows) for k in range(len(heading))]
        right = (3, 4, 5, 6)
        text = [
            "  ".join(
                cell.rjust(widths[k]) if k in right else cell.ljust(widths[k])
                for k, cell in enumerate(row)
            ).rstrip()
            for row in rows
        ]
        text.append(
            f"{self.milliseconds:.3f} ms for an image on {self.limits.threads} thread"
            f"{'s' * (self.limits.threads > 1)}; limits measured now: {self.limits.peak:.0f} "
            f"GFLOP/s, {self.limits.bandwidth:.0f} GB/s"
        )
        text += [f"{line.name}: {line.hint}" for line in self.slowest()]
        return "\n".join(text)


def explained(session: Session, seconds: float) -> Explanation:
    """Time every step of a session on an image of zeros and ones."""
    threads = min(session.threads, config.get_num_threads())
    limits = measured_limits(threads)
    rng = np.random.default_rng(0)
    values: dict[int, Any] = dict(session.graph.constants)
    N = 1 if session.alone else session.graph.shapes[session.graph.inputs[0]][0]
    for k in session.graph.inputs:
        shape = (N, *session.graph.shapes[k][1:])
        values[k] = rng.random(shape).astype(session.graph.dtypes[k])
    lines: list[Line] = []
    for segment in session.segments:
        lines += of_segment(segment, values, threads, limits, seconds / len(session.segments))
    return Explanation(lines, limits, sum(line.microseconds for line in lines) / 1e3)


def measured_limits(threads: int) -> Limits:
    from nanoconv._kernels import gemm_cy, plan_cy

    return Limits(threads, threads * gemm_cy.fma_peak_f32(0.05), plan_cy.bandwidth(threads))


def of_segment(
    segment: Segment, values: dict[int, Any], threads: int, limits: Limits, seconds: float
) -> list[Line]:
    from time import perf_counter

    if segment.plan is None:
        begin = perf_counter()
        segment.run(values, 1, threads)
        took = 1e6 * (perf_counter() - begin)
        node, y = segment.node, values[segment.outputs[0]]
        size = 4 * (y.size + sum(values[k].size for k in node.inputs if k is not None))
        shape = " × ".join(map(str, y.shape))
        name = node.name or node.op.name
        limit = size / limits.bandwidth / 1e3
        hint = f"eager, between two compiled parts: {segment.why}"
        return [
            Line(name, node.op.name, "eager", segment.why, shape, took, 0, size, "memory",
                 limit / took, hint)
        ]  # fmt: skip
    plan = segment.plan
    x, y = segment.buffers(values, 1)
    begin = perf_counter()
    segment.program.time(x, y, threads, 1)
    runs = max(3, int(seconds / (perf_counter() - begin)))
    times = np.median(segment.program.time(x, y, threads, runs), axis=0)
    vectors = machine()
    return [
        line(draft, step, 1e6 * float(time), limits, vectors)
        for draft, step, time in zip(plan.drafts, plan.steps, times, strict=True)
    ]


def line(draft: Draft, step: Step, took: float, limits: Limits, vectors: Machine) -> Line:
    flops, size = 2 * draft.macs, moved(draft)
    compute, memory = flops / limits.peak / 1e3, size / limits.bandwidth / 1e3
    bound = "compute" if compute >= memory else "memory"
    share = max(compute, memory) / max(took, 1e-9)
    shape = " × ".join(map(str, (step.y.C, step.y.H, step.y.W)))
    text = hint(draft, step, share, bound, vectors, limits, took)
    return Line(
        draft.name, draft.op, draft.kernel, draft.why, shape, took, flops, size, bound, share, text
    )


def floats(view: View | None) -> int:
    return 0 if view is None else view.C * view.H * view.W


def moved(draft: Draft) -> int:
    """Bytes of the images and weights of a step; of parts only what reaches memory."""
    images = floats(draft.x) + floats(draft.r) + floats(draft.y)
    return 4 * (images + sum(weights(part) for part in draft.parts or [draft]))


def weights(draft: Draft) -> int:
    """The floats of its weights, as the model has them."""
    KH, KW, *_, G = draft.window
    if draft.kernel == "depthwise":
        return draft.y.C * KH * KW
    if draft.kernel in ("conv", "winograd2", "winograd4", "linear"):
        return draft.y.C * (draft.x.C // G) * KH * KW
    return 0


def hint(
    draft: Draft,
    step: Step,
    share: float,
    bound: str,
    vectors: Machine,
    limits: Limits,
    took: float,
) -> str:
    """In words, what keeps a step from its limit; the most important thing only."""
    C, pixels = step.y.C, step.y.H * step.y.W
    idle = 1 - C / vectors.whole(C)
    if share > 0.8:
        return ""
    if took < 3:
        return "so short that most of it is waiting for the other thread and starting"
    if draft.kernel == "band":
        return "its parts are of several kinds: the row of each is shown with skip=('bands',)"
    if draft.kernel in ("conv", "winograd2", "winograd4") and idle >= 0.15:
        return f"{C} channels fill {1 - idle:.0%} of whole vectors of {vectors.lanes}"
    if draft.kernel.startswith("winograd"):
        return "the transforms of the tiles take what the products do not"
    if draft.kernel == "conv" and step.K * step.window[0] < 64:
        return f"sums of {step.K * step.window[0]} terms are short beside starting and storing them"
    if draft.kernel == "conv" and pixels <= 64:
        return f"each weight is used for {pixels} pixels only: it waits for weights from memory"
    if draft.kernel == "depthwise":
        return "9 multiply-adds a number are few: it waits for its image from memory"
    if bound == "memory":
        return "it waits for memory"
    return "the tile's loads and stores take slots beside its multiply-adds"
