"""Rules: what is refused, what stays of them among fewer labels, and the search for sets that keep them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from drawn_rules import NAMES, every_set, keeps, rules
from labelwise.errors import LabelwiseError
from labelwise.rules import Rules, Search, read_rules
from labelwise.types import Group, LabelSet

# Types are checked with random numbers of their own.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
TREE = {
    "LabelName": "/m/all",
    "Subcategory": [
        {
            "LabelName": "animal",
            "Subcategory": [
                {"LabelName": "mammal", "Subcategory": [{"LabelName": "dog"}, {"LabelName": "cat"}]},
                {"LabelName": "bird"},
            ],
        },
        {"LabelName": "car", "Part": [{"LabelName": "wheel"}]},
    ],
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "implies: {dog: animal, animal: mammal, mammal: dog}",
            r"r\.yaml: rules in a cycle: .*dog.*; expected implications that end; remove one$",
        ),
        ("implies: {dog: dog}", r"rules in a cycle: dog, dog"),
        ("implies: {dog: beast}", r"r\.yaml: a rule on the label 'beast'; expected one of: animal, mammal"),
        ("at_most_one: [[dog, dgo]]", r"r\.yaml: a rule on the label 'dgo'; expected one of"),
        ("at_most_one: [[dog]]", r"at_most_one of dog; expected two or more distinct labels"),
        ("exactly_one: [[dog, dog]]", r"exactly_one of dog, dog; expected two or more distinct labels"),
        (
            "implies: {dog: animal}\nat_most_one: [[dog, animal]]",
            r"rules under which 'dog' can never be present; expected rules that can all be kept",
        ),
        (
            "exactly_one: [[dog, cat], [dog, bird], [cat, bird]]",
            r"rules under which 'dog' can never be present",
        ),
        (
            # Each label alone is possible: the first group takes two of them, which the last forbids.
            "exactly_one: [[dog, cat], [bird, car]]\nat_most_one: [[dog, bird], [dog, car], [cat, bird], [cat, car]]",
            r"can never be present|that no image keeps",
        ),
        ("dog: animal", r"rules of kind 'dog'; expected some of implies, exactly_one, at_most_one"),
        ("implies: [dog, animal]", r"rules with implies in another form; expected a mapping"),
        ("at_most_one: [dog, cat]", r"rules with at_most_one in another form; expected lists of labels"),
        ("at_most_one: [[[dog], cat]]", r"rules with at_most_one in another form; expected labels by name"),
        ("implies: {dog: animal}\nimplies: {cat: animal}", r"'implies' twice; expected YAML or JSON"),
        ("implies: {dog: animal, dog: mammal}", r"'dog' twice; expected YAML or JSON"),
        ("implies: {dog: ", r"r\.yaml: .*; expected YAML or JSON; correct the file"),
        ("", r"no rules; expected a mapping with implies, exactly_one, at_most_one"),
        ("implies: {}", r"no rules; expected entries of"),
        ("[" * 200 + "]" * 200, r"r\.yaml: "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(LabelwiseError, match=message) as caught:
        read_rules(file, ("animal", "mammal", "dog", "cat", "bird", "car"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match=r"none\.yaml: No such file"):
        read_rules(tmp_path / "none.yaml", ("a",))


def test_yaml_and_json_say_the_same_and_every_scalar_is_a_name(tmp_path: Path) -> None:
    said = {"implies": {"no": "1", "2": ["1"]}, "at_most_one": [["no", "2"]]}
    (tmp_path / "r.json").write_text(json.dumps(said))
    (tmp_path / "r.yaml").write_text("implies:\n  no: 1\n  2: [1]\nat_most_one:\n  - [no, 2]\n")
    read = [read_rules(tmp_path / name, ("no", "1", "2")) for name in ("r.json", "r.yaml")]
    assert read[0] == read[1] == Rules((("no", "1"), ("2", "1")), (), (("no", "2"),))
    assert Rules.from_json(read[0].to_json()) == read[0]
    labels = LabelSet(("no", "1", "2"), rules=read[0])
    assert LabelSet.from_json(json.loads(json.dumps(labels.to_json()))) == labels


def test_the_hierarchy_of_open_images_speaks_of_the_labels_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "bbox_labels_600_hierarchy.json"
    file.write_text(json.dumps(TREE))
    read = read_rules(file, ("dog", "animal", "car", "sky"))
    assert read == Rules((("dog", "animal"),))  # over the mammal that is not there; the root is no label
    with pytest.raises(LabelwiseError, match=r"a hierarchy of .*; expected one with two labels of the data"):
        read_rules(file, ("sky", "car"))
    file.write_text('{"LabelName": "/m/all", "Subcategory": [{"Name": "dog"}]}')
    with pytest.raises(LabelwiseError, match="a tree of LabelName and Subcategory"):
        read_rules(file, ("dog", "animal"))


def test_fewer_labels_keep_what_still_holds() -> None:
    whole = Rules((("pug", "dog"), ("dog", "animal")), (("day", "night", "dusk"),), (("dog", "cat"),))
    assert whole.among(("pug", "animal", "day", "night", "cat")) == Rules(
        (("pug", "animal"),), (), (("day", "night"),)
    )
    assert not whole.among(("pug", "cat"))


def test_exclusive_groups_are_rules_of_the_label_set() -> None:
    groups = {"time": Group(("a", "b"), True), "region": Group(("b", "c"))}
    labels = LabelSet(NAMES, groups, Rules((("c", "a"),)))
    assert labels.every_rule == Rules((("c", "a"),), (), (("a", "b"),))
    with pytest.raises(LabelwiseError, match="'a' can never be present"):
        LabelSet(NAMES, groups, Rules((("a", "b"),)))


@settings(max_examples=150, deadline=None)
@given(rules())
def test_the_search_finds_every_set_that_keeps_the_rules(some: Rules) -> None:
    indexed = some.over(NAMES)
    expected = every_set(some)
    np.testing.assert_array_equal(indexed.kept(expected), True)
    counts = 1
    for part in indexed.components:
        search = Search(part)
        solutions = {tuple(state[j] for j in part.columns) for state in search.solutions(part.columns)}
        assert search.finished
        assert solutions == {tuple(row) for row in expected[:, list(part.columns)].tolist()}
        counts *= len(solutions)
    free = len(NAMES) - len(indexed.columns)
    assert counts * 2**free == len(expected)
    for child, above in indexed.above.items():
        assert (~expected[:, child] | expected[:, sorted(above)].all(1)).all()


@settings(max_examples=60, deadline=None)
@given(rules())
def test_rules_of_some_labels_follow_from_those_of_all(some: Rules) -> None:
    part = some.among(NAMES[:4])
    for row in every_set(some).tolist():
        assert keeps(part, {n for n, y in zip(NAMES[:4], row, strict=False) if y})
