"""DSRB, SARB, SST and HST from data to judgement, on scenes of which half the labels are hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny_runs
from labelwise.registry import METHODS
from labelwise.runs.config import make_config
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train

LOSSES = {
    "dsrb": {"blend_instance", "blend_prototype", "contrast"},
    "sarb": {"blend_instance", "blend_prototype", "contrast"},
    "sst": {"pseudo_intra", "pseudo_inter", "cooccurrence", "contrast"},
    "hst": {
        "pseudo_intra", "pseudo_inter", "cooccurrence", "memory_contrast", "pseudo_thresholds", "contrast",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_run_from_half_of_the_labels(name: str, tmp_path: Path, table: Path) -> None:
    data = {"source": f"parquet:{table}", "known_proportion": 0.5}
    settings = tiny_runs.settings("", method=name, data=data, epochs=3, extractor={"joint": 8})
    run = train(make_config(settings), tmp_path / name, quiet=True)
    steps = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in steps if line["kind"] == "step"]
    terms = {key for key in losses[-1] if key in set().union(*LOSSES.values())}
    assert terms == LOSSES[name]
    assert all(losses[-1][key] > 0 for key in terms)
    assert all(losses[0][key] > 0 for key in terms & {"blend_instance", "blend_prototype"})
    assert not losses[0].get("pseudo_intra")
    state = load_state(run.path / STATE)[1]["method"]
    epochs = [line for line in steps if line["kind"] == "epoch"]
    shares = {"blending.alpha", "blending.beta"} if name in ("dsrb", "sarb") else set()
    assert {key for key in epochs[-1].get("learned", {}) if key.startswith("blending")} == shares
    for key in shares:
        assert epochs[-1]["learned"][key] == float(state[f"terms.{key}"])
    made = [
        value for key, value in state.items() if key.endswith("bank.epoch") or key.endswith("memory.epoch")
    ]
    assert [int(epoch) for epoch in made] == ([] if name == "sst" else [2])
    assert all(value.isfinite().all() for value in state.values())
    logits = run.model()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).logits
    assert logits.isfinite().all()
    assert "reproduc" not in METHODS[name][0].differences
