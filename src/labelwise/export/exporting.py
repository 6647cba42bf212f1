"""From a run to an artefact that answers alike, or to a refusal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labelwise.data import Dataset, read
from labelwise.data.decode import UnreadableImage, decode_image
from labelwise.data.splits import ensure_splits
from labelwise.data.transforms import build_transform
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact, Preprocessing, seal
from labelwise.export.card import card_of, portable_decisions
from labelwise.export.engines import Eager, Engine, fastest, open_engine
from labelwise.export.graph import FILES, program, require, write_graph
from labelwise.export.parity import Parity, batches_of, compare
from labelwise.export.tagger import write_tagger
from labelwise.training.run import Run

AUTO = "auto"


@dataclass(frozen=True)
class Export:
    """What an export gave.

    Args:
        artefact: the folder.
        parity: how it compares with its run.
        seconds: with `auto`, seconds per image of each engine that was tried, the run's own among them.
    """

    artefact: Artefact
    parity: Parity
    seconds: dict[str, float] = field(default_factory=dict)


def export_run(
    run: Run | str | Path,
    out: str | Path,
    format: str = "onnx",
    *,
    data: str | None = None,
    images: int = 64,
    maps: bool = True,
    tagger: bool = False,
) -> Export:
    """Write a run as an artefact, after it gave the run's answers on real images.

    Args:
        run: a finished run or its folder.
        out: a folder that is new or empty.
        format: `onnx`, `openvino`, `torch`, or `auto`, the one that is fastest on this machine.
        data: SOURCE of the images to compare on; `None` takes the run's own validation images.
        images: how many to compare on.
        maps: whether the graph also gives the evidence maps.
        tagger: also write the layout that taggers of the community read, as `tagger/`.

    Raises:
        LabelwiseError: no images to compare on, a model that the format cannot express, or other answers.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    out = Path(out)
    kinds = _kinds(format)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LabelwiseError(f"{out}, which holds something", "a new folder", "choose another --out")
    photos = compared_images(run, data, images)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        found = _best(run, part, kinds, photos, maps, timed=format == AUTO)
        if tagger:
            write_tagger(run, found.artefact.path / "tagger", photos)
            seal(found.artefact.path)
        os.replace(found.artefact.path, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Export(Artefact.open(out), found.parity, found.seconds)


def compared_images(run: Run, data: str | None, count: int) -> list[tuple[str, Tensor]]:
    """Up to `count` images as the run sees them, uint8 `[3, H, W]` with their names; unreadable ones are passed over.

    Raises:
        LabelwiseError: none is there.
    """
    try:
        dataset = ensure_splits(read(data or run.config.data.source), seed=run.config.seed)
    except LabelwiseError as error:
        raise LabelwiseError(
            f"no images to compare the export on ({error.given})",
            "the run's own data, or others",
            "name real photographs with --data SOURCE",
        ) from None
    split = next((name for name in ("val", "test") if dataset.splits().get(name)), None)
    rows = dataset if split is None else dataset.split(split)
    found = list(islice(_readable(run, rows), count))
    if not found:
        raise LabelwiseError(f"{rows.source} without a readable image", "at least one", "give --data SOURCE")
    return found


def _readable(run: Run, rows: Dataset) -> Iterator[tuple[str, Tensor]]:
    transform = build_transform(run.config.transform(), train=False)
    for i in range(len(rows)):
        try:
            image = decode_image(rows.encoded(i), shrink_to=transform.shrink_to)
        except UnreadableImage:
            continue
        yield rows.image_id(i), transform(image)


def _kinds(format: str) -> list[str]:
    if format != AUTO:
        require(format)
        return [format]
    kinds = []
    for kind in FILES:
        try:
            require(kind)
            kinds.append(kind)
        except LabelwiseError:
            continue
    return kinds


def _best(
    run: Run, part: Path, kinds: Sequence[str], photos: Sequence[tuple[str, Tensor]], maps: bool, timed: bool
) -> Export:
    """The fastest of the kinds that agree with the run; where only one was asked for, its refusal is raised."""
    decisions, eager = portable_decisions(run), Eager(run.model(), "cpu")
    size = run.config.transform().size
    exported = program(eager.model, size, maps)
    found: dict[str, tuple[Artefact, Parity]] = {}
    engines: list[Engine] = []
    refusal: LabelwiseError | None = None
    for kind in kinds:
        folder = part / kind
        folder.mkdir(parents=True)
        try:
            file = write_graph(exported, kind, folder)
            made = Artefact(
                folder, kind, file, run.labels, preprocessing(run, eager), decisions, maps, card_of(run)
            )
            engine = open_engine(made)
            parity = compare(eager, engine, batches_of(photos), decisions, run.labels.names)
        except LabelwiseError as error:
            refusal = error
            continue
        found[engine.name] = made, parity
        engines.append(engine)
    if not engines:
        assert refusal is not None
        raise refusal
    winner = engines[0]
    seconds: dict[str, float] = {}
    if timed:
        batch = torch.stack([image for _, image in photos[:8]])
        winner, seconds = fastest(engines, batch)
        seconds |= fastest([eager], batch)[1]
    made, parity = found[winner.name]
    made.card.update(_told(winner, parity, seconds))
    made.save()
    return Export(made, parity, seconds)


def _told(engine: Engine, parity: Parity, seconds: dict[str, float]) -> dict[str, Any]:
    told: dict[str, Any] = {"export": {"engine": engine.name, "torch": torch.__version__}}
    told["parity"] = parity.to_json()
    return told | ({"seconds_per_image": seconds} if seconds else {})


def preprocessing(run: Run, eager: Eager) -> Preprocessing:
    """What a run does to images, with the normalisation that its backbone holds."""
    backbone: Any = eager.model.backbone
    transform = run.config.transform()
    mean, std = (tuple(t.flatten().tolist()) for t in (backbone.mean, backbone.std))
    return Preprocessing(transform.size, transform.resize, mean, std)
