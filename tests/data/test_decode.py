"""Decoding: every format becomes upright 8-bit RGB, and every damaged file is refused."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from labelwise.data.decode import UnreadableImage, decode_image, image_size


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """A smooth image without symmetry, so that any wrong rotation is visible."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / width, 255 * y / height, 255 * (x + 2 * y) / (width + 2 * height)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def pixels(source: bytes | Path) -> np.ndarray:
    tensor = decode_image(source)
    assert tensor.dtype == torch.uint8
    return tensor.permute(1, 2, 0).numpy()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def turned(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The stored pixels that a viewer displays as `upright`, by the EXIF table of row and column 0."""
    rows = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]}
    if orientation <= 4:
        return rows[orientation]
    swapped = upright.transpose(1, 0, 2)
    return {5: swapped, 6: swapped[::-1], 7: swapped[::-1, ::-1], 8: swapped[:, ::-1]}[orientation]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = np.asarray(scene())
    exif = Image.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}.get(kind, {})
    stored = Image.fromarray(np.ascontiguousarray(turned(upright, orientation)))
    data = encode(stored, kind, exif=exif, **options)
    assert np.abs(pixels(data).astype(int) - upright).max() <= (12 if kind == "JPEG" else 0)
    assert image_size(data) == (48, 32)


def test_orientation_six_by_hand() -> None:
    """Orientation 6 of a rotated camera: stored column 0 is the top row from right to left."""
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[0, 0] = (255, 0, 0)
    exif = Image.Exif()
    exif[274] = 6
    seen = pixels(encode(Image.fromarray(stored), exif=exif))
    assert seen.shape == (3, 2, 3)
    assert seen[0, 1].tolist() == [255, 0, 0]
    assert seen.sum() == 255


def test_broken_exif_does_not_make_an_image_unreadable() -> None:
    data = encode(scene(), "JPEG", exif=b"Exif\0\0nonsense that is no TIFF header")
    assert pixels(data).shape == (32, 48, 3)
    assert image_size(data) == (48, 32)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_colour_modes_agree_with_rgb(mode: str) -> None:
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    image = scene().convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(encode(image, kind)), expected)


def test_cmyk_jpeg_is_not_inverted() -> None:
    seen = pixels(encode(Image.new("RGB", (32, 32), (250, 20, 30)).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(seen.astype(int) - [250, 20, 30]).max() < 12


def test_transparency_is_laid_over_white() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    half.putpixel((0, 0), (255, 0, 0, 0))
    seen = pixels(encode(half))
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert np.abs(seen[1, 1].astype(int) - 127).max() <= 1
    assert np.abs(pixels(encode(Image.new("LA", (2, 2), (0, 128)))).astype(int) - 127).max() <= 1


def test_palette_and_key_colour_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert pixels(encode(palette, transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    keyed = Image.new("RGB", (2, 1), (1, 2, 3))
    keyed.putpixel((1, 0), (9, 9, 9))
    assert pixels(encode(keyed, transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_range(kind: str) -> None:
    grey = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    seen = pixels(encode(Image.fromarray(grey), kind))
    assert seen[..., 0].tolist() == [[0, 0, 1, 1, 128, 255]]
    assert np.array_equal(seen[..., 0], seen[..., 2])


def test_wider_pixels_are_refused_with_their_range() -> None:
    with pytest.raises(UnreadableImage, match="32-bit pixels up to 70000; expected 8-bit or 16-bit"):
        decode_image(encode(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"))
    with pytest.raises(UnreadableImage, match="floating-point pixels"):
        decode_image(encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_progressive_jpeg_equals_pillow() -> None:
    data = encode(scene(), "JPEG", progressive=True)
    assert np.array_equal(pixels(data), np.asarray(Image.open(BytesIO(data))))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    seen = pixels(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert seen[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, options: dict, share: float) -> None:
    rng = np.random.default_rng(0)
    data = encode(Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)), kind, **options)
    path = tmp_path / "half.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(
        UnreadableImage, match=r"half\.img is truncated; expected a whole image file"
    ) as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.jpg is empty"),
        (b"no picture at all", "bad.jpg is not an image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bad.jpg is not an image file"),
        (png_header(40_000, 40_000), "bad.jpg has 1,600,000,000 pixels; expected at most 100,000,000"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    for read in (decode_image, image_size):
        with pytest.raises(UnreadableImage, match=message):
            read(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableImage, match=r"gone\.png does not exist; expected an image file; correct the"
    ):
        decode_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage, match="is a folder"):
        image_size(str(tmp_path))
    with pytest.raises(UnreadableImage, match="image of 0 bytes is empty"):
        decode_image(b"")
    with pytest.raises(UnreadableImage, match="cannot be opened"):
        decode_image("a\0b.jpg")


def test_pixel_limit_is_an_argument() -> None:
    data = encode(scene(40, 30))
    assert decode_image(data, max_pixels=1200).shape == (3, 30, 40)
    with pytest.raises(UnreadableImage, match="40 x 30 pixels; expected at most 1,199"):
        decode_image(data, max_pixels=1199)


@pytest.mark.parametrize(
    ("limit", "size"), [(75, (100, 75)), (76, (200, 150)), (150, (200, 150)), (151, (400, 300))]
)
def test_shrinking_keeps_both_sides(limit: int, size: tuple[int, int]) -> None:
    data = encode(scene(400, 300), "JPEG")
    seen = decode_image(data, shrink_to=limit)
    assert (seen.shape[2], seen.shape[1]) == size
    whole = torch.nn.functional.interpolate(decode_image(data)[None].float(), seen.shape[1:], mode="area")[0]
    assert (seen.float() - whole).abs().mean() < 2


def test_no_file_stays_open_and_pillow_is_left_alone(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(encode(scene()))
    bad.write_bytes(encode(scene())[:80])
    decode_image(good)  # whatever is opened once and for all
    state = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        image_size(good), decode_image(good)
        with pytest.raises(UnreadableImage):
            decode_image(bad)
    assert len(os.listdir("/proc/self/fd")) == before
    assert state == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_names_that_are_not_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    Path(path).write_bytes(encode(scene()))
    assert decode_image(path).shape == (3, 32, 48)
    os.truncate(path, 0)
    with pytest.raises(UnreadableImage) as caught:
        decode_image(path)
    assert str(caught.value).encode()  # can be written to a log


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd tags
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damage_gives_pixels_or_a_refusal_and_nothing_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(encode(scene(), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnreadableImage):
        assert decode_image(bytes(content), max_pixels=1_000_000).shape[0] == 3
