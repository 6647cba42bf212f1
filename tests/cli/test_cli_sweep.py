"""labelwise sweep."""

from __future__ import annotations

import csv
import json
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny_runs
from labelwise.experiments import sweep as sweeping
from labelwise.experiments.sweep import merged
from labelwise.experiments.tables import COLUMNS
from tiny_runs import command


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Two rows, two seeds."""
    photos = tiny_runs.photographs(tmp_path / "photos")
    settings = tiny_runs.settings(f"csv:{photos}", epochs=1, batch_size=4)
    del settings["extractor"]
    rows = {
        "gap": {"method": "baseline-gap", "loss": {"name": "bce"}},
        "dlfl": {"extractor": {"dim": 16, "ffn": 16}},
    }
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"settings": settings, "rows": rows, "seeds": [0, 1]}, sort_keys=False))
    return file


def _rows(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == list(COLUMNS)
    return rows


def test_a_stopped_sweep_resumes_without_repeating_a_run(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, trained = tmp_path / "sweep", []
    original = sweeping.train

    def train(config: Any, path: Path, *rest: Any, **options: Any) -> Any:
        trained.append((path.name, options["resume"]))
        if len(trained) == 3:
            (path).mkdir(parents=True)
            raise KeyboardInterrupt
        return original(config, path, *rest, **options)

    monkeypatch.setattr(sweeping, "train", train)
    assert command("sweep", "--config", plan, "--out", out).code == 130
    outcome = command("sweep", "--config", plan, "--out", out)
    assert outcome.code == 0, outcome.err
    names = ["gap-seed0", "dlfl-seed0", "gap-seed1", "gap-seed1", "dlfl-seed1"]
    assert [name for name, _ in trained] == names
    again = command("sweep", "--config", plan, "--out", out)
    assert len(trained) == 5
    assert again.out == outcome.out
    rows = _rows(out)
    assert [(row["row"], row["seed"]) for row in rows] == [
        ("gap", "0"),
        ("gap", "1"),
        ("dlfl", "0"),
        ("dlfl", "1"),
    ]
    for row in rows:
        results = json.loads((out / f"{row['row']}-seed{row['seed']}" / "results.json").read_text())
        assert float(row["mAP"]) == results["splits"]["test"]["metrics"]["mAP"]
        assert (row["train"], row["val"], row["test"]) == ("12", "4", "5")
    assert [row["loss"] for row in rows] == ["bce", "bce", "asl", "asl"]
    values = [100 * float(row["mAP"]) for row in rows[:2]]
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("gap "))
    assert f"{statistics.fmean(values):.2f} +- {statistics.stdev(values):.2f}" in line


def test_a_stopped_run_of_a_sweep_resumes(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = []
    monkeypatch.setattr(
        sweeping, "train", lambda c, path, data, *, resume: resumed.append((path.name, resume))
    )
    (tmp_path / "sweep" / "dlfl-seed1").mkdir(parents=True)
    (tmp_path / "sweep" / "dlfl-seed1" / "config.yaml").touch()
    assert command("sweep", "--config", plan, "--out", tmp_path / "sweep", "--only", "dlfl").code == 0
    assert resumed == [("dlfl-seed0", False), ("dlfl-seed1", True)]


def test_settings_of_the_command_line_apply_to_every_run(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        sweeping, "train", lambda config, *_, **__: seen.append((config.seed, config.optim.lr))
    )
    assert command("sweep", "--config", plan, "--out", tmp_path / "sweep", "--set", "optim.lr=0.5").code == 0
    assert seen == [(0, 0.5), (0, 0.5), (1, 0.5), (1, 0.5)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": None}, "expected settings, rows (NAME: settings) and a list of seeds"),
        ({"rows": ["dlfl"]}, "expected settings, rows"),
        (
            {"proportions": [0.5, 1.5]},
            "proportions [0.5, 1.5]; expected a list of numbers over 0 and up to 1",
        ),
        ({"proportions": 0.5}, "proportions 0.5; expected a list of numbers"),
        ({"seeds": 3}, "expected settings, rows"),
        ({"methods": []}, "a plan with settings, rows, seeds, methods; expected"),
        (
            {"settings": {"data": {"source": "digits:"}, "epoch": 1}},
            "setting 'epoch'; expected a known setting",
        ),
    ],
)
def test_a_wrong_plan(tmp_path: Path, plan: Path, change: dict[str, Any], message: str) -> None:
    plan.write_text(yaml.safe_dump({**yaml.safe_load(plan.read_text()), **change}, sort_keys=False))
    assert message in command("sweep", "--config", plan, "--out", tmp_path / "sweep").message


def test_an_unknown_row(tmp_path: Path, plan: Path) -> None:
    message = command("sweep", "--config", plan, "--out", tmp_path / "sweep", "--only", "gmp").message
    assert "row 'gmp'; expected one of gap, dlfl; correct --only" in message


def test_an_unknown_row_or_data_set_is_reported_before_training(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "train", lambda *_, **__: pytest.fail("trained"))
    sweep = ("sweep", "--config", plan, "--out", tmp_path / "sweep")
    message = command(*sweep, "--against", "gmp").message
    assert "row 'gmp'; expected one of gap, dlfl; correct --against" in message
    assert (
        "dataset 'imagenet'; expected one of coco2014, " in command(*sweep, "--published", "imagenet").message
    )


def test_proportions_are_trained_seed_by_seed(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        sweeping, "train", lambda c, path, *_, **__: seen.append((path.name, c.data.known_proportion, c.seed))
    )
    plan.write_text(
        yaml.safe_dump({**yaml.safe_load(plan.read_text()), "proportions": [0.1, 1]}, sort_keys=False)
    )
    out = command(
        "sweep", "--config", plan, "--out", tmp_path / "sweep", "--set", "data.known_proportion=0.7"
    )
    assert out.code == 0, out.err
    rows = [(row, share) for share in (0.1, 1) for row in ("gap", "dlfl")]
    assert seen == [(f"{row}-known{p}-seed{seed}", p, seed) for seed in (0, 1) for row, p in rows]


def test_rows_are_compared_and_published_figures_are_printed_separately(tmp_path: Path, plan: Path) -> None:
    out = tmp_path / "sweep"
    settings = ("--against", "gap", "--published", "vg-500")
    outcome = command("sweep", "--config", plan, "--out", out, *settings)
    assert outcome.code == 0, outcome.err
    ours, compared, published = outcome.out.strip().split("\n\n")
    assert [line.split()[0] for line in ours.splitlines()] == ["row", "gap", "dlfl"]
    maps = {(row["row"], row["seed"]): float(row["mAP"]) for row in _rows(out)}
    gap = statistics.fmean(maps["dlfl", s] - maps["gap", s] for s in "01")
    assert compared.splitlines()[0].startswith("difference in test mAP, in points")
    assert compared.splitlines()[2].split()[:4] == ["dlfl", "gap", "1", f"{100 * gap:+.2f}"]
    with (out / "differences.csv").open(newline="") as file:
        (kept,) = csv.DictReader(file)
    assert (kept["row"], kept["against"], kept["known_proportion"], kept["seeds"]) == (
        "dlfl",
        "gap",
        "1.0",
        "2",
    )
    assert float(kept["difference"]) == pytest.approx(gap, abs=1e-6)
    assert float(kept["low"]) <= gap <= float(kept["high"])
    assert compared.endswith(kept["verdict"])
    assert published.startswith("published, other conditions; not comparable unless stated\n")
    assert "36.6" not in (out / "results.csv").read_text()


def test_differences_of_a_folder_equal_those_of_its_sweep(
    tmp_path: Path, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """studies/differences.py reads the rows from the runs' names, with and without known proportions."""
    text = {**yaml.safe_load(plan.read_text()), "proportions": [0.5, 1], "seeds": [0]}
    plan.write_text(yaml.safe_dump(text, sort_keys=False))
    out, table = tmp_path / "sweep", tmp_path / "table.csv"
    outcome = command("sweep", "--config", plan, "--out", out, "--against", "gap")
    assert outcome.code == 0, outcome.err
    script = Path(__file__).parents[2] / "studies" / "differences.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(out), "--against", "gap", "--csv", str(table)])
    monkeypatch.syspath_prepend(script.parent)
    runpy.run_path(str(script), run_name="__main__")
    of_sweep, of_folder = ((out / "differences.csv").read_text().splitlines(), table.read_text().splitlines())
    assert len(of_sweep) == 4  # a header, two proportions, their mean
    assert of_folder == of_sweep


def test_settings_are_merged_in_layers() -> None:
    settings = merged(
        {"a": {"x": 1, "y": [1]}, "loss": {"name": "asl", "margin": 1}},
        {"a": {"x": 2}, "loss": {"name": "bce"}},
    )
    assert settings == {"a": {"x": 2, "y": [1]}, "loss": {"name": "bce"}}
