"""A new label from a few examples: its classifier, the run that it is added to, and refusals."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import tiny_runs
from labelwise.collection import Collection, teach
from labelwise.collection.examples import photographs_of
from labelwise.collection.few import Space, fit_few
from labelwise.collection.suggesting import SUGGESTIONS, suggest, write_suggestions
from labelwise.data.review import Review
from labelwise.errors import LabelwiseError
from labelwise.evaluation import evaluate
from labelwise.export import export_run
from labelwise.inference import load
from labelwise.runs.run import Run

Embedded = tuple[Path, list[str]]


@pytest.fixture(scope="module")
def taught(base: Path, embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the label `red bag`, taught by three photographs."""
    out = tmp_path_factory.mktemp("taught") / "run"
    collection, files = embedded
    teach(tiny_runs.finished(base), collection, "red bag", files[:3], files[5:7], out)
    return out


def drawn(count: int, shift: float, seed: int) -> np.ndarray:
    """Correlated features around a mean that is shifted along the first axis."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(7).standard_normal((12, 12))
    return rng.standard_normal((count, 12)) @ mix + shift * mix[0]


def slow_direction(features: np.ndarray, positives: np.ndarray, shrink: float) -> np.ndarray:
    """The solution of `(covariance + shrink * mean variance) w = mean of positives - mean`."""
    mean = features.mean(0)
    covariance = np.cov(features.T, bias=True)
    ridge = shrink * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.solve(covariance + ridge, positives.mean(0) - mean)


def test_the_classifier_is_a_discriminant_with_the_covariance_of_all_images() -> None:
    others, positives = drawn(300, 0, 0), drawn(6, 3, 1)
    space = Space(others, 0.3)
    fitted = fit_few(space, positives, np.zeros((0, 12)), others)
    expected = slow_direction(others, positives, 0.3)
    cosine = fitted.weight @ expected / np.linalg.norm(fitted.weight) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-9)


def test_left_out_scores_are_those_of_classifiers_without_the_example() -> None:
    others, positives, none = drawn(200, 0, 0), drawn(5, 2, 1), np.zeros((0, 12))
    space = Space(others, 0.1)
    fitted = fit_few(space, positives, none, others)
    shares = []
    for i in range(5):
        w = slow_direction(others, np.delete(positives, i, 0), space.shrink)
        z = others @ w
        shares.append(float((positives[i] @ w > z).mean()))
    # The others are scored by the classifier of all examples, of which each reference lacks one.
    assert fitted.rank == pytest.approx(np.mean(shares), abs=0.05)
    assert (
        roc_auc_score(np.r_[np.ones(50), np.zeros(200)], np.r_[drawn(50, 2, 5), others] @ fitted.weight) > 0.8
    )


def test_examples_at_random_are_rarely_called_learned() -> None:
    others, space = drawn(300, 0, 0), Space(drawn(300, 0, 0), 0.1)
    none = np.zeros((0, 12))
    learned = [fit_few(space, drawn(5, 0, 100 + i), none, others).learned for i in range(100)]
    assert np.mean(learned) <= 0.12  # 5 % is promised; three deviations of 100 draws above it
    assert fit_few(space, drawn(5, 4, 1), none, others).learned


def test_prevalence_and_threshold_follow_the_share_of_hidden_positives() -> None:
    few, many = (np.concatenate([drawn(1000 - k, 0, 0), drawn(k, 5, 1)]) for k in (20, 200))
    none, positives = np.zeros((0, 12)), drawn(20, 5, 2)
    rare, common = (fit_few(Space(others, 0.1), positives, none, others) for others in (few, many))
    assert rare.prevalence == pytest.approx(0.02, abs=0.015)
    assert common.prevalence == pytest.approx(0.2, abs=0.08)
    for fitted, others, k in ((rare, few, 20), (common, many, 200)):
        z = others @ fitted.weight + fitted.bias
        selected = 1 / (1 + np.exp(-z)) >= fitted.threshold
        assert selected[-k:].mean() > 0.6
        assert selected[-k:].sum() / selected.sum() > 0.6


def test_other_labels_are_unchanged_bit_for_bit(base: Path, embedded: Embedded, taught: Path) -> None:
    run, files = tiny_runs.finished(base), embedded[1]
    before, after = Run.open(run), Run.open(taught)
    assert after.labels.names == (*before.labels.names, "red bag")
    old, new = before.decisions(), after.decisions()
    for name in ("thresholds", "scale", "bias"):
        assert np.array_equal(getattr(new, name)[:-1], getattr(old, name))
    known = {p.image: p for p in load(run).predict(files, maps=True)}
    for p in load(taught).predict(files, maps=True):
        was = known[p.image]
        if p.error:
            continue
        assert {n: p.scores[n] for n in was.scores} == was.scores
        assert [n for n in p.selected if n != "red bag"] == was.selected
        assert p.maps is not None
        assert was.maps is not None
        assert np.array_equal(p.maps[:-1], was.maps)
        assert p.map("red bag").sum() == pytest.approx(1, abs=1e-5)


def test_stored_features_and_the_run_agree(base: Path, embedded: Embedded, taught: Path) -> None:
    collection, files = embedded
    state, run = Run.open(taught).model(), Collection.open(collection)
    row = run.images(("image", "path")).to_pylist()
    numbers = np.array([r["image"] for r in row if r["path"] == files[0]])
    z = run.whole(numbers).astype(np.float64) @ state.added.weight[0].detach().double().numpy()
    stored = 1 / (1 + np.exp(-(z + float(state.added.bias[0].detach()))))
    (p,) = load(taught).predict(files[0])
    assert p.scores["red bag"] == pytest.approx(float(stored[0]), abs=5e-3)


def test_the_run_is_judged_exported_and_taught_again(
    base: Path, embedded: Embedded, taught: Path, tmp_path: Path
) -> None:
    collection, files = embedded
    run = tiny_runs.finished(base)
    data = tiny_runs_data(base)
    before = evaluate(run, data, "val", angles=True)
    grown = data.with_unknown_labels(["red bag"])
    after = evaluate(taught, grown, "val", angles=True)
    for name, figures in before.per_label.items():
        assert after.per_label[name]["AP"] == figures["AP"]
    assert after.per_label["red bag"]["AP"] is None
    again = teach(taught, collection, "blue hat", files[3:6:2], (), tmp_path / "two")
    assert Run.open(again.out).labels.names[-2:] == ("red bag", "blue hat")
    (one,), (two,) = (load(path).predict(files[0]) for path in (taught, again.out))
    assert all(two.scores[name] == score for name, score in one.scores.items())
    export = export_run(
        taught, tmp_path / "export", "onnx", data=f"parquet:{tiny_runs.scenes(base)}", images=4
    )
    (p,) = load(export.artefact.path).predict(files[0], maps=True)
    assert p.scores["red bag"] == pytest.approx(one.scores["red bag"], abs=1e-4)
    with pytest.raises(LabelwiseError, match="has taught labels"):
        tiny_runs_train_from(base, taught, tmp_path / "from")


def tiny_runs_data(base: Path) -> object:
    from labelwise.data import read

    return read(f"parquet:{tiny_runs.scenes(base)}")


def tiny_runs_train_from(base: Path, taught: Path, out: Path) -> None:
    from labelwise.training.fit import fit

    fit(f"parquet:{tiny_runs.scenes(base)}", out=out, quiet=True, init_from=str(taught))


def test_photographs_that_are_not_in_the_collection(base: Path, embedded: Embedded, tmp_path: Path) -> None:
    collection, files = embedded
    copies = [shutil.copy(files[0], tmp_path / "a copy.jpg")]
    tiny_runs.photographs(tmp_path / "more", 3, 0, 0)
    pixels = (tmp_path / "more" / "train1.jpg").read_bytes()
    fresh = tmp_path / "fresh.jpg"
    fresh.write_bytes(pixels + b"\0")  # another digest, the same pixels
    run = tiny_runs.finished(base)
    stored = teach(run, collection, "new", [files[0], files[1]], (), tmp_path / "one")
    other = teach(run, collection, "new", [*copies, fresh], (), tmp_path / "two")
    assert other.others == stored.others + 1  # files[1] is one of the others
    one, two = (Run.open(r.out).model().added.weight.detach() for r in (stored, other))
    assert float(torch.cosine_similarity(one, two)) > 0.9


def test_refusals_leave_nothing(base: Path, embedded: Embedded, tmp_path: Path) -> None:
    collection, files = embedded
    run, out = tiny_runs.finished(base), tmp_path / "out"
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "file").write_text("")
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    other = tmp_path / "other"
    shutil.copytree(run, other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    name = Run.open(run).labels.names[0]
    wrong = [
        (run, name, files[:2], (), out, "has already"),
        (run, " ", files[:2], (), out, "label name"),
        (run, "new", files[:2], files[1:3], out, "as a positive and as a negative"),
        (run, "new", [files[0], files[0]], (), out, "1 different positive"),
        (run, "new", [files[0], tmp_path / "gone.jpg"], (), out, "gone.jpg"),
        (run, "new", [files[0], text], (), out, "text.jpg"),
        (run, "new", [files[0], files[4]], (), out, "train4.jpg"),
        (other, "new", files[:2], (), out, "other weights"),
        (run, "new", files[:2], (), tmp_path / "held", "holds something"),
        (run, "new", files[:2], (), "", "no folder"),
    ]
    for given, label, near, far, target, message in wrong:
        with pytest.raises(LabelwiseError, match=message):
            teach(given, collection, label, near, far, target)
        assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_suggestions_are_answered_in_the_review_page(base: Path, embedded: Embedded, tmp_path: Path) -> None:
    collection, files = embedded
    run = tiny_runs.finished(base)
    near = files[:2]
    rows = suggest(run, collection, "new", near, files[5:6], 4)
    assert [row.rank for row in rows] == [1, 2, 3, 4]
    assert not {row.path for row in rows} & {*near, files[5], files[4]}
    write_suggestions(tmp_path / "review", "new", rows)
    review = Review(tmp_path / "review" / SUGGESTIONS)
    review.decide(0, "change")
    review.decide(1, "keep")
    review.decide(2, "unknown")
    list_ = str(tmp_path / "review" / SUGGESTIONS)
    yes, no = photographs_of(f"{files[0]},{list_}", "1"), photographs_of(list_, "0")
    assert [Path(p).read_bytes() for p in yes[1:]] == [Path(rows[0].path).read_bytes()]
    assert [Path(p).read_bytes() for p in no] == [Path(rows[1].path).read_bytes()]
    result = teach(run, collection, "new", [*near, *yes], no, tmp_path / "run")
    assert (result.positives, result.negatives) == (3, 1)
    with pytest.raises(LabelwiseError, match="holds something"):
        write_suggestions(tmp_path / "review", "new", rows)


def test_the_command(base: Path, embedded: Embedded, tmp_path: Path) -> None:
    collection, files = embedded
    run = tiny_runs.finished(base)
    listed = tmp_path / "answers.csv"
    with open(listed, "w", newline="") as file:
        csv.writer(file).writerows([["path", "answer"], [files[2], 1], [files[3], 0], [files[5], ""]])
    words = ("teach", run, collection, "--name", "new", "--positives", f"{files[0]},{listed}")
    done = tiny_runs.command(*words, "--negatives", listed, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done
    record = json.loads(done.out)
    assert (record["positives"], record["negatives"], record["name"]) == (2, 1, "new")
    assert "2 positives, 1 negatives" in done.err
    table = tmp_path / "next.csv"
    assert tiny_runs.command(*words, "--suggest", "3", "--out", table).code == 0
    assert [row["answer"] for row in csv.DictReader(table.open())] == ["", "", ""]
    assert len(tiny_runs.command(*words, "--suggest", "3").out.splitlines()) == 3
    assert "without --out" in tiny_runs.command(*words).message
    bad = tiny_runs.command("teach", run, collection, "--name", "x", "--positives", "gone.csv", "--out", "y")
    assert "gone.csv" in bad.message
