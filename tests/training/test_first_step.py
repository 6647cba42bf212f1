"""The trial step of unverified backbones in a child process."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from labelwise.backbones import TimmBackbone
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config
from labelwise.training import first_step

CPU = torch.device("cpu")
# A model outside the verified families, small enough for a real step.
NAME = "test_byobnet"


def config(name: str = NAME) -> Config:
    return make_config(
        {"data": {"source": "unread"}, "backbone": {"name": name, "weights": "none"}, "image_size": 64}
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The formats that were tried; the stand-in process only exits, with the code in `EXITS`."""
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path))
    tried: list[str] = []

    def command(settings: Mapping[str, Any]) -> list[str]:
        tried.append(settings["format"])
        return [
            sys.executable,
            "-S",
            "-c",
            f"import sys; print('a reason', file=sys.stderr); sys.exit({EXITS[settings['format']]})",
        ]

    monkeypatch.setattr(first_step, "_command", command)
    return tried


EXITS = {"channels-last": 0, "plain": 0}


def settle(name: str = NAME, **options: Any) -> tuple[TimmBackbone, list[str]]:
    notes: list[str] = []
    backbone = TimmBackbone(name, "none", 64, **options)
    first_step.settle_format(backbone, config(name), CPU, notes.append)
    return backbone, notes


def is_channels_last(backbone: TimmBackbone) -> bool:
    made = backbone.normalise(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    weights = [p for p in backbone.net.parameters() if p.ndim == 4 and min(p.shape[1:3]) > 1]
    formats = {p.is_contiguous(memory_format=torch.channels_last) for p in (made, *weights)}
    assert len(formats) == 1
    return formats.pop()


def test_a_step_that_ends_well_is_tried_once_and_kept(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXITS, "channels-last", 0)
    backbone, notes = settle()
    assert is_channels_last(backbone)
    assert (calls, notes) == (["channels-last"], [])
    settle()
    assert calls == ["channels-last"]


@pytest.mark.parametrize("code", [1, 134])
def test_the_plain_format_where_the_process_fails(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setitem(EXITS, "channels-last", code)
    backbone, notes = settle()
    assert not is_channels_last(backbone)
    assert calls == ["channels-last", "plain"]
    assert notes == [f"note: {NAME} trains in the plain memory format on this machine"]
    again, notes = settle()
    assert not is_channels_last(again)
    assert (len(calls), notes) == (2, [])


def test_a_step_that_fails_in_both_is_refused_in_one_line(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in EXITS:
        monkeypatch.setitem(EXITS, name, 3)
    with pytest.raises(LabelwiseError) as error:
        settle()
    assert str(error.value) == (
        f"a training step of backbone '{NAME}' with images of 64 × 64 px (a reason); expected a step that ends without "
        "an error; choose another --backbone, or give --freeze-backbone"
    )
    assert list(tmp_path.rglob("*.json")) == []  # tried again the next time


def test_a_result_belongs_to_its_size_and_a_damaged_one_is_made_again(
    calls: list[str], tmp_path: Path
) -> None:
    settle()
    (file,) = tmp_path.rglob("*.json")
    file.write_text(json.dumps({"format": "unknown"}))
    settle()
    other = config().model_copy(update={"image_size": 96})
    first_step.settle_format(TimmBackbone(NAME, "none", 96), other, CPU, pytest.fail)
    assert len(calls) == 3
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_what_needs_no_trial_starts_no_process(calls: list[str]) -> None:
    settle("test_resnet")
    settle("test_vit")
    settle(freeze=True)
    first_step.settle_format(TimmBackbone(NAME, "none", 64), config(), torch.device("cuda"), pytest.fail)
    assert calls == []


def test_the_step_computes_in_both_formats() -> None:
    settings = {"name": NAME, "stage": -1, "side": 64, "size": (64, 64), "threads": torch.get_num_threads()}
    for memory_format in first_step.FORMATS:
        first_step.step({**settings, "format": memory_format})


def test_the_child_runs_this_module() -> None:
    command = first_step._command({"name": NAME})
    assert command[:3] == [sys.executable, "-m", "labelwise.training.first_step"]
    assert json.loads(command[3]) == {"name": NAME}
