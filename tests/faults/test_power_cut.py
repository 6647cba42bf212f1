"""A power cut may leave any file cut short or with zeros at its end: the state before it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.runs.run import KEPT, WEIGHTS, Run
from labelwise.training.checkpoint import (
    PREVIOUS,
    STATE,
    Progress,
    has_state,
    is_sealed,
    load_state,
    save_state,
    settle_state,
)
from labelwise.training.fit import train

FILES = (STATE, PREVIOUS, KEPT, WEIGHTS, "config.yaml", "labels.json", "metrics.jsonl", "results.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("made")
    source = f"csv:{tiny_runs.photographs(folder / 'photos', 24, 6, 6)}"
    train(
        make_config(tiny_runs.settings(source, save_every=2, epochs=1, batch_size=4)),
        folder / "run",
        quiet=True,
    )
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.mark.parametrize("zeros", [False, True])
def test_every_file_of_a_run_may_be_damaged(run: Path, tmp_path: Path, zeros: bool) -> None:
    expected = (run / WEIGHTS).read_bytes()
    for place, name in enumerate(FILES):
        share = (0.0, 0.9)[(place + zeros) % 2]
        out = tmp_path / "damaged"
        shutil.copytree(run, out)
        data = (out / name).read_bytes()
        length = int(len(data) * share)
        (out / name).write_bytes(data[:length] + bytes((len(data) - length) * zeros))
        found = tiny_runs.command("train", "--out", out, "--resume", "--no-report")
        assert found.code == 0, (name, share, found.err)
        assert (out / WEIGHTS).read_bytes() == expected, (name, share)
        assert Run.open(out).decisions().source.startswith("f1 on val")
        if name in (STATE, WEIGHTS):
            assert "damaged" in found.err, (name, found.err)
        shutil.rmtree(out)


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_state(tmp_path / STATE, Progress(step=step), method={})
    assert [load_state(tmp_path / name)[0].step for name in (STATE, PREVIOUS)] == [3, 2]
    data = bytearray((tmp_path / STATE).read_bytes())
    data[len(data) // 2] ^= 1  # a single bit
    (tmp_path / STATE).write_bytes(data)
    assert not is_sealed(tmp_path / STATE)
    said: list[str] = []
    settle_state(tmp_path, said.append)
    assert load_state(tmp_path / STATE)[0].step == 2
    assert len(said) == 1
    assert said[0].endswith("is damaged; going on from the state before it, step 2")
    (tmp_path / STATE).write_bytes(b"")
    settle_state(tmp_path, said.append)  # moved there, the state of step 2 was the only one
    assert said[1].endswith("is damaged and was the first one; the run starts again")
    assert not has_state(tmp_path)
    for name in (STATE, PREVIOUS):
        (tmp_path / name).write_bytes(b"cut")
    with pytest.raises(LabelwiseError, match="expected a state that this version wrote"):
        settle_state(tmp_path, said.append)


def test_damaged_weights_are_never_used(run: Path) -> None:
    data = bytearray((run / WEIGHTS).read_bytes())
    data[-100] ^= 1
    (run / WEIGHTS).write_bytes(data)
    with pytest.raises(LabelwiseError, match="its digest is another"):
        Run.open(run).model()
    (run / KEPT).write_bytes(data[:-5])
    message = tiny_runs.command("train", "--out", run, "--resume", "--no-report").message
    assert "both damaged; expected one of them undamaged" in message


def test_a_short_run_of_the_faults_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(__file__).parents[2] / "tools" / "faults.py"
    words = ["--trials", "4", "--kinds", "fine-tuned", "--seed", "11", "--csv", tmp_path / "a.csv"]
    monkeypatch.syspath_prepend(str(file.parent))  # as where a script is run by its name
    found = tiny_runs.forked(*words, script=file)
    assert found.code == 0, found.out + found.err
    assert "4 trials: {'equal': 4}" in found.out
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 5
