"""Files are whole or absent."""

from __future__ import annotations

import errno
import os
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from labelwise.data.decode import UnreadableImage
from labelwise.data.wholefile import whole_file
from labelwise.errors import LabelwiseError
from labelwise.runs.files import read_json, write_atomic, write_json, write_text


def test_text_and_json_come_back(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "grün\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "grün\n".encode()
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.json", "a.txt", "new"]


def test_odd_file_names_survive_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"data": "csv:gr\udcfcn.csv"})
    assert read_json(tmp_path / "a.json") == {"data": "csv:gr\udcfcn.csv"}


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", lambda part: part.touch(mode=0o600))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (SafetensorError("I/O error: No space left"), "I/O error: No space left"),
        (RuntimeError("enforce fail\nat line 3"), "enforce fail"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_no_part(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"good")

    def write(part: Path) -> None:
        part.write_bytes(b"ha")
        raise error

    with pytest.raises(LabelwiseError) as caught:
        write_atomic(path, write)
    assert f"{path} could not be written ({reason}" in str(caught.value)
    assert "expected a writable disk with free space; free some space, then go on with --resume" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]
    assert path.read_bytes() == b"good"


def test_the_error_names_the_reason_of_the_disk_and_not_that_of_the_archive(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        part.touch()
        with open("/dev/full", "wb") as file:
            torch.save({"a": torch.zeros(100_000)}, file)

    with pytest.raises(LabelwiseError, match=r"could not be written \(No space left on device\)"):
        write_atomic(tmp_path / "state.pt", write)


def test_what_a_killed_writer_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".a.json.part").write_bytes(b"half a fi" * 1000)
    write_json(tmp_path / "a.json", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "a.json") == 1


def test_the_file_reaches_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def synced(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def renamed(old: Path, new: Path) -> None:
        done.append(f"{old.name} to {new.name}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with whole_file(tmp_path / "a") as part:
        part.touch()
    assert done == [".a.part", ".a.part to a", tmp_path.name]


def test_folders_that_cannot_be_opened_are_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    write_text(tmp_path / "a", "content")
    assert (tmp_path / "a").read_text() == "content"


def test_the_old_file_is_kept(tmp_path: Path) -> None:
    for number in "123":
        write_atomic(tmp_path / "new", partial(Path.write_text, data=number), keep=tmp_path / "old")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"new": "3", "old": "2"}


def test_damaged_or_missing_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(LabelwiseError, match=r"bad.json is damaged; expected JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(LabelwiseError, match=r"none.json: No such file or directory"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("kind", [LabelwiseError, UnreadableImage])
def test_errors_survive_the_way_between_processes(kind: type[LabelwiseError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a", "b", "c")))
    assert type(error) is kind
    assert (error.given, error.expected, error.todo, str(error)) == ("a", "b", "c", "a; expected b; c")
