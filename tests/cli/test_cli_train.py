"""labelwise train, evaluate, report and demo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

import tiny_runs
from labelwise.runs.run import WEIGHTS
from tiny_runs import TINY, command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The CSV of 21 photographs."""
    return tiny_runs.photographs(tmp_path / "photos")


@pytest.fixture
def run(base: Path, tmp_path: Path) -> Path:
    """A finished run on such photographs, without a report."""
    return shutil.copytree(tiny_runs.trained(base)[1], tmp_path / "run")


def test_train_writes_a_run_and_prints_its_progress(tmp_path: Path, photos: Path) -> None:
    outcome = command("train", "--data", f"csv:{photos}", "--out", tmp_path / "run", *TINY, "--seed", "3")
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert (
        "dlfl on test_vit (none), 32 px; 3 labels; train 12, val 4, test 5; 1 epochs of 3 steps"
        in outcome.err
    )
    assert "epoch 1/1  loss " in outcome.err
    assert "test: mAP " in outcome.err
    assert f"report: {tmp_path / 'run' / 'report.html'}" in outcome.err
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    given = {"seed": 3, "image_size": 32, "epochs": 1, "batch_size": 4, "extractor": {"dim": 16, "ffn": 16}}
    assert {k: settings[k] for k in given} == given
    assert settings["data"]["source"] == f"csv:{photos}"
    assert settings["backbone"]["weights"] == "none"


def test_the_command_line_overrides_the_recipe_and_set_overrides_both(tmp_path: Path, photos: Path) -> None:
    recipe = {"epochs": 7, "seed": 7, "optim": {"lr": 0.5, "clip_norm": 3.0}, "method": "baseline-gap"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = [w for w in TINY if "extractor" not in w]
    following = [*options[1:], ""]
    options = [w for w, after in zip(options, following, strict=True) if not w == after == "--set"]
    options = options[:-1] if options[-1] == "--set" else options
    outcome = command(
        "train", "--data", photos, "--out", tmp_path / "run", "--config", tmp_path / "recipe.yaml", *options,
        "--lr", "0.25", "--set", "optim.lr=0.125", "--no-report",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (settings["epochs"], settings["seed"], settings["method"]) == (1, 7, "baseline-gap")
    assert (settings["optim"]["lr"], settings["optim"]["clip_norm"]) == (0.125, 3.0)
    assert not (tmp_path / "run" / "report.html").exists()


def test_resume_needs_nothing_but_the_folder(run: Path, tmp_path: Path) -> None:
    before = (run / WEIGHTS).read_bytes()
    outcome = command("train", "--out", run, "--resume", "--no-report")
    assert outcome.code == 0, outcome.err
    assert (run / WEIGHTS).read_bytes() == before
    assert (
        "no data; expected a value for it" in command("train", "--out", tmp_path / "new", "--resume").message
    )


def test_evaluate_prints_one_object(run_folder: Path) -> None:
    outcome = command("evaluate", run_folder, "--json", "--workers", "0")
    assert outcome.code == 0, outcome.err
    record = json.loads(outcome.out)
    assert outcome.out.count("\n") == 1
    assert set(record) == {"protocol", "metrics", "per_label", "conditions"}
    for name in ("mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "pointing"):
        assert 0 <= record["metrics"][name] <= 1
    assert set(record["metrics"]["top3"]) >= {"CP", "CR", "CF1", "OP", "OR", "OF1"}
    assert set(record["per_label"]) == {str(d) for d in range(10)}
    assert {"AP", "positives"} <= set(record["per_label"]["7"])
    stored = json.loads((run_folder / "results.json").read_text())["splits"]["test"]
    assert record["metrics"]["mAP"] == pytest.approx(stored["metrics"]["mAP"], abs=1e-6)


def test_evaluate_prints_a_table(run_folder: Path) -> None:
    outcome = command("evaluate", run_folder, "--split", "val", "--angles", "--workers", "0")
    assert outcome.code == 0, outcome.err
    assert len([line for line in outcome.out.splitlines() if line.strip()[:1].isdigit()]) >= 10
    assert "mAP 0." in outcome.out
    assert "angle to the classifier" in outcome.out


def test_evaluate_refuses_a_missing_split(run_folder: Path) -> None:
    assert "split 'tset' of" in command("evaluate", run_folder, "--split", "tset", "--workers", "0").message


@pytest.mark.parametrize(
    "arguments", [("--batch-size", "0"), ("--workers", "-1"), ("--split",), ("--colour", "red")]
)
def test_wrong_arguments_have_exit_code_two(run_folder: Path, arguments: tuple[str, ...]) -> None:
    outcome = command("evaluate", run_folder, *arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_report_rewrites_the_page(run: Path, tmp_path: Path) -> None:
    outcome = command("report", run)
    assert outcome.code == 0, outcome.err
    assert Path(outcome.out.strip()) == run / "report.html"
    assert "<html" in (run / "report.html").read_text()[:500]
    assert "expected" in command("report", tmp_path / "nothing").message


def test_a_demonstration_does_not_change_other_runs(run: Path) -> None:
    before = sorted(run.rglob("*"))
    message = command("demo", "--out", run).message
    assert "holds a run of other data; expected a new folder; use another --out" in message
    assert sorted(run.rglob("*")) == before


def test_a_demonstration_replaces_an_earlier_one(tmp_path: Path) -> None:
    from labelwise.experiments.demo import clear, settings
    from labelwise.runs import Run
    from labelwise.runs.config import make_config
    from labelwise.types import LabelSet

    clear(tmp_path)
    Run(tmp_path, make_config(settings()), LabelSet(("a",))).save()
    for name in (WEIGHTS, "state/last.pt", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clear(tmp_path)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"config.yaml", "labels.json", "notes.txt"}
