"""Group, instance, layer and RMS norm, LRN, standardised filters: what the table does not show.

Running statistics, layers beside PyTorch's, inputs without numbers or variance, accuracy far from
zero, the number of threads, and errors.
"""

import numpy as np
import pytest
from harness import installed_rungs, threads, torch

import nanoconv as nc
from nanoconv.ops import groupnorm, layernorm, local_response_norm

F, TF = nc.functional, torch.nn.functional
EPS = float(np.finfo(np.float32).eps)
RUNGS = installed_rungs(layernorm.ROWS)
GROUP_RUNGS = installed_rungs(groupnorm.FORWARD)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# --------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("rung", GROUP_RUNGS)
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 7), (2, 5, 3, 4)])
def test_running_statistics_of_instances(rung, shape):
    """After some batches they are PyTorch's, unbiased by image, in the same arrays."""
    ours = nc.zeros(5), nc.ones(5)
    theirs = torch.zeros(5), torch.ones(5)
    for k, momentum in enumerate((0.1, 0.5, 1.0, 0.0, 0.01)):
        x = normal(*shape, seed=k)
        with nc.use(rung):
            F.instance_norm(nc.tensor(x), *ours, momentum=momentum)
        TF.instance_norm(torch.tensor(x), *theirs, momentum=momentum)
    for statistic, expected in zip(ours, theirs, strict=True):
        bound = 2 * 5 * x.size * EPS * (1 + np.abs(expected.numpy()))
        assert (np.abs(statistic.numpy() - expected.numpy()) <= bound).all()


def test_either_statistic_of_instances_alone_is_updated():
    x, mean, var = nc.tensor([[[1.0, 3.0]]]), nc.zeros(1), nc.ones(1)
    F.instance_norm(x, mean, None, momentum=0.5)
    F.instance_norm(x, None, var, momentum=0.5)
    assert (mean.tolist(), var.tolist()) == ([1.0], [1.5])


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("D", [1, 5, 31, 32, 33, 512, 513, 2000])
def test_rows_far_from_zero(rung, D):
    """|mean| is 10⁴ standard deviations: E[x²] − E[x]² would have no correct digit."""
    x = 1000 + np.float32(0.1) * normal(3, D)
    exact = x.astype(np.float64)
    w, b = np.ones(D, np.float32), np.zeros(D, np.float32)
    with nc.use(rung):
        _, mean, invstd = layernorm.ROWS(x, w, b, 1e-5, True)
    assert (np.abs(mean - exact.mean(1)) <= 2 * D * EPS * np.abs(exact.mean(1))).all()
    delta = 2 * np.sqrt(D) * EPS * np.abs(exact).max()
    var = 1 / invstd.astype(np.float64) ** 2 - 1e-5
    allowed = delta**2 + 4 * (D + 2) * EPS * (exact.var(1) + 1e-5)
    assert (np.abs(var - exact.var(1)) <= allowed).all()


@pytest.mark.parametrize("rung", GROUP_RUNGS)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("G", "M"), [(1, 9), (2, 20), (6, 700)])
def test_groups_far_from_zero(rung, last, G, M):
    """As above, in either memory format."""
    x = 1000 + np.float32(0.1) * normal(2, 6, M)
    exact = x.astype(np.float64).reshape(2, G, -1)
    if last:
        x = x.transpose(0, 2, 1).copy().transpose(0, 2, 1)
    w, b = np.ones(6, np.float32), np.zeros(6, np.float32)
    with nc.use(rung):
        _, mean, var, invstd = groupnorm.FORWARD(x, w, b, 1e-5, G)
    D = exact.shape[2]
    delta = 2 * np.sqrt(D) * EPS * np.abs(exact).max()
    assert (np.abs(mean - exact.mean(2)) <= delta).all()
    assert (np.abs(var - exact.var(2)) <= delta**2 + 4 * (D + 2) * EPS * exact.var(2)).all()
    np.testing.assert_allclose(invstd, 1 / np.sqrt(var.astype(np.float64) + 1e-5), rtol=4 * EPS)


@pytest.mark.parametrize("rung", RUNGS)
def test_infinite_and_missing_numbers_stay_in_their_row(rung):
    x = normal(4, 37)
    x[0, 3], x[1, 36], x[2, 0] = np.inf, -np.inf, np.nan
    with nc.use(rung):
        y = F.layer_norm(nc.tensor(x), [37]).numpy()
    expected = TF.layer_norm(torch.tensor(x), [37]).numpy()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("rung", GROUP_RUNGS)
@pytest.mark.parametrize("pixels", [1, 2, 17])
def test_infinite_and_missing_numbers_stay_in_their_group(rung, pixels):
    x = normal(4, 6, 37 * pixels)
    x[0, 3, 5], x[1, 5, 36], x[2, 0, 0] = np.inf, -np.inf, np.nan
    for y in (x, x.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
        with nc.use(rung):
            y = F.group_norm(nc.from_numpy(y), 2).numpy()
        expected = TF.group_norm(torch.tensor(x), 2).numpy()
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


@pytest.mark.parametrize("rung", GROUP_RUNGS)
@pytest.mark.parametrize("shape", [(2, 6, 4, 4), (2, 6, 3, 3)])
def test_images_come_out_in_the_format_they_came_in(rung, shape):
    """Large planes as they are; small ones are copied into rows, which are quicker."""
    x, w = nc.tensor(normal(*shape)), np.ones(6, np.float32)
    with nc.use(rung):
        for function in (lambda x: F.group_norm(x, 3), lambda x: F.instance_norm(x)):
            y = function(x.contiguous(memory_format=nc.channels_last))
            np.testing.assert_allclose(y.numpy(), function(x).numpy(), rtol=0, atol=64 * EPS)
            assert y.is_contiguous(memory_format=nc.channels_last) or not rung.endswith("fused")
        y, *statistics = groupnorm.FORWARD(x.numpy(), w, w, 1e-5, 3)
    assert y.flags.c_contiguous or (shape[2] == 3 and rung.endswith("fused"))
    assert [s.shape for s in statistics] == [(2, 3)] * 3


# --------------------------------------------------------------------------- nothing, too little


@pytest.mark.parametrize("rung", dict.fromkeys((*RUNGS, *GROUP_RUNGS)))
@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (0, 4), (0, 4, 2, 2)])
def test_nothing_is_normalised_to_nothing(rung, shape):
    for function in (
        lambda x, w: F.group_norm(x, 2, w, w),
        lambda x, w: F.instance_norm(x, weight=w, bias=w) if x.ndim > 2 else x * 1,
        lambda x, w: F.layer_norm(x, x.shape[1:]),
        lambda x, w: F.rms_norm(x, x.shape[1:]),
        lambda x, w: F.local_response_norm(x, 3) if x.ndim > 2 else x * 1,
    ):
        x, w = nc.zeros(*shape, requires_grad=True), nc.ones(4, requires_grad=True)
        with nc.use(rung):
            y = function(x, w)
            y.sum().backward()
        assert y.shape == x.grad.shape == shape
        assert w.grad is None or w.grad.tolist() == [0.0] * 4


def test_an_empty_batch_leaves_the_running_statistics():
    mean, var = nc.zeros(4), nc.ones(4)
    F.instance_norm(nc.zeros(0, 4, 3), mean, var)
    assert (mean.tolist(), var.tolist()) == ([0.0] * 4, [1.0] * 4)


def test_groups_of_one_number():
    """PyTorch refuses one such value per group, and takes two images of them."""
    with pytest.raises(ValueError, match=r"group_norm: input \[1, 4\] has one value per group"):
        F.group_norm(nc.ones(1, 4), 4)
    y = F.group_norm(nc.tensor(normal(2, 4)), 4, nc.ones(4), nc.ones(4))
    assert np.abs(y.numpy() - 1).max() <= 1e-3  # 0 times 1/√ε, and ε·|x| of rounding
    assert F.layer_norm(nc.tensor(normal(3, 1)), [1]).tolist() == [[0.0]] * 3


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (1, 3, 1, 1)])
def test_instances_of_one_pixel_have_no_variance(shape):
    with pytest.raises(ValueError, match=r"instance_norm: .* has one pixel per image"):
        F.instance_norm(nc.ones(*shape))
    y = F.instance_norm(nc.ones(*shape), nc.zeros(3), nc.ones(3), use_input_stats=False)
    assert y.shape == shape


@pytest.mark.parametrize("rung", installed_rungs(local_response_norm.FORWARD))
@pytest.mark.parametrize("beta", [0.75, 2.0])
def test_windows_wider_than_all_channels(rung, beta):
    x = normal(2, 3, 2)
    with nc.use(rung):
        y = F.local_response_norm(nc.tensor(x), 9, alpha=0.5, beta=beta).numpy()
    expected = TF.local_response_norm(torch.tensor(x), 9, alpha=0.5, beta=beta).numpy()
    assert np.abs(y - expected).max() <= 2 * 20 * EPS * np.abs(x).max()


# --------------------------------------------------------------------------- threads


@pytest.mark.parametrize(
    "run",
    [
        lambda x: F.group_norm(x, 8),
        lambda x: F.group_norm(x[:1], 8),
        lambda x: F.instance_norm(x),
        lambda x: F.group_norm(x.contiguous(memory_format=nc.channels_last), 8),
        lambda x: F.group_norm(x[:1].contiguous(memory_format=nc.channels_last), 8),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.batch_norm(
            x.contiguous(memory_format=nc.channels_last), None, None, None, None, True
        ),
        lambda x: F.batch_norm(x, nc.zeros(64), nc.ones(64)),
        lambda x: F.layer_norm(x, x.shape[-1:], nc.ones(40, requires_grad=True)),
        lambda x: F.layer_norm(x, x.shape[1:]),
        lambda x: F.local_response_norm(x, 5),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(run):
    """Of inputs large enough to be shared among them."""
    results = []
    for n in (1, 2, 3, 7):
        x = nc.tensor(normal(3, 64, 40, 40), requires_grad=True)
        with threads(n):
            y = run(x)
            y.backward(nc.tensor(normal(*y.shape, seed=1)))
        results.append((y.detach().numpy(), x.grad.numpy()))
    for result in results[1:]:
        for first, again in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(first, again)


# --------------------------------------------------------------------------- layers


def layer_norm_2d(lib):
    if lib is nc.nn:
        return lib.LayerNorm2d(4)

    class LayerNorm2d(torch.nn.LayerNorm):  # torchvision's
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return LayerNorm2d(4)


IMAGE = (3, 4, 5, 6)
LAYERS = [
    (lambda lib: lib.GroupNorm(2, 4), IMAGE),
    (lambda lib: lib.GroupNorm(1, 4, 0.1, affine=False), (3, 4, 7)),
    (lambda lib: lib.GroupNorm(2, 4, bias=False), IMAGE),
    (lambda lib: lib.InstanceNorm2d(4), IMAGE),
    (lambda lib: lib.InstanceNorm2d(4, affine=True, track_running_stats=True), IMAGE),
    (lambda lib: lib.InstanceNorm2d(4, 0.1, None, True, True, bias=False), IMAGE),
    (lambda lib: lib.InstanceNorm2d(4, affine=True), IMAGE[1:]),
    (lambda lib: lib.InstanceNorm1d(4, momentum=0.5, track_running_stats=True), IMAGE[:3]),
    (lambda lib: lib.InstanceNorm1d(4, affine=True), (4, 9)),
    (lambda lib: lib.LayerNorm(6), IMAGE),
    (lambda lib: lib.LayerNorm((5, 6), 0.1, bias=False), IMAGE),
    (lambda lib: lib.LayerNorm([4, 5, 6], elementwise_affine=False), IMAGE),
    (layer_norm_2d, IMAGE),
    (lambda lib: lib.RMSNorm(6), IMAGE),
    (lambda lib: lib.RMSNorm((5, 6), 1e-3, False), IMAGE),
    (lambda lib: lib.LocalResponseNorm(3), IMAGE),
    (lambda lib: lib.LocalResponseNorm(2, 0.5, 0.6, 2.0), IMAGE),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=lambda p: None)
@pytest.mark.parametrize("training", [True, False])
def test_layers_equal_pytorch(make, shape, training):
    ours, theirs = (make(lib).double().train(training) for lib in (nc.nn, torch.nn))
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.5)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    for seed in range(2):
        x = normal(*shape, seed=seed).astype(np.float64)
        a, b = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ya, yb = ours(a), theirs(b)
        dy = normal(*yb.shape, seed=9).astype(np.float64)
        ours.zero_grad()
        theirs.zero_grad()
        ya.backward(nc.tensor(dy))
        yb.backward(torch.tensor(dy))
        results = [(ya.detach().numpy(), yb.detach().numpy())]
        for p, q in [(a, b), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
            results.append((p.grad.numpy(), q.grad.numpy()))
        for name, value in theirs.state_dict().items():
            results.append((np.asarray(ours.state_dict()[name]), value.numpy()))
        for result, expected in results:
            np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


def test_layer_norm_2d_keeps_channels_last_memory():
    x = nc.tensor(normal(*IMAGE)).contiguous(memory_format=nc.channels_last)
    assert nc.nn.LayerNorm2d(4)(x).is_contiguous(memory_format=nc.channels_last)


def test_convolution_with_standardised_filters():
    layer = nc.nn.StdConv2d(3, 4, 3, padding=1, groups=1, bias=False)
    assert repr(layer) == (
        "StdConv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False, eps=1e-05)"
    )
    x = nc.tensor(normal(2, 3, 5, 5))
    w = layer.weight.detach().numpy().astype(np.float64)
    mean, var = (getattr(w, of)((1, 2, 3), keepdims=True) for of in ("mean", "var"))
    filters = nc.tensor(((w - mean) / np.sqrt(var + 1e-5)).astype(np.float32))
    y, expected = layer(x).detach().numpy(), F.conv2d(x, filters, padding=1).numpy()
    assert np.abs(y - expected).max() <= 2 * 2 * 27 * EPS * np.abs(expected).max()
    layer(x).sum().backward()
    # Moving a filter, or stretching it (but for ε), changes nothing: the gradient is across both.
    gradient = layer.weight.grad.numpy().astype(np.float64)
    size = np.abs(gradient).max() * np.abs(w).max()
    assert np.abs(gradient.sum((1, 2, 3))).max() <= 1e-3 * np.abs(gradient).max()
    assert np.abs((gradient * (w - mean)).sum((1, 2, 3))).max() <= 1e-2 * size


# --------------------------------------------------------------------------- normalize


@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, np.inf])
@pytest.mark.parametrize("dim", [0, 1, (0, 1), (-1, 0)])
def test_normalize_of_any_norm(p, dim):
    """Also of a vector of zeros, and of one shorter than eps."""
    x = normal(3, 4, 2).astype(np.float64)
    x[1] = 0
    x[:, :, 1] *= 1e-3
    results = []
    for library, functional in ((nc, F), (torch, TF)):
        t = library.tensor(x, requires_grad=True)
        y = functional.normalize(t, p=p, dim=dim, eps=1e-2)
        y.backward(library.tensor(x[::-1].copy()))
        results.append((y.detach().numpy(), t.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


# --------------------------------------------------------------------------- errors

X = nc.ones(2, 4, 3)
ERRORS = [
    (lambda: F.group_norm(nc.ones(4), 2), r"group_norm: input has shape \[4\]"),
    (lambda: F.group_norm(X, 3), "group_norm: num_groups=3, expected .* divides the 4 channels"),
    (lambda: F.group_norm(X, 0), "group_norm: num_groups=0"),
    (lambda: F.group_norm(X, 1.5), "group_norm: num_groups=1.5"),
    (lambda: F.group_norm(X, 2, nc.ones(2)), r"group_norm: weight has shape \[2\], expected \[4\]"),
    (lambda: F.group_norm(X, 2, eps=-1), "group_norm: eps=-1 must not be negative"),
    (lambda: F.instance_norm(nc.ones(4)), r"instance_norm: input has shape \[4\]"),
    (lambda: F.instance_norm(X, bias=nc.ones(3)), "instance_norm: bias has shape"),
    (lambda: F.instance_norm(X, use_input_stats=False), "running_mean and running_var are needed"),
    (lambda: F.layer_norm(X, [4]), r"layer_norm: input has shape \[2, 4, 3\], .* to be \[4\]"),
    (lambda: F.layer_norm(X, []), r"layer_norm: normalized_shape=\[\]"),
    (lambda: F.layer_norm(X, 3), "layer_norm: normalized_shape=3"),
    (lambda: F.layer_norm(X, [3], nc.ones(4)), r"layer_norm: weight has shape \[4\]"),
    (lambda: F.layer_norm(X, [5, 2, 4, 3]), "layer_norm: input has shape"),
    (lambda: F.rms_norm(X, [3], nc.ones(1)), r"rms_norm: weight has shape \[1\]"),
    (lambda: F.rms_norm(X, [3], eps=-1.0), "rms_norm: eps=-1.0"),
    (lambda: F.local_response_norm(nc.ones(2, 3), 2), r"local_response_norm: input has shape"),
    (lambda: F.local_response_norm(X, 0), "local_response_norm: size=0"),
    (lambda: F.local_response_norm(X, 2, alpha=np.inf), "local_response_norm: alpha=inf"),
    (lambda: F.weight_standardization(nc.ones(3)), "weight_standardization: weight has shape"),
    (lambda: F.weight_standardization(X, eps=-1), "weight_standardization: eps=-1"),
    (lambda: F.normalize(X, p=0), "normalize: p=0 must be positive"),
    (lambda: F.normalize(X, dim=3), "normalize: dim=3"),
    (lambda: nc.nn.GroupNorm(3, 4), "GroupNorm: num_groups=3 must divide num_channels=4"),
    (lambda: nc.nn.GroupNorm(2, 4)(nc.ones(1, 6, 2)), "GroupNorm: input has shape"),
    (lambda: nc.nn.InstanceNorm2d(4)(nc.ones(2, 4)), "InstanceNorm2d: .* expected 3 or 4 axes"),
    (lambda: nc.nn.LayerNorm2d(4)(X), "LayerNorm2d: input has shape"),
    (lambda: nc.nn.LayerNorm((0,)), "LayerNorm: normalized_shape=0"),
    (lambda: nc.nn.LocalResponseNorm(0), "LocalResponseNorm: size=0"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_clear_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.group_norm(X.long(), 2), "group_norm: input is int64"),
        (lambda: F.layer_norm(X, [3], nc.ones(3).double()), "weight is float64 but input"),
        (lambda: F.local_response_norm(X, 2.5), "local_response_norm: size=2.5"),
        (lambda: F.normalize([1.0]), "normalize: input must be a nanoconv Tensor"),
        (lambda: F.weight_standardization(None), "weight must be a nanoconv Tensor"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("rung", installed_rungs(local_response_norm.FORWARD))
@pytest.mark.parametrize("size", [7, 8, 1000])
def test_channels_that_a_window_has_beyond_the_ends_are_counted(rung, size):
    """They add nothing but to the divisor; all windows of more taps than 2C − 1 are alike."""
    values = normal(2, 4, 3)
    x, t = nc.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    with nc.use(rung):
        y = F.local_response_norm(x, size, 2.0)
        y.sum().backward()
    expected = TF.local_response_norm(t, size, 2.0)
    expected.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=100 * EPS)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=100 * EPS, atol=100 * EPS)


def test_a_gigantic_window_normalises_nothing_and_takes_no_memory():
    x = nc.tensor(normal(1, 3, 2))
    assert F.local_response_norm(x, 2**40).tolist() == x.tolist()


@pytest.mark.parametrize("rung", installed_rungs(local_response_norm.FORWARD))
def test_local_response_norm_of_infinite_denominators(rung):
    """d = −∞: its powers are +∞ for PyTorch, of other negative numbers NaN."""
    values = np.array([[[1.0], [1e30], [2.0], [0.5], [0.1]]], np.float32)
    with np.errstate(all="ignore"), nc.use(rung):
        y = F.local_response_norm(nc.tensor(values), 2, alpha=-1.0, k=1.0)
    expected = TF.local_response_norm(torch.tensor(values), 2, alpha=-1.0, k=1.0)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=100 * EPS)
