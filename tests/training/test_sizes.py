"""Image sizes that a backbone accepts: defaults that adapt, wishes that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from labelwise.backbones import TimmBackbone
from labelwise.backbones.description import VERIFIED, accepts_any_size, family_of, native_size
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config
from labelwise.training.sizes import accepted, fitted, sides_of, size_refusal


def config(name: str, freeze: bool = False, **settings: Any) -> Config:
    return make_config(
        {
            "data": {"source": "unread"},
            "backbone": {"name": name, "weights": "none", "freeze": freeze},
            **settings,
        }
    )


def sizes(name: str, **settings: Any) -> tuple[int, int, list[str]]:
    notes: list[str] = []
    made = fitted(config(name, **settings), notes.append)
    return made.image_size, made.train_size, notes


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "test_convnext", "test_vit", "mobilenetv3_small_050"]
)
def test_networks_that_take_the_defaults_keep_every_setting(name: str) -> None:
    given = config(name)
    assert fitted(given, pytest.fail) == given


@pytest.mark.parametrize("settings", [{"image_size": 230}, {"image_size": 90, "train_size": 77}])
def test_a_network_that_takes_any_size_keeps_unusual_wishes(settings: dict[str, int]) -> None:
    assert accepts_any_size("test_resnet")
    assert sizes("test_resnet", **settings) == (settings["image_size"], settings.get("train_size", 0), [])


def test_a_fixed_network_trains_at_the_size_of_its_images() -> None:
    note = "note: pit_ti_224 does not accept the default sizes of images: train_size 224"
    assert sizes("pit_ti_224") == (224, 224, [note])
    assert sizes("pit_ti_224", freeze=True) == (224, 0, [])  # a frozen one trains on maps of image_size


def test_a_default_that_fails_becomes_the_networks_own_size() -> None:
    assert native_size("crossvit_tiny_240") == 240
    made = sizes("crossvit_tiny_240")
    assert made[0] == 240
    assert made[2] == ["note: crossvit_tiny_240 does not accept the default sizes of images: image_size 240"]
    # Both sizes are images that the network computes.
    assert size_refusal("crossvit_tiny_240", -1, 240, (made[1] or 240, made[1] or 240)) is None


def test_the_second_view_follows_a_size_that_changes() -> None:
    given = config("crossvit_tiny_240", freeze=True, test_time="multi-scale")
    assert given.test_time == "multi-scale=288"
    assert fitted(given, lambda line: None).test_time == "multi-scale=320"


def test_a_wish_that_cannot_be_met_is_refused_with_sizes_that_work() -> None:
    with pytest.raises(LabelwiseError) as error:
        fitted(config("crossvit_tiny_240", image_size=224), pytest.fail)
    assert error.value.given.startswith("image_size = 224 for backbone 'crossvit_tiny_240' (")
    assert error.value.expected.startswith("a size that it accepts, such as 240")
    assert error.value.todo == "write --image-size 240, or leave it out"
    for side in accepted("crossvit_tiny_240"):
        assert fitted(config("crossvit_tiny_240", image_size=side), lambda line: None).image_size == side


def test_a_training_size_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        fitted(config("pit_ti_224", train_size=192), pytest.fail)
    assert error.value.given.startswith("train_size = 192 for backbone 'pit_ti_224' (")
    assert error.value.todo == "write --set train_size=224, or leave it out"


def test_a_width_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        fitted(config("pit_ti_224", image_width=192), pytest.fail)
    assert error.value.given.startswith("image_size = 224 and image_width = 192 for backbone 'pit_ti_224' (")
    assert sizes("test_vit", image_size=64, image_width=96)[2] == []


def test_the_sides_of_a_plan_are_those_that_the_network_computes() -> None:
    every = (160, 224, 240)
    assert sides_of(config("resnet18"), every) == every
    assert sides_of(config("test_vit"), (40, 64, 90)) == (64,)
    assert sides_of(config("crossvit_tiny_240"), (160, 224)) == (240,)


def test_a_refusal_on_shapes_alone_agrees_with_a_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (40, 48, 64):
        try:
            TimmBackbone("test_vit", "none", side)
        except LabelwiseError:
            assert size_refusal("test_vit", -1, side) is not None
        else:
            assert size_refusal("test_vit", -1, side) is None


def test_random_numbers_go_on_as_without_a_trial() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    size_refusal("test_vit", -1, 96)
    assert torch.equal(torch.rand(4), expected)


def test_a_library_call_names_the_size_that_the_network_has() -> None:
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("test_vit", "none", 40)
    assert str(error.value).endswith(
        "; expected a size that the network accepts, such as its own 160 px; give another image size"
    )


@pytest.mark.parametrize("name", ["resnet10x", "test_vit.never_trained"])
def test_an_unknown_network_is_refused_when_it_is_built(name: str) -> None:
    assert fitted(config(name), pytest.fail) == config(name)


def test_families_are_timms_modules() -> None:
    assert [family_of(n) for n in ("resnet18d", "tf_efficientnet_lite0", "test_vit.r160_in1k")] == [
        "resnet",
        "efficientnet",
        "vision_transformer",
    ]
    assert "vision_transformer" in VERIFIED
    assert not accepts_any_size("test_vit")
