"""Rules of the house: who may import whom, sizes of files, docstrings, and no path of one machine."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from longest_files import LONGEST

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelwise"
MODULES = sorted(SOURCE.rglob("*.py"))

ROOMS = runpy.run_path(str(ROOT / "docs" / "rooms.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_module = pytest.mark.parametrize("path", MODULES, ids=place)


def test_the_import_rule_sees_every_form() -> None:
    code = (
        "import labelwise.a.b\nfrom labelwise import c\ndef f():\n  from labelwise.d.e import g\nimport torch"
    )
    assert list(ROOMS["imported"](ast.parse(code))) == ["a", "c", "d"]


def test_rooms_import_only_what_lies_below() -> None:
    edges = ROOMS["imports"]()
    assert set(edges) == set(ROOMS["ORDER"]), "every room has a place in the layers of docs/rooms.py"
    assert len(set(ROOMS["ORDER"])) == len(ROOMS["ORDER"])
    above = {room: lows - ROOMS["allowed"](room) for room, lows in edges.items()}
    assert {room: lows for room, lows in above.items() if lows} == {}


def test_the_drawing_of_the_rooms_is_of_today() -> None:
    drawn = (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    assert drawn == ROOMS["drawing"](ROOMS["imports"]()), "run: python docs/rooms.py"


def public_parts(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The module, its public functions and classes, and the classes' public methods."""
    yield "the module", tree
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                        yield f"{node.name}.{part.name}", part


@every_module
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [name for name, node in public_parts(tree) if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert silent == []


def test_files_are_small() -> None:
    sizes = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > 300} == {}
    assert median(sizes.values()) <= 175


def test_files_that_are_said_to_take_longest_exist() -> None:
    assert set(LONGEST) <= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(set(LONGEST)) == len(LONGEST)


def test_files_of_the_fast_tests_exist() -> None:
    listed = (ROOT / "tests" / "fast.txt").read_text(encoding="utf-8").split()
    assert [name for name in listed if not (ROOT / name).exists()] == []
    assert len(set(listed)) == len(listed)
    assert {"data", "extractors", "losses", "metrics", "training", "cli"} <= {
        Path(n).parts[1] for n in listed
    }


# A folder of somebody's machine; not a part of an address or of a relative path.
MACHINE_PATH = re.compile(r"(?<![\w.:/~{}-])/(?:home|work|tmp|root|Users|mnt|scratch)/\w|\b[A-Z]:\\Users\\")
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".csv", ".j2", ".css", ".js", ".cfg", ""}


def test_the_pattern_of_machine_paths() -> None:
    for sign in ("home", "work", "tmp", "Users"):
        assert MACHINE_PATH.search(f'open("/{sign}/me/data.csv")')
    for fine in ("https://example.org/home/page", "src/work/x", "runs/tmp/a", "a/home/b"):
        assert not MACHINE_PATH.search(fine)


def test_no_file_names_a_machines_folder() -> None:
    places = [ROOT / name for name in ("src", "tests", "docs", "recipes", "benchmarks", "results")]
    files = [p for folder in places if folder.is_dir() for p in folder.rglob("*")]
    files += [p for p in ROOT.iterdir() if p.suffix in {".md", ".toml", ".txt"} or p.name == "Makefile"]
    found = []
    for path in files:
        if not path.is_file() or path.suffix not in TEXTS or "__pycache__" in path.parts:
            continue
        if any(part.endswith(".egg-info") for part in path.parts):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{place(path)}:{n}" for n, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    assert found == []


PRIVATE_TERMS = {
    "told",
    "found",
    "tells",
    "says",
    "asks",
    "asked",
    "asking",
    "gives",
    "drawn",
    "anew",
    "stead",
}
"""Words that say nothing of what a name holds or does."""
PUBLISHED = {"told": {"c_tran.py"}, "found_inf": {"optim.py"}}
"""Names that settings of runs or torch prescribe, with the files that use them."""


def names_of(tree: ast.AST) -> Iterator[str]:
    """Names that a module defines or uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute):
            yield node.attr


@every_module
def test_names_are_terms_of_the_field(path: Path) -> None:
    names = set(names_of(ast.parse(path.read_text(encoding="utf-8"))))
    kept = {name for name, files in PUBLISHED.items() if path.name in files}
    assert [name for name in sorted(names - kept) if PRIVATE_TERMS & set(name.split("_"))] == []


def test_files_are_replaced_by_one_writer() -> None:
    """`os.replace` of a part is written once; other modules move what is damaged or chosen."""
    moving = {place(path) for path in MODULES if re.search(r"\bos\.(?:replace|link)\(", path.read_text())}
    assert moving == {
        "src/labelwise/collection/taught_run.py",
        "src/labelwise/data/wholefile.py",
        "src/labelwise/export/exporting.py",
        "src/labelwise/training/checkpoint.py",
    }
