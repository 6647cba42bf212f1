"""Rows x known proportions x seeds under the same settings, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.experiments import significance, tables
from labelwise.runs.config import make_config
from labelwise.runs.files import read_json
from labelwise.training.fit import train

ROW = "row:"
"""Prefix of a `teacher` that names a row of the plan."""


@dataclass(frozen=True)
class SweepRun:
    """One training of a sweep.

    Args:
        row: name of its row.
        proportion: share of known labels, or `None` if the plan sets none.
        seed: random seed.
        path: its folder.
    """

    row: str
    proportion: float | None
    seed: int
    path: Path

    @property
    def done(self) -> bool:
        """Whether it was trained and evaluated."""
        return (self.path / "results.json").is_file()


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep.

    Args:
        rows: name -> settings that override the shared ones.
        seeds: each row is trained with each of them.
        settings: shared by all rows.
        proportions: shares of known labels that each row is trained with; empty to use the settings.
    """

    rows: Mapping[str, Mapping[str, Any] | None]
    seeds: list[int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    proportions: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> SweepPlan:
        """A plan from YAML data.

        Raises:
            LabelwiseError: unknown keys, no rows, no seeds, or proportions out of range.
        """
        unknown = set(data) - {"settings", "rows", "seeds", "proportions"}
        well_formed = isinstance(data.get("rows"), Mapping) and isinstance(data.get("seeds"), list)
        if unknown or not well_formed or not data["rows"] or not data["seeds"]:
            raise LabelwiseError(
                f"a plan with {', '.join(data) or 'nothing'}",
                "settings, rows (NAME: settings) and a list of seeds, with or without proportions",
                "see docs/experiments.md",
            )
        shares = data.get("proportions", [])
        if not isinstance(shares, list) or not all(_is_share(p) for p in shares):
            raise LabelwiseError(
                f"proportions {shares}", "a list of numbers over 0 and up to 1", "correct the plan"
            )
        return cls(data["rows"], data["seeds"], data.get("settings") or {}, shares)

    def check_row(self, name: str | None, option: str) -> None:
        """Raises an error that names the option if no row has this name.

        Raises:
            LabelwiseError: no such row.
        """
        if name is not None and name not in self.rows:
            raise LabelwiseError(f"row {name!r}", f"one of {', '.join(self.rows)}", f"correct {option}")

    def runs(self, out: Path) -> list[SweepRun]:
        """All runs, sorted by seed first, so that a stopped sweep holds complete seeds."""
        shares: list[float | None] = [*self.proportions] or [None]
        runs = []
        for seed in self.seeds:
            for share in shares:
                for row in self.rows:
                    runs.append(SweepRun(row, share, seed, out / _folder_name(row, share, seed)))
        return list(dict.fromkeys(runs))

    def of_run(self, run: SweepRun, over: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a run; `over` overrides the plan's own, and a row named as teacher becomes its run.

        Raises:
            LabelwiseError: a teacher that is not a row above this one.
        """
        share = {} if run.proportion is None else {"data": {"known_proportion": run.proportion}}
        settings = merged(self.settings, self.rows[run.row] or {}, over, share, {"seed": run.seed})
        teacher = settings.get("teacher")
        teacher_run = teacher.get("run") if isinstance(teacher, Mapping) else teacher
        if isinstance(teacher_run, str) and teacher_run.startswith(ROW):
            row = self._teacher_row(teacher_run, run.row)
            path = run.path.with_name(_folder_name(row, run.proportion, run.seed))
            settings["teacher"] = {**(teacher if isinstance(teacher, Mapping) else {}), "run": str(path)}
        return settings

    def _teacher_row(self, teacher: str, row: str) -> str:
        """The name of the teacher row, which must be above the row."""
        rows = list(self.rows)
        rows_above, name = rows[: rows.index(row)], teacher.removeprefix(ROW)
        if name not in rows_above:
            raise LabelwiseError(
                f"teacher.run={teacher} of row {row!r}",
                f"{ROW}NAME of a row above it: {', '.join(rows_above) or 'none'}",
                "correct the plan",
            )
        return name


@dataclass(frozen=True)
class Sweep:
    """The finished runs of a sweep.

    Args:
        runs: the finished runs, in the order of rows, proportions and seeds.
        rows: the row of each in results.csv.
    """

    runs: list[SweepRun]
    rows: list[dict[str, Any]]

    def table(self) -> str:
        """Means and deviations as text."""
        return tables.sweep_table(self.rows)

    def against(self, row: str) -> list[significance.Difference]:
        """Every other row's test mAP minus that of `row`; see `significance.differences`."""
        files: dict[str, dict[significance.Cell, Path]] = {}
        for run, line in zip(self.runs, self.rows, strict=True):
            split = tables.judged_split(read_json(run.path / "results.json"))
            cell = line["known_proportion"], run.seed
            files.setdefault(run.row, {})[cell] = run.path / "scores" / f"{split}.npz"
        return significance.differences(files, row)


def run_sweep(
    plan: SweepPlan,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    only: str | None = None,
    compared: bool = False,
) -> Sweep:
    """Trains every row with every known proportion and seed, and writes results.csv.

    A finished run is not repeated; a stopped run is resumed.

    Args:
        plan: the runs.
        out: folder of the runs.
        settings: override the plan's.
        only: name of the one row to train.
        compared: whether its runs are compared afterwards, which needs one test split for all seeds.

    Raises:
        LabelwiseError: wrong settings, no such row, or runs that could not be compared.
    """
    plan.check_row(only, "--only")
    data = None
    for run in plan.runs(out):
        if run.done or only not in (None, run.row):
            continue
        config = make_config(plan.of_run(run, settings or {}))
        data = data if data is not None and data.source == config.data.source else read(config.data.source)
        if compared and len(plan.seeds) > 1 and not data.splits():
            raise LabelwiseError(
                f"{config.data.source} without splits, for seeds {', '.join(map(str, plan.seeds))} to compare",
                "one test split for every seed; without splits each seed makes its own",
                f"make them once: labelwise data split {config.data.source} split.parquet",
            )
        train(config, run.path, data, resume=(run.path / "config.yaml").is_file())
    sweep = finished_runs(plan, out)
    tables.write_rows(out / "results.csv", sweep.rows)
    return sweep


def finished_runs(plan: SweepPlan, out: Path) -> Sweep:
    """The finished runs of a plan, row by row."""
    runs = plan.runs(out)
    order = {name: i for i, name in enumerate(plan.rows)}
    shares = {share: i for i, share in enumerate(dict.fromkeys(run.proportion for run in runs))}
    planned = sorted(runs, key=lambda run: (order[run.row], shares[run.proportion]))
    lines = [(run, tables.row_of_run(run.path, run.row)) for run in planned]
    return Sweep([run for run, line in lines if line], [line for _, line in lines if line])


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merges nested settings; later ones override earlier ones."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old_value = result.get(key)
            # These have a name with options of their own, so they are replaced as a whole.
            is_nested = (
                isinstance(old_value, Mapping)
                and isinstance(value, Mapping)
                and key not in ("loss", "unknown")
            )
            result[key] = merged(dict(old_value or {}), value) if is_nested else deepcopy(value)
    return result


def _folder_name(row: str, share: float | None, seed: int) -> str:
    suffix = "" if share is None else f"-known{share:g}"
    return f"{row}{suffix}-seed{seed}"


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
