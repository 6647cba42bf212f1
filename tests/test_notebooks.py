"""The tutorials run as notebooks, each in an empty folder, on small scenes that their first cell makes."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from documents import ROOT, small
from labelwise.cli import app

Notebook: TypeAlias = Any
SCRIPT = runpy.run_path(str(ROOT / "docs" / "notebooks.py"))
NOTEBOOKS: dict[str, Notebook] = {page.stem: SCRIPT["notebook"](page) for page in SCRIPT["PAGES"]}
# Commands run inside the kernel, which loads PyTorch once; a failed one stops the notebook.
IN_KERNEL = """
import os, shlex
from typer.testing import CliRunner
from labelwise.cli import app

def system(line):
    words = shlex.split(line)
    assert words[0] == "labelwise"
    done = CliRunner().invoke(app, words[1:])
    print(done.output)
    if done.exit_code:
        raise RuntimeError(f"{line}: {done.exception!r}")

get_ipython().system = system
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """A kernel for all notebooks, with settings and history of its own."""
    folder = str(tmp_path_factory.mktemp("jupyter"))
    own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), folder)
    manager = KernelManager()
    manager.start_kernel(env=os.environ | own | {"PYTHONPATH": os.pathsep.join(sys.path)})
    yield manager
    manager.shutdown_kernel(now=True)


def run(kernel: KernelManager, folder: Path, cells: list[Notebook]) -> Notebook:
    """The cells of code with their outputs, run in a folder with the small stand-ins of the tests."""
    cells = [new_code_cell(small(cell.source)) for cell in cells if cell.cell_type == "code"]
    made = new_notebook(cells=[new_code_cell(f"%cd -q {folder}"), *cells])
    return NotebookClient(made, km=kernel, timeout=300).execute()


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_tutorial_runs(kernel: KernelManager, tmp_path: Path, name: str) -> None:
    run(kernel, tmp_path, [new_code_cell(IN_KERNEL), *NOTEBOOKS[name].cells])
    for cell in NOTEBOOKS[name].cells:  # what a notebook shows is there
        if cell.source.startswith("from IPython.display import IFrame"):
            assert (tmp_path / cell.source.split('"')[1]).stat().st_size > 5_000
    if name == "compare":
        _unsplit(tmp_path)


def _unsplit(folder: Path) -> None:
    """Seeds with splits of their own are not compared."""
    plan = (folder / "plan.yaml").read_text(encoding="utf-8")
    (folder / "unsplit.yaml").write_text(plan.replace("parquet:split.parquet", f"csv:{folder}/labels.csv"))
    words = ["sweep", "--config", f"{folder}/unsplit.yaml", "--out", f"{folder}/unsplit", "--against", "dlfl"]
    done = CliRunner().invoke(app, words)
    assert "without splits, for seeds 0, 1" in str(done.exception)
    assert "labelwise data split" in str(done.exception)


def test_commands_find_the_program_through_the_shell(kernel: KernelManager, tmp_path: Path) -> None:
    setup, check = [cell for cell in NOTEBOOKS["your-csv"].cells if cell.cell_type == "code"][:2]
    done = run(
        kernel, tmp_path, [new_code_cell("get_ipython().system = get_ipython().system_piped"), setup, check]
    )
    printed = "".join(output.text for output in done.cells[-1].outputs)
    assert "sign" not in printed
    assert "40 rows, 40 images kept" in printed


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_notebook_is_valid_and_whole(name: str) -> None:
    nbformat.validate(NOTEBOOKS[name])
    text = (ROOT / "docs/tutorials" / f"{name}.md").read_text(encoding="utf-8")
    code = "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "code")
    assert code.count("!labelwise ") == text.count("$ labelwise ") > 0
    words = "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")
    assert "](../" not in words
    assert "$ labelwise" not in words
    pictures = [cell for cell in NOTEBOOKS[name].cells if "](attachment:" in cell.source]
    assert len(pictures) >= 1, "a tutorial ends in something to look at"
    assert all(cell.attachments for cell in pictures)
