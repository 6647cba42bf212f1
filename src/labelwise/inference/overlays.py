"""Pictures of evidence maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from labelwise.lazy import Float

PALETTE = ((38, 20, 84), (46, 84, 148), (30, 146, 140), (122, 196, 84), (253, 231, 60))


def tint(evidence: Float[np.ndarray, "h w"]) -> Image.Image:
    """A map as an overlay of a photograph: dark violet and transparent where low, yellow where high.

    The map is scaled to its own range, so that its peak is visible for any range; a constant map is transparent.
    """
    low, high = float(np.nanmin(evidence)), float(np.nanmax(evidence))
    level = (np.nan_to_num(evidence, nan=low) - low) / ((high - low) or 1.0)
    smooth = Image.fromarray(level.astype(np.float32)).resize((64, 64), Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(smooth), 0, 1)
    stops = np.linspace(0, 1, len(PALETTE))
    channels = [np.interp(level, stops, [colour[c] for colour in PALETTE]) for c in range(3)]
    alpha = 255 * (0.14 + 0.54 * level) if high > low else np.zeros_like(level)
    return Image.fromarray(np.stack([*channels, alpha], axis=-1).round().astype(np.uint8))


def overlay(image: Any, evidence: Float[np.ndarray, "h w"]) -> Image.Image:
    """The photograph with a map overlaid, at the photograph's size.

    Args:
        image: uint8 `[3, H, W]`, an array or a tensor.
        evidence: the map, over the whole photograph.
    """
    photograph = Image.fromarray(np.ascontiguousarray(np.asarray(image).transpose(1, 2, 0)))
    layer = tint(evidence).resize(photograph.size, Image.Resampling.BILINEAR)
    return Image.alpha_composite(photograph.convert("RGBA"), layer).convert("RGB")
