"""The command `train`: when it trains in stages, and which commands accept the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labelwise.anytime import ladder
from labelwise.anytime.plan import Plan, Stage
from labelwise.cli import app
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config

STAGES = tuple(
    Stage(
        name,
        {"backbone.freeze": True, "image_size": 32, "method": method, "optim.name": "exact"},
        1.0,
        "a reason",
    )
    for name, method in (("1-probe", "baseline-gap"), ("2-gmp", "baseline-gmp"))
)


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same plan on every machine."""
    monkeypatch.setattr(
        ladder, "make_plan", lambda config, data, seconds, speed, given: Plan(seconds, STAGES)
    )


def test_the_command(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "run"
    weights = ["--backbone", "test_vit", "--weights", config.backbone.weights, "--image-size", "32"]
    arguments = ["train", "--data", config.data.source, *weights, "--time", "10m", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    page = (out / "report.html").read_text()
    assert ">Stages<" in page
    assert all(stage.name in page for stage in STAGES)
    assert f"<title>{out.name}" in page
    for command in (["evaluate", str(out)], ["report", str(out)], ["tune", str(out)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    for more in ([], arguments[1:-2], ["--set", "workers=1"]):
        result = CliRunner().invoke(app, ["train", *more, "--out", str(out), "--resume", "--no-report"])
        assert result.exit_code == 0, result.output
    for more, message in (
        (["--time", "20m"], "another time (1200 s after 600 s)"),
        (["--preset", "fast"], "another time (180 s after 600 s)"),
        (["--epochs", "3"], "another epochs (3 after"),
        (["--data", "digits:"], "another data.source (digits: after"),
    ):
        result = CliRunner().invoke(app, ["train", *more, "--out", str(out), "--resume"])
        assert message in str(result.exception)
    assert isinstance(CliRunner().invoke(app, arguments).exception, LabelwiseError)


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 1200),
        (["--preset", "fast"], 180),
        (["--preset", "best", "--epochs", "2"], 5400),
        (["--time", "90s"], 90),
        (
            [
                "--seed",
                "3",
                "--known-proportion",
                "0.5",
                "--unknown",
                "hill",
                "--set",
                "data.train_images=20",
            ],
            1200,
        ),
        (["--epochs", "2"], None),
        (["--method", "csra"], None),
        (["--freeze-backbone"], None),
        (["--set", "optim.lr=1e-3"], None),
        (["--weights", "none"], None),
        (["--init-from", "RUN"], None),
    ],
)
def test_stages_are_the_default_without_settings_of_training(
    config: Config,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    seconds: float | None,
) -> None:
    calls: list[float | None] = []
    monkeypatch.setattr("labelwise.anytime.train_within", lambda made, time, *_, **__: calls.append(time))
    monkeypatch.setattr(sys.modules["labelwise.training.fit"], "train", lambda *_, **__: calls.append(None))
    weights = [] if "--weights" in arguments else ["--weights", config.backbone.weights]
    command = ["train", "--data", config.data.source, "--backbone", "test_vit", *weights, "--no-report"]
    arguments = [str(run_folder) if value == "RUN" else value for value in arguments]
    result = CliRunner().invoke(app, [*command, *arguments, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert calls == [seconds]


def test_a_time_and_a_preset_are_refused(config: Config, tmp_path: Path) -> None:
    arguments = [
        "--data",
        config.data.source,
        "--time",
        "10m",
        "--preset",
        "fast",
        "--out",
        str(tmp_path / "run"),
    ]
    result = CliRunner().invoke(app, ["train", *arguments])
    assert "--time 10m and --preset fast; expected one of the two; remove one" in str(result.exception)


def test_settings_from_every_source_count_as_given(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[frozenset[str]] = []

    def record_given(config: Config, data: Any, seconds: float, speed: Any, given: frozenset[str]) -> Plan:
        seen.append(given)
        return Plan(seconds, STAGES[:1])

    monkeypatch.setattr(ladder, "make_plan", record_given)
    (tmp_path / "more.yaml").write_text("method: mcar\n")
    arguments = [
        "train",
        "--data",
        config.data.source,
        "--weights",
        config.backbone.weights,
        "--backbone",
        "test_vit",
    ]
    arguments += [
        "--config",
        str(tmp_path / "more.yaml"),
        "--set",
        "image_size=32",
        "--epochs",
        "3",
        "--no-report",
    ]
    result = CliRunner().invoke(app, [*arguments, "--time", "10m", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert {"method", "image_size", "epochs"} <= seen[0]
