"""The list of the cache, its clearing, and its limit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from labelwise.data.cached import Entry, bytes_of, entries, least_recently_used, remove
from labelwise.errors import LabelwiseError
from labelwise.runs.stored import stored
from tiny_runs import command

DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path))
    monkeypatch.delenv("LABELWISE_CACHE_LIMIT", raising=False)
    return tmp_path


def array(cache: Path, name: str, days_ago: float = 0.0, rows: int = 50) -> Path:
    """Store an array of `rows` times 200 bytes as training does."""
    path = cache / "maps" / f"{name}.npy"
    stored(path, lambda: (rows, 100), lambda part: [], "computing", lambda line: None)
    used = time.time() - DAY * days_ago
    for file in (path, path.with_suffix(".json")):
        os.utime(file, (used, used))
    return path


def test_the_list_has_every_file_of_the_cache(cache: Path) -> None:
    array(cache, "old", 3)
    array(cache, "new")
    (cache / "fingerprints-1").mkdir()
    (cache / "fingerprints-1" / "keys").write_bytes(b"0" * 77)
    found = entries()
    assert found[0].path.name == "old.npy"
    assert {entry.kind for entry in found} == {"maps", "fingerprints of images"}
    on_disk = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")
    assert sum(entry.size for entry in found) == on_disk


def test_reading_an_array_counts_as_use(cache: Path) -> None:
    first, second = array(cache, "first", 9), array(cache, "second", 5)
    stored(first, lambda: (50, 100), lambda part: pytest.fail("computed again"), "", lambda line: None)
    assert [entry.path for entry in entries()] == [second, first]


def test_the_least_recently_used_go_first() -> None:
    found = [Entry("maps", Path(str(size)), size, used) for size, used in ((5, 3.0), (7, 1.0), (2, 2.0))]
    assert [e.size for e in least_recently_used(found, 14)] == []
    assert [e.size for e in least_recently_used(found, 13)] == [7]
    assert [e.size for e in least_recently_used(found, 6)] == [7, 2]
    assert [e.size for e in least_recently_used(found, 0)] == [7, 2, 5]


def test_an_array_that_is_being_computed_stays(cache: Path) -> None:
    path = array(cache, "busy")
    with FileLock(path.with_suffix(".lock")):
        removed, skipped = remove(entries())
    assert removed == []
    assert [reason for _, reason in skipped] == ["a process is computing it"]
    assert path.is_file()


def test_a_removed_array_can_still_be_read_where_it_is_open(cache: Path) -> None:
    path = array(cache, "open")
    values, _ = stored(path, lambda: (50, 100), lambda part: [], "", lambda line: None)
    if remove(entries())[0]:  # Windows keeps an open file
        assert not path.exists()
    assert np.asarray(values).sum() == 0


def test_an_unfinished_file_is_an_entry(cache: Path) -> None:
    (cache / "maps").mkdir()
    (cache / "maps" / "x.npy.part").write_bytes(b"0" * 9)
    assert [entry.size for entry in entries()] == [9]
    assert len(remove(entries())[0]) == 1
    assert entries() == []


def test_a_file_that_another_process_writes_is_kept(cache: Path) -> None:
    array(cache, "x")
    path = next((cache / "maps").glob("x.*"))
    (cache / "maps" / f".{path.name}.part").write_bytes(b"0" * 9)
    with FileLock(cache / "maps" / "x.lock"):
        removed, skipped = remove(entries())
    assert removed == []
    assert {reason for _, reason in skipped} == {"a process is computing it"}
    assert len(remove(entries())[0]) == 2


def test_the_limit_keeps_the_newest_array(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array(cache, "a", 3)
    array(cache, "b", 2)
    monkeypatch.setenv("LABELWISE_CACHE_LIMIT", "22KB")  # two arrays of 10.1 KB
    array(cache, "c")
    assert [entry.path.stem for entry in entries()] == ["b", "c"]
    monkeypatch.setenv("LABELWISE_CACHE_LIMIT", "1KB")  # less than the array in use, which stays
    array(cache, "d")
    assert [entry.path.stem for entry in entries()] == ["d"]


@pytest.mark.parametrize("text", ["many", "20", "-1GB", "5 XB", ""])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(LabelwiseError, match="a number and a unit"):
        bytes_of(text)


def test_the_commands(cache: Path) -> None:
    array(cache, "old", 40)
    array(cache, "new", 1)
    listed = command("cache", "list", "--json")
    assert [Path(e["path"]).stem for e in json.loads(listed.out)["entries"]] == ["old", "new"]
    assert "entries: 2" in command("cache", "list").out
    cleared = json.loads(command("cache", "clear", "--unused", "30", "--json").out)
    assert [Path(path).stem for path in cleared["removed"]] == ["old"]
    assert "entries removed: 1" in command("cache", "clear", "--to", "0").out
    assert entries() == []
    assert "a number and a unit" in command("cache", "clear", "--to", "big").err
