"""Small collections shared by the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tiny_runs
from labelwise.collection import Collection
from labelwise.collection.backends import Store, created
from labelwise.collection.embedding import embed
from labelwise.collection.schema import Identity, feature_schema, image_schema

NAMES = ("cat", "potted plant", "dog", "it's")


def files_of(folder: Path, count: int = 11) -> list[str]:
    """Photographs, the fifth of them empty."""
    tiny_runs.photographs(folder, count, 0, 0)
    (folder / "train4.jpg").write_bytes(b"")
    return [str(folder / f"train{i}.jpg") for i in range(count)]


@pytest.fixture(scope="session")
def embedded(base: Path) -> tuple[Path, list[str]]:
    """A collection of every label of eleven photographs, and the photographs."""
    files = files_of(base / "collection photographs")
    out = base / "collection"
    embed(tiny_runs.finished(base), files, out, every=True, part=4, batch_size=3)
    return out, files


def _vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float16).reshape(-1)), values.shape[1])


def synthetic(
    path: Path | str,
    images: int,
    dim: int = 8,
    seed: int = 0,
    after: Callable[[Store], None] = lambda tables: tables.finish(),
) -> tuple[Collection, dict[str, np.ndarray]]:
    """A collection of random features, each label in half of the images, and its arrays."""
    rng = np.random.default_rng(seed)
    record = Identity("none", "0", "0", NAMES, NAMES, False, dim, 4, False)
    present = rng.random((images, len(NAMES))) < 0.5
    scores = rng.random((images, len(NAMES))).astype(np.float16)
    features = rng.standard_normal((images, len(NAMES), dim))
    features = (features / np.linalg.norm(features, axis=2, keepdims=True)).astype(np.float16)
    base = {
        "image": np.arange(images),
        "path": [f"{i}.jpg" for i in range(images)],
        "width": np.full(images, 4, np.int32),
        "height": np.full(images, 3, np.int32),
        "digest": [f"{i:064x}" for i in range(images)],
        "labels": [[n for n, p in zip(NAMES, row, strict=True) if p] for row in present],
        "scores": _vectors(scores),
    }
    whole = {"error": pa.nulls(images, pa.string()), "whole": _vectors(np.zeros((images, 4)))}
    image, label = np.nonzero(present)
    own = {
        "label": [NAMES[j] for j in label],
        "score": scores[image, label].astype(np.float32),
        "selected": np.ones(len(image), bool),
        "box": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * len(image), np.float32)), 4),
        "feature": _vectors(features[image, label]),
    }
    repeated = pa.table(base).take(pa.array(image))
    columns = dict(zip(base, repeated.columns, strict=True)) | own
    with created(path, record) as tables:
        tables.add(
            pa.table({**base, **whole}, image_schema(record)), pa.table(columns, feature_schema(record))
        )
        after(tables)
    arrays = {"present": present, "scores": scores, "features": features.astype(np.float32)}
    return Collection.open(path), arrays


def slow(
    arrays: dict[str, np.ndarray], j: int, vector: np.ndarray, allowed: np.ndarray, top: int
) -> tuple[list[int], np.ndarray]:
    """Images of a label in order of the cosine in float64, and the cosine of all images."""
    x = arrays["features"][:, j].astype(np.float64)
    likeness = x @ vector / np.linalg.norm(x, axis=1) / np.linalg.norm(vector)
    rows = np.flatnonzero(arrays["present"][:, j] & allowed)
    return rows[np.argsort(-likeness[rows], kind="stable")][:top].tolist(), likeness


def expression(chance: random.Random, depth: int) -> tuple[str, str]:
    """A random condition, and the same as Python over `p` (presence) and `s` (scores)."""
    kind = chance.choice(["label", "score"] if depth == 0 else ["label", "score", "not", "and", "or"])
    j = chance.randrange(len(NAMES))
    name = chance.choice([f'"{NAMES[j]}"', NAMES[j]] if "'" not in NAMES[j] else [f'"{NAMES[j]}"'])
    if kind == "label":
        return name, f"p[{j}]"
    if kind == "score":
        sign, bound = chance.choice(["<", "<=", ">", ">="]), chance.choice([0.25, 0.5, 0.75])
        return f"{name} {sign} {bound}", f"(s[{j}] {sign} {bound})"
    a, b = expression(chance, depth - 1), expression(chance, depth - 1)
    if kind == "not":
        return f"not ({a[0]})", f"(not {a[1]})"
    return f"({a[0]}) {kind} ({b[0]})", f"({a[1]} {kind} {b[1]})"
