"""Bad input: a clear error before anything is computed, or what PyTorch gives; never a crash.

NaN and Inf, read-only, strided, reversed and overlapping arrays go through every op × rung in
`test_ops.py`; targets and reductions of the losses through `test_losses.py`.
"""

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv.ops import activations, conv2d, depthwise_conv2d

F, TF = nc.functional, torch.nn.functional
HUGE = 2**31 - 1
RTOL = 2 * 64 * float(np.finfo(np.float32).eps)  # sums of at most 64 terms, all positive


def ones(*shape):
    return nc.ones(*shape)


# --------------------------------------------------------------------------- clear errors

X = ones(1, 4, 5, 5)
ERRORS = [
    # shapes that do not fit
    (lambda: F.conv2d(X, ones(2, 3, 1, 1)), r"conv2d: weight \[2, 3, 1, 1\] does not fit 4 input"),
    (lambda: F.conv2d(X, ones(2, 4, 1)), r"conv2d: expected input \(N, C, H, W\) and weight"),
    (lambda: F.conv2d(ones(5, 5), ones(2, 4, 1, 1)), r"conv2d: input has shape \[5, 5\]"),
    (lambda: F.conv2d(ones(1, 1, 4, 5, 5), ones(2, 4, 1, 1)), "expected 3 or 4 axes"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), ones(3)), r"bias has shape \[3\], expected \[2\]"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), ones(1)), r"bias has shape \[1\], expected \[2\]"),
    (lambda: F.conv2d(X, ones(2, 4, 6, 1)), "a window of 6 pixels .* height 5 padded by 0 and 0"),
    (lambda: F.conv2d(X, ones(0, 4, 1, 1)), "without an empty axis"),
    (lambda: F.conv2d(ones(1, 0, 5, 5), ones(2, 0, 1, 1)), "does not fit 0 input channels"),
    (lambda: F.conv2d(X, ones(2, 4, 0, 1)), "without an empty axis"),
    (lambda: F.depthwise_conv2d(X, ones(6, 1, 3, 3)), r"expected \(a multiple of 4, 1, KH, KW\)"),
    (lambda: F.depthwise_conv2d(X, ones(4, 2, 3, 3)), "depthwise_conv2d: weight"),
    (lambda: F.linear(ones(2, 3), ones(4, 2)), r"linear: expected input \(…, C\) and weight"),
    (lambda: F.linear(ones(2, 3), ones(3)), r"linear: .* got \[2, 3\] and \[3\]"),
    (lambda: F.linear(nc.tensor(1.0), ones(2, 1)), r"linear: .* got \[\] and \[2, 1\]"),
    (lambda: F.linear(ones(2, 3), ones(4, 3), ones(3)), r"bias has shape \[3\], expected \[4\]"),
    (lambda: F.max_pool2d(ones(5, 5), 2), r"max_pool2d: input has shape \[5, 5\]"),
    (lambda: F.avg_pool2d(ones(5, 5), 2), r"avg_pool2d: input has shape \[5, 5\]"),
    (lambda: F.adaptive_avg_pool2d(ones(5), 2), "adaptive_avg_pool2d: input has shape"),
    (lambda: F.batch_norm(ones(5), ones(5), ones(5)), r"batch_norm: input has shape \[5\]"),
    (lambda: F.batch_norm(X, ones(3), ones(4)), r"running_mean has shape \[3\], expected \[4\]"),
    (lambda: F.batch_norm(X, ones(4), ones(4), ones(5)), r"weight has shape \[5\], expected \[4\]"),
    (lambda: F.channel_shuffle(ones(2, 4), 2), r"channel_shuffle: input has shape \[2, 4\]"),
    (lambda: F.softmax(ones(2, 3), 2), "softmax: dim=2"),
    (lambda: F.log_softmax(ones(2, 3), -3), "log_softmax: dim=-3"),
    (lambda: F.im2col(ones(4, 5, 5), 2), r"im2col: expected input \(N, C, H, W\)"),
    (lambda: F.col2im(ones(1, 5, 5, 1, 1, 1, 4), (6, 5), 1), r"expected \[1, 6, 5, 1, 1, 1, 4\]"),
    (lambda: F.col2im(ones(1, 5, 5), 5, 1), "col2im: input has shape"),
    # groups that do not divide
    (lambda: F.conv2d(X, ones(2, 1, 1, 1), groups=3), "groups=3 must divide the 4 input channels"),
    (lambda: F.conv2d(X, ones(3, 2, 1, 1), groups=2), "groups=2 must divide the 3 output channels"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), groups=0), "groups=0, expected an integer from 1 up"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), groups=-1), "groups=-1, expected an integer from 1 up"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), groups=1.0), "groups=1.0, expected an integer"),
    (lambda: F.channel_shuffle(X, 3), "channel_shuffle: groups=3 must divide the 4 input channels"),
    (lambda: F.channel_shuffle(X, 0), "channel_shuffle: groups=0"),
    (lambda: F.im2col(X, 2, groups=3), "im2col: groups=3 must divide"),
    # negative, absurd and gigantic windows
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride=0), "conv2d: stride=0, expected .* from 1 up"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride=-1), "conv2d: stride=-1, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride=1.5), "conv2d: stride=1.5, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride=(1, 2, 3)), r"conv2d: stride=\(1, 2, 3\)"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride=2**31), "conv2d: stride=2147483648"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), stride="2"), "conv2d: stride='2'"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=-1), "conv2d: padding=-1, expected .* negative"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=(1, 2, 3)), r"padding=\(1, 2, 3\), expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding="full"), "padding='full', expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=2**31), "padding=2147483648"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), dilation=0), "conv2d: dilation=0, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 2, 2), dilation=HUGE), "a window of 2147483648 pixels"),
    (lambda: F.max_pool2d(X, 0), "max_pool2d: kernel_size=0"),
    (lambda: F.max_pool2d(X, 2, stride=0), "max_pool2d: stride=0"),
    (lambda: F.max_pool2d(X, 2, padding=2), "padding=2 must be at most half of kernel_size=2"),
    (lambda: F.max_pool2d(X, 2, dilation=HUGE), "max_pool2d: a window of 2147483648 pixels"),
    (lambda: F.max_pool2d(X, HUGE), "max_pool2d: a window of 2147483647 pixels"),
    (lambda: F.avg_pool2d(X, (2, 2, 2)), r"avg_pool2d: kernel_size=\(2, 2, 2\)"),
    (lambda: F.avg_pool2d(X, 3, padding=-1), "avg_pool2d: padding=-1"),
    (lambda: F.avg_pool2d(X, 6), "avg_pool2d: a window of 6 pixels"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0), "divisor_override=0, expected an integer"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0.5), "divisor_override=0.5, expected an integer"),
    (lambda: F.adaptive_avg_pool2d(X, -1), "adaptive_avg_pool2d: output_size=-1, expected"),
    (lambda: F.max_pool2d(X, 2**62), "kernel_size=4611686018427387904, .* up to 2147483647"),
    (lambda: F.max_pool1d(X[0], 2**31), "kernel_size=2147483648, .* up to 2147483647"),
    (lambda: F.conv1d(X[0], ones(4, 4, 1), stride=2**31), "stride=2147483648, .* up to 2147483647"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=2**32), "padding=4294967296, .* 2147483647"),
    (lambda: F.batch_norm(X, ones(4), ones(4), eps=float("nan")), "batch_norm: eps=nan must not"),
    (lambda: X.flip(2, 7), "flip: dim=7 in dims, expected -4 to 3"),
    (lambda: X.flip(0, 0), r"flip: dim=\(0, 0\) in dims names an axis twice"),
    (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), r"output_size=\(1, 2, 3\)"),
    (lambda: F.batch_norm(X, ones(4), ones(4), eps=-1.0), "batch_norm: eps=-1.0 must not be negat"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=1.0), "conv2d: padding=1.0, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=(1.0, 1)), r"padding=\(1.0, 1\), expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=np.ones(2, int)), "padding=array.*, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding={1}), r"padding=\{1\}, expected"),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=None), "padding=None, expected"),
    # outputs that no memory could hold
    (
        lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=2**30),
        r"conv2d: with padding=.* at most 2\*\*40",
    ),
    (lambda: F.conv2d(X, ones(2, 4, 1, 1), padding=2**20), r"output has shape \[1, 2, 2097157, 20"),
    (lambda: F.depthwise_conv2d(X, ones(4, 1, 1, 1), padding=2**20), "depthwise_conv2d: with padd"),
    (lambda: F.im2col(X, 1, padding=2**20), r"im2col: with padding=.* at most 2\*\*40"),
    (lambda: F.adaptive_avg_pool2d(X, 2**20), r"adaptive_avg_pool2d: with output_size=\(1048576, "),
    (lambda: F.avg_pool2d(ones(1).expand(1, 1, 2**21, 2**20), 1), "avg_pool2d: with kernel_size="),
    (lambda: F.max_pool2d(ones(1).expand(1, 1, 2**21, 2**20), 1), "max_pool2d: with kernel_size="),
    # images without pixels
    (lambda: F.conv2d(ones(1, 4, 0, 5), ones(2, 4, 1, 1)), "does not fit .* height 0"),
    (lambda: F.conv2d(ones(1, 4, 0, 5), ones(2, 4, 1, 1), padding=1), "does not fit .* height 0"),
    (lambda: F.depthwise_conv2d(ones(1, 4, 5, 0), ones(4, 1, 1, 1)), "does not fit .* width 0"),
    (lambda: F.max_pool2d(ones(1, 4, 0, 5), 1), "does not fit .* height 0"),
    (lambda: F.avg_pool2d(ones(1, 4, 5, 0), 2, padding=1), "does not fit .* width 0"),
    (lambda: F.adaptive_avg_pool2d(ones(1, 4, 0, 5), 1), "has no pixels"),
    (lambda: F.global_avg_pool2d(ones(1, 4, 0, 0)), "has no pixels"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_equal_argument_of_another_type_is_no_other_argument():
    """1 == 1.0 == True, and what is right does not depend on which of them came first."""
    w = ones(2, 4, 3, 3)
    for value in (1, (1, 1), [1, 1], True, np.int64(1), np.array(1), (np.int8(1), True)):
        for name in ("padding", "stride", "dilation"):
            y = F.conv2d(X, w, **{name: value})
            assert y.shape == F.conv2d(X, w, **{name: 1}).shape
            for wrong in (1.0, (1.0, 1.0), [1, 1.0], np.ones(2, int), "1"):
                with pytest.raises(ValueError, match=f"conv2d: {name}=.*, expected"):
                    F.conv2d(X, w, **{name: wrong})
    geo = conv2d.conv2d_shape(X.shape, w.shape, True, (True, True), True, 1)
    assert {type(size) for size in (*geo.sizes, geo.pb, geo.pr)} == {int}


# --------------------------------------------------------------------------- wrong types

INTS, DOUBLES = nc.ones(2, 4, 3, 3).long(), nc.ones(2, 4, 3, 3).double()
ACTIVATIONS = sorted({*activations.FORWARD, "glu", "softmin", "tanhshrink"} - {"gelu_tanh"})
EVERY_OP = [
    ("adaptive_avg_pool2d", (1,)),
    ("avg_pool2d", (2,)),
    ("batch_norm", (ones(4), ones(4))),
    ("channel_shuffle", (2,)),
    ("conv2d", (ones(2, 4, 1, 1),)),
    ("depthwise_conv2d", (ones(4, 1, 1, 1),)),
    ("dropout", (0.5,)),
    ("global_avg_pool2d", ()),
    ("im2col", (2,)),
    ("linear", (ones(2, 3),)),
    ("log_softmax", (1,)),
    ("max_pool2d", (2,)),
    ("softmax", (1,)),
    *((name, {"threshold": (0, 0), "softmin": (1,)}.get(name, ())) for name in ACTIVATIONS),
    ("prelu", (ones(4),)),
]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.pad(X, (1, 1), value="a"), "pad: value='a', expected a number"),
        (lambda: F.local_response_norm(X, 3, alpha="a"), "response_norm: alpha='a', expected a"),
    ],
)
def test_clear_type_error(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_an_image_without_channels_is_shuffled():
    x = nc.zeros(2, 0, 7, 6, requires_grad=True)
    F.channel_shuffle(x, 3).sum().backward()
    assert x.grad.shape == (2, 0, 7, 6)


@pytest.mark.parametrize(("name", "rest"), EVERY_OP, ids=[name for name, _ in EVERY_OP])
def test_what_is_no_float_tensor(name, rest):
    function = getattr(F, name)
    real = "adaptive_avg_pool2d" if name == "global_avg_pool2d" else name
    with pytest.raises(TypeError, match=f"{real}: input is int64, expected float32 or float64"):
        function(INTS, *rest)
    for value in (np.ones((2, 4, 3, 3), np.float32), [[1.0]], 1.0, None):
        with pytest.raises(TypeError, match=f"{real}: input must be a nanoconv Tensor"):
            function(value, *rest)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.conv2d(DOUBLES, ones(2, 4, 1, 1)), "weight is float32 but input is float64"),
        (lambda: F.conv2d(X, ones(2, 4, 1, 1), ones(2).double()), "bias is float64 but input is"),
        (lambda: F.conv2d(X, np.ones((2, 4, 1, 1))), "weight must be a nanoconv Tensor"),
        (lambda: F.linear(ones(2, 4), ones(2, 4).double()), "weight is float64 but input is"),
        (lambda: F.batch_norm(DOUBLES, ones(4), ones(4)), "running_mean is float32 but input is"),
        (lambda: F.softmax(ones(2), 0.5), "softmax: dim=0.5"),
        (lambda: nc.tensor(np.ones(2, np.float16)), "dtype float16 is not supported"),
        (lambda: nc.tensor(np.ones(2, ">f4")), "is not supported"),
        (lambda: nc.tensor(np.ones(2, complex)), "dtype complex128 is not supported"),
        (lambda: nc.tensor(["a"]), "is not supported"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_an_unaligned_array():
    raw = np.arange(17, dtype=np.uint8)[1:].view(np.float32)
    with pytest.raises(ValueError, match="not aligned in memory"):
        nc.from_numpy(raw)
    np.testing.assert_array_equal(nc.tensor(raw).numpy(), raw)


# --------------------------------------------------------------------------- right results

RIGHT = [
    # empty batches and channels, images of one pixel
    lambda F, t: F.conv2d(t(0, 3, 5, 5), t(2, 3, 3, 3), t(2)),
    lambda F, t: F.conv2d(t(2, 3, 1, 1), t(4, 3, 1, 1)),
    lambda F, t: F.conv2d(t(2, 3, 1, 1), t(4, 3, 3, 3), padding=1),
    lambda F, t: F.conv2d(t(3, 5, 5), t(2, 3, 3, 3)),
    lambda F, t: F.linear(t(0, 3), t(2, 3), t(2)),
    lambda F, t: F.linear(t(2, 0), t(3, 0), t(3)),
    lambda F, t: F.linear(t(2, 3), t(0, 3)),
    lambda F, t: F.linear(t(3), t(2, 3)),
    lambda F, t: F.max_pool2d(t(0, 3, 5, 5), 2),
    lambda F, t: F.avg_pool2d(t(0, 3, 5, 5), 2),
    lambda F, t: F.max_pool2d(t(3, 5, 5), 2),
    lambda F, t: F.avg_pool2d(t(2, 3, 1, 1), 2, padding=1),
    lambda F, t: F.adaptive_avg_pool2d(t(0, 3, 5, 5), 2),
    lambda F, t: F.adaptive_avg_pool2d(t(2, 3, 1, 1), 4),
    lambda F, t: F.batch_norm(t(0, 3, 2, 2), None, None, training=True),
    lambda F, t: F.batch_norm(t(2, 3), t(3), t(3)),
    lambda F, t: F.channel_shuffle(t(0, 4, 2, 2), 2),
    lambda F, t: F.channel_shuffle(t(2, 4, 0), 2),
    lambda F, t: F.softmax(t(2, 0), 1),
    lambda F, t: F.log_softmax(t(0, 2), 1),
    lambda F, t: F.relu(t(0)),
    lambda F, t: F.hardswish(t(0, 4, 2, 2)),
    # numbers that are absurd and yet fit
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 1, 1), stride=10**9),
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 1, 1), dilation=HUGE),
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 3, 1), dilation=(1, HUGE)),
    lambda F, t: F.max_pool2d(t(1, 3, 5, 5), 1, dilation=10**9),
    lambda F, t: F.max_pool2d(t(1, 3, 5, 5), 2, 10**9, ceil_mode=True),
    lambda F, t: F.avg_pool2d(t(1, 3, 5, 5), 4000, 1, 2000),
    # other forms of the arguments
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 3, 3), stride=[2, 1], padding=[1, 0]),
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 3, 3), stride=(2,), padding=(1,)),
    lambda F, t: F.max_pool2d(t(1, 3, 5, 5), (2,), (1,)),
    lambda F, t: F.conv2d(t(1, 3, 5, 5), t(2, 3, 3, 3), stride=np.int64(2)),
]


@pytest.mark.parametrize("rung", ["simd", "cython", "numba", "numpy"])
def test_what_pytorch_gives(rung):
    """Value and gradient by the first argument."""
    for number, call in enumerate(RIGHT):
        leaves = []

        def make(*shape, library, leaves=leaves):
            array = np.random.default_rng(len(shape)).random(shape, np.float32) + 1
            tensor = nc.tensor(array) if library is nc else torch.tensor(array)
            leaves.append(tensor.requires_grad_(not leaves))
            return tensor

        with nc.use(rung):
            leaves.clear()
            y = call(F, lambda *shape: make(*shape, library=nc))
            y.sum().backward()
            gradient = leaves[0].grad.numpy()
        leaves.clear()
        expected = call(TF, lambda *shape: make(*shape, library=torch))
        expected.sum().backward()
        assert y.shape == tuple(expected.shape), number
        for ours, theirs in ((y.detach().numpy(), expected.detach()), (gradient, leaves[0].grad)):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=RTOL, err_msg=str(number))


@pytest.mark.parametrize("ladder", [conv2d.FORWARD, depthwise_conv2d.FORWARD])
def test_gigantic_dilation_and_padding(ladder):
    """Only the corners of each window meet the image; the reference would need 10¹³ zeros."""
    groups = 3 if ladder is depthwise_conv2d.FORWARD else 1
    x, w = (np.random.default_rng(n).random((3, 3, n, n), np.float32) for n in (4, 2))
    w = w[:, : 3 // groups]
    args = {"stride": 10**6, "padding": 10**6, "dilation": 10**6, "groups": groups}
    expected = TF.conv2d(torch.tensor(x), torch.tensor(w), **args).numpy()
    geo = conv2d.conv2d_shape(x.shape, w.shape, **args)
    for rung in installed_rungs(ladder):
        if rung != "numpy" and ladder.supports(rung, x, w, None, geo):
            y = ladder.run(rung, x, w, None, geo)
            np.testing.assert_allclose(y, expected, rtol=RTOL, err_msg=rung)
    with nc.use("numpy"), pytest.raises(MemoryError, match="padding makes the image"):
        F.conv2d(nc.tensor(x), nc.tensor(w), **args)
