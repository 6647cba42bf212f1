"""Exports made once for all processes of the tests: the graphs of all models, and those of a finished run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

import tiny_runs
from onnx_operators import share_operators


@pytest.fixture(autouse=True, scope="session")
def _shared_operators() -> None:
    share_operators()


def _once(base: Path, name: str, *arguments: Path) -> Path:
    """The folder that everything.py writes in a separate process, started by the first caller."""
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(out.with_suffix(".lock")):
        if not out.exists():
            part = out.with_suffix(".part")
            part.mkdir()
            script = Path(__file__).with_name("everything.py")
            done = tiny_runs.forked(part, *arguments, script=script)
            assert done.code == 0, done.err[-3000:]
            part.rename(out)
    return out


@pytest.fixture(scope="session")
def graphs(base: Path) -> Path:
    """A folder for each method and each family of backbones."""
    return _once(base, "graphs")


@pytest.fixture(scope="session")
def exports(base: Path, run_folder: Path) -> Path:
    """The finished run as `run-onnx` and `run-torch`, and two with other views."""
    return _once(base, "exports", run_folder)
