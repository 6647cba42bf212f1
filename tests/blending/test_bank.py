"""The bank of prototypes: exact means on known peaks, cluster centres, state, several processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny_runs
from labelwise.blending import PrototypeBank, PrototypeKind, peak_quadrant
from labelwise.errors import LabelwiseError
from labelwise.training.processes import joined_processes
from labelwise.types import Output, Targets

LABELS, DIM = 3, 2
Cells = list[tuple[Targets, Output]]


def batches(rows: int = 40, size: int = 7, h: int = 5, w: int = 4, known: float = 0.6) -> Cells:
    """Random cells whose maps peak at one place; the last label is never known to be present."""
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(0, h * w, (rows, LABELS), generator=generator)
    maps = torch.nn.functional.one_hot(place, h * w).float().unflatten(2, (h, w))
    features = torch.randn(rows, LABELS, DIM, generator=generator)
    values = torch.randint(0, 2, (rows, LABELS), generator=generator).float()
    values[:, -1] = 0
    targets = Targets(values, torch.rand(rows, LABELS, generator=generator) < known)
    cuts = range(0, rows, size)
    return [
        (
            targets[i : i + size],
            Output(values[i : i + size], features[i : i + size], maps[i : i + size], features[i : i + size]),
        )
        for i in cuts
    ]


def cells(rows: Cells) -> Iterator[tuple[int, int, Tensor]]:
    """Label, quadrant and feature of each known positive, in the order of the rows."""
    for targets, output in rows:
        assert output.maps is not None
        h, w = output.maps.shape[2:]
        for i in range(len(targets)):
            for label in range(LABELS):
                if targets.known[i, label] and targets.values[i, label] == 1:
                    (at,) = output.maps[i, label].nonzero().tolist()
                    yield label, 2 * (at[0] >= h // 2) + (at[1] >= w // 2), output.decoupled[i, label]


@pytest.mark.parametrize(("h", "w"), [(5, 4), (7, 7), (1, 3)])
@pytest.mark.parametrize("samples", [100, 2])
def test_means_of_known_peaks_are_exact(h: int, w: int, samples: int) -> None:
    rows = batches(h=h, w=w)
    bank = PrototypeBank(LABELS, DIM, samples=samples)
    bank.refresh(5, rows)
    groups: dict[tuple[int, int], list[Tensor]] = {}
    for label, quadrant, feature in cells(rows):
        group = groups.setdefault((label, quadrant), [])
        if len(group) < samples:
            group.append(feature)
    for label in range(LABELS):
        mine = [f for (owner, _), group in groups.items() for f in group if owner == label]
        for quadrant in range(4):
            group = groups.get((label, quadrant), [])
            assert bank.counts[label, quadrant] == len(group)
            mean = torch.stack(group or mine or [torch.zeros(DIM)]).mean(0)
            torch.testing.assert_close(bank.prototypes[label, quadrant], mean, rtol=0, atol=1e-6)
    assert bank.epoch == 5
    assert not bank.counts[-1].any()


def test_an_empty_quadrant_takes_the_mean_of_the_labels_cells() -> None:
    maps = torch.zeros(3, 1, 2, 2)
    maps[0, 0, 0, 0] = maps[1, 0, 0, 0] = maps[2, 0, 1, 1] = 1
    features = torch.tensor([[[3.0]], [[6.0]], [[12.0]]])
    bank = PrototypeBank(1, 1)
    bank.refresh(0, [(Targets.of(torch.ones(3, 1)), Output(features[..., 0], features, maps, features))])
    assert bank.prototypes.flatten().tolist() == [4.5, 7.0, 7.0, 12.0]
    assert bank.counts.tolist() == [[2, 0, 0, 1]]


def test_a_second_pass_starts_anew() -> None:
    once, twice = PrototypeBank(LABELS, DIM), PrototypeBank(LABELS, DIM)
    once.refresh(9, batches())
    twice.refresh(4, batches(rows=11))
    twice.refresh(9, batches())
    for key, value in once.state_dict().items():
        assert torch.equal(twice.state_dict()[key], value)


def test_the_peak_is_where_attention_meets_something() -> None:
    maps = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).view(1, 1, 2, 2)
    mass = torch.tensor([[1.0, 1.0, 1.0, 5.0]]).view(1, 2, 2)
    assert peak_quadrant(maps).item() == 0
    assert peak_quadrant(maps, mass).item() == 3


def test_the_centre_belongs_to_the_lower_half_and_to_the_right() -> None:
    places = torch.eye(49).view(1, 49, 7, 7)
    quadrants = peak_quadrant(places).view(7, 7)
    assert quadrants[2].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert quadrants[3].tolist() == [2, 2, 2, 3, 3, 3, 3]


def clusters(per_cluster: int) -> tuple[Tensor, Cells]:
    """Cells of the first label around three points far apart, with few of the third."""
    torch.manual_seed(0)
    centres = torch.tensor([[100.0, 0.0], [0.0, 100.0], [-100.0, -100.0]])
    sizes = [per_cluster, per_cluster // 2, 1]
    points = torch.cat(
        [c + 0.01 * torch.randn(n, 2) for c, n in zip(centres, sizes, strict=True)]
    )  # fullest first
    points = points[torch.randperm(len(points))]
    features = torch.stack([points, torch.zeros_like(points), torch.zeros_like(points)], 1)
    values = torch.tensor([1.0, 0.0, 0.0]).repeat(len(points), 1)
    values[0, 1] = 1
    return centres, [(Targets.of(values), Output(values, features, None, features))]


def test_centres_are_found_the_fullest_first() -> None:
    centres, rows = clusters(8)
    bank = PrototypeBank(LABELS, DIM, "kmeans", centres=3)
    bank.refresh(2, rows)
    torch.testing.assert_close(bank.prototypes[0], centres, rtol=0, atol=0.1)
    assert bank.counts.tolist() == [[8, 4, 1], [1, 0, 0], [0, 0, 0]]


def test_fewer_cells_than_centres_are_the_centres() -> None:
    _, rows = clusters(2)
    bank = PrototypeBank(LABELS, DIM, "kmeans", centres=10)
    bank.refresh(2, rows)
    assert bank.counts[0].tolist() == [1] * 4 + [0] * 6
    centres, points = bank.prototypes[0, :4], rows[0][1].decoupled[:, 0]
    torch.testing.assert_close(centres[centres[:, 0].argsort()], points[points[:, 0].argsort()])


def test_the_same_photograph_many_times_is_one_centre() -> None:
    features = torch.ones(6, 1, 2)
    bank = PrototypeBank(1, 2, "kmeans", centres=4)
    bank.refresh(0, [(Targets.of(torch.ones(6, 1)), Output(features[..., 0], features, None, features))])
    made = bank.counts[0] > 0
    assert bank.counts.sum() == 6
    assert made.tolist() == sorted(made.tolist(), reverse=True)
    assert (bank.prototypes[0][made] == 1).all()


def test_at_most_the_first_cells_make_centres() -> None:
    _, rows = clusters(8)
    bank = PrototypeBank(LABELS, DIM, "kmeans", centres=2, samples=3)
    bank.refresh(0, rows)
    assert bank.counts[0].sum() == 6
    mean = (bank.prototypes[0] * bank.counts[0].unsqueeze(1)).sum(0) / 6
    torch.testing.assert_close(mean, rows[0][1].decoupled[:6, 0].mean(0))


@pytest.mark.parametrize("kind", ["quadrants", "kmeans"])
def test_no_rows_make_an_empty_bank_and_state_is_whole(kind: PrototypeKind) -> None:
    bank, other = PrototypeBank(LABELS, DIM, kind), PrototypeBank(LABELS, DIM, kind)
    bank.refresh(1, [])
    assert not bank.counts.any()
    assert bank.prototypes.isfinite().all()
    bank.refresh(3, batches())
    other.load_state_dict(bank.state_dict(), strict=True)
    for key, value in bank.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    assert other.epoch == 3


def _refresh(out: str) -> None:
    with joined_processes():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        for kind in ("quadrants", "kmeans"):
            torch.manual_seed(0)
            bank = PrototypeBank(LABELS, DIM, kind, centres=3, samples=40)
            bank.refresh(1, batches()[rank::world])
            torch.save(bank.state_dict(), Path(out) / f"{kind}{rank}.pt")
        torch.manual_seed(0)
        bank = PrototypeBank(LABELS, DIM, "kmeans", centres=3)
        bank.refresh(1, clusters(8)[1] if rank else [])  # one of them has nothing
        torch.save(bank.state_dict(), Path(out) / f"far{rank}.pt")


def test_two_processes_hold_the_bank_of_one(tmp_path: Path) -> None:
    tiny_runs.together(2, _refresh, str(tmp_path))
    alone = PrototypeBank(LABELS, DIM)
    alone.refresh(1, batches())
    for rank in (0, 1):
        banks = {kind: torch.load(tmp_path / f"{kind}{rank}.pt") for kind in ("quadrants", "kmeans", "far")}
        torch.testing.assert_close(banks["quadrants"], dict(alone.state_dict()))
        first = torch.load(tmp_path / "kmeans0.pt")
        assert all(torch.equal(banks["kmeans"][key], value) for key, value in first.items())
        assert banks["kmeans"]["counts"].sum(1).tolist() == alone.counts.sum(1).tolist()
        torch.testing.assert_close(banks["far"]["prototypes"][0], clusters(8)[0], rtol=0, atol=0.1)


def test_without_scikit_learn_only_quadrants_are_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    PrototypeBank(2, 1).check_available()
    with pytest.raises(
        LabelwiseError, match=r"k-means prototypes without .*pip install 'labelwise\[prototypes\]'"
    ):
        PrototypeBank(2, 1, "kmeans").check_available()
