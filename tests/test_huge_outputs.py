"""Every op with an argument that makes its output larger, asked for 2**40 elements: it refuses.

The error names the op, and comes before memory is asked for.
"""

from __future__ import annotations

import inspect
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import nanoconv as nc
from nanoconv import functional as F
from nanoconv.dispatch import Op

SIDE, MANY = 2**20, 2**40
# Arguments that the size of the output follows from; windows without padding only make it smaller.
GROWING = {
    "downscale_factor", "end", "num_classes", "output_size", "pad", "padding",
    "repeats", "scale_factor", "size", "sizes", "n", "upscale_factor",
}  # fmt: skip


def x(*shape: int) -> Any:
    return nc.zeros(*shape)


def view(*shape: int) -> Any:
    """Of so many elements, which are all the same one."""
    return nc.zeros(1).reshape((1,) * len(shape)).expand(*shape)


def places(*shape: int) -> Any:
    return nc.zeros(*shape, dtype="int64")


REQUESTS: dict[str, list[Callable[[], Any]]] = {
    "adaptive_avg_pool1d": [lambda: F.adaptive_avg_pool1d(view(MANY // 4, 1, 8), 4)],
    "adaptive_avg_pool2d": [
        lambda: F.adaptive_avg_pool2d(x(1, 1, 2, 2), SIDE),
        lambda: F.adaptive_avg_pool2d(x(1, 2, 2), (1, MANY)),
    ],
    "adaptive_max_pool1d": [
        lambda: F.adaptive_max_pool1d(view(MANY // 4, 8), 4),
        lambda: F.adaptive_max_pool1d(x(1, 8), MANY),
    ],
    "adaptive_max_pool2d": [
        lambda: F.adaptive_max_pool2d(x(1, 1, 2, 2), SIDE),
        lambda: F.adaptive_max_pool2d(x(1, 2, 2), (MANY, 1)),
    ],
    "arange": [lambda: nc.arange(MANY)],
    "avg_pool1d": [lambda: F.avg_pool1d(view(1, MANY), 1)],
    "avg_pool2d": [lambda: F.avg_pool2d(view(1, SIDE, SIDE), 1)],
    "col2im": [lambda: F.col2im(x(1, 1, 1, 1, 1, 1, 1), SIDE, 1, stride=SIDE)],
    "conv1d": [lambda: F.conv1d(view(2**10, 1, 1), x(1, 1, 1), padding=2**29)],
    "conv2d": [lambda: F.conv2d(x(1, 1, 2, 2), x(1, 1, 3, 3), padding=SIDE // 2)],
    "conv_transpose1d": [
        lambda: F.conv_transpose1d(view(2**11, 1, 2), x(1, 1, 1), stride=2**30),
        lambda: F.conv_transpose1d(view(1, 1, 2**10), x(1, 1, 1), stride=2**31 - 1),
    ],
    "conv_transpose2d": [lambda: F.conv_transpose2d(x(1, 1, 2, 2), x(1, 1, 1, 1), stride=SIDE)],
    "depthwise_conv2d": [
        lambda: F.depthwise_conv2d(x(1, 1, 2, 2), x(1, 1, 3, 3), padding=SIDE // 2)
    ],
    "eye": [lambda: nc.eye(SIDE)],
    "fold": [
        lambda: F.fold(x(1, 1, 1), SIDE, 1, stride=SIDE),
        lambda: F.fold(view(2**10, 1, 1), 2**15, 1, stride=2**15),
    ],
    "full": [lambda: nc.full((SIDE, SIDE), 1.0)],
    "im2col": [
        lambda: F.im2col(x(1, 1, 2, 2), 3, padding=SIDE // 2),
        lambda: F.im2col(x(1, 1, 2, 2), 2**18, padding=2**18),
    ],
    "interpolate": [
        lambda mode=mode: F.interpolate(x(1, 1, 2, 2), SIDE, mode=mode)
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    ]
    + [
        lambda: F.interpolate(x(1, 1, 2, 2), scale_factor=float(SIDE)),
        lambda: F.interpolate(x(1, 1, 2, 2), (2**36, 1), mode="bilinear"),
        lambda: F.interpolate(x(1, 1, 2, 2), (2**36, 1), mode="area"),
        lambda: F.interpolate(x(1, 1, 2), 2**31),
    ],
    "learnable_pool2d": [
        lambda: F.learnable_pool2d(view(1, 1, SIDE, SIDE), x(1, 1, 2, 2), 1, padding=1)
    ],
    "lp_pool1d": [lambda: F.lp_pool1d(view(1, MANY), 2.0, 1)],
    "lp_pool2d": [lambda: F.lp_pool2d(view(1, SIDE, SIDE), 2.0, 1)],
    "max_pool1d": [lambda: F.max_pool1d(view(1, MANY), 1)],
    "max_pool2d": [lambda: F.max_pool2d(view(1, SIDE, SIDE), 1)],
    "max_unpool1d": [lambda: F.max_unpool1d(view(2**11, 1, 1), places(1, 1, 1), 2**30)],
    "max_unpool2d": [lambda: F.max_unpool2d(x(1, 1, 2, 2), places(1, 1, 2, 2), SIDE)],
    "one_hot": [lambda: F.one_hot(places(2), MANY)],
    "ones": [lambda: nc.ones(SIDE, SIDE)],
    "pad": [
        lambda mode=mode: F.pad(x(1, 1, 2, 2), (SIDE // 2,) * 4, mode)
        for mode in ("constant", "replicate")
    ],
    "pixel_shuffle": [lambda: F.pixel_shuffle(view(1, 4, SIDE, SIDE), 2)],
    "pixel_unshuffle": [
        lambda: F.pixel_unshuffle(view(1, 1, SIDE, SIDE), 2),
        lambda: F.pixel_unshuffle(view(SIDE, 2**10, 2**10), 2),
    ],
    "rand": [lambda: nc.rand(SIDE, SIDE)],
    "randn": [lambda: nc.randn(SIDE, SIDE)],
    "repeat": [lambda: x(1).repeat(SIDE, SIDE)],
    "repeat_interleave": [
        lambda: nc.repeat_interleave(x(2), MANY),
        lambda: nc.repeat_interleave(x(2, 1), nc.tensor([MANY, MANY]), 0),
        lambda: nc.repeat_interleave(view(SIDE, SIDE), 2, 0),
    ],
    "spatial_pyramid_pool2d": [lambda: F.spatial_pyramid_pool2d(x(1, 1, 2, 2), (1, SIDE))],
    "tile": [lambda: x(1).tile((SIDE, SIDE))],
    "unfold": [
        lambda: F.unfold(x(1, 1, 2, 2), 3, padding=SIDE // 2),
        lambda: F.unfold(x(1, 1, 2, 2), 2**18, padding=2**18),
    ],
    "zeros": [lambda: nc.zeros(SIDE, SIDE)],
}
SAME_SIZE = {"local_response_norm", "reshape", "set_num_threads", "view"}
CALLS = [(name, call) for name, calls in REQUESTS.items() for call in calls]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_an_output_of_2_to_the_40_is_refused(name: str, call: Callable) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"^{name}: .*(at most 2|up to 2147483647)"):
            call()
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_every_op_with_a_size_argument_is_asked() -> None:
    growing = {
        name
        for public in (nc, F)
        for name in public.__all__
        if inspect.isfunction(function := getattr(public, name))
        and GROWING & set(inspect.signature(function).parameters)
    }
    assert growing - SAME_SIZE <= set(REQUESTS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda L: F.max_pool1d(L, 9), r"max_pool1d: .* input's length 4"),
        (lambda L: F.avg_pool1d(L, 9), r"avg_pool1d: .* input's length 4"),
        (lambda L: F.max_pool1d(L.expand(SIDE, SIDE, 4), 1), r"shape \[1048576, 1048576, 4\]"),
        (lambda L: F.avg_pool1d(L[0].expand(MANY, 4), 1), r"shape \[1099511627776, 4\]"),
        (lambda L: F.max_pool1d(L[..., None], 2), r"max_pool1d: input has shape \[1, 1, 4, 1\]"),
        (lambda L: F.adaptive_max_pool1d(L[:, :, :0], 2), r"input \[1, 1, 0\] has no elements"),
        (lambda L: F.adaptive_avg_pool1d(L[0, :, :0], 2), r"input \[1, 0\] has no elements"),
        (
            lambda L: F.adaptive_avg_pool1d(L.expand(MANY, 1, 4), 2),
            r"shape \[1099511627776, 1, 2\]",
        ),
        (lambda L: F.max_pool1d(L, 2, 1, 1, dilation=2), r"whole length 1 of the input"),
    ],
)
def test_errors_about_signals_show_the_users_shape(call: Callable, message: str) -> None:
    signal = nc.zeros(1, 1, 1) if "whole" in message else nc.zeros(1, 1, 4)
    with pytest.raises(ValueError, match=message):
        call(signal)


def test_memory_that_is_not_there_is_missed_by_the_op(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(x: Any) -> None:
        raise MemoryError("so many bytes")

    monkeypatch.setattr(Op.registry["neg"], "forward", forward)
    with pytest.raises(MemoryError, match="neg: so many bytes"):
        -x(1)
