"""Photographs of every kind, and files that are none."""

import os
import random
import struct
import sys
import zlib

import numpy as np
import pytest

from nanoconv.data import photographs
from nanoconv.data.photographs import find_photographs, read_photograph

Image = pytest.importorskip("PIL.Image", reason="needs the extra [cli]")
ImageOps = pytest.importorskip("PIL.ImageOps")

H, W = 30, 42
SUFFIXES = ("png", "jpg", "webp", "bmp", "tiff", "gif", "ppm")


def scene(seed: int = 0):
    """Smooth in places, rough in others, and of every brightness."""
    rng = np.random.default_rng(seed)
    colours = np.linspace(0, 255, H * W * 3).reshape(H, W, 3)
    colours[:, ::3] += rng.normal(0, 40, colours[:, ::3].shape)
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def saved(folder, name, image, **options):
    path = folder / name
    image.save(path, **options)
    return path


def opacity():
    return Image.fromarray(np.tile(np.linspace(0, 255, W).astype(np.uint8), (H, 1)))


# --------------------------------------------------------------------------- what is in a file


def kinds():
    yield from ((f"colour.{suffix}", scene(), {}) for suffix in SUFFIXES)
    yield from ((f"grey.{suffix}", scene().convert("L"), {}) for suffix in SUFFIXES)
    yield from ((f"bits.{suffix}", scene().convert("1"), {}) for suffix in ("png", "tiff", "gif"))
    yield from ((f"palette.{suffix}", scene().quantize(40), {}) for suffix in ("png", "gif", "bmp"))
    transparent = scene().quantize(40)
    yield from (
        (f"cut_out.{suffix}", transparent, {"transparency": 7}) for suffix in ("png", "gif")
    )
    colours, grey = scene(), scene().convert("L")
    alpha = Image.merge("RGBA", (*colours.split(), opacity()))
    yield from ((f"alpha.{suffix}", alpha, {}) for suffix in ("png", "webp", "tiff"))
    yield "grey_alpha.png", Image.merge("LA", (grey, opacity())), {}
    yield from ((f"cmyk.{suffix}", colours.convert("CMYK"), {}) for suffix in ("jpg", "tiff"))
    yield "ycbcr.tiff", colours.convert("YCbCr"), {"compression": "jpeg"}
    yield "lossless.webp", colours, {"lossless": True}
    yield "progressive.jpg", colours, {"progressive": True, "quality": 60}
    yield "interlaced.png", colours, {"interlace": 1}
    more = [scene(seed) for seed in (1, 2)]
    yield "moving.gif", colours, {"save_all": True, "append_images": more}
    yield "moving.webp", colours, {"save_all": True, "append_images": more}
    yield "pages.tiff", colours, {"save_all": True, "append_images": more}
    yield "stereo.mpo", colours, {"save_all": True, "append_images": more}


@pytest.mark.parametrize(
    ("name", "image", "options"), [pytest.param(*kind, id=kind[0]) for kind in kinds()]
)
def test_every_kind_is_read_as_pillow_converts_it(tmp_path, name, image, options) -> None:
    path = saved(tmp_path, name, image, **options)
    read = read_photograph(path)
    assert read.mode == "RGB"
    with Image.open(path) as expected:
        np.testing.assert_array_equal(read, expected.convert("RGB"))


def test_alpha_is_dropped(tmp_path) -> None:
    """What is fully transparent keeps the colour that is stored there."""
    image = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    read = np.asarray(read_photograph(saved(tmp_path, "nothing.png", image)))
    assert (read == [200, 100, 50]).all()


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff", "deep.pgm"])
def test_16_bit_greyscale_keeps_its_tones(tmp_path, name) -> None:
    """Pillow's own conversion would cut off at 255: everything white but the darkest 0.4 %."""
    deep = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
    read = np.asarray(read_photograph(saved(tmp_path, name, Image.fromarray(deep))))
    np.testing.assert_array_equal(read, (deep >> 8)[..., None].repeat(3, 2))


def test_16_bit_colours_keep_their_upper_byte(tmp_path) -> None:
    """A PNG by hand, for Pillow writes none of these."""
    deep = np.linspace(0, 65535, H * W * 3).astype(">u2").reshape(H, W, 3)
    lines = b"".join(b"\0" + row.tobytes() for row in deep)  # 0: no filter
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    np.testing.assert_array_equal(read_photograph(path), (deep >> 8).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((3, 3), 0.5, np.float32), "fractions"),
        (np.full((3, 3), 70_000, np.int32), "32 bits"),
    ],
)
def test_pixels_without_a_white_are_refused(tmp_path, pixels, message) -> None:
    path = saved(tmp_path, "measured.tiff", Image.fromarray(pixels))
    with pytest.raises(ValueError, match=message):
        read_photograph(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_it_is_turned_as_the_camera_was(tmp_path, suffix, orientation) -> None:
    """TIFF 6.0: where row 0 and column 0 of the file are in the scene."""
    stored = scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, f"turned.{suffix}", stored, exif=exif)
    plain = read_photograph(saved(tmp_path, f"plain.{suffix}", stored))
    x = np.asarray(plain)
    expected = {
        1: x,  # row 0 is the top, column 0 the left
        2: x[:, ::-1],  # top, right
        3: x[::-1, ::-1],  # bottom, right
        4: x[::-1],  # bottom, left
        5: x.swapaxes(0, 1),  # left, top
        6: np.rot90(x, -1),  # right, top
        7: x[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: np.rot90(x),  # left, bottom
    }[orientation]
    np.testing.assert_array_equal(read_photograph(path), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Tag data")
@pytest.mark.parametrize(
    "exif", [b"II*\0\xff\xff\xff\xff", b"garbage", b"", b"II*\0\x08\0\0\0\xff\xff\x12\x01"]
)
def test_damaged_exif_data_do_no_harm(tmp_path, exif) -> None:
    path = saved(tmp_path, "camera.jpg", scene(), exif=b"Exif\0\0" + exif)
    plain = saved(tmp_path, "plain.jpg", scene())
    np.testing.assert_array_equal(read_photograph(path), read_photograph(plain))


# --------------------------------------------------------------------------- what is none


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.9])
def test_what_is_cut_off_is_refused(tmp_path, suffix, part, capfd) -> None:
    path = saved(tmp_path, f"whole.{suffix}", scene())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match="not a photograph, or a damaged one"):
        read_photograph(path)
    assert capfd.readouterr() == ("", "")  # nor does a library of C say anything


@pytest.mark.filterwarnings("ignore")  # of what Pillow thinks of them
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bytes_give_a_photograph_or_a_reason(tmp_path, suffix) -> None:
    path = saved(tmp_path, f"flipped.{suffix}", scene())
    whole, rng, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[rng.randrange(min(len(whole), 200))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            assert read_photograph(path).mode == "RGB"
        except ValueError:
            refused += 1
    assert refused


def test_files_that_are_no_photograph(tmp_path) -> None:
    (tmp_path / "text.jpg").write_text("a cat")
    (tmp_path / "program.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    for name in ("text.jpg", "program.png"):
        with pytest.raises(ValueError, match="not a photograph"):
            read_photograph(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_photograph(tmp_path / "missing.jpg")
    with pytest.raises(IsADirectoryError):
        read_photograph(tmp_path)


@pytest.mark.parametrize("side", [12, 20])  # Pillow warns of one and refuses the other
@pytest.mark.parametrize("limit", ["ours", "Pillow's"])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path, monkeypatch, side, limit) -> None:
    path = saved(tmp_path, "bomb.png", Image.new("1", (side, side)))
    where, name = {"ours": (photographs, "PIXELS"), "Pillow's": (Image, "MAX_IMAGE_PIXELS")}[limit]
    monkeypatch.setattr(where, name, 100)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="too large"):
        read_photograph(path)


def test_a_real_bomb(tmp_path) -> None:
    """A PNG of 40 KB that unpacks to 1.2 GB."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(40_000_000), 9)),
        (b"IEND", b""),
    ]
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    assert path.stat().st_size < 50_000
    with pytest.raises(ValueError, match="too large"):
        read_photograph(path)


def test_pillow_is_asked_for(tmp_path, monkeypatch) -> None:
    path = saved(tmp_path, "cat.png", scene())
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "nanoconv\[cli\]"'):
        read_photograph(path)


# --------------------------------------------------------------------------- which files


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Empty files, for only names count here."""
    for name in (
        *("b.jpg", "a.PNG", "c.webp", "notes.txt", ".hidden.jpg", "._a.PNG"),
        *("inner/d.jpeg", "inner/deep/e.tif", ".thumbnails/f.jpg", "texts/g.txt", "[x]*.jpg"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments) -> list[str]:
    return [path.as_posix() for path in find_photographs(arguments)]


def test_folders_are_searched_to_the_bottom(album) -> None:
    inner = ["inner/d.jpeg", "inner/deep/e.tif"]
    assert found(".") == ["[x]*.jpg", "a.PNG", "b.jpg", "c.webp", *inner]
    assert found(album / "inner") == [(album / name).as_posix() for name in inner]
    assert found("inner", "inner/deep/") == inner


def test_files_keep_their_order_and_any_name(album) -> None:
    assert found("notes.txt", "b.jpg", ".hidden.jpg") == ["notes.txt", "b.jpg", ".hidden.jpg"]
    assert found("missing.jpg", "a.PNG") == ["missing.jpg", "a.PNG"]


def test_globs_match_photographs(album) -> None:
    assert found("*") == [
        "[x]*.jpg",
        "a.PNG",
        "b.jpg",
        "c.webp",
        "inner/d.jpeg",
        "inner/deep/e.tif",
    ]
    assert found("[ab].*") == ["a.PNG", "b.jpg"]
    assert found("**/*.tif") == ["inner/deep/e.tif"]
    assert found(str(album / "?.jpg")) == [(album / "b.jpg").as_posix()]
    assert found("[x]*.jpg") == ["[x]*.jpg"]  # there is a file of this very name
    assert found("*.heic") == ["*.heic"]  # for its reader to miss


def test_nothing_comes_twice(album) -> None:
    assert found("b.jpg", "./b.jpg", "*.jpg", album / "b.jpg") == ["b.jpg", "[x]*.jpg"]


def test_a_folder_without_photographs(album) -> None:
    with pytest.raises(ValueError, match=r"no photograph in texts \(\.png, "):
        find_photographs(["texts"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read(album) -> None:
    (album / "inner" / "deep").chmod(0)
    with pytest.raises(PermissionError):
        find_photographs(["inner"])
    (album / "inner" / "deep").chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_that_go_round_end(album) -> None:
    (album / "inner" / "again").symlink_to(album)
    assert found("inner") == ["inner/d.jpeg", "inner/deep/e.tif"]
