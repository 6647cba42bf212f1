"""Unknown training cells: what hides them, what is said, what a run keeps, and going on after a stop."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import labelwise as lw
import tiny_runs
from documents import ROOT
from labelwise.data import group_mask, known_mask, save_cells, single_positive_mask
from labelwise.errors import LabelwiseError
from labelwise.experiments.sweep import SweepPlan
from labelwise.losses import BinaryCrossEntropy, UnknownLoss
from labelwise.registry import STRATEGIES
from labelwise.runs.config import make_config
from labelwise.runs.plain_yaml import read_yaml
from labelwise.runs.run import WEIGHTS
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.unknown import method_of, record, shown_rows, strategy, unknown_loss, unknown_notes

FROZEN = {"name": "test_convnext", "weights": "none", "freeze": True}
SMALL = {"method": "baseline-gap", "extractor": {}, "backbone": FROZEN, "loss": {"name": "bce"}}
NEEDED: dict[str, dict[str, Any]] = {"epr": {"expected": 2.0}, "role": {"expected": 2.0}}


def config_of(table: Path, known: dict[str, Any] | None = None, **changes: Any):
    data = {"source": f"parquet:{table}", **(known or {})}
    return make_config(tiny_runs.settings("", **{**SMALL, **changes, "data": data}))


def training_rows(table: Path):
    return lw.read(f"parquet:{table}").split("train")


def named(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, **NEEDED.get(name, {}), **options}


def test_settings_hide_what_they_say(table: Path) -> None:
    rows = training_rows(table)
    single = shown_rows(rows, config_of(table, {"known": "single-positive"}).data)
    assert np.array_equal(single.known, single_positive_mask(rows.positive))
    positives = shown_rows(rows, config_of(table, {"known": "positives", "known_proportion": 0.5}).data)
    assert positives.known.any()
    assert not (positives.known & ~rows.positive).any()
    assert shown_rows(rows, config_of(table).data) is rows
    grouped = replace(rows, group=np.arange(len(rows)) // 3)
    by_group = shown_rows(grouped, config_of(table, {"known": "groups", "known_proportion": 0.5}).data)
    assert np.array_equal(by_group.known, group_mask(grouped.group, len(rows.labels), 0.5))
    with pytest.raises(
        LabelwiseError, match=r"images without groups; expected a table with the column group"
    ):
        shown_rows(
            replace(rows, group=None), config_of(table, {"known": "groups", "known_proportion": 0.5}).data
        )


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (
            {"known": "single-positive", "known_proportion": 0.5},
            "known_proportion 0.5 with single positives; expected one of them; leave one out",
        ),
        (
            {"mask_file": "m.npz", "known_proportion": 0.5},
            "data.mask_file beside known_proportion or known; expected one of them; leave one out; a mask file already "
            "lists the cells that stay known",
        ),
    ],
)
def test_contradictions_are_refused(table: Path, known: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        shown_rows(training_rows(table), config_of(table, known).data)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unknown": {"name": "guess"}}, "--unknown guess; expected one of auto, ignore, an-ls, csl, "),
        ({"unknown": {"tau": 1}}, "unknown.tau with --unknown ignore; expected no options; leave it out"),
        (
            {"unknown": {"name": "splc", "tua": 1}},
            "unknown.tua; expected one of tau, after, margin, gamma, margin_corrected; ",
        ),
        (
            {"unknown": {"name": "em", "file": "x"}},
            "unknown.file; expected one of alpha; ",
        ),
        (
            {"unknown": {"name": "external"}},
            "unknown external without scores; expected an npz file with scores ",
        ),
        (
            {"unknown": {"name": "em"}, "mixup": 0.2},
            "--unknown em with mixup=0.2; expected images that are not blended: ",
        ),
    ],
)
def test_wrong_settings_are_refused(table: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        unknown_loss(config_of(table, **changes), training_rows(table), BinaryCrossEntropy())
    assert str(error.value).startswith(says)


def test_what_is_said_before_the_first_step(table: Path) -> None:
    config = config_of(table, {"known": "single-positive"}, unknown={"name": "ignore"})
    rows = shown_rows(training_rows(table), config.data)
    hidden = f"note: {int((~rows.known).sum())} of 480 training cells are unknown: "
    note, warning = unknown_notes(config, rows)
    assert note == hidden + "left out of the loss (--unknown ignore)"
    assert warning.startswith("warning: no training cell is known to be absent, so nothing keeps scores low")
    negative = config_of(table, unknown={"name": "negative"})
    assert list(unknown_notes(negative, rows)) == [hidden + "taken as absent (--unknown negative)"]
    assert list(unknown_notes(config, training_rows(table))) == []


def test_a_table_with_blanks_trains_without_a_flag_and_says_how_they_are_read(tmp_path: Path) -> None:
    file = tiny_runs.photographs(tmp_path / "photos")
    lines = file.read_text().splitlines()
    cut = [line.split(",") for line in lines]
    for line in cut[1:7]:
        line[2] = ""
    file.write_text("\n".join(",".join(line) for line in cut))
    outcome = tiny_runs.command(
        "train", "--data", f"csv:{file}", "--out", tmp_path / "run", *tiny_runs.TINY, "--no-report"
    )
    assert outcome.code == 0, outcome.err
    assert "note: 6 of 36 training cells are unknown: left out of the loss (--unknown ignore)" in outcome.err


def test_the_commands_options_reach_the_run_and_its_mask_can_be_used_again(
    tmp_path: Path, table: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    arguments = ["train", "--data", f"parquet:{table}", *tiny_runs.TINY, "--no-report", "--unknown", "ll-cp"]
    outcome = tiny_runs.command(*arguments, "--out", first, "--single-positive")
    assert outcome.code == 0, outcome.err
    assert "(--unknown ll-cp)" in outcome.err
    outcome = tiny_runs.command(*arguments, "--out", again, "--set", f"data.mask_file={first}/known.npz")
    assert outcome.code == 0, outcome.err
    assert (again / WEIGHTS).read_bytes() == (first / WEIGHTS).read_bytes()
    bad = tiny_runs.command(
        *arguments, "--out", tmp_path / "bad", "--set", f"data.mask_file={first}/labels.json"
    )
    assert "expected an npz with known [images, labels], ids [images] and labels [labels]" in bad.message


def test_scores_from_outside_pull_unknown_cells(tmp_path: Path, table: Path) -> None:
    rows = training_rows(table)
    scores = np.where(rows.positive, 0.9, 0.1)
    scores[0, 0] = np.nan
    save_cells(tmp_path / "scores.npz", "scores", scores, rows)
    option = {"name": "external", "file": str(tmp_path / "scores.npz")}
    loss = unknown_loss(config_of(table, unknown=option), rows, BinaryCrossEntropy())
    assert isinstance(loss, UnknownLoss)
    torch.testing.assert_close(loss.strategy.scores, torch.from_numpy(scores).float(), equal_nan=True)
    config = config_of(table, {"known_proportion": 0.2}, unknown=option, epochs=1)
    train(config, tmp_path / "run", quiet=True)
    told_of = json.loads((tmp_path / "run" / "results.json").read_text())["training"]
    shown = known_mask(48, 10, 0.2)
    assert told_of["known_sha256"] == hashlib.sha256(shown.astype(np.uint8).tobytes()).hexdigest()
    assert told_of["known_positives"] == int((shown & rows.positive).sum())
    assert told_of["known_positives"] + told_of["known_negatives"] + told_of["unknown_cells"] == 480
    assert told_of["unknown"] == option


@pytest.mark.parametrize("name", ["em-apl", "role", "ll-cp"])
@pytest.mark.usefixtures("unjudged")
def test_memory_is_saved_and_a_stopped_run_ends_as_one_left_alone(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from labelwise.training import loop

    options = {"ll-cp": {"delta": 0.05}}.get(name, {})
    config = config_of(
        table,
        {"known_proportion": 0.2},
        unknown=named(name, **options),
        epochs=3,
        batch_size=12,
        save_every=2,
        ema=0,
    )
    train(config, tmp_path / "whole", quiet=True)
    step = loop.Trainer._step

    def stopping(self: loop.Trainer, batches: Any) -> Any:
        if self.progress.step == 7:  # of 12, in the midst of the second epoch
            raise KeyboardInterrupt
        return step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "cut", quiet=True)
    stored = load_state(tmp_path / "cut" / STATE)[1]["method"]
    held = [value for key, value in stored.items() if key.startswith("unknown.strategy.")]
    assert held
    assert all(value.unique().numel() > 1 for value in held)
    train(config, tmp_path / "cut", quiet=True, resume=True)
    assert (tmp_path / "cut" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    ends = [load_state(tmp_path / run / STATE)[1]["method"] for run in ("cut", "whole")]
    for key in ends[0]:
        torch.testing.assert_close(ends[0][key], ends[1][key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("unjudged")
def test_another_strategy_cannot_go_on(tmp_path: Path, table: Path) -> None:
    train(config_of(table, unknown=named("em"), epochs=1), tmp_path / "run", quiet=True)
    with pytest.raises(LabelwiseError, match=r"--resume with another unknown.name \(hill after em\)"):
        train(config_of(table, unknown=named("hill"), epochs=1), tmp_path / "run", quiet=True, resume=True)


def test_the_recipe_holds_every_strategy_under_both_protocols(table: Path) -> None:
    plan = SweepPlan.of(read_yaml(ROOT / "recipes" / "partial" / "voc-strategies.yaml"))
    rows = training_rows(table)
    met = {"tenth": set(), "single": set()}
    for row in plan.rows:
        run = next(r for r in plan.runs(Path("out")) if r.row == row)
        config = make_config(plan.of_run(run, {}))
        kind = row.rpartition("-")[2]
        expected = ("single-positive", 1.0) if kind == "single" else ("cells", 0.1)
        assert (config.data.known, config.data.known_proportion) == expected
        loss = unknown_loss(config, shown_rows(rows, config.data), BinaryCrossEntropy())
        assert (loss is None) == (config.unknown["name"] == "ignore")
        met[kind].add(config.unknown["name"])
    assert met["tenth"] == met["single"] == {"ignore", *STRATEGIES} - {"external"}


def test_auto_leaves_unknown_cells_out_unless_nothing_is_known_to_be_absent(table: Path) -> None:
    config, rows = config_of(table), training_rows(table)
    assert strategy(config, rows) == "ignore"
    assert unknown_loss(config, rows, BinaryCrossEntropy()) is None
    positives = rows.with_known(rows.positive)
    assert isinstance(unknown_loss(config, positives, BinaryCrossEntropy()), UnknownLoss)
    assert record(config, positives)["unknown"] == {"name": "negative"}
    assert [note.endswith("(--unknown negative)") for note in unknown_notes(config, positives)] == [True]


@pytest.mark.parametrize(
    ("share", "given", "chosen"),
    [
        (1.0, {}, "csra"),
        (0.5, {}, "csra"),
        (0.5, {"blending": {"weight": 1.0}}, "dlfl"),
        (0.5, {"extractor": {"dim": 16}}, "dlfl"),
        (0.1, {}, "baseline-mlp"),
        (0.1, {"blending": {"weight": 1.0}}, "baseline-mlp"),
        (0.1, {"extractor": {"dim": 16}}, "dlfl"),
        (0.1, {"method": "csra"}, "csra"),
    ],
)
def test_auto_chooses_by_what_there_is_to_learn_from(
    table: Path, share: float, given: dict[str, Any], chosen: str
) -> None:
    settings = {"data": {"source": f"parquet:{table}", "known_proportion": share}, **given}
    config = make_config(settings)
    assert method_of(config, shown_rows(training_rows(table), config.data)) == chosen


@pytest.mark.parametrize(("images", "chosen"), [(600, "csra"), (601, "dlfl")])
def test_auto_takes_dlfl_where_there_are_images_enough(table: Path, images: int, chosen: str) -> None:
    rows = training_rows(table).take(np.arange(images) % 48)
    assert method_of(config_of(table, method="auto"), rows) == chosen


def test_a_run_says_and_keeps_the_method_that_auto_chose(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"source": f"parquet:{table}", "known_proportion": 0.2}
    config = make_config(tiny_runs.settings("", data=data, extractor={}, backbone=FROZEN, epochs=1))
    run = train(config, tmp_path / "run")
    assert "48 training images, 20% of their labels known: method baseline-mlp" in capsys.readouterr().err
    assert read_yaml(run.path / "config.yaml")["method"] == "baseline-mlp"
    assert train(config, tmp_path / "run", resume=True, quiet=True).config.method == "baseline-mlp"
