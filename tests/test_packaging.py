"""What the package says of itself: version, licence, citation, templates and checks agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.licenses import canonicalize_license_expression
from typer.testing import CliRunner

import labelwise
from labelwise.cli import app

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_one_version_everywhere() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', PROJECT, re.MULTILINE)
    assert labelwise.__version__ == version == loaded("CITATION.cff")["version"]
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, f"labelwise {version}")


def test_one_licence_everywhere() -> None:
    (licence,) = re.findall(r'^license = "(.+)"$', PROJECT, re.MULTILINE)
    assert canonicalize_license_expression(licence) == licence == loaded("CITATION.cff")["license"]
    assert "License ::" not in PROJECT  # forbidden beside an expression
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_citation_has_what_the_format_requires() -> None:
    citation = loaded("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all(set(author) == {"name"} for author in citation["authors"])


def test_hooks_check_what_make_lint_checks() -> None:
    ((repo,),) = (loaded(".pre-commit-config.yaml")["repos"],)
    assert repo["repo"] == "local"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    linted = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert linted
    commands = [
        line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .") for line in linted[1].splitlines()
    ]
    assert [hook["entry"] for hook in repo["hooks"]] == commands


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_issue_forms_have_the_fields_of_a_form(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    fields = [field["id"] for field in form["body"]]
    assert len(set(fields)) == len(fields) > 1
    assert all(
        field["type"] in ("input", "textarea") and field["attributes"]["label"] for field in form["body"]
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_shells_complete_commands(shell: str) -> None:
    program = "import sys; sys.argv[0] = 'labelwise'\nfrom labelwise.cli import main; main()"
    typed = {
        "_LABELWISE_COMPLETE": f"complete_{shell}",
        **{"COMP_WORDS": "labelwise eval", "COMP_CWORD": "1"},
        **{"_TYPER_COMPLETE_ARGS": "labelwise eval", "_TYPER_COMPLETE_WORD_TO_COMPLETE": "eval"},
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | typed
    )
    assert re.findall(r"\b(evaluate|train|data)\b", done.stdout)[0] == "evaluate", done.stderr
    assert "train " not in done.stdout
