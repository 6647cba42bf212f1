"""Twelve representative families of timm: maps, gradients, weights; `labelwise backbones check` does more."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from timm.models import list_modules
from torch import Tensor

from labelwise.backbones import TimmBackbone
from labelwise.backbones.description import VERIFIED, family_of
from labelwise.errors import LabelwiseError
from labelwise.experiments.families import FAMILIES, REPRESENTATIVE
from labelwise.runs.sealed import load_sealed, save_sealed

# Small sides, of those that the networks accept, and the rows of their maps.
SIDES = {
    "pit": (64, 2),
    "coat": (64, 2),
    "crossvit": (240, 14),
    "byoanet": (256, 8),
    "mlp_mixer": (64, 4),
    "maxxvit": (64, 2),
    "vision_transformer": (64, 4),
}


def images(side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("family", REPRESENTATIVE)
def test_a_family_has_maps_gradients_and_weights(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    side, rows = SIDES.get(family, (64, 2))
    torch.manual_seed(0)
    net = TimmBackbone(FAMILIES[family], "none", side).train()
    maps = net(images(side))
    assert maps.shape == (2, net.out_channels, rows, rows)
    maps.square().mean().backward()
    learning = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    assert len(learning) > 10
    assert [name for name, g in learning.items() if g is None or not g.isfinite().all()] == []
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_sealed({name: part.contiguous() for name, part in net.state_dict().items()}, file)
    again = TimmBackbone(FAMILIES[family], "none", side).eval()
    again.load_state_dict(load_sealed(file))
    with torch.no_grad():
        torch.testing.assert_close(again(images(side)), net.eval()(images(side)), atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "block"), [("pit_ti_224", "transformers.2"), ("coat_lite_tiny", "serial_blocks4.1")]
)
def test_the_map_is_what_the_last_block_computes(name: str, block: str) -> None:
    """For networks whose `forward_features` returns class tokens, or tokens that are no square."""
    net = TimmBackbone(name, "none", 64).eval()
    seen: list[Tensor] = []
    net.net.get_submodule(block).register_forward_hook(
        lambda module, given, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    maps = net(images(64))
    (last,) = seen
    for row in range(2):
        for column in range(2):
            # Tokens follow a class token row by row; maps are indexed directly.
            place = last[:, 1 + row * 2 + column] if last.ndim == 3 else last[:, :, row, column]
            torch.testing.assert_close(maps[:, :, row, column], place, atol=0, rtol=0)


def test_groups_of_a_network_that_timm_does_not_divide_are_its_parts() -> None:
    net = TimmBackbone("pit_ti_224", "none", 64, frozen_groups=3)
    frozen = {".".join(name.split(".")[1:3]) for name, p in net.named_parameters() if not p.requires_grad}
    learning = {".".join(name.split(".")[1:3]) for name, p in net.named_parameters() if p.requires_grad}
    assert {"pos_embed", "cls_token", "patch_embed.conv", "transformers.0"} <= frozen
    assert learning == {"transformers.1", "transformers.2"}
    last = TimmBackbone("pit_ti_224", "none", 64, unfrozen_groups=1)
    assert {name[: len("net.transformers.2")] for name, p in last.named_parameters() if p.requires_grad} == {
        "net.transformers.2"
    }


def test_a_network_of_one_place_stays_one_place() -> None:
    net = TimmBackbone("test_vit", "none", 16)
    assert net(images(16)).shape[2:] == (1, 1)


def test_a_stage_that_timm_cannot_separate_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("pit_ti_224", "none", 64, stage=9)
    assert str(error.value).startswith("stage 9 of 'pit_ti_224'; expected a stage from 0 to ")


def test_every_family_of_timm_has_its_model() -> None:
    of_timm = {
        name for name in list_modules() if find_spec(f"timm.models.{name}")
    }  # tests register their own
    assert set(FAMILIES) == of_timm
    assert {family: family_of(name) for family, name in FAMILIES.items()} == {f: f for f in FAMILIES}
    assert set(REPRESENTATIVE) <= set(FAMILIES)
    assert len(set(REPRESENTATIVE)) == 12
    assert set(REPRESENTATIVE) >= VERIFIED
