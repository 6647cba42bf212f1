"""Cells that follow from rules: completed, counted, and never against what is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import labelwise as lw
from drawn_rules import NAMES, every_set, rules
from labelwise.data.check import check
from labelwise.data.dataset import Dataset
from labelwise.data.implied import contradictions, with_rules
from labelwise.data.table import write_table
from labelwise.rules import Rules
from labelwise.types import LabelSet

# Types are checked with random numbers of their own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
STATES = arrays.arrays(np.int8, (5, len(NAMES)), elements=st.sampled_from([-1, -1, 0, 1]))
PETS = Rules((("dog", "animal"), ("pug", "dog")), (("day", "night"),), (("dog", "cat"),))


def table(states: np.ndarray, names: tuple[str, ...] = NAMES, soft: bool = False) -> Dataset:
    """Rows of states: 1, 0, and -1 for unknown."""
    known = states >= 0
    values = np.where(known, states, 0).astype(np.float32 if soft else np.uint8)
    return Dataset(LabelSet(names), pa.array([f"{i}.jpg" for i in range(len(states))]), None, values, known)


def states(data: Dataset) -> np.ndarray:
    return np.where(data.known, data.values.astype(int), -1)


def test_each_kind_of_rule_by_hand() -> None:
    names = ("pug", "dog", "animal", "cat", "day", "night")
    before = [
        [1, -1, -1, -1, 1, -1],  # a pug is a dog is an animal, and no cat
        [-1, -1, 0, -1, 0, -1],  # no animal, no dog, no pug; not day, so night
        [-1, -1, -1, 1, -1, 1],  # a cat is no dog, so no pug
        [-1, 0, -1, -1, -1, -1],  # no dog: the animal stays open
        [1, -1, 0, -1, -1, 1],  # a pug without animal: those stay, night completes its own group
        [-1, -1, -1, -1, 0, 0],  # neither day nor night
    ]
    after = [
        [1, 1, 1, 0, 1, 0],
        [0, 0, 0, -1, 0, 1],
        [0, 0, -1, 1, 0, 1],
        [0, 0, -1, -1, -1, -1],
        [1, -1, 0, -1, 0, 1],
        [-1, -1, -1, -1, 0, 0],
    ]
    done = with_rules(table(np.array(before), names), PETS, "r.yaml")
    assert states(done).tolist() == after
    assert done.notes == (
        "By r.yaml 12 cells are completed: 3 present, 9 absent.",
        "2 images contradict the rules, and the labels that these rules connect are unchanged: "
        "4.jpg: pug without animal; 5.jpg: none of day, night.",
    )
    assert [(c.row, c.reason) for c in contradictions(done)] == [
        (4, "pug without animal"),
        (5, "none of day, night"),
    ]


def test_two_of_a_group_by_what_they_imply_are_named() -> None:
    done = with_rules(table(np.array([[1, -1, -1, 1, -1, -1]]), ("pug", "dog", "animal", "cat", "x", "y")),
                      Rules(PETS.implies, (), PETS.at_most_one))  # fmt: skip
    assert [c.reason for c in contradictions(done)] == ["pug with cat"]


def test_shares_are_known_and_nothing_follows_from_them() -> None:
    rows = table(np.array([[1, 1]]), ("dog", "animal"), soft=True)
    soft = replace(rows, values=np.array([[0.7, 0.2]], np.float32))
    done = with_rules(soft, Rules((("dog", "animal"),)))
    assert done.values.tolist() == soft.values.tolist()
    assert not list(contradictions(done))


@settings(max_examples=80, deadline=None)
@given(rules(), STATES)
def test_completion_is_sound_idempotent_and_changes_no_known_cell(some: Rules, cells: np.ndarray) -> None:
    before = table(cells)
    done = with_rules(before, some)
    np.testing.assert_array_equal(done.known & before.known, before.known)
    np.testing.assert_array_equal(done.values[before.known], before.values[before.known])
    again = with_rules(done, some)
    np.testing.assert_array_equal(states(again), states(done))
    assert f"By the rules {int(done.known.sum() - before.known.sum()):,} cells" in done.notes[0]
    broken = {c.row for c in contradictions(done)}
    assert broken == {c.row for c in contradictions(replace(before, labels=done.labels))}
    sets = every_set(some)
    for i in range(len(cells)):
        fits = sets[((cells[i] < 0) | (sets == (cells[i] == 1))).all(1)]
        if i in broken:
            assert not len(fits)
            continue
        # Completed cells hold in every consistent set; cells implied by single rules are all completed.
        filled = done.known[i]
        assert (fits[:, filled] == (done.values[i, filled] == 1)).all()


@settings(max_examples=60, deadline=None)
@given(rules(), STATES, st.data())
def test_more_known_cells_complete_no_fewer(some: Rules, cells: np.ndarray, data: st.DataObject) -> None:
    # Truths that keep the rules, of which ever more is known.
    sets = every_set(some)
    truth = sets[data.draw(st.lists(st.integers(0, len(sets) - 1), min_size=5, max_size=5))]
    few = cells >= 0
    many = few | (data.draw(STATES) >= 0)
    less, more = (with_rules(table(np.where(mask, truth, -1)), some) for mask in (few, many))
    assert (more.known | ~less.known).all()
    np.testing.assert_array_equal(more.values[more.known], truth[more.known])
    assert not list(contradictions(more))


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A table of five photographs with rules beside it."""
    for i in range(5):
        Image.new("RGB", (16, 16), (40 * i, 9, 9)).save(tmp_path / f"{i}.jpg")
    (tmp_path / "labels.csv").write_text(
        "image,dog,cat,animal\n0.jpg,1,,\n1.jpg,,1,\n2.jpg,1,1,\n3.jpg,0,0,0\n4.jpg,,,0\n"
    )
    (tmp_path / "rules.yaml").write_text("implies: {dog: animal, cat: animal}\nat_most_one: [[dog, cat]]\n")
    return f"csv:{tmp_path / 'labels.csv'}?rules={tmp_path / 'rules.yaml'}"


def test_every_source_takes_rules_and_check_lists_what_contradicts_them(source: str, tmp_path: Path) -> None:
    data = lw.read(source)
    assert states(data).tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, -1], [0, 0, 0], [0, 0, 0]]
    assert data.labels.rules.at_most_one == (("dog", "cat"),)
    report = check(source, near=False)
    assert report.contradictions == [("2.jpg", "dog with cat")]
    assert "By rules.yaml 6 cells are completed: 2 present, 4 absent." in report.notes
    assert (
        report.doubts[0] == "1 image has labels that contradict the rules: correct the labels or the rules."
    )
    assert report.to_json()["contradictions"] == [("2.jpg", "dog with cat")]


def test_a_table_keeps_the_rules_it_was_completed_by(source: str, tmp_path: Path) -> None:
    data = lw.read(source)
    write_table(data, tmp_path / "t.parquet")
    back = lw.read(f"parquet:{tmp_path / 't.parquet'}")
    assert back.labels.rules == data.labels.rules
    assert back.with_labels(("cat", "animal")).labels.rules == Rules((("cat", "animal"),))
    assert back.with_unknown_labels(("sky",)).labels.rules == data.labels.rules
