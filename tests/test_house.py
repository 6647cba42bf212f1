"""Rules of the house: who may import whom, sizes of files, docstrings, and no path of one machine."""

from __future__ import annotations

import ast
import re
import runpy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import pytest

from longest_files import LONGEST

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelwise"
MODULES = sorted(SOURCE.rglob("*.py"))

FOLDERS = ("benchmarks", "studies", "tools")
"""Of scripts: speed and memory, accuracy, and checks of the project."""
SCRIPTS = {place: sorted((ROOT / place).glob("*.py")) for place in FOLDERS}

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
    places = [ROOT / name for name in ("src", "tests", "docs", "recipes", "results", *FOLDERS)]
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
        "src/labelwise/data/wholefile.py",
        "src/labelwise/export/exporting.py",
        "src/labelwise/training/checkpoint.py",
    }


PROTOCOLS = {
    "read": ("data/readers/", "a reader of one kind of SOURCE, and `labelwise.read`, which calls it"),
    "recognises": ("data/readers/", "whether a reader reads a path"),
    "write": ("data/writers/", "a writer of one form"),
    "build": ("methods/", "the model and loss of one method"),
}
"""Functions that many modules of one folder define with one meaning."""
COMMANDS = {"audit", "check", "convert", "embed", "evaluate", "pack", "teach", "train", "tune"}
"""Commands, each beside the one function of the library that it calls."""


def ambiguous(defined: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names that several modules define, but for the protocols and the commands with their functions."""
    return {
        name: modules
        for name, modules in defined.items()
        if len(modules) > 1
        and not (name in PROTOCOLS and all(m.startswith(PROTOCOLS[name][0]) for m in modules))
        and not (name in COMMANDS and len(modules) == 2 and sum(m.startswith("cli/") for m in modules) == 1)
    }


def test_no_class_or_function_is_defined_twice_with_two_meanings() -> None:
    defined: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for name, node in public_parts(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and "." not in name:
                defined[name].append(path.relative_to(SOURCE).as_posix())
    assert ambiguous(defined) == {}, "rename one to what it holds or does, or make both one"
    assert [n for n in sorted(COMMANDS | set(PROTOCOLS)) if len(defined[n]) < 2] == [], "listed for nothing"


def test_a_second_meaning_of_a_name_is_found() -> None:
    twice = {"Row": ["data/a.py", "serving/b.py"], "train": ["cli/train.py", "training/fit.py"]}
    assert set(ambiguous(twice)) == {"Row"}
    assert set(ambiguous({"train": [*twice["train"], "audit/audit.py"]})) == {"train"}
    assert set(ambiguous({"read": ["data/readers/csv.py", "rules/file.py"]})) == {"read"}
    assert ambiguous({"build": ["methods/dlfl.py", "methods/dsrb.py"], "fit": ["training/fit.py"]}) == {}


every_script = pytest.mark.parametrize("path", [p for paths in SCRIPTS.values() for p in paths], ids=place)
every_folder = pytest.mark.parametrize("folder", FOLDERS)
PROGRAM = 'if __name__ == "__main__":'
HELP = "argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)"


@every_script
def test_a_script_says_what_it_measures_and_how_it_is_run(path: Path) -> None:
    """A module that scripts share says for which; `--help` of a script is its docstring and its options."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    compile(tree, str(path), "exec")
    lines = (ast.get_docstring(tree) or "").splitlines()
    assert lines, "no docstring"
    assert lines[0].endswith((".", "?")), "the first line is a whole sentence"
    if PROGRAM in text:
        runs = [line for line in lines if f"python {place(path)}" in line]
        assert runs, f"no line: Run: python {place(path)} ..."
        assert all(re.match("Run: |     ", line) for line in runs)
        assert text.count(HELP) == 1
    else:
        others = [p.read_text(encoding="utf-8") for p in SCRIPTS[path.parent.name] if p != path]
        assert any(f"from {path.stem} import" in other or path.name in other for other in others), (
            "used by none"
        )


@every_folder
def test_the_page_of_a_folder_lists_its_scripts(folder: str) -> None:
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 25
    assert set(re.findall(r"\]\((\w+\.py)\)", page)) == {path.name for path in SCRIPTS[folder]}
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert [link for link in links if not (ROOT / folder / link).exists()] == []
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert [row for row in rows if not re.search(r"\.\./(?:results|docs)/|CONTRIBUTING", row)] == [], (
        "no figures"
    )


@every_folder
def test_a_page_or_the_log_names_every_script(folder: str) -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "results" / "LOG.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    programs = [path for path in SCRIPTS[folder] if PROGRAM in path.read_text(encoding="utf-8")]
    assert [path.name for path in programs if place(path) not in text] == []
    assert set(re.findall(rf"(?<!\w/)\b{folder}/\w+\.py", text)) <= {place(path) for path in SCRIPTS[folder]}


@every_script
def test_what_a_script_imports_of_the_project_exists(path: Path) -> None:
    """Without importing it: scripts are run by hand, and a name that moved would be noticed late."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        stem = node.module.replace(".", "/")
        found = [f for f in (ROOT / "src" / f"{stem}.py", ROOT / "src" / stem / "__init__.py") if f.is_file()]
        found += [p for paths in SCRIPTS.values() for p in paths if p.stem == stem]
        text = "".join(file.read_text(encoding="utf-8") for file in found)
        inside = {p.stem for p in (ROOT / "src" / stem).glob("*")}
        own = [n.name for n in node.names if n.name not in inside]
        assert found or not stem.startswith("labelwise"), f"no module {node.module}"
        assert not found or [name for name in own if not re.search(rf"\b{name}\b", text)] == []
