"""Features of a box equal a slow computation, and bad boxes are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import labelwise as lw
from labelwise.collection.appearance import SIDES, early_stage
from labelwise.collection.boxes import WHOLE, Box, boxes_of, cut_regions, read_box, seen_box
from labelwise.collection.features import HEAD_WEIGHTS, Embedder
from labelwise.collection.queries import look_at
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.engines import Eager
from labelwise.inference.predictor import Predictor
from labelwise.methods import create_method
from labelwise.runs.views import with_views
from labelwise.types import LabelSet
from tiny_runs import command

VOC = Path(__file__).parents[3] / "shared" / "data" / "voc2007"
BOXES: list[Box] = [(0.1, 0.3, 0.55, 0.9), (0.0, 0.0, 0.5, 0.5), (0.72, 0.81, 0.74, 0.82)]


def embedder(method: str, side: int = 96, resize: str = "squash", views: str = "none") -> Embedder:
    torch.manual_seed(0)
    labels = LabelSet(("a", "b", "c"))
    model = create_method(method, labels, "resnet10t", weights="none", image_size=side).model.eval()
    transform = build_transform(TransformConfig(image_size=side, resize=resize), train=False)
    eager = Eager(with_views(model, views, [(side, side)]), "cpu")
    return Embedder(Predictor(labels, Decisions.plain(labels), transform, eager))


def noise(side: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=generator)


def slow_sample(x: np.ndarray, v: float, u: float) -> np.ndarray:
    """Channels between the places of a map `[C, h, w]`, at row `v` and column `u`."""
    (rows, columns), out = x.shape[1:], np.zeros(len(x))
    v, u = min(max(v, 0), rows - 1), min(max(u, 0), columns - 1)
    for i in (int(v), min(int(v) + 1, rows - 1)):
        for j in (int(u), min(int(u) + 1, columns - 1)):
            out += (
                max(0, 1 - abs(i - v))
                * max(0, 1 - abs(j - u))
                * x[:, i, j]
                / (1 + (i == v == rows - 1))
                / (1 + (j == u == columns - 1))
            )
    return out


def slow_cut(x: np.ndarray, box: Box) -> np.ndarray:
    (c, h, w), (x0, y0, x1, y1) = x.shape, box
    out = np.zeros((c, h, w))
    for i in range(h):
        for j in range(w):
            row, column = (y0 + (i + 0.5) / h * (y1 - y0)) * h, (x0 + (j + 0.5) / w * (x1 - x0)) * w
            out[:, i, j] = slow_sample(x, row - 0.5, column - 0.5)
    return out


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def slow_features(by: Embedder, image: torch.Tensor, box: Box) -> np.ndarray:
    """`[L, D]`, by loops over places, cells and pixels in float64."""
    model = by._engine.model
    with torch.no_grad():
        stages: list[torch.Tensor] = []
        stage = early_stage(model.backbone.net)
        assert stage is not None
        hook = stage[0].register_forward_hook(lambda module, given, output: stages.append(output))
        feature_map = model.backbone(image)[0].double().numpy()
        hook.remove()
        part = torch.tensor(slow_cut(feature_map, box))[None].float()
        output = model(part, want_maps=True, is_map=True)
    early = slow_cut(stages[0][0].double().numpy(), box)
    maps, pixels = output.maps[0].double().numpy(), image[0].numpy()
    (h, w), side = maps.shape[1:], pixels.shape[1]
    out = []
    for label, evidence in enumerate(maps):
        looks, colours = np.zeros(len(early)), np.zeros(SIDES**3)
        for i in range(h):
            for j in range(w):
                cell = early[:, i * early.shape[1] // h : (i + 1) * early.shape[1] // h]
                cell = cell[:, :, j * early.shape[2] // w : (j + 1) * early.shape[2] // w]
                looks += evidence[i, j] * cell.mean((1, 2))
                counts = np.zeros(SIDES**3)
                for y in range(i * side // h, (i + 1) * side // h):
                    for x in range(j * side // w, (j + 1) * side // w):
                        row = int((box[1] + (y + 0.5) / side * (box[3] - box[1])) * side)
                        column = int((box[0] + (x + 0.5) / side * (box[2] - box[0])) * side)
                        red, green, blue = (int(value) * SIDES // 256 for value in pixels[:, row, column])
                        counts[(red * SIDES + green) * SIDES + blue] += 1
                colours += evidence[i, j] * counts / counts.sum()
        own = unit(output.features[0, label].double().numpy())
        out.append(unit(np.concatenate([HEAD_WEIGHTS[False] * own, unit(looks), unit(np.sqrt(colours))])))
    return np.array(out)


@pytest.mark.parametrize("method", ["dlfl", "csra", "query2label", "baseline-mlp"])
def test_features_of_a_box_equal_a_slow_form(method: str) -> None:
    by, image = embedder(method), noise()
    for box in BOXES:
        np.testing.assert_allclose(by(image, box=box).features[0], slow_features(by, image, box), atol=2e-3)


def test_boxes_of_real_photographs_equal_a_slow_form() -> None:
    """From the file to the feature, with the part of the photograph that the model sees."""
    if not VOC.is_dir():
        pytest.skip(f"no photographs of VOC2007 at {VOC}")
    by = embedder("dlfl", 96, resize="crop")
    for name, box in (("000004", (0.2, 0.3, 0.6, 0.8)), ("000010", (0.1, 0.4, 0.9, 0.95))):
        file = VOC / "JPEGImages" / f"{name}.jpg"
        pixels = by.predictor.transform.decode(file)
        height, width = pixels.shape[1:]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        seen = tuple(
            min(max((sides * size - first) / side, 0), 1)
            for sides, size, first in zip(box, (width, height) * 2, (left, top) * 2, strict=True)
        )
        image = by.predictor.transform(pixels)[None]
        found = look_at(by, file, box)
        expected = slow_features(by, image, seen)  # type: ignore[arg-type]
        for label in range(3):
            query = found.query(label)
            np.testing.assert_allclose(query.feature, expected[label], atol=3e-3)
            assert box[0] - 1e-6 <= query.box[0] < query.box[2] <= box[2] + 1e-6
            assert box[1] - 1e-6 <= query.box[1] < query.box[3] <= box[3] + 1e-6


@pytest.mark.parametrize("views", ["none", "flip"])
def test_a_box_of_the_whole_photograph_changes_nothing(views: str) -> None:
    by, image = embedder("dlfl", 64, views=views), noise(64)
    plain, whole = by(image), by(image, box=WHOLE)
    nearly = by(image, box=(0.0, 0.0, 1.0, 1 - 1e-7))
    np.testing.assert_array_equal(plain.features, whole.features)
    np.testing.assert_array_equal(plain.maps, whole.maps)
    np.testing.assert_allclose(plain.features, nearly.features, atol=2e-3)
    np.testing.assert_allclose(plain.scores, nearly.scores, atol=1e-5)


def test_mirror_images_have_mirrored_boxes() -> None:
    plain, flipped, image, box = embedder("csra"), embedder("csra", views="flip"), noise(), BOXES[0]
    other = (1 - box[2], box[1], 1 - box[0], box[3])
    one, two = plain(image, box=box), plain(image.flip(-1), box=other)
    both = flipped(image, box=box)
    assert one.maps is not None
    assert two.maps is not None
    np.testing.assert_allclose(both.maps, (one.maps + two.maps[..., ::-1]) / 2, atol=1e-6)
    logits = [np.log(s / (1 - s)) for s in (one.scores, two.scores, both.scores)]
    np.testing.assert_allclose(logits[2], (logits[0] + logits[1]) / 2, atol=1e-4)


def test_pixels_outside_of_a_box_do_not_change_its_colours() -> None:
    by, image, box = embedder("dlfl", 64), noise(64), (0.25, 0.25, 0.75, 0.75)
    other = torch.full_like(image, 200)
    other[:, :, 16:48, 16:48] = image[:, :, 16:48, 16:48]
    even = torch.full((1, 3, 64, 64), 30, dtype=torch.uint8)
    even[:, :, :16] = image[:, :, :16]
    colours = slice(-(SIDES**3), None)
    inside = by(even, box=(0.0, 0.25, 1.0, 1.0)).features[0, 0, colours]
    assert np.count_nonzero(inside) == 1
    a, b = by(image, box=box).features[..., colours], by(other, box=box).features[..., colours]
    # The evidence depends on the network's view of its surroundings, but no other colour comes in.
    assert ((a > 0) == (b > 0)).all()
    assert (by(other).features[..., colours] > 0).sum() < (a > 0).sum() + 64


def test_a_region_is_cut_with_the_box() -> None:
    regions = {0: (0.2, 0.0, 0.6, 0.5), 1: (0.0, 0.8, 1.0, 1.0)}
    cut = cut_regions(regions, (0.4, 0.25, 0.8, 0.75))
    assert cut[0] == pytest.approx((0.0, 0.0, 0.5, 0.5))
    assert cut[1] == WHOLE  # outside: the drawn box is where the part is
    assert cut_regions(regions, WHOLE) == regions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("120,80,300,200", r"box 120,80,300,200; expected x0,y0,x1,y1: .* from 0 to 1; divide pixels by"),
        ("0.1,0.2,0.5", "box 0.1,0.2,0.5; expected x0,y0,x1,y1"),
        ("0.5,0.2,0.1,0.9", "box 0.5,0.2,0.1,0.9; expected x0,y0,x1,y1"),
        ("0.1,0.2,0.1,0.9", "expected x0,y0,x1,y1"),
        ("0,0,1,nan", "box 0,0,1,nan; expected"),
        ("0,0,1,inf", "box 0,0,1,inf; expected"),
        ("a,b,c,d", "box a,b,c,d; expected"),
        ("", "box ; expected"),
    ],
)
def test_boxes_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        read_box(text)


def test_each_photograph_has_its_box() -> None:
    assert boxes_of((0, 0, 0.5, 1), 1) == [(0.0, 0.0, 0.5, 1.0)]
    assert boxes_of([None, [0, 0, 1, 0.5]], 2) == [None, (0.0, 0.0, 1.0, 0.5)]
    assert boxes_of(None, 3) == [None] * 3
    with pytest.raises(LabelwiseError, match="1 box for 2 photographs; expected one for each photograph"):
        boxes_of((0, 0, 1, 1), 2)
    with pytest.raises(LabelwiseError, match=r"outside of what the model sees .* into 0.25,0,0.75,1"):
        seen_box((0.8, 0.1, 0.9, 0.2), (0.25, 0.0, 0.75, 1.0))


def test_a_search_by_a_box(embedded: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, files = embedded
    collection = lw.Collection.open(out)
    label, box = collection.labels[0], (0.0, 0.5, 0.5, 1.0)
    stored = collection.features(label)
    x = np.array(stored["feature"].to_pylist(), np.float64)
    query = collection.queries(label, files[0], box=box)[0]
    likeness = dict(zip(stored["image"].to_pylist(), x @ query.feature, strict=True))
    words = ("search", out, files[0], "--label", label, "--box", "0,.5,.5,1", "--exact")
    answer = json.loads(command(*words, "--json").out)
    assert answer["photographs"][0]["marked"] == list(box)
    rows = answer["results"]
    assert [row["image"] for row in rows] == sorted(set(likeness) - {0}, key=lambda i: -likeness[i])
    assert [row["similarity"] for row in rows] == pytest.approx(
        [likeness[r["image"]] for r in rows], abs=2e-3
    )
    python = collection.search(label, files[0], box=box, exact=True)
    assert python["image"].to_pylist() == [row["image"] for row in rows]
    whole = collection.search(label, files[0], box=WHOLE, exact=True)
    plain = collection.search(label, files[0], exact=True)
    assert whole.equals(plain)
    assert not python.equals(plain)
    two = collection.search(label, files[:2], box=[box, None], exact=True)
    assert len(two) == len(plain) - 1
    assert command(*words, "--out", tmp_path / "a.html").code == 0
    assert "in the box" in (tmp_path / "a.html").read_text()
    with pytest.raises(LabelwiseError, match="a box with queries that are computed"):
        collection.search(label, [query], box=box)
    assert "1 box for 2 photographs" in command(*words, files[1]).message
    pixels = command("search", out, files[0], "--label", label, "--box", "3,4,20,30")
    assert pixels.code == 2
    assert "divide pixels by its width and height" in pixels.message
    alone = command("search", out, "--label", label, "--by", "score", "--box", "0,0,1,1")
    assert "1 box for 0 photographs" in alone.message
