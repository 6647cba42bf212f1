"""Tables of `labelwise predict --out` as a source of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.inference import Prediction
from labelwise.inference.tables import WRITERS

Photo = Callable[..., Path]


@pytest.mark.parametrize("names", [("cat", "dog"), ("a|b", "dog")])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_of_predictions(tmp_path: Path, photo: Photo, suffix: str, names: tuple[str, str]) -> None:
    thresholds = dict.fromkeys(names, 0.5)
    scores = [(0.9, 0.8), (0.75, 0.25), (0.125, 0.25)]
    file = tmp_path / f"pred{suffix}"
    with WRITERS[suffix](file, names) as writer:
        for number, row in enumerate(scores):
            photo(tmp_path / f"{number}.jpg", seed=number)
            writer.add(Prediction(f"{number}.jpg", dict(zip(names, row, strict=True)), thresholds))
    source = f"{'parquet' if suffix == '.parquet' else 'csv'}:{file}"
    origin = "" if suffix == ".parquet" else "written by labelwise predict; .*"
    with pytest.raises(LabelwiseError, match=origin + r"add \?labels=selected"):
        read(source)
    data = read(f"{source}?labels=selected")
    assert data.labels.names == names
    assert data.values.tolist() == [[1, 1], [1, 0], [0, 0]]


def test_rows_with_an_error_are_to_be_removed(tmp_path: Path) -> None:
    file = tmp_path / "pred.csv"
    file.write_text("image,error,selected,cat\n0.jpg,,cat,0.9\n1.jpg,it is empty,,\n")
    with pytest.raises(LabelwiseError, match="remove the rows with an error, and add"):
        read(f"csv:{file}")
