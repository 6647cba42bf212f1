"""Output of `data check`: the options of the source, and counts of one in the singular."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from labelwise.cli import app

Photo = Callable[..., Path]


def checked(tmp_path: Path, text: str, options: str = "") -> tuple[int, list[str]]:
    (tmp_path / "t.csv").write_text(text)
    result = CliRunner().invoke(
        app, ["data", "check", f"csv:{tmp_path / 't.csv'}{options}", "--no-near-duplicates"]
    )
    return result.exit_code, result.stdout.splitlines()


def test_options_are_no_doubt(tmp_path: Path, photo: Photo) -> None:
    for i in range(4):
        photo(tmp_path / f"{i}.jpg", seed=i)
    text = "image,width,cat\n" + "".join(f"{i}.jpg,640,{i % 2}\n" for i in range(4))
    code, lines = checked(tmp_path, text, "?ignore=width")
    assert code == 0
    assert "note: Read with the options ignore=width." in lines
    assert not any(line.startswith("doubt:") for line in lines)
    assert lines[-1] == "nothing is lost and nothing leaks"


def test_counts_of_one(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "0.jpg", seed=0)
    code, lines = checked(tmp_path, "image,cat\n0.jpg,0\n")
    assert code == 0
    assert lines[0].endswith("1 row, 1 image kept")
    assert "1 doubt that" in lines[-1]
    (tmp_path / "1.jpg").write_bytes(b"no image")
    code, lines = checked(tmp_path, "image,cat,dog\n0.jpg,1,0\n1.jpg,0,1\n")
    assert code == 1
    assert any(line.startswith("problem: 1 image cannot be read") for line in lines)
    assert lines[-1] == "1 problem"
