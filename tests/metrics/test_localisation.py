from __future__ import annotations

import time

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
    metrics = game.compute()
    assert metrics["score"] == 0.5
    assert metrics["tested"] == [2, 0]
    assert metrics["per_label"][0] == 0.5
    assert np.isnan(metrics["per_label"][1])
    assert metrics["centre"] == 0.5
    assert metrics["area"] == pytest.approx(0.04)
    assert np.isnan(PointingGame(labels=1).compute()["score"])


def test_found_cases_are_those_that_were_called_and_count_alike():
    game = PointingGame(labels=2)
    maps = torch.cat((peaked(3, 3), peaked(0, 0)), dim=1)
    middle, corner = (0, 0.4, 0.4, 0.6, 0.6), (0, 0.0, 0.0, 0.2, 0.2)
    game.update(maps, [[middle, (1, 0.0, 0.0, 0.2, 0.2)]], called=np.array([[True, True]]))
    for box, called in ((middle, True), (corner, True), (corner, False)):
        game.update(maps, [[box]], called=np.array([[called, False]]))
    metrics = game.compute()
    assert metrics["score_found"] == 3 / 4  # of label 0 two of three, of label 1 the only one
    assert metrics["centre_found"] == 2 / 4
    assert metrics["score_found_hard"] == 1.0  # those of the first image
    assert metrics["area_found"] == pytest.approx(0.04)
    assert metrics["score"] == (2 / 4 + 1) / 2
    game = PointingGame(labels=2)
    game.update(maps, [[middle]])
    assert np.isnan(game.compute()["score_found"])


def test_joined_games_equal_one():
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(6, 2, 4, 4, generator=generator)
    boxes = [[(i % 2, 0.1, 0.2, 0.6, 0.9)] for i in range(6)]
    whole, parts = PointingGame(labels=2), [PointingGame(labels=2), PointingGame(labels=2)]
    whole.update(maps, boxes)
    parts[0].update(maps[:5], boxes[:5])
    parts[1].update(maps[5:], boxes[5:])
    joined, at_once = PointingGame.joined(parts).compute(), whole.compute()
    assert joined.keys() == at_once.keys()
    for name, value in joined.items():
        np.testing.assert_allclose(value, at_once[name], rtol=1e-12, err_msg=name)


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


def test_energy_equals_a_fine_canvas():
    generator = torch.Generator().manual_seed(4)
    maps = torch.rand(3, 2, 3, 5, generator=generator)
    boxes = [
        [(0, 0.1, 0.2, 0.5, 0.7), (0, 0.3, 0.5, 0.9, 0.9), (1, 0.0, 0.0, 0.15, 1.0)],
        [(1, 0.25, 0.35, 0.55, 0.4)],
        [],
    ]
    inside, outside = F.energy(maps, boxes)
    expected = np.zeros(2)
    for image, rows in enumerate(boxes):
        for label in {row[0] for row in rows}:
            canvas = np.zeros((300, 500), bool)  # a whole number of its pixels fills each cell and each box
            for _, x0, y0, x1, y1 in (row for row in rows if row[0] == label):
                canvas[round(300 * y0) : round(300 * y1), round(500 * x0) : round(500 * x1)] = True
            large = maps[image, label].double().numpy().repeat(100, 0).repeat(100, 1)
            expected[label] += large[canvas].sum() / large.sum()
    np.testing.assert_allclose(inside, expected, atol=1e-9)
    np.testing.assert_allclose(inside + outside, [1, 2])


def test_energy_of_a_part_of_the_image():
    left = [(0.0, 0.0, 0.5, 1.0)]
    inside, _ = F.energy(torch.ones(1, 1, 2, 2), [[(0, 0.25, 0.0, 1.0, 1.0)]], covers=left)
    assert inside.tolist() == pytest.approx([0.5])


def test_even_map_has_the_energy_of_its_area_and_so_has_a_map_of_zeros():
    boxes = [[(0, 0.25, 0.0, 0.75, 0.5), (0, 0.6, 0.1, 0.8, 0.4)]]
    area = F.pointing_area(boxes, labels=1)[0]
    for value in (1 / 49, 0.0):
        np.testing.assert_allclose(F.energy(torch.full((1, 1, 7, 7), value), boxes)[0], area)


def test_hard_cases_are_small_and_not_alone():
    small, large = (0.0, 0.0, 0.4, 0.6), (0.0, 0.0, 0.5, 0.5)  # .24 and .25 of the image
    maps = torch.cat((peaked(0, 0), peaked(6, 6)), dim=1)
    game = PointingGame(labels=2)
    game.update(maps, [[(0, *small)]])  # alone
    game.update(maps, [[(0, *large), (1, *large)]])  # too large
    assert game.compute()["tested_hard"] == [0, 0]
    game.update(maps, [[(0, *small), (1, *large)]])
    game.update(maps, [[(0, *small), (1, *small)]])
    metrics = game.compute()
    assert (metrics["tested"], metrics["tested_hard"]) == ([4, 3], [2, 1])
    assert metrics["score_hard"] == 0.5  # label 0 hits in both, label 1 misses in its one
    assert metrics["energy_hard"] == 0.5
    assert metrics["centre_hard"] == 0
    assert metrics["area_hard"] == pytest.approx(0.24)


def test_negative_evidence_has_no_energy():
    with pytest.raises(LabelwiseError, match="maps of image 0 below 0; expected evidence of 0 or more"):
        F.energy(-peaked(1, 1), [[(0, 0.0, 0.0, 1.0, 1.0)]])


def test_even_maps_cost_little_more_than_peaked_ones():
    """Every pixel of a uniform map is its peak; checking them one by one would be ten times as slow."""
    boxes = [[(i % 20, 0.1, 0.2, 0.6, 0.9), ((i + 1) % 20, 0.0, 0.0, 0.3, 0.3)] for i in range(64)]
    spent = {}
    for name, maps in (("peaked", torch.rand(64, 20, 7, 7)), ("even", torch.full((64, 20, 7, 7), 1 / 49))):
        F.pointing(maps, boxes)
        before = time.process_time()
        F.pointing(maps, boxes)
        spent[name] = time.process_time() - before
    assert spent["even"] < 5 * spent["peaked"]
