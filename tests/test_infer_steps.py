"""Every kernel of a compiled plan, through models of one op; `sessions.check` has what is asserted.

The op stands between others that change how its image lies in memory: a slice of a concatenation,
shuffled or reversed channels, every other pixel, a wider halo that another reader wants.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import check, check_batch, eager_to_fuse, flat, kernels, same_bits

import nanoconv as nc
from nanoconv import nn
from nanoconv.infer import fusion, packing
from nanoconv.infer.steps import machine

machine_cy = pytest.importorskip("nanoconv._kernels.machine_cy", reason="needs compiled kernels")
F = nc.functional
L = machine_cy.lanes()
CHANNELS = sorted({1, 2, 3, 4, 5, L - 1, L, L + 1, 2 * L, 2 * L + 1, 3 * L, 4 * L + 3})
SIDES = (1, 2, 3, 4, 5, 7, 8, 11, 13, 14, 15, 17, 29)  # tiles are up to 14 pixels of one row
ACTIVATIONS: dict[str, Callable] = {
    "none": lambda y: y, "relu": F.relu, "relu6": F.relu6, "leaky": lambda y: F.leaky_relu(y, 0.2),
    "hardtanh": lambda y: F.hardtanh(y, -0.5, 0.75), "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid, "sigmoid": F.sigmoid, "silu": F.silu,
}  # fmt: skip


few_or_many = st.sampled_from(CHANNELS)


@dataclass(frozen=True)
class One:
    """A model of one op, with what stands before and behind it."""

    kernel: str  # that computes it
    C: int
    H: int
    W: int
    op: Callable[["One", nc.Tensor], nc.Tensor]
    attrs: tuple[tuple[str, Any], ...] = ()
    before: str = "input"
    after: str = "output"
    seed: int = 0

    def __repr__(self) -> str:
        attrs = ", ".join(f"{k}={v}" for k, v in self.attrs)
        return f"{self.before} {[self.C, self.H, self.W]} → {self.kernel}({attrs}) → {self.after}"

    def __getitem__(self, name: str) -> Any:
        return dict(self.attrs)[name]

    def weight(self, *shape: int, number: int = 0) -> nc.Tensor:
        rng = np.random.default_rng((self.seed, number, *shape))
        fan = max(1, int(np.prod(shape[1:])))
        return nc.tensor((rng.standard_normal(shape) / np.sqrt(fan)).astype("f4"))

    def input(self, N: int = 1) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        C, (H, W) = (
            {"every other channel": 2 * self.C + 1}.get(self.before, self.C),
            (self.H, self.W),
        )
        H, W = (2 * H, 2 * W + 1) if self.before == "every other pixel" else (H, W)
        return rng.standard_normal((N, C, H, W)).astype(np.float32)

    def __call__(self, given: nc.Tensor) -> Any:
        x = BEFORE[self.before](self, given)
        y = self.op(self, x)
        return AFTER[self.after](self, x, y)


def slice_of_concat(m: One, x: nc.Tensor) -> nc.Tensor:
    other = F.relu(F.conv2d(x, m.weight(L, m.C, 1, 1, number=7)))
    return nc.cat([other, F.relu(x)], 1)[:, L:]


BEFORE: dict[str, Callable[[One, nc.Tensor], nc.Tensor]] = {
    "input": lambda m, x: x,
    "relu": lambda m, x: F.relu(x),
    "conv": lambda m, x: F.conv2d(x, m.weight(m.C, m.C, 1, 1, number=8), m.weight(m.C, number=9)),
    "slice": slice_of_concat,
    "two halves": lambda m, x: nc.cat([F.relu(x), F.sigmoid(x)], 1)[:, m.C // 2 :][:, : m.C],
    "flipped": lambda m, x: F.relu(x).flip(1),
    "shuffled": lambda m, x: F.channel_shuffle(F.relu(x), 2 if m.C % 2 == 0 else 1),
    "zero channel": lambda m, x: F.pad(F.relu(x), (0, 0, 0, 0, 1, -1)) if m.C > 1 else x,
    "every other channel": lambda m, x: F.relu(x)[:, 1::2],
    "every other pixel": lambda m, x: F.relu(x)[:, :, ::2, 1::2],
}  # fmt: skip


def wide_reader(m: One, x: nc.Tensor, y: nc.Tensor) -> Any:
    """Another convolution of both images, with a wider halo."""
    read = [F.conv2d(t, m.weight(5, t.shape[1], 5, 5, number=5), padding=2) for t in (x, y)]
    return y, *read


def depthwise_reader(m: One, x: nc.Tensor, y: nc.Tensor) -> Any:
    C = y.shape[1]
    return F.conv2d(y, m.weight(C, 1, 3, 3, number=6), None, 1, 1, 1, C)


AFTER: dict[str, Callable[[One, nc.Tensor, nc.Tensor], Any]] = {
    "output": lambda m, x, y: y,
    "output beside input": lambda m, x, y: [x, y, y],
    "wide reader": wide_reader,
    "depthwise": depthwise_reader,
    "concatenation": lambda m, x, y: nc.cat([F.relu(y), y], 1),
    "activation": lambda m, x, y: {"y": F.tanh(y)},
}


def rounds(
    step: str, op: Callable, channels: Any = None, **attrs: st.SearchStrategy
) -> st.SearchStrategy:
    """Models of one op; `attrs` are drawn."""
    channels = few_or_many if channels is None else channels
    pixels = st.sampled_from(SIDES)
    drawn = st.fixed_dictionaries(attrs).map(lambda found: tuple(found.items()))
    return st.builds(
        One, st.just(step), channels, pixels, pixels, st.just(op),
        drawn, st.sampled_from(list(BEFORE)), st.sampled_from(list(AFTER)), st.integers(0, 2**20),
    )  # fmt: skip


# --------------------------------------------------------------------------- the ops

activations = st.sampled_from(list(ACTIVATIONS))
yes_or_no = st.booleans()


def padded_enough(x: nc.Tensor, KH: int, KW: int, d: int, pad: tuple) -> tuple:
    """Padding (top, bottom, left, right) that leaves at least one window."""
    missing_h = max(0, d * (KH - 1) + 1 - x.shape[2] - pad[0] - pad[1])
    missing_w = max(0, d * (KW - 1) + 1 - x.shape[3] - pad[2] - pad[3])
    return pad[0], pad[1] + missing_h, pad[2] + missing_w, pad[3]


def finish(m: One, x: nc.Tensor, y: nc.Tensor) -> nc.Tensor:
    """The residual and the activation that a convolution takes into its own step."""
    if m["residual"]:
        other = x if x.shape == y.shape else F.conv2d(
            x[:, :1, :1, :1], m.weight(y.shape[1], 1, 1, 1, number=4)
        )  # fmt: skip
        y = y + other
    return ACTIVATIONS[m["activation"]](y)


def convolution(m: One, x: nc.Tensor) -> nc.Tensor:
    (KH, KW), d, G = m["kernel"], m["dilation"], m["groups"] if "groups" in dict(m.attrs) else 1
    C = x.shape[1]
    G = G if C % G == 0 else C if C % 2 else 2
    O = m["O"] if G == 1 else m["O"] % 19 * G + G
    pad = padded_enough(x, KH, KW, d, m["padding"])
    b = m.weight(O, number=2) if m["bias"] else None
    y = F.conv2d(x, m.weight(O, C // G, KH, KW, number=1), b, m["stride"], pad, d, G)
    return finish(m, x, y)


def depthwise(m: One, x: nc.Tensor) -> nc.Tensor:
    (KH, KW), d, C = m["kernel"], m["dilation"], x.shape[1]
    pad = padded_enough(x, KH, KW, d, m["padding"])
    O = C * m["times"]
    b = m.weight(O, number=2) if m["bias"] else None
    y = F.conv2d(x, m.weight(O, 1, KH, KW, number=1), b, m["stride"], pad, d, C)
    return finish(m, x, y)


def winograd(m: One, x: nc.Tensor) -> nc.Tensor:
    pad = padded_enough(x, 3, 3, 1, m["padding"])
    b = m.weight(m["O"], number=2) if m["bias"] else None
    y = F.conv2d(x, m.weight(m["O"], x.shape[1], 3, 3, number=1), b, 1, pad)
    return finish(m, x, y)


def linear(m: One, x: nc.Tensor) -> nc.Tensor:
    flat_x = x.mean((2, 3)) if x.shape[1] * x.shape[2] * x.shape[3] > 600 else x.flatten(1)
    b = m.weight(m["O"], number=2) if m["bias"] else None
    y = F.linear(flat_x, m.weight(m["O"], flat_x.shape[1], number=1), b)
    return ACTIVATIONS[m["activation"]](y).reshape(x.shape[0], m["O"], 1, 1)


def pooling(m: One, x: nc.Tensor) -> nc.Tensor:
    """Max and average pooling, whose padding is at most half of the window."""
    (KH, KW), d = m["kernel"], m["dilation"]
    KH, KW = min(KH, x.shape[2]), min(KW, x.shape[3])
    pad = KH // 2 if m["pads"] else 0, KW // 2 if m["pads"] else 0
    d = d if d * (KH - 1) < x.shape[2] and d * (KW - 1) < x.shape[3] else 1
    if m.kernel == "max_pool":
        return F.max_pool2d(x, (KH, KW), m["stride"], pad, d, m["ceil"])
    counted = m["counted"]
    divisor = 3 if counted is None else None
    return F.avg_pool2d(x, (KH, KW), m["stride"], pad, m["ceil"], bool(counted), divisor)


def two_images(m: One, x: nc.Tensor) -> nc.Tensor:
    other = F.tanh(F.conv2d(x, m.weight(x.shape[1], x.shape[1], 1, 1, number=1)))
    if m.kernel == "div":
        return x / (other.abs() + 1)
    return ACTIVATIONS[m["activation"]](BINARY[m.kernel](x, other))


BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "max": nc.maximum, "min": nc.minimum,
}  # fmt: skip


def excited(m: One, x: nc.Tensor) -> nc.Tensor:
    s = F.adaptive_avg_pool2d(x, 1) if m["pooled"] else x.mean((2, 3), keepdim=True)
    s = F.sigmoid(F.conv2d(s, m.weight(x.shape[1], x.shape[1], 1, 1, number=1)))
    y = x * s if m.kernel == "scale" else s + x
    return ACTIVATIONS[m["activation"]](y)


def affine(m: One, x: nc.Tensor) -> nc.Tensor:
    k = m.weight(*m["shape"](x.shape[1]), number=1)
    y = F.tanh(x)  # or the constant would go into weights
    y = {"+": y + k, "*": k * y, "-": y - k}[m["sign"]]
    return y.abs()


def norm(m: One, x: nc.Tensor) -> nc.Tensor:
    """Behind an activation, as an image or as one pixel (N, C)."""
    C = x.shape[1]
    y = F.sigmoid(x.mean((2, 3)) if m["flat"] else x)
    mean, var = m.weight(C, number=1), m.weight(C, number=2).abs() + 0.5
    weights = (m.weight(C, number=3), m.weight(C, number=4)) if m["weighted"] else (None, None)
    y = F.batch_norm(y, mean, var, *weights)
    return F.relu(y.reshape(y.shape[0], C, 1, 1)) if m["flat"] else F.relu(y)


SMOOTH = {
    "relu": F.relu, "relu6": F.relu6, "leaky": lambda x: F.leaky_relu(x, 0.3), "tanh": F.tanh,
    "elu": F.elu, "selu": F.selu, "gelu": F.gelu, "mish": F.mish, "softplus": F.softplus,
    "sigmoid": F.sigmoid, "silu": F.silu, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid,
    "hardtanh": lambda x: F.hardtanh(x, -0.3, 0.4), "abs": lambda x: x.abs(),
}  # fmt: skip


def block(m: One, x: nc.Tensor) -> nc.Tensor:
    """Expand, depthwise, project: one step, in bands of rows."""
    C, D, K, s = x.shape[1], m["D"], m["window"], m["stride"]
    y = x
    if m["expand"]:
        y = F.relu6(F.conv2d(y, m.weight(D, C, 1, 1, number=1), m.weight(D, number=2)))
    elif m["stem"]:
        S = m["stem"]
        y = F.relu(
            F.conv2d(y, m.weight(D, C, S, S, number=1), None, 2, (S // 2, S // 2, S // 2, S - 1))
        )
    D = y.shape[1]
    y = F.conv2d(y, m.weight(D, 1, K, K, number=3), m.weight(D, number=4), s, K // 2, 1, D)
    z = F.conv2d(F.hardswish(y), m.weight(m["O"], D, 1, 1, number=5))
    return z + x if z.shape == x.shape else z


sides_of_windows = st.tuples(*[st.integers(0, 3)] * 4)
conv_attrs = {
    "stride": st.sampled_from([1, 1, 2, 3, (1, 2), (2, 1)]), "padding": sides_of_windows,
    "bias": yes_or_no, "residual": yes_or_no, "activation": activations,
}  # fmt: skip
windows = st.sampled_from([(1, 1), (3, 3), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (2, 4)])
dilations = st.sampled_from([1, 1, 1, 2, 3])
pool_attrs = {
    "kernel": st.sampled_from([(2, 2), (3, 3), (3, 3), (5, 5), (2, 3), (1, 4)]),
    "stride": st.sampled_from([1, 2, 3, (2, 1)]), "pads": yes_or_no, "ceil": yes_or_no,
}  # fmt: skip
whole_vectors = st.sampled_from([L, L + 1, 2 * L, 3 * L + 2])
wino_attrs = {
    "O": st.sampled_from([L, 2 * L - 1, 2 * L, 5 * L]), "padding": sides_of_windows,
    "bias": yes_or_no, "residual": yes_or_no, "activation": activations,
}  # fmt: skip
adaptive = st.sampled_from([(2, 2), (3, 1), (1, 4), (5, 7)])

MODELS: dict[str, st.SearchStrategy] = {
    "conv": rounds("conv", convolution, O=few_or_many, kernel=windows, dilation=dilations,
                   **conv_attrs),
    "conv of groups": rounds("conv", convolution, O=few_or_many, kernel=windows, dilation=dilations,
                             groups=st.sampled_from([2, 3, 4, 8]), **conv_attrs),
    "winograd2": rounds("winograd2", winograd, whole_vectors, **wino_attrs),
    "winograd4": rounds("winograd4", winograd, whole_vectors, **wino_attrs),
    "depthwise": rounds("depthwise", depthwise, st.sampled_from(CHANNELS[1:]), dilation=dilations,
                        kernel=st.sampled_from([(3, 3), (5, 5), (7, 7), (1, 1), (3, 1), (2, 4)]),
                        times=st.sampled_from([1, 1, 1, 2, 3]), **conv_attrs),
    "band": rounds("band", block, D=few_or_many, O=few_or_many, window=st.sampled_from([3, 5]),
                   stride=st.sampled_from([1, 1, 2]), expand=yes_or_no,
                   stem=st.sampled_from([0, 3, 7])),
    "linear": rounds("linear", linear, bias=yes_or_no, activation=activations,
                     O=st.sampled_from([1, 3, L, L + 1, 8 * L, 8 * L + 1, 130, 20 * L])),
    "max_pool": rounds("max_pool", pooling, dilation=st.sampled_from([1, 1, 2]), **pool_attrs),
    "window_mean": rounds("window_mean", pooling, counted=st.sampled_from([True, False, None]),
                          dilation=st.just(1), **pool_attrs),
    "cells of a mean": rounds("window_mean", lambda m, x: F.adaptive_avg_pool2d(x, m["size"]),
                              size=adaptive),
    "window_max": rounds("window_max", lambda m, x: F.adaptive_max_pool2d(x, m["size"]),
                         size=adaptive),
    "global_pool": rounds("global_pool", lambda m, x: x.mean((2, 3), keepdim=True)),
    "scale": rounds("scale", excited, pooled=yes_or_no, activation=activations),
    "shift": rounds("shift", excited, pooled=yes_or_no, activation=activations),
    "affine": rounds("affine", affine, sign=st.sampled_from("+*-"), shape=st.sampled_from(
        [lambda C: (C, 1, 1), lambda C: (1, C, 1, 1), lambda C: (1,)])),
    "map": rounds("map", lambda m, x: SMOOTH[m["f"]](x), f=st.sampled_from(list(SMOOTH))),
    "softmax": rounds("softmax", lambda m, x: F.softmax(x, 1)),
    "log_softmax": rounds("log_softmax", lambda m, x: F.log_softmax(x, 1)),
    "resize": rounds("resize", lambda m, x: F.interpolate(x, size=m["size"], mode=m["mode"]),
                     size=st.tuples(*[st.sampled_from(SIDES)] * 2),
                     mode=st.sampled_from(["nearest", "nearest-exact", "bilinear"])),
    "copy": rounds("copy", lambda m, x: F.relu(x)[:, ::-1] if m.C > 1 else F.relu(x)[:, :, ::2]),
    **{name: rounds(name, two_images, activation=activations) for name in [*BINARY, "div"]},
}  # fmt: skip


def plan_as(kernel: str):
    """Plans made inside are as the test of this kernel wants them."""
    return eager_to_fuse(int(kernel[8:]) if kernel.startswith("winograd") else None)


@pytest.mark.parametrize("name", MODELS)
def test_near_the_exact_result_with_the_same_bits_however_it_runs(name: str) -> None:
    seen = set()

    @given(MODELS[name])
    def models(model: One) -> None:
        with plan_as(model.kernel):
            session, _ = check(model, model.input())
        seen.update(kernels(session))

    models()
    wanted = {"conv of groups": "conv", "cells of a mean": "window_mean"}.get(name, name)
    assert wanted in seen, f"no model had a step {wanted}, only {sorted(seen)}"


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_has_the_bits_of_its_images_alone(name: str) -> None:
    @given(MODELS[name])
    def models(model: One) -> None:
        with plan_as(model.kernel):
            check_batch(model, model.input(5))

    models()


@given(rounds("affine", norm, flat=yes_or_no, weighted=yes_or_no))
def test_a_norm_that_no_pass_folds_is_a_step(model: One) -> None:
    session, _ = check(model, model.input(), skip=["fold_batch_norm"])
    names = [seg.node.op.name for seg in session.segments if seg.plan is None]
    assert "batch_norm" not in names
    assert "affine" in kernels(session)


def test_a_norm_of_computed_numbers_runs_as_eager_does() -> None:
    def model(x: nc.Tensor) -> nc.Tensor:
        mean, var = x.mean((0, 2, 3)), F.relu(x).mean((0, 2, 3))
        return F.relu(F.batch_norm(x, mean, var))

    x = np.random.default_rng(0).standard_normal((1, 5, 4, 3)).astype("f4")
    session = nc.compile(model, x.shape)
    assert "batch_norm" in [s.node.op.name for s in session.segments if s.plan is None]
    np.testing.assert_allclose(session(x), model(nc.tensor(x)).numpy(), rtol=1e-5)
    own = nc.compile(lambda x: F.batch_norm(x, None, None, training=True), x.shape)
    assert kernels(own) == ["eager"]


def test_every_kernel_is_tested() -> None:
    """The table of steps.h has no kernel that no model here reaches."""
    text = (Path(__file__).parent.parent / "nanoconv/_kernels/steps.h").read_text("utf-8")
    named = set(re.findall(r"STEP\((\w+)\)", text)) - {"name"}
    everywhere = {"planes_to_image", "image_to_planes"}
    assert named - everywhere <= set(MODELS)


# --------------------------------------------------------------------------- weights


@given(few_or_many, few_or_many, windows, st.sampled_from([1, 1, 2, 3]))
def test_weights_are_packed_as_the_kernels_of_eager_mode_pack_them(
    C: int, O: int, kernel: tuple[int, int], G: int
) -> None:
    """packing.py tells in NumPy what the headers do a square of numbers at a time."""
    from nanoconv._kernels import depthwise_rows_cy, gemm_cy, linear_cy, tiles_cy

    rng = np.random.default_rng((C, O, *kernel, G))
    w = rng.standard_normal((G * O, C, *kernel)).astype("f4")
    each, rows = w[:, :1], np.ascontiguousarray(w[:, :, 0, 0])
    taps = np.ascontiguousarray(each[:, 0].transpose(1, 2, 0))
    vectors = machine()
    for module, given_w, sizes, expected in (
        (tiles_cy, w, (*w.shape, G), packing.dense(vectors, w, G)),
        (depthwise_rows_cy, taps, taps.shape, packing.depthwise(vectors, each)),
        (linear_cy, rows, rows.shape, packing.linear(vectors, rows)),
        (gemm_cy, rows, rows.shape, packing.matrix(vectors, rows.T)),
    ):
        packed = np.full(module.packed_size(sizes), np.nan, np.float32)
        module.pack_f32(packed, given_w, sizes)
        np.testing.assert_array_equal(packed, expected, module.__name__)


sizes = st.integers(1, 700), st.integers(1, 64)


@given(*sizes, st.sampled_from([32, 16]), st.sampled_from([4, 16]))
def test_a_panel_is_as_wide_as_takes_least_time(
    N: int, row: int, registers: int, lanes: int
) -> None:
    vectors = packing.Machine(lanes, registers)
    panel = vectors.quickest_panel(N, 100, row)
    assert panel == 3 if registers == 16 else panel in (3, 4)
    cuts = vectors.panels(N, panel)
    assert [a for a, _ in cuts[1:]] == [b for _, b in cuts[:-1]]
    assert (cuts[0][0], cuts[-1][1]) == (0, vectors.whole(N))
    assert all(0 < b - a <= panel * lanes for a, b in cuts)


def test_a_row_of_seven_pixels_is_one_tile() -> None:
    wide, narrow = packing.Machine(16, 32), packing.Machine(16, 16)
    assert [wide.quickest_panel(N, 512, 7) for N in (512, 576, 960)] == [3, 3, 3]
    assert [wide.quickest_panel(N, 512, 196) for N in (512, 576, 960)] == [4, 4, 4]
    assert wide.quickest_panel(64, 512, 28) == 4  # or it would be two panels of two
    assert narrow.quickest_panel(64, 512, 28) == 3


@pytest.mark.parametrize("side", [7, 14, 30])
@pytest.mark.parametrize("O", [64, 90, 512])
def test_panels_of_any_width_compute_the_same(O: int, side: int) -> None:
    """Each number is one chain of multiply-adds, however wide its tile."""
    x = np.random.default_rng(0).standard_normal((1, 20, side, side)).astype(np.float32)
    model = nn.Sequential(nn.Conv2d(20, O, 3, 1, 1), nn.Conv2d(O, 24, 1)).eval()
    results = []
    for panel in (2, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packing.Machine, "quickest_panel", lambda *_, panel=panel: panel)
            session = nc.compile(model, x.shape, skip=["winograd"])
        results.append(session(x))
        plans = [segment.plan for segment in session.segments]
        steps = [step for plan in plans for step in plan.steps if step.kernel == "conv"]
        assert [step.panel for step in steps] == [panel, panel]
    np.testing.assert_array_equal(*results)


# --------------------------------------------------------------------------- NaN and infinity


def test_nan_and_infinity_go_where_eager_lets_them() -> None:
    """Not for Winograd, whose tiles they fill: that has a test of its own."""
    names = [name for name in MODELS if not name.startswith("winograd")]

    @given(st.one_of([MODELS[name] for name in names]), st.data())
    def models(model: One, data: st.DataObject) -> None:
        x = model.input()
        for value in data.draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf]), max_size=3)):
            x.flat[data.draw(st.integers(0, x.size - 1))] = value
        with plan_as(model.kernel):
            session = nc.compile(model, x.shape, skip=["winograd"])
        with nc.no_grad(), nc.use("numpy"):
            expected = [t.numpy() for t in flat(model(nc.tensor(x)))]
        for y, e in zip(flat(session(x)), expected, strict=True):
            np.testing.assert_array_equal(np.isnan(y), np.isnan(e), "NaN")
            np.testing.assert_array_equal(y[np.isinf(y)], e[np.isinf(y)], "infinity")
            np.testing.assert_array_equal(y[np.isinf(e)], e[np.isinf(e)], "infinity")

    models()


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_stays_in_the_tiles_that_see_it(m: int, value: float) -> None:
    w = nc.tensor(np.random.default_rng(0).standard_normal((L, L, 3, 3)).astype("f4"))
    x = np.random.default_rng(1).standard_normal((1, L, 13, 14)).astype("f4")
    x[0, 3, 6, 5] = value
    with eager_to_fuse(m):
        session = nc.compile(lambda t: F.conv2d(t, w, padding=1), x.shape)
    assert f"winograd{m}" in kernels(session)
    y = session(x)[0]
    clean = x.copy()
    clean[0, 3, 6, 5] = 0
    reached = np.ones((13, 14), bool)
    for i in range(0, 13, m):
        for j in range(0, 14, m):
            sees = i - 1 <= 6 < i + m + 1 and j - 1 <= 5 < j + m + 1
            reached[i : i + m, j : j + m] = sees
    assert not np.isfinite(y[:, 5:8, 4:7]).any()
    same_bits(y[:, ~reached], session(clean)[0][:, ~reached], "outside of the tiles")


# --------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("C", [1, 3, 4, L, 2 * L + 1])
def test_inputs_of_any_memory_format(C: int) -> None:
    model = One("conv", C, 9, 11, lambda m, x: F.conv2d(x, m.weight(7, C, 3, 3), padding=1))
    session = nc.compile(model, (2, C, 9, 11))
    x = np.random.default_rng(0).standard_normal((2, C, 9, 11)).astype("f4")
    y = session(x)
    wide = np.repeat(x, 2, 3)
    for name, other in {
        "channels last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "every other": wide[..., ::2],
        "reversed": np.ascontiguousarray(x[..., ::-1])[..., ::-1],
        "read-only": np.frombuffer(x.tobytes(), "f4").reshape(x.shape),
        "a list": x.tolist() and np.asarray(x, order="F"),
    }.items():
        same_bits(session(other), y, name)


def test_a_stem_of_three_colours_that_several_read() -> None:
    """One reader wants a halo of 3, one of 1, one none; a fourth is no convolution."""

    def model(x: nc.Tensor) -> Any:
        rng = np.random.default_rng(0)
        ws = [nc.tensor(rng.standard_normal((9, 3, k, k)).astype("f4")) for k in (7, 3, 1)]
        return tuple(F.conv2d(x, w, None, 2, w.shape[2] // 2) for w in ws)

    x = np.random.default_rng(1).standard_normal((1, 3, 19, 23)).astype("f4")
    check(model, x)
    check(lambda t: (model(t), F.max_pool2d(t, 2), t), x)


def test_a_value_in_a_gather_and_then_in_a_concatenation() -> None:
    """What is read through one table has one pitch, also where it becomes a slice later."""
    rng = np.random.default_rng(2)
    w = [nc.tensor(rng.standard_normal(s).astype("f4")) for s in
         [(2 * L, 3, 1, 1), (L, 3, 1, 1), (5, L + 1, 3, 3), (4, 3 * L, 1, 1)]]  # fmt: skip

    def model(x: nc.Tensor) -> Any:
        a, b = F.relu(F.conv2d(x, w[0])), F.relu(F.conv2d(x, w[1]))
        some = nc.cat([a[:, :L:2], b[:, ::2], a[:, :1]], 1)
        return F.conv2d(some, w[2], padding=1), F.conv2d(nc.cat([a, b], 1), w[3])

    check(model, rng.standard_normal((1, 3, 10, 9)).astype("f4"))


@dataclass(frozen=True)
class Shuffled:
    """A depthwise convolution of a value whose channels lie in several images, and a reader."""

    C: int
    pick: Callable[[nc.Tensor], nc.Tensor]  # the value from three images side by side
    stride: int = 1
    pad: int = 1
    side: int = 3
    bias: bool = True
    act: str = "none"
    reader: str = "conv"

    def __call__(self, x: nc.Tensor) -> Any:
        rng = np.random.default_rng(self.C)

        def w(*shape: int) -> nc.Tensor:
            return nc.tensor(rng.standard_normal(shape).astype("f4"))

        parts = [F.relu(F.conv2d(x, w(self.C, 3, 1, 1))) for _ in range(3)]
        z = self.pick(nc.cat(parts, 1))
        C = z.shape[1]
        b = w(C) if self.bias else None
        y = F.conv2d(z, w(C, 1, self.side, self.side), b, self.stride, self.pad, 1, C)
        y = ACTIVATIONS[self.act](y)
        if self.reader == "output":
            return y, z
        if self.reader == "alone":
            return y
        if self.reader == "twice":
            y = F.conv2d(y, w(C, 1, 3, 3), None, 1, 1, 1, C)
        if self.reader == "sum":
            return y + F.sigmoid(y)
        return F.conv2d(y, w(7, C, 1, 1)), F.conv2d(z, w(5, C, 1, 1))


PICKS: dict[str, Callable[[nc.Tensor], nc.Tensor]] = {
    "all": lambda t: F.channel_shuffle(t, 3),
    "first half": lambda t: F.channel_shuffle(t, 3)[:, : t.shape[1] // 2],
    "second half": lambda t: F.channel_shuffle(t, 3)[:, t.shape[1] // 2 :],
    "of one image": lambda t: t[:, 1:3],
    "reversed": lambda t: t.flip(1),
    "every other pixel": lambda t: F.channel_shuffle(t, 3)[:, :, ::2, 1::2],
}


@pytest.mark.parametrize("reader", ["conv", "twice", "output", "sum"])
@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("C", [L // 2 + 1, L, 2 * L + 3])
def test_a_depthwise_convolution_of_shuffled_images(C: int, pick: str, reader: str) -> None:
    x = np.random.default_rng(1).standard_normal((3, 3, 9, 11)).astype("f4")
    for model in (
        Shuffled(C, PICKS[pick], reader=reader),
        Shuffled(C, PICKS[pick], 2, 2, 5, False, "relu", reader),
        Shuffled(C, PICKS[pick], (1, 2), 0, 1, act="silu", reader=reader),
    ):
        session, _ = check(model, x[:1])
        check_batch(model, x)
        few = C < L and "half" in pick  # so that most lanes would be for nothing
        if reader in ("conv", "twice") and not few and pick != "every other pixel":
            assert "copy" not in kernels(session)


def test_few_channels_of_many_vectors_are_copied_before_a_depthwise_convolution() -> None:
    """All lanes of the vectors would be filtered, for one channel of each."""
    some = Shuffled(2 * L, lambda t: t[:, ::L], reader="alone")
    twice = Shuffled(L, lambda t: nc.cat([t, t.flip(1)], 1), reader="alone")
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 6)).astype("f4")
    for model in (some, twice):
        session, _ = check(model, x)
        assert kernels(session)[-3:] == ["copy", "depthwise", "image_to_planes"]


@pytest.mark.parametrize("pick", PICKS)
def test_trace_has_the_channels_of_such_a_convolution_in_their_order(pick: str) -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, 9, 11)).astype("f4")
    models = [Shuffled(L + 3, PICKS[pick], act="silu", reader=name) for name in ("conv", "alone")]
    with eager_to_fuse():
        session, alone = (nc.compile(model, x.shape) for model in models)
    same_bits(session.trace(x)["depthwise_conv2d_act"], alone(x), "traced")


def test_no_band_begins_with_a_depthwise_convolution_of_several_images() -> None:
    """Its output is whole and in order, but the rows of its input are not those of one image."""
    rng = np.random.default_rng(0)
    shapes = [(L, 3, 1, 1), (L, 3, 1, 1), (2 * L, 1, 3, 3), (5, 2 * L, 1, 1)]
    ws = [nc.tensor(rng.standard_normal(s).astype("f4")) for s in shapes]

    def model(x: nc.Tensor, two_orders: bool) -> Any:
        a, b = F.conv2d(x, ws[0]), F.conv2d(x, ws[1])
        other = nc.cat([b, a], 1) if two_orders else x  # only in one can they lie side by side
        y = F.conv2d(nc.cat([a, b], 1), ws[2], None, 1, 1, 1, 2 * L)
        return F.conv2d(y, ws[3]), other

    x = rng.standard_normal((1, 3, 12, 9)).astype("f4")
    for two_orders in (False, True):
        with eager_to_fuse():
            session, _ = check(partial(model, two_orders=two_orders), x)
        assert ("band" in kernels(session)) == (not two_orders)


@pytest.mark.parametrize("C", [L, L + 3])
@pytest.mark.parametrize("reversed_", [False, True])
def test_a_shuffle_of_a_whole_image_and_of_part_of_a_larger_one(C: int, reversed_: bool) -> None:
    """Both have the same rows and columns, but their rows are not as far apart in memory."""
    rng = np.random.default_rng(C)
    shapes = [(C, 3, 1, 1), (C, C, 1, 1), (5, 2 * C, 3, 3), (2 * C, 1, 3, 3)]
    ws = [nc.tensor(rng.standard_normal(s).astype("f4")) for s in shapes]

    def model(x: nc.Tensor) -> Any:
        a = F.relu(F.conv2d(x, ws[0]))
        parts = [F.conv2d(a, ws[1], None, 2), a[:, :, :4, :4]]
        y = F.channel_shuffle(nc.cat(parts[::-1] if reversed_ else parts, 1), 2)
        return F.conv2d(y, ws[2], padding=1), F.conv2d(y, ws[3], None, 1, 1, 1, 2 * C), y

    check(model, rng.standard_normal((1, 3, 8, 8)).astype("f4"))


@pytest.mark.parametrize("C", [1, 3, L, L + 1])
def test_a_flattened_image_is_one_with_a_halo(C: int) -> None:
    """Its memory had another image before: around it, and behind its channels, there are zeros."""
    rng = np.random.default_rng(0)
    K = 6 * C
    shapes = [(9, K, 3, 3), (K, 1, 3, 3), (K, K, 1, 1)]
    ws = [nc.tensor(rng.standard_normal(s).astype("f4")) for s in shapes]

    def model(x: nc.Tensor) -> Any:
        y = F.sigmoid(F.tanh(F.relu(x))).flatten(1)
        z = y.reshape(y.shape[0], K, 1, 1)
        both = nc.cat([F.conv2d(z, ws[2]), z], 1)
        wide = [F.conv2d(t, ws[0], padding=1) for t in (z, both[:, K:])]
        return [*wide, F.conv2d(z, ws[1], padding=1, groups=K), y]

    x = rng.standard_normal((5, C, 2, 3)).astype("f4")
    check(model, x[:1])
    check_batch(model, x)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("C", [1, 5, L])
def test_operands_of_two_ranks_meet_as_in_numpy(name: str, C: int) -> None:
    """(1, C) stands for the columns of (1, C, H, W), not for its channels, also if W is C."""
    rng = np.random.default_rng(0)
    row, image = (rng.standard_normal(s).astype("f4") for s in [(1, C), (1, C, 3, C)])
    for model in (BINARY[name], lambda a, b: F.relu(BINARY[name](b, a))):
        check(model, row, image)


@pytest.mark.parametrize("C", [2 * L - 1, 6 * L - 1, 2 * L])
def test_infinity_does_not_leak_through_lanes_that_are_no_channels(C: int) -> None:
    """∞·0 = NaN: what is behind the last channel must not meet weights of 0."""
    rng = np.random.default_rng(3)
    first, second = (
        np.abs(rng.standard_normal(s)).astype("f4") for s in [(C, 4, 1, 1), (9, C, 3, 3)]
    )

    def model(x: nc.Tensor) -> nc.Tensor:
        y = F.conv2d(x, nc.tensor(first))
        return F.conv2d(y, nc.tensor(second), padding=1)

    x = np.abs(rng.standard_normal((1, 4, 6, 5))).astype("f4")
    x[0, 1, 2, 2] = np.inf
    y = nc.compile(model, x.shape, skip=["winograd"])(x)
    assert not np.isnan(y).any()
    assert np.isinf(y[0, :, 1:4, 1:4]).all()


def test_bands_are_as_they_are_for_large_images() -> None:
    """A block of MobileNetV2 at its own size, without changing any threshold."""
    assert fusion.LEAST_HEIGHT > 1
    model = One("band", 16, 56, 56, block, (("D", 96), ("O", 24), ("window", 3), ("stride", 2),
                ("expand", True), ("stem", 0)))  # fmt: skip
    session, _ = check(model, model.input())
    assert "band" in kernels(session)


@pytest.mark.parametrize("kernel", ["conv", "winograd2", "winograd4"])
def test_panels_that_are_more_than_a_first_level_cache(kernel: str) -> None:
    """Sums over so many channels are taken in pieces, which begin where the one before ended."""
    attrs = {"O": 4 * L + 1, "padding": (1, 1, 1, 1), "bias": True, "residual": True,
             "activation": "relu", "kernel": (3, 3), "dilation": 1, "stride": 1}  # fmt: skip
    function = convolution if kernel == "conv" else winograd
    model = One(kernel, 650, 7, 6, function, tuple(attrs.items()))
    skip = ["winograd"] if kernel == "conv" else []
    with plan_as(kernel):
        session, _ = check(model, model.input(), skip=skip)
    assert kernel in kernels(session)


@pytest.mark.parametrize("stem", [3, 7])
def test_a_band_begins_with_the_planes_of_the_input(stem: int) -> None:
    model = One("band", 3, 150, 131, block, (("D", 40), ("O", 24), ("window", 3), ("stride", 1),
                ("expand", False), ("stem", stem)))  # fmt: skip
    session, _ = check(model, model.input())
    (band, *_), parts = session.segments[0].plan.drafts, ["planes_to_image", "conv", "depthwise"]
    assert [part.kernel for part in band.parts][:3] == parts
