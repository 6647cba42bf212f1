from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from labelwise.errors import LabelwiseError
from labelwise.metrics import PointingGame
from labelwise.metrics import functional as F


def peaked(x: int, y: int, height: int = 7, width: int = 7) -> torch.Tensor:
    maps = torch.zeros(1, 1, height, width)
    maps[0, 0, y, x] = 1.0
    return maps


def test_hit_and_miss_by_label():
    maps = torch.cat((peaked(1, 2), peaked(5, 5)), dim=1)
    around = (0, 1 / 7, 2 / 7, 2 / 7, 3 / 7)
    hits, misses = F.pointing(maps, [[around, (1, 0.0, 0.0, 0.5, 0.5)]])
    assert hits.tolist() == [1, 0]
    assert misses.tolist() == [0, 1]


def test_any_box_of_the_label_counts_and_boxes_of_others_do_not():
    boxes = [(0, 0.9, 0.9, 1.0, 1.0), (0, 0.4, 0.4, 0.6, 0.6)]
    assert F.pointing(peaked(3, 3), [boxes])[0].tolist() == [1]
    maps = torch.cat((peaked(3, 3), peaked(0, 0)), dim=1)
    hits, misses = F.pointing(maps, [[(0, 0.9, 0.9, 1.0, 1.0), (1, 0.4, 0.4, 0.6, 0.6)]])
    assert (hits.tolist(), misses.tolist()) == ([0, 0], [1, 1])


def test_slow_reference_on_real_sizes():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 3, 5, 6, generator=generator)
    sizes = [(100, 224), (224, 180), (224, 224), (50, 224), (224, 31), (223, 224)]
    boxes = [[(label, 0.2, 0.1, 0.7, 0.8) for label in range(3)] for _ in range(6)]
    hits, misses = F.pointing(maps, boxes, sizes)
    expected = np.zeros(3)
    for image, (height, width) in enumerate(sizes):
        for label in range(3):
            large = interpolate(maps[image : image + 1, label : label + 1], (height, width), mode="bilinear")[
                0, 0
            ]
            y, x = divmod(int(large.argmax()), width)
            expected[label] += (
                0.2 * width <= x + 0.5 <= 0.7 * width and 0.1 * height <= y + 0.5 <= 0.8 * height
            )
    assert hits.tolist() == pytest.approx(expected.tolist(), abs=0.5)  # a shared peak may split one image
    assert (hits + misses).tolist() == [6, 6, 6]


def test_flipping_image_and_boxes_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(20, 2, 4, 4, generator=generator)
    boxes = [[(0, 0.0, 0.0, 0.3, 0.6), (1, 0.6, 0.1, 0.95, 0.9)] for _ in range(20)]
    turned = [[(label, 1 - x1, 1 - y1, 1 - x0, 1 - y0) for label, x0, y0, x1, y1 in rows] for rows in boxes]
    straight, flipped = F.pointing(maps, boxes), F.pointing(maps.flip(2, 3), turned)
    np.testing.assert_allclose(straight, flipped, atol=1e-9)
    assert 0 < straight[0].sum() < 40


def test_even_map_scores_the_area():
    hits, _ = F.pointing(torch.full((1, 1, 7, 7), 1 / 49), [[(0, 0.25, 0.0, 0.75, 0.5)]])
    assert hits[0] == pytest.approx(0.25)


def test_tolerance_and_cover():
    box = [[(0, 0.75, 0.0, 1.0, 1.0)]]
    assert F.pointing(peaked(4, 3), box)[0].tolist() == [0]  # peak at 4.5 / 7 = .643
    assert F.pointing(peaked(4, 3), box, tolerance=30.0)[0].tolist() == [1]
    assert F.pointing(peaked(4, 3), box, covers=[(0.5, 0.0, 1.0, 1.0)])[0].tolist() == [1]


def test_baselines():
    boxes = [[(0, 0.0, 0.0, 0.5, 0.5), (0, 0.25, 0.25, 0.75, 0.75)], [(1, 0.6, 0.6, 1.0, 1.0)], []]
    centre = F.pointing_centre(boxes, labels=3)
    assert [part.tolist() for part in centre] == [[1, 0, 0], [0, 1, 0]]
    hits, misses = F.pointing_area(boxes, labels=3)
    assert hits.tolist() == pytest.approx([0.25 + 0.25 - 0.0625, 0.16, 0])
    assert (hits + misses).tolist() == [1, 1, 0]


def test_union_against_a_drawn_canvas():
    rng = np.random.default_rng(3)
    corners = np.sort(rng.integers(0, 51, (6, 2, 2)), axis=1)
    corners[:, 1] += corners[:, 0] == corners[:, 1]
    boxes = [(0, *(float(v) / 51 for v in (a[0], a[1], b[0], b[1]))) for a, b in corners]
    canvas = np.zeros((51, 51), bool)
    for (x0, y0), (x1, y1) in corners:
        canvas[y0:y1, x0:x1] = True
    assert F.pointing_area([boxes], labels=1)[0][0] == pytest.approx(canvas.mean())


def test_game_accumulates_and_skips_untested_labels():
    game = PointingGame(labels=2)
    maps = torch.cat((peaked(3, 3), peaked(0, 0)), dim=1)
    game.update(maps, [[(0, 0.4, 0.4, 0.6, 0.6)]])
    game.update(maps, [[(0, 0.0, 0.0, 0.2, 0.2)]], sizes=[(300, 400)])
    found = game.compute()
    assert found["score"] == 0.5
    assert found["tested"] == [2, 0]
    assert found["per_label"][0] == 0.5
    assert np.isnan(found["per_label"][1])
    assert found["centre"] == 0.5
    assert found["area"] == pytest.approx(0.04)
    assert np.isnan(PointingGame(labels=1).compute()["score"])


def test_joined_games_equal_one():
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(6, 2, 4, 4, generator=generator)
    boxes = [[(i % 2, 0.1, 0.2, 0.6, 0.9)] for i in range(6)]
    whole, parts = PointingGame(labels=2), [PointingGame(labels=2), PointingGame(labels=2)]
    whole.update(maps, boxes)
    parts[0].update(maps[:5], boxes[:5])
    parts[1].update(maps[5:], boxes[5:])
    assert PointingGame.joined(parts).compute() == whole.compute()


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([], "boxes of 0 images; expected 1, as the maps"),
        (
            [[(1, 0.0, 0.0, 1.0, 1.0)]],
            r"box \(1, 0\.0, 0\.0, 1\.0, 1\.0\) of image 0; expected \(label below 1",
        ),
        ([[(0, 10.0, 0.0, 20.0, 1.0)]], "divide pixels by the image's width and height"),
        ([[(0, 0.5, 0.0, 0.5, 1.0)]], "0 <= x0 < x1 <= 1"),
    ],
)
def test_errors(boxes, text):
    with pytest.raises(LabelwiseError, match=text):
        F.pointing(peaked(1, 1), boxes)


def test_bad_maps():
    with pytest.raises(LabelwiseError, match="maps of image 0 with NaN or infinity; expected finite maps"):
        F.pointing(peaked(1, 1) * torch.nan, [[(0, 0.0, 0.0, 1.0, 1.0)]])
    with pytest.raises(LabelwiseError, match="maps of 1 labels; expected 3"):
        PointingGame(labels=3).update(peaked(1, 1), [[]])
