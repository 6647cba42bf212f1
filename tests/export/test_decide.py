"""Decisions inside a graph: the same as those of the library, for any logits and in every runtime."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_runs
from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError
from labelwise.export.decide import Decide, require_decidable, smallest_selected
from labelwise.export.engines import GraphEngine
from labelwise.export.parity import compare

SCRIPT = Path(__file__).with_name("decided_graphs.py")


def plain(n: int, **ties: object) -> Decisions:
    return Decisions(np.full(n, 0.5), np.ones(n), np.zeros(n), **ties)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    threshold=st.floats(0, 1),
    scale=st.floats(1e-3, 1e3),
    bias=st.floats(-50, 50),
)
def _one_label(threshold: float, scale: float, bias: float) -> None:
    decisions = Decisions(np.array([threshold]), np.array([scale]), np.array([bias]))
    least = smallest_selected(decisions)
    below, above = (np.nextafter(least, np.float32(towards)) for towards in (-np.inf, np.inf))
    for logit in (least, below, above, np.float32([0]), np.float32([-3e38]), np.float32([3e38])):
        expected = decisions.select(decisions.probabilities(logit[None]))[0]
        assert (logit >= least) == expected, (logit, least)


def test_a_label_is_selected_from_the_smallest_logit_on_that_reaches_its_threshold() -> None:
    _one_label()


def test_labels_that_are_never_selected_have_no_such_logit() -> None:
    assert smallest_selected(plain(3, never=(1,))).tolist() == pytest.approx([0, np.inf, 0], abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_the_step_decides_as_the_library_does(seed: int) -> None:
    """Groups of at most one and of exactly one, labels that are never selected, and ties."""
    rng = np.random.default_rng(seed)
    decisions = Decisions(
        rng.random(9).round(1),
        np.exp(rng.normal(size=9)),
        rng.normal(size=9),
        exclusive=((0, 3, 4), (1, 2)),
        exactly_one=((5, 7),),
        never=(5, 2),
    )
    logits = torch.from_numpy(rng.normal(0, 8, (400, 9)).astype(np.float32))
    logits[:20] = logits[:20, :1]
    p, selected = Decide(decisions)(logits)
    expected = decisions.probabilities(logits.numpy())
    np.testing.assert_allclose(p.numpy(), expected, atol=1e-7)
    np.testing.assert_array_equal(selected.numpy(), decisions.select(expected))
    assert selected[:, 7].all(), "exactly one, and the other is never selected"


@pytest.mark.parametrize(
    ("ties", "reason"),
    [
        ({"top_k": 2}, "a limit of 2 labels per image"),
        ({"implies": ((0, 1),)}, "labels that imply one another"),
        ({"exclusive": ((0, 1), (1, 2))}, "groups that share labels"),
    ],
)
def test_what_no_graph_decides_is_refused(ties: dict[str, object], reason: str) -> None:
    with pytest.raises(
        LabelwiseError, match=f"decisions in the graph with {reason}; expected thresholds, and"
    ):
        require_decidable(plain(4, **ties))


def test_every_runtime_decides_as_the_library_does(tmp_path: Path) -> None:
    """In a process of its own, as models are traced through their bytecode."""
    done = tiny_runs.forked(tmp_path, script=SCRIPT)
    assert done.code == 0, done.err[-2000:]
    runtimes = [line.split(":")[0] for line in done.out.splitlines()]
    assert runtimes == ["onnx onnxruntime", "onnx openvino", "openvino openvino", "torch torch"]


class Deciding(GraphEngine):
    """An engine whose last output can be wrong."""

    def __init__(self, wrong: tuple[int, int] | None, shift: float = 0.0) -> None:
        super().__init__(Path(), False)
        self._wrong, self._shift = wrong, shift

    def _open(self, file: Path) -> tuple[str, int]:
        return "the graph", 3

    def _outputs(self, images: torch.Tensor, count: int) -> list[np.ndarray]:
        logits = images[:, 0, 0, :2].numpy().astype(np.float32) - 1
        p, selected = (tensor.numpy() for tensor in Decide(plain(2))(torch.from_numpy(logits)))
        if self._wrong:
            selected[self._wrong] ^= True
        return [logits, p + np.float32(self._shift), selected][:count]


def test_other_decisions_than_those_of_the_logits_are_refused() -> None:
    images = torch.tensor([[0, 2], [3, 1]], dtype=torch.uint8).view(2, 1, 1, 2)
    compared = partial(compare, batches=[(["a", "b"], images)], decisions=plain(2), names=("cat", "dog"))
    assert compared(Deciding(None), Deciding(None)).probability == 0
    with pytest.raises(
        LabelwiseError, match=r"the graph selects cat of probability 0\.2689\d+ for a, other than"
    ):
        compared(Deciding(None), Deciding((0, 0)))
    with pytest.raises(LabelwiseError, match=r"the graph does not select cat of probability 0\.88"):
        compared(Deciding(None), Deciding((1, 0)))
    with pytest.raises(LabelwiseError, match=r"the graph returns dog = 0\.4998\d+ for b, where"):
        compared(Deciding(None), Deciding(None, -2e-4))


def test_the_command_refuses_rules_before_it_computes(run_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    run = shutil.copytree(run_folder, tmp_path / "run")
    labels = json.loads((run / "labels.json").read_text())
    labels["rules"] = {**labels.get("rules", {}), "top_k": 3}
    (run / "labels.json").write_text(json.dumps(labels))
    message = tiny_runs.command("export", run, "--decide", "--out", tmp_path / "out").message
    assert "a limit of 3 labels per image" in message
    assert not (tmp_path / "out").exists()
