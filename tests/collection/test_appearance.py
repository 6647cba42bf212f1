"""The appearance of a label's place, where it is pooled, and a search by either part of a feature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import labelwise as lw
from labelwise.backbones import TimmBackbone
from labelwise.collection.appearance import (
    BODY,
    appearance,
    as_map,
    body_regions,
    early_stage,
    known_regions,
    places,
)
from labelwise.collection.embedding import embed
from labelwise.collection.features import HEAD_WEIGHTS, Embedder
from labelwise.collection.schema import KEY, Identity, image_schema
from labelwise.data.transforms import TransformConfig, build_transform
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.engines import Eager
from labelwise.extractors.regions import PlacePrior
from labelwise.inference.predictor import Predictor
from labelwise.methods import create_method
from labelwise.types import Group, LabelSet
from tiny_runs import command


def test_only_the_region_of_a_label_counts() -> None:
    """Colours outside of the trousers change the appearance of the shirt's label, not theirs."""
    parts = {part: Group((part,)) for part in BODY}
    labels = LabelSet((*BODY, "carrying"), parts)
    regions = body_regions(labels)
    assert {labels.names[j]: box for j, box in regions.items()} == BODY
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 96, 48), dtype=torch.uint8, generator=generator)
    images[1] = images[0]
    images[1, :, : 96 // 2] = torch.tensor([250, 10, 10], dtype=torch.uint8).view(3, 1, 1)
    early = torch.rand(1, 5, 24, 12, generator=generator).expand(2, -1, -1, -1)
    weights = places(torch.full((2, 5, 3, 2), 1 / 6), regions)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(2, 5))
    looks = appearance(images, early, weights)
    assert looks.shape == (2, 5, 5 + 64)
    change = (looks[0] - looks[1]).abs().sum(1)
    by = dict(zip(labels.names, change.tolist(), strict=True))
    assert by["lower body"] == by["feet"] == 0
    assert min(by["upper body"], by["head"]) > 1
    assert 0 < by["carrying"] < by["upper body"]


@pytest.mark.parametrize("box", list(BODY.values()))
def test_weights_of_a_region_are_the_shares_of_its_area(box: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = box
    weights = places(torch.ones(1, 1, 4, 2) / 8, {0: box})[0, 0].double().numpy()
    points = (np.arange(4000) + 0.5) / 4000
    rows = np.bincount((points[(points > y0) & (points < y1)] * 8).astype(int), minlength=8)
    columns = np.bincount((points[(points > x0) & (points < x1)] * 4).astype(int), minlength=4)
    expected = np.outer(rows / rows.sum(), columns / columns.sum())
    np.testing.assert_allclose(weights, expected, atol=1e-2)


def test_labels_without_all_parts_of_a_body_have_no_region() -> None:
    assert body_regions(LabelSet(("a", "b"), {"head": Group(("a",))})) == {}


def test_declared_regions_come_before_those_of_the_body() -> None:
    labels = LabelSet((*BODY, "logo"), {part: Group((part,)) for part in BODY})
    declared = PlacePrior(labels, 0.1, {"feet": [0.9, 1], "logo": [0.1, 0.2, 0.3, 0.4]}).declared
    found = {labels.names[j]: box for j, box in known_regions(labels, declared).items()}
    assert found == BODY | {"feet": (0.0, 0.9, 1.0, 1.0), "logo": (0.3, 0.1, 0.4, 0.2)}
    assert known_regions(labels, PlacePrior(labels, 0.1).declared) == body_regions(labels)


def test_an_embedder_pools_the_declared_region() -> None:
    labels, changed = LabelSet(("a", "b")), []
    regions = {"outside": 0.5, "labels": {"a": [0.5, 1]}}
    model = create_method(
        "dlfl", labels, "resnet10t", weights="none", image_size=64, regions=regions
    ).model.eval()
    transform = build_transform(TransformConfig(image_size=64), train=False)
    embedder = Embedder(Predictor(labels, Decisions.plain(labels), transform, Eager(model, "cpu")))
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    for rows in (slice(0, 16), slice(48, 64)):
        other = image.clone()
        other[:, :, rows] = 255
        looks = [embedder(x).features[0, :, -64:].astype(float) for x in (image, other)]
        looks = [look / np.linalg.norm(look, axis=1, keepdims=True) for look in looks]
        changed.append(np.abs(looks[0] - looks[1]).max(1) > 0.1)
    assert [list(row) for row in changed] == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet10t", 64), ("tf_efficientnet_lite0", 24), ("convnext_atto", 40)]
)
def test_the_early_stage_has_a_stride_of_four(name: str, channels: int) -> None:
    net = TimmBackbone(name, weights="none", image_size=64).net
    found = early_stage(net)
    assert found is not None
    seen: list[torch.Tensor | None] = []
    hook = found[0].register_forward_hook(lambda m, i, output: seen.append(as_map(output, found[1])))
    with torch.inference_mode():
        net.eval()(torch.zeros(1, 3, 64, 64))
    hook.remove()
    assert seen[0] is not None
    assert seen[0].shape == (1, channels, 16, 16)


def test_features_of_a_run_with_an_early_stage() -> None:
    labels = LabelSet(("a", "b"))
    model = create_method("dlfl", labels, "resnet10t", weights="none", image_size=64).model.eval()
    transform = build_transform(TransformConfig(image_size=64), train=False)
    predictor = Predictor(labels, Decisions.plain(labels), transform, Eager(model, "cpu"))
    images = torch.randint(
        0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    result = Embedder(predictor)(images)
    with torch.inference_mode():
        output, net = model(images, want_maps=True), model.backbone.net
        early = net.layer1(net.maxpool(net.act1(net.bn1(net.conv1(model.backbone.normalise(images))))))
        near = output.maps.repeat_interleave(8, 2).repeat_interleave(8, 3) / 64
        means = normalize(torch.einsum("blhw,bchw->blc", near, early), dim=-1)
        own = normalize(output.features, dim=-1) * HEAD_WEIGHTS[False]
    size = (HEAD_WEIGHTS[False] ** 2 + 2) ** 0.5
    dim = own.shape[2]
    assert result.features.shape == (3, 2, dim + 64 + 64)
    np.testing.assert_allclose(result.features[..., :dim], own / size, atol=1e-3)
    np.testing.assert_allclose(result.features[..., dim : dim + 64], means / size, atol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(result.features[..., dim + 64 :].astype(float), axis=2), 1 / size, atol=2e-3
    )


def test_networks_without_an_early_stage_give_colours_only() -> None:
    net = TimmBackbone("vit_tiny_patch16_224", weights="none", image_size=32).net
    assert early_stage(net) is None
    assert (
        early_stage(TimmBackbone("tf_efficientnet_lite0", weights="none", image_size=64, stage=0).net) is None
    )
    assert as_map(torch.zeros(1, 6, 5, 4), 4).shape == (1, 4, 6, 5)  # type: ignore[union-attr]
    assert as_map(torch.zeros(1, 9, 4), 4) is None
    looks = appearance(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), None, torch.full((1, 1, 2, 2), 0.25))
    assert looks[0, 0].tolist() == [1.0] + 63 * [0.0]


def test_a_search_by_one_part_compares_only_it(embedded: tuple[Path, list[str]]) -> None:
    out, files = embedded
    collection = lw.Collection.open(out)
    label, looks = collection.labels[1], collection.identity.look_dim
    assert 0 < looks < collection.identity.dim
    stored = collection.features(label)
    x = np.array(stored["feature"].to_pylist(), np.float64)
    orders = []
    for by, part in (("label", x[:, :-looks]), ("appearance", x[:, -looks:]), ("feature", x)):
        unit = part / np.linalg.norm(part, axis=1, keepdims=True)
        likeness = dict(zip(stored["image"].to_pylist(), unit @ unit[0], strict=True))
        found = collection.search(label, files[0], by=by).to_pylist()
        assert len(found) == len(x) - 1
        for row in found:
            assert row["similarity"] == pytest.approx(likeness[row["image"]], abs=4e-3)
        orders.append([row["image"] for row in found])
    assert orders[0] != orders[1]


def test_the_label_s_part_alone_can_be_stored(
    embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path
) -> None:
    out, files = embedded
    alone = tmp_path / "alone"
    words = ("embed", run_folder, *files[:4], "--all", "--workers", "0", "--out", alone)
    assert command(*words, "--feature", "label").code == 0
    collection, joined = lw.Collection.open(alone), lw.Collection.open(out)
    assert collection.identity.dim == joined.identity.dim - joined.identity.look_dim
    label = collection.labels[0]
    own = np.array(collection.features(label)["feature"].to_pylist(), np.float64)
    part = np.array(joined.features(label)["feature"].to_pylist(), np.float64)[:4, : own.shape[1]]
    np.testing.assert_allclose(own, part / np.linalg.norm(part, axis=1, keepdims=True), atol=2e-3)
    with pytest.raises(LabelwiseError, match="which stores no appearance; expected a collection with it"):
        collection.search(label, files[0], by="appearance")
    assert len(collection.search(label, files[0], by="label")) == 3
    with pytest.raises(LabelwiseError, match="another --feature"):
        embed(run_folder, files, alone, every=True)


def test_a_collection_of_an_earlier_format_is_one_line() -> None:
    schema = image_schema(Identity("run", "0", "0", ("a",), ("a",), False, 4, 4, False))
    record = {**json.loads(schema.metadata[KEY.encode()]), "format": 1}
    with pytest.raises(LabelwiseError, match="a collection of format 1; expected format 2; embed again"):
        Identity.from_schema(schema.with_metadata({KEY: json.dumps(record)}), Path("old"))
