"""Exports that are made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exports(base: Path, run_folder: Path) -> Path:
    """What everything.py writes: a folder for each model, and the finished run as `run-onnx` and `run-torch`."""
    out = base / "exports"
    out.mkdir()
    script = Path(__file__).with_name("everything.py")
    words = [sys.executable, str(script), str(out), str(run_folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return out
