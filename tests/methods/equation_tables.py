"""Tables 'equation, line, differs' of the documentation, and the slow form that each equation is held to."""

from __future__ import annotations

import ast
import csv
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs/methods").glob("*.md")),
    *(ROOT / "docs" / name for name in ("losses.md", "partial-labels.md", "continual.md", "distillation.md")),
]
HEADER = "| equation | line | differs |"
# Equation by equation, the function of a `slow_*.py` beside this file, or the test that holds a slow form.
REGISTRY = Path(__file__).with_name("slow_forms.csv")
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)((?:,?\s*`[\w.]+`)*)")


@dataclass(frozen=True)
class Row:
    """One equation.

    Args:
        page: the page, from the folder of the repository.
        equation: its text without marks of code.
        lines: file, from the folder of the repository, and name of each object that computes it.
        differs: from what was published.
    """

    page: str
    equation: str
    lines: tuple[tuple[str, str], ...]
    differs: str


def rows_of(page: Path, text: str) -> list[Row]:
    """Rows of the tables of a page."""
    rows: list[Row] = []
    inside = False
    for line in text.splitlines():
        inside = line.startswith("|") and (inside or line == HEADER)
        if not inside or line == HEADER or set(line) <= set("|- "):
            continue
        equation, where, differs = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
        lines = [
            ((page.parent / target).resolve().relative_to(ROOT).as_posix(), name)
            for target, names in LINK.findall(where)
            for name in re.findall(r"`([\w.]+)`", names) or [""]
        ]
        rows.append(Row(page.relative_to(ROOT).as_posix(), equation.replace("`", ""), tuple(lines), differs))
    return rows


def every_row() -> list[Row]:
    """Rows of all pages."""
    return [row for page in PAGES for row in rows_of(page, page.read_text(encoding="utf-8"))]


def resolved(file: str, name: str) -> object:
    """The object of this name in a module of the package, `None` where there is none."""
    target: object = None
    if file.startswith("src/") and (ROOT / file).is_file() and name:
        target = import_module(file.removeprefix("src/").removesuffix(".py").replace("/", "."))
        for part in name.split("."):
            target = getattr(target, part, None)
    return target


def faults_of_lines(rows: list[Row]) -> list[str]:
    """Rows that link to nothing, or say nothing of a difference."""
    faults = [f"{row.page}: {row.equation}: no line" for row in rows if not row.lines]
    faults += [f"{row.page}: {row.equation}: no word on differences" for row in rows if not row.differs]
    return faults + [
        f"{row.page}: no {name or 'name'} in {file}"
        for row in rows
        for file, name in row.lines
        if resolved(file, name) is None
    ]


def registry() -> dict[tuple[str, str], str]:
    """The slow form of each page's equation."""
    with REGISTRY.open(encoding="utf-8", newline="") as file:
        return {(line["page"], line["equation"]): line["form"] for line in csv.DictReader(file)}


def held_forms(forms: dict[tuple[str, str], str]) -> list[str]:
    """Those that stand in a `slow_*.py`."""
    return sorted({form for form in forms.values() if "::" not in form})


def faults_of_forms(rows: list[Row], forms: dict[tuple[str, str], str]) -> list[str]:
    """Equations without a slow form, slow forms without an equation, and forms that are not there."""
    listed = [(row.page, row.equation) for row in rows]
    faults = [
        f"no slow form: {page}: {equation}" for page, equation in listed if (page, equation) not in forms
    ]
    faults += [
        f"no such equation: {page}: {equation}" for page, equation in forms if (page, equation) not in listed
    ]
    for row in rows:
        form = forms.get((row.page, row.equation), "")
        if "::" in form and not _holds(form, row):
            faults.append(f"no such test, or none of {row.lines}: {form}")
        elif form and "::" not in form:
            module, _, name = form.partition(".")
            if not callable(getattr(import_module(module), name, None)):
                faults.append(f"no such function: {form}")
    return faults


def _holds(form: str, row: Row) -> bool:
    """Whether the test is there, in a file that names what the row links to."""
    file, _, name = form.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    said = _squashed(file + text)
    tests = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    # A private part is tested through the public one of its module.
    names = {part.partition(".")[0] for _, part in row.lines} | {Path(target).stem for target, _ in row.lines}
    return name in tests and any(_squashed(name_in_row) in said for name_in_row in names)


def _squashed(text: str) -> str:
    return text.replace("_", "").lower()
