"""With `compile: true`, every method is traced once, whatever the epoch changes in its terms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_runs
from labelwise.registry import list_methods


@pytest.fixture(scope="module")
def graphs() -> dict[str, list[int]]:
    done = tiny_runs.forked(script=Path(__file__).with_name("compiled.py"))
    assert done.code == 0, done.err[-3000:]
    return json.loads(done.out.splitlines()[-1])


def test_no_graph_is_made_after_the_first_epoch(graphs: dict[str, list[int]]) -> None:
    assert {name.split(",")[0] for name in graphs} == set(list_methods())
    assert {name: counts for name, counts in graphs.items() if any(counts[1:])} == {}


def test_the_model_and_its_loss_are_a_graph_each(graphs: dict[str, list[int]]) -> None:
    for name, (first, *_) in graphs.items():
        assert 1 <= first <= 2, name
