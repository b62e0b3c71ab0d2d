"""Whole networks: what a session computes is what eager computes, and the photographs stay what
they are."""

import os
from pathlib import Path

import numpy as np
import pytest
from model_table import MORE, NETS
from sessions import kernels, same_bits, with_threads
from test_evaluate import EIGHT
from test_golden import WEIGHTS

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.classify import load_classifier
from nanoconv.evaluate import find_examples

pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")

# Of the slow ones smaller images, whose layers are the same but for their pixels.
SMALLER = {"resnet34": 64, "resnet50": 64, "vgg11": 32, "vgg11_bn": 32, "vgg16": 32, "vgg16_bn": 32,
           "resnet18": 96, "squeezenet1_0": 96, "grouped_cnn": 96}  # fmt: skip
FEW_PIXELS = ("vgg11", "vgg11_bn", "vgg16_bn", "resnet34")  # beside their larger or smaller kin
ALL = [net for net in (*NETS, *MORE) if net.builder not in FEW_PIXELS]


def with_statistics(model: nn.Module, seed: int) -> nn.Module:
    """Batch norms as after training: means and variances are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            C = module.num_features
            module.running_mean.data[...] = 0.2 * rng.standard_normal(C)
            module.running_var.data[...] = rng.uniform(0.5, 2, C)
            module.weight.data[...] = rng.uniform(0.5, 1.5, C)
            module.bias.data[...] = 0.2 * rng.standard_normal(C)
    return model.eval()


def assert_close_to_eager(model: nn.Module, x: np.ndarray) -> nc.Session:
    """Logits within 1e-4 relative, and the same bits from one thread and two."""
    session = nc.compile(model, x.shape, threads=2)
    assert "eager" not in kernels(session)
    with nc.no_grad():
        expected = model(nc.tensor(x)).numpy()
    y = session(x)
    assert np.abs(y - expected).max() <= 1e-4 * np.abs(expected).max()
    with with_threads(1):
        same_bits(session(x), y, "one thread")
    return session


@pytest.mark.parametrize("net", ALL, ids=str)
def test_logits_of_every_net(net) -> None:
    nc.manual_seed(5)
    model = with_statistics(models.builder(net.builder)(**net.arguments), 6)
    size = SMALLER.get(net.builder, net.size)
    x = np.random.default_rng(7).standard_normal((1, 3, size, size)).astype(np.float32)
    assert_close_to_eager(model, x)


@pytest.fixture(scope="module")
def data() -> Path:
    if not (folder := os.environ.get("NANOCONV_DATA")):
        pytest.skip("NANOCONV_DATA names no folder of real data")
    return Path(folder)


@pytest.mark.needs_data
@pytest.mark.parametrize(("weights", "builder"), WEIGHTS)
def test_golden_logits(data: Path, weights: str, builder: str) -> None:
    """The logits that PyTorch computed of ten photographs."""
    model = models.builder(builder)(weights=data / "weights" / f"{weights}.npz").eval()
    with np.load(data / "golden" / "inputs_u8_nhwc_224.npz") as file:
        pixels = file["images"]
    prepared = model.pretrained.preprocessing
    x = (pixels / 255 - prepared.mean) / prepared.std
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)
    with np.load(data / "golden" / f"{weights}_logits.npz") as file:
        expected = file["logits"]
    found = nc.compile(model, x.shape)(x)
    assert np.abs(found - expected).max() <= 1e-3
    assert (found.argmax(1) == expected.argmax(1)).all()


@pytest.mark.needs_data
@pytest.mark.parametrize("weights", EIGHT)
def test_photographs_are_taken_for_the_same_as_in_eager(data: Path, weights: str) -> None:
    from PIL import Image

    classifier = load_classifier(weights=str(data / "weights" / f"{weights}.npz"))
    paths = [example.path for example in find_examples(data / "imagenet_sample")]
    pixels = [classifier.preprocessing.pixels(Image.open(path).convert("RGB")) for path in paths]
    x = classifier.preprocessing.normalise(pixels)
    assert len(x) == 100
    session = nc.compile(classifier.model, x.shape, dynamic_batch=True)
    with nc.no_grad():
        expected = np.concatenate(
            [classifier.model(nc.tensor(part)).numpy() for part in np.split(x, 20)]
        )
    np.testing.assert_array_equal(session(x).argmax(1), expected.argmax(1))
