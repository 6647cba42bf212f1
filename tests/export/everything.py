"""Every method, and every family of backbones, as one graph: tracing and conversion are paid once for all."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import register_model
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from labelwise.methods import create_model
from labelwise.model import LabelModel
from labelwise.registry import list_methods

NAMES, SIDE = tuple("abcdefg"), 64
FAMILIES = ("test_resnet", "test_convnext", "test_vit", "tiny_export_swin", "test_efficientnet")


@register_model
def tiny_export_swin(**options: Any) -> SwinTransformer:
    """A shifted-window transformer small enough for a test: its map has channels last."""
    small = {"patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2)}
    meant_for_timm = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    return SwinTransformer(**small, **{k: v for k, v in options.items() if k not in meant_for_timm})


class Patches(nn.Module):
    """The least backbone: one convolution."""

    out_channels, stride = 12, 16

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, self.out_channels, self.stride, self.stride)

    def forward(self, images: Tensor) -> Tensor:
        """The map of uint8 images."""
        return self.net(images.float() / 255)


class Everything(nn.Module):
    """Models by name; their logits and maps one after the other."""

    def __init__(self, models: dict[str, LabelModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models.values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`(logits, maps)` of each model in order."""
        found = [model(images, want_maps=True) for model in self.models]
        return tuple(t for output in found for t in (output.logits, output.maps))


def every_model() -> dict[str, LabelModel]:
    """Each method on the least backbone, then one method on each family; weights away from their start."""
    torch.manual_seed(0)
    found = {name: create_model(name, Patches(), NAMES) for name in list_methods()}
    for family in FAMILIES:
        found[family] = create_model("csra", family, NAMES, image_size=SIDE)
    with torch.no_grad():
        for model in found.values():
            for key, p in model.named_parameters():
                if len(NAMES) in p.shape and not key.startswith("backbone."):
                    p.normal_()
    return {name: model.eval() for name, model in found.items()}


def pictures(count: int, seed: int = 0) -> Tensor:
    """Random uint8 images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
