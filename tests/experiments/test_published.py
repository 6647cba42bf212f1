"""Published results: mark, source, and equality with the values in the papers."""

from __future__ import annotations

import pytest

from labelwise.errors import LabelwiseError
from labelwise.experiments import published


def test_only_what_a_paper_or_its_code_states_is_carried() -> None:
    assert {row.mark for row in published.published_results()} == {"paper"}
    for row in published.published_results():
        assert row.provenance
        assert 0 < float(row.value) < 100
    assert len({tuple(vars(row).values()) for row in published.published_results()}) == len(
        published.published_results()
    )


# (dataset, protocol, method, backbone, resolution, metric) -> every value that is stated for it.
STATED = {
    ("coco2014", "full", "GAP", "ResNet-101", "448", "mAP"): ["77.3"],
    ("coco2014", "full", "ML-GCN", "ResNet-101", "448", "mAP"): ["83.0"],
    ("coco2014", "full", "SSGRL", "ResNet-101", "576", "CF1"): ["76.8"],
    ("coco2014", "full", "CSRA", "ViT-L/16", "448", "mAP"): ["86.5", "86.9"],
    ("coco2014", "full", "Q2L", "TResNet-L", "448", "mAP"): ["87.3", "89.2"],
    ("coco2014", "full", "ML-Decoder", "TResNet-XL", "640", "mAP"): ["91.4"],
    ("voc2007", "full", "CSRA", "", "", "mAP"): ["94.7", "95.2", "96.8"],
    ("voc2012", "full", "MCAR", "ResNet-50", "", "mAP"): ["93.5"],
    ("nus-wide-81", "full", "ASL", "TResNet-L", "", "mAP"): ["65.2"],
    ("pa100k", "pedestrian attributes", "strong baseline", "ResNet-50", "256x192", "mA"): ["80.21"],
    ("rapzs", "pedestrian attributes", "strong baseline", "ResNet-50", "256x192", "F1"): ["77.66"],
    ("voc2007", "known 10-90 %, mean", "DSRB", "", "", "mAP"): ["91.5"],
}


@pytest.mark.parametrize("key", STATED, ids=lambda key: f"{key[2]}-{key[0]}-{key[5]}")
def test_values_are_those_stated(key: tuple[str, ...]) -> None:
    dataset, protocol, *rest = key
    values = [
        row.value
        for row in published.published_results(dataset, protocol)
        if [row.method, row.backbone, row.resolution, row.metric] == rest
    ]
    assert values == STATED[key]


def test_figures_known_from_elsewhere_alone_are_not_carried() -> None:
    methods = {row.method for row in published.published_results()}
    assert not methods & {"C-Tran", "KGGR", "SST", "SARB", "HST", "DualCoOp", "SCPNet", "ROLE", "DLFL"}
    assert {row.method for row in published.published_results("voc2007", "full")} == {
        "GAP", "GMP", "ML-GCN", "SSGRL", "MCAR", "TDRG", "CSRA", "ASL",
    }  # fmt: skip


def test_the_block_says_that_it_is_apart() -> None:
    lines = published.table_of_published("VG-500").splitlines()
    assert lines[0] == "published, other conditions; not comparable unless stated"
    assert lines[2].split()[:5] == ["SSGRL", "-", "-", "mAP", "36.6"]
    assert "vg-500, full" in lines[2]


def test_an_unknown_data_set() -> None:
    with pytest.raises(
        LabelwiseError, match=r"dataset 'coco'; expected one of coco2014, cub, .*; choose another"
    ):
        published.published_results("coco")
    with pytest.raises(LabelwiseError, match="protocol 'half'; expected one of full; choose another"):
        published.published_results("vg-500", "half")
