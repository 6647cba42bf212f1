"""Checks of many timm models, each in a child process with a limit of time and memory, kept in one CSV file."""

from __future__ import annotations

import csv
import json
import mmap
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch

from labelwise.backbones.description import VERIFIED, family_of
from labelwise.errors import LabelwiseError
from labelwise.experiments.backbone_check import EXPORTS, FIELDS, Keep, examined, exported
from labelwise.experiments.families import FAMILIES, REPRESENTATIVE
from labelwise.runs.files import write_atomic, write_json
from labelwise.training.first_step import FORMATS

ENDED, LIMIT = "ended", "limit"
"""Results of a process that native code ended, and of one that exceeded a limit."""
_PRELOADED = [
    "labelwise.experiments.backbone_check",
    "labelwise.training.course",
    "labelwise.methods.dlfl",
    "pandas",
]
"""Imported once, so that each process starts at once."""


@dataclass(frozen=True)
class ProcessLimits:
    """Limits of one child process.

    Args:
        seconds: of its whole check.
        gigabytes: of its resident memory, where the system reports it.
    """

    seconds: float = 600.0
    gigabytes: float = 3.0


def models_of(names: Sequence[str], every: bool) -> list[str]:
    """Models to check: of given families or models, of every family, or by default of the representative ones.

    Raises:
        LabelwiseError: a name that is neither a family nor a model of timm, or names beside `every`.
    """
    if names and every:
        raise LabelwiseError(f"--all with {names[0]}", "one of the two", "leave one of them out")
    if every:
        return list(FAMILIES.values())
    models = [FAMILIES.get(name, name) for name in names or REPRESENTATIVE]
    for name in models:
        if not timm.is_model(name.split(".")[0]):
            raise LabelwiseError(
                f"backbone {name!r}",
                "a timm model or one of its families",
                "run: labelwise backbones check --all",
            )
    return models


def check_models(
    models: Iterable[str],
    out: Path | None,
    exports: bool,
    limits: ProcessLimits,
    say: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Check models one after the other; a second call with the same file goes on with those that it lacks.

    Args:
        models: timm names.
        out: CSV file of the rows, rewritten after each; `None` for none.
        exports: whether exports are checked too.
        limits: of each child process.
        say: called with each finished row.

    Raises:
        LabelwiseError: `out` holds another table.
    """
    rows = _stored_rows(out)
    models = list(models)
    for name in models:
        row = rows.get(name)
        if row is None or (row["timm"], row["torch"]) != _versions():
            row = checked(name, limits)
        if exports and row["result"] == "works" and not row.get("onnx"):
            row = with_exports(row, limits)
        if row != rows.get(name):
            rows[name] = row
            if out is not None:
                _write_table(out, rows.values())
        say(row)
    return [rows[name] for name in models]


def _versions() -> tuple[str, str]:
    return timm.__version__, torch.__version__.partition("+")[0]


def checked(
    name: str, limits: ProcessLimits, task: Callable[[str, Path, str, Keep], None] = examined
) -> dict[str, Any]:
    """The row of one model without exports, checked in a child process.

    A process that native code ends is started again with the plain memory format, as a training would select it.

    Args:
        name: timm name.
        limits: of the process.
        task: what the process does, with the arguments of `examined`.
    """
    row: dict[str, Any] = {}
    for memory_format in FORMATS:
        end = _run(partial(_with_memory_format, task, name, memory_format), limits)
        row = {"family": family_of(name), "model": name, "result": ENDED, "reason": ""} | end.row
        if end.fault:
            row |= {"result": end.result, "reason": end.fault}
        row |= {"seconds": end.seconds, "megabytes": end.megabytes}
        if row["result"] != ENDED or row["family"] in VERIFIED:
            break
    return row | dict(zip(("timm", "torch"), _versions(), strict=True))


def _with_memory_format(
    task: Callable[[str, Path, str, Keep], None], name: str, memory_format: str, folder: Path, keep: Keep
) -> None:
    """Calls a task with the arguments in its own order, so that `partial` can set the first three."""
    task(name, folder, memory_format, keep)


def with_exports(
    row: dict[str, Any], limits: ProcessLimits, task: Callable[[str, Path, Keep], None] = exported
) -> dict[str, Any]:
    """A row with the result of each export, made in a child process of its own.

    Args:
        row: of `checked`.
        limits: of the process.
        task: what the process does, with the arguments of `exported`.
    """
    end = _run(partial(task, row["model"]), limits)
    return {**row, **dict.fromkeys(EXPORTS, f"no: {end.fault or 'no result'}"), **end.row}


@dataclass(frozen=True)
class _ProcessEnd:
    """The end of a child process: its last row, why it ended early, and what it used."""

    row: dict[str, Any]
    result: str
    fault: str
    seconds: float
    megabytes: int


def _run(task: Callable[[Path, Keep], None], limits: ProcessLimits) -> _ProcessEnd:
    """The result of a task in a process of its own, which is ended at the limits of time and memory."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(_PRELOADED)
    with TemporaryDirectory(prefix="labelwise-") as name:
        folder = Path(name)
        process = context.Process(target=_child, args=(task, folder))
        start, peak, result, fault = time.monotonic(), 0, ENDED, ""
        process.start()
        while process.is_alive() and not fault:
            process.join(0.1)
            peak = max(peak, _resident_bytes(process.pid))
            if time.monotonic() - start > limits.seconds:
                result, fault = LIMIT, f"more than {limits.seconds:g} s"
            elif peak > limits.gigabytes * 1e9:
                result, fault = LIMIT, f"more than {limits.gigabytes:g} GB of memory"
        if fault:
            process.kill()
            process.join()
        elif process.exitcode:
            fault = f"the process ended with exit code {process.exitcode}"
        file = folder / "row.json"
        row = json.loads(file.read_text()) if file.is_file() else {}
    return _ProcessEnd(row, result, fault, round(time.monotonic() - start, 1), round(peak / 1e6))


def _child(task: Callable[[Path, Keep], None], folder: Path) -> None:
    """Runs a task in this process, with its cache and its output in the folder."""
    os.environ["LABELWISE_CACHE"] = str(folder / "cache")
    with (folder / "log.txt").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    task(folder, lambda row: write_json(folder / "row.json", row))


def _resident_bytes(process: int | None) -> int:
    """Bytes of memory of a process; 0 where the system does not report them."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * mmap.PAGESIZE


def _stored_rows(out: Path | None) -> dict[str, dict[str, Any]]:
    """Rows of an earlier call."""
    if out is None or not out.is_file():
        return {}
    with out.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != FIELDS:
            raise LabelwiseError(
                f"{out} with other columns", "a table of labelwise backbones check", "use another --out"
            )
        return {row["model"]: row for row in table}


def _write_table(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(sorted(rows, key=lambda row: (str(row["family"]), str(row["model"]))))

    write_atomic(out, write)
