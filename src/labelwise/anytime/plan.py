"""The plan of a training in stages: the stages, their estimated times and the reason for each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from labelwise.anytime.heads import Head, heads_of
from labelwise.anytime.speed import Speed
from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.runs.config import Config
from labelwise.runs.test_time import FLIP, SCALES, resolved

SIZES = (160, 192, 224, 256, 288, 320, 384, 448, 512, 576)
"""Image sides in pixels that a plan chooses from."""
EPOCHS = 8
"""Epochs of a head on stored maps."""
STEPS = 400
"""Fewest steps of a head; few images need more epochs to reach them."""
SHARED = 1.5
"""Factor on the time limit of the first stage if it stores the maps of all later stages."""
SHARE = 0.9
"""Share of the time that the estimates may fill; the rest covers their error."""
FIRST = 60.0
"""Time limit of the first stage in seconds, or a tenth of the total time if that is more."""
BESIDE = 7.0
"""Seconds of a stage outside its maps and steps: building the model, thresholds, evaluation on val."""
REPORT = 20.0
"""Seconds of the report."""
VIEWS_FROM = 1800.0
"""Total seconds from which a plan tries test-time views, which slow every later prediction."""
TUNED_FROM = 600.0
"""Total seconds from which a plan considers fine-tuning, and measures how fast the whole network learns."""
TUNED_EPOCHS = (3, 6)
"""Smallest and largest number of epochs of fine-tuning from the chosen stage."""
TUNED: Mapping[str, Any] = {"backbone.freeze": False, "backbone.warm_epochs": 0, "optim.lr": 3e-4}
"""Settings of fine-tuning beside those of the stage that it starts from."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Args:
        name: name of its folder under `RUN/stages`.
        settings: overrides of the run's settings, by dotted names; without a method, of the chosen stage's settings.
        seconds: estimated time.
        why: the reason for the stage, one sentence.
        judging: estimated seconds of the evaluation on the test split if the stage is chosen.
    """

    name: str
    settings: Mapping[str, Any]
    seconds: float
    why: str
    judging: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Stages in order, the simplest first.

    Args:
        seconds: total time.
        stages: see `Stage`.
        notes: what made the plan smaller than data and machine allow otherwise, a sentence each.
    """

    seconds: float
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        """Restore a plan from the data of `to_json`."""
        stages = tuple(Stage(**stage) for stage in stored["stages"])
        return cls(stored["seconds"], stages, tuple(stored.get("notes", ())))

    @property
    def total(self) -> float:
        """Estimated seconds of all stages, the slowest final evaluation and the report."""
        slowest = max(stage.judging for stage in self.stages)
        return sum(stage.seconds for stage in self.stages) + slowest + REPORT

    def lines(self) -> Iterator[str]:
        """Yield the plan as lines of text."""
        number = len(self.stages)
        kept = "one stage, a complete run"
        if number > 1:
            kept = f"{number} stages, each a complete run; the best on val is kept"
        yield f"plan for {self.seconds:.0f} s: {kept}"
        for stage in self.stages:
            yield f"  {stage.name}: about {stage.seconds:.0f} s; {stage.why}"
        slowest = max(stage.judging for stage in self.stages)
        yield f"  evaluation on the test split, once, and the report: about {slowest + REPORT:.0f} s"
        yield from (f"note: {note}" for note in self.notes)
        if self.total > self.seconds:
            yield f"warning: even this takes about {self.total:.0f} s, more than the given time"


def make_plan(config: Config, dataset: Dataset, seconds: float, speed: Speed, given: frozenset[str]) -> Plan:
    """Plan the stages that fit in the time.

    A linear probe comes first, then heads on stored maps, from simple to complex. The probe may take a minute or a
    tenth of the time, whichever is more; 1.5 times that if it stores the maps that the heads read. A pair of a head and
    an image size is a candidate if it fits in the time beside a probe, its maps fit on the disk and it does not enlarge
    the images too far. The plan takes the candidate with the highest mAP on VOC (`results/`), then the largest probe.
    Further heads train on the same maps as time allows.

    Args:
        config: settings of the run; the `given` ones are kept.
        dataset: data with splits.
        seconds: total time.
        speed: measured times of this machine.
        given: dotted names of the settings that the user set.
    """
    splits = dataset.splits()
    mapped_images, test_images = splits.get("train", 0) + splits.get("val", 0), splits.get("test", 0)
    sides = speed.sides or SIZES
    sizes = (config.image_size,) if "image_size" in given else tuple(s for s in sides if s <= speed.largest)
    sizes = sizes or sides[:1]
    per_epoch = max(1, splits.get("train", 0) // config.batch_size)
    epochs = config.epochs if "epochs" in given else max(EPOCHS, -(-STEPS // per_epoch))
    steps = epochs * per_epoch
    limit = min(max(FIRST, seconds / 10), seconds / 3)
    heads = heads_of(config, splits.get("train", 0), given)

    def map_time(size: int) -> float:
        return speed.opening + mapped_images * speed.map(size)

    def probe_time(size: int) -> float:
        return map_time(size) + speed.solving + BESIDE

    def head_time(head: Head, size: int) -> float:
        return BESIDE + steps * speed.step(head.name, size, config.batch_size)

    def time_left(first: int, head: Head, size: int) -> float:
        """Return the seconds that remain after a probe at side `first` and a head."""
        map_seconds = 0.0 if size == first else map_time(size)
        with_maps = SHARE * seconds - REPORT - probe_time(first) - map_seconds
        return with_maps - head_time(head, size) - test_images * speed.map(size)

    def allowed(first: int, size: int) -> bool:
        return probe_time(first) < limit * (SHARED if size == first else 1.0) or first == sizes[0]

    free = _free_bytes()

    def stored(*sides: int) -> bool:
        """Whether the maps of these sides take at most half of the free disk space."""
        return mapped_images * sum(map(speed.bytes_of_map, {*sides})) <= free / 2

    def rank(candidate: tuple[Head, int, int]) -> tuple[float, int]:
        head, size, first = candidate
        return head.expected(size), first

    in_time = [
        (head, size, first)
        for head in heads
        for size in sizes
        for first in sizes
        if allowed(first, size) and time_left(first, head, size) >= 0
    ]
    candidates = [candidate for candidate in in_time if stored(*candidate[1:])]
    disk = f"half of the free disk space of {cache_folder()}"
    if not candidates:
        first = max((size for size in sizes if probe_time(size) < limit and stored(size)), default=sizes[0])
        kept = " and ".join(sorted(given & {"method", "image_size", "epochs", "batch_size"}))
        reason = f"no head fits in the time{kept and f' with the given {kept}'}"
        if in_time:
            reason = f"maps of every size need more than {disk}"
        note = f"a linear probe alone, since {reason}"
        return Plan(
            seconds, (_probe_stage(first, probe_time(first), test_images * speed.map(first)),), (note,)
        )
    best, size, first = max(candidates, key=rank)
    largest = max(in_time, key=rank)[1]
    notes = (f"{size} px, since maps of {largest} px need more than {disk}",) if size < largest else ()
    judging = test_images * speed.map(size)
    stages = [_probe_stage(first, probe_time(first), test_images * speed.map(first))]
    spare = time_left(first, best, size)
    chosen = [best]
    # The pooled MLP is the baseline without label features; more than three candidates only add selection noise.
    for extra in sorted(heads, key=lambda head: (head.rank > 0, -head.expected(size))):
        if extra is not best and len(chosen) < 3 and head_time(extra, size) <= spare:
            chosen.append(extra)
            spare -= head_time(extra, size)

    def why(head: Head, size: int) -> str:
        if "method" in given:
            return "the given method"
        return f"reaches {head.expected(size):.1f} on VOC photographs at this size"

    map_seconds = 0.0 if size == first else map_time(size)
    for head in sorted(chosen, key=lambda head: head.rank):
        settings = {
            "method": head.name,
            **head.settings,
            "image_size": size,
            "backbone.freeze": True,
            "epochs": epochs,
        }
        name = f"{len(stages) + 1}-{head.name}-{size}"
        stages.append(Stage(name, settings, map_seconds + head_time(head, size), why(head, size), judging))
        map_seconds = 0.0  # later heads read the same maps
    test_time = seconds >= VIEWS_FROM and "test_time" not in given
    tuning = seconds >= TUNED_FROM and not given & {*TUNED, "epochs"}
    later = _later_stages(len(stages) + 1, size, spare, speed, splits, tuning, test_time)
    return Plan(seconds, (*stages, *later), notes)


def _later_stages(
    number: int, size: int, spare: float, speed: Speed, splits: Mapping[str, int], tuning: bool, views: bool
) -> Iterator[Stage]:
    """Yield the stages after the heads that fit in the spare seconds: fine-tuning, more test-time views, or both."""
    train, val, test = (splits.get(name, 0) for name in ("train", "val", "test"))
    per_image = speed.map(size)
    judging = test * per_image

    def with_views(spare: float) -> Stage | None:
        """Return the stage with the most views that fit."""
        larger = int(resolved(SCALES, size).partition("=")[2])
        for name, times in ((SCALES, 1 + (larger / size) ** 2), (FLIP, 2.0)):
            seconds = BESIDE + 2 * speed.opening + 2 * times * val * per_image
            if views and seconds + times * test * per_image - judging <= spare:
                why = (
                    f"the chosen stage with more views per image; predictions take {times:.1f} times as long"
                )
                return Stage(name, {"test_time": name}, seconds, why, times * test * per_image)
        return None

    def tuned(spare: float) -> Stage | None:
        """Return the stage that fine-tunes the chosen one, for as many epochs as fit."""
        epoch = train * speed.learning(size) + val * speed.eager(size)
        fixed = BESIDE + speed.opening + val * per_image
        epochs = min(TUNED_EPOCHS[1], math.floor((spare - fixed) / epoch))
        if epochs < TUNED_EPOCHS[0]:
            return None
        settings = {**TUNED, "epochs": epochs, "precision": speed.precision}
        why = f"the chosen stage, its backbone fine-tuned in {speed.precision}"
        return Stage(f"tuned-{size}", settings, fixed + epochs * epoch, why, judging)

    stages: list[Stage | None] = []
    if tuning:
        last = with_views(spare)
        stages = [tuned(spare - (last.seconds + last.judging - judging if last else 0.0)), last]
    else:
        stages = [with_views(spare)]
    for stage in filter(None, stages):
        yield replace(stage, name=f"{number}-{stage.name}")
        number += 1


def _probe_stage(size: int, seconds: float, judging: float) -> Stage:
    """The first stage, a linear probe."""
    settings = {"method": "baseline-gap", "optim.name": "exact", "image_size": size, "backbone.freeze": True}
    return Stage(f"1-probe-{size}", settings, seconds, "a complete run first", judging)


def _free_bytes() -> int:
    """Free space of the disk that stores maps."""
    folder = Path(cache_folder())
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
