"""Quick ways to pixels and batches, against Pillow and torch doing the same plainly."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelwise.data import decode
from labelwise.data.decode import UnreadableImage, decode_image, portable_pixmap
from labelwise.data.loading import stacked


def jpeg(draw: st.DataObject) -> bytes:
    """A JPEG of any size, sampling, order, colour and orientation."""
    width, height = draw.draw(st.integers(1, 70)), draw.draw(st.integers(1, 70))
    rng = np.random.default_rng(draw.draw(st.integers(0, 9)))
    coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image = image.convert(draw.draw(st.sampled_from(["RGB", "L", "CMYK"])))
    exif = Image.Exif()
    exif[274] = draw.draw(st.integers(0, 9))
    options = {"restart_marker_blocks": 3} if draw.draw(st.booleans()) else {}
    buffer = BytesIO()
    image.save(
        buffer,
        "JPEG",
        quality=draw.draw(st.integers(5, 98)),
        subsampling=draw.draw(st.integers(0, 2)),
        progressive=draw.draw(st.booleans()),
        exif=exif,
        **options,
    )
    return buffer.getvalue()


def by_pillow(content: bytes, shrink_to: int | None) -> torch.Tensor | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_pixels_of_plain_jpeg", lambda image: None)
        return pixels_or_reason(content, shrink_to)


def pixels_or_reason(content: bytes, shrink_to: int | None) -> torch.Tensor | str:
    try:
        return decode_image(content, shrink_to=shrink_to)
    except UnreadableImage as error:
        return str(error)


def same(one: torch.Tensor | str, other: torch.Tensor | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and one == other
    return torch.equal(one, other)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_jpeg_pixels_are_pillows_to_the_bit(draw: st.DataObject) -> None:
    content, shrink_to = jpeg(draw), draw.draw(st.sampled_from([None, 8, 64]))
    pixels = pixels_or_reason(content, shrink_to)
    assert same(pixels, by_pillow(content, shrink_to))
    assert not isinstance(pixels, str)
    assert pixels.permute(1, 2, 0).is_contiguous()


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd tags
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_jpegs_end_as_they_end_with_pillow(draw: st.DataObject) -> None:
    content = bytearray(jpeg(draw))
    for _ in range(draw.draw(st.integers(0, 3))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(content[: draw.draw(st.integers(len(content) // 3, len(content)))])
    assert same(pixels_or_reason(cut, None), by_pillow(cut, None))


def test_the_quick_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the equalities above would compare Pillow with itself."""
    buffer = BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, "JPEG")
    monkeypatch.setattr(Image.Image, "convert", None)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert decode_image(buffer.getvalue()).shape == (3, 7, 9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_pixmaps_hold_the_pixels_and_pillow_reads_them(height: int, width: int, seed: int) -> None:
    image = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed))
    content = portable_pixmap(image.to(torch.uint8))
    assert torch.equal(decode_image(content), image.to(torch.uint8))
    seen = np.asarray(Image.open(BytesIO(content)))
    assert np.array_equal(seen, image.permute(1, 2, 0).numpy())
    with pytest.raises(UnreadableImage):
        decode_image(content[:-1])
    with pytest.raises(UnreadableImage, match="at most 0"):
        decode_image(content, max_pixels=0)
    with suppress(UnreadableImage):
        assert decode_image(content + b"x").shape == image.shape


def test_stacking_equals_torch() -> None:
    images = [torch.randint(0, 256, (5, 6, 3), dtype=torch.uint8).permute(2, 0, 1) for _ in range(4)]
    batch = stacked(images)
    assert torch.equal(batch, torch.stack(images))
    assert batch.is_contiguous()
    halves = [torch.rand(2, 3).half() for _ in range(2)]
    assert torch.equal(stacked(halves), torch.stack(halves))
    with pytest.raises(RuntimeError, match="equal size"):
        stacked([torch.zeros(3, 2, 2), torch.zeros(3, 2, 1)])
