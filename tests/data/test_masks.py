"""The masks of the protocols, compared by hash with the published ones."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from labelwise.data import known_mask, single_positive_mask
from labelwise.data.masks import positives_mask
from labelwise.errors import LabelwiseError

VOC_TRAINVAL = {
    1: (10_108, "90b9d4d26415ab74dc052722af4623c304197146371559f1abdfc119f4a3f094"),
    2: (20_200, "07d1f5ce8768ae3b964cce59c823fc1f8a3477a108ffc9d1499782f1302d479b"),
    3: (30_163, "04016b0756b8f80c14345d92eabaf7aa73ff7a17fda60c4fa8c0447b45139399"),
    4: (40_067, "c6811f81e0cea27a0d262016a8cdab9ac1c069bd41ba97f06f91627ba52fabb9"),
    5: (50_163, "9233edc072b335aa418c2d28c38860c3af8ed63c6dfcea81cfd04ef3c9e66cc3"),
    6: (60_284, "6bc13d65afc8516caf7187d59c7742e9da3bed3c5f3e24f01a8278a875dc6667"),
    7: (70_128, "4b4eeac11a775f38c445f80324fc3297e9b5f1f6916c4eac8fd13839949632ad"),
    8: (80_132, "e09334dd61a2e48e8d537a2f87422d1e9dc22a5a847595659536c0937549e411"),
    9: (90_174, "bc240e756d5af11146636240ccd22113e6503eb5caf1c73713a2a42ed5adc32f"),
}


@pytest.mark.parametrize("tenths", sorted(VOC_TRAINVAL))
def test_known_mask_is_the_fields_draw(tenths: int) -> None:
    cells, digest = VOC_TRAINVAL[tenths]
    mask = known_mask(5011, 20, tenths / 10)
    assert int(mask.sum()) == cells
    assert hashlib.sha256(np.ascontiguousarray(mask.astype(np.uint8)).tobytes()).hexdigest() == digest


def test_known_masks_are_nested_and_seeds_differ() -> None:
    small, large = known_mask(300, 7, 0.2), known_mask(300, 7, 0.3)
    assert not (small & ~large).any()
    assert (known_mask(300, 7, 0.2, seed=1) != small).any()
    assert known_mask(5, 4, 1.0).all()
    assert not known_mask(5, 4, 0.0).any()


def test_a_percentage_is_refused() -> None:
    with pytest.raises(LabelwiseError, match=r"a known proportion of 10.0; .*write 10 % as 0\.1"):
        known_mask(5, 5, 10.0)


def test_masks_keep_the_global_stream() -> None:
    np.random.seed(3)
    first = np.random.rand()
    np.random.seed(3)
    known_mask(10, 10, 0.5)
    single_positive_mask(np.ones((4, 3), bool))
    assert np.random.rand() == first


def test_single_positive_by_a_slow_reference() -> None:
    positive = np.random.default_rng(0).random((40, 6)) < 0.4
    stream = np.random.RandomState(1200)
    expected = np.zeros_like(positive)
    for i in range(40):
        here = np.array([j for j in range(6) if positive[i, j]], int)
        absent = np.array([j for j in range(6) if not positive[i, j]], int)
        stream.shuffle(here)
        stream.shuffle(absent)
        if len(here):
            expected[i, here[0]] = True
    mask = single_positive_mask(positive)
    np.testing.assert_array_equal(mask, expected)
    assert not (mask & ~positive).any()


def test_positives_alone_are_told_and_by_the_draws_of_the_known_mask() -> None:
    positive = np.random.default_rng(0).random((200, 9)) < 0.4
    mask = positives_mask(positive, 0.3)
    assert not (mask & ~positive).any()
    np.testing.assert_array_equal(mask[positive], known_mask(200, 9, 0.3, seed=0)[positive])
    np.testing.assert_array_equal(positives_mask(positive), positive)
    assert (positives_mask(positive, 0.3, seed=1) != mask).any()


def test_masks_of_nothing_and_of_less_than_nothing() -> None:
    assert known_mask(0, 3, 0.5).shape == (0, 3)
    assert known_mask(3, 0, 0.5).shape == (3, 0)
    for rows, labels in ((-1, 3), (3, -1)):
        with pytest.raises(LabelwiseError, match=f"a mask of {rows} x {labels}; expected sizes of 0 or more"):
            known_mask(rows, labels, 0.5)
