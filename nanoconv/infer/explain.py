"""What a session does, step by step, with the time of each and what it could be at best.

FLOPs       two for each multiply-add of the layer, also where Winograd does fewer
bytes       what a step reads and writes if each number is moved once: images and weights
offset      bytes from the start of the arena to the first pixel of its output, if that lies there
limit       the longest of two: the multiply-adds that its kernel does at the peak of these threads;
            its bytes at the rate of where they lie. Weights are read once a run and lie behind all
            other weights, so they come as fast as a block as large as the session; images that
            second-level caches hold come as fast as from there. All three are measured on the spot
of limit    that, divided by the time that the step took
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import config
from ..tensor import wrap
from .hints import hint
from .layout import View
from .steps import ARENA, Draft, Step, kernels_missing, machine

if TYPE_CHECKING:
    from .segments import Segment
    from .session import Session

WORDS = 8  # steps about which something is said in words
CACHE = 1 << 20  # bytes of images that the second-level cache of one core holds
IN_CACHE = 1 << 15  # floats of a block that certainly lies there


@dataclass(frozen=True)
class Limits:
    """What this machine can do with the threads of the session."""

    threads: int
    peak: float  # GFLOP/s of multiply-adds
    memory: float  # GB/s of reading what a whole run reads, again and again
    cache: float  # GB/s of reading what second-level caches hold


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
    bound: str  # "compute", "memory" or "cache"
    share: float  # of the limit that it reaches
    offset: int | None  # bytes into the arena
    hint: str  # what keeps it from its limit

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.microseconds / 1e3

    @property
    def gbytes(self) -> float:
        """GB/s."""
        return self.bytes / self.microseconds / 1e3


HEADING = ("step", "op", "kernel", "output", "µs", "", "GFLOP/s", "GB/s", "bytes", "offset",
           "of limit", "bound", "why")  # fmt: skip
NUMBERS = range(4, 11)  # the columns that stand flush right


@dataclass(frozen=True)
class Explanation:
    """The lines of a session, and the limits that they are measured against."""

    lines: list[Line]
    limits: Limits
    milliseconds: float  # of all steps together
    images: int = 1  # that were timed: one, or a batch whose images depend on each other
    batch: int = 1  # images of a call

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        lines = [
            asdict(line) | {"gflops": line.gflops, "gbytes": line.gbytes} for line in self.lines
        ]
        return {"limits": asdict(self.limits), "milliseconds": self.milliseconds, "steps": lines}

    def slowest(self) -> list[Line]:
        """The steps that lose most time to their limit, the worst first."""
        lost = sorted(self.lines, key=lambda s: -s.microseconds * (1 - min(s.share, 1)))
        return [line for line in lost if line.hint][:WORDS]

    def rows(self) -> list[tuple[str, ...]]:
        """The table, with its heading."""
        total = sum(line.microseconds for line in self.lines)
        rows: list[tuple[str, ...]] = [HEADING]
        rows += [
            (
                line.name, line.op, line.kernel, line.shape, f"{line.microseconds:.1f}",
                f"{line.microseconds / total:.0%}",
                f"{line.gflops:.0f}" if line.bound == "compute" else "",
                f"{line.gbytes:.1f}" if line.bound != "compute" else "",
                size(line.bytes), "" if line.offset is None else str(line.offset),
                f"{line.share:.0%}", line.bound, line.why,
            )
            for line in self.lines
        ]  # fmt: skip
        return rows

    def words(self) -> list[str]:
        """The limits, and what keeps the slowest steps from theirs."""
        limits = self.limits
        threads = f"{limits.threads} thread{'s' * (limits.threads > 1)}"
        of = "one image" if self.images == 1 else f"{self.images} images"
        words = [
            f"Steps of {of}: {self.milliseconds:.3f} ms on {threads}. Limits measured now: "
            f"{limits.peak:.0f} GFLOP/s; {limits.memory:.0f} GB/s from memory, "
            f"{limits.cache:.0f} GB/s from second-level caches."
        ]
        if self.batch > self.images:
            words.append(
                f"A batch of {self.batch} goes through all steps image by image: each thread takes "
                "images of its own, and all threads share what is left over."
            )
        return words + [f"{line.name} ({line.kernel}): {line.hint}" for line in self.slowest()]

    def table(self) -> str:
        """The rows as text."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(
                cell.rjust(width) if k in NUMBERS else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join([self.table(), *self.words()])


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


# --------------------------------------------------------------------------- measuring


def explained(session: Session, seconds: float) -> Explanation:
    """Time every step of a session on an image of random numbers."""
    threads = min(session.threads, config.get_num_threads())
    limits = measured_limits(session, threads)
    rng = np.random.default_rng(0)
    values: dict[int, Any] = dict(session.graph.constants)
    for k in session.graph.inputs:
        values[k] = rng.random(session.graph.shapes[k]).astype(session.graph.dtypes[k])
    lines: list[Line] = []
    for segment in session.segments:
        measure = eager_line if segment.plan is None else compiled_lines
        lines += measure(segment, values, threads, limits, seconds / len(session.segments))
    milliseconds = sum(line.microseconds for line in lines) / 1e3
    shape = session.graph.shapes[session.graph.inputs[0]]
    N = 1 if session.alone else (*shape, 1)[0]
    return Explanation(lines, limits, milliseconds, N, max(N, session.batch or 1))


def measured_limits(session: Session, threads: int) -> Limits:
    """Of the compiled kernels; without them, of what NumPy makes of a product and of a sum."""
    if kernels_missing():
        a, large = np.ones((256, 256), np.float32), np.ones(1 << 22, np.float32)
        gbytes = 4 * large.size / least(large.sum) / 1e9
        return Limits(threads, 2 * 256**3 / least(lambda: a @ a) / 1e9, gbytes, gbytes)
    from nanoconv._kernels import gemm_cy, machine_cy

    plans = [segment.plan for segment in session.segments if segment.plan is not None]
    held = IN_CACHE * threads
    floats = max(held, sum(plan.weights.size + plan.arena for plan in plans))
    block = np.ones(floats, np.float32)
    return Limits(
        threads,
        threads * gemm_cy.fma_peak_f32(0.05),
        machine_cy.bandwidth(block, threads),
        machine_cy.bandwidth(block[:held], threads),
    )


def least(function: Any) -> float:
    """The seconds of the quickest of some calls."""

    def once() -> float:
        begin = perf_counter()
        function()
        return perf_counter() - begin

    return min(once() for _ in range(10))


def eager_line(
    segment: Segment, values: dict[int, Any], threads: int, limits: Limits, seconds: float
) -> list[Line]:
    node = segment.node
    arrays = [None if k is None else values[k] for k in node.inputs]
    took = 1e6 * least(lambda: node.forward(*arrays))
    y = values[segment.outputs[0]] = node.forward(*arrays)
    tensors = [None if array is None else wrap(array) for array in (y, *arrays)]
    flops = 2 * int(node.op.macs(*tensors, **node.attrs))
    moved = y.nbytes + sum(array.nbytes for array in arrays if array is not None)
    compute, memory = flops / limits.peak / 1e3, moved / limits.memory / 1e3
    bound = "compute" if compute >= memory else "memory"
    shape = " × ".join(map(str, y.shape[1:]))
    name = node.name or node.op.name
    return [
        Line(name, node.op.name, "eager", segment.why, shape, took, flops, moved, bound,
             max(compute, memory) / took, None, f"run as eager does: {segment.why}")
    ]  # fmt: skip


def compiled_lines(
    segment: Segment, values: dict[int, Any], threads: int, limits: Limits, seconds: float
) -> list[Line]:
    plan = segment.plan
    assert plan is not None
    x, y = segment.buffers(values, 1)
    begin = perf_counter()
    segment.program.time(x, y, threads, 1)
    runs = max(3, int(seconds / (perf_counter() - begin)))
    times = np.median(segment.program.time(x, y, threads, runs), axis=0)
    return [
        line(draft, step, 1e6 * float(time), limits)
        for draft, step, time in zip(plan.drafts, plan.steps, times, strict=True)
    ]


def line(draft: Draft, step: Step, took: float, limits: Limits) -> Line:
    took = max(took, 1e-3)  # the clock's ticks
    images, weights = 4 * image_floats(draft), 4 * sum(map(weight_floats, draft.parts or [draft]))
    held = images <= CACHE * limits.threads
    compute = 2 * draft.macs * saved(draft) / limits.peak / 1e3
    streamed = weights / limits.memory / 1e3
    carried = images / (limits.cache if held else limits.memory) / 1e3
    bound = "cache" if held and carried > streamed else "memory"
    bound = "compute" if compute >= streamed + carried else bound
    share = max(compute, streamed + carried) / took
    shape = " × ".join(map(str, (step.y.C, step.y.H, step.y.W)))
    op = f"{draft.parts[0].op} …" if draft.parts else draft.op
    region, _, floats = step.y.place
    offset = 4 * floats if region == ARENA else None
    found = Line(
        draft.name, op, draft.kernel, draft.why, shape, took, 2 * draft.macs, images + weights,
        bound, share, offset, "",
    )  # fmt: skip
    if share > 0.8:
        return found
    text = hint(draft, step, found, weights, limits, machine())
    return Line(**{**found.__dict__, "hint": text})


def image_floats(draft: Draft) -> int:
    """The floats of all images that it reads and writes; of parts only what reaches memory."""

    def floats(view: View | None) -> int:
        return 0 if view is None else view.C * view.H * view.W

    return floats(draft.x) + floats(draft.r) + floats(draft.y)


def weight_floats(draft: Draft) -> int:
    """The floats of its weights, without what pads them to whole vectors."""
    KH, KW, *_, G = draft.window
    if draft.kernel == "depthwise":
        return draft.y.C * KH * KW
    if draft.kernel.startswith("winograd"):
        return draft.y.C * draft.x.C * (int(draft.kernel[-1]) + 2) ** 2
    return draft.y.C * (draft.x.C // G) * KH * KW if draft.kernel in ("conv", "linear") else 0


def saved(draft: Draft) -> float:
    """The part of the layer's multiply-adds that its kernel does."""
    m = {"winograd2": 2, "winograd4": 4}.get(draft.kernel, 0)
    return (m + 2) ** 2 / (9 * m**2) if m else 1
