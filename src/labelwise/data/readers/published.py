"""Published numbers of images, for comparison with the images that were read."""

from __future__ import annotations

from collections.abc import Mapping

PUBLISHED: Mapping[str, Mapping[str, int]] = {
    "coco2014": {"train": 82783, "test": 40504},
    "coco2017": {"train": 118287, "test": 5000},
    "nuswide": {"train": 161789, "test": 107859},
    "vg": {"train": 82904, "test": 10000},
    "peta": {"train": 9500, "val": 1900, "test": 7600},
    "peta-zs": {"train": 11241, "val": 3826, "test": 3933},
    "pa100k": {"train": 80000, "val": 10000, "test": 10000},
    "rapv1": {"train": 33268, "test": 8317},
    "rapv2": {"train": 50957, "val": 16986, "test": 16985},
    "rapv2-zs": {"train": 17062, "val": 4628, "test": 4928},
}
"""Images of each split; those of nuswide and of the -zs splits are known from memory alone."""


def count_notes(have: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """A note for each split with another number of images than published.

    >>> count_notes({"train": 3, "test": 8317}, PUBLISHED["rapv1"])
    ['train has 3 images, published are 33,268.']
    """
    counts = ((name, have.get(name, 0), count) for name, count in published.items())
    return [f"{name} has {read:,} images, published are {n:,}." for name, read, n in counts if read != n]
