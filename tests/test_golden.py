"""Real weights: their logits for ten photographs, as PyTorch computed them."""

import os
from pathlib import Path

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import models

pytestmark = pytest.mark.needs_data

# Weights that `nanoconv/models/weights.py` knows by the name of their file, and their builder
WEIGHTS = [
    ("mobilenet_v1_0.25_tfpad_bn", "mobilenet_v1"),
    ("mobilenet_v1_0.75_tfpad", "mobilenet_v1"),
    ("mobilenet_v2_1.0_tfpad", "mobilenet_v2"),
    ("mobilenet_v2_1.0_torchpad", "mobilenet_v2"),
    ("mobilenet_v3_small_1.0_tfpad", "mobilenet_v3_small"),
    ("shufflenet_v1_g8_1.0", "shufflenet_v1"),
    ("shufflenet_v2_x0.5_33cls", "shufflenet_v2_x0_5"),
    ("squeezenet1_0_pruned", "squeezenet1_0"),
    ("squeezenet1_1", "squeezenet1_1"),
]


@pytest.fixture(scope="module")
def data():
    if not (folder := os.environ.get("NANOCONV_DATA")):
        pytest.skip("NANOCONV_DATA names no folder of real data")
    return Path(folder)


def logits(model, pixels):
    """Of crops in bytes, (N, 224, 224, 3), prepared as the weights want them."""
    prepared = model.pretrained.preprocessing
    x = (pixels / 255 - prepared.mean) / prepared.std
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)
    with nc.no_grad():
        return model.eval()(nc.tensor(x)).numpy()


@pytest.mark.parametrize(("weights", "builder"), WEIGHTS)
def test_logits(data, weights, builder):
    model = models.builder(builder)(weights=data / "weights" / f"{weights}.npz")
    pixels = np.load(data / "golden" / "inputs_u8_nhwc_224.npz")["images"]
    expected = np.load(data / "golden" / f"{weights}_logits.npz")["logits"]
    found = logits(model, pixels)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_the_padding_of_the_weights_matters(data):
    path = data / "weights" / "mobilenet_v2_1.0_tfpad.npz"
    pixels = np.load(data / "golden" / "inputs_u8_nhwc_224.npz")["images"][:2]
    found = [
        logits(models.mobilenet_v2(weights=path, same_padding=p), pixels) for p in (False, True)
    ]
    assert np.abs(found[0] - found[1]).max() > 0.1


BIRD, CAT = 2, 3  # of CIFAR-10's classes


def test_resnet20_tells_cats_from_birds(data):
    """Five of the ten crops show what CIFAR-10 has; 7×7 of their pixels are averaged to one."""
    model = models.resnet20(weights=data / "weights" / "resnet20_cifar10.npz")
    crops = np.load(data / "golden" / "inputs_u8_nhwc_224.npz")
    pixels = crops["images"].reshape(10, 32, 7, 32, 7, 3).mean((2, 4))
    found = dict(zip(crops["files"], logits(model, pixels).argmax(1), strict=True))
    expected = {
        "coral_cat_720p.jpg": CAT,
        "coral_owl.jpg": BIRD,
        "coral_parrot.jpg": BIRD,
        "renesas_coco_bird.jpg": BIRD,
        "renesas_coco_cat.jpg": CAT,
    }
    assert {name: found[name] for name in expected} == expected
