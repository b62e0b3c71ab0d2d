"""The data set, and digits cut out of pictures."""

import hashlib

import numpy as np
import pytest

from nanoconv.data import digit_image, digits, read_digit
from nanoconv.data.digits import FILE
from nanoconv.data.images import coverage, recut

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")


def test_the_split_is_fixed_and_stratified() -> None:
    train, test = digits.load()
    assert (len(train), len(test)) == (1442, 355)
    assert train.images.shape == (1442, 1, 8, 8)
    assert train.images.dtype == np.float32
    assert train.labels.dtype == np.int64
    assert (train.images.min(), train.images.max()) == (0, 1)
    share = np.bincount(test.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    assert share.min() > 0.19
    assert share.max() <= 0.2
    digest = hashlib.sha256(test.images.tobytes() + test.labels.tobytes()).hexdigest()
    assert digest.startswith("fd0f84111b16dfac")


def test_the_file_is_small_and_says_whose_it_is() -> None:
    assert FILE.stat().st_size < 50_000
    credit = FILE.with_suffix(".txt").read_text(encoding="utf-8")
    for word in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "10.24432/C50P49"):
        assert word in credit


def test_the_file_equals_scikit_learns_copy() -> None:
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    with np.load(FILE) as file:
        np.testing.assert_array_equal(file["images"], load_digits().images)
        np.testing.assert_array_equal(file["labels"], load_digits().target)


# --------------------------------------------------------------------------- pictures

SEVEN = np.zeros((8, 8))
SEVEN[0, 1:6] = 1
SEVEN[1:, 5] = 1


def test_blocks_are_averaged_and_the_paper_around_is_cut_off() -> None:
    big = np.pad(np.kron(SEVEN, np.ones((5, 5))), ((3, 17), (20, 1)))
    expected = np.zeros((8, 8))
    expected[0] = [0, 0.5, 1, 1, 1, 1, 0.5, 0]  # five columns, centred: the box's ends halve pixels
    expected[1:, 5:7] = [0.5, 0.5]
    np.testing.assert_allclose(digit_image(big)[0], expected, atol=1e-6)


def test_polarity_and_scale_of_brightness_do_not_matter() -> None:
    expected = digit_image(SEVEN)
    for picture in (1 - SEVEN, 255 * SEVEN, 200 - 90 * SEVEN, 0.5 + SEVEN / 1000):
        np.testing.assert_allclose(digit_image(picture), expected, atol=1e-6)


def test_a_bare_stroke_stays_a_stroke() -> None:
    stroke = np.zeros((40, 40))
    stroke[5:35, 20:22] = 1
    assert (digit_image(stroke)[0].max(0) > 0.2).sum() <= 3


@pytest.mark.parametrize("picture", [np.zeros((0, 5)), np.zeros(5), np.zeros((3, 3, 3))])
def test_what_is_no_picture(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        digit_image(picture)


@pytest.mark.parametrize("picture", [np.zeros((9, 9)), np.full((1, 1), 7), np.full((4, 4), np.nan)])
def test_a_blank_picture(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="blank"):
        digit_image(picture)


def test_coverage_is_one_where_there_is_picture() -> None:
    rows = coverage(2.0, 9.0, 11)
    np.testing.assert_allclose(rows.sum(1), 1)
    np.testing.assert_allclose(rows.sum(0)[2:9], 8 / 7)
    assert coverage(-8.0, 0.0, 4).sum() == 0


def test_recut_moves_a_little_and_follows_its_generator() -> None:
    images = digits.load()[1].images[:50]
    moved = recut(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    assert moved.dtype == np.float32
    assert 0 < np.abs(moved - images).mean() < 0.15
    assert moved.min() >= 0
    assert moved.max() <= 1
    np.testing.assert_array_equal(moved, recut(images, np.random.default_rng(0)))


# --------------------------------------------------------------------------- files


def saved(tmp_path, name, image, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def variants():
    """The seven as pictures of every kind that should read as the same one."""
    ink = Image.fromarray(np.kron(SEVEN * 255, np.ones((6, 6))).astype(np.uint8))
    paper = Image.fromarray(255 - np.asarray(ink))
    yield "grey.png", ink
    yield "inverted.png", paper
    yield "colour.png", Image.merge("RGB", (ink, paper, ink.point(lambda v: v // 2)))
    yield "palette.png", paper.convert("P")
    yield "bits.png", paper.convert("1")
    yield "sixteen.png", Image.fromarray(np.asarray(ink).astype(np.uint16) * 200)
    yield "scan.tiff", Image.fromarray(np.asarray(ink).astype(np.float32))
    yield "cut_out.bmp", ink
    for name, tone in (("black_on_nothing.png", 0), ("white_on_nothing.png", 255)):
        yield name, Image.merge("LA", (Image.new("L", ink.size, tone), ink))
    yield "cmyk.jpg", paper.convert("CMYK")
    transparent = paper.convert("P")
    transparent.info["transparency"] = transparent.getpixel((0, 0))
    yield "transparent.gif", transparent


@pytest.mark.parametrize(("name", "image"), [pytest.param(*v, id=v[0]) for v in variants()])
def test_every_kind_of_picture(tmp_path, name, image) -> None:
    tolerance = 0.05 if name.endswith("jpg") else 1e-6
    read = read_digit(saved(tmp_path, name, image))
    np.testing.assert_allclose(read, digit_image(SEVEN), atol=tolerance)


def test_a_photo_is_turned_as_the_camera_was(tmp_path) -> None:
    turned = Image.fromarray((np.rot90(SEVEN) * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    path = saved(tmp_path, "photo.png", turned, exif=exif)
    np.testing.assert_allclose(read_digit(path), digit_image(SEVEN), atol=1e-6)


def test_files_that_are_no_picture(tmp_path) -> None:
    whole = saved(tmp_path, "whole.png", Image.fromarray((SEVEN * 255).astype(np.uint8)))
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:50])
    text = tmp_path / "text.png"
    text.write_text("seven")
    program = tmp_path / "program.png"
    program.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    for path in (cut, text, program):
        with pytest.raises(ValueError, match="not a picture"):
            read_digit(path)
    with pytest.raises(FileNotFoundError):
        read_digit(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        read_digit(tmp_path)


@pytest.mark.parametrize("side", [12, 20])  # Pillow warns of one and refuses the other
def test_a_bomb_is_refused(tmp_path, monkeypatch, side) -> None:
    path = saved(tmp_path, "bomb.png", Image.new("1", (side, side)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="too large"):
        read_digit(path)
