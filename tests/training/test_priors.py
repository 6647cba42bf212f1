"""Counts of the training rows: the plain answer, in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_runs
from labelwise.training import priors as module
from labelwise.training.priors import count_priors

MEASURE = """
import numpy as np
from labelwise.training.priors import count_priors
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
values, known = np.ones((600_000, 80), np.uint8), np.ones((600_000, 80), bool)
count_priors(values[:60_000], known[:60_000])  # what the libraries take when first called
before = peak()
priors = count_priors(values, known)
print(peak() - before, int(priors.together.min()), int(priors.anchored.max()))
"""


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("cells", [1, 21, 1 << 20])
def test_counts_are_those_of_a_loop(kind: type, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown cells hold ones here, which must not count; 23 rows are no multiple of any block."""
    monkeypatch.setattr(module, "CELLS", cells)
    rng = np.random.default_rng(0)
    values, known = rng.integers(0, 2, (23, 4)).astype(kind), rng.random((23, 4)) < 0.6
    values[~known] = 1
    values[0, 0] = 0.5 if kind is np.float32 else 1
    priors = count_priors(values, known, torch.ones(4, 2), ["d"])
    together, anchored = np.zeros((4, 4)), np.zeros((4, 4))
    for row in range(23):
        for i in range(4):
            here = known[row, i] and values[row, i] >= 0.5
            for j in range(4):
                anchored[i, j] += here and known[row, j]
                together[i, j] += here and known[row, j] and values[row, j] >= 0.5
    assert priors.together.tolist() == together.tolist()
    assert priors.anchored.tolist() == anchored.tolist()
    assert priors.positive.tolist() == np.diag(together).tolist()
    assert priors.known.tolist() == known.sum(0).tolist()
    assert priors.vectors is not None
    assert (tuple(priors.vectors.shape), priors.missing) == ((4, 2), ("d",))


def test_rows_that_nobody_may_write_to_are_counted() -> None:
    values, known = np.ones((3, 2), np.uint8), np.ones((3, 2), bool)
    values.flags.writeable = known.flags.writeable = False
    assert count_priors(values, known).positive.tolist() == [3, 3]
    assert count_priors(values[:0], known[:0]).together.tolist() == [[0, 0], [0, 0]]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_no_float_copy_of_all_cells_is_made() -> None:
    """48 million cells, 46 MB as they are held: one copy in float32 would be 183 MB, a block of them is 4 MB."""
    grown, together, anchored = tiny_runs.forked(script=MEASURE).out.split()
    assert (int(together), int(anchored)) == (600_000, 600_000)
    assert float(grown) < 60
