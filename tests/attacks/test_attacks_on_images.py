"""Images made to use up memory, time or trust."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.data.decode import UnreadableImage, decode_image, image_size


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG whose header says what it likes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused(data: bytes, told: str) -> None:
    """Refused by both readers, quickly and in little memory."""
    before, started = peak(), time.perf_counter()
    for reader in (decode_image, image_size):
        with pytest.raises(UnreadableImage, match=told):
            reader(data)
    assert time.perf_counter() - started < 2
    assert peak() - before < 200


def test_a_header_of_forty_thousand_pixels() -> None:
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))
    refused(png(40_000, 40_000, pixels), "1,600,000,000 pixels; expected at most 100,000,000")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP"])
def test_large_headers_of_other_kinds(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", 65535, 65535)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    elif kind == "TIFF":
        offset = struct.unpack("<I", data[4:8])[0]
        for i in range(struct.unpack("<H", data[offset : offset + 2])[0]):
            entry = offset + 2 + 12 * i
            if struct.unpack("<H", data[entry : entry + 2])[0] in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 60_000)
    else:
        webp = io.BytesIO()
        Image.new("RGB", (8, 8)).save(webp, "WEBP")
        extended = struct.pack("<4sIB3x", b"VP8X", 10, 0) + (16_000 - 1).to_bytes(3, "little") * 2
        body = b"WEBP" + extended + webp.getvalue()[12:]
        data = bytearray(b"RIFF" + struct.pack("<I", len(body)) + body)
        refused(bytes(data), "pixels; expected at most|damaged|not an image|truncated")
        return
    refused(bytes(data), "pixels; expected at most 100,000,000")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_of_many_frames_the_first_alone_is_decoded(kind: str) -> None:
    frames = [Image.new("RGB", (200, 200), (i, 0, 0)) for i in range(200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    before, started = peak(), time.perf_counter()
    image = decode_image(buffer.getvalue())
    assert image.shape == (3, 200, 200)
    assert image.float().mean() < 3
    assert time.perf_counter() - started < 1
    assert peak() - before < 100


def test_text_that_unpacks_to_a_gigabyte() -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * (64 << 20)))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 13 * 4))
    before = peak()
    with contextlib.suppress(UnreadableImage):
        decode_image(png(4, 4, *[text] * 16, pixels))
    assert peak() - before < 200


def test_no_format_that_runs_a_program() -> None:
    for data in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ):
        refused(data, "is not an image file")


def test_a_path_with_a_zero_byte_or_to_a_device(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage):
        decode_image("a\0b.jpg")
    started = time.perf_counter()
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        with pytest.raises(UnreadableImage):
            decode_image(device)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="not a regular file"):
        decode_image(tmp_path / "pipe.jpg")
    assert time.perf_counter() - started < 2


def test_sixteen_bit_pixels_do_not_pass_as_another_size() -> None:
    picture = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    assert decode_image(buffer.getvalue()).shape == (3, 3, 4)
