"""From a data set to a finished run."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors import safe_open

import labelwise as lw
import tiny_runs
from labelwise.data.masks import known_mask
from labelwise.data.splits import fewer_rows
from labelwise.errors import LabelwiseError
from labelwise.evaluation.tune import tune_run
from labelwise.runs import Run
from labelwise.runs.config import Config, make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.fit import train
from labelwise.training.unknown import shown_rows
from labelwise.types import LabelSet


def _train(source: str | Path, out: Path, *, resume: bool = False, **changes: Any) -> Run:
    return train(make_config(tiny_runs.settings(source, **changes)), out, quiet=True, resume=resume)


def test_a_run_holds_what_it_says(run_folder: Path) -> None:
    names = {str(p.relative_to(run_folder)) for p in run_folder.rglob("*") if p.is_file()}
    assert names >= {
        "config.yaml",
        "labels.json",
        "model.safetensors",
        "results.json",
        "metrics.jsonl",
        "state/last.pt",
        "scores/val.npz",
        "scores/test.npz",
    }
    assert not [name for name in names if name.endswith(".part")]
    settings = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert settings["optim"] == lw.runs.config.OptimSettings().model_dump()
    labels = json.loads((run_folder / "labels.json").read_text())
    assert labels["names"] == [str(d) for d in range(10)]
    assert set(labels["thresholds"]) == set(labels["names"])
    source = settings["data"]["source"]
    assert labels["thresholds_from"] == f"f1 on val of {source}, 16 images, platt calibration"
    assert set(labels["calibration"]["scale"]) == set(labels["names"])
    with safe_open(run_folder / WEIGHTS, "pt") as file:
        assert re.fullmatch("labelwise-1 [0-9a-f]{32}", file.metadata()["format"])


def test_results_carry_their_conditions(run_folder: Path) -> None:
    results = json.loads((run_folder / "results.json").read_text())
    assert set(results["splits"]) == {"val", "test"}
    conditions = results["splits"]["test"]["conditions"]
    expected = {
        "images": 17,
        "scored": 17,
        "unreadable": 0,
        "split": "test",
        "seed": 0,
        "image_size": 32,
        "labels": 10,
    }
    assert {k: conditions[k] for k in expected} == expected
    training = results["training"]
    expected = {"epochs": 2, "images": 48, "steps": 12, "processes": 1, "chosen_on": "val mAP"}
    assert {k: training[k] for k in expected} == expected
    best = max(
        (json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()),
        key=lambda e: e["val"]["mAP"] if e["kind"] == "epoch" else -1,
    )
    assert training["best_epoch"] == best["epoch"]
    assert results["splits"]["val"]["metrics"]["mAP"] == pytest.approx(best["val"]["mAP"], abs=1e-6)


@pytest.mark.usefixtures("unjudged")
def test_a_seed_makes_a_run_and_workers_do_not_change_it(
    tmp_path: Path, table: Path, run_folder: Path
) -> None:
    expected = (run_folder / WEIGHTS).read_bytes()
    _train(f"parquet:{table}", tmp_path / "again", workers=1)
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == expected
    _train(f"parquet:{table}", tmp_path / "other", seed=1)
    assert (tmp_path / "other" / WEIGHTS).read_bytes() != expected


def test_the_python_way(tmp_path: Path, table: Path) -> None:
    data = lw.read(f"parquet:{table}")
    settings = tiny_runs.settings("")
    run = lw.fit(
        data,
        method="baseline-gap",
        backbone=settings["backbone"],
        out=tmp_path / "mine",
        quiet=True,
        image_size=32,
        epochs=1,
        workers=0,
        batch_size=8,
    )
    assert run.config.data.source == data.source
    result = lw.evaluate(run, data, split="test")
    stored = json.loads((tmp_path / "mine" / "results.json").read_text())["splits"]["test"]["metrics"]
    assert result.metrics["mAP"] == pytest.approx(stored["mAP"], abs=1e-6)
    assert next(lw.load(tmp_path / "mine").predict([data.encoded(0)])).error is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The configuration and the data set of each training that `fit` would start; none of them runs."""
    calls: list[tuple[Any, Any]] = []

    def asked_for(config: Config, out: Path, data: Any, **rest: Any) -> Run:
        calls.append((config, data))
        return Run(out, config, LabelSet(("a",)))

    monkeypatch.setattr(sys.modules["labelwise.training.fit"], "train", asked_for)
    return calls


def test_settings_of_the_data_stand_beside_the_source(table: Path, asked: list[tuple[Any, Any]]) -> None:
    source, data = f"parquet:{table}", lw.read(f"parquet:{table}")
    wanted = {"known_proportion": 0.3, "train_images": 20, "untrained_labels": True}
    lw.fit(source, data=wanted)
    lw.fit(data, data=wanted)
    lw.fit(source=source, data=wanted)
    lw.fit(data={"source": source, **wanted})
    lw.fit(data={"source": data, **wanted})
    for config, given in asked:
        assert config.data.model_dump(include={"source", *wanted}) == {"source": source, **wanted}
        assert given is None or given is data
    assert [given is data for _, given in asked] == [False, True, False, False, True]


def test_data_may_name_the_source_itself(table: Path, asked: list[tuple[Any, Any]]) -> None:
    data = lw.read(f"parquet:{table}")
    lw.fit(data=data.source, epochs=3)
    lw.fit(data=data, epochs=3)
    assert [(config.data.source, config.epochs) for config, _ in asked] == [(data.source, 3)] * 2
    assert [given for _, given in asked] == [None, data]


def test_no_source_and_two_sources_are_refused(asked: list[tuple[Any, Any]]) -> None:
    todo = r'write for example fit\("csv:labels.csv", data={"known_proportion": 0.3}\)'
    for arguments, given in (
        ({}, "nothing to learn from"),
        ({"data": {"known_proportion": 0.3}}, "nothing to learn from"),
        ({"source": "csv:a.csv", "data": "csv:b.csv"}, "'csv:a.csv' and 'csv:b.csv' to learn from"),
        (
            {"source": "csv:a.csv", "data": {"source": "csv:b.csv"}},
            "'csv:a.csv' and 'csv:b.csv' to learn from",
        ),
    ):
        with pytest.raises(
            LabelwiseError, match=rf"{given}; expected one data set, or one SOURCE text; {todo}"
        ):
            lw.fit(**arguments)
    with pytest.raises(LabelwiseError, match=r"setting 'data\.share'; expected a known setting"):
        lw.fit("csv:a.csv", data={"share": 0.3})
    assert asked == []


def test_settings_of_the_data_reach_the_run(tmp_path: Path, table: Path) -> None:
    shape = {"image_size": 32, "epochs": 1, "workers": 0, "batch_size": 8, "quiet": True}
    backbone = {"name": "test_vit", "weights": "none"}
    data = {"known_proportion": 0.5}
    run = lw.fit(f"parquet:{table}", "baseline-gap", backbone, tmp_path / "run", data=data, **shape)
    training = json.loads((run.path / "results.json").read_text())["training"]
    rows = lw.read(f"parquet:{table}").split("train")
    assert training["unknown_cells"] == int((~known_mask(len(rows), 10, 0.5, seed=0)).sum())


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path, table: Path, run_folder: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    message = "holds a run; expected a new folder; use --resume or another --out"
    with pytest.raises(LabelwiseError, match=message):
        _train(f"parquet:{table}", out, epochs=1)
    (out / WEIGHTS).rename(tmp_path / "aside")  # a run that was stopped in its first epoch has a state alone
    with pytest.raises(LabelwiseError, match=message):
        _train(f"parquet:{table}", out, epochs=1)
    (tmp_path / "aside").rename(out / WEIGHTS)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": {"lr": 0.5}}, "--resume with another optim.lr (0.5 after 0.001)"),
        ({"epochs": 9}, "--resume with another epochs (9 after 1)"),
        ({"extractor": {"dim": 8, "ffn": 16}}, "--resume with another extractor.dim (8 after 16)"),
        ({"extractor": {"dim": 16}}, "--resume with another extractor.ffn (None after 16)"),
        ({"loss": {"name": "bce"}}, "--resume with another loss.name (bce after asl)"),
    ],
)
def test_going_on_with_other_settings_names_the_setting(
    tmp_path: Path, table: Path, changes: dict[str, Any], message: str
) -> None:
    source, out = f"parquet:{table}", tmp_path / "run"
    Run(out, make_config(tiny_runs.settings(source, method="dlfl", epochs=1)), lw.read(source).labels).save()
    with pytest.raises(LabelwiseError) as caught:
        _train(source, out, resume=True, **{"epochs": 1, **changes})
    assert str(caught.value).startswith(message)
    assert "expected the settings that the run began with; leave the setting out" in str(caught.value)


def test_going_on_may_change_what_changes_no_result(tmp_path: Path, table: Path, run_folder: Path) -> None:
    source, out = f"parquet:{table}", tmp_path / "run"
    shutil.copytree(run_folder, out)
    _train(source, out, resume=True, log_every=7, save_every=3)
    assert (out / WEIGHTS).read_bytes() == (run_folder / WEIGHTS).read_bytes()
    assert json.loads((out / "labels.json").read_text())["thresholds"]


def test_data_without_splits_are_split(tmp_path: Path) -> None:
    file = tiny_runs.photographs(tmp_path / "photos", 24, 0, 0)
    file.write_text("\n".join(line.rpartition(",")[0] for line in file.read_text().splitlines()))
    _train(f"csv:{file}", tmp_path / "run", epochs=1)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    counts = {name: result["conditions"]["images"] for name, result in results["splits"].items()}
    assert results["training"]["images"] + sum(counts.values()) == 24
    assert set(counts) == {"val", "test"}
    assert any("Stratified split" in note for note in results["splits"]["test"]["conditions"]["data_notes"])


def test_the_known_share_is_the_protocols(table: Path) -> None:
    rows = lw.read(f"parquet:{table}").split("train")
    config = make_config(tiny_runs.settings("x", data={"source": "x", "known_proportion": 0.3}))
    shown = shown_rows(rows, config.data)
    assert np.array_equal(shown.known, known_mask(48, 10, 0.3, seed=0))


def test_fewer_training_images_leave_the_other_splits_whole(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"parquet:{table}"
    data = {"source": source, "train_images": 30, "known_proportion": 0.8}
    run = train(make_config(tiny_runs.settings("", data=data, epochs=1)), tmp_path / "run")
    assert "30 of the 48 train images are sampled (seed 0)." in capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["training"]["images"] == 30
    assert results["splits"]["test"]["conditions"]["images"] == 17
    rows = fewer_rows(lw.read(source), "train", 30).split("train")
    with np.load(tmp_path / "run" / "known.npz") as kept:
        assert kept["ids"].tolist() == [rows.image_id(i) for i in range(30)]
        assert np.array_equal(kept["known"], known_mask(30, 10, 0.8, seed=0))
    assert _train("", tmp_path / "run", resume=True, data=data, epochs=1).path == run.path


def test_few_images_without_a_label_are_refused(tmp_path: Path, table: Path) -> None:
    data = {"source": f"parquet:{table}", "train_images": 2}
    with pytest.raises(
        LabelwiseError, match=r"labels with positives in other splits but none in train"
    ) as error:
        _train("", tmp_path / "run", data=data)
    assert "; raise data.train_images, or train the rest" in str(error.value)


def test_a_label_without_positives_in_training_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny_runs.photographs(tmp_path / "photos")
    lines = file.read_text().splitlines()
    gold = [f"{line},{int('test' in line)}" for line in lines[1:]]
    file.write_text("\n".join([lines[0] + ",gold", *gold]))
    data = {"source": f"csv:{file}", "untrained_labels": True}
    train(make_config(tiny_runs.settings("", data=data, epochs=1, batch_size=4)), tmp_path / "run")
    printed = capsys.readouterr().err
    assert "no positive in the training split, so it cannot be learned: gold" in printed
    per_label = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["test"]["per_label"]
    assert per_label["gold"]["positives"] == 5
    assert per_label["gold"]["recall"] == 0
    assert "cannot be learned: gold; never selected" in printed
    stored = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert (stored["rules"]["never"], stored["thresholds"]["gold"]) == (["gold"], 1.0)


def _golden(folder: Path, splits: str) -> str:
    """Photographs of which those of the named splits alone hold gold."""
    file = tiny_runs.photographs(folder)
    lines = file.read_text().splitlines()
    gold = [f"{line},{int(line.rpartition(',')[2] in splits)}" for line in lines[1:]]
    file.write_text("\n".join([lines[0] + ",gold", *gold]))
    return f"csv:{file}"


def test_a_label_that_nothing_taught_stays_unselected_untuned_and_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _golden(tmp_path / "photos", "val test")
    options = {"batch_size": 4, "epochs": 1}
    run = _train(source, tmp_path / "run", data={"source": source, "untrained_labels": True}, **options)
    gold = run.labels.names.index("gold")
    assert run.decisions().never == (gold,)
    tuning, _ = tune_run(run, lw.read(source), objective="recall=0.99")
    assert tuning.decisions.never == run.decisions().never == (gold,)
    predictor = lw.load(run.path)
    photos = [lw.read(source).encoded(i) for i in range(21)]
    assert not any("gold" in answer.selected for answer in predictor.predict(photos))
    assert predictor.never_selected == ("gold",)

    # So is a run that fits no decisions.
    monkeypatch.setattr(sys.modules["labelwise.training.course"], "_finish", lambda *parts: None)
    plain = _train(source, tmp_path / "plain", data={"source": source, "untrained_labels": True}, **options)
    assert (plain.decisions().never, plain.decisions().fitted) == ((gold,), False)
    assert plain.decisions().thresholds.tolist() == [0.5, 0.5, 0.5, 1.0]


def test_a_label_that_is_learned_but_not_in_val_is_decided_by_what_the_probabilities_expect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _golden(tmp_path / "photos", "train")
    run = train(make_config(tiny_runs.settings(source, batch_size=4, epochs=1)), tmp_path / "run")
    assert run.decisions().never == ()
    assert 0 < run.decisions().thresholds[run.labels.names.index("gold")] < 1
    printed = capsys.readouterr().err
    assert "fewer than 2 known positives, or no known negative, to fit decisions on" in printed
    assert "gold" in printed


def test_what_another_run_learned_is_not_forgotten(tmp_path: Path) -> None:
    taught, untaught = _golden(tmp_path / "a", "train val test"), _golden(tmp_path / "b", "")
    options = {"batch_size": 4, "epochs": 1}
    first = _train(taught, tmp_path / "first", **options)
    onwards = {**options, "init_from": str(first.path)}
    assert _train(untaught, tmp_path / "second", **onwards).decisions().never == ()
    assert _train(untaught, tmp_path / "third", **options).decisions().never == (3,)
    onwards["init_from"] = str(tmp_path / "third")
    assert _train(untaught, tmp_path / "fourth", **onwards).decisions().never == (3,)
    assert _train(taught, tmp_path / "fifth", **onwards).decisions().never == ()


def test_a_frozen_run_reads_stored_maps_and_agrees_with_the_photographs(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"parquet:{table}"
    frozen = {"backbone": {"name": "test_convnext", "weights": "none", "freeze": True}, "image_size": 64}
    for name in ("a", "b"):
        train(make_config(tiny_runs.settings(source, **frozen)), tmp_path / name)
    printed = capsys.readouterr().err
    assert printed.count("computing maps of") == 3  # train, val and test, by the first run alone
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    stored = json.loads((tmp_path / "a" / "results.json").read_text())["splits"]["test"]
    result = lw.evaluate(tmp_path / "a", lw.read(source), split="test").to_json()
    assert result["conditions"] == stored["conditions"]
    with np.load(tmp_path / "a" / "scores" / "test.npz") as scores:
        logits = lw.evaluate(tmp_path / "a", lw.read(source), split="test").scores.logits
        np.testing.assert_allclose(scores["logits"], logits, atol=2e-3)
    for name in ("mAP", "CF1", "OF1", "pointing"):
        assert result["metrics"][name] == pytest.approx(stored["metrics"][name], abs=2e-3)
