"""docs/tools.md: every command runs on files in that tool's form, and reads what they say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from documents import ROOT
from labelwise.cli import app
from labelwise.data import read
from tool_files import LABELS, MAKERS, SPLIT, SPLITS, TRUTH, UNKNOWN

PAGE = (ROOT / "docs/tools.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"`(labelwise data check [^`]+)`", PAGE)]


def test_the_page_and_the_files_name_the_same_sources() -> None:
    assert sorted(words[3] for words in COMMANDS) == sorted(MAKERS)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[3])
def test_a_command_of_the_page(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = words[3]
    if source.startswith("webdataset:"):
        pytest.importorskip("webdataset", reason="the package webdataset is not installed")
    MAKERS[source](tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words[1:], "--json", "--no-near-duplicates"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["rows_after"] == len(TRUTH)

    data = read(source)
    expected = {**TRUTH, **UNKNOWN.get(source, {})}
    columns = [data.labels.index(label) for label in LABELS]
    for i in range(len(data)):
        name = re.findall(r"p\d", data.image_id(i))[-1]
        cells = zip(data.values[i, columns], data.known[i, columns], strict=True)
        assert "".join("?" if not k else "+" if v else "-" for v, k in cells) == expected[name], name
        if source in SPLITS:
            assert data.split_of is not None
            assert data.split_names[data.split_of[i]] == SPLIT[name]
        assert data[i].image.shape[0] == 3
