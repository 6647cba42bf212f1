"""RAP, second version: `RAP_annotation/RAP_annotation.mat` (or the pickled index) and `RAP_dataset/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers.attributes import Attributes, Index, dataset_of_attributes
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.matlab import entry, integer_matrix, partition_rows, read_mat, row_numbers, texts
from labelwise.data.readers.pedestrian_index import index_of
from labelwise.data.readers.published import PUBLISHED
from labelwise.data.source import Source

FORM = "rapv2:DIR[?split=official|zs&unknown=mask|zero]"
MEANING = "RAP v2, 54 attributes of pedestrians: RAP_annotation/RAP_annotation.mat and RAP_dataset/"
OPTIONS = frozenset({"split", "unknown", "order", "images", "missing"})

_NAMES = (
    "Female AgeLess16 Age17-30 Age31-45 Age46-60 BodyFat BodyNormal BodyThin Customer Employee hs-BaldHead "
    "hs-LongHair hs-BlackHair hs-Hat hs-Glasses ub-Shirt ub-Sweater ub-Vest ub-TShirt ub-Cotton ub-Jacket "
    "ub-SuitUp ub-Tight ub-ShortSleeve ub-Others lb-LongTrousers lb-Skirt lb-ShortSkirt lb-Dress lb-Jeans "
    "lb-TightTrousers shoes-Leather shoes-Sports shoes-Boots shoes-Cloth shoes-Casual shoes-Other "
    "attachment-Backpack attachment-ShoulderBag attachment-HandBag attachment-Box attachment-PlasticBag "
    "attachment-PaperBag attachment-HandTrunk attachment-Other action-Calling action-Talking action-Gathering "
    "action-Holding action-Pushing action-Pulling action-CarryingByArm action-CarryingByHand action-Other"
)
NAMES = tuple(_NAMES.split())
ATTRIBUTES = Attributes(
    NAMES,
    (NAMES[10:15], NAMES[15:25], NAMES[25:31], NAMES[31:37], NAMES[37:45],
     (*NAMES[1:5], NAMES[0], *NAMES[5:10], *NAMES[45:])),
    {"age": NAMES[1:5], "body": NAMES[5:8], "role": NAMES[8:10]},
)  # fmt: skip
NOT_ZERO_SHOT = "Age46-60"


def read(source: Source) -> Dataset:
    """Reads RAP's first partition; with `split=zs` the zero-shot one, with test persons in no training image.

    The zero-shot split has 53 attributes, without Age46-60. A state of 2 is unknown, or with `unknown=zero` negative.

    Raises:
        LabelwiseError: missing or truncated files, or sizes other than the official ones.
    """
    zero_shot = source.choice("split", ("official", "zs")) == "zs"
    root = source_folder(source, "a RAP folder")
    index = index_of(root, root / "RAP_annotation" / "RAP_annotation.mat", _from_mat, zero_shot)
    official = ATTRIBUTES
    if zero_shot:
        official = replace(official, names=tuple(name for name in NAMES if name != NOT_ZERO_SHOT))
    published = PUBLISHED["rapv2-zs" if zero_shot else "rapv2"]
    return dataset_of_attributes(index, official, source, [root / "RAP_dataset"], published)


def _from_mat(file: Path) -> Index:
    """The index of the official MATLAB file, with its selected attributes."""
    struct = read_mat(file, "RAP_annotation")
    images, names = texts(entry(struct, "name", 0, file)), texts(entry(struct, "attribute", 2, file))
    states = integer_matrix(entry(struct, "data", 1, file), len(images), len(names), "the labels", file)
    chosen = row_numbers(entry(struct, "selected_attribute", 3, file), len(names), "selected_attribute", file)
    partition = entry(struct, "partition_attribute", 4, file)
    fields = ("train_index", "val_index", "test_index")
    splits = partition_rows(partition, fields, len(images), file)
    return Index(file, images, [names[i] for i in chosen], states[:, chosen], splits)
