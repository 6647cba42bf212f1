"""Runs of a second, shared by the tests of training, judging, serving and the command line."""

from __future__ import annotations

import csv
import io
import itertools
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (20, 190, 40), "blue": (30, 40, 220)}


def settings(source: str | Path, **changes: Any) -> dict[str, Any]:
    """Settings of a run of about a second; changes are laid over the top level."""
    base = {
        "data": {"source": str(source)},
        # Stage 1: two blocks of six.
        "backbone": {"name": "test_vit", "weights": "none", "lr_factor": 1.0, "stage": 1},
        "image_size": 32,
        "extractor": {"dim": 16, "ffn": 16},
        "epochs": 2,
        "batch_size": 8,
        "workers": 0,
        "log_every": 1,
    }
    return {**deepcopy(base), **changes}


@cache
def scenes(base: Path) -> Path:
    """A table of 48, 16 and 17 digit scenes with boxes, made once."""
    from labelwise.data import digits
    from labelwise.data.table import write_table

    file = base / "scenes.parquet"
    write_table(digits.make_scenes(train=48, val=16, test=17, size=64), file)
    return file


@cache
def finished(base: Path) -> Path:
    """A finished run on the scenes, made once; tests must not change it."""
    from labelwise.runs.config import make_config
    from labelwise.training.fit import train

    out = base / "finished"
    train(make_config(settings(f"parquet:{scenes(base)}")), out, quiet=True)
    return out


def photographs(folder: Path, train: int = 12, val: int = 4, test: int = 5) -> Path:
    """A CSV of small JPEG files with one or two of three colours, and its images beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", train), ("val", val), ("test", test)):
        for i in range(count):
            held = {list(COLOURS)[i % 3], list(COLOURS)[int(rng.integers(3))]}
            picture = Image.new("RGB", (48, 40), (90, 90, 90))
            for place, name in enumerate(sorted(held)):
                picture.paste(COLOURS[name], (2 + 24 * place, 5, 20 + 24 * place, 35))
            picture.putpixel((i, 0), (i, 1, 2))  # no two files are the same
            picture.save(folder / f"{split}{i}.jpg", quality=92)
            rows.append([f"{split}{i}.jpg", *(int(c in held) for c in COLOURS), split])
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", *COLOURS, "split"], *rows])
    return folder / "labels.csv"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of an error; fails where there is more or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("labelwise: ")]
        assert self.code == 2, self
        assert "Traceback" not in self.err, self.err
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0]), self.err
        assert "; expected " in lines[0], lines
        return lines[0]


def command(*words: str | Path) -> Outcome:
    """Run the program in this process as a shell would."""
    from labelwise.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before, code = sys.argv, 0
    sys.argv = ["labelwise", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Outcome(code, *texts)


TINY = (
    "--backbone", "test_vit", "--weights", "none", "--image-size", "32", "--epochs", "1", "--batch-size", "4",
    "--set", "workers=0", "--set", "backbone.stage=1", "--set", "extractor.dim=16", "--set", "extractor.ffn=16",
)  # fmt: skip
"""Options of `labelwise train` for a run of a second."""


@cache
def trained(base: Path) -> tuple[Path, Path]:
    """The CSV of 21 photographs, no two of one file, and a run on them, made once; tests must not change either."""
    table, run = photographs(base / "trained"), base / "trained" / "run"
    for file in table.parent.glob("*.jpg"):
        file.write_bytes(file.read_bytes() + file.name.encode())
    done = command("train", "--data", table, "--out", run, *TINY, "--no-report")
    assert done.code == 0, done.err
    return table, run


@cache
def forks() -> ForkServerContext:
    """Processes that start at once, for their server has imported everything and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["unsynced", "labelwise.training.course", "labelwise.evaluation", "labelwise.cli", "timm"]
    )
    return context


@contextmanager
def started(*words: str | Path, script: Path | str = "") -> Iterator[tuple[BaseProcess, Path, Path]]:
    """The program, or a script or its text, in a process of its own that need not import what all import.

    The process, ended at the latest with the block, and the files of what it prints.
    """
    with TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("out", "err"))
        task = (dict(os.environ), script, [str(word) for word in words], (out, err))
        process = forks().Process(target=_alone, args=task)
        process.start()
        try:
            yield process, out, err
        finally:
            process.kill()
            process.join()


def forked(*words: str | Path, script: Path | str = "") -> Outcome:
    """What the program, or a script or its text, leaves behind in a process as in `started`."""
    with started(*words, script=script) as (process, *texts):
        process.join(1200)  # all graphs take a hundred seconds, and many more on a loaded machine
        process.kill()
        process.join()
        return Outcome(int(process.exitcode or 0), *(text.read_text() for text in texts))


WITHOUT_PACKAGE = """
import sys
for name in list(sys.modules):
    if name.partition(".")[0] in ("labelwise", "torchmetrics"):
        del sys.modules[name]
"""
"""Start of a script that imports the package as if nothing of it had been imported."""


def _alone(
    environment: dict[str, str], script: Path | str, words: list[str], texts: tuple[Path, Path]
) -> None:
    os.environ.clear()
    os.environ |= environment
    for number, text in enumerate(texts, 1):
        with text.open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.argv = [str(script or "labelwise"), *words]
    if isinstance(script, Path):
        runpy.run_path(str(script), run_name="__main__")
        return
    exec(script or "from labelwise.cli import main\nmain()", {"__name__": "__main__"})


def together(world: int, task: Any, *arguments: Any) -> None:
    """Run `task(*arguments)` in processes that know of each other as torchrun's do; fails where one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    processes = [
        forks().Process(
            target=_member, args=({**place, "RANK": str(r), "LOCAL_RANK": str(r)}, task, arguments)
        )
        for r in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * world


def _member(place: dict[str, str], task: Any, arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ |= place
    torch.set_num_threads(1)
    task(*arguments)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what is made once a session."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def table(base: Path) -> Path:
    """The table of `scenes`."""
    return scenes(base)


@pytest.fixture(scope="session")
def run_folder(base: Path) -> Path:
    """The run of `finished`."""
    return finished(base)


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not in tmp_path, which takes longer to make and remove than most tests to run.
    monkeypatch.setenv("LABELWISE_CACHE", str(base / "caches" / str(next(_numbers))))
