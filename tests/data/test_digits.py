"""Digit scenes: equal for equal arguments, no handwriting shared by splits, boxes around the ink."""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from labelwise.data.digits import make_scene, make_scenes, source_split
from labelwise.errors import LabelwiseError


def picture(dataset: object, row: int) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(dataset.encoded(row))))


@pytest.fixture(scope="module")
def scenes() -> object:
    return make_scenes(seed=0, train=120, val=20, test=40)


def test_the_table(scenes: object) -> None:
    assert scenes.splits() == {"train": 120, "val": 20, "test": 40}
    assert scenes.labels.names == tuple("0123456789")
    assert scenes.values.dtype == np.uint8
    assert scenes.known.all()
    assert picture(scenes, 0).shape == (96, 96, 3)
    count = scenes.values.sum(1)
    assert count.min() >= 1
    assert count.max() <= 5
    assert 2 < count.mean() < 3.5
    assert scenes.split("train").values.sum(0).min() > 10


def test_labels_are_those_of_the_boxes(scenes: object) -> None:
    for row in range(len(scenes)):
        boxes = scenes.boxes_of(row)
        assert {label for label, *_ in boxes} == set(np.flatnonzero(scenes.values[row]).tolist())
        for _, x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert 9 / 96 < y1 - y0 < 46 / 96


def test_no_handwriting_is_shared_and_each_class_is_divided() -> None:
    parts = source_split(0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(1797))
    classes = load_digits().target
    for digit in range(10):
        total = (classes == digit).sum()
        for part, share in zip(parts, (0.6, 0.15, 0.25), strict=True):
            assert abs((classes[part] == digit).sum() - share * total) <= 1
    assert not np.array_equal(parts[2], source_split(1)[2])


def test_boxes_are_tight_around_the_ink() -> None:
    """With a pool of one solid square, the painted pixels touch all four sides of a box and no others."""
    square = Image.new("L", (8, 8), 255)
    for seed in range(20):
        scene = make_scene([[square]] * 10, np.random.default_rng(seed), 96)
        for _, x0, y0, x1, y1 in scene.digits:
            inside = scene.image[y0:y1, x0:x1].astype(int)
            middle = inside[inside.shape[0] // 2, inside.shape[1] // 2]
            ink = np.abs(inside - middle).max(-1) < 60
            assert ink.any(0).mean() > 0.9
            assert ink.any(1).mean() > 0.9
            around = scene.image[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2].astype(int)
            rim = np.concatenate([around[0], around[-1]])
            assert (np.abs(rim - middle).max(-1) < 60).mean() < 0.4


def test_digits_do_not_touch(scenes: object) -> None:
    for row in range(len(scenes)):
        boxes = [np.round(np.array(box[1:]) * 96) for box in scenes.boxes_of(row)]
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_scenes_repeat_and_do_not_hang_on_the_counts(scenes: object) -> None:
    again = make_scenes(seed=0, train=3, val=1, test=2)
    for row, same in ((0, 0), (2, 2), (3, 120), (4, 140), (5, 141)):
        assert np.array_equal(picture(again, row), picture(scenes, same))
        assert again.boxes_of(row) == scenes.boxes_of(same)
    other = make_scenes(seed=1, train=1, val=0, test=0)
    assert not np.array_equal(picture(other, 0), picture(scenes, 0))


def test_pixels_are_the_ones_of_before(scenes: object) -> None:
    """Guards published figures: a change of the scenes must be a decision."""
    digest = hashlib.sha256()
    for row in (*range(8), 120, 140):
        digest.update(picture(scenes, row).tobytes())
    assert digest.hexdigest()[:16] == "1fde78cf4a997bef"


def test_other_sizes_scale_the_scene() -> None:
    small = make_scenes(train=10, val=0, test=0, size=64)
    assert picture(small, 0).shape == (64, 64, 3)
    heights = [y1 - y0 for row in range(10) for _, _, y0, _, y1 in small.boxes_of(row)]
    assert 0.1 < min(heights) < max(heights) < 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": -1}, "-1 train, 500 val and 1000 test scenes; expected numbers from 0 on"),
        ({"train": 0, "val": 0, "test": 0}, "request at least one scene"),
        ({"size": 32}, "size 32 and seed 0; expected a size from 64"),
        ({"seed": -1}, "seed from 0"),
    ],
)
def test_wrong_arguments(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        make_scenes(**wrong)
