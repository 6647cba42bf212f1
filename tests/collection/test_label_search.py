"""Searches equal a slow comparison of all features, with conditions, examples and the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from written import NAMES, slow, synthetic

import labelwise as lw
from labelwise.collection import store
from labelwise.collection.queries import combined
from labelwise.collection.where import parse_condition
from labelwise.errors import LabelwiseError
from labelwise.runs.run import Run
from tiny_runs import command


def test_the_index_finds_nearly_all_and_conditions_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "INDEXED", 1000)
    monkeypatch.setattr(store, "PARTITION", 256)
    collection, arrays = synthetic(tmp_path / "c", 3000)
    assert {i.name for i in collection._store.features.list_indices()} == {
        "label_idx",
        "labels_idx",
        "feature_idx",
    }
    rng, shares = np.random.default_rng(6), []
    allowed = arrays["present"][:, 0] & ~(arrays["scores"][:, 1] > 0.7)
    condition = 'cat and not "potted plant" > 0.7'
    for _ in range(20):
        vector = rng.standard_normal(8).astype(np.float32)
        truth, likeness = slow(arrays, 3, vector, allowed, 20)
        exact = collection.nearest(NAMES[3], vector, condition, 20, exact=True)
        assert exact["similarity"].to_pylist() == pytest.approx(likeness[truth], abs=1e-3)
        found = collection.nearest(NAMES[3], vector, condition, 20)["image"].to_pylist()
        assert all(allowed[i] and arrays["present"][i, 3] for i in found)
        shares.append(len(set(found) & set(truth)) / 20)
    assert np.mean(shares) >= 0.95


def test_and_binds_more_than_or() -> None:
    assert parse_condition("cat or dog and not cat", NAMES) == parse_condition(
        "cat or (dog and (not cat))", NAMES
    )
    assert parse_condition("potted plant", NAMES) == parse_condition("'potted plant'", NAMES)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "with no label at its end"),
        ("cat and", "with no label at its end"),
        ("cat dog", "label 'cat dog' in the condition"),
        ("(cat", "with an open bracket"),
        ("cat)", "with '\\)'"),
        ("cat > nan", "'nan' where a number belongs"),
        ("cat > dog", "'dog' where a number belongs"),
        ("cat = 1", "with '='"),
        ("unicorn", "label 'unicorn' in the condition 'unicorn'; expected one of cat, potted plant"),
        ('"cat', "with what begins with '\"cat'"),
        ("or cat", "with 'or'"),
    ],
)
def test_conditions_that_cannot_be_read(condition: str, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        parse_condition(condition, NAMES)


def test_photographs_find_their_like_and_not_themselves(embedded: tuple[Path, list[str]]) -> None:
    out, files = embedded
    collection = lw.Collection.open(out)
    label = collection.labels[2]
    stored = collection.features(label)
    x = {
        i: np.array(f, np.float64)
        for i, f in zip(stored["image"].to_pylist(), stored["feature"].to_pylist(), strict=True)
    }
    near, far = [files[0], files[2]], [files[7]]
    notes: list[str] = []
    found = collection.search(label, near, negatives=far, top=20, say=notes.append)
    vector = (x[0] + x[2]) / 2 - 0.2 * x[7]
    order = sorted(set(x) - {0, 2, 7}, key=lambda i: -float(x[i] @ vector))
    likeness = {i: float(x[i] @ vector / np.linalg.norm(vector) / np.linalg.norm(x[i])) for i in x}
    assert sorted(found["image"].to_pylist()) == sorted(order)
    for row in found.to_pylist():
        assert row["similarity"] == pytest.approx(likeness[row["image"]], abs=2e-3)
    assert found["similarity"].to_pylist() == sorted(found["similarity"].to_pylist(), reverse=True)
    absent = [
        i for i in (0, 2, 7) if not stored.filter(pa.compute.equal(stored["image"], i))["selected"][0].as_py()
    ]
    assert len(notes) == len(absent)
    assert all("is not selected as" in note for note in notes)
    pixels = lw.data.decode_image(files[0])
    assert len(collection.search(label, pixels)) == 10  # pixels have no file to leave out


def test_a_search_needs_a_photograph_and_a_label_that_is_stored(
    embedded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    collection = lw.Collection.open(embedded[0])
    label = collection.labels[0]
    with pytest.raises(LabelwiseError, match="a search without a photograph"):
        collection.search(label)
    with pytest.raises(
        LabelwiseError, match=r"label 'unicorn', which the run of .* does not have; expected one of"
    ):
        collection.search("unicorn", embedded[1][0])
    with pytest.raises(
        LabelwiseError, match="order 'name'; expected one of feature, label, appearance, score"
    ):
        collection.search(label, by="name")
    with pytest.raises(LabelwiseError, match=r"nowhere.jpg \(No such file"):
        collection.search(label, "nowhere.jpg")
    with pytest.raises(LabelwiseError, match="expected a whole image"):
        collection.search(label, embedded[1][4])
    assert combined(
        np.array([[3.0, 4.0]], np.float32), np.zeros((0, 2), np.float32)
    ).tolist() == pytest.approx([0.6, 0.8])


def test_another_run_is_refused(embedded: tuple[Path, list[str]], run_folder: Path, tmp_path: Path) -> None:
    out, files = embedded
    label = lw.Collection.open(out).labels[0]
    moved, turned = tmp_path / "moved", tmp_path / "turned"
    for folder in (moved, turned):
        folder.mkdir()
        for name in ("config.yaml", "labels.json", "model.safetensors"):
            (folder / name).write_bytes((run_folder / name).read_bytes())
    run = Run.open(turned)
    Run(turned, run.config, type(run.labels)(run.labels.names[::-1])).save()
    assert command("search", out, files[0], "--label", label, "--run", moved, "--top", "3").code == 0
    assert (
        "other labels or another order"
        in command("search", out, files[0], "--label", label, "--run", turned).message
    )
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert (
        "with other weights than the run of"
        in command("search", out, files[0], "--label", label, "--run", moved).message
    )


def test_damaged_collections_are_one_line(tmp_path: Path) -> None:
    synthetic(tmp_path / "c", 40)
    words = ("--label", "cat", "--by", "score")
    assert "which is no collection" in command("search", tmp_path, *words).message
    for file in (tmp_path / "c" / "features.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "whose tables cannot be read" in command("search", tmp_path / "c", *words).message
    for file in (tmp_path / "c" / "features.lance" / "_versions").iterdir():
        file.write_bytes(b"nothing")
    assert "whose tables cannot be read" in command("search", tmp_path / "c", *words).message
