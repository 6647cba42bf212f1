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


def needed(project_file: str = "pyproject.toml", extras: tuple[str, ...] = ()) -> set[str]:
    """Names of the direct dependencies with those of some extras, by default of all that are locked; written alike."""
    project = tomllib.loads((ROOT / project_file).read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = extras or tuple(name for name in optional if name not in UNLOCKED)
    texts = [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
    return {alike(re.split(r"[^\w.-]", text)[0]) for text in texts}


def alike(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_has_its_licence_listed() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = {alike(row[0]): row[1] for row in re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", page, re.MULTILINE)}
    every = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(rows) - {"package"} == needed(extras=tuple(every)), "run python tools/licences.py"
    assert not any("GPL" in told and "LGPL" not in told for told in rows.values())


@pytest.mark.parametrize(
    ("name", "project", "extras"),
    [
        ("requirements.lock", "pyproject.toml", ()),
        ("requirements-serve.lock", "pyproject.toml", ("serve", "onnx", "openvino")),
        ("runtime/requirements.lock", "runtime/pyproject.toml", ("serve",)),
    ],
)
def test_a_lock_pins_every_dependency_with_hashes(name: str, project: str, extras: tuple[str, ...]) -> None:
    """That of all extras, and those of the Dockerfile, which have the same versions."""
    lock = (ROOT / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\w)", re.sub(r"^\s*#.*\n?", "", lock, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in lock
    assert needed(project, extras) <= {alike(re.match(r"[\w.-]+", entry)[0]) for entry in entries}  # type: ignore[index]
    whole = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {
        match for match in re.findall(r"^[\w.-]+==[^\s;]+", lock, re.MULTILINE) if "setuptools" not in match
    }
    assert pins <= set(re.findall(r"^[\w.-]+==[^\s;]+", whole, re.MULTILINE)), "run make lock"


@pytest.mark.parametrize("name", ["pickle", "xml.etree.ElementTree", "shelve", "marshal", "tarfile"])
def test_readers_that_trust_their_input_are_not_imported(name: str) -> None:
    allowed = {
        "pickle": {"unpickle.py", "checkpoint.py"},
        "xml.etree.ElementTree": {
            "voc.py",
            "cvat.py",
        },  # the parser is expat's, which refuses a document type
        # Members are listed and read, never extracted; the second archive's digest is pinned.
        "tarfile": {"webdataset.py", "web_runtime.py"},
    }.get(name, set())
    pattern = re.compile(rf"^\s*(?:import {re.escape(name)}\b|from {re.escape(name)} import)", re.MULTILINE)
    found = {f.name for f in (ROOT / "src").rglob("*.py") if pattern.search(f.read_text(encoding="utf-8"))}
    assert found <= allowed
