"""Losses beyond the table: what is ignored, what is infinite, and which targets are none."""

import numpy as np
import pytest
from harness import torch

import nanoconv as nc

F, TF = nc.functional, torch.nn.functional
nan, inf = np.nan, np.inf


def both(name, x, target, weight=None, **attrs):
    """(loss, gradient) of nanoconv and of PyTorch, from float64 scores."""
    ours, theirs = nc.tensor(np.array(x), requires_grad=True), torch.tensor(x, dtype=torch.double)
    theirs.requires_grad = True
    weights = (None, None)
    if weight is not None:
        weights = nc.tensor(np.array(weight)), torch.tensor(weight, dtype=torch.double)
    y = getattr(F, name)(ours, nc.tensor(target), weights[0], **attrs)
    expected = getattr(TF, name)(theirs, torch.tensor(target), weights[1], **attrs)
    y.backward(np.ones(y.shape))
    expected.backward(torch.ones_like(expected))
    return (
        (y.detach().numpy(), ours.grad.numpy()),
        (expected.detach().numpy(), theirs.grad.numpy()),
    )


@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("x", "target"),
    [
        ([[1.0, 2.0], [3.0, 0.5]], [-100, -100]),  # all ignored: the mean over nothing is NaN
        ([[1.0, nan], [3.0, 0.5]], [-100, 1]),  # what is ignored cannot spoil the rest
        ([[1.0, inf], [3.0, 0.5]], [-100, 1]),
        ([[1.0, -inf], [3.0, 0.5]], [0, 1]),  # impossible, and not the right class
        ([[1.0, -inf], [3.0, 0.5]], [1, 1]),  # impossible, and true
        ([[1.0, nan], [3.0, 0.5]], [0, 1]),
        ([[1e4, -1e4], [800.0, 700.0]], [1, 0]),  # e^x would overflow
    ],
)
def test_special_values(name, reduction, x, target):
    ours, theirs = both(name, x, target, reduction=reduction)
    for result, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-14)


@pytest.mark.parametrize("attrs", [{"ignore_index": 2}, {"ignore_index": -1}, {}])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_weights_smoothing_and_ignored_together(attrs, reduction, smoothing):
    """Which parts of the sum the weights and the ignored examples enter is easily got wrong."""
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).tolist()
    target = [[0, 2], [1, 1], [2, 0], [0, 1]]
    if attrs.get("ignore_index") == -1:
        target[0] = [-1, -1]
    attrs = {**attrs, "reduction": reduction, "label_smoothing": smoothing}
    ours, theirs = both("cross_entropy", x, target, [0.5, 2.0, 0.0], **attrs)
    for result, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-16)


def test_smoothing_with_an_impossible_class_is_infinite():
    (loss, _), (expected, _) = both("cross_entropy", [[1.0, -inf, 2.0]], [0], label_smoothing=0.1)
    assert loss == expected == inf


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_empty_batch(reduction):
    x, target = nc.zeros(0, 3, requires_grad=True), nc.zeros(0).long()
    loss = F.cross_entropy(x, target, reduction=reduction)
    expected = TF.cross_entropy(torch.zeros(0, 3), torch.zeros(0).long(), reduction=reduction)
    np.testing.assert_array_equal(loss.detach().numpy(), expected.numpy())
    loss.sum().backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integer_targets(dtype):
    x = nc.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert F.nll_loss(x, nc.tensor(np.array([1, 0], dtype))).item() == -1.5


def test_probabilities_that_are_certain_are_classes():
    x = nc.tensor(np.random.default_rng(0).standard_normal((4, 3)))
    target = np.array([2, 0, 1, 1])
    certain = nc.tensor(np.eye(3)[target])
    for attrs in ({}, {"label_smoothing": 0.2}, {"reduction": "sum"}):
        a = F.cross_entropy(x, nc.tensor(target), **attrs).item()
        b = F.cross_entropy(x, certain, **attrs).item()
        assert a == pytest.approx(b, rel=1e-14)


def test_gradient_by_probabilities():
    rng = np.random.default_rng(0)
    x, q = (nc.tensor(rng.random((4, 3)), requires_grad=True) for _ in range(2))
    assert nc.gradcheck(lambda x, q: F.cross_entropy(x, q, label_smoothing=0.1), (x, q))


@pytest.mark.parametrize(
    ("target", "attrs", "error", "message"),
    [
        ([0, 3], {}, ValueError, "target 3 is not one of the 3 classes"),
        ([0, -1], {}, ValueError, "target -1 is not one of the 3 classes"),
        ([0, 1, 2], {}, ValueError, r"target has shape \[3\], expected \[2\]"),
        ([[0, 1]], {}, ValueError, r"target has shape \[1, 2\], expected \[2\]"),
        ([True, False], {}, TypeError, "target is bool, expected integers"),
        ([0, 1], {"reduction": "avg"}, ValueError, "reduction='avg'"),
        ([0, 1], {"weight": nc.ones(2)}, ValueError, "one for each of the 3 classes"),
        ([0, 1], {"weight": nc.ones(3, requires_grad=True)}, ValueError, "weight must not require"),
        ([0, 1], {"weight": nc.ones(3).double()}, TypeError, "weight is float64"),
    ],
)
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
def test_bad_arguments(name, target, attrs, error, message):
    with pytest.raises(error, match=f"{name}: .*{message}"):
        getattr(F, name)(nc.zeros(2, 3), nc.tensor(target), **attrs)


@pytest.mark.parametrize(
    ("x", "target", "attrs", "error", "message"),
    [
        (nc.zeros(2, 3), nc.tensor([0, 1]), {"label_smoothing": 1.5}, ValueError, "smoothing=1.5"),
        (nc.zeros(2, 3), nc.tensor([0, 1]), {"label_smoothing": -0.1}, ValueError, "expected 0 to"),
        (nc.zeros(2, 3), nc.zeros(2), {}, ValueError, "expected probabilities"),
        (nc.zeros(2, 3), nc.zeros(2, 3).double(), {}, TypeError, "target is float64 but input is"),
        (nc.zeros(2, 3), nc.zeros(2, 3), {"ignore_index": 1}, ValueError, "does not go with"),
        (nc.zeros(2, 0), nc.tensor([0, 1]), {}, ValueError, "C > 0"),
        (nc.zeros(2, 3).long(), nc.tensor([0, 1]), {}, TypeError, "input is int64"),
        (nc.zeros(2, 3), [0, 1], {}, TypeError, "target must be a nanoconv Tensor, got list"),
    ],
)
def test_bad_cross_entropy(x, target, attrs, error, message):
    with pytest.raises(error, match=f"cross_entropy: .*{message}"):
        F.cross_entropy(x, target, **attrs)


# --------------------------------------------------------------------------- losses of numbers


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("MSELoss", {}),
        ("MSELoss", {"reduction": "none"}),
        ("L1Loss", {"reduction": "sum"}),
        ("SmoothL1Loss", {"beta": 0.3}),
        ("HuberLoss", {"delta": 0.2}),
        ("KLDivLoss", {"reduction": "batchmean"}),
        ("KLDivLoss", {"reduction": "sum", "log_target": True}),
        ("BCELoss", {}),
        ("BCELoss", {"weight": [0.5, 2.0, 1.0]}),
        ("BCEWithLogitsLoss", {"pos_weight": [0.5, 2.0, 1.0], "weight": [1.0, 0.0, 3.0]}),
    ],
)
def test_layers_equal_pytorch(name, attrs):
    rng = np.random.default_rng(3)
    x, t = rng.uniform(0.1, 0.9, (2, 5, 3))
    results = []
    for library in (nc, torch):
        arguments = {k: library.tensor(v) if isinstance(v, list) else v for k, v in attrs.items()}
        layer = getattr(library.nn, name)(**arguments).double()
        score = library.tensor(x, requires_grad=True)
        loss = layer(score, library.tensor(t))
        loss.sum().backward()
        results.append((loss.detach().numpy(), score.grad.numpy(), sorted(layer.state_dict())))
    for ours, theirs in zip(*results, strict=True):
        if isinstance(ours, list):
            assert ours == theirs
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_nll_layer():
    x = nc.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    weight = nc.tensor([1.0, 3.0])
    loss = nc.nn.NLLLoss(weight, ignore_index=7)(x, nc.tensor([1, 0]))
    assert loss.item() == (3 * 2 + 3) / 4


def test_extreme_scores_and_probabilities():
    """Where a logarithm or an exponential by itself would be infinite; as in PyTorch."""
    for name, values in (
        ("binary_cross_entropy", [0.0, 1.0, 0.0, 1.0, 1e-38]),
        ("binary_cross_entropy_with_logits", [-1e30, 1e30, 1e30, -1e30, 200.0]),
    ):
        answers = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
        ours, theirs = both(name, values, answers, reduction="none")
        for result, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-80)  # 1e-12 in float32


def test_a_perfect_and_an_empty_comparison():
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        loss = getattr(F, name)(x, x.detach())
        assert loss.item() == 0
        x.grad = None
        loss.backward()
        assert x.grad.tolist() == [0, 0]
        assert np.isnan(getattr(F, name)(nc.zeros(0), nc.zeros(0)).item())
    zero = nc.tensor([0.0])
    assert F.kl_div(nc.tensor([-1.0]), zero).item() == 0  # 0·log 0


def gradients(functional, package, name, values, answers, **attrs):
    """(loss, gradient by input, gradient by target), of PyTorch or of nanoconv, as arrays."""
    x, t = (package.tensor(np.array(v), requires_grad=True) for v in (values, answers))
    y = getattr(functional, name)(x, t, reduction="sum", **attrs)
    y.backward()
    return [np.array(result.detach().numpy()) for result in (y, x.grad, t.grad)]


@pytest.mark.parametrize("x", [0.0, 1.0, 0.5, 1e-60, 1e-300])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_gradient_of_binary_cross_entropy_by_its_target(x, t):
    ours = gradients(F, nc, "binary_cross_entropy", [x], [t])
    theirs = gradients(TF, torch, "binary_cross_entropy", [x], [t])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)  # its least divisor is 1e-12 in float32


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("x", [0.0, -1.0, inf, -inf, nan])
@pytest.mark.parametrize("t", [0.0, -0.0, 0.5, -1.0, inf, -inf, nan])
def test_kl_div_of_every_kind_of_number(x, t, log_target):
    with np.errstate(all="ignore"):
        ours = gradients(F, nc, "kl_div", x, t, log_target=log_target)
    theirs = gradients(TF, torch, "kl_div", x, t, log_target=log_target)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_kl_div_of_a_scalar_has_a_batchmean():
    loss = F.kl_div(nc.tensor(-1.0), nc.tensor(0.5), reduction="batchmean")
    expected = TF.kl_div(torch.tensor(-1.0), torch.tensor(0.5), reduction="batchmean")
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_cross_entropy_of_probabilities_has_a_gradient_by_weight(shape, reduction):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape), rng.random(shape), rng.random(3)
    ours, theirs = ([p.tensor(v, requires_grad=True) for v in values] for p in (nc, torch))
    for functional, tensors in ((F, ours), (TF, theirs)):
        loss = functional.cross_entropy(*tensors, reduction=reduction, label_smoothing=0.1)
        loss.backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-15)


X, T, INTEGERS = nc.zeros(2, 3), nc.ones(2, 3), nc.tensor([1, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.mse_loss(X, nc.ones(3)), ValueError, r"mse_loss: target has shape \[3\]"),
        (lambda: F.l1_loss(X, T.double()), TypeError, "l1_loss: target is float64 but input is"),
        (lambda: F.mse_loss(INTEGERS, INTEGERS), TypeError, "mse_loss: input is int64"),
        (lambda: F.mse_loss(X, T, reduction="avg"), ValueError, "mse_loss: reduction='avg'"),
        (lambda: F.mse_loss(X, T, reduction="batchmean"), ValueError, "reduction='batchmean'"),
        (lambda: F.smooth_l1_loss(X, T, beta=-1), ValueError, "smooth_l1_loss: beta=-1"),
        (lambda: F.smooth_l1_loss(X, T, beta=np.inf), ValueError, "smooth_l1_loss: beta=inf"),
        (lambda: F.huber_loss(X, T, delta=0), ValueError, "huber_loss: delta=0"),
        (lambda: F.huber_loss(X, T, delta=np.inf), ValueError, "huber_loss: delta=inf"),
        (lambda: F.huber_loss(X, T, delta=nan), ValueError, "huber_loss: delta=nan"),
        (lambda: F.binary_cross_entropy(X - 1, T), ValueError, r"outside of \[0, 1\]"),
        (lambda: F.binary_cross_entropy(X * nan, T), ValueError, r"outside of \[0, 1\]"),
        (lambda: F.binary_cross_entropy(X, T + 0.5), ValueError, "entropy: target has values out"),
        (lambda: F.binary_cross_entropy(X, -T), ValueError, "target has values outside"),
        (lambda: F.binary_cross_entropy(X, T * nan), ValueError, "target has values outside"),
        (
            lambda: F.binary_cross_entropy(X, T, nc.ones(2)),
            ValueError,
            r"binary_cross_entropy: weight has shape \[2\]",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(X, T, pos_weight=nc.ones(4, 2, 3)),
            ValueError,
            r"pos_weight has shape \[4, 2, 3\]",
        ),
        (
            lambda: F.binary_cross_entropy(X, T, nc.ones(3, requires_grad=True)),
            ValueError,
            "weight must not require a gradient",
        ),
        (lambda: F.mse_loss(X, T, weight=nc.ones(3)), ValueError, r"mse_loss: weight has shape"),
        (lambda: F.huber_loss(X, T, weight=T.double()), TypeError, "huber_loss: weight is float64"),
        (lambda: F.mse_loss(X, T, size_average=True), TypeError, "size_average"),
        (lambda: F.sigmoid_focal_loss(X, nc.ones(3)), ValueError, "focal_loss: targets has shape"),
        (lambda: F.sigmoid_focal_loss(X, INTEGERS), TypeError, "focal_loss: targets is int64"),
        (lambda: F.sigmoid_focal_loss(X, T, gamma=-1), ValueError, "gamma=-1 must not be negative"),
        (lambda: F.sigmoid_focal_loss(X, T, alpha=2), ValueError, "alpha=2, expected 0 to 1"),
        (lambda: F.dice_loss(nc.ones(3), nc.ones(3)), ValueError, "dice_loss: input has shape"),
        (lambda: F.dice_loss(X, nc.ones(2)), ValueError, "dice_loss: target has shape"),
        (lambda: F.dice_loss(X, INTEGERS + 1), ValueError, "target 3 is not one of the 3 classes"),
        (lambda: F.dice_loss(X, T, smooth=-1), ValueError, "dice_loss: smooth=-1"),
        (lambda: F.dice_loss(X, T, activation="tanh"), ValueError, "activation='tanh', expected"),
        (lambda: F.dice_loss(X, T, reduction="all"), ValueError, "dice_loss: reduction='all'"),
        (lambda: F.cosine_similarity(X, nc.ones(2, 2)), ValueError, "does not broadcast with"),
        (lambda: F.cosine_similarity(X, T, dim=2), ValueError, "cosine_similarity: dim=2"),
        (lambda: F.cosine_similarity(X, T, eps=-1), ValueError, "cosine_similarity: eps=-1"),
        (
            lambda: F.cosine_embedding_loss(X, nc.ones(3), nc.ones(2)),
            ValueError,
            r"cosine_embedding_loss: inputs have shapes \[2, 3\] and \[3\]",
        ),
        (
            lambda: F.cosine_embedding_loss(X, T, nc.ones(3)),
            ValueError,
            r"cosine_embedding_loss: target has shape \[3\], expected \[2\]",
        ),
        (lambda: F.cosine_embedding_loss(X, T, INTEGERS), ValueError, "values other than 1 and -1"),
        (lambda: F.cosine_embedding_loss(X, T, [1, 1]), TypeError, "target must be a nanoconv"),
        (
            lambda: F.cosine_embedding_loss(X, T, nc.ones(2), reduction="all"),
            ValueError,
            "cosine_embedding_loss: reduction='all'",
        ),
        (lambda: nc.nn.FocalLoss(reduction="all"), ValueError, "FocalLoss: reduction='all'"),
        (lambda: nc.nn.MSELoss(reduction="all"), ValueError, "MSELoss: reduction='all'"),
        (lambda: nc.nn.KLDivLoss(reduction="all"), ValueError, "KLDivLoss: reduction='all'"),
    ],
)
def test_clear_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --------------------------------------------------------------------------- by combination


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.0]])
@pytest.mark.parametrize("ignore_index", [-100, 1, -3])
@pytest.mark.parametrize("every", [False, True])
def test_nll_loss_of_images(reduction, weight, ignore_index, every):
    """(N, C, H, W), each pixel with a class, some or all of them ignored."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, 4, 3, 5)), rng.integers(0, 4, (2, 3, 5))
    target[0, 1] = ignore_index
    if every:
        target[...] = ignore_index
    (ours, theirs) = both(
        "nll_loss",
        x.tolist(),
        target.tolist(),
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    for result, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("weight", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_weight_for_each_number(name, weight, reduction):
    """Of weights 0 the weighted mean is NaN."""
    results = []
    for library, functional in ((nc, F), (torch, TF)):
        x, t, w = (
            library.tensor(np.array(v, np.float64), requires_grad=True)
            for v in ([1.0, 2.0, -5.0], [0.0, 2.5, 1.0], weight)
        )
        loss = getattr(functional, name)(x, t, reduction=reduction, weight=w)
        loss.sum().backward()
        results.append([a.detach().numpy() for a in (loss, x.grad, t.grad, w.grad)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_short_and_missing_vectors_have_a_cosine():
    """Below eps, and 0, where the gradient is PyTorch's too."""
    a = np.array([[0.0, 0.0], [1e-10, 2e-10], [3.0, 4.0], [3.0, 4.0]])
    b = np.array([[1.0, 2.0], [1.0, 1.0], [0.0, 0.0], [4.0, 3.0]])
    for name, more in (("cosine_similarity", ()), ("cosine_embedding_loss", ([1, 1, -1, -1],))):
        results = []
        for library, functional in ((nc, F), (torch, TF)):
            x, y = (library.tensor(v, requires_grad=True) for v in (a, b))
            loss = getattr(functional, name)(x, y, *map(library.tensor, more))
            loss.sum().backward()
            results.append((loss.detach().numpy(), x.grad.numpy(), y.grad.numpy()))
        for ours, theirs in zip(*results, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_focal_loss_of_extreme_scores():
    x = nc.tensor([-1e4, 1e4, 1e4, -1e4], requires_grad=True)
    loss = F.sigmoid_focal_loss(x, nc.tensor([0.0, 1.0, 0.0, 1.0]))
    assert loss.tolist() == [0.0, 0.0, 7500.0, 2500.0]
    loss.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.75, -0.25]
    plain = F.sigmoid_focal_loss(x, nc.tensor([0.0, 1.0, 0.0, 1.0]), alpha=-1, gamma=0)
    assert plain.tolist() == [0.0, 0.0, 1e4, 1e4]


def test_dice_loss_of_classes():
    """Classes are probabilities that are certain; where nothing is, smoothing says that all is."""
    target = nc.tensor([[0, 2, 1], [1, 1, 1]])
    x = nc.tensor(np.random.default_rng(0).standard_normal((2, 3, 3)))
    certain = nc.tensor(np.eye(3)[target.numpy()].transpose(0, 2, 1).copy())
    for activation in (None, "softmax", "sigmoid"):
        ours = F.dice_loss(x, target, activation=activation)
        assert ours.item() == F.dice_loss(x, certain, activation=activation).item()
    assert F.dice_loss(certain, target, smooth=0.5).item() == 0
    assert F.dice_loss(nc.zeros(1, 1, 4), nc.zeros(1, 1, 4)).item() == 0
    assert np.isnan(F.dice_loss(nc.zeros(1, 1, 4), nc.zeros(1, 1, 4), smooth=0.0).item())


def test_layers_of_the_later_losses():
    rng = np.random.default_rng(0)
    x, t = (nc.tensor(rng.random((4, 3))) for _ in range(2))
    sign, nn = nc.tensor([1, -1, 1, -1]), nc.nn
    for ours, expected in (
        (nn.FocalLoss(0.5, 1.0)(x, t), F.sigmoid_focal_loss(x, t, 0.5, 1.0, "mean")),
        (nn.DiceLoss(2.0, "sum", "softmax")(x, t), F.dice_loss(x, t, 2.0, "sum", "softmax")),
        (nn.CosineSimilarity(0, 1e-3)(x, t), F.cosine_similarity(x, t, 0, 1e-3)),
        (
            nn.CosineEmbeddingLoss(0.2, reduction="sum")(x, t, sign),
            F.cosine_embedding_loss(x, t, sign, 0.2, reduction="sum"),
        ),
    ):
        assert ours.tolist() == expected.tolist()
    for name in ("CosineSimilarity", "CosineEmbeddingLoss"):
        assert repr(getattr(nn, name)()) == repr(getattr(torch.nn, name)())
