"""The page's sections by group and its choices within exclusive groups, against those of the library."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from labelwise.inference.prediction import Prediction
from labelwise.labels import Group
from page_script import called_in_node

GROUPS = {
    "colour": Group(("red", "blue", "green")),
    "age": Group(("young", "adult", "old"), exclusive=True),
    "worn": Group(("hat", "old", "blue")),
}
NAMES = ["red", "blue", "green", "young", "adult", "old", "hat", "bag"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js to run the page's script")
def test_the_page_groups_and_chooses_as_the_library_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for _ in range(100):
        scores = dict(
            zip(NAMES, np.round(rng.random(8) ** rng.choice([0.01, 1, 40]), 15).tolist(), strict=True)
        )
        ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
        prediction = Prediction("", ranked, dict.fromkeys(NAMES, 0.0), groups=GROUPS)
        cases.append(list(ranked.items()))
        expected.append((prediction.by_group(), prediction.choices["age"]))
    groups = [{"name": n, "labels": g.labels, "exclusive": g.exclusive} for n, g in GROUPS.items()]
    expression = (
        "given.cases.map((c) => [byGroup(given.groups, c.map(([name]) => name)), "
        "[...shares(given.groups[1].labels, new Map(c))]])"
    )
    given = {"groups": groups, "cases": cases}
    answers = called_in_node(tmp_path, "groups.js", "byGroup, shares", expression, given)
    for (sections, shares), (by_group, choices) in zip(answers, expected, strict=True):
        assert {section["name"]: section["labels"] for section in sections} == by_group
        assert [section["exclusive"] for section in sections] == [name == "age" for name in by_group]
        assert dict(shares) == pytest.approx(choices, rel=1e-9, abs=1e-15)
