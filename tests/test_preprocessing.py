"""Resize, crop and normalise, bit by bit against torchvision's transforms of PIL images."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision_oracle import torchvision

from nanoconv.data import preprocessing
from nanoconv.data.preprocessing import HALF, Preprocessing

Image = pytest.importorskip("PIL.Image", reason="needs the extra [cli]")
transforms = torchvision().transforms


def noise(W: int, H: int, seed: int = 0):
    """Noise, of which every pixel of a resized image tells where it comes from."""
    rng = np.random.default_rng((seed, W, H))
    return Image.fromarray(rng.integers(0, 256, (H, W, 3), np.uint8))


def theirs(recipe: Preprocessing, normalised: bool = True):
    mode = transforms.InterpolationMode(recipe.interpolation)
    steps = [transforms.Resize(recipe.resize, mode), transforms.CenterCrop(recipe.crop)]
    if normalised:
        steps += [transforms.ToTensor(), transforms.Normalize(recipe.mean, recipe.std)]
    return transforms.Compose(steps)


def agree(recipe: Preprocessing, image) -> None:
    pixels = recipe.pixels(image)
    expected = np.asarray(theirs(recipe, normalised=False)(image))
    assert pixels.shape == (recipe.crop, recipe.crop, 3)
    np.testing.assert_array_equal(pixels, expected)
    (y,) = recipe.normalise([pixels])
    np.testing.assert_array_equal(y, theirs(recipe)(image).numpy())


SIZES = [
    pytest.param(*size, id=f"{size[0]}x{size[1]}")
    for size in (
        *[(500, 375), (375, 500), (640, 427), (427, 640), (1023, 769), (301, 457)],
        *[(256, 256), (224, 224), (256, 999), (257, 255), (255, 257), (224, 500)],
        *[(100, 73), (73, 100), (31, 31), (2, 3), (1, 1)],  # smaller than the crop
        *[(1, 40), (40, 1), (3, 211), (2000, 20)],  # hardly any width
    )
]


@pytest.mark.parametrize(("W", "H"), SIZES)
def test_equals_torchvision(W, H) -> None:
    agree(Preprocessing(), noise(W, H))


@pytest.mark.parametrize(("W", "H"), [(61, 47), (47, 62), (20, 90), (1, 7), (33, 32)])
@pytest.mark.parametrize(
    "recipe",
    [
        Preprocessing(resize=33, crop=32),  # halves are rounded: (33 − 32)/2 = 0.5
        Preprocessing(resize=35, crop=32),  # and 1.5
        Preprocessing(resize=32, crop=32),
        Preprocessing(resize=20, crop=33),  # black around it, if need be
        Preprocessing(resize=21, crop=32, mean=HALF, std=HALF),
        Preprocessing(resize=40, crop=32, interpolation="bicubic"),
        Preprocessing(resize=40, crop=32, interpolation="nearest"),
    ],
    ids=str,
)
def test_recipes_equal_torchvision(recipe, W, H) -> None:
    agree(recipe, noise(W, H))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 90), st.integers(1, 90))
def test_any_size_equals_torchvision(W, H, resize, crop) -> None:
    agree(Preprocessing(resize, crop), noise(W, min(H, 40 * W)))


@pytest.mark.parametrize(("W", "H"), [(60, 41), (41, 60), (50, 50), (33, 1), (7, 100)])
def test_a_square_cuts_nothing_off(W, H) -> None:
    image, side = noise(W, H), max(W, H)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(image, ((side - W) // 2, (side - H) // 2))
    recipe = Preprocessing(resize=28, crop=28, square=True)
    np.testing.assert_array_equal(
        recipe.pixels(image), np.asarray(canvas.resize((28, 28), Image.Resampling.BILINEAR))
    )


def test_other_modes_become_rgb() -> None:
    image = noise(50, 40).convert("L")
    np.testing.assert_array_equal(
        Preprocessing().pixels(image), Preprocessing().pixels(image.convert("RGB"))
    )


def test_normalised_batches_stay_channels_last() -> None:
    recipe = Preprocessing(resize=8, crop=8)
    pixels = [recipe.pixels(noise(20, 10, seed)) for seed in range(3)]
    batch = recipe.normalise(pixels)
    assert batch.shape == (3, 3, 8, 8)
    assert batch.dtype == np.float32
    assert batch.transpose(0, 2, 3, 1).flags.c_contiguous
    (again,) = recipe.normalise(np.array(pixels[1:2]))
    np.testing.assert_array_equal(batch[1], again)
    tensorflow = dataclasses.replace(recipe, mean=HALF, std=HALF)
    np.testing.assert_allclose(
        tensorflow.normalise(pixels)[0].transpose(1, 2, 0), pixels[0] / 127.5 - 1, atol=1e-6
    )


def test_what_would_fill_the_memory_is_refused(monkeypatch) -> None:
    """A photograph of 1×10⁶ pixels would become one of 256×256·10⁶."""
    with pytest.raises(ValueError, match=r"too narrow: it would be resized to 256×256000000"):
        Preprocessing().pixels(noise(1, 1_000_000))
    monkeypatch.setattr(preprocessing, "PIXELS", 10_000)
    with pytest.raises(ValueError, match=r"too narrow.* 200×200"):
        Preprocessing(resize=9, crop=9, square=True).pixels(noise(200, 3))
