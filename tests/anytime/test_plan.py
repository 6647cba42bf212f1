"""Plans: they fit in the time, keep the given settings and grow with the time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_runs
from labelwise.anytime import plan as planner
from labelwise.anytime import seconds_of
from labelwise.anytime import speed as speed_module
from labelwise.anytime.plan import Plan, make_plan
from labelwise.anytime.speed import Speed
from labelwise.data import Dataset, read
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config


@dataclass
class FixedSpeed(Speed):
    """A machine with fixed times."""

    head: float = 0.05

    def step(self, method: str, size: int, batch_size: int) -> float:
        return self.head * (size / 224) ** 2 * {"dlfl": 2, "baseline-mlp": 0.2}.get(method, 1)


# Without fine-tuning: a step would take a day.
SPEED = FixedSpeed(0.01, 0.02, 500, 1280, 32, 1.0, 2.0, ("a",), torch.device("cpu"), 1e5)


@pytest.fixture
def data(table: Path) -> Dataset:
    """48 train, 16 val and 17 test images, repeated a hundred times."""
    data = read(f"parquet:{table}")
    return data.take([i for _ in range(100) for i in range(len(data))])


@pytest.fixture
def config(table: Path) -> Config:
    """Settings of a run on the table."""
    return make_config({"data": {"source": f"parquet:{table}"}})


def plan(config: Config, data: Dataset, seconds: float, given: tuple[str, ...] = ()) -> Plan:
    return make_plan(config, data, seconds, SPEED, frozenset(given))


def side(stage: planner.Stage) -> int:
    return stage.settings["image_size"]


def trained(made: Plan) -> list[planner.Stage]:
    """Return the stages that train: all except the one with more views."""
    return [stage for stage in made.stages if "method" in stage.settings]


def test_a_plan_fits_and_grows_with_the_time(config: Config, data: Dataset) -> None:
    sizes = [0]
    for seconds in (300, 600, 1200, 3600, 20_000):
        made = plan(config, data, seconds)
        assert made.stages[0].settings["optim.name"] == "exact"
        assert made.total <= seconds, made
        stages = trained(made)
        sizes.append(side(stages[-1]))
        assert [side(stage) for stage in stages[1:]] == [sizes[-1]] * (len(stages) - 1)
        assert make_config(_with_stage(config, stages[-1])).backbone.freeze
    assert sizes == sorted(sizes)
    assert sizes[-1] == max(size for size in planner.SIZES if size <= SPEED.largest)
    assert len({*sizes}) > 3


def _with_stage(config: Config, stage: planner.Stage) -> dict:
    from labelwise.training.assigning import put

    settings = config.model_dump(mode="json")
    for name, value in stage.settings.items():
        put(settings, name, value)
    return settings


def test_stages_cost_what_their_parts_cost(config: Config, data: Dataset) -> None:
    made = plan(config, data, 20_000)
    size = side(made.stages[1])
    maps = SPEED.opening + 6400 * (0.01 + 0.02 * (size / 224) ** 2)
    steps = planner.EPOCHS * (4800 // 32) * 0.05 * (size / 224) ** 2
    first = side(made.stages[0])
    assert made.stages[0].seconds == pytest.approx(
        planner.BESIDE + SPEED.opening + 6400 * SPEED.map(first) + 2
    )
    assert [stage.settings["method"] for stage in trained(made)[1:]] == ["baseline-mlp", "ssgrl", "dlfl"]
    assert made.stages[1].seconds == pytest.approx(
        (0 if first == size else maps) + planner.BESIDE + 0.2 * steps
    )
    assert made.stages[2].seconds == pytest.approx(planner.BESIDE + steps)  # reads the same maps
    assert made.stages[3].seconds == pytest.approx(planner.BESIDE + 2 * steps)
    assert made.stages[3].judging == pytest.approx(1700 * SPEED.map(size))


def test_a_time_too_short_for_any_stage_is_warned_about(config: Config, data: Dataset) -> None:
    made = plan(config, data, 60)
    assert [side(stage) for stage in made.stages] == [planner.SIZES[0]]
    assert made.total == made.stages[0].seconds + made.stages[0].judging + planner.REPORT
    assert f"even this takes about {made.total:.0f} s" in list(made.lines())[-1]
    assert not any("even this" in line for line in plan(config, data, 600).lines())


def test_views_are_tried_if_they_fit_in_the_time(config: Config, data: Dataset) -> None:
    """The plan takes the most views that fit on val and test; none in a short time or if views are given."""
    assert "test_time" not in plan(config, data, 1799).stages[-1].settings
    assert trained(plan(config, data, 20_000, ("test_time",))) == list(
        plan(config, data, 20_000, ("test_time",)).stages
    )
    made = plan(config, data, 20_000)
    size = side(made.stages[1])
    assert made.stages[-1].settings == {"test_time": "multi-scale"}
    times = 1 + ((size * 1.25 // 32 + (size * 1.25 % 32 > 0)) * 32 / size) ** 2
    opening = planner.BESIDE + 2 * SPEED.opening
    assert made.stages[-1].seconds == pytest.approx(opening + 2 * times * 1600 * SPEED.map(size))
    assert made.stages[-1].judging == pytest.approx(times * 1700 * SPEED.map(size))
    fitting = [views for seconds in range(1800, 6000, 100) for views in _views(plan(config, data, seconds))]
    assert {"flip", "multi-scale"} >= {*fitting}
    for seconds in range(1800, 6000, 300):
        assert plan(config, data, seconds).total <= seconds


def test_fine_tuning_follows_if_three_epochs_fit(config: Config, data: Dataset) -> None:
    learning = replace(SPEED, stepping=0.05, evaluating=0.02, precision="bf16")
    made = {
        seconds: make_plan(config, data, seconds, learning, frozenset()) for seconds in (600, 2000, 60_000)
    }
    tuned = {seconds: [s for s in plan.stages if "-tuned-" in s.name] for seconds, plan in made.items()}
    assert [len(stages) for stages in tuned.values()] == [0, 0, 1]
    assert all(plan.total <= seconds for seconds, plan in made.items())
    (stage,), (*_, last) = tuned[60_000], made[60_000].stages
    assert stage.settings == {**planner.TUNED, "epochs": planner.TUNED_EPOCHS[1], "precision": "bf16"}
    size = side(made[60_000].stages[1])
    epoch = 4800 * (0.01 + 0.05 * (6 / 7 * size / 224) ** 2)
    judging = 1600 * (0.01 + 0.02 * (size / 224) ** 2)
    last_judging = SPEED.opening + 1600 * SPEED.map(size)  # by the engine
    assert stage.seconds == pytest.approx(planner.BESIDE + last_judging + 6 * (epoch + judging))
    assert last.settings == {"test_time": "multi-scale"}
    numbers = [int(stage.name.partition("-")[0]) for stage in made[60_000].stages]
    assert numbers == [*range(1, len(numbers) + 1)]
    for given in ("backbone.freeze", "epochs", "optim.lr"):
        kept = make_plan(config, data, 60_000, learning, frozenset([given]))
        assert not any("-tuned-" in stage.name for stage in kept.stages)
    fewest = next(s for t in range(2000, 60_000, 200) for s in _tuned(config, data, t, learning))
    assert fewest.settings["epochs"] == planner.TUNED_EPOCHS[0]


def _tuned(config: Config, data: Dataset, seconds: float, speed: Speed) -> list[planner.Stage]:
    made = make_plan(config, data, seconds, speed, frozenset())
    return [stage for stage in made.stages if "-tuned-" in stage.name]


def _views(made: Plan) -> list[str]:
    return [stage.settings["test_time"] for stage in made.stages if "test_time" in stage.settings]


def test_given_settings_are_kept(config: Config, data: Dataset) -> None:
    chosen = config.model_copy(update={"method": "mcar", "image_size": 320, "epochs": 3})
    made = plan(chosen, data, 20_000, ("method", "image_size", "epochs"))
    assert [side(stage) for stage in trained(made)] == [320, 320]
    assert made.stages[1].settings["method"] == "mcar"
    assert made.stages[1].settings["epochs"] == 3


def test_the_cheapest_head_is_taken_if_no_other_fits(config: Config, data: Dataset) -> None:
    slow = replace(SPEED, head=5.0)
    made = make_plan(config, data, 2000, slow, frozenset())
    assert [stage.settings["method"] for stage in trained(made)[1:]] == ["baseline-mlp"]


def test_few_images_use_other_heads(config: Config, data: Dataset) -> None:
    few = data.take(range(81))
    assert {stage.settings["epochs"] for stage in trained(plan(config, few, 3600))[1:]} == {
        400
    }  # a step each
    methods = [stage.settings["method"] for stage in trained(plan(config, few, 3600))[1:]]
    assert methods == ["baseline-mlp", "csra", "ssgrl"]


def test_small_originals_are_not_enlarged(config: Config, data: Dataset) -> None:
    speed = replace(SPEED, largest=230)
    made = make_plan(config, data, 1e6, speed, frozenset())
    assert {side(stage) for stage in trained(made)} == {224}


def test_maps_that_do_not_fit_on_the_disk_are_not_planned(
    config: Config, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [round(2.2 * 6400 * SPEED.bytes_of_map(320))]

    class Usage:
        def __init__(self, path: object) -> None:
            (self.free,) = free

    assert plan(config, data, 1e6).notes == ()
    monkeypatch.setattr(planner.shutil, "disk_usage", Usage)
    made = plan(config, data, 1e6)
    assert [side(stage) for stage in made.stages[:2]] == [320, 320]  # the probe's maps count too
    assert "note: 320 px, since maps of 448 px need more than half" in "\n".join(made.lines())
    free[0] = round(2 * 6400 * (SPEED.bytes_of_map(320) + SPEED.bytes_of_map(160)))
    stored = {side(stage) for stage in trained(plan(config, data, 500))}
    assert sum(SPEED.bytes_of_map(size) for size in stored) <= free[0] / (2 * 6400)
    free[0] = 0
    made = plan(config, data, 1e6)
    assert [side(stage) for stage in made.stages] == [planner.SIZES[0]]
    assert "a linear probe alone, since maps of every size need more than half" in made.notes[0]


def test_a_plan_without_heads_says_why(config: Config, data: Dataset) -> None:
    assert plan(config, data, 60).notes == ("a linear probe alone, since no head fits in the time",)
    many = config.model_copy(update={"epochs": 10_000})
    made = plan(many, data, 600, ("epochs", "data"))
    assert made.notes == ("a linear probe alone, since no head fits in the time with the given epochs",)
    first, *_ = made.lines()
    assert first == "plan for 600 s: one stage, a complete run"


def test_a_plan_is_read_back(config: Config, data: Dataset) -> None:
    made = replace(plan(config, data, 600), notes=("a note",))
    assert Plan.from_json(json.loads(json.dumps(made.to_json()))) == made
    earlier = {name: value for name, value in made.to_json().items() if name != "notes"}
    assert Plan.from_json(earlier) == replace(made, notes=())
    made = replace(made, notes=())
    assert len(list(made.lines())) == len(made.stages) + 2


@pytest.mark.parametrize("text", ["2s", "19.9s"])
def test_a_time_below_the_minimum_is_refused(text: str) -> None:
    with pytest.raises(LabelwiseError, match=f"--time {text}; expected at least 20s"):
        seconds_of(text)


@pytest.mark.parametrize("text", ["", "10", "m", "ten minutes", "-5m", "1e3s", "5d"])
def test_other_texts_are_not_a_time(text: str) -> None:
    with pytest.raises(LabelwiseError, match="a number and a unit, such as"):
        seconds_of(text)


def test_a_machine_is_measured(tmp_path: Path) -> None:
    source = f"csv:{tiny_runs.photographs(tmp_path, 8, 4, 4)}"
    config = make_config(tiny_runs.settings(source))
    speed = Speed.measured(config, read(source), torch.device("cpu"), 1)
    assert (speed.channels, speed.stride) == (64, 16)
    assert 0 < speed.map(224) < 5
    assert speed.map(448) > speed.map(224) > speed.decoding
    # A map takes whole blocks of the disk, at most one more than its own size.
    assert 4096 <= speed.bytes_of_map(224) <= 7 * 4096 < 2 * 64 * 14 * 14 + 4096
    assert speed.step("csra", 224, 8) > 0
    assert speed.stepping == 0
    learning = Speed.measured(config, read(source), torch.device("cpu"), 1, tuning=("fp32", "bf16"))
    assert learning.precision in ("fp32", "bf16")
    assert learning.learning(448) > learning.eager(224) > learning.decoding
    assert speed.sides == ()


def test_a_plan_chooses_among_the_sizes_that_the_backbone_accepts(config: Config, data: Dataset) -> None:
    some = replace(SPEED, sides=(192, 240))
    made = planner.make_plan(config, data, 1200.0, some, frozenset())
    assert {side(stage) for stage in made.stages} <= {192, 240}
    assert side(made.stages[-1]) == 240
    given = config.model_copy(update={"image_size": 240})
    alone = planner.make_plan(given, data, 1200.0, replace(SPEED, sides=(384,)), frozenset({"image_size"}))
    assert {side(stage) for stage in alone.stages} == {240}


def test_a_backbone_of_one_size_is_measured_at_that_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"csv:{tiny_runs.photographs(tmp_path, 8, 4, 4)}"
    config = make_config(tiny_runs.settings(source))
    built: list[int] = []
    honest = speed_module.TimmBackbone

    def record(name: str, weights: str, side: int, **options: Any) -> Any:
        built.append(side)
        return honest(name, weights, side, **options)

    monkeypatch.setattr(speed_module, "TimmBackbone", record)
    speed = Speed.measured(config, read(source), torch.device("cpu"), 1, sides=(64, 96))
    assert built == [96]
    assert (speed.sides, speed.channels, speed.stride) == ((64, 96), 64, 16)


def test_the_first_stage_shares_its_maps_if_two_sizes_do_not_fit(config: Config, data: Dataset) -> None:
    """Holds for times that do not fit larger maps in addition to the probe's maps."""
    for seconds in range(150, 1000, 50):
        made = plan(config, data, seconds)
        for other in (size for size in planner.SIZES if size <= SPEED.largest and len(made.stages) > 1):
            if other > side(made.stages[-1]):
                alone = planner.BESIDE + SPEED.opening + 6400 * SPEED.map(other) + SPEED.solving
                steps = planner.EPOCHS * (4800 // 32) * SPEED.step("baseline-mlp", other, 32)
                total = alone + planner.BESIDE + steps + 1700 * SPEED.map(other) + planner.REPORT
                allowed = alone < planner.SHARED * min(max(planner.FIRST, seconds / 10), seconds / 3)
                fits = allowed and total <= planner.SHARE * seconds
                assert not (fits and _only_mlp(made)), (seconds, other)


def _only_mlp(made: Plan) -> bool:
    return [stage.settings["method"] for stage in trained(made)[1:]] == ["baseline-mlp"]
