"""What is installed is named, pinned with hashes, and its licences are listed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


UNLOCKED = ("litert",)
"""Extras whose packages need older versions than constraints.txt has, see `make lock`."""


def needed(without: tuple[str, ...] = ()) -> set[str]:
    """Names of all direct dependencies, written alike, without those of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [
        *project["dependencies"],
        *(
            t
            for name, extra in project["optional-dependencies"].items()
            if name not in without
            for t in extra
        ),
    ]
    return {alike(re.split(r"[^\w.-]", text)[0]) for text in texts}


def alike(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_has_its_licence_listed() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = {alike(row[0]): row[1] for row in re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", page, re.MULTILINE)}
    assert set(rows) - {"package"} == needed(), "run python benchmarks/licences.py"
    assert not any("GPL" in told and "LGPL" not in told for told in rows.values())


def test_the_lock_pins_every_dependency_with_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\w)", re.sub(r"^\s*#.*\n?", "", lock, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in lock
    assert needed(UNLOCKED) <= {alike(re.match(r"[\w.-]+", entry)[0]) for entry in entries}  # type: ignore[index]


@pytest.mark.parametrize("name", ["pickle", "xml.etree.ElementTree", "shelve", "marshal", "tarfile"])
def test_readers_that_trust_their_input_are_not_imported(name: str) -> None:
    allowed = {
        "pickle": {"unpickle.py", "checkpoint.py"},
        "xml.etree.ElementTree": {
            "voc.py",
            "cvat.py",
        },  # the parser is expat's, which refuses a document type
        "tarfile": {"webdataset.py"},  # members are listed and read, never extracted
    }.get(name, set())
    pattern = re.compile(rf"^\s*(?:import {re.escape(name)}\b|from {re.escape(name)} import)", re.MULTILINE)
    found = {f.name for f in (ROOT / "src").rglob("*.py") if pattern.search(f.read_text(encoding="utf-8"))}
    assert found <= allowed
