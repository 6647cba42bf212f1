from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_run import FakeDataset, FakePredictor, photographs, write_run

from labelwise.errors import LabelwiseError
from labelwise.inference.overlays import tint
from labelwise.reports.pictures import make_tiles, thumbnail
from labelwise.reports.record import RunRecord, read_run
from labelwise.reports.tallies import Pick

NAMES = ("cat", "dog", "sofa")


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    return read_run(write_run(tmp_path / "run", NAMES, images=12, epochs=1))


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))


def test_a_map_is_brightest_at_its_peak() -> None:
    evidence = np.zeros((8, 8), dtype=np.float32)
    evidence[1, 6] = 0.3
    picture = np.asarray(tint(evidence)).astype(int)
    row, column = np.unravel_index(picture[..., :3].sum(-1).argmax(), picture.shape[:2])
    assert (row // 8, column // 8) == (1, 6)
    assert picture[row, column, 3] > picture[-1, 0, 3]


def test_lightness_rises_with_the_evidence() -> None:
    ramp = np.asarray(tint(np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1)))).astype(float)[32]
    lightness = ramp[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) >= -1).all()
    assert lightness[-1] > 4 * lightness[0]


@pytest.mark.parametrize("value", [0.0, 0.02])
def test_a_flat_map_is_clear(value: float) -> None:
    assert np.asarray(tint(np.full((7, 7), value, dtype=np.float32)))[..., 3].max() == 0


@pytest.mark.parametrize(("size", "expected"), [((300, 600), (256, 128)), ((40, 30), (30, 40))])
def test_a_thumbnail_keeps_the_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail(torch.zeros(3, *size, dtype=torch.uint8)).size == expected


def test_a_tile_tells_label_score_and_company(run: RunRecord) -> None:
    dataset = FakeDataset(photographs(12), boxes=((1, 0.25, 0.5, 0.75, 1.0), (2, 0.0, 0.0, 0.1, 0.1)))
    (tile,) = make_tiles(run, "test", [Pick(4, 1, 0.0)], FakePredictor(), dataset)
    scores = run.scores["test"]
    others = scores.true[4] & scores.known[4] & np.array([True, False, True])
    assert (tile.label, tile.image) == ("dog", "image-4")
    assert tile.score == pytest.approx(scores.probabilities[4, 1])
    assert tile.threshold == run.thresholds[1]
    assert tile.others == tuple(np.array(NAMES)[others])
    assert tile.boxes == ((25.0, 50.0, 50.0, 50.0),)
    assert opened(tile.photo).size == tile.size == (80, 60)
    assert opened(tile.overlay).mode == "RGBA"


def test_the_model_gets_each_pair(run: RunRecord) -> None:
    requests = []

    class Asked(FakePredictor):
        def evidence(self, images: list, label_indices: list[int]) -> list[np.ndarray]:
            requests.append((images, label_indices))
            return super().evidence(images, label_indices)

    photos = photographs(12)
    make_tiles(run, "test", [Pick(4, 1, 0.0), Pick(2, 0, 0.0)], Asked(), FakeDataset(photos))
    assert requests == [([photos[4], photos[2]], [1, 0])]


def test_an_unreadable_image_is_left_out(run: RunRecord, tmp_path: Path) -> None:
    photos: list[bytes | Path] = [*photographs(12)]
    photos[4] = b"no image"
    photos[5] = tmp_path / "gone.jpg"
    picks = [Pick(4, 1, 0.0), Pick(5, 1, 0.0), Pick(6, 0, 0.0)]
    tiles = make_tiles(run, "test", picks, FakePredictor(), FakeDataset(photos))
    assert [tile.image for tile in tiles] == ["image-6"]


def test_another_data_set_is_refused(run: RunRecord) -> None:
    dataset = FakeDataset(photographs(12), prefix="other-")
    with pytest.raises(LabelwiseError, match="'image-4' of the scores is not in the data set"):
        make_tiles(run, "test", [Pick(4, 1, 0.0)], FakePredictor(), dataset)
