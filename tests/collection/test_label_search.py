"""Searches equal a slow comparison of all features, with conditions, examples and the index."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from written import NAMES, synthetic

import labelwise as lw
from labelwise.collection import store
from labelwise.collection.queries import combined
from labelwise.collection.where import filter_of
from labelwise.errors import LabelwiseError
from labelwise.training.run import Run
from tiny_runs import command


def slow(
    arrays: dict[str, np.ndarray], j: int, vector: np.ndarray, allowed: np.ndarray, top: int
) -> tuple[list[int], np.ndarray]:
    """Images of a label in order of the cosine in float64, and the cosine of all images."""
    x = arrays["features"][:, j].astype(np.float64)
    likeness = x @ vector / np.linalg.norm(x, axis=1) / np.linalg.norm(vector)
    rows = np.flatnonzero(arrays["present"][:, j] & allowed)
    return rows[np.argsort(-likeness[rows], kind="stable")][:top].tolist(), likeness


def test_exact_search_is_a_comparison_of_all(tmp_path: Path) -> None:
    collection, arrays = synthetic(tmp_path / "c", 300)
    rng, everything = np.random.default_rng(5), np.ones(300, bool)
    for j, name in enumerate(NAMES):
        vector = rng.standard_normal(8).astype(np.float32)
        found = collection.nearest(name, vector, top=25, exact=True).to_pylist()
        best, likeness = slow(arrays, j, vector, everything, 25)
        # Float16 features that are nearly as far may change places.
        assert [row["similarity"] for row in found] == pytest.approx(likeness[best], abs=1e-3)
        for row in found:
            assert row["similarity"] == pytest.approx(likeness[row["image"]], abs=1e-3)


def test_the_index_finds_nearly_all_and_conditions_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "INDEXED", 1000)
    monkeypatch.setattr(store, "PARTITION", 256)
    collection, arrays = synthetic(tmp_path / "c", 3000)
    assert {i.name for i in collection._tables.features.list_indices()} == {
        "label_idx",
        "labels_idx",
        "feature_idx",
    }
    rng, shares = np.random.default_rng(6), []
    allowed = arrays["present"][:, 0] & ~(arrays["scores"][:, 1] > 0.7)
    condition = filter_of('cat and not "potted plant" > 0.7', NAMES)
    for _ in range(20):
        vector = rng.standard_normal(8).astype(np.float32)
        truth, likeness = slow(arrays, 3, vector, allowed, 20)
        exact = collection.nearest(NAMES[3], vector, condition, 20, exact=True)
        assert exact["similarity"].to_pylist() == pytest.approx(likeness[truth], abs=1e-3)
        found = collection.nearest(NAMES[3], vector, condition, 20)["image"].to_pylist()
        assert all(allowed[i] and arrays["present"][i, 3] for i in found)
        shares.append(len(set(found) & set(truth)) / 20)
    assert np.mean(shares) >= 0.95


def expression(chance: random.Random, depth: int) -> tuple[str, str]:
    """A random condition, and the same as Python over `p` (presence) and `s` (scores)."""
    kind = chance.choice(["label", "score"] if depth == 0 else ["label", "score", "not", "and", "or"])
    j = chance.randrange(len(NAMES))
    name = chance.choice([f'"{NAMES[j]}"', NAMES[j]] if "'" not in NAMES[j] else [f'"{NAMES[j]}"'])
    if kind == "label":
        return name, f"p[{j}]"
    if kind == "score":
        sign, bound = chance.choice(["<", "<=", ">", ">="]), chance.choice([0.25, 0.5, 0.75])
        return f"{name} {sign} {bound}", f"(s[{j}] {sign} {bound})"
    a, b = expression(chance, depth - 1), expression(chance, depth - 1)
    if kind == "not":
        return f"not ({a[0]})", f"(not {a[1]})"
    return f"({a[0]}) {kind} ({b[0]})", f"({a[1]} {kind} {b[1]})"


def test_conditions_mean_what_python_says(tmp_path: Path) -> None:
    collection, arrays = synthetic(tmp_path / "c", 60)
    images, chance = collection._tables.images, random.Random(0)
    for _ in range(40):
        written, code = expression(chance, 3)
        rows = images.search().where(filter_of(written, NAMES)).select(["image"]).to_arrow()
        expected = [i for i in range(60) if eval(code, {"p": arrays["present"][i], "s": arrays["scores"][i]})]
        assert sorted(rows["image"].to_pylist()) == expected, written


def test_and_binds_more_than_or() -> None:
    assert filter_of("cat or dog and not cat", NAMES) == filter_of("cat or (dog and (not cat))", NAMES)
    assert filter_of("potted plant", NAMES) == filter_of("'potted plant'", NAMES)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "with no label at its end"),
        ("cat and", "with no label at its end"),
        ("cat dog", "label 'cat dog' in the condition"),
        ("(cat", "with an open bracket"),
        ("cat)", "with '\\)'"),
        ("cat > dog", "'dog' where a number belongs"),
        ("cat = 1", "with '='"),
        ("unicorn", "label 'unicorn' in the condition 'unicorn'; expected one of cat, potted plant"),
        ('"cat', "with what begins with '\"cat'"),
        ("or cat", "with 'or'"),
    ],
)
def test_conditions_that_cannot_be_read(condition: str, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        filter_of(condition, NAMES)


def test_by_score_is_the_order_of_the_scores(tmp_path: Path) -> None:
    collection, arrays = synthetic(tmp_path / "c", 200)
    found = collection.search("dog", by="score", top=30, where="cat")
    rows = np.flatnonzero(arrays["present"][:, 2] & arrays["present"][:, 0])
    order = rows[np.argsort(-arrays["scores"][rows, 2], kind="stable")][:30]
    assert found["image"].to_pylist() == order.tolist()
    assert found["similarity"].null_count == len(found)
    assert found["rank"].to_pylist() == list(range(1, len(found) + 1))


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
