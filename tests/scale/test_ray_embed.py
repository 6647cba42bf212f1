"""Ray Data: label features by two workers are those of one process, in the same order."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import tiny_runs
from labelwise.collection import embed
from labelwise.collection.store import FolderStore

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


def test_rows_of_two_workers_are_those_of_one_process(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    tiny_runs.photographs(folder, 20, 0, 0)
    (folder / "train9.jpg").write_bytes(b"")
    files = [str(folder / f"train{i}.jpg") for i in range(20)]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it would write a key into the home folder
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
    assert (done.images, done.added, done.unreadable, parts) == (20, 17, 1, [6, 12, 17])
    embed(run_folder, files[:3], tmp_path / "here", every=True, batch_size=2)
    embed(run_folder, files, tmp_path / "here", every=True, batch_size=2, part=6)
    ours, theirs = (FolderStore.open(tmp_path / name) for name in ("ray", "here"))
    for name in ("images", "features"):
        assert getattr(ours, name).to_arrow().equals(getattr(theirs, name).to_arrow())
