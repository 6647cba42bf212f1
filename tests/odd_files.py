"""Image files of every form that is read, and some that are not: modes, depths, orientations, sizes, damage."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, features

_ORIENTATION = 274


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def odd_files() -> dict[str, bytes]:
    """Name -> content."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :90]
    waves = np.stack([127 + 120 * np.sin(x / 7 + c) * np.cos(y / 5 - c) for c in range(3)], -1)
    colours = Image.fromarray((waves + rng.normal(0, 4, waves.shape)).clip(0, 255).astype(np.uint8))
    alpha = colours.copy()
    alpha.putalpha(Image.fromarray((x * 255 // 89).astype(np.uint8)))
    wide = Image.fromarray((waves[..., 0] * 250).clip(0, 65535).astype(np.uint16))
    files = {f"{mode}.png": _file(colours.convert(mode), "PNG") for mode in ("RGB", "L", "P", "1")}
    files |= {"RGBA.png": _file(alpha, "PNG"), "LA.png": _file(alpha.convert("LA"), "PNG")}
    files |= {
        "16-bit.png": _file(wide, "PNG"),
        "16-bit.tif": _file(wide, "TIFF"),
        "16-bit.pgm": _file(wide, "PPM"),
    }
    files["12-bit.png"] = _file(Image.fromarray((waves[..., 0] * 16).astype(np.uint16)), "PNG")
    files["palette.gif"] = _file(colours.quantize(16), "GIF", transparency=3)
    frames = [colours.rotate(40 * i) for i in range(3)]
    files["frames.gif"] = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for mode in ("RGB", "L", "CMYK", "YCbCr"):
        files[f"{mode}.jpg"] = _file(colours.convert(mode), "JPEG", quality=90)
    files["progressive.jpg"] = _file(colours, "JPEG", progressive=True, subsampling=0)
    files["large.jpg"] = _file(colours.resize((1000, 700)), "JPEG")
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = turn
        files[f"turn{turn}.jpg"] = _file(colours, "JPEG", exif=exif)
        files[f"turn{turn}.png"] = _file(colours, "PNG", exif=exif)
    for kind in ("WEBP", "TIFF", "BMP", "PPM"):
        files[f"colours.{kind.lower()}"] = _file(colours, kind)
    files["CMYK.tif"] = _file(colours.convert("CMYK"), "TIFF")
    files["alpha.webp"] = _file(alpha, "WEBP", lossless=True)
    for kind, feature in (("JPEG2000", "jpg_2000"), ("AVIF", "avif")):
        if features.check(feature):
            files[f"colours.{kind.lower()}"] = _file(colours, kind)
    for width, height in ((1, 1), (1, 300), (300, 1), (7, 5), (2000, 9)):
        files[f"{width}x{height}.png"] = _file(colours.resize((width, height)), "PNG")
    whole = files["RGB.jpg"]
    files |= {
        "cut.jpg": whole[: len(whole) // 2],
        "head.jpg": whole[:20],
        "empty.jpg": b"",
        "text.jpg": b"no image",
    }
    files["flipped.png"] = files["RGB.png"][:60] + b"\0\0\0\0" + files["RGB.png"][64:]
    files["float.tif"] = _file(Image.fromarray(waves[..., 0].astype(np.float32)), "TIFF")
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    files["bomb.png"] = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + b"\0\0\0\0"
    return files
