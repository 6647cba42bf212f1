"""Ray Data: a collection on two workers, one of which dies, answered as on this machine alone."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import mortal_worker
import pytest

import tiny_runs
from labelwise.inference import on_ray
from labelwise.inference.folders import FolderCounts, predict_collection

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


def test_a_worker_dies_and_every_image_is_answered_once(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    tiny_runs.photographs(folder, 24, 0, 0)
    (folder / "train9.jpg").write_bytes(b"")
    files = [str(folder / f"train{i}.jpg") for i in range(24)]
    died = tmp_path / "died"

    monkeypatch.setenv(mortal_worker.FLAG, str(died))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it would write a key into the home folder
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
