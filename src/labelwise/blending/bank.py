"""Prototypes of label features, stored between epochs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.lazy import require_package
from labelwise.types import Output, Targets

PrototypeKind = Literal["quadrants", "kmeans"]
Examples = Iterable[tuple[Targets, Output]]


def peak_quadrant(
    maps: Float[Tensor, "B L h w"], mass: Float[Tensor, "B h w"] | None = None
) -> Int[Tensor, "B L"]:
    """Quadrant in which each label's response peaks: 0 and 1 are the upper ones, 2 and 3 the lower; odd is right.

    The peak is `argmax_p A_lp m_p` with the mass `m` of each location (`None`: uniform). The centre row `floor(h / 2)`
    belongs to the lower half, and the centre column to the right.

    >>> peak_quadrant(torch.eye(9).view(1, 9, 3, 3)).view(3, 3).tolist()
    [[0, 1, 1], [2, 3, 3], [2, 3, 3]]
    """
    h, w = maps.shape[2:]
    response = maps if mass is None else maps * mass.unsqueeze(1)
    peak = response.flatten(2).argmax(2)
    return 2 * (peak // w >= h // 2).long() + (peak % w >= w // 2).long()


class PrototypeBank(nn.Module):
    """Prototypes of each label's features, from the training cells where the label is a known positive.

    `quadrants`: for each label and quadrant, the mean feature of the cells that peak there; an empty quadrant gets the
    label's mean. `kmeans`: the cluster centres of the label's features, largest cluster first; a label with fewer than
    `centres` cells has one per cell. A label without a known positive has no prototype, and counts of 0.

    The buffers `prototypes [L, K, D]`, `counts [L, K]` and `epoch` (-1 before the first pass) are the whole state.
    All processes hold the same bank.

    Args:
        num_labels: L.
        dim: D.
        kind: one of the above.
        centres: K for `kmeans`; K is 4 for `quadrants`.
        samples: largest number of cells per prototype: the first ones in the order of the rows.

    Source: DSRB (`quadrants`), SARB and HST (`kmeans`), 2022 to 2024.
    Differs: the mean is over these cells only, in one pass over the rows; each process takes its share of `samples`.

    >>> bank = PrototypeBank(2, dim=1)
    >>> maps = torch.zeros(1, 2, 2, 2)
    >>> maps[..., 1, 0] = 1.0
    >>> f = torch.tensor([[[3.0], [5.0]]])
    >>> bank.refresh(4, [(Targets.of(torch.tensor([[1.0, 0.0]])), Output(f[..., 0], f, maps, f))])
    >>> bank.prototypes.squeeze(2).tolist(), bank.counts[0].tolist(), bank.epoch.item()
    ([[3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]], [0.0, 0.0, 1.0, 0.0], 4)
    """

    prototypes: Tensor
    counts: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_labels: int,
        dim: int,
        kind: PrototypeKind = "quadrants",
        centres: int = 10,
        samples: int = 100,
    ) -> None:
        super().__init__()
        self.kind, self.samples = kind, samples
        size = 4 if kind == "quadrants" else centres
        self.register_buffer("prototypes", torch.zeros(num_labels, size, dim))
        self.register_buffer("counts", torch.zeros(num_labels, size))
        self.register_buffer("epoch", torch.tensor(-1))

    def check_available(self) -> None:
        """Raise `LabelwiseError` if the prototypes cannot be computed here; called before training."""
        if self.kind == "kmeans":
            require_package("sklearn", "k-means prototypes without scikit-learn", "prototypes")

    @torch.no_grad()
    def refresh(self, epoch: int, examples: Examples) -> None:
        """Recompute the prototypes.

        Args:
            epoch: stored in the buffer `epoch`.
            examples: this process's share of the training rows; `quadrants` needs outputs with maps.
        """
        compute = self._quadrants if self.kind == "quadrants" else self._clusters
        prototypes, counts = compute(examples)
        self.prototypes.copy_(prototypes)
        self.counts.copy_(counts)
        self.epoch.fill_(epoch)

    def _quadrants(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Prototypes and counts of the kind `quadrants`, summed over processes."""
        sums, counts = torch.zeros_like(self.prototypes), torch.zeros_like(self.counts)
        for targets, output in examples:
            assert output.maps is not None, "quadrants need maps"
            quadrant = F.one_hot(peak_quadrant(output.maps, output.mass), 4).bool()
            cells = quadrant & _positive_cells(targets).unsqueeze(2)
            cells &= cells.cumsum(0) + counts <= self._cell_limit(1)
            weights = cells.to(sums.dtype)
            sums += torch.einsum("blq,bld->lqd", weights, output.decoupled.to(sums.dtype))
            counts += weights.sum(0)
        if _world_size() > 1:
            torch.distributed.all_reduce(sums)
            torch.distributed.all_reduce(counts)
        label_means = sums.sum(1, keepdim=True) / counts.sum(1).clamp(min=1)[:, None, None]
        filled = counts.unsqueeze(2)
        return torch.where(filled > 0, sums / filled.clamp(min=1), label_means), counts

    def _clusters(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Prototypes and counts of the kind `kmeans`; those of the first process, for all."""
        from sklearn.cluster import KMeans

        seed = int(torch.randint(2**31, ()))
        labels, features = _gather(*self._collect(examples), device=self.prototypes.device)
        prototypes, counts = torch.zeros_like(self.prototypes), torch.zeros_like(self.counts)
        for label in labels.unique().tolist():
            points = features[labels == label]
            number = min(self.counts.shape[1], len(points))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # duplicate images give fewer distinct points than clusters
                clusters = KMeans(number, n_init=1, random_state=seed).fit(points.cpu().numpy())
            size = torch.bincount(torch.from_numpy(clusters.labels_).long(), minlength=number)
            order = size.argsort(descending=True, stable=True)
            prototypes[label, :number] = torch.from_numpy(clusters.cluster_centers_)[order].to(prototypes)
            counts[label, :number] = size[order].to(counts)
        if _world_size() > 1:
            torch.distributed.broadcast(prototypes, 0)
            torch.distributed.broadcast(counts, 0)
        return prototypes, counts

    def _collect(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Label and feature of the first cells of each label, `[N]` and `[N, D]`."""
        prototypes = self.prototypes
        labels = [self.counts.new_zeros(0, dtype=torch.long)]
        features = [prototypes.new_zeros(0, prototypes.shape[2])]
        counts = torch.zeros_like(self.counts[:, 0])
        for targets, output in examples:
            cells = _positive_cells(targets)
            cells &= cells.cumsum(0) + counts <= self._cell_limit(self.counts.shape[1])
            counts += cells.sum(0)
            labels.append(cells.nonzero()[:, 1])
            features.append(output.decoupled[cells].to(prototypes.dtype))
        return torch.cat(labels), torch.cat(features)

    def _cell_limit(self, prototypes: int) -> int:
        """The largest number of cells that this process adds to that many prototypes of a label."""
        return max(1, self.samples * prototypes // _world_size())


def _positive_cells(targets: Targets) -> Bool[Tensor, "B L"]:
    return targets.known & (targets.values >= 0.5)


def _world_size() -> int:
    """Number of processes; 1 without distributed training."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def _gather(
    labels: Int[Tensor, " N"], features: Float[Tensor, "N D"], device: torch.device
) -> tuple[Int[Tensor, " M"], Float[Tensor, "M D"]]:
    """The cells of all processes, in the order of their ranks."""
    world = _world_size()
    if world == 1:
        return labels, features
    number = torch.tensor([len(labels)], device=device)
    numbers = [torch.zeros_like(number) for _ in range(world)]
    torch.distributed.all_gather(numbers, number)
    sizes = [int(n) for n in numbers]
    # Rows are padded with -1, since all_gather needs equal sizes.
    padded = features.new_full((max(sizes), features.shape[1] + 1), -1)
    padded[: len(labels)] = torch.cat([labels.unsqueeze(1).to(features.dtype), features], 1)
    parts = [torch.empty_like(padded) for _ in range(world)]
    torch.distributed.all_gather(parts, padded)
    rows = cast(Tensor, torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]))
    return rows[:, 0].long(), rows[:, 1:]
