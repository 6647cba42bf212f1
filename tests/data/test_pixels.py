"""Pixels of more than 8 bits, pixels in memory, and kinds of file that cannot be decoded here."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import AvifImagePlugin, Image, features

from labelwise.data import Dataset, read
from labelwise.data.check import check
from labelwise.data.decode import UnreadableImage, decode_image, evenly, first_dark, image_size
from labelwise.data.pixels import check_tensor, pixels_of, pixels_of_array
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.errors import LabelwiseError

RAMP = np.linspace(0, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)


def encode(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_16_bits(array: np.ndarray, colour: int) -> bytes:
    """A PNG written from its specification: Pillow writes no colours of 16 bits."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff_of_12_bits(array: np.ndarray) -> bytes:
    """A TIFF written from its specification, two pixels in three bytes."""
    height, width = array.shape
    pairs = array.reshape(-1, 2).astype(np.uint32)
    packed = np.stack(
        [pairs[:, 0] >> 4, ((pairs[:, 0] & 15) << 4) | (pairs[:, 1] >> 8), pairs[:, 1] & 255], 1
    )
    body = packed.astype(np.uint8).tobytes()
    entries = [
        (256, width),
        (257, height),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 122),
        (277, 1),
        (278, height),
    ]
    entries.append((279, len(body)))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + body


def grey_of(source: bytes, **options: object) -> np.ndarray:
    pixels = decode_image(source, **options)
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])
    return pixels[0].numpy()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_twelve_bits_in_sixteen_are_scaled_by_the_setting_or_noted(kind: str) -> None:
    data = encode(RAMP, kind)
    notes: list[str] = []
    plain = grey_of(data, notes=notes)
    assert plain.max() == 16
    (note,) = notes
    assert "holds 16-bit grey of 4,095 at most and is read as nearly black: if its pixels use 12 bits" in note
    assert "predict --bits 12; train --set augment.bits=12" in note
    assert (first_dark([b"", data]), first_dark([])) == (note, None)
    for bits in (12, 13, 15):
        notes.clear()
        seen = grey_of(data, bits=bits, notes=notes)
        assert np.array_equal(seen, np.floor(RAMP.astype(float) * 255 / (2**bits - 1) + 0.5).astype(np.uint8))
        assert notes == []
    with pytest.raises(
        UnreadableImage,
        match=r"holds pixels up to 4,095; expected at most 1,023, as 10 bits hold; set the bits",
    ):
        decode_image(data, bits=10)


@pytest.mark.parametrize(
    ("largest", "noted"), [(65535, False), (16384, False), (16383, True), (300, True), (0, False)]
)
def test_only_dark_pixels_are_noted(largest: int, noted: bool) -> None:
    notes: list[str] = []
    decode_image(encode(np.array([[0, largest]], np.uint16), "PNG"), notes=notes)
    assert bool(notes) is noted
    notes.clear()
    image_size(encode(np.array([[0, largest]], np.uint16), "TIFF"), notes=notes)
    assert bool(notes) is noted


def test_the_setting_does_not_apply_to_eight_bits() -> None:
    dark = np.full((4, 6, 3), 7, np.uint8)
    notes: list[str] = []
    for bits in (8, 12, 16):
        assert decode_image(encode(dark, "PNG"), bits=bits, notes=notes).max() == 7
    assert image_size(encode(dark, "PNG"), notes=notes) == (6, 4)
    assert notes == []


@pytest.mark.parametrize("bits", [12, 16])
def test_the_bits_declared_by_a_file_are_used(bits: int) -> None:
    graymap = b"P5\n64 48\n4095\n" + RAMP.astype(">u2").tobytes()
    expected = np.floor(RAMP.astype(float) * 255 / 4095 + 0.5)
    for data in (graymap, tiff_of_12_bits(RAMP)):
        notes: list[str] = []
        assert np.abs(grey_of(data, bits=bits, notes=notes) - expected).max() <= (data is graymap)
        assert notes == []


@pytest.mark.parametrize(("planes", "colour"), [(3, 2), (4, 6), (2, 4)])
def test_wide_colours_are_noted_and_not_scaled(planes: int, colour: int) -> None:
    array = np.stack([RAMP] * planes, -1)
    if planes != 3:
        array[..., -1] = 65535
    data = png_of_16_bits(array, colour)
    notes: list[str] = []
    assert decode_image(data, notes=notes).max() == 15
    assert "colours of 16 bits with values under 4,096 and is read as nearly black: scale them" in notes[0]
    with pytest.raises(UnreadableImage, match="colours of 16 bits, which cannot be read as 12 bits"):
        decode_image(data, bits=12)
    notes.clear()
    array[..., : 3 if planes != 2 else 1] *= 16
    decode_image(png_of_16_bits(array, colour), notes=notes)
    assert notes == []


def test_arrays_equal_the_files_of_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    for shape in ((9, 7), (9, 7, 3), (9, 7, 4), (9, 7, 2)):
        array = rng.integers(0, 256, shape).astype(np.uint8)
        expected = decode_image(encode(array, "PNG"))
        assert np.array_equal(pixels_of_array(array), expected)
        assert np.array_equal(pixels_of_array(array[::-1].copy()[::-1]), expected)
        # 257 times the value is the same share of 65,535.
        assert np.array_equal(pixels_of_array(array.astype(np.uint16) * 257), expected)
    assert np.array_equal(
        pixels_of_array(RAMP[..., None], bits=12), decode_image(encode(RAMP, "PNG"), bits=12)
    )
    notes: list[str] = []
    pixels_of_array(np.stack([RAMP] * 3, -1), notes=notes)
    assert notes
    backwards = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)[..., ::-1]
    assert np.array_equal(pixels_of_array(backwards).transpose(1, 2, 0), backwards)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((4, 5, 3), np.float32),
            r"array of float32 \[4, 5, 3\]; expected uint8 or uint16 .*255 \* array",
        ),
        (np.zeros((4, 5), bool), r"array of bool \[4, 5\]; .*255 \* array"),
        (np.zeros((4, 5, 3), np.int64), r"array of int64 .*array.astype\('uint8'\) if it holds 0 to 255"),
        (np.zeros((3, 40, 50), np.uint8), r"\[3, 40, 50\]; .*array.transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 6), np.uint8), r"\[4, 5, 6\]; .*colours last"),
        (np.zeros(5, np.uint8), r"\[5\]; .*pass one image"),
        (np.zeros((0, 5, 3), np.uint8), r"\[0, 5, 3\]; "),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        pixels_of_array(array)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 4, 5), r"tensor of float32 \[3, 4, 5\]; expected uint8 .*torch.uint8"),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), r"image.permute\(2, 0, 1\)"),
        (torch.zeros(1, 4, 5, dtype=torch.uint8), "pass red, green and blue"),
        (torch.zeros(3, 0, 5, dtype=torch.uint8), "pass red, green and blue"),
    ],
)
def test_other_tensors_are_refused(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        check_tensor(tensor)


def test_pil_images_are_turned_upright_as_their_files_are(tmp_path: Path) -> None:
    y, x = np.mgrid[0:20, 0:30]
    picture = Image.fromarray(np.stack([x * 8, y * 12, x + y], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert np.array_equal(pixels_of(opened, "it"), decode_image(tmp_path / "turned.png"))
    assert pixels_of(picture, "it").shape == (3, 20, 30)
    for mode in ("L", "1", "P", "LA", "RGBA", "CMYK", "I;16"):
        converted = Image.fromarray(RAMP) if mode == "I;16" else picture.convert("RGB").convert(mode)
        kind = "TIFF" if mode == "CMYK" else "PNG"
        buffer = BytesIO()
        converted.save(buffer, kind)
        assert np.array_equal(pixels_of(converted, "it"), decode_image(buffer.getvalue())), mode


def test_the_setting_is_part_of_the_transform() -> None:
    data = encode(RAMP, "PNG")
    transform = build_transform(TransformConfig(image_size=32, bits=12), train=False)
    assert transform(transform.decode(data)).float().mean() == pytest.approx(127, abs=3)
    assert build_transform(TransformConfig(image_size=32), train=False).decode(data).max() == 16
    with pytest.raises(ValueError, match="bits"):
        TransformConfig(bits=17)


def _table(folder: Path, bits: int) -> str:
    for i in range(6):
        (folder / f"{i}.png").write_bytes(encode(np.roll(RAMP, i) << (bits - 12), "PNG"))
    rows = "".join(f"{i}.png,{i % 2}\n" for i in range(6))
    (folder / "labels.csv").write_text("image,dog\n" + rows)
    return f"csv:{folder / 'labels.csv'}"


@pytest.mark.parametrize("decode", [False, True])
def test_the_check_notes_dark_images(tmp_path: Path, decode: bool) -> None:
    source = _table(tmp_path, bits=12)
    (dark_note,) = [note for note in check(source, near=False, decode=decode).notes if "nearly black" in note]
    assert "0.png holds 16-bit grey of 4,095 at most" in dark_note
    assert dark_note.endswith(" So are 5 more.")
    assert not any(
        "black" in note for note in check(_table(tmp_path, bits=16), near=False, decode=decode).notes
    )
    data: Dataset = read(source)
    assert data[0].image.max() == 255


def test_evenly_spaced_positions() -> None:
    for count in (0, 1, 199, 200, 201, 1000, 12345):
        places = list(evenly(count))
        assert len(places) <= 200
        assert places == sorted(set(places))
        assert all(place < count for place in places)
        assert len(places) == count or count > 200


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC file"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "a HEIC file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"\xff\x0a\x7f\x20", "a JPEG XL file"),
        (b"%PDF-1.7", "a PDF file"),
        (b"8BPS\0\1", "a Photoshop file"),
    ],
)
def test_formats_that_cannot_be_decoded_are_named(tmp_path: Path, start: bytes, kind: str) -> None:
    file = tmp_path / "a.heic"
    file.write_bytes(start + b"\0" * 40)
    for source in (file, file.read_bytes()):
        with pytest.raises(
            UnreadableImage, match=f"is {kind}, which cannot be decoded here; expected a JPEG"
        ):
            decode_image(source)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_pillow_without_a_codec_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    if features.check("avif"):
        data = encode(picture, "AVIF")
        with pytest.raises(UnreadableImage, match=r"damaged|truncated"):
            decode_image(data[:40])
        monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
        monkeypatch.setattr(features, "check", lambda name: False)
        with pytest.raises(UnreadableImage, match="is an AVIF file, which cannot be decoded here"):
            decode_image(data)
    if hasattr(Image.core, "jpeg2k_decoder"):
        data = encode(picture, "JPEG2000")
        monkeypatch.delattr(Image.core, "jpeg2k_decoder")
        with pytest.raises(UnreadableImage, match=r"jpeg2k not available\), which cannot be decoded here"):
            decode_image(data)
