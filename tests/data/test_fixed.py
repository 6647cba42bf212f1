"""The transform on arrays equals that of torch to the bit, on random sizes and on odd files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from labelwise.data.decode import UnreadableImage
from labelwise.data.fixed import FixedTransform
from labelwise.data.resizing import resized
from labelwise.data.transforms import build_transform
from labelwise.export.artefact import Preprocessing
from odd_files import odd_files

HALF = (0.5, 0.5, 0.5)


def by_torch(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = torch.from_numpy(pixels)[None].contiguous(memory_format=torch.channels_last)
    bicubic = v2.InterpolationMode.BICUBIC
    return v2.functional.resize(image, list(size), interpolation=bicubic, antialias=True)[0].numpy()


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(8, 260), st.integers(8, 260)),
    st.booleans(),
    st.integers(0, 2**32),
)
@example((375, 500), (224, 224), False, 0)
@example((1, 20_000), (8, 8), True, 0)  # at the largest precision of the weights
@example((9_000, 3), (8, 9), True, 1)
def test_the_resize_is_that_of_torch(
    shape: tuple[int, int], size: tuple[int, int], extremes: bool, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8).transpose(2, 0, 1)
    if extremes:  # the largest overshoot
        pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
    assert np.array_equal(resized(pixels, size), by_torch(pixels, size))


def outcome(transform: Any, content: bytes) -> tuple[np.ndarray | None, list[str]]:
    notes: list[str] = []
    try:
        image = transform.decode(content, notes=notes)
    except UnreadableImage as error:
        return None, [str(error)]
    return np.asarray(transform(image)), notes


@pytest.mark.parametrize(
    "prepared",
    [
        Preprocessing((32, 48), "squash", HALF, HALF),
        Preprocessing((40, 32), "crop", HALF, HALF, larger=(64, 48)),
        Preprocessing((224, 224), "squash", HALF, HALF, bits=12),
    ],
    ids=["squash", "crop and two sizes", "12 bits"],
)
def test_odd_files_become_the_same_pixels_or_the_same_error(prepared: Preprocessing) -> None:
    ours, theirs = FixedTransform(prepared), build_transform(prepared.transform(), train=False)
    kinds = []
    for name, content in odd_files().items():
        (seen, told), (expected, said) = outcome(ours, content), outcome(theirs, content)
        assert told == said, name
        assert (seen is None) == (expected is None), name
        if seen is not None and expected is not None:
            assert seen.dtype == np.uint8, name
            assert np.array_equal(seen, expected), name
        kinds.append(seen is None)
    assert sum(kinds) >= 6
    assert len(kinds) - sum(kinds) >= 35


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (4, 32)}, "sides outside 8 to 4096"),
        ({"resize": "pad"}, "'pad', which is none"),
        ({"bits": 7}, "8 to"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"size": (32, 32), "resize": "squash", "mean": HALF, "std": HALF, **change})
