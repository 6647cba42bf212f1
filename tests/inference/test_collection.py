"""Collections: each image is predicted once into parts, in any order and after a stop."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.inference.folders import FolderCounts, predict_collection
from labelwise.inference.frames import in_frames
from labelwise.inference.parts import PartPredictions, Parts
from tiny_runs import command
from tolerance import ANSWERS


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Eleven photographs, the fifth of them empty."""
    folder = tmp_path / "photos"
    tiny_runs.photographs(folder, 11, 0, 0)
    (folder / "train4.jpg").write_bytes(b"")
    return [str(folder / f"train{i}.jpg") for i in range(11)]


def rows_of(folder: Path) -> list[dict]:
    """Every row of every part, in order."""
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 3), (1, 32)])
def test_a_folder_holds_what_the_table_holds(
    run_folder: Path, files: list[str], tmp_path: Path, workers: int, batch_size: int
) -> None:
    progress: list[tuple[int, int]] = []
    out = tmp_path / "predictions"
    done = predict_collection(
        run_folder,
        files,
        out,
        workers=workers,
        batch_size=batch_size,
        part=4,
        on_part=lambda *n: progress.append(n),
    )
    assert done == FolderCounts(11, 11, 1)
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert sorted(p.name for p in out.iterdir()) == [
        "collection.json",
        *(f"part-00000{i}.parquet" for i in range(3)),
    ]
    command("predict", run_folder, *files, "--out", tmp_path / "one.parquet", "--workers", "0")
    expected = pq.read_table(tmp_path / "one.parquet")
    assert pq.read_table(out / "part-000000.parquet").schema == expected.schema
    for ours, theirs in zip(rows_of(out), expected.to_pylist(), strict=True):
        for name, value in theirs.items():
            assert ours[name] == (pytest.approx(value, abs=ANSWERS) if isinstance(value, float) else value)


def test_a_stopped_call_is_resumed_and_repeats_nothing(
    run_folder: Path, files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "predictions"
    arguments = ("predict", run_folder, *files, "--out", out, "--part", "4", "--workers", "0")
    first = command(*arguments)
    assert (first.code, "part 3 of 3" in first.err, "1 unreadable" in first.err) == (1, True, True)
    whole = rows_of(out)
    (out / "part-000001.parquet").unlink()
    (out / ".part-000001.parquet.part").write_bytes(b"cut short")
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*")}
    again = command(*arguments)
    assert "7 images had been answered before" in again.err
    assert rows_of(out) == whole
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in out.glob("part-*")}.items()
    assert not list(out.glob(".*"))
    assert predict_collection(run_folder, files, out, part=4) == FolderCounts(11, 0, 1)


def test_a_folder_of_another_collection_is_refused(
    run_folder: Path, files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "predictions"
    predict_collection(run_folder, files, out, workers=0, part=4)
    for other, part, message in (
        (files[::-1], 4, "another list of images;"),
        (files[:5], 4, "another images and list of images;"),
        (files, 5, "another --part; expected the list, the model and the --part that it was begun with"),
    ):
        with pytest.raises(LabelwiseError, match=message):
            predict_collection(run_folder, other, out, part=part)
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("config.yaml", "labels.json", "model.safetensors"):
        (changed / name).write_bytes((run_folder / name).read_bytes())
    (changed / "labels.json").write_text((changed / "labels.json").read_text() + "\n")
    with pytest.raises(LabelwiseError, match=r"predictions of another model; .* choose another --out"):
        predict_collection(changed, files, out, part=4)
    with pytest.raises(LabelwiseError, match="holds something else; expected a new folder"):
        predict_collection(run_folder, files, tmp_path / "photos")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "ray"), "--engine ray with --out None; expected a folder to write to"),
        (("--engine", "ray", "--out", "x.parquet"), "--engine ray with --out x.parquet"),
        (("--engine", "ray", "--out", "x", "--workers", "0"), "--engine ray with --workers 0"),
        (("--out", "x", "--json"), "--out x, a folder, with --json or --maps; expected one of them"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    run_folder: Path, files: list[str], options: tuple[str, ...], message: str
) -> None:
    assert message in command("predict", run_folder, files[0], *options).message


def test_engines_by_name(
    run_folder: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LabelwiseError, match="engine 'dask'; expected one of here, ray; correct the name"):
        predict_collection(run_folder, files, tmp_path / "predictions", engine="dask")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LabelwiseError, match=r"ray without ray; .* run: pip install 'labelwise\[ray\]'"):
        predict_collection(run_folder, files, tmp_path / "predictions", engine="ray")
    assert not (tmp_path / "predictions").exists()


def test_answers_in_any_order_and_twice_over_give_the_same_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names, files = ("dog", "cat", "cow"), [f"{i}.jpg" for i in range(23)]
    scores = rng.random((23, 3), dtype=np.float32)
    errors = ["" if i % 7 else "it is empty" for i in range(23)]
    tables = []
    for order in (np.arange(23), rng.permutation(23)):
        parts = Parts(tmp_path / str(order[0]), files, names, "m", 5)
        done = []
        for rows in np.array_split(order, 6):
            for _ in range(2):  # a worker that died may have answered before
                if not all(parts.path(int(row) // 5).is_file() for row in rows):
                    done += parts.add(
                        PartPredictions(rows, scores[rows], scores[rows] > 0.5, [errors[i] for i in rows])
                    )
        assert sorted(done) == list(range(5))
        assert (parts.missing(), parts.unreadable()) == ([], 4)
        tables.append(rows_of(tmp_path / str(order[0])))
    assert tables[0] == tables[1]
    for i, row in enumerate(tables[0]):
        ranked = [names[j] for j in np.argsort(-scores[i]) if scores[i, j] > 0.5]
        assert (row["image"], row["selected"]) == (files[i], None if errors[i] else ranked)
        assert row["cat"] == (None if errors[i] else pytest.approx(scores[i, 1]))


def test_a_name_that_is_no_text_is_read(run_folder: Path, files: list[str], tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/odd\xff.jpg")
    Path(odd).write_bytes(Path(files[0]).read_bytes())
    predict_collection(run_folder, [odd, files[0]], tmp_path / "predictions", workers=0)
    one, other = rows_of(tmp_path / "predictions")
    assert one["image"].endswith("odd\ufffd.jpg")
    assert (one["error"], one["3"]) == (None, pytest.approx(other["3"], abs=ANSWERS))


def test_data_frames(run_folder: Path, files: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    frames = [
        pandas.DataFrame({"image": files[:4], "more": 1}),
        pandas.DataFrame({"image": files[4:]}, index=range(7)),
    ]
    table = pandas.concat(list(in_frames(str(run_folder), batch_size=3)(iter(frames))))
    assert list(table.columns) == ["image", "error", "selected", "scores"]
    predictor = lw.load(run_folder)
    for row, answer in zip(table.to_dict("records"), predictor.predict(files), strict=True):
        assert (row["image"], row["error"]) == (answer.image, answer.error)
        if answer.error is None:
            assert row["selected"] == answer.selected
            ours = dict(zip(predictor.labels.names, row["scores"], strict=True))
            assert ours == pytest.approx(answer.scores, abs=ANSWERS)
        else:
            assert row["selected"] is None
            assert row["scores"] is None
    content = pandas.DataFrame({"image": ["name only"], "content": [bytearray(Path(files[0]).read_bytes())]})
    (by_content,) = in_frames(run_folder)(iter([content]))
    assert (by_content["image"][0], by_content["scores"][0]) == (
        "name only",
        pytest.approx(table["scores"].iloc[0]),
    )
    with pytest.raises(LabelwiseError, match="columns path; expected the column image"):
        list(in_frames(run_folder)(iter([pandas.DataFrame({"path": files})])))
