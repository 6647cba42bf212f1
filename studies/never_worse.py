"""Training within a time beside a linear probe and a pooled MLP on the same maps, on sets of several kinds.

Run: python studies/never_worse.py --voc voc:FOLDER --miml csv:FILE --work FOLDER [--time 3m] [--judged 1000]

Each set is trained by `train_within` with the weights named, nothing else chosen. The probe and the MLP are stages of
the same run; where the plan leaves the MLP out, it is trained afterwards on the maps of the chosen size. All three are
judged on the same test images; the difference to the better of the two is paired over 1,000 draws of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kept import BACKBONE, keep, show
from labelwise.anytime import seconds_of, train_within
from labelwise.anytime.ladder import compared
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.data.table import write_table
from labelwise.evaluation import evaluate
from labelwise.evaluation.scores import StoredScores
from labelwise.runs.config import make_config
from labelwise.runs.files import read_json
from labelwise.runs.run import STAGES, Run
from labelwise.training.fit import train

SETS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "voc": ("voc", {}),
    "voc-200": ("voc", {"train_images": 200}),
    "voc-600": ("voc", {"train_images": 600}),
    "voc-tenth-known": ("voc", {"known_proportion": 0.1}),
    "voc-single-positive": ("voc", {"known": "single-positive"}),
    "voc-long-tailed": ("voc", {"long_tail": "exponential"}),
    "miml-scenes": ("miml", {}),
    "digits": ("digits", {}),
}
"""Each set by its source and the settings of its data."""


def table(source: str, judged: int, file: Path) -> str:
    """The source as a table with at most so many test images; its SOURCE."""
    if not file.is_file():
        data = ensure_splits(read(source))
        test = data.split("test")
        few = test.take(np.linspace(0, len(test) - 1, min(judged, len(test))).astype(int))
        kept = {name for part in (few, data.split("train"), data.split("val")) for name in _names(part)}
        write_table(data.take([i for i, name in enumerate(_names(data)) if name in kept]), file)
    return f"parquet:{file}"


def _names(data: Dataset) -> list[str]:
    return [data.image_id(i) for i in range(len(data))]


def test_scores(folder: Path, data: Dataset) -> tuple[float, StoredScores]:
    """Test mAP and scores of a stage, judged where they are not stored."""
    file = folder / "scores" / "test.npz"
    if not file.is_file():
        result = evaluate(Run.open(folder), data, "test", pointing=False, workers=1)
        result.scores.save(file, data.split("test"))
        return result.metrics["mAP"], StoredScores.read(file)
    stored = read_json(folder / "results.json")["splits"]["test"]["metrics"]
    return stored["mAP"], StoredScores.read(file)


def measured(
    name: str, source: str, settings: Mapping[str, Any], seconds: float, out: Path
) -> dict[str, Any]:
    """One set: the run, and the two it is compared with."""
    config = make_config({"data": {"source": source, **settings}, "backbone": BACKBONE})
    start = time.perf_counter()
    run = train_within(config, seconds, out, frozenset({"data", "backbone.name", "backbone.weights"}))
    took = time.perf_counter() - start
    data = read(source)
    stages = {path.name: path for path in sorted((out / STAGES).iterdir())}
    probe = next(path for stage, path in stages.items() if "probe" in stage)
    mlp = next((path for stage, path in stages.items() if "baseline-mlp" in stage), out / "mlp")
    if not mlp.is_dir():
        own = config.model_dump(mode="json") | {"method": "baseline-mlp", "image_size": run.config.image_size}
        own["backbone"] |= {"freeze": True}
        train(make_config({**own, "epochs": 8}), mlp, quiet=True)
    ours = test_scores(run.path, data)
    others = {"probe": test_scores(probe, data), "mlp": test_scores(mlp, data)}
    best = max(others, key=lambda one: others[one][0])
    gap = {"gain": 0.0, "low": 0.0, "high": 0.0}
    if run.path not in (probe, mlp):
        gap = compared(ours[1], others[best][1])
    return {
        "set": name,
        "seconds_asked": seconds,
        "seconds": round(took, 1),
        "chosen": run.path.name,
        "mAP": round(ours[0], 4),
        **{f"{one}_mAP": round(found[0], 4) for one, found in others.items()},
        "better_of_two": best,
        **{key: round(gap[key], 4) for key in ("gain", "low", "high")},
        "train_images": read_json(run.path / "results.json")["training"]["images"],
        "test_images": len(ours[1].ids),
        "seed": config.seed,
    }


def main() -> None:
    """Reads the options, prints a line a set, and writes them as CSV on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--voc", required=True)
    parser.add_argument("--miml", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--time", default="3m")
    parser.add_argument("--judged", type=int, default=1000)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    sources = {"voc": args.voc, "miml": args.miml, "digits": "digits:"}
    lines = []
    for name in args.sets.split(","):
        kind, settings = SETS[name]
        source = table(sources[kind], args.judged, args.work / f"{kind}.parquet")
        lines.append(measured(name, source, settings, seconds_of(args.time), args.work / name))
        show(lines[-1])
        keep(args.csv, lines)


if __name__ == "__main__":
    main()
