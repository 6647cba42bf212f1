"""Transforms: the window, the size, and randomness that depends only on its key."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from labelwise.data.fixed import shown_part
from labelwise.data.transforms import TransformConfig, build_transform, keyed

PLAIN = {"flip": 0.0, "multi_scale": ()}


def ramp(height: int, width: int) -> Tensor:
    """Red grows with x, green with y, both from 0 to 240."""
    y, x = torch.meshgrid(torch.linspace(0, 240, height), torch.linspace(0, 240, width), indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 90)]).round().to(torch.uint8)


def test_squash_equals_pillows_bicubic() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    picture = small.resize((90, 70), Image.Resampling.BICUBIC)
    seen = build_transform(TransformConfig(image_size=32), train=False)(
        torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    )
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    assert np.abs(seen.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width", "axis"), [(40, 80, 0), (80, 40, 1)])
def test_crop_takes_the_centre_and_squash_the_whole(height: int, width: int, axis: int) -> None:
    image = ramp(height, width)
    squash = build_transform(TransformConfig(image_size=16), train=False)(image)[axis].float()
    crop = build_transform(TransformConfig(image_size=16, resize="crop"), train=False)(image)[axis].float()
    assert squash.min() < 15
    assert squash.max() > 225
    assert 58 < crop.min() < 70
    assert 170 < crop.max() < 182
    assert abs(crop.mean() - 120) < 2


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize(("height", "width"), [(40, 80), (81, 40), (33, 33)])
def test_the_part_that_is_told_is_the_part_that_is_shown(resize: str, height: int, width: int) -> None:
    config = TransformConfig(image_size=16, resize=resize)  # type: ignore[arg-type]
    image = ramp(height, width)
    x0, y0, x1, y1 = shown_part(config, height, width)
    part = image[:, round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
    whole = build_transform(TransformConfig(image_size=16), train=False)
    assert torch.equal(build_transform(config, train=False)(image), whole(part))


def test_rectangles_are_height_then_width() -> None:
    config = TransformConfig(image_size=(24, 16), resize="crop")
    assert build_transform(config, train=False)(ramp(48, 48)).shape == (3, 24, 16)
    seen = build_transform(config, train=False)(ramp(48, 48)).float()
    assert seen[1].max() - seen[1].min() > 220  # the full height
    assert 140 < seen[0].max() - seen[0].min() < 165  # two thirds of the width


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["squash", "crop"]),
    st.sampled_from([(), (1.0,), (0.9, 0.5, 0.1)]),
    st.booleans(),
    st.integers(0, 2**40),
)
def test_any_image_gives_the_size_asked_for(
    height: int, width: int, resize: str, scales: tuple[float, ...], train: bool, key: int
) -> None:
    config = TransformConfig(image_size=(16, 24), resize=resize, multi_scale=scales, pad=2, cutout=0.4)
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    seen = keyed(build_transform(config, train), image, 0, 0, key)
    assert seen.shape == (3, 16, 24)
    assert seen.dtype == torch.uint8


def test_training_with_all_off_is_the_fixed_transform() -> None:
    config = TransformConfig(image_size=20, **PLAIN)
    image = ramp(33, 47)
    assert torch.equal(build_transform(config, True)(image), build_transform(config, False)(image))


def test_flip_mirrors_at_its_rate_and_only_in_training() -> None:
    config = TransformConfig(image_size=16, flip=0.25, multi_scale=())
    image, train = ramp(16, 16), build_transform(config, True)
    fixed = build_transform(config, False)(image)
    kinds = Counter()
    for index in range(400):
        seen = keyed(train, image, 0, 0, index)
        kinds[torch.equal(seen, fixed), torch.equal(seen, fixed.flip(-1))] += 1
    assert set(kinds) == {(True, False), (False, True)}
    assert 70 <= kinds[False, True] <= 130


def test_multi_scale_draws_each_size_and_moves_about() -> None:
    config = TransformConfig(image_size=32, flip=0, multi_scale=(1.0, 0.5))
    train, image = build_transform(config, True), ramp(64, 64)
    spans, starts = Counter(), set()
    for index in range(200):
        red = keyed(train, image, 0, 0, index)[0].float()
        span = (red.max() - red.min()).item()
        spans["whole" if span > 200 else "half"] += 1
        starts.add(int(red.min()) // 20)
        assert span > 200 or 105 < span < 130
    assert 70 < spans["half"] < 130
    assert starts >= {0, 1, 2, 3, 4, 5}


def test_pad_shifts_by_at_most_the_pad() -> None:
    config = TransformConfig(image_size=16, pad=3, **PLAIN)
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    image[:, 8, 8] = 255
    places = set()
    for index in range(300):
        seen = keyed(build_transform(config, True), image, 0, 0, index)[0]
        places.add(tuple(np.argwhere(seen.numpy() == 255)[0].tolist()))
    assert places == {(y, x) for y in range(5, 12) for x in range(5, 12)}


def test_cutout_covers_its_share_and_leaves_the_source_alone() -> None:
    config = TransformConfig(image_size=40, cutout=0.5, **PLAIN)
    image = torch.full((3, 40, 40), 7, dtype=torch.uint8)
    areas = []
    for index in range(100):
        hole = keyed(build_transform(config, True), image, 0, 0, index) != 7
        areas.append(int(hole[0].sum()))
        assert torch.equal(hole[0], hole[2])
    assert max(areas) in range(380, 421)
    assert min(areas) >= 90  # centred in a corner a quarter of it is left
    assert image.unique().tolist() == [7]


def test_randaugment_changes_training_images_only() -> None:
    config = TransformConfig(image_size=24, randaugment_ops=2, **PLAIN)
    image = ramp(24, 24)
    seen = [keyed(build_transform(config, True), image, 0, 0, index) for index in range(20)]
    assert sum(not torch.equal(one, image) for one in seen) > 15
    assert {one.shape for one in seen} == {(3, 24, 24)}
    assert torch.equal(build_transform(config, False)(image), image)


STRONG = TransformConfig(image_size=24, multi_scale=(1, 0.8, 0.6), randaugment_ops=2, cutout=0.3, pad=2)


def test_the_key_decides_and_the_global_state_is_left_alone() -> None:
    train, image = build_transform(STRONG, True), ramp(50, 60)
    torch.manual_seed(1)
    first = keyed(train, image, 3, 4, 5)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    torch.rand(100)
    assert torch.equal(keyed(train, image, 3, 4, 5), first)
    for key in ((4, 4, 5), (3, 5, 5), (3, 4, 6), (5, 4, 3)):
        assert not torch.equal(keyed(train, image, *key), first)


def test_similar_keys_have_independent_random_numbers() -> None:
    numbers = [
        keyed(lambda image: torch.rand(1), torch.zeros(1), seed, epoch, index).item()
        for seed in range(8)
        for epoch in range(8)
        for index in range(32)
    ]
    assert len(set(numbers)) > 2040
    table = np.array(numbers).reshape(8, 8, 32)
    for axis in range(3):
        a, b = np.delete(table, 0, axis).ravel(), np.delete(table, -1, axis).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    assert abs(np.mean(numbers) - 0.5) < 0.03


def test_shrinking_limit_covers_the_smallest_window() -> None:
    config = TransformConfig(image_size=(100, 60), multi_scale=(1.0, 0.5))
    assert build_transform(config, True).shrink_to == 200
    assert build_transform(config, False).shrink_to == 100


@pytest.mark.parametrize(
    "setting",
    [
        {"image_size": 4},
        {"flip": 1.5},
        {"multi_scale": (0.0,)},
        {"cutout": 1.0},
        {"resize": "fit"},
        {"size": 8},
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(setting))):
        TransformConfig(**setting)
