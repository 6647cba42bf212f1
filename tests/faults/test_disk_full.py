"""A disk that fills up: one clear line, and what was saved before is whole."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.runs import stored
from labelwise.runs.config import make_config
from labelwise.runs.files import write_atomic
from labelwise.runs.run import WEIGHTS
from labelwise.training import checkpoint
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train

TOLD = "(No space left on device); expected a writable disk with free space; free some space, then go on with --resume"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB; skips where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file may grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_in_the_middle_of_a_run(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tiny_runs.settings(f"parquet:{table}", save_every=2))
    train(config, tmp_path / "whole", quiet=True)
    out, saves = tmp_path / "run", []
    honest = torch.save

    def save(state: Any, file: Any) -> None:
        if len(saves) == 3:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(state, file)
        saves.append(state["progress"]["step"])

    monkeypatch.setattr(checkpoint.torch, "save", save)
    with pytest.raises(LabelwiseError) as caught:
        train(config, out, quiet=True)
    assert f"{out / STATE} could not be written {TOLD}" in str(caught.value)
    assert load_state(out / STATE)[0].step == saves[-1] == 6
    assert not list(out.rglob("*.part"))
    monkeypatch.undo()
    train(config, out, quiet=True, resume=True)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_the_program_tells_it_in_one_line(small_disk: Path, table: Path) -> None:
    found = tiny_runs.command(
        "train", "--data", f"parquet:{table}", "--out", small_disk / "run", *tiny_runs.TINY
    )
    assert "could not be written (" in found.message
    assert "No space left on device" in found.message
    assert not list(small_disk.rglob("*.part"))
    assert (small_disk / "run" / "config.yaml").is_file()


def test_a_disk_that_has_no_room_for_a_line_of_the_journal(small_disk: Path, table: Path) -> None:
    out = small_disk / "run"
    (small_disk / "filler").write_bytes(bytes(232 * 1024))
    words = ("--set", "log_every=1", "--epochs", "200", "--set", "save_every=999999")
    with open(small_disk / "rest", "wb", buffering=0) as rest:
        out.mkdir()
        (out / "config.yaml").touch()
        (out / "labels.json").touch()
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            pass
    found = tiny_runs.command("train", "--data", f"parquet:{table}", "--out", out, *tiny_runs.TINY, *words)
    assert "No space left on device" in found.message


def test_files_that_may_not_grow(tmp_path: Path, short_files: None) -> None:
    (tmp_path / "state.pt").write_bytes(b"good")
    with pytest.raises(LabelwiseError, match=r"state.pt could not be written \(File too large\)"):
        checkpoint.save_state(
            tmp_path / "state.pt", checkpoint.Progress(), method={"w": torch.zeros(100_000)}
        )
    with pytest.raises(LabelwiseError, match=r"a.npy could not be written \(File too large\)"):
        write_atomic(tmp_path / "a.npy", lambda part: stored._allocate(part, (100, 10, 10, 10)))
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == b"good"


def test_stored_maps_on_a_full_disk_do_not_end_the_process(
    small_disk: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWISE_CACHE", str(small_disk))
    config = tiny_runs.settings(f"parquet:{table}", image_size=224)
    config["backbone"] = {"name": "test_resnet", "weights": "none", "freeze": True, "stage": 1}
    with pytest.raises(LabelwiseError, match=r"\.rows could not be written \(No space left on device\)"):
        train(make_config(config), tmp_path / "run", quiet=True)
    assert not list(small_disk.rglob("*.rows*"))
