"""Ray Data: a collection on two workers, one of which dies, answered and described as on this machine alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import mortal_worker
import pytest

import tiny_runs
from labelwise.collection import embed
from labelwise.collection.store import FolderStore
from labelwise.inference import on_ray
from labelwise.inference.folders import FolderCounts, predict_collection

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster as the library starts it, whose processes import PyTorch once, and the file of a worker that died."""
    file = tmp_path_factory.mktemp("ray") / "died"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(mortal_worker.FLAG, str(file))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.setenv("RAY_AUTH_MODE", "disabled")  # it would write a key into the home folder
        with on_ray.cluster(2):
            yield file


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Twenty-four photographs, of which one is empty."""
    folder = tmp_path / "photos"
    tiny_runs.photographs(folder, 24, 0, 0)
    (folder / "train9.jpg").write_bytes(b"")
    return [str(folder / f"train{i}.jpg") for i in range(24)]


def test_a_worker_dies_and_every_image_is_answered_once(
    died: Path, run_folder: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "Network", mortal_worker.Mortal)
    done_parts: list[int] = []
    done = predict_collection(
        run_folder,
        files,
        tmp_path / "ray",
        engine="ray",
        workers=2,
        batch_size=2,
        part=6,
        on_part=lambda done, of: done_parts.append(done),
    )
    assert died.exists()
    assert done == FolderCounts(24, 24, 1)
    assert done_parts == [1, 2, 3, 4]
    predict_collection(run_folder, files, tmp_path / "here", workers=0, batch_size=2, part=6)
    ours, theirs = (sorted((tmp_path / name).glob("part-*")) for name in ("ray", "here"))
    assert [p.read_bytes() for p in ours] == [p.read_bytes() for p in theirs]


@pytest.mark.usefixtures("died")
def test_rows_of_two_workers_are_those_of_one_process(
    run_folder: Path, files: list[str], tmp_path: Path
) -> None:
    parts: list[int] = []
    embed(run_folder, files[:3], tmp_path / "ray", every=True, batch_size=2)
    done = embed(
        run_folder,
        files,
        tmp_path / "ray",
        every=True,
        engine="ray",
        workers=2,
        batch_size=2,
        part=6,
        on_part=lambda done, of: parts.append(done),
    )
    assert (done.images, done.added, done.unreadable, parts) == (24, 21, 1, [6, 12, 18, 21])
    embed(run_folder, files[:3], tmp_path / "here", every=True, batch_size=2)
    embed(run_folder, files, tmp_path / "here", every=True, batch_size=2, part=6)
    ours, theirs = (FolderStore.open(tmp_path / name) for name in ("ray", "here"))
    for name in ("images", "features"):
        assert getattr(ours, name).to_arrow().equals(getattr(theirs, name).to_arrow())
