"""Each page of a method, a loss or a strategy says for each equation which code computes it and where it differs, and
each equation is held to an independent slow form."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from equation_tables import (
    HEADER,
    PAGES,
    ROOT,
    Row,
    every_row,
    faults_of_forms,
    faults_of_lines,
    held_forms,
    registry,
    resolved,
    rows_of,
)

from labelwise.losses import functional
from labelwise.registry import LOSSES, STRATEGIES, list_methods

ROWS, FORMS = every_row(), registry()
PLACE = ROOT / "docs/methods/made-up.md"


def test_every_page_has_a_table() -> None:
    pages = {row.page for row in ROWS}
    assert [page.name for page in PAGES if page.relative_to(ROOT).as_posix() not in pages] == []


def test_every_method_stands_on_a_page_with_a_table() -> None:
    pages = [page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "methods"]
    with_table = [text for text in pages if HEADER in text]
    assert [name for name in list_methods() if not any(f"`{name}`" in text for text in with_table)] == []


def rows_on(page: str) -> list[Row]:
    return [row for row in ROWS if row.page == page]


def test_every_strategy_has_its_row() -> None:
    """Under its name, and of the class that the name stands for."""
    tested: dict[str, list[Any]] = {}
    for row in rows_on("docs/partial-labels.md"):
        name = row.equation.partition(":")[0]
        tested.setdefault(name, []).extend(resolved(file, line.partition(".")[0]) for file, line in row.lines)
    assert {name: set(objects) for name, objects in tested.items()} == {
        name: {strategy} for name, strategy in STRATEGIES.items()
    }


def test_every_loss_has_its_row_or_states_its_equation() -> None:
    """In its docstring, with source and differences; a test of its module is then its slow form."""
    listed = {row.equation.partition(":")[0] for row in rows_on("docs/losses.md")}
    assert {"asl", "bce", "two-way"} <= listed
    assert any("mean_known" in name for name in listed)
    for name in set(LOSSES) - listed:
        text, module = inspect.getdoc(LOSSES[name]) or "", LOSSES[name].__module__.rpartition(".")[2]
        assert re.search(r"^ {4}\S.* = ", text, re.MULTILINE), f"no equation of {name}"
        assert "\nSource: " in text, name
        assert "\nDiffers: " in text, name
        test = (ROOT / "tests" / "losses" / f"test_{module}.py").read_text(encoding="utf-8")
        assert "def test_it_equals_a_slow_form" in test, name


def test_every_line_leads_to_code() -> None:
    assert faults_of_lines(ROWS) == []
    assert resolved("src/labelwise/losses/functional.py", "asymmetric") is functional.asymmetric


def test_every_equation_has_a_slow_form() -> None:
    assert faults_of_forms(ROWS, FORMS) == []


def test_nothing_unverified_is_said() -> None:
    assert [page.name for page in PAGES if "recalled" in page.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("form", held_forms(FORMS))
def test_the_slow_form_agrees(form: str) -> None:
    module, _, name = form.partition(".")
    slow: Callable[[], Iterator[tuple[float, float]]] = getattr(import_module(module), name)
    close = getattr(slow, "close", 1e-9)
    pairs = list(slow())
    assert pairs
    assert [(actual, expected) for actual, expected in pairs if not abs(actual - expected) <= close] == []


def made_up(equation: str, line: str, differs: str = "none") -> list[Row]:
    text = f"# A page\n\n{HEADER}\n|---|---|---|\n| {equation} | {line} | {differs} |\n\n| other | table |\n"
    return rows_of(PLACE, text)


GOOD = "[functional.py](../../src/labelwise/losses/functional.py) `focal`, `asymmetric`"


def test_a_row_is_read_with_its_bars() -> None:
    (row,) = made_up("`a = \\|b\\|`", GOOD)
    assert row.equation == "a = \\|b\\|"
    file = "src/labelwise/losses/functional.py"
    assert row.lines == ((file, "focal"), (file, "asymmetric"))
    assert faults_of_lines([row]) == []


@pytest.mark.parametrize(
    ("line", "differs", "says"),
    [
        ("none", "none", "no line"),
        (GOOD, "", "no word on differences"),
        (GOOD.replace("`focal`", "`fokal`"), "none", "no fokal in src/labelwise/losses/functional.py"),
        (GOOD.replace("functional.py)", "gone.py)"), "none", "no focal in src/labelwise/losses/gone.py"),
        (GOOD.replace("`focal`, `asymmetric`", ""), "none", "no name in src/labelwise/losses/functional.py"),
        (GOOD.replace("`focal`", "`reduce.away`"), "none", "no reduce.away in"),
    ],
)
def test_a_line_that_leads_nowhere_is_a_fault(line: str, differs: str, says: str) -> None:
    assert any(says in fault for fault in faults_of_lines(made_up("`a = b`", line, differs)))


@pytest.mark.parametrize(
    ("equation", "form", "says"),
    [
        ("a = c", "slow_losses.focal", "no slow form: docs/methods/made-up.md: a = b"),
        ("a = c", "slow_losses.focal", "no such equation: docs/methods/made-up.md: a = c"),
        ("a = b", "slow_losses.gone", "no such function: slow_losses.gone"),
        ("a = b", "tests/losses/test_functional.py::test_gone", "no such test"),
        ("a = b", "tests/losses/gone.py::test_hand_values", "no such test"),
        ("a = b", "tests/data/test_splits.py::test_gone", "no such test"),
    ],
)
def test_an_equation_that_nothing_holds_is_a_fault(equation: str, form: str, says: str) -> None:
    rows = made_up("`a = b`", GOOD)
    faults = faults_of_forms(rows, {("docs/methods/made-up.md", equation): form})
    assert any(fault.startswith(says) for fault in faults), faults


def test_an_equation_with_a_form_is_no_fault() -> None:
    for form in ("slow_losses.focal", "tests/losses/test_functional.py::test_hand_values"):
        assert faults_of_forms(made_up("`a = b`", GOOD), {("docs/methods/made-up.md", "a = b"): form}) == []


def test_options_that_the_pages_name_are_settings() -> None:
    """`loss.detach_focal=false` and its like are options of the parts that they are of."""
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rooms = "extractor|relation|classifier|loss|unknown|contrast|blending|pseudo|continual"
    named = {match for row in ROWS for match in re.findall(rf"\b({rooms})\.(?!name\b)(\w+)=", row.differs)}
    assert ("unknown", "margin_corrected") in named
    missing = [
        f"{section}.{option}"
        for section, option in named
        if not {f"| `{option}` |", f"| `{section}.{option}` |"} & set(re.findall(r"\| `[\w.]+` \|", written))
    ]
    assert missing == []
