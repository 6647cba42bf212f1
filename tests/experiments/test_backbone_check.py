"""`labelwise backbones check`: rows of models, child processes with limits, tables that go on."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from labelwise.cli import backbones
from labelwise.errors import LabelwiseError
from labelwise.experiments import backbone_check, backbone_sweep
from labelwise.experiments.backbone_sweep import (
    ProcessLimits,
    check_models,
    checked,
    models_of,
    with_exports,
)
from labelwise.experiments.families import FAMILIES, REPRESENTATIVE

Keep = Callable[[dict[str, Any]], None]


def row_of(name: str, folder: Path, memory_format: str = "channels-last") -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    backbone_check.examined(name, folder, memory_format, lambda row: rows.append(dict(row)))
    return rows[-1]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_model_that_works_has_every_step(cache: Path) -> None:
    row = row_of("test_byobnet", cache)
    assert row["result"] == "works", row
    assert {row[step] for step in backbone_check.STEPS} == {"yes"}
    assert (row["family"], row["image_size"], row["train_size"], row["other_size"]) == (
        "byobnet",
        224,
        192,
        "192",
    )
    assert (row["channels"], row["stride"]) == (256, 32)
    assert set(row) <= set(backbone_check.FIELDS)


def test_a_refusal_and_a_fault_are_told_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: Any, say: Any) -> Any:
        raise LabelwiseError("a wish", "another", "change it")

    with monkeypatch.context() as patch:
        patch.setattr(backbone_check, "fitted", refuse)
        row = row_of("test_vit", cache)
        assert (row["result"], row["reason"]) == ("refused", "a wish; expected another; change it")
    monkeypatch.setattr(backbone_check, "_check_maps", lambda method, side: 1 / 0)
    row = row_of("test_vit", cache)
    assert (row["result"], row["reason"]) == ("fault", "ZeroDivisionError: division by zero")
    assert row["build"] == "yes"
    assert "maps" not in row


def begins(name: str, folder: Path, memory_format: str, keep: Keep) -> None:
    """Ends the process in one format, after its first step."""
    keep({"build": "yes", "result": "fault"})
    if memory_format == "channels-last":
        os._exit(3)
    keep({"build": "yes", "result": "works", "step": memory_format})


def waits(name: str, folder: Path, memory_format: str, keep: Keep) -> None:
    keep({"build": "yes"})
    time.sleep(60)


def grows(name: str, folder: Path, memory_format: str, keep: Keep) -> None:
    held = bytearray(os.urandom(1 << 20) * 900)
    time.sleep(60)
    del held


def test_a_process_that_ends_is_started_again_in_the_plain_format() -> None:
    row = checked("test_byobnet", ProcessLimits(), begins)
    assert (row["result"], row["step"], row["family"]) == ("works", "plain", "byobnet")
    row = checked("test_vit", ProcessLimits(), begins)  # a verified family has no second format
    assert (row["result"], row["reason"]) == ("ended", "the process ended with exit code 3")
    assert row["build"] == "yes"


def test_a_process_is_ended_at_its_limits() -> None:
    began = time.monotonic()
    row = checked("test_byobnet", ProcessLimits(seconds=1.0), waits)
    assert (row["result"], row["reason"]) == ("limit", "more than 1 s")
    if Path("/proc/self/statm").is_file():
        row = checked("test_byobnet", ProcessLimits(gigabytes=0.8), grows)
        assert (row["result"], row["reason"]) == ("limit", "more than 0.8 GB of memory")
    assert time.monotonic() - began < 55


def stops(name: str, folder: Path, keep: Keep) -> None:
    """Ends the process in the second format."""
    keep({"onnx": "yes"})
    os._exit(4)


def hangs(name: str, folder: Path, keep: Keep) -> None:
    time.sleep(60)


def test_an_export_that_does_not_end_leaves_the_result_and_its_reason() -> None:
    works = {"model": "test_vit", "result": "works", "reason": "", "onnx": "", "openvino": ""}
    row = with_exports(works, ProcessLimits(), stops)
    assert row == {**works, "onnx": "yes", "openvino": "no: the process ended with exit code 4"}
    row = with_exports(works, ProcessLimits(seconds=1.0), hangs)
    assert row == {**works, "onnx": "no: more than 1 s", "openvino": "no: more than 1 s"}


def test_exports_are_compared_with_the_network() -> None:
    works = {"model": "test_convnext", "result": "works", "onnx": "", "openvino": ""}
    assert with_exports(works, ProcessLimits()) == {**works, "onnx": "yes", "openvino": "yes"}


def test_every_branch_of_the_exported_network_counts(cache: Path) -> None:
    model = backbone_check._random_run("test_convnext", cache).model()
    gammas = [p for name, p in model.named_parameters() if name.endswith("gamma")]
    assert gammas
    assert all(gamma.abs().max() > 0.1 for gamma in gammas)  # timm's begin at 1e-6


def test_the_reason_of_a_refused_export_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise LabelwiseError("a probability that differs", "equal ones", "choose another")

    rows: list[dict[str, Any]] = []
    monkeypatch.setattr(backbone_check, "Bench", refuse)
    backbone_check.exported("test_convnext", cache, lambda row: rows.append(dict(row)))
    no = "no: a probability that differs"
    assert rows == [{"onnx": no}, {"onnx": no, "openvino": no}]


def test_names_are_models_or_families() -> None:
    assert models_of([], False) == [FAMILIES[family] for family in REPRESENTATIVE]
    assert models_of([], True) == list(FAMILIES.values())
    assert models_of(["pit", "resnet18.a1_in1k"], False) == [FAMILIES["pit"], "resnet18.a1_in1k"]
    for names, every in ((["pitt"], False), (["pit"], True)):
        with pytest.raises(LabelwiseError):
            models_of(names, every)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names in the order in which they were checked; models whose name holds an x end."""
    calls: list[str] = []

    def check(name: str, limits: ProcessLimits) -> dict[str, Any]:
        calls.append(name)
        ended = "x" in name
        row = {"family": name[:3], "model": name, "result": "ended" if ended else "works", "reason": ""}
        versions = {"timm": backbone_sweep.timm.__version__, "torch": "2"}
        return row | versions | {"seconds": 1.5, "megabytes": 900, "image_size": 224, "stride": 32}

    def export(row: dict[str, Any], limits: ProcessLimits) -> dict[str, Any]:
        calls.append(f"{row['model']} exported")
        return {**row, "onnx": "yes", "openvino": "no: why"}

    monkeypatch.setattr(backbone_sweep, "checked", check)
    monkeypatch.setattr(backbone_sweep, "with_exports", export)
    monkeypatch.setattr(backbone_sweep.torch, "__version__", "2+cpu")
    return calls


def test_a_second_call_goes_on_with_the_table(tmp_path: Path, stub: list[str]) -> None:
    out = tmp_path / "table.csv"
    check_models(["b", "a"], out, False, ProcessLimits(), lambda row: None)
    rows = check_models(["a", "xx", "b"], out, False, ProcessLimits(), lambda row: None)
    assert stub == ["b", "a", "xx"]
    assert [row["model"] for row in rows] == ["a", "xx", "b"]
    # Exports are added to rows without them; other versions are checked again.
    check_models(["a", "xx"], out, True, ProcessLimits(), lambda row: None)
    check_models(["a", "xx"], out, True, ProcessLimits(), lambda row: None)
    assert stub == ["b", "a", "xx", "a exported"]
    with out.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["model"] for row in table] == ["a", "b", "xx"]
    assert [row["onnx"] for row in table] == ["yes", "", ""]
    out.write_text(out.read_text().replace(",2\n", ",1\n"))
    check_models(["b"], out, False, ProcessLimits(), lambda row: None)
    assert stub[4:] == ["b"]
    out.write_text("image,dog\n")
    with pytest.raises(LabelwiseError, match="with other columns"):
        check_models(["b"], out, False, ProcessLimits(), lambda row: None)
    assert out.read_text() == "image,dog\n"


def test_the_command_prints_a_row_each(
    tmp_path: Path, stub: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    backbones.check_backbones(["pit"], False, None, True, 9.0, 1.0)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["model", "sizes", "places", "onnx", "openvino", "s", "MB", "result"]
    assert printed[1].split() == ["pit_ti_224", "224", "7", "yes", "no", "1.5", "900", "works"]
    assert printed[2] == "1 models: 1 works"
    with pytest.raises(backbones.typer.Exit) as end:
        backbones.check_backbones(["xcit"], False, None, False, 9.0, 1.0)
    assert end.value.exit_code == 1


def test_the_images_of_a_check_are_those_of_its_table(tmp_path: Path) -> None:
    file = backbone_check._images(tmp_path)
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["split"] for row in rows] == ["train"] * 4 + ["val"] * 2
    assert all((tmp_path / row["image"]).is_file() for row in rows)
    assert json.dumps(rows).count('"left": "1"') == 3


class Amplifies(torch.nn.Module):
    """Logits that turn over `gain` times between black and white."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        """The sine of each image's mean."""
        mean = images.to(self.gain.dtype).mean((1, 2, 3)) / 255
        return SimpleNamespace(logits=(mean[:, None] * self.gain).sin())


@pytest.mark.parametrize(("gain", "amplifies"), [(1.0, False), (1e5, True)])
def test_networks_that_amplify_rounding_are_known(gain: float, amplifies: bool) -> None:
    torch.manual_seed(0)
    model = Amplifies(gain)
    images = torch.randint(0, 256, (4, 3, 7, 7), dtype=torch.uint8)
    assert backbone_check._amplifies_rounding(model, images) == amplifies
    assert model.gain.dtype == torch.float32
