from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwise.reports import figures
from labelwise.reports.heatmap import heat_map


def parsed(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_inside_in_equal_steps(low: float, span: float, count: int) -> None:
    high = low + span
    ticks = figures.nice_ticks(low, high, count)
    assert all(low - 1e-6 * span <= tick <= high + 1e-6 * span for tick in ticks)
    assert 1 <= len(ticks) <= count + 2
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0] if len(steps) else 0, rtol=1e-4)


def test_ticks_of_nothing() -> None:
    assert figures.nice_ticks(3, 3) == [3]


def test_a_frame_maps_corners_to_corners() -> None:
    frame = figures.Frame((10, 20), (0, 1), (100, 50), (5, 4, 3, 2))
    assert frame.at(10, 0) == (5, 48)
    assert frame.at(20, 1) == (97, 4)
    assert frame.path([(10, 0), (20, 1)]) == "M5.0 48.0L97.0 4.0"


def test_the_chosen_epoch_is_ringed_at_its_place() -> None:
    chart = parsed(figures.epoch_chart([(1, 0.5), (2, 0.7), (3, 0.6)], best=2))
    ring = next(item for item in chart if item.get("class") == "best")
    points = [item for item in chart if item.get("class") == "point"]
    assert (ring.get("cx"), ring.get("cy")) == (points[1].get("cx"), points[1].get("cy"))
    assert "epoch 2: 0.700" in [item.text for item in chart]


def test_epoch_ticks_are_whole_epochs_of_the_log() -> None:
    chart = parsed(figures.epoch_chart([(1, 0.5), (2, 0.7)], best=None))
    below = [item.text for item in chart if item.get("text-anchor") != "end" and item.get("class") == "tick"]
    assert set(below) <= {"1", "2"}
    assert not [item for item in chart if item.get("class") == "best"]


def test_a_long_loss_is_thinned_and_smoothed() -> None:
    noise = np.random.default_rng(0).normal(1, 0.2, 50_000)
    chart = figures.loss_chart([(float(i), float(y)) for i, y in enumerate(noise)])
    raw, smooth = re.findall(r' d="([^"]+)"', chart)
    assert raw.count("L") == 399
    assert smooth.count("L") == 199

    def spread(path: str) -> float:
        return float(np.std([float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)][20:]))

    assert spread(smooth) < spread(raw) / 5


def test_a_loss_that_never_moves_is_drawn() -> None:
    parsed(figures.loss_chart([(0.0, 0.0), (1.0, 0.0)]))


def test_bars_have_the_height_of_roots() -> None:
    path = figures.bars_path(figures.SMALL_BARS, np.array([0.25, 0.0, 1.0]), 1.0, 1)
    heights = [float(base) - float(end) for base, end in re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", path)]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.1)


def test_charts_are_well_formed_and_escaped() -> None:
    name = '<script>alert("x")</script> & "co"'
    shares = np.array([0.5, 0.5])
    for chart in (
        figures.curve_tile([(0, 1), (1, 0.5)], (0.5, 0.7), name),
        figures.histogram_tile(shares, shares, 0.4, name),
        figures.histogram_tile(0 * shares, 0 * shares, 0.4, name),
        heat_map(np.full((2, 2), 0.2), np.full((2, 2), 9), [name, "dog"]),
    ):
        assert "<script" not in chart
        parsed(chart)


def test_the_matrix_leaves_cells_of_few_images_blank() -> None:
    rate = np.array([[np.nan, 0.5, 0.25], [0.0, np.nan, 1.0], [0.1, np.nan, np.nan]])
    chances = np.array([[0, 10, 20], [30, 0, 4], [40, 0, 0]])
    chart = parsed(heat_map(rate, chances, ["cat", "dog", "sofa"]))
    tinted = [item for item in chart if item.get("class") == "cell"]
    tips = [item[0].text for item in tinted]
    assert tips == [
        "cat without dog, 10 images: 50.0 % predicted dog",
        "cat without sofa, 20 images: 25.0 % predicted sofa",
        "dog without cat, 30 images: 0.0 % predicted cat",
        "sofa without cat, 40 images: 10.0 % predicted cat",
    ]
    assert [item.get("fill-opacity") for item in tinted] == ["1.00", "0.52", "0.04", "0.23"]
    assert len([item for item in chart if item.get("class") == "blank"]) == 2
    assert [item.text for item in chart if "value" in item.get("class", "")] == ["50", "25", "10"]


def test_a_matrix_without_any_chance_is_drawn() -> None:
    parsed(heat_map(np.full((2, 2), np.nan), np.zeros((2, 2), dtype=np.int64), ["cat", "dog"]))
