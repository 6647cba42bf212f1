"""The same seed on the same machine: byte-equal weights, whatever the number of decoding processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_runs
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.fit import train

KINDS = {
    "fine-tuned": {"ema": 0.9, "augment": {"multi_scale": [1.0, 0.8], "cutout": 0.2}},
    "frozen": {"backbone": {"name": "test_vit", "weights": "none", "stage": 1, "freeze": True}},
    "dsrb": {"method": "dsrb", "extractor": {}, "batch_size": 16, "mixup": 0.2},
}


def _weights(base: Config, out: Path, **changes: int) -> bytes:
    train(base.model_copy(update=changes), out, quiet=True)
    return (out / WEIGHTS).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_repetition_changes_nothing(tmp_path: Path, table: Path, kind: str) -> None:
    base = make_config(tiny_runs.settings(f"parquet:{table}", epochs=1, save_every=2, **KINDS[kind]))
    weights = _weights(base, tmp_path / "a")
    assert _weights(base, tmp_path / "b") == weights
    if kind == "fine-tuned":
        assert _weights(base, tmp_path / "c", workers=2, log_every=3, save_every=5) == weights
