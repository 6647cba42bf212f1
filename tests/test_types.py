"""The currency: label sets, targets and what moves with them."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelwise.errors import LabelwiseError
from labelwise.types import Batch, Group, LabelSet, Targets

names = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6, unique=True)


@given(names)
def test_label_set_survives_json(found: list[str]) -> None:
    labels = LabelSet(tuple(found), {"pair": Group((found[0], found[-1]), exclusive=True)})
    again = LabelSet.from_json(json.loads(json.dumps(labels.to_json())))
    assert again == labels
    assert again.groups["pair"].exclusive
    assert list(again) == found
    assert len(again) == len(found)


@given(names)
def test_index_is_the_column(found: list[str]) -> None:
    labels = LabelSet(tuple(found))
    assert [labels.index(name) for name in found] == list(range(len(found)))


@pytest.mark.parametrize(
    ("given_names", "says"),
    [
        ((), "a label set without labels; expected at least one label; check the label columns"),
        (("cat", "  "), "label name '  '; expected a non-empty text; name every label"),
        (
            ("cat", "dog", "cat"),
            "label 'cat' twice; expected distinct label names; rename or merge one of them",
        ),
    ],
)
def test_bad_names_are_refused(given_names: tuple, says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        LabelSet.from_json({"names": given_names})
    assert str(error.value) == says


def test_group_of_unknown_label_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        LabelSet(("cat",), {"pets": Group(("cat", "dog"))})
    assert (
        str(error.value) == "group 'pets' names 'dog'; expected labels of this label set; correct the group"
    )


def test_unknown_label_names_those_that_there_are() -> None:
    labels = LabelSet(tuple("abcdefghij"))
    with pytest.raises(LabelwiseError) as error:
        labels.index("z")
    assert str(error.value) == "label 'z'; expected one of: a, b, c, d, e, f, g, h, ...; correct the name"


def test_targets_take_nan_and_a_mask_as_unknown() -> None:
    nan = float("nan")
    targets = Targets.of(torch.tensor([[1.0, nan, 0.0]]), torch.tensor([[True, True, False]]))
    assert targets.known.tolist() == [[True, False, False]]
    assert targets.values.tolist() == [[1.0, 0.0, 0.0]]
    assert Targets.of(targets) is targets


def test_targets_of_whole_numbers() -> None:
    targets = Targets.of(torch.tensor([[1, 0]]))
    assert targets.values.dtype == torch.float32
    assert targets.known.all()


def test_rows_of_targets() -> None:
    targets = Targets.of(torch.arange(6).view(3, 2) / 6, torch.tensor([[True, False]] * 3))
    rows = targets[torch.tensor([2, 0])]
    assert len(rows) == 2
    assert rows.values.tolist() == targets.values[[2, 0]].tolist()
    assert rows.known.tolist() == [[True, False]] * 2


def test_shapes_are_checked_during_tests() -> None:
    with pytest.raises(Exception, match="Bool"):
        Targets(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(Exception, match="known"):
        Targets(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))


def test_batch_keeps_what_it_says_of_itself_on_another_device() -> None:
    targets = Targets.of(torch.zeros(1, 2))
    batch = Batch(torch.zeros(1, 8, 2, 2), targets, torch.tensor([5]), True, ((7, "truncated"),))
    moved = batch.to("meta")
    assert moved.images.is_meta
    assert moved.targets.known.is_meta
    assert (moved.is_map, moved.unreadable, moved.index.tolist()) == (True, ((7, "truncated"),), [5])
