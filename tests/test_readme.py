"""Every command of the README and the first pages is run, in their order, on small photographs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
import typer
from typer.testing import CliRunner

import tiny_runs
from documents import PAPERS, ROOT, SMALL, commands, photographs, small
from labelwise.cli import app

Result: TypeAlias = Any
README = ROOT / "README.md"
PAGES = [README, ROOT / "docs" / "index.md", ROOT / "docs" / "start.md"]
COMMANDS = [
    list(words) for words in dict.fromkeys(tuple(words) for page in PAGES for words in commands(page))
]
PROGRAM = [words for words in COMMANDS if words[0] == "labelwise"]


def invoke(words: list[str]) -> Result:
    if words[0] != "export":
        return CliRunner().invoke(app, words)
    # Apart from the shape checks of the tests, which torch.export cannot trace through.
    done = tiny_runs.forked(*words)
    return SimpleNamespace(exit_code=done.code, output=done.err, stdout=done.out, exception=None)


async def nothing(*_: object, **__: object) -> None:
    """What a server does that is told to stop at once."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Result]]:
    folder = tmp_path_factory.mktemp("readme")
    photographs(folder)
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("uvicorn.Server.serve", nothing)  # a server would stay
        for words in PROGRAM:
            line = shlex.join(words)
            results[line] = invoke(shlex.split(small(line))[1:])
    return folder, results


def test_nothing_but_make_and_the_program_is_shown() -> None:
    assert {words[0] for words in COMMANDS} == {"make", "labelwise"}


def test_each_substitution_is_of_something_that_is_shown() -> None:
    pages = [*PAGES, *(ROOT / "docs/tutorials").glob("*.md"), ROOT / "docs/notebooks.py"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert [written for written in SMALL if written not in text] == []


# The make commands are what CI itself runs: here it is enough that each is a target.
@pytest.mark.parametrize("target", [words[1] for words in COMMANDS if words[0] == "make"])
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_only_commands_of_the_program_are_named() -> None:
    program = typer.main.get_command(app).commands
    pages = [page for page in PAPERS if page.name != "CHANGELOG.md"]
    named = {
        word
        for page in pages
        for word in re.findall(r"`labelwise ([a-z]+)", page.read_text(encoding="utf-8"))
    }
    assert named - set(program) == set()


@pytest.mark.parametrize("line", [shlex.join(words) for words in PROGRAM])
def test_command_runs(ran: tuple[Path, dict[str, Result]], line: str) -> None:
    result = ran[1][line]
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


def test_what_the_readme_promises_is_there(ran: tuple[Path, dict[str, Result]]) -> None:
    folder, results = ran
    assert (folder / "runs/mine/report.html").stat().st_size > 10_000
    assert (folder / "predictions.csv").is_file()
    judged = next(
        r for line, r in results.items() if line.startswith("labelwise evaluate") and "--json" in line
    )
    assert {"dog", "person", "car"} == set(json.loads(judged.stdout)["per_label"])
    listed = CliRunner().invoke(app, ["methods"]).stdout
    table = re.findall(r"^\| (`.+?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {name for cell in table for name in re.findall(r"`([\w-]+)`", cell)}
    assert shown == {line.split()[0] for line in listed.splitlines()}
