"""Convolutions in every form that PyTorch takes them, transposed and 1-d ones, fold, padding."""

from __future__ import annotations

import numpy as np
import pytest
from harness import torch
from test_layers_nn import assert_close, pair_of_layers

import nanoconv as nc
from nanoconv import nn

F, TF = nc.functional, torch.nn.functional
RNG = np.random.default_rng(0)


def both(shapes, function, seed=0):
    """[output, gradient by each input] of function(F, *tensors) here and in PyTorch, in float64."""
    rng, results, dy = np.random.default_rng(seed), [], None
    arrays = [rng.standard_normal(shape) for shape in shapes]
    for functional, tensor in ((TF, torch.tensor), (F, nc.tensor)):
        tensors = [tensor(array, requires_grad=True) for array in arrays]
        y = function(functional, *tensors)
        if dy is None:
            dy = rng.standard_normal(tuple(y.shape))
        y.backward(tensor(dy))
        results.append([y, *(t.grad for t in tensors)])
    return results


def assert_same(shapes, function):
    theirs, ours = both(shapes, function)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, inputs=500, at_least=1.0)


# --------------------------------------------------------------------------- what PyTorch accepts


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("image", [(2, 4, 6, 5), (4, 6, 5)], ids=["batch", "image"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": (2, 1)},
        {"stride": [1, 2]},
        {"stride": [2]},
        {"stride": (1,)},
        {"padding": 1},
        {"padding": [1]},
        {"padding": (2, 1)},
        {"padding": torch.Size([0, 2])},
        {"padding": "valid", "stride": 2},
        {"padding": "same"},
        {"padding": "same", "dilation": (1, 2)},
        {"padding": "same", "groups": 2},
        {"dilation": [2, 1], "padding": [2]},
        {"groups": 2, "stride": 2, "padding": 1},
        {"groups": 4, "padding": 1},
        {"groups": 4, "padding": "same"},
    ],
    ids=str,
)
def test_conv2d_takes_what_pytorch_takes(image, kernel, options):
    weight = (8, 4 // options.get("groups", 1), *kernel)
    assert_same((image, weight, (8,)), lambda F, x, w, b: F.conv2d(x, w, b, **options))
    assert_same((image, weight), lambda F, x, w: F.conv2d(x, weight=w, **options))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("signal", [(2, 4, 9), (4, 9)], ids=str)
@pytest.mark.parametrize(
    "args",
    [
        (),
        (2,),
        ((2,), [1]),
        (1, "same"),
        (1, "same", (3,)),
        (1, "same", 1, 4),
        (3, "valid"),
        ([2], (3,), [2], 2),
    ],
    ids=str,
)
def test_conv1d_takes_what_pytorch_takes(signal, args):
    groups = args[3] if len(args) > 3 else 1
    for kernel in (3, 4):
        assert_same(
            (signal, (8, 4 // groups, kernel), (8,)),
            lambda F, x, w, b: F.conv1d(x, w, b, *args),
        )


@pytest.mark.parametrize("image", [(2, 4, 5, 3), (4, 5, 3)], ids=str)
@pytest.mark.parametrize(
    "args",
    [
        (),
        (2,),
        ([2, 3], [1], (0, 1)),
        ((3,), 0, [2], 2),
        (1, 1, 2, 4, 3),
        (2, (1, 2), 1, 4),
        ((3, 1), 0, (2, 1), 1, (1, 2)),
    ],
    ids=str,
)
def test_conv_transpose2d_takes_what_pytorch_takes(image, args):
    groups = args[3] if len(args) > 3 else 1
    for filters in (1, 3):
        assert_same(
            (image, (4, filters, 3, 4), (filters * groups,)),
            lambda F, x, w, b: F.conv_transpose2d(x, w, b, *args),
        )


@pytest.mark.parametrize("signal", [(2, 4, 5), (4, 5)], ids=str)
@pytest.mark.parametrize("args", [(), ([2], (1,), [1]), (3, 0, 2, 2), (1, 2, 1, 4, 2)], ids=str)
def test_conv_transpose1d_takes_what_pytorch_takes(signal, args):
    groups = args[3] if len(args) > 3 else 1
    assert_same(
        (signal, (4, 3, 4), (3 * groups,)),
        lambda F, x, w, b: F.conv_transpose1d(x, w, b, *args),
    )


@pytest.mark.parametrize(
    "shapes",
    [((0, 4, 5, 3), (4, 3, 2, 2)), ((1, 4, 1, 1), (4, 3, 2, 2)), ((1, 4, 1, 1), (4, 3, 1, 1))],
    ids=str,
)
def test_transposed_convolution_of_little(shapes):
    assert_same(shapes, lambda F, x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1))


@pytest.mark.parametrize("images", [(2, 3, 6, 7), (3, 6, 7), (0, 3, 6, 7)], ids=str)
@pytest.mark.parametrize("args", [(2,), ([2, 3], 2), ((3, 1), (1, 2), [1, 0], (2, 3))], ids=str)
def test_fold_and_unfold_take_what_pytorch_takes(images, args):
    assert_same((images,), lambda F, x: F.unfold(x, *args))
    columns = F.unfold(nc.zeros(*images), *args).shape
    assert_same((columns,), lambda F, x: F.fold(x, (6, 7), *args))


def test_unfold_and_a_matrix_product_are_a_convolution():
    x, w = nc.randn(2, 3, 6, 5), nc.randn(4, 3, 2, 3)
    y = w.reshape(4, 18).matmul(F.unfold(x, (2, 3), padding=1))
    expected = F.conv2d(x, w, padding=1)
    assert_close(y.reshape(*expected.shape), expected, inputs=18, at_least=10.0)


# --------------------------------------------------------------------------- padding


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_widths_along_one_axis(mode):
    """All widths from -5 to 6 on axes of 1 to 5: the same numbers, or both refuse."""
    for n in range(1, 6):
        for a in range(-5, 7):
            for b in range(-5, 7):
                left = n + min(a, 0) + min(b, 0)
                if n + a + b <= 0 or (mode == "circular" and max(a, b) > left):
                    continue  # where PyTorch reads what it writes
                x = np.arange(2.0 * n).reshape(2, n)
                try:
                    expected = TF.pad(torch.tensor(x), (a, b), mode).numpy()
                except RuntimeError:
                    with pytest.raises(ValueError, match=r"^pad: pad=\[.*\]"):
                        F.pad(nc.tensor(x), (a, b), mode)
                else:
                    assert_same(((2, n),), lambda F, x, ab=(a, b): F.pad(x, ab, mode))
                    y = F.pad(nc.tensor(x), (a, b), mode)
                    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_wide_borders(mode):
    assert_same(((2, 3, 20, 21),), lambda F, x: F.pad(x, (9, 17, 19, 1), mode))
    assert_same(((2, 3, 20, 21),), lambda F, x: F.pad(x, (-2, 8, 12, -3), mode))


def test_circular_goes_round_more_than_once_what_is_left():
    x = nc.tensor([[1.0, 2, 3, 4, 5]], requires_grad=True)
    y = F.pad(x, (4, -3), "circular")
    assert y.tolist() == [[1, 2, 1, 2, 1, 2]]
    y.sum().backward()
    assert x.grad.tolist() == [[3, 3, 0, 0, 0]]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_keeps_channels_last_and_integers(mode):
    x = nc.randn(2, 3, 4, 5).contiguous("channels_last")
    assert F.pad(x, (1, 2, -1, 1), mode).is_contiguous("channels_last")
    whole = F.pad(nc.arange(4).reshape(1, 4), (1, 1), mode)
    assert whole.dtype == np.int64
    assert whole.tolist() == TF.pad(torch.arange(4).reshape(1, 4), (1, 1), mode).tolist()


# --------------------------------------------------------------------------- errors

X, S = nc.ones(2, 4, 5, 6), nc.ones(2, 4, 6)
W, V = nc.ones(4, 3, 3, 2), nc.ones(4, 3, 3)
ERRORS = [
    (lambda: F.conv_transpose2d(X, nc.ones(5, 3, 3, 3)), r"weight \[5, 3, 3, 3\] does not fit 4"),
    (lambda: F.conv_transpose2d(X, nc.ones(4, 0, 3, 3)), "without an empty axis"),
    (lambda: F.conv_transpose2d(X, V), r"conv_transpose2d: expected input \(N, C, H, W\)"),
    (lambda: F.conv_transpose2d(X[0, 0], W), "conv_transpose2d: input has shape .* 3 or 4 axes"),
    (lambda: F.conv_transpose2d(X, W, groups=3), "groups=3 must divide the 4 input channels"),
    (lambda: F.conv_transpose2d(X, W, groups=0), "groups=0, expected an integer from 1 up"),
    (lambda: F.conv_transpose2d(X, W, nc.ones(4)), r"bias has shape \[4\], expected \[3\]"),
    (lambda: F.conv_transpose2d(X, W, stride=0), "conv_transpose2d: stride=0, expected"),
    (lambda: F.conv_transpose2d(X, W, padding=-1), "conv_transpose2d: padding=-1, expected"),
    (
        lambda: F.conv_transpose2d(X, W, padding="same"),
        "padding='same', expected",
    ),
    (lambda: F.conv_transpose2d(X, W, padding=(1, 1, 1, 1)), r"padding=\(1, 1, 1, 1\), expected"),
    (lambda: F.conv_transpose2d(X, W, padding=4), "padding 4, .* leave -1 pixels of output"),
    (
        lambda: F.conv_transpose2d(X, W, output_padding=1),
        "output_padding=1 of the height",
    ),
    (lambda: F.conv_transpose2d(X, W, output_padding=-1), "output_padding=-1, expected"),
    (lambda: F.conv_transpose2d(X, W, stride=2**31 - 1), "output has shape .* at most 2"),
    (lambda: F.conv_transpose2d(X[:, :, :0], W), "the input's height 0"),
    (lambda: F.conv1d(S, nc.ones(3, 5, 3)), r"conv1d: weight \[3, 5, 1, 3\] does not fit 4 input"),
    (lambda: F.conv1d(S, nc.ones(3, 4)), r"conv1d: weight has shape \[3, 4\], expected \(O, C/gr"),
    (lambda: F.conv1d(X, nc.ones(3, 4, 3)), "conv1d: input has shape .* expected 2 or 3 axes"),
    (lambda: F.conv1d(S, nc.ones(3, 4, 7)), "conv1d: a window of 7 pixels"),
    (lambda: F.conv1d(S, nc.ones(3, 4, 3), padding=(1, 2)), r"conv1d: padding=\(1, 2\), expected"),
    (lambda: F.conv1d(S, nc.ones(3, 4, 3), padding="full"), "conv1d: padding='full', expected"),
    (lambda: F.conv1d(S, nc.ones(3, 4, 3), stride=(1, 2)), r"conv1d: stride=\(1, 2\), expected"),
    (lambda: F.conv1d(S, nc.ones(3, 4, 3), nc.ones(4)), r"conv1d: bias has shape \[4\]"),
    (lambda: F.conv_transpose1d(S, W), r"conv_transpose1d: weight has shape \[4, 3, 3, 2\]"),
    (lambda: F.conv_transpose1d(S, V, padding=9), "conv_transpose1d: the input's width 6"),
    (lambda: F.unfold(X, 7), "unfold: a window of 7 pixels"),
    (lambda: F.unfold(X, 2, padding=-1), "unfold: padding=-1, expected"),
    (lambda: F.unfold(X, 2, padding="same"), "unfold: padding='same', expected"),
    (lambda: F.unfold(X, (2, 2, 2)), r"unfold: kernel_size=\(2, 2, 2\), expected"),
    (lambda: F.unfold(S[0], 2), r"unfold: input has shape \[4, 6\], expected 3 or 4 axes"),
    (lambda: F.fold(nc.ones(2, 12, 20), 5, 2), "fold: input has shape .* expected 4·4 columns"),
    (lambda: F.fold(nc.ones(2, 12, 20), (5, 6), 5), "fold: input .* multiple of the 25 taps"),
    (lambda: F.fold(nc.ones(2, 0, 20), (5, 6), 2), "fold: input .* multiple of the 4 taps"),
    (lambda: F.fold(nc.ones(2, 12, 20), (0, 6), 2), r"fold: output_size=\(0, 6\), expected"),
    (lambda: F.fold(nc.ones(20), (5, 6), 2), "fold: input has shape .* expected 2 or 3 axes"),
    (lambda: F.pad(S, (6, 0), "reflect"), r"pad=\[6, 0\] with mode='reflect', expected at most 5"),
    (lambda: F.pad(S, (0, 7), "circular"), "mode='circular', expected at most 6 for an axis of 6"),
    (lambda: F.pad(S, (2, -6), "circular"), "mode='circular', expected at most 0"),
    (lambda: F.pad(S[:, :, :0], (1, 0), "replicate"), "mode='replicate', expected at most 0"),
    (lambda: F.pad(S, (1, 1), "edge"), "pad: mode='edge', expected one of 'constant', 'reflect'"),
    (lambda: F.pad(X, (1, 1), "reflect"), r"pad=\[1, 1\] and an input of shape \[2, 4, 5, 6\]"),
    (lambda: F.pad(S, (1, 1), "reflect", 2.0), r"pad: value=2\.0 with mode='reflect'"),
    (lambda: F.pad(S, (2**30,) * 4), r"pad: with pad=\[.* at most 2\*\*40"),
    (lambda: nn.ConvTranspose2d(4, 3, 3, padding="same"), "ConvTranspose2d: padding='same'"),
    (lambda: nn.ConvTranspose2d(4, 3, 3, padding_mode="reflect"), "padding_mode='reflect'"),
    (lambda: nn.ConvTranspose2d(4, 3, 3, groups=4), "groups=4 must divide the 3 output channels"),
    (lambda: nn.ConvTranspose2d(4, 3, 3, 2)(X, (13, 14)), r"output_size=\[13, 14\], expected \[11"),
    (lambda: nn.ConvTranspose2d(4, 3, 3, 2)(X, (12,)), r"output_size=\[12\], expected"),
    (lambda: nn.Conv1d(4, 3, (3, 3)), r"Conv1d: kernel_size=\(3, 3\), expected"),
    (lambda: nn.Conv1d(4, 3, 3, padding="full"), "Conv1d: padding='full', expected"),
    (lambda: nn.Conv1d(4, 3, 3, padding_mode="edge"), "Conv1d: padding_mode='edge', expected one"),
    (lambda: nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding=\(1, 2\), expected an integer or 4"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.conv_transpose2d(x, W),
        lambda x: F.conv1d(x, V),
        lambda x: F.conv_transpose1d(x, V),
        lambda x: F.unfold(x, 2),
        lambda x: F.fold(x, 2, 2),
        lambda x: F.pad(x, (1, 1)),
    ],
)
def test_only_tensors(call):
    with pytest.raises(TypeError, match="input must be a nanoconv Tensor, got ndarray"):
        call(np.ones((2, 4, 5, 6), np.float32))


def test_dtypes_are_not_mixed():
    with pytest.raises(TypeError, match="conv_transpose2d: weight is float64 but input is float32"):
        F.conv_transpose2d(X, W.double())
    with pytest.raises(TypeError, match="conv1d: input is int64"):
        F.conv1d(S.long(), V)
    with pytest.raises(TypeError, match=r"pad: pad=1\.5, expected an integer"):
        F.pad(X, (1.5, 1))


# --------------------------------------------------------------------------- layers

IMAGE, SIGNAL = (2, 4, 7, 6), (2, 4, 9)
MODES = ("zeros", "reflect", "replicate", "circular")


class PadThenConvolve(torch.nn.Conv2d):
    """Four-sided padding in a mode, which PyTorch's own layer does not have."""

    def forward(self, x):
        return self._conv_forward(TF.pad(x, (2, 3, 0, 1), "circular"), self.weight, self.bias)


def four_sides(lib):
    if lib is nn:
        return nn.Conv2d(4, 3, 3, padding=(0, 1, 2, 3), padding_mode="circular")
    return PadThenConvolve(4, 3, 3)


LAYERS = {
    **{
        f"{mode} {padding} {shape}": (
            lambda lib, options={"padding": padding, "padding_mode": mode}: lib.Conv2d(
                4, 6, (3, 2), **options
            ),
            shape,
        )
        for mode in MODES
        for padding in ((2, 1), "same", "valid", 0)
        for shape in (IMAGE, IMAGE[1:])
    },
    **{
        f"1-d {mode} {padding} {shape}": (
            lambda lib, options={"padding": padding, "padding_mode": mode}: lib.Conv1d(
                4, 6, 4, dilation=2, groups=2, **options
            ),
            shape,
        )
        for mode in MODES
        for padding in (3, "same", "valid")
        for shape in (SIGNAL, SIGNAL[1:])
    },
    "1-d of everything": (lambda lib: lib.Conv1d(4, 8, 3, (2,), (1,), [1], 4, False), SIGNAL),
    "transposed": (lambda lib: lib.ConvTranspose2d(4, 3, 3), IMAGE),
    "transposed image": (lambda lib: lib.ConvTranspose2d(4, 3, 4, 2, 1), IMAGE[1:]),
    "transposed of everything": (
        lambda lib: lib.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, 2),
        IMAGE,
    ),
    "transposed depthwise": (lambda lib: lib.ConvTranspose2d(4, 4, 4, 2, 1, groups=4), IMAGE),
    "transposed 1-d": (lambda lib: lib.ConvTranspose1d(4, 3, 3), SIGNAL),
    "transposed 1-d of everything": (
        lambda lib: lib.ConvTranspose1d(4, 6, (3,), 2, 1, [1], 2, False, 2, "zeros"),
        SIGNAL[1:],
    ),
    "unfold": (lambda lib: lib.Unfold(3), IMAGE),
    "unfold of everything": (lambda lib: lib.Unfold((3, 2), 2, (1, 0), 2), IMAGE[1:]),
    "fold": (lambda lib: lib.Fold((4, 5), (2, 1), padding=1), (2, 6, 35)),
    **{
        f"{kind}{axes} {padding}": (
            lambda lib, kind=kind, axes=axes, padding=padding: getattr(lib, f"{kind}{axes}d")(
                padding, *([0.5] if kind == "ConstantPad" else [])
            ),
            SIGNAL if axes == 1 else IMAGE,
        )
        for kind in ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")
        for axes in (1, 2)
        for padding in (2, (1, -2, 3, 0)[: 2 * axes])
    },
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("make", "shape"), [*LAYERS.values(), (four_sides, IMAGE)], ids=[*LAYERS, "four sides"]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_layers_equal_pytorch(make, shape, dtype):
    ours, theirs = pair_of_layers(make, dtype)
    x = np.random.default_rng(1).normal(size=shape).astype(dtype)
    inputs = int(np.prod(shape)) + sum(p.numel() for p in theirs.parameters())
    a, b = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ya, yb = ours(a), theirs(b)
    assert_close(ya, yb, inputs)
    dy = np.random.default_rng(2).normal(size=yb.shape).astype(dtype)
    ya.backward(nc.tensor(dy))
    yb.backward(torch.tensor(dy))
    for p, q in [(a, b), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
        assert_close(p.grad, q.grad, inputs, at_least=np.abs(dy).max())


@pytest.mark.parametrize("make", [make for make, _ in LAYERS.values()], ids=LAYERS)
def test_reprs_and_state_dicts_are_pytorchs(make):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    state, expected = ours.state_dict(), theirs.state_dict()
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    assert {name: value.shape for name, value in state.items()} == shapes


@pytest.mark.parametrize("size", [(13, 12), [14, 12], (2, 3, 13, 13), (15, 11)])
def test_output_size_says_which_size_is_meant(size):
    def make(lib):
        return lib.ConvTranspose2d(4, 3, 3, (2, 2), 1)

    ours, theirs = pair_of_layers(make, np.float64)
    x = RNG.normal(size=IMAGE)
    try:
        expected = theirs(torch.tensor(x), size)
    except ValueError:
        with pytest.raises(ValueError, match="ConvTranspose2d: output_size="):
            ours(nc.tensor(x), size)
    else:
        assert_close(ours(nc.tensor(x), size), expected, inputs=200)
    signal = nn.ConvTranspose1d(4, 3, 3, 2)
    assert signal(nc.zeros(2, 4, 5), output_size=[12]).shape == (2, 3, 12)


def test_initial_values_have_pytorchs_range():
    """Uniform on ±1/√fan_in, where a transposed layer's fan_in counts its output channels."""
    for make, fan in [
        (lambda: nn.ConvTranspose2d(64, 16, 4, groups=2), 8 * 16),
        (lambda: nn.Conv1d(64, 16, 4, groups=2), 32 * 4),
    ]:
        nc.manual_seed(0)
        weight = make().weight.detach().numpy()
        assert np.abs(weight).max() <= 1 / np.sqrt(fan)
        assert np.abs(weight).max() > 0.95 / np.sqrt(fan)


def test_same_padding_in_a_mode_with_a_stride():
    """TensorFlow's rule for how much, as with zeros; what is there is the mode's."""
    layer = nn.Conv2d(1, 1, 4, stride=3, padding="same", padding_mode="replicate", bias=False)
    x = nc.randn(1, 1, 7, 8)
    y = F.conv2d(F.pad(x, (1, 2, 1, 2), "replicate"), layer.weight, stride=3)
    assert layer(x).shape == (1, 1, 3, 3)
    assert layer(x).tolist() == y.tolist()
