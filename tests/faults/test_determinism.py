"""The same seed on the same machine: byte-equal weights, whatever the number of decoding processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_runs
from labelwise.training.config import make_config
from labelwise.training.fit import train
from labelwise.training.run import WEIGHTS

KINDS = {
    "fine-tuned": {"ema": 0.9, "augment": {"multi_scale": [1.0, 0.8], "cutout": 0.2}},
    "frozen": {"backbone": {"name": "test_vit", "weights": "none", "freeze": True}},
    "dsrb": {"method": "dsrb", "extractor": {}, "batch_size": 16, "mixup": 0.2},
}


def _apart(config: object, out: Path) -> None:
    """In a process of its own, which has drawn nothing before."""
    process = tiny_runs.forks().Process(target=train, args=(config, out), kwargs={"quiet": True})
    process.start()
    process.join(300)
    assert process.exitcode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_workers_and_repetition_change_nothing(tmp_path: Path, table: Path, kind: str) -> None:
    settings = {"epochs": 1, "save_every": 2, **KINDS[kind]}
    base = make_config(tiny_runs.settings(f"parquet:{table}", **settings))
    weights = []
    for name, workers in (("a", 0), ("b", 0), ("c", 1), ("d", 2)):
        if kind == "dsrb" and workers == 1:
            continue
        _apart(base.model_copy(update={"workers": workers}), tmp_path / name)
        weights.append((tmp_path / name / WEIGHTS).read_bytes())
    assert len(set(weights)) == 1
    _apart(base.model_copy(update={"seed": 1}), tmp_path / "other")
    assert (tmp_path / "other" / WEIGHTS).read_bytes() != weights[0]
