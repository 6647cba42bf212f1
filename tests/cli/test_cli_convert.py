"""`labelwise data convert`: its output, its JSON, and one line per error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from documents import photographs
from labelwise.cli import app
from labelwise.cli.convert import Form
from labelwise.data.writers import WRITERS
from labelwise.errors import LabelwiseError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photographs(tmp_path, 12)
    return tmp_path


def test_it_prints_what_it_wrote_and_how_to_read_it(folder: Path) -> None:
    arguments = ["data", "convert", f"csv:{folder / 'labels.csv'}", str(folder / "out.parquet")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == (
        f"written: {folder / 'out.parquet'}; labelwise reads it as parquet:{folder / 'out.parquet'}"
    )
    again = CliRunner().invoke(app, [*arguments, "--json"])
    assert isinstance(again.exception, LabelwiseError)
    assert "which exists" in str(again.exception)
    replaced = CliRunner().invoke(app, [*arguments, "--json", "--replace"])
    assert replaced.exit_code == 0, replaced.output
    described = json.loads(replaced.stdout)
    assert described["form"] == "parquet"
    assert described["rows"] == 12
    assert described["files"] == ["out.parquet"]
    assert described["labels"] == ["dog", "person", "car"]
    assert described["notes"][-1].startswith("Names in the column image are relative to ")


def test_a_wrong_name_is_reported_before_the_source_is_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "convert", "csv:nowhere.csv", str(tmp_path / "out")])
    assert "add --form" in str(result.exception)


def test_every_form_can_be_named() -> None:
    assert [form.value for form in Form] == list(WRITERS)
