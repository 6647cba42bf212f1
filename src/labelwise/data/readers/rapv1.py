"""RAP, first version: `RAP_annotation/RAP_annotation.mat` and `RAP_dataset/`."""

from __future__ import annotations

from pathlib import Path

from labelwise.data.dataset import Dataset
from labelwise.data.readers.attributes import Attributes, Index, dataset_of_attributes
from labelwise.data.readers.files import source_folder
from labelwise.data.readers.matlab import entry, integer_matrix, partition_rows, read_mat, texts
from labelwise.data.readers.published import PUBLISHED
from labelwise.data.source import Source

FORM = "rapv1:DIR[?unknown=mask|zero]"
MEANING = "RAP v1, 51 attributes of pedestrians: RAP_annotation/RAP_annotation.mat and RAP_dataset/"
OPTIONS = frozenset({"unknown", "order", "images", "missing"})

_NAMES = (
    "Female AgeLess16 Age17-30 Age31-45 BodyFat BodyNormal BodyThin Customer Clerk hs-BaldHead hs-LongHair "
    "hs-BlackHair hs-Hat hs-Glasses hs-Muffler ub-Shirt ub-Sweater ub-Vest ub-TShirt ub-Cotton ub-Jacket ub-SuitUp "
    "ub-Tight ub-ShortSleeve lb-LongTrousers lb-Skirt lb-ShortSkirt lb-Dress lb-Jeans lb-TightTrousers "
    "shoes-Leather shoes-Sport shoes-Boots shoes-Cloth shoes-Casual attach-Backpack attach-SingleShoulderBag "
    "attach-HandBag attach-Box attach-PlasticBag attach-PaperBag attach-HandTrunk attach-Other action-Calling "
    "action-Talking action-Gathering action-Holding action-Pusing action-Pulling action-CarrybyArm action-CarrybyHand"
)
NAMES = tuple(_NAMES.split())
ATTRIBUTES = Attributes(
    NAMES,
    (NAMES[9:15], NAMES[15:24], NAMES[24:30], NAMES[30:35], NAMES[35:43],
     (*NAMES[1:4], NAMES[0], *NAMES[4:9], *NAMES[43:])),
    {"age": NAMES[1:4], "body": NAMES[4:7], "role": NAMES[7:9]},
)  # fmt: skip


def read(source: Source) -> Dataset:
    """Reads RAP's first partition; a state of 2 is unknown, or with `unknown=zero` negative.

    Raises:
        LabelwiseError: missing or truncated files, or sizes other than the official ones.
    """
    root = source_folder(source, "a RAP folder")
    index = _index(root / "RAP_annotation" / "RAP_annotation.mat")
    return dataset_of_attributes(index, ATTRIBUTES, source, [root / "RAP_dataset"], PUBLISHED["rapv1"])


def _index(file: Path) -> Index:
    """The index of the official MATLAB file."""
    struct = read_mat(file, "RAP_annotation")
    images = texts(entry(struct, "imagesname", 5, file))
    names = texts(entry(struct, "attribute_eng", 3, file))
    states = integer_matrix(entry(struct, "label", 1, file), len(images), len(names), "the labels", file)
    partition = entry(struct, "partition", 0, file)
    splits = partition_rows(partition, ("train_index", "test_index"), len(images), file)
    return Index(file, images, names, states, splits)
