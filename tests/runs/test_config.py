"""Settings: which values are accepted, which are refused, and the error messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config
from labelwise.runs.plain_yaml import read_yaml
from labelwise.training.assigning import override, put

DATA = {"data": {"source": "digits:"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E2", -200.0),
        (".5", 0.5),
        ("3", 3),
        ("true", True),
        ("none", "none"),
        ("test_resnet", "test_resnet"),
        ("[1.0, 0.9]", [1.0, 0.9]),
        ("", None),
        ("[1,", "[1,"),
        ("1e", "1e"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_read_as_a_person_means_them(text: str, value: Any) -> None:
    assert override({}, [f"a.b={text}"]) == {"a": {"b": value}}


@pytest.mark.parametrize("assignment", ["lr", "=3", ""])
def test_an_assignment_without_a_name_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(
        LabelwiseError, match=r"expected --set NAME=VALUE; write for example --set optim.lr=1e-3"
    ):
        override({}, [assignment])


def test_a_dotted_name_through_a_value_is_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"data.source where data = 5; expected data to hold settings"):
        put({"data": 5}, "data.source", "digits:")


def test_later_assignments_win_and_others_stay() -> None:
    settings = override({"optim": {"lr": 1, "name": "sgd"}}, ["optim.lr=2", "optim.lr=3"])
    assert settings == {"optim": {"lr": 3, "name": "sgd"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "setting 'epoch'; expected a known setting; did you mean epochs?"),
        ({"optim": {"learning_rate": 3}}, "setting 'optim.learning_rate'"),
        ({"epochs": 0}, "epochs = 0; expected input should be greater than or equal to 1"),
        ({"epochs": "many"}, "epochs = 'many'; expected input should be a valid integer"),
        (
            {"optim": {"name": "lion"}},
            "optim.name = 'lion'; expected input should be 'adamw', 'adam', 'sgd' or 'exact'",
        ),
        ({"augment": {"flip": 2}}, "augment.flip = 2"),
        ({"data": {"source": "x", "known_proportion": 0}}, "data.known_proportion = 0"),
        (
            {"backbone": {"freeze": True, "unfrozen_groups": 2}},
            "backbone.unfrozen_groups = 2 with backbone.freeze; expected a backbone that learns, in whole or in part; "
            "leave one of the two out",
        ),
        (
            {"backbone": {"freeze": True, "layer_decay": 0.5}},
            "backbone.layer_decay = 0.5 with backbone.freeze",
        ),
        (
            {"backbone": {"freeze": True, "gradient_checkpointing": True}},
            "backbone.gradient_checkpointing = True with backbone.freeze",
        ),
        (
            {"backbone": {"layer_decay": 1.5}},
            "backbone.layer_decay = 1.5; expected input should be less than or",
        ),
        ({"data": {}}, "no data.source; expected a value for it; give --data SOURCE"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelwiseError) as caught:
        make_config({**DATA, **changes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_without_data_ask_for_it() -> None:
    with pytest.raises(LabelwiseError, match=r"no data; .*give --data SOURCE"):
        make_config({})


def test_a_loss_without_a_name_is_the_default_one() -> None:
    assert make_config({**DATA, "loss": {"gamma_negative": 4}}).loss == {"name": "asl", "gamma_negative": 4}
    assert make_config({**DATA, "loss": {"name": "bce"}}).loss == {"name": "bce"}


def test_written_settings_are_read_back_equal(tmp_path: Path) -> None:
    config = make_config({**DATA, "augment": {"multi_scale": [1.0, 0.5]}, "extractor": {"heads": 2}})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert make_config(read_yaml(file)) == config


def test_the_transform_has_the_size_of_the_run() -> None:
    config = make_config({**DATA, "image_size": 64, "augment": {"image_size": 32, "flip": 0.25}})
    assert (config.transform().image_size, config.transform().flip) == (64, 0.25)


def test_every_setting_has_a_default_but_the_data() -> None:
    assert [name for name, field in Config.model_fields.items() if field.is_required()] == ["data"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"- 1\n- 2\n", "holds list; expected a mapping of settings"),
        (b"", "holds NoneType; expected a mapping"),
        (b"a: \xff\xfe", "is not YAML"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(LabelwiseError, match=message):
        read_yaml(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"recipe.yaml: No such file or directory; expected a YAML file"):
        read_yaml(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "mirrors"),
    [({}, "augment.flip=0.5"), ({"augment": {"flip": 0.0}, "test_time": "flip"}, "test_time=flip")],
)
def test_a_region_of_one_side_is_refused_where_images_are_mirrored(
    changes: dict[str, Any], mirrors: str
) -> None:
    regions = {"outside": 0.1, "labels": {"sky": [0, 0.5], "sign": [0, 1, 0.5, 1]}}
    with pytest.raises(LabelwiseError) as error:
        make_config({"data": {"source": "made"}, "regions": regions, **changes})
    assert f"regions.labels of 'sign' from 0.5 to 1 of the width with {mirrors}; expected" in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": {"flip": 0.0}},
        {"backbone": {"freeze": True}},
        {"regions": {"outside": 1.0, "labels": {"sign": [0, 1, 0.5, 1]}}},
        {"regions": {"outside": 0.1, "labels": {"sign": [0, 1, 0.2, 0.8]}}},
    ],
)
def test_other_regions_are_kept_as_written(changes: dict[str, Any]) -> None:
    regions = {"outside": 0.1, "labels": {"sign": [0, 1, 0.5, 1]}}
    made = make_config({"data": {"source": "made"}, "regions": regions, **changes})
    assert made.model_dump()["regions"] == changes.get("regions", regions)
