"""Exports that are made once, for all processes of the tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exports(base: Path, run_folder: Path) -> Path:
    """What everything.py writes: a folder for each model, and the finished run as `run-onnx` and `run-torch`."""
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    with out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            part = out.with_suffix(".part")
            part.mkdir()
            script = Path(__file__).with_name("everything.py")
            words = [sys.executable, str(script), str(part), str(run_folder)]
            done = subprocess.run(
                words, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
            )
            assert done.returncode == 0, done.stderr[-3000:]
            part.rename(out)
    return out
