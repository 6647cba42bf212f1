"""A synthetic run folder with a matching model and data set."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from sklearn.metrics import average_precision_score


@dataclass
class FakeDataset:
    """Images in memory with the ids `image-<row>`."""

    images: Sequence[bytes | Path]
    boxes: tuple[tuple[int, float, float, float, float], ...] = ()
    prefix: str = "image-"

    def __len__(self) -> int:
        return len(self.images)

    def image_id(self, row: int) -> str:
        return f"{self.prefix}{row}"

    def encoded(self, row: int) -> Path | bytes:
        return self.images[row]

    def boxes_of(self, row: int) -> list[tuple[int, float, float, float, float]]:
        return list(self.boxes)


@dataclass
class FakePredictor:
    """Returns maps with a peak at a position that depends on the label."""

    side: int = 14

    def evidence(self, images: list[Any], label_indices: list[int]) -> list[np.ndarray]:
        y, x = np.mgrid[0 : self.side, 0 : self.side] / (self.side - 1)
        centres = [(0.3 + 0.05 * (i % 8), 0.35 + 0.06 * (i % 6)) for i in label_indices]
        return [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.04).astype(np.float32) for a, b in centres]


def photographs(count: int, seed: int = 0) -> list[bytes]:
    """JPEG bytes of coloured noise, alternately portrait and landscape."""
    generator = np.random.default_rng(seed)
    made = []
    for i in range(count):
        size = (80, 60) if i % 3 else (50, 90)
        small = generator.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).resize(size).save(stream, "JPEG")
        made.append(stream.getvalue())
    return made


def write_run(
    path: Path,
    names: Sequence[str],
    *,
    images: int = 300,
    splits: Sequence[str] = ("val", "test"),
    epochs: int = 8,
    without_positives: Sequence[str] = (),
    unknown: float = 0.05,
    seed: int = 0,
) -> Path:
    """Writes a run folder with scores, and a results.json computed from them."""
    generator = np.random.default_rng(seed)
    path.mkdir(parents=True, exist_ok=True)
    (path / "scores").mkdir(exist_ok=True)
    thresholds = {name: float(generator.uniform(0.25, 0.7)) for name in names}
    difficulty = generator.uniform(0.8, 4.5, len(names))
    frequency = np.clip(generator.lognormal(-2.6, 0.6, len(names)), 0.02, 0.5)
    ties = generator.normal(0, 1, (len(names), 3))
    results: dict[str, Any] = {"format": 1, "splits": {}, "training": _training(epochs)}
    for split in splits:
        mood = generator.normal(0, 1, (images, 3)) @ ties.T
        chance = generator.random((images, len(names)))
        values = chance < frequency * np.exp(np.clip(0.6 * mood, -2, 1))
        values[:, [list(names).index(name) for name in without_positives]] = False
        logits = difficulty * (values - 0.55) * 1.6 + 0.5 * mood + generator.normal(0, 1.1, values.shape)
        known = generator.random(values.shape) >= unknown
        np.savez(
            path / "scores" / f"{split}.npz",
            ids=np.array([f"image-{i}" for i in range(images)]),
            logits=logits.astype(np.float32),
            values=values.astype(np.uint8),
            known=known,
        )
        results["splits"][split] = _results(names, thresholds, logits, values, known)
    labels = {
        "names": list(names),
        "groups": {},
        "thresholds": thresholds,
        "thresholds_from": "best F1 on val",
    }
    (path / "labels.json").write_text(json.dumps(labels))
    (path / "results.json").write_text(json.dumps(results))
    (path / "config.yaml").write_text(yaml.safe_dump(_config(), sort_keys=False))
    _write_log(path / "metrics.jsonl", epochs, generator)
    (path / "bad_images.csv").write_text("image,reason\nJPEGImages/000017.jpg,the file ends early\n")
    return path


def _results(
    names: Sequence[str],
    thresholds: dict[str, float],
    logits: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
) -> dict[str, Any]:
    per_label = {}
    for i, name in enumerate(names):
        seen = known[:, i]
        true, p = values[seen, i], 1 / (1 + np.exp(-logits[seen, i]))
        chosen = p >= thresholds[name]
        hits, positives = int((chosen & true).sum()), int(true.sum())
        precision = hits / chosen.sum() if chosen.any() else None
        recall = hits / positives if positives else None
        per_label[name] = {
            "AP": float(average_precision_score(true, p)) if positives else None,
            "positives": positives,
            "negatives": int((~true).sum()),
            "unknown": int((~seen).sum()),
            "threshold": thresholds[name],
            "precision": precision,
            "recall": recall,
            "F1": 2 * hits / (chosen.sum() + positives) if positives else None,
            "pointing": 0.5 + 0.4 * ((i * 37) % 11) / 11 if positives else None,
        }
    mean = float(np.mean([row["AP"] for row in per_label.values() if row["AP"] is not None] or [0.0]))
    f1 = {"CP": 0.78, "CR": 0.71, "CF1": 0.743, "OP": 0.82, "OR": 0.77, "OF1": 0.794}
    return {
        "protocol": {"id": "voc07.v1", "difficult": "ignore", "unknown": "masked", "empty labels": "skip"},
        "metrics": {
            "mAP": mean,
            "mAP_envelope": mean + 0.004,
            **f1,
            "top3": {**f1, "CP": 0.61},
            "pointing": 0.712,
            "tuned": {"CF1": 0.772, "OF1": 0.811},
        },
        "per_label": per_label,
        "conditions": {
            "images": len(values),
            "missing files": 0,
            "resolution": "224, squashed, bilinear",
            "weights": "tf_efficientnet_lite0 from a package, ImageNet-1k",
            "epoch rule": "best raw mAP on val",
            "seed": 0,
            "precision": "fp32",
            "torch": "2.14.1",
        },
    }


def _training(epochs: int) -> dict[str, Any]:
    best = max(1, epochs - 2)
    return {
        "epochs": epochs,
        "best_epoch": best,
        "seconds": 187.4,
        "images_per_second": 96.2,
        "device": "cpu",
    }


def _config() -> dict[str, Any]:
    return {
        "method": "dlfl",
        "backbone": {"name": "tf_efficientnet_lite0", "weights": "package:efficientnet", "freeze": False},
        "data": {"source": "voc:VOC2007?difficult=ignore"},
        "image_size": 224,
        "seed": 0,
        "loss": {"name": "asymmetric", "gamma_negative": 4, "gamma_positive": 0, "clip": 0.05},
        "optim": {
            "name": "adamw",
            "lr": 1e-4,
            "weight_decay": 0.01,
            "betas": [0.9, 0.999],
            "schedule": "one-cycle",
        },
    }


def _write_log(file: Path, epochs: int, generator: np.random.Generator) -> None:
    lines, per_epoch = [], 60
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * per_epoch, epoch * per_epoch):
            loss = 0.12 + 0.6 * np.exp(-step / 90) + generator.normal(0, 0.02)
            line = {"kind": "step", "step": step, "epoch": epoch, "loss": float(loss), "lr": 1e-4}
            lines.append({**line, "images_per_second": 95.0})
        mean = 0.86 - 0.5 * np.exp(-epoch / 2.2) - 0.004 * max(0, epoch - epochs + 2)
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "train_loss": 0.2,
                "val": {"mAP": float(mean)},
                "best": epoch <= epochs - 2,
                "seconds": 23.0,
            }
        )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
