"""The printed table of a sweep."""

from __future__ import annotations

import statistics
from typing import Any

from labelwise.experiments.tables import sweep_table


def line(row: str, share: float, seed: int, value: float, **more: Any) -> dict[str, Any]:
    figures = {"val_mAP": value, "CF1": 0.5, "OF1": 0.5, "seconds": 3.0}
    maps = dict.fromkeys(("pointing", "pointing_hard", "energy", "attention_entropy"))
    return {"row": row, "known_proportion": share, "seed": seed, "mAP": value, **figures, **maps, **more}


def test_rows_of_full_labels_have_no_column_of_proportions() -> None:
    head, first, second = sweep_table(
        [line("a", 1.0, 0, 0.5), line("a", 1.0, 1, 0.6), line("b", 1.0, 0, 0.7)]
    ).splitlines()
    assert "known" not in head
    assert first.split() == [
        "a", "55.00", "+-", "7.07", "55.00", "50.00", "50.00", "-", "-", "-", "-", "3", "2",
    ]  # fmt: skip
    assert second.split()[1] == "70.00"
    assert "+-" not in second
    assert len(head) == len(first) == len(second)


def test_the_mean_over_proportions_is_of_whole_seeds() -> None:
    values = {(0.1, 0): 0.2, (0.5, 0): 0.4, (0.1, 1): 0.3, (0.5, 1): 0.6, (0.1, 2): 0.9}
    lines = sweep_table([line("a", p, s, v) for (p, s), v in values.items()]).splitlines()
    assert [cells.split()[:2] for cells in lines] == [
        ["row", "known"],
        ["a", "0.1"],
        ["a", "0.5"],
        ["a", "mean"],
    ]
    means = [30.0, 45.0]  # the third seed lacks a proportion
    assert lines[3].split()[2:5] == [f"{statistics.fmean(means):.2f}", "+-", f"{statistics.stdev(means):.2f}"]
    assert lines[3].split()[-1] == "2"
    assert lines[1].split()[-1] == "3"


def test_figures_of_maps_are_shown_where_every_run_has_them() -> None:
    seen = {"pointing": 0.7, "pointing_hard": 0.4, "energy": 0.33, "attention_entropy": 0.95}
    text = sweep_table(
        [line("a", 1.0, 0, 0.5, **seen), line("b", 1.0, 0, 0.5, **seen), line("b", 1.0, 1, 0.5)]
    )
    assert text.splitlines()[1].split()[5:9] == ["70.0", "40.0", "33.0", "0.95"]
    assert text.splitlines()[2].split()[7:11] == ["-"] * 4


def test_labels_that_a_map_leaves_out_are_named() -> None:
    named = {"labels_without_AP": "sun (no known negative)"}
    lines = sweep_table([line("a", 1.0, 0, 0.5, **named), line("b", 1.0, 0, 0.7, **named)]).splitlines()
    assert lines[-1] == "left out of the mAP: sun (no known negative)"
    lines = sweep_table([line("a", 1.0, 0, 0.5, **named), line("b", 1.0, 0, 0.7)]).splitlines()
    assert lines[-1] == "a: left out of the mAP: sun (no known negative)"


def test_a_row_without_an_map_shows_a_dash() -> None:
    nothing = line("a", 1.0, 1, 0.5) | {"mAP": None, "val_mAP": None}
    first = sweep_table([line("a", 1.0, 0, 0.5), nothing]).splitlines()[1]
    assert first.split()[:3] == ["a", "-", "-"]
