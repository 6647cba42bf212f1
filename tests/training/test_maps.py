"""Stored maps stand for the photographs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import tiny_runs
from labelwise.backbones import TimmBackbone
from labelwise.data.dataset import Dataset
from labelwise.data.loading import eval_loader
from labelwise.data.readers import read
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.runs import stored as stored_module
from labelwise.runs.config import Config, make_config
from labelwise.training import maps as maps_module
from labelwise.training.maps import MapSource, cache_folder, stored_maps
from labelwise.training.processes import make_accelerator

CPU = torch.device("cpu")


@pytest.fixture
def backbone() -> TimmBackbone:
    """A frozen backbone with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TimmBackbone("test_convnext", "none", 64, freeze=True)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings at 64 pixels."""
    return make_config(tiny_runs.settings("digits:", image_size=64))


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Twelve readable photographs."""
    return read(f"csv:{tiny_runs.photographs(tmp_path / 'photos', 12, 0, 0)}")


def _stored(data: Dataset, backbone: TimmBackbone, config: Config) -> tuple[np.ndarray, list, list[str]]:
    said: list[str] = []
    maps, bad = stored_maps(data, backbone, config, CPU, 0, said.append)
    return maps, bad, said


def test_maps_are_those_of_the_photographs(photos: Dataset, backbone: TimmBackbone, config: Config) -> None:
    maps, bad, said = _stored(photos, backbone, config)
    assert (bad, said) == ([], ["computing maps of 12 images once"])
    assert maps.dtype == np.float16
    transform = build_transform(config.transform(), train=False)
    with torch.no_grad():
        expected = backbone(torch.stack([transform(photos[i].image) for i in range(12)]))
    assert np.abs(maps - expected.numpy()).max() <= 2**-10 * float(expected.abs().max())


def test_the_second_time_nothing_is_computed(
    photos: Dataset, backbone: TimmBackbone, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, _ = _stored(photos, backbone, config)
    monkeypatch.setattr(maps_module, "_compute", lambda *_: pytest.fail("computed again"))
    again, _, said = _stored(photos, backbone, config)
    assert said == []
    assert np.array_equal(first, again)


def test_other_weights_sizes_or_photographs_have_other_maps(
    photos: Dataset, backbone: TimmBackbone, config: Config
) -> None:
    def said(data: Dataset, settings: Config) -> int:
        return len(_stored(data, backbone, settings)[2])

    assert said(photos, config) == 1
    assert said(photos.with_known(~photos.known), config) == 0  # labels do not matter
    assert said(photos, config.model_copy(update={"seed": 5})) == 0
    assert said(photos, config.model_copy(update={"image_size": 32})) == 1
    assert said(photos.take(range(5)), config) == 1
    tiny_runs.Image.new("RGB", (9, 9)).save(photos.encoded(0))
    assert said(photos, config) == 1
    with torch.no_grad():
        next(backbone.parameters()).add_(1)
    assert said(photos, config) == 1


def test_unreadable_images_are_reported_as_by_a_loader(
    photos: Dataset, backbone: TimmBackbone, config: Config
) -> None:
    for row in (2, 5, 6, 7):
        photos.encoded(row).write_bytes(b"")
    maps, bad, _ = _stored(photos, backbone, config)
    source = MapSource(maps, photos, dict(bad))
    requests = [(0, np.array(rows)) for rows in ([0, 1, 2], [5, 6, 7], [10, 9])]
    loader = eval_loader(photos, build_transform(config.transform(), False), batch_size=3, workers=0)
    expected = list(loader._source.batches(requests))
    for batch, other in zip(source.batches(requests), expected, strict=True):
        assert batch.is_map
        assert torch.equal(batch.index, other.index)
        assert batch.unreadable == other.unreadable
        assert torch.equal(batch.targets.values, other.targets.values)
        assert torch.equal(batch.targets.known, other.targets.known)
        assert len(batch.images) == len(other.images)


def test_a_half_written_store_is_computed_anew(
    photos: Dataset, backbone: TimmBackbone, config: Config
) -> None:
    _stored(photos, backbone, config)
    (store,) = (cache_folder() / "maps").glob("*.rows")
    store.with_suffix(".json").unlink()  # a kill between the two files
    store.with_name(f".{store.name}.part").write_bytes(b"half")
    assert len(_stored(photos, backbone, config)[2]) == 1
    assert not list(store.parent.glob(".*.part"))


def test_a_cache_that_cannot_be_written_is_refused(
    photos: Dataset, backbone: TimmBackbone, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(LabelwiseError, match="name another folder in LABELWISE_CACHE"):
        _stored(photos, backbone, config)


def test_two_runs_at_once_compute_once(photos: Dataset, backbone: TimmBackbone, config: Config) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(target=stored_maps, args=(photos, backbone, config, CPU, 0, said.append))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["computing maps of 12 images once"]


def test_the_place_of_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABELWISE_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("LABELWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/labelwise")


def _joined(photos: str, weights: str, out: str) -> None:
    """One of several processes: store the maps, and write its results."""
    os.environ["LABELWISE_CACHE"] = f"{out}/joined"
    backbone = TimmBackbone("test_convnext", weights, 64, freeze=True)
    config = make_config(tiny_runs.settings("digits:", image_size=64))
    accelerator = make_accelerator(config)
    rank = accelerator.process_index
    seen: list[int] = []
    honest = TimmBackbone.forward

    def forward(self: TimmBackbone, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return honest(self, images)

    TimmBackbone.forward = forward  # type: ignore[method-assign]
    said: list[str] = []
    rows = read(photos)
    if (
        rank
    ):  # the first process begins its second call before the others could take the lock of the first one
        honest_lock = stored_module.alone
        stored_module.alone = lambda path: (time.sleep(1), honest_lock(path))[1]  # type: ignore[assignment]
    for _ in range(2):
        maps, bad = stored_maps(rows, backbone, config, CPU, 0, said.append, joined=True)
    np.savez(Path(out) / f"{rank}.npz", maps=maps, bad=np.array(bad, dtype=object), seen=seen, said=said)
    if rank == 1:  # photographs and a store on a disk of its own
        os.environ["LABELWISE_CACHE"] = f"{out}/another"
        maps_module._maps_key = lambda *_: "of another disk"  # type: ignore[assignment]
    other = config.model_copy(update={"image_size": 32})
    stored_maps(rows, backbone, other, CPU, 0, said.append, joined=True)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_work_and_store_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    file = tiny_runs.photographs(tmp_path / "photos", 38, 40, 0)
    for name in ("train3", "train36", "val0", "val30"):
        (file.parent / f"{name}.jpg").write_bytes(b"")
    torch.manual_seed(0)
    weights = tmp_path / "weights.pt"
    torch.save(timm.create_model("test_convnext", num_classes=0).state_dict(), weights)
    backbone = TimmBackbone("test_convnext", str(weights), 64, freeze=True)
    config = make_config(tiny_runs.settings("digits:", image_size=64))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        maps, bad, _ = _stored(read(f"csv:{file}"), backbone, config)
    finally:
        torch.set_num_threads(threads)
    (alone,) = (cache_folder() / "maps").glob("*.rows")
    expected = alone.read_bytes()
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "joined"))
    tiny_runs.together(world, _joined, f"csv:{file}", str(weights), str(tmp_path))
    stores = {file.name: file.read_bytes() for file in (cache_folder() / "maps").glob("*.rows")}
    assert stores.pop(alone.name) == expected
    (other,) = stores.values()
    assert (tmp_path / "another" / "maps" / "of another disk.rows").read_bytes() == other
    assert (len(maps), len(bad)) == (78, 4)
    # Batches of 32, 32 and 14 images, without the unreadable ones; the first process also measures the shape.
    work = {2: [[1, 31, 13], [30]], 3: [[1, 31], [30], [13]]}[world]
    for rank in range(world):
        record = np.load(tmp_path / f"{rank}.npz", allow_pickle=True)
        assert np.array_equal(record["maps"], maps)
        assert record["bad"].tolist() == [list(one) for one in bad]
        assert record["said"].tolist() == (["computing maps of 78 images once"] if rank == 0 else [])
        assert record["seen"].tolist() == work[rank]
