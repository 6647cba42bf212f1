"""Any timm model as images -> feature map."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from labelwise.backbones import TimmBackbone, timm_backbone
from labelwise.errors import LabelwiseError

FAMILIES = {"test_resnet": 32, "test_convnext": 32, "test_vit": 16, "test_efficientnet": 32}
every_family = pytest.mark.parametrize("name", FAMILIES)


def photographs(h: int = 64, w: int = 64, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, h, w), generator=generator, dtype=torch.uint8)


def backbone(name: str, **options: object) -> TimmBackbone:
    return TimmBackbone(name, weights="none", image_size=64, **options).eval()


@torch.no_grad()
@every_family
def test_map_is_what_timm_gives_for_normalised_images(name: str) -> None:
    net = backbone(name)
    images = photographs()
    mean, std = (torch.tensor(net.net.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    raw = net.net.forward_features(torch.stack([(image / 255 - mean) / std for image in images]))
    maps = net(images)
    side = 64 // FAMILIES[name]
    assert maps.shape == (2, net.out_channels, side, side)
    assert net.stride == FAMILIES[name]
    for row in range(side):
        for column in range(side):
            # Tokens come row by row after the class token; maps of convolutional nets are indexed directly.
            seen = raw[:, 1 + row * side + column] if raw.ndim == 3 else raw[:, :, row, column]
            torch.testing.assert_close(maps[:, :, row, column], seen, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_channels_last_maps_are_turned(seeded: torch.Generator) -> None:
    net = TimmBackbone("swin_tiny_patch4_window7_224", weights="none", image_size=224).eval()
    images = photographs(224, 224, batch=1)
    raw = net.net.forward_features(net.normalise(images))
    assert raw.shape == (1, 7, 7, 768)
    torch.testing.assert_close(net(images), raw.permute(0, 3, 1, 2))
    assert (net.out_channels, net.stride) == (768, 32)


@torch.no_grad()
@every_family
def test_bytes_and_unit_floats_mean_the_same(name: str) -> None:
    net, images = backbone(name), photographs()
    torch.testing.assert_close(net(images), net(images / 255))


@torch.no_grad()
@every_family
@pytest.mark.parametrize("size", [(32, 64), (96, 64), (128, 128)])
def test_other_sizes_and_shapes_work(name: str, size: tuple[int, int]) -> None:
    maps = backbone(name)(photographs(*size))
    assert maps.shape[2:] == (size[0] // FAMILIES[name], size[1] // FAMILIES[name])


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("stage", [1, 2])
def test_an_earlier_stage_is_the_one_that_timm_counts(name: str, stage: int) -> None:
    net = backbone(name, stage=stage)
    reference = timm.create_model(name, features_only=True, out_indices=[stage]).eval()
    assert net.out_channels == reference.feature_info.channels()[0]
    assert net.stride == reference.feature_info.reduction()[0]
    whole = backbone(name)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in whole.parameters())
    whole.net.load_state_dict(net.net.state_dict(), strict=False)
    every_map = whole.net.forward_intermediates(whole.normalise(photographs()), intermediates_only=True)
    maps = net(photographs())
    torch.testing.assert_close(maps, every_map[stage])
    assert maps.shape[1] == net.out_channels


@torch.no_grad()
def test_an_earlier_block_of_a_transformer() -> None:
    net = backbone("test_vit", stage=1)
    assert net(photographs(96, 64)).shape == (2, net.out_channels, 6, 4)
    assert net.stride == 16


def test_frozen_takes_no_gradient_and_keeps_its_statistics() -> None:
    net = TimmBackbone("test_resnet", weights="none", image_size=64, freeze=True)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    parent = torch.nn.ModuleList([net]).train()
    assert parent.training
    assert not net.net.training
    assert not net(photographs()).requires_grad
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@every_family
@pytest.mark.parametrize("stage", [-1, 1])
def test_what_learns_is_what_the_map_comes_from(name: str, stage: int) -> None:
    net = backbone(name, stage=stage)
    net(photographs()).square().sum().backward()
    learning = {key: p.grad for key, p in net.named_parameters() if p.requires_grad}
    assert len(learning) > 10
    assert [key for key, gradient in learning.items() if gradient is None] == []
    for key, p in net.named_parameters():
        assert p.requires_grad or "head" in key or "norm" in key


def test_normalisation_travels_with_the_code_and_not_with_the_weights() -> None:
    net = backbone("test_resnet")
    assert all(k.startswith("net.") for k in net.state_dict())


def test_drop_path_reaches_the_network() -> None:
    rates = [
        m.drop_prob for m in backbone("test_convnext", drop_path=0.3).modules() if hasattr(m, "drop_prob")
    ]
    assert max(rates) == pytest.approx(0.3)


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("resnet10x", weights="none")
    given, expected, todo = error.value.given, error.value.expected, error.value.todo
    assert given == "backbone 'resnet10x'"
    assert expected.startswith("a timm model name (near: ")
    assert "see timm.list_models()" in expected or "resnet" in expected
    assert todo == "correct --backbone"


def test_unreachable_hub_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(timm_backbone.timm, "create_model", refuse)
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("resnet10t")
    assert str(error.value) == (
        "pretrained weights of 'resnet10t' could not be fetched (no route); expected a reachable model hub or local "
        "weights; use --weights package:NAME, --weights FILE or --weights none"
    )


def test_stage_that_there_is_not() -> None:
    with pytest.raises(LabelwiseError) as error:
        backbone("test_resnet", stage=9)
    assert str(error.value) == (
        "stage 9 of 'test_resnet'; expected a stage from 0 to 4, or -1; correct backbone.stage"
    )


def test_features_without_a_grid_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimmBackbone, "_features", lambda self, x: torch.zeros(1, 8, 64))
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("test_vit", weights="none", image_size=64)
    assert str(error.value) == (
        "backbone 'test_vit' with features of shape [1, 8, 64]; "
        "expected a spatial map or a square grid of tokens; choose another timm model"
    )


@pytest.mark.parametrize(("name", "groups"), [("test_resnet", 2), ("test_vit", 3), ("test_efficientnet", 2)])
def test_frozen_groups_stay_as_they_are_and_the_rest_learns(name: str, groups: int) -> None:
    backbone = TimmBackbone(name, "none", 64, frozen_groups=groups).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    moved = [k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])]
    whole = TimmBackbone(name, "none", 64)
    below = sum(not p.requires_grad for p in backbone.parameters()) - sum(
        not p.requires_grad for p in whole.parameters()
    )
    assert moved
    assert below > 0
    still = {f"net.{k}" for k, p in backbone.net.named_parameters() if not p.requires_grad}
    assert not still & set(moved)
    # Statistics of a frozen batch norm rest as its weights do.
    assert not {k.rpartition(".")[0] for k in still} & {k.rpartition(".")[0] for k in moved if "running" in k}


@pytest.mark.parametrize(("name", "last"), [("test_resnet", "net.layer4"), ("test_convnext", "net.stages.3")])
def test_the_last_group_always_learns(name: str, last: str) -> None:
    learns = [
        n for n, p in TimmBackbone(name, "none", 64, frozen_groups=99).named_parameters() if p.requires_grad
    ]
    assert learns
    assert all(n.startswith(last) for n in learns)


@pytest.mark.parametrize(
    ("name", "groups", "learning"),
    [
        ("test_resnet", 1, ("net.layer4",)),
        ("test_resnet", 2, ("net.layer3", "net.layer4")),
        ("test_efficientnet", 1, ("net.blocks.4", "net.conv_head", "net.bn2")),
        ("test_vit", 2, ("net.blocks.4", "net.blocks.5", "net.norm")),
        ("test_convnext", 1, ("net.stages.3",)),
    ],
)
def test_the_last_groups_alone_learn(name: str, groups: int, learning: tuple[str, ...]) -> None:
    backbone = TimmBackbone(name, "none", 64, frozen_groups=1, unfrozen_groups=groups).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(torch.rand(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    moved = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert {part for part in learning if any(k.startswith(part) for k in moved)} == set(learning)
    assert all(k.startswith(learning) for k in moved)
    for k, module in backbone.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.training == k.startswith(learning), k


def test_as_many_groups_as_there_are_learn_whole() -> None:
    def learns(**groups: int) -> set[str]:
        parameters = TimmBackbone("test_resnet", "none", 64, **groups).named_parameters()
        return {n for n, p in parameters if p.requires_grad}

    assert learns(unfrozen_groups=5) == learns()
    with pytest.raises(LabelwiseError) as error:
        learns(unfrozen_groups=6)
    assert str(error.value) == (
        "the last 6 groups of 'test_resnet'; expected from 1 to 5, since it has 5 groups of layers; "
        "correct backbone.unfrozen_groups"
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {"drop_path": 0.3}),
        ("test_vit", {"unfrozen_groups": 2}),
        ("test_vit", {"stage": 3}),
        ("test_resnet", {"fixed_statistics": True}),
        ("test_resnet", {"fixed_statistics": True, "frozen_groups": 1}),  # what comes in needs no gradient
        ("test_efficientnet", {"fixed_statistics": True, "stage": 3}),
        ("test_convnext", {"drop_path": 0.3}),
    ],
)
def test_checkpointing_changes_no_gradient(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    calls = []
    honest = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        torch.utils.checkpoint, "checkpoint", lambda *a, **k: (calls.append(1), honest(*a, **k))[1]
    )

    def step(checkpointing: bool) -> tuple[dict[str, torch.Tensor | None], dict[str, torch.Tensor], int]:
        torch.manual_seed(1)
        made = TimmBackbone(name, "none", 64, gradient_checkpointing=checkpointing, **options).train()
        calls.clear()
        kept = [0]
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (kept.__setitem__(0, kept[0] + t.numel()), t)[1], lambda t: t
        ):
            out = made(torch.rand(2, 3, 64, 64))
        out.square().mean().backward()
        return (
            {n: p.grad for n, p in made.named_parameters()},
            dict(made.named_buffers()),
            kept[0],
        )

    gradients, buffers, kept = step(False)
    assert not calls
    recomputed, moved, fewer = step(True)
    assert calls
    assert fewer < kept
    assert any(g is not None for g in gradients.values())
    for n, gradient in gradients.items():
        assert (gradient is None) == (recomputed[n] is None), n
        if gradient is not None:
            torch.testing.assert_close(recomputed[n], gradient, atol=0, rtol=0)
    assert all(torch.equal(moved[n], buffer) for n, buffer in buffers.items())


def test_checkpointing_ends_with_training() -> None:
    backbone = TimmBackbone("test_vit", "none", 64, gradient_checkpointing=True)
    assert backbone.train().net.grad_checkpointing
    assert not backbone.eval().net.grad_checkpointing
    backbone.hold(True)
    assert not backbone.train().net.grad_checkpointing


def test_checkpointing_that_would_be_wrong_is_refused() -> None:
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("test_resnet", "none", 64, gradient_checkpointing=True)
    assert str(error.value) == (
        "gradient checkpointing of 'test_resnet' with batch norms on batch statistics; expected fixed statistics, "
        "since a recomputed batch would count twice; set backbone.statistics=fixed over pretrained "
        "weights, or leave backbone.gradient_checkpointing out"
    )
    with pytest.raises(LabelwiseError) as error:
        TimmBackbone("dla34", "none", 64, fixed_statistics=True, gradient_checkpointing=True)
    assert str(error.value) == (
        "gradient checkpointing of 'dla34'; expected a network for which timm implements it; choose another backbone, "
        "or leave backbone.gradient_checkpointing out"
    )
