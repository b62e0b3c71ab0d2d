"""Builders: weights by name or from a file, what they say about a network, and what is refused."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.data.preprocessing import Preprocessing


def same(model, state):
    own = model.state_dict()
    return own.keys() == state.keys() and all((own[k] == a).all() for k, a in state.items())


def test_the_registry():
    names = models.names()
    assert names == sorted(names)
    assert {"mobilenet_v2", "lightweight_cnn"} < set(names) < set(models.__all__)
    assert models.__all__ == sorted(models.__all__)
    assert all(models.builder(name) is getattr(models, name) for name in names)
    assert all(models.builder(name).__name__ == name for name in names)
    with pytest.raises(ValueError, match=r"no network 'mobilenetv2'; did you mean 'mobilenet_v2'"):
        models.builder("mobilenetv2")
    for name in ("builder", "digits", "names", "x"):
        with pytest.raises(ValueError, match=f"no network '{name}'; expected one of grouped_cnn, "):
            models.builder(name)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_file_of_ones_own(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    state = models.mobilenet_v2(width_mult=0.1, num_classes=7).state_dict()
    if suffix == ".npz":
        np.savez(path, **state)
    else:
        nc.save(state, path)
    for weights in (path, str(path)):  # the classes are those of the file
        model = models.mobilenet_v2(weights=weights, width_mult=0.1)
        assert same(model, state)
        assert model.pretrained is None
    assert models.mobilenet_v2(width_mult=0.1).pretrained is None
    same_padding = models.mobilenet_v2(weights=path, width_mult=0.1, same_padding=True)
    assert same_padding.features[0][0].padding == "same"
    assert model.features[0][0].padding == (1, 1)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_names_of_a_wrapped_network(tmp_path, suffix, prefix):
    path = tmp_path / f"wrapped{suffix}"
    state = models.mobilenet_v1(width_mult=0.25, num_classes=7).state_dict()
    wrapped = {prefix + name: array for name, array in state.items()}
    if suffix == ".npz":
        np.savez(path, **wrapped)
    else:
        nc.save(wrapped, path)
    assert same(models.mobilenet_v1(weights=path, width_mult=0.25), state)
    assert sorted(nc.load(path)) == sorted(wrapped)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_file_of_another_precision(tmp_path, dtype):
    path = tmp_path / "mine.npz"
    state = models.mobilenet_v2(width_mult=0.1, num_classes=7).state_dict()
    given = {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in state.items()}
    np.savez(path, **given)
    assert same(models.mobilenet_v2(weights=path, width_mult=0.1), given)


def test_a_file_that_is_known_says_how_it_was_trained(tmp_path):
    path = tmp_path / "mobilenet_v1_0.25_tfpad_bn.safetensors"
    state = models.mobilenet_v1(width_mult=0.25).state_dict()
    nc.save(state, path)
    model = models.mobilenet_v1(weights=path)
    assert same(model, state)
    assert model.model[0][0].padding == "same"
    assert model.pretrained.labels == "imagenet"
    assert model.pretrained.preprocessing == Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
    other = models.mobilenet_v1(weights=path, same_padding=False)
    assert other.model[0][0].padding == (1, 1)
    with pytest.raises(
        ValueError, match=r"width_mult=0\.5 does not fit .*_tfpad_bn, expected 0.25"
    ):
        models.mobilenet_v1(weights=path, width_mult=0.5)
    stranger = tmp_path / "mobilenet_v2_1.0_tfpad.safetensors"  # a name that says nothing here
    nc.save(state, stranger)
    model = models.mobilenet_v1(weights=stranger, width_mult=0.25)
    assert model.pretrained is None
    assert model.model[0][0].padding == (1, 1)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("imagenet", "mobilenet_v2-7ebf99e0.pth"),
        ("DEFAULT", "mobilenet_v2-7ebf99e0.pth"),
        ("imagenet1k_v1", "mobilenet_v2-b0353104.pth"),
        ("IMAGENET1K_V2", "mobilenet_v2-7ebf99e0.pth"),
    ],
)
def test_weights_by_name_are_fetched(tmp_path, monkeypatch, name, file):
    path, asked = tmp_path / "fetched.safetensors", []
    state = models.mobilenet_v2().state_dict()
    nc.save(state, path)

    def fetch(url, checksum, progress):
        asked.append((url, checksum))
        return path

    monkeypatch.setitem(sys.modules, "nanoconv.io.download", SimpleNamespace(fetch=fetch))
    model = models.mobilenet_v2(weights=name)
    checksum = file.split("-")[1].removesuffix(".pth")
    assert asked == [(f"https://download.pytorch.org/models/{file}", checksum)]
    assert same(model, state)
    assert model.pretrained.file == file
    with pytest.raises(ValueError, match="it is for 1000 classes, the network for 10 "):
        models.mobilenet_v2(weights=name, num_classes=10)


def test_a_network_whose_weights_are_loaded_draws_no_random_numbers(tmp_path):
    path = tmp_path / "mine.safetensors"
    nc.save(models.mobilenet_v1(width_mult=0.25, num_classes=3).state_dict(), path)
    nc.manual_seed(0)
    expected = nc.rand(4).tolist()
    nc.manual_seed(0)
    models.mobilenet_v1(weights=path, width_mult=0.25)
    assert nc.rand(4).tolist() == expected
    layer = nn.Linear(3, 3).requires_grad_(False)
    before = layer.weight.numpy().copy()
    with nn.init.skipped():
        assert nn.init.uniform_(layer.weight) is layer.weight
        nn.init.kaiming_normal_(layer.weight)
        assert (layer.weight.numpy() == before).all()
        nn.init.zeros_(layer.bias)
    assert layer.bias.tolist() == [0, 0, 0]
    nn.init.normal_(layer.weight)
    assert (layer.weight.numpy() != before).all()


MISTAKES = {
    r"mobilenet_v1: no argument 'widht_mult', expected some of weights, same_padding, num": (
        lambda: models.mobilenet_v1(widht_mult=0.5)
    ),
    r"mobilenet_v3_small: no argument 'table'": lambda: models.mobilenet_v3_small(table=[]),
    r"mobilenet_v1: width_mult=0, expected a number above 0": (
        lambda: models.mobilenet_v1(width_mult=0)
    ),
    r"mobilenet_v1: width_mult='1'": lambda: models.mobilenet_v1(width_mult="1"),
    r"mobilenet_v1: dropout: p=2, expected a probability": lambda: models.mobilenet_v1(dropout=2),
    r"mobilenet_v2: num_classes=0, expected an integer": lambda: models.mobilenet_v2(num_classes=0),
    r"mobilenet_v2: same_padding='SAME', expected None, False or True": (
        lambda: models.mobilenet_v2(same_padding="SAME")
    ),
    r"mobilenet_v2: weights=5, expected None, a name or a path": (
        lambda: models.mobilenet_v2(weights=5)
    ),
    r"mobilenet_v1: weights='imagenet', expected None, a file .*, 'mobilenet_v1_0.75_tfpad'": (
        lambda: models.mobilenet_v1(weights="imagenet")
    ),
    r"mobilenet_v1: weights='mobilenet_v1_0.75_tfpad' are not published .*_0.75_tfpad\.npz": (
        lambda: models.mobilenet_v1(weights="mobilenet_v1_0.75_tfpad")
    ),
    r"No such file .*none\.npz": lambda: models.mobilenet_v1(weights="none.npz"),
    r"MobileNetV2: inverted_residual_setting=\[\], expected rows": (
        lambda: models.mobilenet_v2(inverted_residual_setting=[])
    ),
    r"MobileNetV2: round_nearest=0": lambda: models.mobilenet_v2(round_nearest=0),
    r"GroupedCNN: groups=2 must divide channels=7": lambda: models.grouped_cnn(7, 2, 10),
    r"GroupedCNN: channels=0": lambda: models.grouped_cnn(0, 2, 10),
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    with pytest.raises((TypeError, ValueError, OSError), match=message):
        MISTAKES[message]()


def test_a_file_that_does_not_fit_is_named_with_the_reason_in_one_line(tmp_path):
    path = tmp_path / "mine.safetensors"
    nc.save(models.mobilenet_v2(width_mult=0.5).state_dict(), path)
    with pytest.raises(ValueError, match=r"about 0\.5 times as many channels") as caught:
        models.mobilenet_v2(weights=path)
    assert str(caught.value).startswith(f"mobilenet_v2: {path}: ")
    assert "\n" not in str(caught.value)
    assert "features.0.0.weight: shape (16, 3, 3, 3)" in str(caught.value.__cause__)
