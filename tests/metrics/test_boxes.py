"""Boxes of labels, and their coverage of a grid."""

from __future__ import annotations

import numpy as np
import pytest

from labelwise.metrics.boxes import coverage, group_cases, points_in_boxes, union


def test_a_case_for_each_label_of_an_image() -> None:
    cases = group_cases(
        [[(2, 0.0, 0.0, 0.5, 1.0), (0, 0.0, 0.0, 1.0, 1.0), (2, 0.25, 0.0, 1.0, 0.5)], []], labels=3
    )
    assert [(case.image, case.label, case.others) for case in cases] == [(0, 2, 1), (0, 0, 1)]
    assert cases[0].boxes.tolist() == [[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 1.0, 0.5]]
    assert cases[0].area == pytest.approx(0.75)


def test_coverage_equals_a_rasterised_canvas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = np.sort(rng.integers(0, 60, (4, 2, 2)), axis=1)
        corners[:, 1] += corners[:, 0] == corners[:, 1]
        canvas = np.zeros((60, 60))
        for (x0, y0), (x1, y1) in corners:
            canvas[y0:y1, x0:x1] = 1
        cells = canvas.reshape(5, 12, 4, 15).mean((1, 3))
        boxes = corners.reshape(4, 4) / 60
        shares = coverage(np.linspace(0, 1, 5), np.linspace(0, 1, 6), boxes)
        np.testing.assert_allclose(shares, cells, atol=1e-12)
        assert union(boxes) == pytest.approx(canvas.mean())


def test_edges_of_boxes_are_inside() -> None:
    grid = np.array([0.2, 0.5, 0.9])
    box = np.array([[0.2, 0.5, 0.5, 0.6]])
    assert points_in_boxes(grid, grid, box).tolist() == [[False] * 3, [True, True, False], [False] * 3]
    assert points_in_boxes(grid, grid, box, (0.41, 0.0))[1].all()
    assert points_in_boxes(grid, grid, box, (0.0, 0.31))[:, 0].all()
