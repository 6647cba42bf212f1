"""Images of a batch blended or pasted in pairs, against loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import partial_batches
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS
from labelwise.training.fit import train
from labelwise.training.mixup import cut_mix, mix, mixed
from labelwise.types import Batch, Targets
from small_trainers import a_trainer


def a_batch(dtype: torch.dtype, rows: int = 3) -> Batch:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, 4, 5), generator=g).to(dtype)
    values = torch.randint(0, 2, (rows, 6), generator=g).float()
    known = torch.rand(rows, 6, generator=g) < 0.7
    return Batch(images, Targets(values, known), torch.arange(rows), is_map=dtype == torch.float32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_equals_a_loop(dtype: torch.dtype) -> None:
    batch = a_batch(dtype)
    torch.manual_seed(1)
    share = torch.distributions.Beta(0.4, 0.4).sample().item()
    t = max(share, 1 - share)
    torch.manual_seed(1)
    mixed_batch = mix(batch, 0.4)
    assert 0.5 <= t < 1
    assert mixed_batch.is_map == batch.is_map
    scale = 255 if dtype == torch.uint8 else 1
    for i in range(3):
        other = 2 - i
        pixels = (t * batch.images[i].float() + (1 - t) * batch.images[other].float()) / scale
        torch.testing.assert_close(mixed_batch.images[i], pixels)
        for label in range(6):
            both = bool(batch.targets.known[i, label] and batch.targets.known[other, label])
            assert bool(mixed_batch.targets.known[i, label]) == both
            y = t * batch.targets.values[i, label] + (1 - t) * batch.targets.values[other, label]
            assert mixed_batch.targets.values[i, label].item() == pytest.approx(y.item() if both else 0.0)


def test_one_image_stays_as_it_is() -> None:
    batch = a_batch(torch.float32, rows=1)
    mixed_batch = mix(batch, 0.4)
    torch.testing.assert_close(mixed_batch.images, batch.images)
    assert torch.equal(mixed_batch.targets.known, batch.targets.known)


@pytest.mark.parametrize("rows", [1, 2, 5, 6])
def test_each_pair_has_a_share_of_its_own(rows: int) -> None:
    batch = a_batch(torch.float32, rows)
    torch.manual_seed(1)
    samples = torch.distributions.Beta(0.4, 0.4).sample((-(-rows // 2),)).tolist()
    torch.manual_seed(1)
    mixed_batch = mix(batch, 0.4, "pair")
    assert len(set(samples)) == len(samples)
    for i in range(rows):
        other = rows - 1 - i
        t = max(samples[min(i, other)], 1 - samples[min(i, other)])
        torch.testing.assert_close(mixed_batch.images[i], t * batch.images[i] + (1 - t) * batch.images[other])
        for label in range(6):
            both = bool(batch.targets.known[i, label] and batch.targets.known[other, label])
            assert bool(mixed_batch.targets.known[i, label]) == both
            y = t * batch.targets.values[i, label] + (1 - t) * batch.targets.values[other, label]
            assert mixed_batch.targets.values[i, label].item() == pytest.approx(y.item() if both else 0.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("seed", range(12))
def test_cutmix_equals_a_loop_over_pixels(dtype: torch.dtype, seed: int) -> None:
    """Which pixels are pasted is read from the images; the rest follows by counting them."""
    batch = a_batch(dtype, 5)
    # Every pixel says whose it is: the red one of image i is i.
    for i in range(5):
        batch.images[i, 0] = i
    torch.manual_seed(seed)
    pasted_batch = cut_mix(batch, 1.0)
    assert pasted_batch.images.dtype == dtype
    assert pasted_batch.is_map == batch.is_map
    for i in range(5):
        other = 4 - i
        own = 0
        for y in range(4):
            for x in range(5):
                whose = int(pasted_batch.images[i, 0, y, x])
                assert whose in (i, other)
                assert torch.equal(pasted_batch.images[i, :, y, x], batch.images[whose, :, y, x])
                own += whose == i
        pasted = pasted_batch.images[i, 0] != i
        if other != i:
            down, across = pasted.any(1).nonzero().flatten(), pasted.any(0).nonzero().flatten()
            assert pasted.sum() == len(down) * len(across)  # a box
            assert torch.equal(pasted_batch.images[other, 0] == i, pasted)
        share = own / 20
        for label in range(6):
            seen = [j for j, part in ((i, share), (other, 1 - share)) if part > 0]
            known = all(bool(batch.targets.known[j, label]) for j in seen)
            assert bool(pasted_batch.targets.known[i, label]) == known
            value = share * batch.targets.values[i, label] + (1 - share) * batch.targets.values[other, label]
            assert pasted_batch.targets.values[i, label].item() == pytest.approx(
                value.item() if known else 0.0
            )


def test_areas_of_cutmix_follow_beta() -> None:
    """Alpha 1: the box has a uniform area before the edges cut it, so that a quarter to a half is pasted on average."""
    torch.manual_seed(0)
    batch = Batch(torch.zeros(2000, 1, 32, 32), Targets.of(torch.zeros(2000, 1)), torch.arange(2000))
    batch.images[:1000] = 1
    pasted = (cut_mix(batch, 1.0).images[:1000] == 0).float().mean((1, 2, 3))
    # E of the clipped side: s (1 - s / 4) of sides s = sqrt(u) with middles anywhere; squared over u.
    sides = torch.linspace(0, 1, 100_001).sqrt()
    expected = (sides - sides**2 / 4).square().mean()
    assert pasted.mean() == pytest.approx(expected.item(), abs=0.03)
    assert pasted.std() > 0.15


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"mixup": 0.4, "per": "pair"}, {"cutmix": 1.0}])
def test_what_a_batch_carries_stays(options: dict[str, Any]) -> None:
    batch = a_batch(torch.float32, 4)
    batch.unreadable, batch.divisor = ((7, "cut short"),), torch.tensor(3.0)
    batch.index = torch.tensor([5, 6, 8, 9])
    mixed_batch = mixed(batch, **options)
    assert not torch.equal(mixed_batch.images, batch.images)
    assert mixed_batch.unreadable == batch.unreadable
    assert mixed_batch.divisor is batch.divisor
    assert torch.equal(mixed_batch.index, batch.index)
    assert mixed(batch) is batch


@pytest.mark.parametrize("options", [{"mixup": 0.4, "mixup_per": "pair"}, {"cutmix": 1.0}])
def test_cells_weigh_alike_over_the_batches_of_a_step(tmp_path: Path, options: dict[str, Any]) -> None:
    """The loss of a step is the sum over known cells of its mixed batches, over their number."""
    g = torch.Generator().manual_seed(2)
    batches = []
    for first, rows, share in ((0, 6, 0.9), (6, 4, 0.3)):
        values = (torch.rand(rows, partial_batches.LABELS, generator=g) < 0.5).float()
        known = torch.rand(rows, partial_batches.LABELS, generator=g) < share
        images = torch.randn(rows, partial_batches.CHANNELS, 3, 4, generator=g)
        batches.append(Batch(images, Targets(values, known), torch.arange(first, first + rows)))
    trainer = a_trainer(tmp_path, batches, optim={"accumulate": 2, "name": "sgd"}, **options)
    seen: list[Batch] = []
    honest = trainer._prepared
    trainer._prepared = lambda batch: seen.append(honest(batch)) or seen[-1]  # type: ignore[method-assign]
    trainer.method.train()
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    terms, _, _ = trainer._step(iter(batches))
    trainer.method.load_state_dict(before)
    total, count = torch.zeros(()), 0
    for batch in seen:
        z = trainer.method.model(batch.images, is_map=batch.is_map).logits
        cells = torch.nn.functional.binary_cross_entropy_with_logits(
            z, batch.targets.values, reduction="none"
        )
        total = total + cells[batch.targets.known].sum()
        count += int(batch.targets.known.sum())
    counts = [int(batch.targets.known.sum()) for batch in seen]
    assert counts[0] != counts[1]
    assert terms["classification"].item() == pytest.approx((total / count).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mixup": 0.2, "cutmix": 1.0},
            "cutmix = 1.0; expected one way to combine images, so 0 beside mixup",
        ),
        ({"mixup_per": "pair"}, "mixup_per = 'pair'; expected batch where mixup is 0"),
        ({"cutmix": -1}, "cutmix = -1; expected input should be greater than or equal to 0"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        make_config({"data": {"source": "x"}, **settings})
    assert str(error.value).startswith(message)


def test_strategies_for_unknown_cells_take_images_as_they_are(table: Path, tmp_path: Path) -> None:
    config = make_config(
        tiny_runs.settings(
            "",
            data={"source": f"parquet:{table}", "known_proportion": 0.5},
            cutmix=1.0,
            unknown={"name": "hill"},
        )
    )
    with pytest.raises(LabelwiseError, match="--unknown hill with cutmix=1; "):
        train(config, tmp_path / "run", quiet=True)


@pytest.mark.parametrize("options", [{"mixup": 0.4, "mixup_per": "pair"}, {"cutmix": 1.0}])
def test_a_run_repeats_in_bytes(table: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    weights = [
        (
            train(
                make_config(tiny_runs.settings(f"parquet:{table}", epochs=1, **more)),
                tmp_path / name,
                quiet=True,
            ).path
            / WEIGHTS
        ).read_bytes()
        for name, more in (("a", options), ("b", options), ("plain", {}))
    ]
    assert weights[0] == weights[1] != weights[2]
