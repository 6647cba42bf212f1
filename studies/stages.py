"""What each stage of a training within a time brought: the choice replayed without it, and all candidates by size.

Run: python studies/stages.py RUN [RUN ...] [--csv FILE] [--candidates FILE]

Each RUN is finished (`labelwise train --time`). Its choices are replayed on the stored scores of val, once in full and
once without each stage. Fine-tuning and views go on from the stage that was chosen before them; where the replay has
chosen another one by then, they would have to be trained again and are left out too. Only then is every stage judged on
test; these scores are kept in RUN/ablation. Gains on test are paired over 1,000 draws of its images.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kept import keep, show
from labelwise.anytime.ladder import compared, needed_share
from labelwise.data import Dataset
from labelwise.evaluation import evaluate
from labelwise.evaluation.scores import StoredScores
from labelwise.metrics import functional
from labelwise.runs.files import read_json
from labelwise.runs.run import STAGES, Run
from labelwise.training.opening import open_data

Row = Mapping[str, Any]


def replayed(out: Path, rows: Sequence[Row], later: int, left_out: str = "") -> tuple[Row, list[Row]]:
    """The stage that val chooses without one of them, and the stages that are compared.

    Args:
        out: the run.
        rows: records of its trained stages.
        later: number of planned stages after the first, which share the chance of a wrong choice.
        left_out: name of the stage to leave out.
    """
    first, *others = (row for row in rows if row["stage"] != left_out)
    chosen, used = first, [first]
    for row in others:
        if "method" not in row["settings"] and row["against"] != chosen["stage"]:
            continue
        used.append(row)
        files = [out / STAGES / one["stage"] / "scores" / "val.npz" for one in (row, chosen)]
        better = compared(*map(StoredScores.read, files))["better_in"]
        if better >= needed_share(row["settings"], chosen["settings"], max(1, later - bool(left_out))):
            chosen = row
    return chosen, used


def scores_on_test(out: Path, stage: str, data: Dataset) -> StoredScores:
    """Scores of a stage on test, computed where the run has none."""
    file = out / STAGES / stage / "scores" / "test.npz"
    if not file.is_file():
        file = out / "ablation" / f"{stage}.npz"
    if not file.is_file():
        result = evaluate(Run.open(out / STAGES / stage), data, "test", pointing=False, workers=1)
        result.scores.save(file, data.split("test"))
    return StoredScores.read(file)


def map_of(scores: StoredScores) -> float:
    """Mean average precision of stored scores."""
    figure = functional.mean_average_precision(scores.logits, scores.values >= 0.5, scores.known)
    return round(float(figure), 4)


def lines_of(out: Path) -> tuple[list[Row], list[Row]]:
    """The replays and the candidates of a run."""
    plan, config = read_json(out / "plan.json"), Run.open(out).config
    rows = [row for row in plan["ladder"] if "left_out" not in row]
    names = [row["stage"] for row in rows]
    lefts = ["", *(names if len(names) > 1 else ())]
    choices = {left: replayed(out, rows, len(plan["stages"]) - 1, left) for left in lefts}
    data = open_data(config).dataset
    test = {name: scores_on_test(out, name, data) for name in names}
    sides = [Run.open(out / STAGES / name).config.image_size for name in names]
    ablation: list[Row] = []
    for left, (chosen, used) in choices.items():
        number = names.index(left) if left else len(names)
        made_maps = bool(left) and sides[number] not in sides[:number]
        line = {"run": out.name, "left_out": left, "chosen": chosen["stage"]}
        line["not_trained"] = " ".join(
            row["stage"] for row in rows if row not in used and row["stage"] != left
        )
        line["minutes"] = round(sum(row["seconds"] for row in used) / 60, 2)
        line["minutes_lack_maps"] = made_maps and sides[number] in sides[number + 1 :]
        line |= {"val_mAP": round(chosen["val_mAP"], 4), "test_mAP": map_of(test[chosen["stage"]])}
        gain = compared(test[chosen["stage"]], test[choices[""][0]["stage"]])
        ablation.append(line | {key: round(gain[key], 4) for key in ("gain", "low", "high")})
    candidates: list[Row] = []
    for row, side in zip(rows, sides, strict=True):
        line = {"run": out.name, "stage": row["stage"], "image_size": side, "chosen": row is choices[""][0]}
        line |= {"minutes": round(row["seconds"] / 60, 2), "val_mAP": round(row["val_mAP"], 4)}
        candidates.append(line | {"test_mAP": map_of(test[row["stage"]]), "seed": config.seed})
    return ablation, candidates


def main() -> None:
    """Prints both tables, and writes them as CSV on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--csv", type=Path, help="the replays")
    parser.add_argument("--candidates", type=Path, help="all stages by size")
    args = parser.parse_args()
    tables = [lines_of(out) for out in args.runs]
    ablation, candidates = ([line for table in tables for line in table[part]] for part in (0, 1))
    candidates.sort(key=lambda line: (line["image_size"], line["stage"].partition("-")[2], line["seed"]))
    for line in (*ablation, *candidates):
        show(line)
    keep(args.csv, ablation)
    keep(args.candidates, candidates)


if __name__ == "__main__":
    main()
