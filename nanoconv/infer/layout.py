"""Where values live while a plan is made: buffers, and views of them.

A `Buffer` is memory for one image, (H, W, C) with a halo; how wide, and how far apart its pixels
are, is known only when all its readers are. A `View` is a value as kernels see it, a piece of one
buffer or channels from several: what cuts channels, strides over pixels, concatenates or shuffles
makes another view, and computes nothing. Only `Plan` turns both into numbers.

    slices    the parts of a concatenation are written into one buffer from the start
    gather    a list of channels, of any buffers of one shape: a convolution reads through it;
              or of vectors of channels, which a depthwise one filters in the order they lie in
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple


class Halo(NamedTuple):
    """Pixels of zeros around an image."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


NO_HALO = Halo()


class Shape:
    """What buffers that one kernel reads through one table have in common."""

    def __init__(self, pitch: int) -> None:
        self.halo, self.pitch = NO_HALO, pitch
        self.frozen = False  # a stem's image, whose pixels are not padded to whole vectors
        self.became: Shape | None = None

    def found(self) -> Shape:
        return self if self.became is None else self.became.found()


class Buffer:
    """Memory for an image of C channels."""

    def __init__(self, H: int, W: int, C: int, lanes: int) -> None:
        self.H, self.W, self.C = H, W, C
        self._shape = Shape(-(-C // lanes) * lanes)
        self.parent: Buffer | None = None  # this is a slice of a wider one
        self.channel = 0  # where it begins in its parent
        self.first = self.last = -1  # the steps between which it is needed
        self.offset = -1  # floats into the arena
        self.forever = False  # its memory is never another's
        self.region: tuple[str, int] = ("arena", 0)

    @property
    def shape(self) -> Shape:
        return self.root()[0]._shape.found()

    def root(self) -> tuple[Buffer, int]:
        """The buffer that has the memory, and the channel of it where this one begins."""
        if self.parent is None:
            return self, 0
        buffer, channel = self.parent.root()
        return buffer, channel + self.channel

    def demand(self, halo: Halo) -> None:
        """There must be zeros at least so far around the image."""
        shape = self.shape
        shape.halo = Halo(*map(max, shape.halo, halo))

    def share_shape(self, other: Buffer) -> None:
        """From now on both have the same pitch and halo."""
        a, b = self.shape, other.shape
        if a is not b:
            a.halo, a.pitch = Halo(*map(max, a.halo, b.halo)), max(a.pitch, b.pitch)
            b.became = a

    def place_in(self, parent: Buffer, channel: int) -> None:
        """Make this a slice; what has its shape, gets that of the parent."""
        self.share_shape(parent)
        self.parent, self.channel = parent, channel

    @property
    def row(self) -> int:
        """Floats from row to row."""
        return (self.shape.halo.left + self.W + self.shape.halo.right) * self.shape.pitch

    @property
    def floats(self) -> int:
        """Floats of memory, with the halo."""
        return (self.shape.halo.top + self.H + self.shape.halo.bottom) * self.row

    @property
    def form(self) -> tuple[int, ...]:
        """Equal for buffers whose rows lie alike; the first number is `floats`."""
        return self.floats, self.row, self.shape.halo.top

    def used(self, step: int) -> None:
        """It is needed at this step."""
        root = self.root()[0]
        root.first = step if root.first < 0 else min(root.first, step)
        root.last = max(root.last, step)

    def at(self) -> int:
        """Floats from the start of the region to channel 0 of pixel (0, 0)."""
        buffer, channel = self.root()
        halo, pitch = buffer.shape.halo, buffer.shape.pitch
        return buffer.offset + halo.top * buffer.row + halo.left * pitch + channel


@dataclass(frozen=True)
class Run:
    """Channels first … first + count of a buffer."""

    buffer: Buffer
    first: int
    count: int


@dataclass(frozen=True)
class View:
    """A value (C, H, W): its channels one run after the other; every sh-th row, sw-th column.

    All its buffers have the same H and W.
    """

    runs: tuple[Run, ...]
    H: int
    W: int
    h0: int = 0
    w0: int = 0
    sh: int = 1
    sw: int = 1
    cache: dict = field(default_factory=dict, compare=False)  # copies that were made of it

    @property
    def C(self) -> int:  # noqa: N802 (an axis letter)
        return sum(run.count for run in self.runs)

    @property
    def buffer(self) -> Buffer:
        return self.runs[0].buffer

    @property
    def strided(self) -> bool:
        """It has not all pixels of its buffer."""
        every = (self.buffer.H, self.buffer.W, 0, 0, 1, 1)
        return self.window() != every

    def is_image(self, lanes: int) -> bool:
        """True if a kernel can read it in whole vectors: one run, and behind it only zeros."""
        if len(self.runs) != 1:
            return False
        run = self.runs[0]
        return run.first % lanes == 0 and (
            run.count % lanes == 0 or run.first + run.count == run.buffer.C
        )

    def whole(self) -> bool:
        """True if it is all of one buffer."""
        run = self.runs[0]
        return len(self.runs) == 1 and not self.strided and run.count == run.buffer.C

    def channels(self, index: list[int]) -> View:
        """The channels of these numbers, in this order."""
        every = self.places()
        return View(joined([every[k] for k in index]), *self.window())

    def places(self) -> list[tuple[Buffer, int]]:
        """Of each channel its buffer, and which channel it is there."""
        return [(run.buffer, run.first + k) for run in self.runs for k in range(run.count)]

    def vectors(self, lanes: int) -> tuple[list[tuple[Buffer, int]], list[int]]:
        """Buffer and first channel of all whole vectors that have a channel of it, in the order in
        which they lie in memory; and of each channel which lane it is of these."""
        places = self.places()
        order = {buffer: n for n, buffer in enumerate(dict.fromkeys(b for b, _ in places))}
        found = sorted({(order[buffer], k // lanes) for buffer, k in places})
        first = {vector: n * lanes for n, vector in enumerate(found)}
        at = [first[order[buffer], k // lanes] + k % lanes for buffer, k in places]
        buffers = list(order)
        return [(buffers[n], v * lanes) for n, v in found], at

    def window(self) -> tuple[int, int, int, int, int, int]:
        return self.H, self.W, self.h0, self.w0, self.sh, self.sw


def joined(places: list[tuple[Buffer, int]]) -> tuple[Run, ...]:
    """Channels of buffers as few runs."""
    runs: list[Run] = []
    for buffer, channel in places:
        last = runs[-1] if runs else None
        if last and last.buffer is buffer and last.first + last.count == channel:
            runs[-1] = Run(buffer, last.first, last.count + 1)
        else:
            runs.append(Run(buffer, channel, 1))
    return tuple(runs)


def whole(buffer: Buffer) -> View:
    """All of a buffer."""
    return View((Run(buffer, 0, buffer.C),), buffer.H, buffer.W)


def concatenated(views: list[View]) -> View:
    """The channels of all, which have the same pixels."""
    return View(tuple(run for view in views for run in view.runs), *views[0].window())


def arena_floats(buffers: list[Buffer], threads: int, align: int = 16) -> int:
    """Gives every buffer its offset: those that are needed at the same time do not overlap.

    One thread wants little memory: the largest buffers first, each at the lowest place that is free
    while it is needed. Several use memory again only for images of the same form: then each row of
    it is always written by the same thread, in whose cache it is. To take lines from the other's
    cache takes longer than to compute what is written there.
    """
    forms = [buffer.form for buffer in buffers]
    placed: list[tuple[Buffer, tuple[int, ...]]] = []
    order = sorted(range(len(buffers)), key=lambda k: (-forms[k][0], buffers[k].first))
    for buffer, form in ((buffers[k], forms[k]) for k in order):
        taken = sorted(
            (other.offset, other.offset + theirs[0])
            for other, theirs in placed
            if (other.first <= buffer.last and buffer.first <= other.last)
            or (threads > 1 and theirs != form)
        )
        offset = 0
        for begin, stop in taken:
            if offset + form[0] <= begin:
                break
            offset = max(offset, math.ceil(stop / align) * align)
        buffer.offset = offset
        placed.append((buffer, form))
    end = max((buffer.offset + form[0] for buffer, form in placed), default=0)
    return math.ceil(end / align) * align
