"""Discriminative losses against loops over pairs of cells, their limits, and two processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny_runs
from labelwise.losses import (
    CentreLoss,
    JaccardContrast,
    OutputLoss,
    PairwiseLoss,
    PrototypeConformity,
    TwoWayLoss,
)
from labelwise.losses.discriminative import PresentCells, present
from labelwise.types import Targets
from largest_tensor import LargestTensor

ROWS, LABELS, DIM = 5, 4, 3
Slow = Callable[[nn.Module, Tensor, Targets], tuple[Tensor, Tensor]]


def some_features(seed: int = 0, rows: int = ROWS, labels: int = LABELS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, labels, DIM, generator=generator, dtype=torch.float64)


def some_targets(seed: int = 0, rows: int = ROWS, labels: int = LABELS) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(rows, labels, generator=generator).round()
    return Targets(values, torch.rand(rows, labels, generator=generator) < 0.8)


def held_cells(targets: Targets) -> list[tuple[int, int]]:
    """(image, label) of known positives."""
    return (targets.known & (targets.values == 1)).nonzero().tolist()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def mean(values: list[Tensor]) -> Tensor:
    return sum(values) / len(values) if values else torch.zeros((), dtype=torch.float64)  # type: ignore[return-value]


def slow_pairs(loss: Any, features: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    intra, inter = [], []
    cells = held_cells(targets)
    for i, (a, label) in enumerate(cells):
        for b, other in cells[:i]:
            c = cosine(features[a, label], features[b, other])
            if label == other:
                intra.append(1 - c)
            elif a != b or loss.same_image:
                inter.append(max(c - loss.margin, 0 * c) if loss.hinge else c)
    return mean(intra), mean(inter)


def slow_output(loss: Any, logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    v = logits if loss.space == "logits" else 1 / (1 + (-logits).exp())
    pairs = PairwiseLoss(loss.margin, same_image=False)
    return slow_pairs(pairs, v[:, None].expand(-1, LABELS, -1), targets)


def slow_centre(loss: Any, features: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    cells, c = held_cells(targets), loss.centres
    intra = [1 - cosine(features[a, label], c[label]) for a, label in cells]
    others = [
        (cosine(features[a, label], c[j]) - loss.centre_margin).clamp(min=0)
        for a, label in cells
        for j in range(len(c))
        if j != label
    ]
    between = [
        (cosine(c[j], c[k]) - loss.margin).clamp(min=0)
        for j in range(len(c))
        for k in range(len(c))
        if j != k
    ]
    return mean(intra), mean(others) + mean(between)


def slow_conformity(loss: Any, features: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    intra, inter = [], []
    for a, label in held_cells(targets):
        f = features[a, label]
        intra.append((f - loss.near[label]).square().sum())
        inter += [-(f - loss.far[j]).square().sum() for j in range(LABELS) if j != label]
    return mean(intra), mean(inter)


def slow_contrast(loss: Any, features: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    images = features.mean(1)
    near, far = [], []
    for a in range(len(images)):
        partners, company = [], []
        for b in range(len(images)):
            shared = targets.known[a] & targets.known[b]
            of_a, of_b = ({j for j in range(LABELS) if shared[j] and targets.values[i, j]} for i in (a, b))
            if a != b and of_a | of_b:
                s = cosine(images[a], images[b]) / loss.temperature
                company.append(s.exp())
                if len(of_a & of_b) / len(of_a | of_b) >= loss.jaccard:
                    partners.append(s)
        if partners:
            near.append(-mean(partners))
            far.append(sum(company).log())  # type: ignore[union-attr]
    return mean(near), mean(far)


def centre(labels: int = LABELS, **options: Any) -> CentreLoss:
    torch.manual_seed(3)
    return CentreLoss(labels, DIM, **options).double()


def conformity(labels: int = LABELS, **options: Any) -> PrototypeConformity:
    torch.manual_seed(3)
    return PrototypeConformity(labels, DIM, **options).double()


CASES: dict[str, tuple[nn.Module, Slow]] = {
    "pairwise": (PairwiseLoss(), slow_pairs),
    "pairwise, margin": (PairwiseLoss(margin=0.2, same_image=False), slow_pairs),
    "opl": (PairwiseLoss(hinge=False), slow_pairs),
    "opl, other images": (PairwiseLoss(hinge=False, same_image=False), slow_pairs),
    "logits": (OutputLoss(), slow_output),
    "probabilities": (OutputLoss(margin=0.7, space="probabilities"), slow_output),
    "centre": (centre(), slow_centre),
    "centre, margins": (centre(margin=-0.2, centre_margin=0.1), slow_centre),
    "conformity": (conformity(), slow_conformity),
    "contrast": (JaccardContrast(), slow_contrast),
    "contrast, half": (JaccardContrast(temperature=0.5, jaccard=0.3), slow_contrast),
}
every_loss = pytest.mark.parametrize("name", CASES)


def given_to(name: str, features: Tensor) -> Tensor:
    """Logits where a loss reads them: any `[B, L]`."""
    if isinstance(CASES[name][0], OutputLoss):
        return features.mean(2)
    return features


def with_gradient(loss: nn.Module, x: Tensor, targets: Targets) -> tuple[tuple[Tensor, ...], Tensor]:
    """Both halves, and the gradients of `intra + 2 inter` by what was given and by what the loss has learned."""
    leaf = x.detach().clone().requires_grad_()
    intra, inter = loss(leaf, targets)
    learned = list(loss.parameters())
    gradients = torch.autograd.grad(intra + 2 * inter, [leaf, *learned])
    return (intra.detach(), inter.detach(), *gradients[1:]), gradients[0]


@every_loss
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loops_over_cells(name: str, seed: int) -> None:
    loss, slow = CASES[name]
    features, targets = some_features(seed), some_targets(seed)
    x = given_to(name, features)
    halves = loss(x, targets)
    expected = slow(loss, x, targets)
    torch.testing.assert_close(torch.stack(halves), torch.stack(expected), rtol=1e-9, atol=1e-10)
    assert expected[0] != 0
    assert expected[1] != 0


@every_loss
def test_gradients_are_the_derivative(name: str) -> None:
    loss, targets = CASES[name][0], some_targets(1)
    x = given_to(name, some_features(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: loss(x, targets), (x, *loss.parameters()))


def test_values_by_hand() -> None:
    both = Targets.of(torch.ones(2, 3))
    orthonormal = torch.eye(3).expand(2, 3, 3)
    alike = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 9.0]]])
    three = Targets.of(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    half = torch.tensor([[[1.0, 0.0], [0.5, 0.75**0.5]]])
    for loss in (PairwiseLoss(), PairwiseLoss(hinge=False)):
        assert [x.item() for x in loss(orthonormal, both)] == pytest.approx([0, 0], abs=1e-6)
        assert [x.item() for x in loss(alike, three)] == pytest.approx([0, 0], abs=1e-6)
        halves = loss(half, Targets.of(torch.ones(1, 2)))
        assert [x.item() for x in halves] == pytest.approx([0, 0.5], abs=1e-6)
    opposite = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert PairwiseLoss()(opposite, Targets.of(torch.ones(1, 2)))[1] == 0
    assert PairwiseLoss(hinge=False)(opposite, Targets.of(torch.ones(1, 2)))[1].item() == pytest.approx(-1)


def test_centres_by_hand() -> None:
    loss = CentreLoss(2, 2, centre_margin=0.3)
    with torch.no_grad():
        loss.centres.copy_(torch.tensor([[2.0, 0.0], [0.6, 0.8]]))
    intra, inter = loss(torch.tensor([[[0.0, 5.0], [1.0, 1.0]]]), Targets.of(torch.tensor([[1.0, 0.0]])))
    assert intra.item() == pytest.approx(1)
    # The feature's cosine with the other centre is .8, that of the centres .6.
    assert inter.item() == pytest.approx((0.8 - 0.3) + 0.6)
    loss.renormalise()
    torch.testing.assert_close(loss.centres.norm(dim=1), torch.ones(2))
    assert set(loss.state_dict()) == {"centres"}


@every_loss
def test_nothing_known_is_exactly_zero_and_connected(name: str) -> None:
    loss, targets = CASES[name][0], some_targets()
    targets.known[:] = False
    values, gradient = with_gradient(loss, given_to(name, some_features()), targets)
    assert all(not value.any() for value in values)
    assert not gradient.any()


@pytest.mark.parametrize("name", ["pairwise", "opl", "logits", "contrast"])
def test_a_single_cell_has_no_pair(name: str) -> None:
    loss, targets = CASES[name][0], some_targets()
    targets.known[:] = False
    targets.known[1, 2], targets.values[1, 2] = True, 1.0
    values, gradient = with_gradient(loss, given_to(name, some_features()), targets)
    assert values[0] == 0
    assert values[1] == 0
    assert not gradient.any()


@every_loss
@pytest.mark.parametrize("filling", [0.0, 1.0, 0.6, float("nan")])
def test_unknown_cells_have_no_influence_bit_for_bit(name: str, filling: float) -> None:
    loss, targets = CASES[name][0], some_targets()
    other = Targets(targets.values.masked_fill(~targets.known, filling), targets.known)
    x = given_to(name, some_features())
    (values, gradient), (others, other_gradient) = (with_gradient(loss, x, t) for t in (targets, other))
    assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))
    assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("conformity", "probabilities")])
def test_length_does_not_count(name: str) -> None:
    loss, x = CASES[name][0], given_to(name, some_features())
    plain, tripled = (torch.stack(loss(scale * x, some_targets())) for scale in (1, 3))
    torch.testing.assert_close(tripled, plain, rtol=1e-6, atol=1e-9)


@every_loss
def test_features_of_zeros_are_finite(name: str) -> None:
    loss, x = CASES[name][0], given_to(name, some_features())
    x[0] = 0
    values, gradient = with_gradient(loss, x, Targets.of(torch.ones(ROWS, LABELS)))
    assert all(value.isfinite().all() for value in values)
    assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 60.0, 300.0])
def test_halves_stay_finite_and_near(name: str, dtype: torch.dtype, scale: float) -> None:
    loss, targets = CASES[name][0].float(), some_targets()
    x = (scale * given_to(name, some_features())).to(dtype)
    expected = torch.stack(loss(x.float(), targets))
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = torch.stack(loss(leaf, targets))
    halves.sum().backward()
    loss.double()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert halves.dtype == torch.float32
    torch.testing.assert_close(halves, expected, rtol=1e-4, atol=1e-5)


@every_loss
def test_one_image_of_one_label(name: str) -> None:
    x = some_features(rows=1, labels=1)
    loss = {"centre": centre(1), "centre, margins": centre(1), "conformity": conformity(1)}.get(
        name, CASES[name][0]
    )
    values, gradient = with_gradient(loss, given_to(name, x), Targets.of(torch.ones(1, 1)))
    assert all(value.isfinite().all() for value in values)
    assert gradient.isfinite().all()
    assert values[1] == 0


def test_only_the_wanted_centres_are_made() -> None:
    features, targets = some_features(), some_targets()
    for intra in (True, False):
        loss = conformity(intra=intra, inter=not intra)
        assert [name for name, _ in loss.named_parameters()] == ["near" if intra else "far"]
        halves = loss(features, targets)
        assert halves[int(intra)] == 0
        assert halves[int(not intra)] != 0


def test_cells_are_taken_whole_where_they_fit_and_drawn_where_not(seeded: torch.Generator) -> None:
    features, targets = some_features(rows=9), some_targets(rows=9)
    held = present(targets)
    number = int(held.sum())
    few, whole = PresentCells.of(features, held, 5), PresentCells.of(features, held, number)
    assert len(few.weight) == 5 < number == len(whole.weight) < held.numel()
    assert few.weight.sum() == 5
    assert sorted(zip(whole.image.tolist(), whole.label.tolist(), strict=True)) == sorted(
        map(tuple, held.nonzero().tolist())
    )
    for cells in (few, whole):
        assert torch.equal(cells.vectors, features[cells.image, cells.label])
    full = PairwiseLoss()(features, targets)
    torch.testing.assert_close(PairwiseLoss(cells=number)(features, targets), full)
    draws = torch.stack([PairwiseLoss(cells=6)(features, targets)[1] for _ in range(400)])
    error = draws.std() / len(draws) ** 0.5
    assert draws.std() > 0
    assert abs(draws.mean() - full[1]) < 4 * error


@pytest.mark.parametrize("hinge", [True, False])
def test_memory_is_linear_in_labels(hinge: bool) -> None:
    rows, labels, dim = 2, 3000, 8
    features = torch.randn(rows, labels, dim, requires_grad=True)
    with LargestTensor() as seen:
        sum(PairwiseLoss(hinge=hinge, cells=64)(features, Targets.of(torch.ones(rows, labels)))).backward()
    assert 0 < seen.elements <= rows * labels * (dim + 2)


def joined_cases() -> dict[str, tuple[nn.Module, Tensor, Targets]]:
    """Every loss with an uneven batch, and with one whose second part knows nothing."""
    cases = {}
    features, targets = some_features(rows=7), some_targets(rows=7)
    silent = Targets(targets.values, targets.known.clone())
    silent.known[4:] = False
    for case, t in (("uneven", targets), ("silent", silent)):
        for name, (loss, _) in CASES.items():
            cases[f"{name}, {case}"] = loss, given_to(name, features), t
    cases["two-way"] = _Twice(TwoWayLoss()), features.mean(2), targets
    return cases


class _Twice(nn.Module):
    """A loss of one number among those of two."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        return self.loss(x, targets), x.sum() * 0


def member(folder: str) -> None:
    """One of two processes; the first has four images, the second three, and a third batch has none for the second."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    outcomes: dict[str, Any] = {}
    for name, (loss, x, targets) in joined_cases().items():
        for split in (4, 7):
            rows = slice(0, split) if rank == 0 else slice(split, 7)
            outcomes[f"{name}, {split}"] = with_gradient(loss, x[rows], targets[rows])
        with torch.no_grad():
            outcomes[f"{name}, quiet"] = loss(x[:4], targets[:4])
    torch.save(outcomes, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    tiny_runs.together(2, member, str(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, (loss, x, targets) in joined_cases().items():
        expected, gradient = with_gradient(loss, x, targets)
        for split in (4, 7):
            (values, own), (others, other) = (outcomes[f"{name}, {split}"] for outcomes in (first, second))
            # The mean over processes is what the loss is shown as, and what a parameter receives.
            for one, two, wanted in zip(values, others, expected, strict=True):
                torch.testing.assert_close((one + two) / 2, wanted, msg=name)
            torch.testing.assert_close(torch.cat([own, other]) / 2, gradient, msg=name)
        torch.testing.assert_close(first[f"{name}, quiet"], loss(x[:4], targets[:4]))
