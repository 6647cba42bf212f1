"""The comparison of an export with its run: passes, refusals and their messages."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.engines import Described
from labelwise.export.parity import batches_of, compare, compare_batches

NAMES = ("cat", "dog")


class Fixed:
    """An engine with fixed outputs."""

    def __init__(self, logits: list[list[float]], maps: np.ndarray | None = None) -> None:
        self.name, self.has_maps = "the copy", maps is not None
        self._logits, self._maps = np.array(logits, np.float32), maps

    def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        return self._logits, self._maps if want_maps else None


class WithFeatures(Fixed):
    """An engine that also gives fixed features."""

    has_features = True

    def __init__(self, features: np.ndarray) -> None:
        super().__init__([[2.0, -1], [0.5, 3]], np.full((2, 2, 2, 2), 0.25))
        self._features = features

    def describe(self, images: Tensor) -> Described:
        return Described(self._logits, self._maps, self._features, self._features[:, 0])


def decisions(*thresholds: float) -> Decisions:
    return Decisions(np.array(thresholds), np.ones(2), np.zeros(2))


def run(ours: Fixed, theirs: Fixed, how: Decisions | None = None):
    batch = (["a.jpg", "b.jpg"], torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    return compare(ours, theirs, [batch], how or decisions(0.5, 0.5), NAMES)


def test_the_largest_difference_is_reported() -> None:
    parity = run(Fixed([[2.0, -1], [0.5, 3]]), Fixed([[2.0, -1.0001], [0.5, 3]]))
    p = 1 / (1 + np.exp(-np.float64(np.array([-1, -1.0001], np.float32))))
    assert parity.probability == pytest.approx(p[0] - p[1], rel=1e-9)
    assert (parity.images, parity.on_the_line, parity.maps) == (2, 0, None)
    assert str(parity) == "2 images: largest difference of a probability 2.0e-05, decisions identical"


def test_features_are_compared_by_their_distance() -> None:
    angle = np.array([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]]])
    turned = angle + np.array([[[0, 5e-4], [0, 0]], [[0, 0], [0, 2e-4]]])
    parity = run(WithFeatures(angle), WithFeatures(turned))
    assert parity.features == pytest.approx(5e-4)
    assert parity.to_json()["max_feature_distance"] == parity.features
    assert str(parity).endswith("features apart by at most 5.0e-04")
    with pytest.raises(LabelwiseError, match=r"the copy returns features at a distance of up to 0.002"):
        run(WithFeatures(angle), WithFeatures(angle + 4 * (turned - angle)))
    with pytest.raises(LabelwiseError, match=r"returns features at a distance of up to nan"):
        run(WithFeatures(angle), WithFeatures(angle * np.nan))


def test_a_difference_too_large_is_refused_saying_where() -> None:
    message = (
        r"the copy returns dog = 0.2679\d+ for a.jpg, where the run returns 0.2689\d+ at a threshold of "
        r"0.50000000; expected probabilities within 0.0001 and the same decisions; .*nothing was written"
    )
    with pytest.raises(LabelwiseError, match=message):
        run(Fixed([[2.0, -1], [0.5, 3]]), Fixed([[2.0, -1.005], [0.5, 3.0001]]))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"returns cat = nan for b.jpg"):
        run(Fixed([[0.0, 0], [0, 0]]), Fixed([[0.0, 0], [float("nan"), 0]]))
    with pytest.raises(LabelwiseError, match=r"returns logits of shape \[2, 1\] for \[2, 2\]"):
        run(Fixed([[0.0, 0], [0, 0]]), Fixed([[0.0], [0]]))


def test_another_decision_is_refused_however_near_the_probabilities() -> None:
    ours, theirs = Fixed([[1e-4, 3], [1, 1]]), Fixed([[-1e-4, 3], [1, 1]])
    with pytest.raises(
        LabelwiseError, match=r"returns cat = 0.49997\d+ for a.jpg, .* 0.50002\d+ at .*0.50000000"
    ):
        run(ours, theirs)


def test_a_decision_at_its_threshold_is_counted_and_passes() -> None:
    parity = run(Fixed([[1e-7, 3], [1, 1]]), Fixed([[-1e-7, 3], [1, 1]]))
    assert parity.on_the_line == 1
    assert str(parity).endswith("decisions identical but for 1 within 1e-5 of a threshold")
    assert parity.to_json()["decisions_on_the_threshold"] == 1


def test_calibration_counts() -> None:
    """A scale of 100 makes a difference of 1e-4 in the logit one of 2.5e-3 in the probability."""
    steep = Decisions(np.array([0.5, 0.5]), np.array([100.0, 1]), np.zeros(2))
    ours, theirs = Fixed([[0.001, 0], [1, 1]]), Fixed([[0.0011, 0], [1, 1]])
    assert run(ours, theirs).probability < 1e-4
    with pytest.raises(LabelwiseError, match="returns cat"):
        run(ours, theirs, steep)


def test_maps_are_compared() -> None:
    even = np.full((2, 2, 2, 2), 0.25, np.float32)
    other = even.copy()
    other[:, :, 0, 0], other[:, :, 1, 1] = 0.2501, 0.2499
    z = [[2.0, -1], [0.5, 3]]
    assert run(Fixed(z, even), Fixed(z, other)).maps == pytest.approx(1e-4, rel=1e-3)
    other[:, :, 0, 0], other[:, :, 1, 1] = 0.5, 0
    with pytest.raises(LabelwiseError, match=r"returns evidence maps at a mean distance of 0\.25"):
        run(Fixed(z, even), Fixed(z, other))


def test_batches_keep_order_and_names() -> None:
    named = [(str(i), torch.full((3, 1, 1), i)) for i in range(5)]
    batches = list(batches_of(named, 2))
    assert [ids for ids, _ in batches] == [["0", "1"], ["2", "3"], ["4"]]
    assert [batch[:, 0, 0, 0].tolist() for _, batch in batches] == [[0, 1], [2, 3], [4]]


class Doubled:
    """An engine that returns twice each image's first pixel; with a fault, more for the second image of a batch."""

    has_maps = False

    def __init__(self, name: str, fault: float = 0.0) -> None:
        self.name, self._fault, self.sizes = name, fault, list[int]()

    def __call__(self, images: Tensor, want_maps: bool = False) -> tuple[np.ndarray, None]:
        self.sizes.append(len(images))
        logits = 2 * images[:, 0, 0, :2].numpy().astype(np.float32)
        logits[1:2] += self._fault
        return logits, None


def in_batches(**runtimes: Doubled | Exception) -> dict[str, float | str]:
    photos = [(f"{i}.jpg", torch.full((3, 1, 2), float(i))) for i in range(5)]

    def opened(engine: Doubled | Exception) -> Doubled:
        if isinstance(engine, Exception):
            raise engine
        return engine

    made = [(name, partial(opened, engine)) for name, engine in runtimes.items()]
    return compare_batches(Doubled("the run"), made, photos, decisions(0.5, 0.5), NAMES)


def test_every_runtime_is_compared_in_batches_of_each_size() -> None:
    one, two = Doubled("one"), Doubled("two", 1e-6)
    found = in_batches(a=one, b=two, c=RuntimeError("no such operator\nat line 3"))
    assert one.sizes == two.sizes == [1, 2, 3, 8]
    assert found["one"] == 0
    assert 0 < float(found["two"]) < 1e-5
    assert found["c"] == "cannot open it (no such operator)"
    parity = replace(run(Fixed([[2.0, -1], [0.5, 3]]), Fixed([[2.0, -1], [0.5, 3]])), runtimes=found)
    assert str(parity).endswith("; batches of 1, 2, 3, 8 in one and two")
    assert parity.to_json()["runtimes"] == found


def test_a_runtime_that_is_right_for_one_image_only_is_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"two returns cat = .* for 2\.jpg, where the run returns"):
        in_batches(a=Doubled("one"), b=Doubled("two", 0.01))
