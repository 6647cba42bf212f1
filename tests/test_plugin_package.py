"""A package with a loss, a term, an extractor, a method, a strategy and a reader of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from labelwise import registry
from labelwise.data import digits
from labelwise.data.readers import READERS
from labelwise.runs.schema import json_schema
from tiny_runs import command

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(__file__).parent / "plugin_package"
REGISTRIES = (
    *(registry.METHODS, registry.EXTRACTORS, registry.RELATIONS, registry.CLASSIFIERS),
    *(registry.LOSSES, registry.STRATEGIES, registry.TERMS, READERS),
)
RUN = (
    *("--method", "acme-gem", "--set", "loss.name=brier", "--set", "confidence.weight=0.1"),
    *("--known-proportion", "0.5", "--unknown", "half-absent", "--set", "unknown.weight=0.25"),
    *("--set", "extractor.power=1.5", "--backbone", "test_resnet", "--weights", "none", "--image-size", "64"),
    *(
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--set",
        "workers=0",
        "--set",
        "log_every=1",
        "--no-report",
    ),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Digit scenes as files with a table of lines, while the package is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    info = folder / "acme_labels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-labels\nVersion: 1.0\n", encoding="utf-8"
    )
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in members.items())
        for group, members in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(entries), encoding="utf-8")
    data, lines = digits.make_scenes(train=24, val=8, test=8, size=64), []
    for i in range(len(data)):
        (folder / f"{i}.png").write_bytes(data.encoded(i))  # type: ignore[arg-type]
        names = [name for name, held in zip(data.labels.names, data.positive[i], strict=True) if held]
        lines.append(f"{data.split_names[data.split_of[i]]}\t{i}.png\t{','.join(names)}")  # type: ignore[index]
    (folder / "labels.lines").write_text("\n".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PACKAGE))
        patch.syspath_prepend(str(folder))
        yield folder
    for one in REGISTRIES:
        for name in set(one._entries) - set(one.built_in):
            del one._entries[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_labels"]:
        del sys.modules[name]


def test_its_parts_train_together(scenes: Path) -> None:
    outcome = command("train", "--data", scenes / "labels.lines", "--out", scenes / "run", *RUN)
    assert outcome.code == 0, outcome.err
    assert "acme-gem on test_resnet (none), 64 px; 10 labels; train 24, val 8, test 8" in outcome.err
    assert "taken as absent with half the weight (--unknown half-absent)" in outcome.err
    settings = yaml.safe_load((scenes / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert settings["data"]["source"] == str(scenes / "labels.lines")
    assert (settings["confidence"], settings["loss"]) == ({"weight": 0.1}, {"name": "brier"})
    epochs = (scenes / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"confidence"' in epochs
    assert json.loads((scenes / "run" / "results.json").read_text(encoding="utf-8"))["splits"]["test"]
    jsonschema.validate(settings, json_schema())
    outcome = command("predict", scenes / "run", scenes / "0.png")
    assert outcome.code == 0, outcome.err


def test_its_card_is_listed_and_its_options_are_described(scenes: Path) -> None:
    assert "acme-gem       each label pools the map by a generalised mean" in command("methods").out
    outcome = command("train", "--data", f"lines:{scenes / 'labels.lines'}", "--print-config", *RUN)
    assert outcome.code == 0, outcome.err
    assert "  power: 1.5  # initial exponent of every label, above 0\n" in outcome.out
    assert "  # power: 2.0  # above 0; 2 is the Brier score\n" in outcome.out
    assert "confidence:  # A penalty of confident scores: minus the mean entropy" in outcome.out
    assert yaml.safe_load(outcome.out)["method"] == "acme-gem"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "loss.power=0"], "loss.power=0; expected a number above 0; correct the option"),
        (
            ["--set", "extractor.powr=2"],
            "extractor.powr; expected one of power, dropout; did you mean extractor.power?",
        ),
        (
            ["--set", "confidenze.weight=1"],
            "setting 'confidenze'; expected a known setting; did you mean confidence?",
        ),
    ],
)
def test_its_options_are_checked(scenes: Path, words: list[str], says: str) -> None:
    outcome = command("train", "--data", scenes / "labels.lines", "--out", scenes / "wrong", *RUN, *words)
    assert outcome.message == f"labelwise: {says}"


def test_the_page_shows_the_code_of_the_package() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for file in [PACKAGE / "pyproject.toml", *sorted((PACKAGE / "acme_labels").glob("[a-z]*.py"))]:
        code = file.read_text(encoding="utf-8").partition(
            "[project]\n" if file.suffix == ".toml" else '"""\n'
        )[2]
        assert code.strip() in page, file.name
