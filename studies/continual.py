"""Strategies on streams of photographs, by row and seed; and memories on a long-tailed stream.

It can be resumed: a finished run is not repeated, and the table is written after each run.

Run: python studies/continual.py recipes/continual/voc-online.yaml --out runs/voc-online --csv results/continual.csv
     python studies/continual.py --memories [--csv FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kept import keep, show
from labelwise.continual.memories import make_memory
from labelwise.continual.run import RESULT, learn_stream
from labelwise.data import read
from labelwise.experiments.sweep import SweepPlan
from labelwise.runs.config import make_config
from labelwise.runs.files import read_json
from labelwise.runs.plain_yaml import read_yaml

KEY = ("setting", "row", "seed")
"""What names a row; a table keeps those of others."""
RULES = ("reservoir", "balanced", "prs", "ocdm")


def long_tailed(images: int, labels: int, seed: int) -> np.ndarray:
    """`[N, L]` bool: one to three labels per image; the frequency of the l-th is proportional to 1 / l."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, labels + 1)
    many = rng.choice([1, 2, 3], images, p=[0.5, 0.3, 0.2])
    marks = np.zeros((images, labels), bool)
    for number in range(3):
        rows = np.flatnonzero(many > number)
        marks[rows, rng.choice(labels, len(rows), p=share / share.sum())] = True
    return marks


def memories(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Speed of each rule, and the distance of its memory to its own target and to equal shares."""
    marks, rows = long_tailed(args.images, args.labels, 0), np.arange(args.images)
    results = []
    for rule in RULES:
        memory = make_memory(rule, args.memory, args.labels, 0)
        started, wall = time.process_time(), time.perf_counter()
        for start in range(0, args.images, 10):
            memory.offer(rows[start : start + 10], marks[start : start + 10])
        seconds, wall = time.process_time() - started, time.perf_counter() - wall
        row = {
            "rule": rule,
            "distance_to_target": round(memory.distance(), 4),
            "distance_to_equal": round(float(np.abs(memory.histogram() - 1 / args.labels).sum() / 2), 4),
            "items_per_cpu_second": round(args.images / seconds),
            "items_per_second": round(args.images / wall),
            "images": args.images,
            "labels": args.labels,
            "memory": args.memory,
            "rarest_label": int(marks.sum(0).min()),
        }
        show(row)
        results.append(row)
    return results


def streams(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains the unfinished runs and returns a row for each finished run."""
    plan = SweepPlan.of(read_yaml(args.recipe))
    data = None
    for run in plan.runs(args.out):
        if (args.only and run.row not in args.only) or (args.seeds and run.seed >= args.seeds):
            continue
        if not (run.path / RESULT).is_file():
            config = make_config(plan.of_run(run, {"data": {"source": args.data}} if args.data else {}))
            data = data if data is not None else read(config.data.source)
            started = time.process_time()
            learn_stream(config, run.path, data, resume=(run.path / "config.yaml").is_file(), quiet=True)
            print(f"{run.path.name}  {time.process_time() - started:.0f} processor seconds", flush=True)
            keep(args.csv, lines(plan, args.out), KEY)
    return lines(plan, args.out)


def lines(plan: SweepPlan, out: Path) -> list[dict[str, Any]]:
    """A row for each finished run."""
    done = [(run, read_json(run.path / RESULT)) for run in plan.runs(out) if (run.path / RESULT).is_file()]
    return [line(run.row, record) for run, record in done]


def line(row: str, record: dict[str, Any]) -> dict[str, Any]:
    """Metrics and conditions of a run."""
    result, conditions = record["result"], record["conditions"]
    figures: dict[str, Any] = {}
    for part in ("pooled", "task_mean", "fitted", "forgetting"):
        name = "" if part == "pooled" else part + "_"
        figures |= {name + k: (result[part] or {}).get(k, "") for k in ("mAP", "CF1", "OF1")}
    for group, values in result["groups"].items():
        figures |= {f"{group}_{k}": (values or {}).get(k, "") for k in ("mAP", "CF1", "OF1")}
    return {
        "row": row,
        "setting": record["settings"]["setting"],
        "strategy": record["strategy"],
        "method": record["method"],
        "seed": record["seed"],
        **figures,
        "group_limits": " ".join(map(str, result["limits"])),
        "memory": record["settings"]["memory"] if record["memory"] else 0,
        "memory_distance": record["memory"]["distance"] if record["memory"] else "",
        **{k: record["settings"][k] for k in ("batch", "replay", "passes", "power")},
        "tasks": " ".join(str(t.get("folder", len(t["labels"]))) for t in record["tasks"]),
        **{k: conditions[k] for k in ("backbone", "weights", "frozen", "image_size", "steps")},
        "loss": conditions["loss"]["name"],
        "lr": conditions["optimizer"]["lr"],
        "data": "voc2007" if "voc2007" in record["stream"] else record["stream"],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_means(rows: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over seeds of each row, in points."""
    names = ("mAP", "CF1", "OF1", "fitted_OF1", "forgetting_mAP", "forgetting_CF1", "forgetting_OF1")
    print(f"{'row':16} seeds  " + "".join(f"{name:>18}" for name in names))
    for row in dict.fromkeys(r["row"] for r in rows):
        mine = [r for r in rows if r["row"] == row]
        cells = [spread([100 * r[name] for r in mine if r[name] != ""]) for name in names]
        print(f"{row:16} {len(mine):5}  " + "".join(f"{cell:>18}" for cell in cells))


def spread(values: list[float]) -> str:
    """Mean, and the sample standard deviation of several values."""
    if not values:
        return "-"
    sd = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{sd}"


def main() -> None:
    """Prints the results and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/continual"))
    parser.add_argument("--data", help="SOURCE instead of the recipe's")
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument("--seeds", type=int, default=0, help="only seeds below this; 0 for all")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--memories", action="store_true")
    for name, default in {"images": 100_000, "labels": 50, "memory": 2000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memories:
        keep(args.csv, memories(args), ("rule",))
    elif args.recipe is None:
        parser.error("name a recipe, or --memories")
    else:
        rows = streams(args)
        keep(args.csv, rows, KEY)
        print_means(rows)


if __name__ == "__main__":
    main()
