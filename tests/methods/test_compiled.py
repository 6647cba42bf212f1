"""With `compile: true`, every method is traced once, whatever the epoch changes in its terms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelwise.registry import list_methods


@pytest.fixture(scope="module")
def graphs() -> dict[str, list[int]]:
    words = [sys.executable, str(Path(__file__).with_name("compiled.py"))]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_no_graph_is_made_after_the_first_epoch(graphs: dict[str, list[int]]) -> None:
    assert {name.split(",")[0] for name in graphs} == set(list_methods())
    assert {name: found for name, found in graphs.items() if any(found[1:])} == {}


def test_the_model_and_its_loss_are_a_graph_each(graphs: dict[str, list[int]]) -> None:
    for name, (first, *_) in graphs.items():
        assert 1 <= first <= 2, name
