"""Settings of the data of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labelwise.runs.sections import Section


class DataSettings(Section):
    """Source of the images and labels, and what training sees of them."""

    source: str = Field(description="SOURCE, as `labelwise train --data` takes it")
    train_images: int = Field(
        0, ge=0, description="number of training images, a random subset by the seed; 0 for all"
    )
    long_tail: Literal["none", "exponential", "pareto"] = Field(
        "none",
        description="learn from a long-tailed random subset of the training images: images per label by its rank; see "
        "docs/long-tails.md",
    )
    long_tail_most: int = Field(
        0, ge=0, description="images of the most frequent label of the long tail; 0 for all of its images"
    )
    long_tail_least: int = Field(4, ge=1, description="images of the rarest label of the long tail")
    known_proportion: float = Field(
        1.0, gt=0, le=1, description="share of training cells kept known; others hidden"
    )
    known: Literal["cells", "groups", "positives", "single-positive"] = Field(
        "cells",
        description="cells that known_proportion selects from: all training cells; groups, the same labels for all "
        "images of a group; positives, with every negative hidden; or single-positive, one known positive per image "
        "and nothing else",
    )
    mask_file: str = Field(
        "", description="npz of the training cells that stay known, such as another run's known.npz"
    )
    untrained_labels: bool = Field(
        False, description="go on where a label of another split has no positive in train"
    )
    unjudged_validation: bool = Field(
        False,
        description="go on, and keep the last epoch, where no label of val has a known positive and negative",
    )
    max_unreadable: float = Field(
        0.01, ge=0, le=1, description="share of training images that may be unreadable"
    )
