"""Scores by a tanh of products: blocks of any size give the values and derivatives of the plain formula."""

from __future__ import annotations

import pytest
import torch

from labelwise.extractors import bilinear
from labelwise.extractors.bilinear import tanh_scores


def three(rows: int = 10, labels: int = 7, joint: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, joint), (labels, joint), (joint,))
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


@pytest.mark.parametrize("chunk", [0, 1, 3, 7, 50])
@pytest.mark.parametrize("numbers", [1, 12, 48, 2**20])
def test_blocks_with_ragged_ends_give_the_plain_formula(
    chunk: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bilinear, "_ON_CPU", numbers)
    q, k, u = three()
    weight = torch.randn(10, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, scores = torch.tanh(q.unsqueeze(1) * k) @ u, tanh_scores(q, k, u, chunk)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, u))
    for a, b in zip(torch.autograd.grad((scores * weight).sum(), (q, k, u)), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "labels", "joint", "chunk", "block"),
    [
        (392, 80, 512, 0, (392, 5)),
        (6272, 80, 512, 0, (512, 4)),
        (49, 20, 64, 0, (49, 20)),
        (49, 1, 2**22, 0, (1, 1)),
        (392, 80, 512, 32, (392, 32)),
    ],
)
def test_a_block_is_large_enough_and_no_larger(
    rows: int, labels: int, joint: int, chunk: int, block: tuple[int, int]
) -> None:
    assert bilinear._block(torch.empty(rows, joint, device="cpu"), labels, chunk) == block


def test_scores_far_out_stay_finite_and_flat() -> None:
    q, k, u = torch.full((2, 3), 1e4).requires_grad_(), torch.tensor([[1e4] * 3, [-1e4] * 3]), torch.ones(3)
    scores = tanh_scores(q, k, u)
    scores.sum().backward()
    assert scores.tolist() == [[3.0, -3.0], [3.0, -3.0]]
    assert q.grad is not None
    assert not q.grad.any()


@pytest.mark.parametrize("exported", [False, True])
def test_half_precision_around_it_changes_nothing(exported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast too the sums over J run in fp32, forward and backward."""
    monkeypatch.setattr(bilinear, "exporting", lambda: exported)
    q, k, u = (t.detach().float().requires_grad_() for t in three(joint=64))
    expected = tanh_scores(q, k, u)
    wanted = torch.autograd.grad(expected.sum(), (q, k, u))
    with torch.autocast("cpu", torch.bfloat16):
        scores = tanh_scores(q, k, u)
        gradients = torch.autograd.grad(scores.sum(), (q, k, u))
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
