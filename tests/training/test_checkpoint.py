"""State on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from labelwise.errors import LabelwiseError
from labelwise.training.checkpoint import Progress, load_state, save_state


def _written(path: Path) -> Progress:
    progress = Progress(
        step=7, epoch=2, step_in_epoch=1, loss_sum=0.1, best_epoch=1, best=0.5, losses=[0.3, 0.2]
    )
    save_state(path, progress, method={"w": torch.arange(3.0)}, scaler=None)
    return progress


def test_state_comes_back_exactly(tmp_path: Path) -> None:
    progress = _written(tmp_path / "last.pt")
    loaded, parts = load_state(tmp_path / "last.pt")
    assert loaded == progress
    assert torch.equal(parts["method"]["w"], torch.arange(3.0))
    assert parts["scaler"] is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_cut_file_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    _written(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(LabelwiseError) as caught:
        load_state(path)
    assert str(path) in str(caught.value)
    assert "expected a state that this version wrote; train again with another --out" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, ("true",)


def test_a_state_that_brings_code_is_refused(tmp_path: Path) -> None:
    torch.save({"progress": {}, "method": _Bomb()}, tmp_path / "last.pt")
    with pytest.raises(LabelwiseError, match="expected a state that this version wrote"):
        load_state(tmp_path / "last.pt")


def test_another_versions_progress_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 1, "progress": {"steps": 3}}, tmp_path / "last.pt")
    with pytest.raises(LabelwiseError, match="unexpected keyword argument 'steps'"):
        load_state(tmp_path / "last.pt")
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(LabelwiseError, match="expected a state"):
        load_state(tmp_path / "last.pt")
