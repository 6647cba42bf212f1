"""Pickles: the values that are read, and that no code of them is run."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwise.data.readers.unpickle import read_pickle
from labelwise.errors import LabelwiseError


class Runs:
    """Is pickled as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def stored(tmp_path: Path, value: Any, protocol: int = 4) -> Path:
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(value, protocol=protocol))
    return file


@pytest.mark.parametrize("protocol", range(6))
def test_values(tmp_path: Path, protocol: int) -> None:
    value = {
        "a": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "b": [np.float32(0.5), np.int64(7), True, None, b"x"],
        "c": OrderedDict(x=np.array(["one", "three"])),
        "d": np.array([{"y": np.array([True])}, "z"], object),
        "e": np.arange(3, dtype=">f8"),
        "f": np.zeros((0, 4)),
        "g": np.array(5.0),
    }
    content = read_pickle(stored(tmp_path, value, protocol))
    for key in "aefg":
        np.testing.assert_array_equal(content[key], value[key])
        assert content[key].dtype == value[key].dtype  # type: ignore[attr-defined]
    assert content["b"] == [0.5, 7, True, None, b"x"]
    assert content["c"]["x"].tolist() == ["one", "three"]
    assert content["d"][0]["y"].tolist() == [True]
    assert content["d"][1] == "z"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.system, "touch ran"), r"\w+\.system"),
        ((subprocess.Popen, ["touch", "ran"]), r"\w+\.Popen"),
        ((builtins.eval, "open('ran', 'w')"), r"\w+\.eval"),
        ((builtins.getattr, os, "system"), r"\w+\.getattr"),
        ((np.load, "ran"), r"numpy\S*\.load"),
        ((np.fromfile, "ran"), r"numpy\S*\.fromfile"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_that_would_run_code_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[Any, ...], name: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    if call[1] is os:
        call = (call[0], "text", "system")
    file = stored(tmp_path, {"label": [Runs(*call)]}, protocol)
    with pytest.raises(LabelwiseError, match=rf"x\.pkl, a pickle that imports {name}; expected arrays"):
        read_pickle(file)
    assert not (tmp_path / "ran").exists()


def test_a_name_with_dots_does_not_reach_through(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.__init\x93.")
    with pytest.raises(LabelwiseError, match=r"imports numpy\.ndarray\.__init"):
        read_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_truncated_and_missing_files(tmp_path: Path, cut: int) -> None:
    file = stored(tmp_path, {"a": np.arange(30)})
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(LabelwiseError, match=r"x\.pkl \(.*\); expected a whole pickle"):
        read_pickle(file)
    with pytest.raises(LabelwiseError, match=r"none.pkl, which does not exist"):
        read_pickle(tmp_path / "none.pkl")


def test_arrays_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    blob = pickle.dumps(np.arange(4, dtype=np.int64), protocol=2)
    assert b"K\x04\x85" in blob
    (tmp_path / "x.pkl").write_bytes(blob.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85", 1))
    with pytest.raises(LabelwiseError, match=r"32 bytes for an array of 2147483647 x 8"):
        read_pickle(tmp_path / "x.pkl")
