"""Random small models, each a plain function of tensors that a seed decides, like a user's code.

A model grows step by step: each takes one or two of the newest images and makes another. Sizes are
those where kernels change their minds: channels around whole vectors, images of one pixel, one row,
an odd width. Whatever costs too much is left out, so that a model takes a few milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import nanoconv as nc

F = nc.functional
Tensor = nc.Tensor

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 64)
SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 28)
MOST_FLOATS, MOST_MACS = 40_000, 3_000_000


class SmallModel:
    """Call it with tensors of `shapes`; the same seed makes the same model."""

    def __init__(self, *seed: int) -> None:
        self.seed = seed
        rng = np.random.default_rng((*seed, 0))
        count = int(rng.choice((1, 1, 1, 2, 3)))
        H, W = (int(k) for k in rng.choice(SIDES, 2))
        self.shapes = [
            (1, int(rng.choice((1, 2, 3, 3, 3, 4, 8, 16, 17, 20))), H, W) for _ in range(count)
        ]
        self.steps = int(rng.integers(1, 8))
        self.weights: list[Tensor] = []

    def __repr__(self) -> str:
        return f"SmallModel{self.seed}"

    def inputs(self, N: int = 1, seed: int = 0) -> list[np.ndarray]:
        """Images of normally distributed numbers."""
        rng = np.random.default_rng((*self.seed, 1, seed))
        return [rng.standard_normal((N, *s[1:])).astype(np.float32) for s in self.shapes]

    def __call__(self, *xs: Tensor) -> Any:
        grower = Grower(self, list(xs))
        for _ in range(self.steps):
            grower.step()
        return grower.result()


class Grower:
    """One run of a model: draws what it does, the same in every run."""

    def __init__(self, model: SmallModel, images: list[Tensor]) -> None:
        self.model, self.images = model, images
        self.rng = np.random.default_rng((*model.seed, 2))
        self.taken = 0

    # ---- draws

    def one_of(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def weight(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Parameters: drawn in the first run, then always the same."""
        model = self.model
        if self.taken == len(model.weights):
            rng = np.random.default_rng((*model.seed, 3, self.taken))
            model.weights.append(nc.tensor((scale * rng.standard_normal(shape)).astype("f4")))
        self.taken += 1
        return model.weights[self.taken - 1]

    def positive(self, *shape: int) -> Tensor:
        """Variances."""
        return self.weight(*shape).abs() + 0.5

    def image(self) -> Tensor:
        """Usually the newest."""
        return self.images[-1] if self.chance(0.75) else self.one_of(*self.images)

    def partner(self, x: Tensor, same_channels: bool = True) -> Tensor:
        """An image of the same pixels, if there is another one."""
        fits = [
            y for y in self.images
            if y.shape[2:] == x.shape[2:] and (not same_channels or y.shape[1] == x.shape[1])
        ]  # fmt: skip
        return self.one_of(*fits) if fits else x

    # ---- growing

    def step(self) -> None:
        x = self.image()
        y = STEPS[int(self.rng.choice(len(STEPS), p=SHARES))](self, x)
        if y is not None and 0 < math.prod(y.shape[1:]) <= MOST_FLOATS:
            self.images.append(y)

    def result(self) -> Any:
        x = self.images[-1]
        kind = self.one_of("image", "image", "head", "head", "tuple", "dict", "list", "deep")
        if kind == "image":
            return x
        if kind == "head":
            return self.head(x)
        other = self.one_of(*self.images)
        if kind == "tuple":
            return x, other
        if kind == "list":
            return [self.head(other), x]
        if kind == "dict":
            return {"image": x, "same": x, "head": self.head(x)}
        return (x, {"parts": [other, self.head(x)]})

    def head(self, x: Tensor) -> Tensor:
        if math.prod(x.shape[1:]) <= 600 and self.chance(0.3):
            y = x.flatten(1)
        else:
            y = F.adaptive_avg_pool2d(x, 1).flatten(1) if self.chance(0.5) else x.mean((2, 3))
        O = self.one_of(1, 3, 10, 16, 17, 33, 130)
        y = F.linear(y, self.weight(O, y.shape[1], scale=1 / math.sqrt(y.shape[1])),
                     self.weight(O) if self.chance(0.8) else None)  # fmt: skip
        if self.chance(0.3):
            y = F.relu(y)
            y = F.linear(y, self.weight(7, O, scale=1 / math.sqrt(O)))
        if self.chance(0.2):  # of one pixel, behind no weights
            y = self.batch_norm(F.relu(y))
        return self.one_of(lambda t: t, lambda t: F.softmax(t, 1), lambda t: F.log_softmax(t, 1))(y)

    # ---- layers

    def conv(
        self,
        x: Tensor,
        O: int | None = None,
        kernel: Any = None,
        groups: int = 1,
        stride: Any = None,
        padding: Any = None,
        dilation: Any = 1,
    ) -> Tensor | None:
        """A convolution; what is not given is drawn. None if it is too large, or does not fit."""
        C, H, W = x.shape[1:]
        if kernel is None:
            kernel = self.one_of(1, 1, 1, 3, 3, 3, 3, 5, 7, 2, (1, 3), (3, 1), (2, 4))
        KH, KW = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        if stride is None:
            stride = self.one_of(1, 1, 1, 1, 2, 2, 3, (1, 2), (2, 1))
        if padding is None:
            padding = self.one_of(
                (KH // 2, KW // 2), (KH // 2, KW // 2), 0, "same", (0, KH - 1, 0, KW - 1),
                (KH - 1, 0, KW - 1, 0), (0, KH // 2, KW // 2, 0),
            )  # fmt: skip
        O = int(self.rng.choice(CHANNELS)) if O is None else O
        w_shape = O, C // groups, KH, KW
        if math.prod(w_shape) * H * W > MOST_MACS:
            return None
        w = self.weight(*w_shape, scale=1 / math.sqrt(math.prod(w_shape[1:])))
        b = self.weight(O) if self.chance(0.6) else None
        try:
            return F.conv2d(x, w, b, stride, padding, dilation, groups)
        except ValueError:  # the window is larger than the image
            return None

    def batch_norm(self, x: Tensor) -> Tensor:
        C = x.shape[1]
        affine = (self.weight(C), self.weight(C)) if self.chance(0.8) else (None, None)
        return F.batch_norm(x, self.weight(C), self.positive(C), *affine)

    def activation(self, x: Tensor) -> Tensor:
        return self.one_of(
            F.relu, F.relu, F.relu, F.relu6, F.relu6, F.hardswish, F.hardsigmoid, F.sigmoid, F.silu,
            lambda t: F.leaky_relu(t, 0.1), lambda t: F.hardtanh(t, -0.5, 2), F.tanh, F.elu,
            lambda t: t.clamp(min=-0.25), F.gelu, F.mish, F.softplus,
        )(x)  # fmt: skip

    def after(self, y: Tensor | None) -> Tensor | None:
        """What usually follows a convolution."""
        if y is None or not math.prod(y.shape):
            return None
        y = self.batch_norm(y) if self.chance(0.5) else y
        if self.chance(0.25):
            r = self.partner(y)
            y = y + r if self.chance(0.5) else r + y
        return self.activation(y) if self.chance(0.7) else y

    def squeeze_excite(self, x: Tensor) -> Tensor:
        C = x.shape[1]
        s = F.adaptive_avg_pool2d(x, 1) if self.chance(0.5) else x.mean((2, 3), keepdim=True)
        few = max(1, C // 4)
        s = F.relu(self.conv(s, few, 1, stride=1, padding=0))
        gate = self.one_of(F.sigmoid, F.hardsigmoid)
        s = gate(self.conv(s, C, 1, stride=1, padding=0))
        return x * s if self.chance(0.5) else s * x


# --------------------------------------------------------------------------- steps


def plain(g: Grower, x: Tensor) -> Tensor | None:
    return g.after(g.conv(x))


def dilated(g: Grower, x: Tensor) -> Tensor | None:
    return g.after(g.conv(x, kernel=g.one_of(2, 3), dilation=g.one_of(2, 3, (1, 2))))


def grouped(g: Grower, x: Tensor) -> Tensor | None:
    C = x.shape[1]
    groups = g.one_of(*[k for k in range(1, C + 1) if C % k == 0])
    return g.after(g.conv(x, groups * g.one_of(1, 2, 5, 8, 16), groups=groups))


def depthwise(g: Grower, x: Tensor) -> Tensor | None:
    C = x.shape[1]
    times = g.one_of(1, 1, 1, 1, 2, 3)
    kernel = g.one_of(3, 3, 3, 5, 5, 7, 2, 1, (3, 1), (1, 5), (4, 3))
    return g.after(g.conv(x, C * times, kernel, groups=C, dilation=g.one_of(1, 1, 1, 2)))


def inverted_residual(g: Grower, x: Tensor) -> Tensor | None:
    """Expand, depthwise, project: where bands of rows are."""
    C = x.shape[1]
    y = g.conv(x, C * g.one_of(2, 3, 6), 1, stride=1, padding=0)
    if y is None or math.prod(y.shape[1:]) > 3 * MOST_FLOATS:
        return None
    y = g.activation(g.batch_norm(y))
    stride, kernel = g.one_of(1, 1, 2), g.one_of(3, 3, 5)
    y = g.conv(y, y.shape[1], kernel, y.shape[1], stride, kernel // 2)
    if y is None:
        return None
    y = g.activation(y)
    y = g.squeeze_excite(y) if g.chance(0.3) else y
    z = g.conv(y, C if g.chance(0.6) else None, 1, stride=1, padding=0)
    if z is None:
        return None
    z = g.batch_norm(z)
    return z + x if z.shape == x.shape else z


def fire(g: Grower, x: Tensor) -> Tensor | None:
    s = g.conv(x, g.one_of(4, 16, 3), 1, stride=1, padding=0)
    if s is None:
        return None
    s = F.relu(s)
    O = g.one_of(8, 16, 32, 17, 5)
    a, b = g.conv(s, O, 1, stride=1, padding=0), g.conv(s, g.one_of(O, 16), 3, stride=1, padding=1)
    return None if a is None or b is None else nc.cat([F.relu(a), F.relu(b)], 1)


def shuffle_unit(g: Grower, x: Tensor) -> Tensor | None:
    C = x.shape[1]
    if C % 2 or C < 4:
        return None
    left, right = x[:, : C // 2], g.conv(x[:, C // 2 :], C // 2, 1, stride=1, padding=0)
    if right is None:
        return None
    right = g.batch_norm(g.conv(F.relu(g.batch_norm(right)), C // 2, 3, C // 2, 1, 1))
    right = F.relu(g.conv(right, C // 2, 1, stride=1, padding=0))
    return F.channel_shuffle(nc.cat([left, right], 1), 2)


def shuffled(g: Grower, x: Tensor) -> Tensor | None:
    C = x.shape[1]
    return F.channel_shuffle(x, g.one_of(*[k for k in range(1, C + 1) if C % k == 0]))


def moved_channels(g: Grower, x: Tensor) -> Tensor | None:
    C = x.shape[1]
    order = g.rng.integers(0, C, C)
    return g.one_of(
        lambda: x.flip(1), lambda: x.roll(1, 1), lambda: x[:, ::2], lambda: x[:, C // 2 :],
        lambda: x.index_select(1, nc.tensor(order)), lambda: F.pad(x, (0, 0, 0, 0, 1, 2)),
    )()  # fmt: skip


def moved_pixels(g: Grower, x: Tensor) -> Tensor | None:
    H, W = x.shape[2:]
    return g.one_of(
        lambda: x[:, :, ::2, ::2], lambda: x[:, :, 1:, :] if H > 1 else None,
        lambda: x[:, :, H // 2 :, : W // 2 + 1], lambda: x[:, ::2, ::3, 1::2] if W > 1 else None,
        lambda: F.pad(x, (1, 2, 0, 1)), lambda: x.flip(3), lambda: x.permute((0, 1, 3, 2)),
        lambda: F.pad(x, (1, 1, 1, 1), mode="replicate"), lambda: F.pad(x, (0, -1, 0, 0)),
    )()  # fmt: skip


def joined(g: Grower, x: Tensor) -> Tensor | None:
    parts = [x, *(g.partner(x, False) for _ in range(g.one_of(1, 1, 2)))]
    return nc.cat(parts if g.chance(0.5) else parts[::-1], 1)


def arithmetic(g: Grower, x: Tensor) -> Tensor | None:
    y, C = g.partner(x), x.shape[1]
    constant = g.weight(*g.one_of((C, 1, 1), (1, C, 1, 1), (1,)))
    return g.one_of(
        lambda: x + y, lambda: y + x, lambda: x * y, lambda: x - y, lambda: nc.maximum(x, y),
        lambda: nc.minimum(x, y), lambda: x / (y.abs() + 1), lambda: x * constant,
        lambda: x + constant, lambda: constant + x, lambda: x - constant, lambda: constant - x,
        lambda: x / 3, lambda: 2 - x, lambda: x * 0.5, lambda: -x,
        lambda: x + x.mean((2, 3), keepdim=True), lambda: x + x,
    )()  # fmt: skip


def pooled(g: Grower, x: Tensor) -> Tensor | None:
    kernel = g.one_of(2, 3, 3, 3, (2, 3), 5)
    stride, pad = g.one_of(1, 2, 2, (1, 2), 3), g.one_of(0, 0, 1)
    try:
        return g.one_of(
            lambda: F.max_pool2d(x, kernel, stride, pad),
            lambda: F.max_pool2d(x, kernel, stride, pad),
            lambda: F.max_pool2d(x, kernel, stride, pad, ceil_mode=True),
            lambda: F.max_pool2d(x, kernel, stride, pad, dilation=2),
            lambda: F.avg_pool2d(x, kernel, stride, pad),
            lambda: F.avg_pool2d(x, kernel, stride, pad, True),
            lambda: F.avg_pool2d(x, kernel, stride, pad, False, False),
            lambda: F.avg_pool2d(x, kernel, stride, pad, divisor_override=3),
            lambda: F.adaptive_avg_pool2d(x, g.one_of(1, 2, (3, 2), 7)),
            lambda: F.adaptive_max_pool2d(x, g.one_of(1, 2, (2, 3))),
        )()
    except ValueError:  # the window is larger than the image
        return None


def resized(g: Grower, x: Tensor) -> Tensor | None:
    mode = g.one_of("nearest", "bilinear")
    corners = {"align_corners": True} if mode == "bilinear" and g.chance(0.3) else {}
    size = tuple(int(k) for k in g.rng.integers(1, 15, 2))
    return F.interpolate(x, size=size, mode=mode, **corners)


def activated(g: Grower, x: Tensor) -> Tensor | None:
    return g.activation(x)


def normed(g: Grower, x: Tensor) -> Tensor | None:
    return g.batch_norm(x)


def excited(g: Grower, x: Tensor) -> Tensor | None:
    return g.squeeze_excite(x)


def two_readers(g: Grower, x: Tensor) -> Tensor | None:
    """Two convolutions of one image, which need halos of their own."""
    a, b = g.conv(x, kernel=3, stride=1, padding=1), g.conv(x, kernel=5, stride=1, padding=2)
    if a is None or b is None:
        return None
    g.images.append(a)
    return b


def rest(g: Grower, x: Tensor) -> Tensor | None:
    """Softmax over channels, a reshape that changes nothing, copies."""
    return g.one_of(
        lambda: F.softmax(x, 1),
        lambda: x.reshape(*x.shape),
        lambda: x.clone(),
        lambda: x.reshape(x.shape[0], x.shape[1], -1).reshape(*x.shape),
    )()


TABLE: list[tuple[Callable[[Grower, Tensor], Tensor | None], float]] = [
    (plain, 5), (dilated, 1), (grouped, 1.5), (depthwise, 2.5), (inverted_residual, 2.5),
    (fire, 1.5), (shuffle_unit, 1.5), (shuffled, 0.7), (moved_channels, 1.2), (moved_pixels, 1.2),
    (joined, 2), (arithmetic, 1.8), (pooled, 2), (resized, 0.6), (activated, 0.8), (normed, 0.8),
    (excited, 0.8), (two_readers, 0.8), (rest, 0.5),
]  # fmt: skip
STEPS = [step for step, _ in TABLE]
SHARES = np.array([share for _, share in TABLE]) / sum(share for _, share in TABLE)
