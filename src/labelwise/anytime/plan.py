"""What is done within a time: the stages, how long each should take, and why it was chosen."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from labelwise.anytime.speed import Speed
from labelwise.data.cache import cache_folder
from labelwise.data.dataset import Dataset
from labelwise.training.config import Config
from labelwise.training.test_time import FLIP, SCALES, resolved

SIZES = (160, 192, 224, 256, 288, 320, 384, 448, 512, 576)
"""Sides in pixels that a plan chooses from."""
EPOCHS = 8
"""Epochs of a head on stored maps."""
FEW_IMAGES = 600
"""Training images up to which heads are compared by what they reach with 200."""
SHARED = 1.5
"""How much longer the first stage may take where it stores the maps that all others read."""
SHARE = 0.9
"""Share of the time that the estimates may fill; the rest is for what they miss."""
FIRST = 60.0
"""Seconds that the first stage may take, or a tenth of the time where that is more."""
BESIDE = 7.0
"""Seconds of a stage beside its maps and steps: building the model, thresholds, the judgement of val."""
REPORT = 20.0
"""Seconds of the report."""
VIEWS_FROM = 1800.0
"""Seconds from which a plan tries views at test time, which make every later prediction slower."""


@dataclass(frozen=True)
class Stage:
    """One training.

    Args:
        name: of its folder under `RUN/stages`.
        settings: laid over the run's own, by dotted names; without a method, over those of the stage chosen so far.
        seconds: estimate.
        why: the reason for it, one sentence.
    """

    name: str
    settings: Mapping[str, Any]
    seconds: float
    why: str


@dataclass(frozen=True)
class Plan:
    """Stages in their order, the simplest first.

    Args:
        seconds: of all of it.
        stages: see `Stage`.
        judging: estimated seconds of judging the test images once, at the end, and of the report.
    """

    seconds: float
    stages: tuple[Stage, ...]
    judging: float

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` gave."""
        stages = tuple(Stage(**stage) for stage in stored["stages"])
        return cls(stored["seconds"], stages, stored["judging"])

    def lines(self) -> Iterator[str]:
        """The plan for people."""
        yield f"plan for {self.seconds:.0f} s: {len(self.stages)} stages, each a whole run, the best by val is kept"
        for stage in self.stages:
            yield f"  {stage.name}: about {stage.seconds:.0f} s; {stage.why}"
        yield f"  test images, judged once, and the report: about {self.judging:.0f} s"
        if (total := sum(stage.seconds for stage in self.stages) + self.judging) > self.seconds:
            yield f"warning: even this takes about {total:.0f} s, more than the time that was given"


def make_plan(config: Config, dataset: Dataset, seconds: float, speed: Speed, given: frozenset[str]) -> Plan:
    """The stages that fit.

    A linear probe comes first, then heads on stored maps, from simple to rich. The probe takes a minute or a tenth of
    the time, whichever is more; half as much again where it stores the maps that the heads read. Of all pairs of a
    head and an image size that fit beside a probe, whose maps the disk can hold and which enlarge no photograph too
    far, the plan takes the one with the highest mAP on the VOC photographs (`results/`), then the one with the largest
    probe. Further heads read the same maps as time allows.

    Args:
        config: settings of the run; those that are `given` are kept.
        dataset: with its splits.
        seconds: of all of it.
        speed: as measured on this machine.
        given: dotted names of settings that the person chose.
    """
    splits = dataset.splits()
    learned, judged = splits.get("train", 0) + splits.get("val", 0), splits.get("test", 0)
    sizes = (config.image_size,) if "image_size" in given else tuple(s for s in SIZES if s <= speed.largest)
    sizes = sizes or SIZES[:1]
    epochs = config.epochs if "epochs" in given else EPOCHS
    steps = epochs * max(1, splits.get("train", 0) // config.batch_size)
    quick = min(max(FIRST, seconds / 10), seconds / 3)
    heads = _heads(config, splits.get("train", 0), given)

    def maps(size: int) -> float:
        return speed.opening + learned * speed.map(size)

    def probe(size: int) -> float:
        return maps(size) + speed.solving + BESIDE

    def head(one: _Head, size: int) -> float:
        return BESIDE + steps * speed.step(one.name, size, config.batch_size)

    def left(first: int, one: _Head, size: int) -> float:
        """Seconds that a probe and a head leave."""
        own = 0.0 if size == first else maps(size)
        return SHARE * seconds - REPORT - probe(first) - own - head(one, size) - judged * speed.map(size)

    def allowed(first: int, size: int) -> bool:
        return probe(first) < quick * (SHARED if size == first else 1.0) or first == sizes[0]

    fitting = [
        (one, size, first)
        for one in heads
        for size in sizes
        for first in sizes
        if allowed(first, size) and left(first, one, size) >= 0 and _has_room(dataset, size, speed)
    ]
    if not fitting:
        first = max((size for size in sizes if probe(size) < quick), default=sizes[0])
        return Plan(seconds, (_probe(first, probe(first)),), REPORT + judged * speed.map(first))
    main, size, first = max(fitting, key=lambda fit: (fit[0].expected(fit[1]), fit[2]))
    stages = [_probe(first, probe(first))]
    room = left(first, main, size)
    taken = [main]
    # The pooled MLP says what a feature for each label brings; more candidates than three only add chance.
    for other in sorted(heads, key=lambda one: (one.rank > 0, -one.expected(size))):
        if other is not main and len(taken) < 3 and head(other, size) <= room:
            taken.append(other)
            room -= head(other, size)

    def why(one: _Head, size: int) -> str:
        if "method" in given:
            return "the method that was given"
        return f"reaches {one.expected(size):.1f} on VOC photographs at this size"

    own = 0.0 if size == first else maps(size)
    for one in sorted(taken, key=lambda one: one.rank):
        settings = {
            "method": one.name,
            **one.settings,
            "image_size": size,
            "backbone.freeze": True,
            "epochs": epochs,
        }
        name = f"{len(stages) + 1}-{one.name}-{size}"
        stages.append(Stage(name, settings, own + head(one, size), why(one, size)))
        own = 0.0  # its maps are there from then on
    if seconds >= VIEWS_FROM and "test_time" not in given:
        stages += _views(len(stages) + 1, size, room, speed, splits)
    return Plan(seconds, tuple(stages), REPORT + judged * speed.map(size))


def _views(number: int, size: int, room: float, speed: Speed, splits: Mapping[str, int]) -> Iterator[Stage]:
    """The richest views at test time whose judgement of val and test fits in the room, as a stage of its own."""
    larger = int(resolved(SCALES, size).partition("=")[2])
    for views, times in ((SCALES, 1 + (larger / size) ** 2), (FLIP, 2.0)):
        seconds = BESIDE + 2 * times * splits.get("val", 0) * speed.map(size)
        if seconds + (times - 1) * splits.get("test", 0) * speed.map(size) <= room:
            why = f"the chosen stage by more views of each image; predictions then take {times:.1f} times as long"
            yield Stage(f"{number}-{views}", {"test_time": views}, seconds, why)
            return


class _Head(NamedTuple):
    """A method to try, from simple to rich.

    Args:
        name: its id.
        rank: its place among the stages.
        at_224, at_448: its test mAP in percent at two sizes on frozen maps of the VOC photographs.
        settings: further ones.
    """

    name: str
    rank: int
    at_224: float
    at_448: float
    settings: Mapping[str, Any]

    def expected(self, size: int) -> float:
        """Its mAP there at another size, on a line over the logarithm of the side."""
        return self.at_224 + (self.at_448 - self.at_224) * math.log2(size / 224)


_MANY = (
    _Head("baseline-mlp", 0, 85.3, 87.7, {}),
    _Head("csra", 1, 84.6, 88.8, {}),
    _Head("ssgrl", 2, 85.8, 90.1, {"discriminative.weight": 0.1}),
    _Head("dlfl", 3, 84.9, 89.1, {}),
)
"""Of 1,976 training images: results/voc-methods.csv and voc-methods-448.csv."""
_FEW = (
    _Head("baseline-mlp", 0, 76.6, 78.2, {}),
    _Head("csra", 1, 76.5, 80.5, {}),
    _Head("ssgrl", 2, 75.2, 79.7, {"discriminative.weight": 0.1}),
)
"""Of 200 training images: results/voc-small.csv and voc-small-448.csv; that of `ssgrl` at 224 px is `dlfl`'s."""


def _heads(config: Config, images: int, given: frozenset[str]) -> tuple[_Head, ...]:
    """Methods to try, from simple to rich."""
    if "method" in given:
        return (_Head(config.method, 0, 0.0, 1.0, {}),)
    return _FEW if images <= FEW_IMAGES else _MANY


def _probe(size: int, seconds: float) -> Stage:
    settings = {"method": "baseline-gap", "optim.name": "exact", "image_size": size, "backbone.freeze": True}
    return Stage(f"1-probe-{size}", settings, seconds, "a whole run at once")


def _has_room(dataset: Dataset, size: int, speed: Speed) -> bool:
    """Whether the maps fill at most half of the disk's free room."""
    splits = dataset.splits()
    wanted = (splits.get("train", 0) + splits.get("val", 0)) * speed.bytes_of_map(size)
    place = Path(cache_folder())
    while not place.exists():
        place = place.parent
    return wanted <= shutil.disk_usage(place).free / 2
