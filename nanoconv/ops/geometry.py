"""Where a sliding window reads: the shapes and index arithmetic that convolution and pooling share.

A window of KH×KW taps slides over an image. Output pixel (i, j), through tap (u, v), reads

    h = i·s + u·d − p_top        w = j·s + v·d − p_left

with stride s, dilation d and padding p; a position outside of the image reads as zero (as −∞ when
a maximum is taken). Along one axis this gives

    OH = ⌊(H + p_top + p_bottom − d·(KH − 1) − 1) / s⌋ + 1        output rows
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

Array = np.ndarray
LARGEST = 2**31 - 1  # sizes, strides and paddings beyond this are mistakes, and would overflow C
TOO_MANY = 2**40  # elements: a mistake too, for no memory holds 4 TiB, and C counts bytes


def integers(value: Any, least: int) -> tuple[int, ...]:
    """An integer or a sequence of them as a tuple; () if one is none, or not least … LARGEST."""
    found = []
    for k in value if isinstance(value, (tuple, list)) else (value,):
        if type(k) is not int:  # True and NumPy's integers
            try:
                k = int(operator.index(k))
            except TypeError:
                return ()
        if not least <= k <= LARGEST:
            return ()
        found.append(k)
    return tuple(found)


def is_pair(value: Any, least: int) -> bool:
    """True of a tuple of two ints in range, as the layers pass them: soon told from the rest."""
    if type(value) is not tuple or len(value) != 2:
        return False
    a, b = value
    return type(a) is type(b) is int and least <= a <= LARGEST and least <= b <= LARGEST


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """An int or a pair of ints as a pair (vertical, horizontal), each at least `least`."""
    if is_pair(value, least):
        return value
    both = integers(value, least)
    if len(both) not in (1, 2):
        raise ValueError(
            f"{op}: {name}={value!r}, expected an integer or a pair of integers from {least} up "
            f"to {LARGEST}"
        )
    return both[0], both[-1]


def extent(kernel: int, dilation: int) -> int:
    """How many input pixels a dilated window spans: d·(K − 1) + 1."""
    return dilation * (kernel - 1) + 1


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding (before, after) for ⌈size / stride⌉ outputs; TensorFlow puts the odd pixel after."""
    total = max((-(-size // stride) - 1) * stride + extent(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def sides(op: str, padding: Any) -> tuple[int, int, int, int] | str:
    """Any form of the `padding` argument as (top, bottom, left, right), or "same"."""
    if isinstance(padding, str) and padding in ("same", "valid"):
        return padding if padding == "same" else (0, 0, 0, 0)
    if is_pair(padding, 0):
        return padding[0], padding[0], padding[1], padding[1]
    given = integers(padding, 0)
    if len(given) == 4:
        return given[0], given[1], given[2], given[3]
    if len(given) not in (1, 2):
        raise ValueError(
            f"{op}: padding={padding!r}, expected an integer, a pair (vertical, horizontal), "
            "four values (top, bottom, left, right), 'valid' or 'same'; none negative "
            f"or above {LARGEST}"
        )
    return given[0], given[0], given[-1], given[-1]


def four_sides(
    op: str,
    padding: Any,
    image: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """Any form of the `padding` argument as (top, bottom, left, right)."""
    given = sides(op, padding)
    if not isinstance(given, str):
        return given
    top, bottom = same_padding(image[0], kernel[0], stride[0], dilation[0])
    left, right = same_padding(image[1], kernel[1], stride[1], dilation[1])
    return top, bottom, left, right


def output_size(
    op: str, axis: str, size: int, before: int, after: int, kernel: int, stride: int, dilation: int
) -> int:
    """OH (or OW) of the equation above; an error if not even one window fits."""
    padded, window = size + before + after, extent(kernel, dilation)
    if size < 1 or window > padded:
        raise ValueError(
            f"{op}: a window of {window} pixels (kernel {kernel}, dilation {dilation}) does not "
            f"fit into the input's {axis} {size} padded by {before} and {after}"
        )
    return (padded - window) // stride + 1


def check_output(op: str, shape: tuple[int, ...], **arguments: Any) -> None:
    """An output of this shape, which follows from the arguments, can be counted in memory."""
    if math.prod(shape) >= TOO_MANY:
        values = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ValueError(
            f"{op}: with {values} the output has shape {list(shape)}, expected at most 2**40 "
            "− 1 elements"
        )


@dataclass(frozen=True)
class Geometry:
    """All sizes of one convolution or pooling, under the letters of the equations."""

    N: int  # images
    C: int  # input channels
    H: int  # input height
    W: int  # input width
    O: int  # output channels
    OH: int
    OW: int
    KH: int
    KW: int
    sh: int  # stride
    sw: int
    pt: int  # padding
    pb: int
    pl: int
    pr: int
    dh: int  # dilation
    dw: int
    G: int = 1  # groups

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """What the convolution kernels take: padding below and right follows from OH and OW."""
        return (
            self.N, self.C, self.H, self.W, self.O, self.OH, self.OW, self.KH, self.KW,
            self.sh, self.sw, self.pt, self.pl, self.dh, self.dw, self.G,
        )  # fmt: skip

    @cached_property
    def pool_sizes(self) -> tuple[int, ...]:
        """What the pooling kernels take."""
        return (
            self.N, self.C, self.H, self.W, self.OH, self.OW, self.KH, self.KW,
            self.sh, self.sw, self.pt, self.pl, self.dh, self.dw,
        )  # fmt: skip

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.H, self.W

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.O, self.OH, self.OW

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        return self.O, self.C // self.G, self.KH, self.KW

    # ---- the padded image, and what the windows see of it

    @property
    def _padded_shape(self) -> tuple[int, int, int, int]:
        """Large enough for every window, also one that ceil_mode hangs over the padding."""
        height = max(self.pt + self.H, (self.OH - 1) * self.sh + extent(self.KH, self.dh))
        width = max(self.pl + self.W, (self.OW - 1) * self.sw + extent(self.KW, self.dw))
        return self.N, self.C, height, width

    def padded(self, x: Array, value: float = 0) -> Array:
        """x with a border of `value`; MemoryError if gigantic padding would make it gigantic."""
        if self._padded_shape == x.shape:
            return x
        if math.prod(self._padded_shape) > max(LARGEST, 4 * x.size):
            raise MemoryError(
                f"padding makes the image {list(self._padded_shape)}; "
                "only the compiled kernels do without this copy"
            )
        xp = np.full(self._padded_shape, value, x.dtype)
        self.unpad(xp)[...] = x
        return xp

    def unpad(self, xp: Array) -> Array:
        """The view of the image inside its border."""
        return xp[:, :, self.pt : self.pt + self.H, self.pl : self.pl + self.W]

    def tap(self, u: int, v: int) -> tuple[slice, ...]:
        """The index of the padded image's pixels that tap (u, v) reads, one per output pixel."""
        h, w = u * self.dh, v * self.dw
        rows = slice(h, h + (self.OH - 1) * self.sh + 1, self.sh)
        return slice(None), slice(None), rows, slice(w, w + (self.OW - 1) * self.sw + 1, self.sw)

    def taps(self) -> list[tuple[int, int]]:
        return [(u, v) for u in range(self.KH) for v in range(self.KW)]

    def windows(self, x: Array, value: float = 0) -> Array:
        """(N, C, OH, OW, KH, KW): what every output pixel sees, as a view of the padded image."""
        xp = self.padded(x, value)
        n, c, h, w = xp.strides
        return np.lib.stride_tricks.as_strided(
            xp,
            (self.N, self.C, self.OH, self.OW, self.KH, self.KW),
            (n, c, h * self.sh, w * self.sw, h * self.dh, w * self.dw),
            writeable=False,
        )


@lru_cache(maxsize=4096)
def _conv_geometry(
    op: str,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int] | str,
    dilation: tuple[int, int],
    groups: int,
) -> Geometry:
    N, C, H, W = x_shape
    O, _, KH, KW = w_shape
    pt, pb, pl, pr = four_sides(op, padding, (H, W), (KH, KW), stride, dilation)
    OH = output_size(op, "height", H, pt, pb, KH, stride[0], dilation[0])
    OW = output_size(op, "width", W, pl, pr, KW, stride[1], dilation[1])
    check_output(op, (N, O, OH, OW), padding=padding, stride=stride)
    return Geometry(N, C, H, W, O, OH, OW, KH, KW, *stride, pt, pb, pl, pr, *dilation, groups)


def conv_geometry(
    op: str,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Geometry:
    """The geometry of a convolution of x (N, C, H, W) with w (O, C/G, KH, KW).

    All arguments are plain integers before the cache sees them: to it, 1.0 and True would be 1.
    """
    strides, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    around = sides(op, padding)
    return _conv_geometry(op, x_shape, w_shape, strides, around, dilations, int(groups))
